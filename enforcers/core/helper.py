"""Runs a credential helper: an argument vector, no shell, an environment of what it was promised, a deadline.

What it writes on standard error is counted and never shown: of a helper that failed nobody knows what in it is secret.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from enforcers.core.errors import CredentialError
from enforcers.core.exec_credential import MAX_SECRET
from enforcers.secret import Secret
from enforcers.settings import ExecSource

PROMISED = ("PATH", "HOME")
_LOOK_EVERY_S = 0.005
_CLOSING_S = 1.0
_LAUNCHER = Path(__file__).resolve().with_name("helper_launcher.py")


async def run_helper(source: ExecSource, variables: Mapping[str, Secret]) -> bytes:
    """Its standard output, at most one byte more than MAX_SECRET. The caller sets the deadline: when it is cancelled,
    the helper and all it started are killed. Raises CredentialError."""
    environment = _environment(source, variables)
    program = _found(source.argv[0], environment)
    try:
        process = await _started((program, *source.argv[1:]), environment)
    except OSError as error:
        raise CredentialError(f"can't be started ({error.strerror})") from None
    finally:
        environment.clear()
    complaints = _Complaints()
    counting = asyncio.ensure_future(complaints.count(process.stderr))
    try:
        output = await _read(process.stdout, MAX_SECRET)
        status = await _status(process) if len(output) <= MAX_SECRET else 0
    finally:
        await _end(process, counting)
    if status != 0:
        raise CredentialError(
            f"failed (status {status}; its standard error, {complaints.size} bytes, is redacted);"
            " run it by hand with an environment of nothing but what it is promised"
        )
    return output


async def _started(command: tuple[str, ...], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Given up while it starts, it has all its processes ended as soon as their group is known: asyncio would kill the
    first alone. Raises OSError."""
    launched = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command)
    pipe = asyncio.subprocess.PIPE
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *launched,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=dict(environment),
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        ending = asyncio.ensure_future(_end_started(starting))
        while not ending.done():  # given up once more, it goes on all the same: `_end` has its own deadline
            with suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        raise


async def _end_started(starting: asyncio.Future[asyncio.subprocess.Process]) -> None:
    await asyncio.wait([starting])
    if not starting.cancelled() and starting.exception() is None:
        process = starting.result()
        await _end(process, asyncio.ensure_future(_Complaints().count(process.stderr)))


def _environment(source: ExecSource, variables: Mapping[str, Secret]) -> dict[str, str]:
    environment = {name: os.environ[name] for name in PROMISED if name in os.environ}
    for name in source.variables:
        given = variables.get(name)
        if given is None:
            raise CredentialError(f"is to get the variable {name}, which is not set; export it before starting")
        environment[name] = given.reveal()
    return environment


def _found(program: str, environment: Mapping[str, str]) -> str:
    found = shutil.which(program, path=environment.get("PATH", os.defpath))
    if found is None:
        raise CredentialError("can't be started: no such program, or not executable; correct the path, or chmod +x it")
    try:
        mode = os.stat(found).st_mode
    except OSError as error:
        raise CredentialError(f"can't be started ({error.strerror})") from None
    if mode & stat.S_IWOTH:
        raise CredentialError(f"may be changed by anybody; chmod o-w {found}")
    return os.path.abspath(found)


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Until the end, or one byte more than `most`."""
    data = b""
    while stream is not None and len(data) <= most:
        more = await stream.read(most + 1 - len(data))
        if not more:
            break
        data += more
    return data


class _Complaints:
    """How much a helper wrote on standard error. Read, so that it never waits for room; kept by nobody."""

    def __init__(self) -> None:
        self.size = 0

    async def count(self, stream: asyncio.StreamReader | None) -> None:
        while stream is not None and (more := await stream.read(4096)):
            self.size += len(more)


async def _status(process: asyncio.subprocess.Process) -> int:
    """Of the helper itself: asyncio's own `wait` waits for its pipes as well, which what it left behind may hold."""
    while process.returncode is None:  # noqa: ASYNC110 - asyncio tells nobody of this moment but by the pipes
        await asyncio.sleep(_LOOK_EVERY_S)
    return process.returncode


async def _end(process: asyncio.subprocess.Process, counting: asyncio.Future[None]) -> None:
    """The whole group: what the helper started would keep the pipe open, and the secret. Then both pipes to their ends,
    so that they are closed, and what was written on standard error is counted whole."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await _status(process)
    pipes = [counting, asyncio.ensure_future(_pass_over(process.stdout))]
    try:
        await asyncio.wait(pipes, timeout=_CLOSING_S)  # what left the group may hold a pipe for ever
    finally:
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _pass_over(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(4096):
        pass
