"""A helper gets what it was promised, answers in time or dies with all it started, and is never quoted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enforcers.core.errors import CredentialError
from enforcers.core.exec_credential import MAX_SECRET
from enforcers.core.helper import run_helper
from enforcers.secret import Secret
from enforcers.settings import ExecSource

CANARY = "s3cret-canary"
ENVIRON = "import json, os; print(json.dumps(dict(os.environ)))"


def python(code: str, *variables: str) -> ExecSource:
    return ExecSource((sys.executable, "-I", "-c", code), variables)


def gone(pid: int) -> bool:
    """Also when nobody waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not gone(pid):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.02)  # nothing tells us of the end of a process that isn't our child


async def refused(source: ExecSource, variables: dict[str, Secret] | None = None) -> str:
    with pytest.raises(CredentialError) as caught:
        await run_helper(source, variables or {})
    assert CANARY not in str(caught.value)
    return str(caught.value)


async def test_it_gets_path_and_home_and_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", CANARY)
    variables = {"VAULT_TOKEN": Secret("t"), "OTHER_SECRET": Secret(CANARY)}
    found = json.loads(await run_helper(python(ENVIRON, "VAULT_TOKEN"), variables))
    assert found.pop("VAULT_TOKEN") == "t"
    assert set(found) <= {"PATH", "HOME", "LC_CTYPE"}  # the last is that Python's own
    assert json.loads(await run_helper(python(ENVIRON), variables)).keys() <= {"PATH", "HOME", "LC_CTYPE"}
    assert "VAULT_ADDR, which is not set" in await refused(python(ENVIRON, "VAULT_ADDR"), variables)


async def test_arguments_are_no_shell_s(tmp_path: Path) -> None:
    trap = tmp_path / "made"
    argument = f"$(touch {trap}); `touch {trap}` && touch {trap} | *"
    assert await run_helper(ExecSource(("/bin/echo", argument)), {}) == argument.encode() + b"\n"
    assert not trap.exists()


async def test_no_core_dump_of_it() -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
    assert await run_helper(python(code), {}) == b"(0, 0)\n"


async def test_what_it_complains_of_is_counted_only() -> None:
    said = await refused(python(f"import sys; sys.stderr.write({CANARY!r}); print({CANARY!r}); sys.exit(3)"))
    assert "status 3" in said
    assert f"{len(CANARY)} bytes, is redacted" in said
    flood = f"import sys; sys.stderr.write('x' * 5_000_000); print({CANARY!r})"
    assert await run_helper(python(flood), {}) == CANARY.encode() + b"\n"


async def test_it_can_not_be_started(tmp_path: Path) -> None:
    assert "can't be started" in await refused(ExecSource(("/nonexistent/program",)))
    assert "can't be started" in await refused(ExecSource(("no-such-program-anywhere",)))
    text = tmp_path / "get"
    text.write_text(CANARY)
    assert "chmod +x" in await refused(ExecSource((str(text),)))
    text.chmod(0o700)
    assert "status 126" in await refused(ExecSource((str(text),)))  # no program's format, and no shell to try it
    text.write_text("#!/bin/sh\necho x\n")
    text.chmod(0o707)
    assert "changed by anybody" in await refused(ExecSource((str(text),)))


async def test_too_much_ends_it_at_once() -> None:
    endless = python("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    async with asyncio.timeout(20):
        assert len(await run_helper(endless, {})) == MAX_SECRET + 1


async def test_a_helper_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    os.mkfifo(note)
    source = ExecSource(("/bin/sh", "-c", f"sleep 600 & echo $$ $! > {note}; sleep 600"))
    running = asyncio.ensure_future(run_helper(source, {}))
    pids = [int(pid) for pid in (await asyncio.to_thread(note.read_text)).split()]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for pid in pids:
        until_gone(pid)


def until_noted(note: Path) -> None:
    limit = time.monotonic() + 10
    while not note.exists() or len(note.read_text().split()) < 2:
        assert time.monotonic() < limit
        time.sleep(0.01)


async def test_a_helper_given_up_while_it_starts_is_killed_with_all_it_started(tmp_path: Path) -> None:
    """Before asyncio has its pipes, nobody knows its process yet. Twice: whoever gave it up may be given up too."""
    note = tmp_path / "pids"
    source = ExecSource(("/bin/sh", "-c", f"sleep 600 & echo $$ $! > {note}; sleep 600"))
    loop = asyncio.get_running_loop()
    launching = loop.subprocess_exec
    launched, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: object, **options: object) -> object:
        started = await launching(*args, **options)  # type: ignore[arg-type]
        launched.set()
        await go_on.wait()
        return started

    for times in (1, 2):
        note.unlink(missing_ok=True)
        launched.clear()
        go_on.clear()
        loop.subprocess_exec = slow  # type: ignore[method-assign]
        try:
            running = asyncio.ensure_future(run_helper(source, {}))
            await launched.wait()
            await asyncio.to_thread(until_noted, note)
            for _ in range(times):
                running.cancel()
                await asyncio.sleep(0.01)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await running
        finally:
            del loop.subprocess_exec
        for pid in note.read_text().split():
            await asyncio.to_thread(until_gone, int(pid))


async def test_what_it_left_behind_ends_with_it(tmp_path: Path) -> None:
    """A child that keeps standard error open, and the secret in its memory."""
    note = tmp_path / "pid"
    source = ExecSource(("/bin/sh", "-c", f"sleep 600 >/dev/null & echo $! > {note}; echo {CANARY}"))
    async with asyncio.timeout(20):
        assert await run_helper(source, {}) == CANARY.encode() + b"\n"
    until_gone(int(note.read_text()))


GATEWAY = """
import asyncio, sys
from enforcers.core.helper import run_helper
from enforcers.settings import ExecSource
asyncio.run(run_helper(ExecSource(("/bin/sh", "-c", sys.argv[1])), {}))
"""


def test_it_does_not_outlive_its_gateway(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    os.mkfifo(note)
    command = [sys.executable, "-c", GATEWAY, f"echo $$ > {note}; exec sleep 600"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as gateway:
        helper = int(note.read_text())
        gateway.send_signal(signal.SIGKILL)
    until_gone(helper)
