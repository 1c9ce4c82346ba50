"""Several workers behind one port: the supervisor that starts them, starts them again, and passes signals on.

Each worker is the same program with `--worker N`, its own settings pipe, its own core and a way to its siblings; the
kernel spreads connections by SO_REUSEPORT. The supervisor keeps bound, silent sockets, so that a free port once chosen
stays ours.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
import structlog

from enforcers.core.errors import EnforcerError
from enforcers.core.siblings import pairs

FIRST_BACKOFF = 0.2
LAST_BACKOFF = 5.0
STEADY_SECONDS = 10.0  # a worker that lived so long starts afresh with the shortest backoff
START_SECONDS = 60.0
DRAIN_SECONDS = 60.0  # more than a worker needs to drain

log = structlog.get_logger("twokey.enforcers.workers")


class WorkerError(EnforcerError):
    """The workers could not be started."""


@dataclass(frozen=True, slots=True)
class Command:
    """argv without the descriptors; document: what each worker reads from --settings-fd."""

    argv: Sequence[str]
    document: bytes


class Supervisor:
    """Keeps `count` workers alive until told to stop."""

    def __init__(self, command: Command, count: int) -> None:
        self._command = command
        self._count = count
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._ready = 0
        self._metrics: dict[int, str] = {}
        # Kept open here, so that a worker started again finds the others and they find it.
        self._inboxes, self._outboxes = pairs(count)

    @property
    def metrics(self) -> list[str]:
        """Where each worker serves its metrics; one that is started again tries to have its predecessor's address."""
        return [address for _, address in sorted(self._metrics.items())]

    async def run(self, ready: Callable[[], None]) -> None:
        """Until stop(), then until every worker has drained. ready() is called once all serve."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._count):
                    group.create_task(self._keep(number, ready))
        finally:
            self._signal(signal.SIGKILL)
            await asyncio.gather(*(process.wait() for process in self._processes.values()))
            for item in (*self._inboxes, *self._outboxes):
                item.close()

    def stop(self) -> None:
        """Drain; a second call stops at once."""
        if self._stopping.is_set():
            self._signal(signal.SIGKILL)
            os._exit(1)
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def _reload(self) -> None:
        log.info("reloading")
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _keep(self, number: int, ready: Callable[[], None]) -> None:
        backoff, first = FIRST_BACKOFF, True
        while not self._stopping.is_set():
            started = time.monotonic()
            process, ready_fd = await self._start(number)
            line = await self._await_ready(ready_fd)
            serving = bool(line)
            self._metrics[number] = _metrics_of(line) or self._metrics.get(number, "")
            if first and serving:
                self._ready += 1
                if self._ready == self._count:
                    ready()
            elif first and not self._stopping.is_set():
                raise WorkerError(f"worker {number} did not start")
            first = False
            status = await self._finished(process)
            if self._stopping.is_set():
                return
            log.warning("worker ended; starting another", worker=number, status=status)
            if time.monotonic() - started > STEADY_SECONDS:
                backoff = FIRST_BACKOFF
            await self._pause(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _finished(self, process: asyncio.subprocess.Process) -> int:
        """Its exit status; killed when draining takes it too long."""
        waiting = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(DRAIN_SECONDS if self._stopping.is_set() else None):
                return await waiting
        except TimeoutError:
            process.kill()
            return await process.wait()
        finally:
            stopping.cancel()

    async def _start(self, number: int) -> tuple[asyncio.subprocess.Process, int]:
        settings_fd = _memory_file(self._command.document)
        ready_read, ready_write = os.pipe()
        siblings = [self._inboxes[number].fileno(), *(item.fileno() for item in self._outboxes)]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command.argv,
                "--worker",
                str(number),
                "--settings-fd",
                str(settings_fd),
                "--ready-fd",
                str(ready_write),
                "--metrics-port",
                self._metrics.get(number, "").rpartition(":")[2] or "0",
                "--siblings",
                ",".join(map(str, siblings)),
                pass_fds=(settings_fd, ready_write, *siblings),
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            os.close(ready_read)
            raise WorkerError(f"worker {number} can't be started: {error.strerror}") from None
        finally:
            os.close(settings_fd)
            os.close(ready_write)
        self._processes[number] = process
        return process, ready_read

    async def _await_ready(self, descriptor: int) -> bytes:
        """The worker's ready line; b"" when it ended or took too long."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                return await reader.readline()
        except TimeoutError:
            return b""
        finally:
            transport.close()


def _metrics_of(line: bytes) -> str:
    """The one address of a worker's ready line; "" where it names none."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    found = document.get("metrics") if isinstance(document, dict) else None
    return found[0] if isinstance(found, list) and found and isinstance(found[0], str) else ""


def _memory_file(document: bytes) -> int:
    """A descriptor to read the document from; it never touches a disk."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("settings", os.MFD_CLOEXEC)
        _write_all(descriptor, document)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    reading, writing = os.pipe()
    _write_all(writing, document)  # small enough for the pipe's buffer, or this platform isn't served by workers
    os.close(writing)
    return reading


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
