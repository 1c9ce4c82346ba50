"""OPA killed, hung, crashing, without a disk: refused at once, then back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from decision.errors import PolicyLoadError, PolicyUnavailableError
from decision.model import Outcome
from decision.policy import opa_process
from decision.policy.client import OpaClient
from decision.policy.engine import Engine, start_engine
from decision.policy.opa_process import OpaSettings
from tests.decision.policy.support import ALLOW, Events, local, make_sources, opa_path, start, write_policy


async def test_killed_opa_is_unavailable_then_back(engine: Engine, events: Events) -> None:
    pid = local(engine).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await events.until(lambda names: "opa-exited" in names)
    assert not engine.ready
    began = time.monotonic()
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate(ALLOW)
    assert time.monotonic() - began < 0.1
    await events.until(lambda names: names.count("opa-started") == 2)
    assert engine.ready
    assert local(engine).pid != pid
    assert (await engine.evaluate(ALLOW)).outcome is Outcome.ALLOW


async def test_watching_health_costs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opa_process, "_HEALTH_INTERVAL_S", 0.001)
    asked = 0
    enough = asyncio.Event()
    real = OpaClient.healthy

    async def counted(client: OpaClient) -> bool:
        nonlocal asked
        asked += 1
        if asked > 20:
            enough.set()
        return await real(client)

    monkeypatch.setattr(OpaClient, "healthy", counted)
    engine = await start(tmp_path)
    try:
        async with asyncio.timeout(15):
            await enough.wait()
        running = local(engine)._running
        assert running is not None
        assert len(running.process._transport._exit_waiters) <= 1  # type: ignore[attr-defined]
    finally:
        await engine.close()


def _until_stopped(pid: int) -> None:
    """A signal is sent before it has stopped every thread."""
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_hung_opa_is_unavailable_within_the_deadline_then_replaced(engine: Engine, events: Events) -> None:
    pid = local(engine).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await asyncio.to_thread(_until_stopped, pid)
    began = time.monotonic()
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate(ALLOW)
    assert time.monotonic() - began < 1.2
    await events.until(lambda names: "opa-hung" in names and names.count("opa-started") == 2)
    assert (await engine.evaluate(ALLOW)).outcome is Outcome.ALLOW
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_crashing_opa_is_restarted_with_growing_pauses(engine: Engine, events: Events) -> None:
    for round_ in range(2, 5):
        pid = local(engine).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await events.until(lambda names, round_=round_: names.count("opa-started") == round_)
    assert (await engine.evaluate(ALLOW)).outcome is Outcome.ALLOW


async def test_opa_has_no_secret_in_environment_arguments_or_files(engine: Engine) -> None:
    opa = local(engine)
    process = Path(f"/proc/{opa.pid}")
    assert (process / "environ").read_bytes().startswith(b"GOGC=400\0GOMAXPROCS=")
    assert opa._token.encode() not in (process / "cmdline").read_bytes()
    assert os.readlink(process / "cwd").endswith(" (deleted)")
    assert opa._token not in repr(opa)


async def test_the_socket_is_in_a_folder_of_its_own_that_goes_with_the_process(
    tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    engine = await start(tmp_path, events)
    try:
        running = local(engine)._running
        assert running is not None
        home, pid = running.home, running.process.pid
        assert not home.is_relative_to(long)  # the name of a socket has a short bound
        assert home.stat().st_mode & 0o777 == 0o700
        assert [item.name for item in home.iterdir()] == ["opa"]
        os.kill(pid, signal.SIGKILL)
        await events.until(lambda names: names.count("opa-started") == 2)
        assert not home.exists()
        second = local(engine)._running
        assert second is not None
    finally:
        await engine.close()
    assert not second.home.exists()
    assert list(long.iterdir()) == []


def test_folders_of_killed_services_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = []
    for name in ("dead", "young", "alive"):
        folder = tmp_path / f"twokey-opa-{name}"
        folder.mkdir()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "opa"))
        if name == "alive":
            listener.listen()
            kept.append(listener)
        else:
            listener.close()
    for name in ("twokey-opa-empty", "others-dead"):
        (tmp_path / name).mkdir()
    for folder in tmp_path.iterdir():
        if "young" not in folder.name:
            os.utime(folder, (1, 1))
    opa_process.remove_dead_folders()
    left = {folder.name for folder in tmp_path.iterdir()}
    kept[0].close()
    assert left == {"twokey-opa-young", "twokey-opa-alive", "twokey-opa-empty", "others-dead"}


async def test_a_full_disk_leaves_the_old_policy_and_passes(
    tmp_path: Path, engine: Engine, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    write_policy(tmp_path, "tiny.changed")
    with pytest.raises(PolicyLoadError, match="can't be staged"):
        await engine.reload()
    assert (await engine.evaluate(ALLOW)).reasons[0].rule == "tiny.allow"
    pid = local(engine).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await events.until(lambda names: names.count("opa-start-failed") >= 2)
    monkeypatch.setattr(tempfile, "tempdir", None)
    await events.until(lambda names: names.count("opa-started") == 2)
    assert (await engine.evaluate(ALLOW)).reasons[0].rule == "tiny.allow"


async def test_opa_that_never_gets_ready_is_a_load_error(tmp_path: Path) -> None:
    """It passes for OPA when asked its version and to check, and ends when it should serve."""
    fake = tmp_path / "opa"
    fake.write_text('#!/bin/sh\n[ "$1" = version ] && echo "Version: 1.0"\n[ "$1" != run ]\n')
    fake.chmod(0o700)
    with pytest.raises(PolicyLoadError, match="exit code 1"):
        await start_engine(make_sources(tmp_path), OpaSettings(fake), watch=False)


def test_settings_document(tmp_path: Path) -> None:
    settings = OpaSettings.from_settings({"opa": {"path": str(opa_path()), "url": None, "token": "s3cret"}})
    assert settings.path == opa_path()
    assert "s3cret" not in repr(settings)
    with pytest.raises(PolicyLoadError, match=r"opa\.path"):
        OpaSettings.from_settings({"opa": {"path": None, "url": None}})
