"""The supervisor of workers, with small programs in the workers' place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from enforcers.core.errors import EnforcerError
from enforcers.core.workers import Command, Supervisor

WORKER = """
import os, signal, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
document = os.fdopen(int(given["--settings-fd"]), "rb").read()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(os.path.join(document.decode(), given["--worker"]), "a") as file:
    file.write(f"{os.getpid()}\\n")
port = given["--metrics-port"] if given["--metrics-port"] != "0" else str(7000 + int(given["--worker"]))
os.write(int(given["--ready-fd"]), b'{"metrics": ["127.0.0.1:' + port.encode() + b'"]}\\n')
while True:
    signal.pause()
"""


def pids(folder: Path, worker: int) -> list[int]:
    path = folder / str(worker)
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def supervisor(folder: Path, program: str = WORKER, count: int = 2) -> Supervisor:
    return Supervisor(Command((sys.executable, "-I", "-c", program), str(folder).encode()), count)


async def test_workers_start_again_and_stop_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enforcers.core.workers.FIRST_BACKOFF", 0.01)
    ready = asyncio.Event()
    kept = supervisor(tmp_path)
    started: asyncio.Queue[int] = asyncio.Queue()
    start = kept._start

    async def counted(number: int) -> tuple[asyncio.subprocess.Process, int]:
        process = await start(number)
        await started.put(number)
        return process

    monkeypatch.setattr(kept, "_start", counted)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(kept.run(ready.set))
        await ready.wait()
        first = [pids(tmp_path, 0)[0], pids(tmp_path, 1)[0]]
        assert len(set(first)) == 2
        assert kept.metrics == ["127.0.0.1:7000", "127.0.0.1:7001"]
        assert [await started.get(), await started.get()]
        os.kill(first[0], signal.SIGKILL)
        assert await started.get() == 0
        kept.stop()
        await running
    assert all(process.returncode is not None for process in kept._processes.values())
    assert pids(tmp_path, 1) == first[1:]


async def test_a_worker_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(20):
            await supervisor(tmp_path, "raise SystemExit(2)").run(lambda: None)
    assert caught.group_contains(EnforcerError, match="did not start")


async def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    kept = Supervisor(Command(("/nonexistent/program",), b""), 1)
    with pytest.raises(ExceptionGroup) as caught:
        await kept.run(lambda: None)
    assert caught.group_contains(EnforcerError, match="can't be started")
