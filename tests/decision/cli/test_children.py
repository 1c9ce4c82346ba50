"""A child gets its settings over a pipe alone, is believed when it says so, and never outlives its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from decision.cli import children
from decision.cli.children import Child
from decision.cli.errors import CliError

READ = """
import argparse, json, os, signal, sys
p = argparse.ArgumentParser(); p.add_argument("--settings-fd", type=int); p.add_argument("--ready-fd", type=int)
a = p.parse_args()
settings = json.load(os.fdopen(a.settings_fd))
def ready(**facts):
    os.write(a.ready_fd, json.dumps({"ready": True, **facts}).encode() + b"\\n"); os.close(a.ready_fd)
"""


def child(code: str, **environ: str) -> Child:
    return Child("the child", [sys.executable, "-I", "-c", READ + code], {"PATH": os.environ["PATH"], **environ}, "/")


async def test_settings_go_in_and_the_ready_line_comes_out() -> None:
    code = 'ready(secret=settings["secret"], argv=sys.argv, environ=dict(os.environ)); signal.pause()'
    one = child(code, ONLY="this")
    ready = await one.start({"secret": "s3cret", "long": "x" * 300_000})
    assert ready["secret"] == "s3cret"
    assert "s3cret" not in json.dumps(ready["argv"])
    environ = ready["environ"]
    assert isinstance(environ, dict)
    assert set(environ) - {"LC_CTYPE"} == {"PATH", "ONLY"}
    assert one.running
    assert await one.stop(grace_s=5) == -signal.SIGTERM
    assert not one.running


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(3)",
        "os.close(a.ready_fd); signal.pause()",
        "os.write(a.ready_fd, b'not JSON\\n'); signal.pause()",
        "os.write(a.ready_fd, b'{\"ready\": false}\\n'); signal.pause()",
        "os.write(a.ready_fd, b'x' * 200000); signal.pause()",
    ],
)
async def test_a_child_that_is_not_ready_is_ended_and_said_so(code: str) -> None:
    one = child(code)
    with pytest.raises(CliError, match="the child did not start"):
        await one.start({})
    assert not one.running


async def test_a_child_that_never_gets_ready_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "READY_TIMEOUT_S", 0.5)
    one = child("signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()")
    with pytest.raises(CliError, match="was not ready in"):
        await one.start({})
    assert not one.running


async def test_a_child_that_never_reads_its_settings_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "READY_TIMEOUT_S", 0.5)
    deaf = Child("the child", [sys.executable, "-I", "-c", "import signal; signal.pause()"], {}, "/")
    with pytest.raises(CliError, match="was not ready in"):
        await deaf.start({"long": "x" * 300_000})
    assert not deaf.running


async def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CliError, match="can't be started"):
        await Child("it", [str(tmp_path / "none")], {}, "/").start({})
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started() -> None:
    code = (
        "import subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "g = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); ready(grandchild=g.pid)\n"
        "while True: signal.pause()"
    )
    one = child(code)
    ready = await one.start({})
    assert await one.stop(grace_s=0.3) == -signal.SIGKILL
    await _gone(int(str(ready["grandchild"])))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_children_die_with_a_supervisor_that_is_killed() -> None:
    code = f"""
import asyncio, os, signal, sys
from decision.cli.children import Child
read = {READ!r}
async def main():
    one = Child("c", [sys.executable, "-I", "-c", read + "ready(pid=os.getpid()); signal.pause()"], {{}}, "/")
    print((await one.start({{}}))["pid"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == -signal.SIGKILL
    await _gone(int(done.stdout))


async def _gone(pid: int) -> None:
    """Wait until the process has ended (pidfd_open(2)); fails after 10 s."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
