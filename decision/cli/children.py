"""One child process: started with its settings over a pipe, believed ready when it says so over another.

Nothing secret is in its arguments, its environment or on disk: the settings pipe is read once and gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from decision.cli.errors import CliError

READY_TIMEOUT_S = 60.0
MAX_READY_LINE = 64 * 1024
PR_SET_PDEATHSIG = 1


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


_LIBC = _libc()  # loaded before any fork: the child between fork and exec must only make system calls


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """In the child, before exec: get this signal when the thread that started it ends, however it ends (prctl(2))."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, number)


def module_command(module: str, *arguments: str) -> list[str]:
    """`python -m module`, isolated: no PYTHON* variable, user site or working directory can put code in its way."""
    return [sys.executable, "-I", "-m", module, *arguments]


@dataclass(slots=True)
class Child:
    """A program to run again and again. `command` gets --settings-fd and --ready-fd appended."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    directory: str
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, document: Mapping[str, object]) -> dict[str, object]:
        """Start it and return its ready line. Raises CliError: it can't start, died first, or was not ready in time."""
        settings_read, settings_write = os.pipe()
        ready_read, ready_write = os.pipe()
        try:
            command = [*self.command, "--settings-fd", str(settings_read), "--ready-fd", str(ready_write)]
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # standard output belongs to the supervisor's one ready line
                pass_fds=(settings_read, ready_write),
                env=dict(self.environ),
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which drains in order
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            os.close(settings_write)
            os.close(ready_read)
            raise CliError(f"{self.name} can't be started: {error}") from None
        finally:
            os.close(settings_read)
            os.close(ready_write)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await asyncio.to_thread(_write_all, settings_write, json.dumps(document).encode())
                line = await _read_line(ready_read)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()
            raise CliError(
                f"{self.name} was not ready in {READY_TIMEOUT_S:.0f} s", next_step="see its log above"
            ) from None
        return await self._ready(line)

    async def _ready(self, line: bytes) -> dict[str, object]:
        """The ready line, checked. A child that closed the pipe without one is dying or broken: it is ended."""
        try:
            ready = json.loads(line)
        except ValueError:
            ready = None
        if isinstance(ready, dict) and ready.get("ready") is True:
            return ready
        code = await self.stop(grace_s=2.0)
        raise CliError(f"{self.name} did not start (exit status {code})", next_step="its log above says why")

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit status; at once when it isn't running."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self, *, grace_s: float) -> int:
        """SIGTERM, then SIGKILL after `grace_s` seconds. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    def kill(self) -> None:
        """Its whole process group: what it started (OPA, workers) goes with it, also after its own end."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _write_all(descriptor: int, data: bytes) -> None:
    """Blocking; ends early, without an error, when the reader is gone: its death is reported by the ready pipe."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        pass
    finally:
        os.close(descriptor)


async def _read_line(descriptor: int) -> bytes:
    """One line, or what came before the end."""
    reader = asyncio.StreamReader(limit=MAX_READY_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        return await reader.readline()
    except ValueError:  # longer than MAX_READY_LINE
        return b""
    finally:
        transport.close()
