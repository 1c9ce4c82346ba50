"""The local OPA: started, health-checked, killed when it hangs, restarted with bounded backoff.

Ready is said only while the newest process answers its health question; at any other moment `ask` refuses at once.
OPA keeps no state, so it is always ended by SIGKILL (a stopped process would ignore anything milder).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from decision.errors import PolicyLoadError, PolicyUnavailableError
from decision.identity.tasks import Tasks
from decision.model import JSON
from decision.policy.bundle import LoadedPolicy
from decision.policy.client import Answer, Local, OpaClient
from decision.policy.staging import staged
from decision.policy.wire import BASE

OnEvent = Callable[[str, Mapping[str, str]], None]

_START_DEADLINE_S = 10.0
_START_POLL_S = 0.02
_HEALTH_INTERVAL_S = 1.0
_HANGS_ALLOWED = 2  # health questions in a row without an answer; the next one kills
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 10.0
_STABLE_S = 30.0
_FOLDER = "twokey-opa-"
_SOCKET = "opa"
_DEAD_S = 60.0  # a younger folder may be of an OPA that is just starting
_MAX_NAME = 100  # bytes of a socket's name: sun_path of unix(7) has 108, 104 on macOS

_LAUNCHER = Path(__file__).resolve().with_name("launcher.py")
_log = structlog.get_logger("decision.policy")


@dataclass(frozen=True, slots=True)
class OpaSettings:
    """`path` of the local binary; or `url` and `token` of a remote OPA, which wins."""

    path: Path | None
    url: str | None = None
    token: str = field(default="", repr=False)

    @classmethod
    def from_settings(cls, document: Mapping[str, object]) -> OpaSettings:
        """Of the decision service's settings document. Raises PolicyLoadError."""
        part = document.get("opa")
        if not isinstance(part, Mapping) or not (part.get("path") or part.get("url")):
            raise PolicyLoadError("opa.path or opa.url is missing", next_step="install OPA 1.x and name it in opa.path")
        path = part.get("path")
        url = part.get("url")
        return cls(Path(str(path)) if path else None, str(url) if url else None, str(part.get("token") or ""))


class Opa(Protocol):
    """What the engine asks; local or remote."""

    @property
    def ready(self) -> bool: ...

    async def ask(self, document: JSON, package: str = "") -> Answer:
        """Raises PolicyError, PolicyUnavailableError."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Running:
    process: asyncio.subprocess.Process
    client: OpaClient
    started: float
    home: Path  # the folder of its socket


class LocalOpa:
    """Supervises one OPA with one loaded policy. Make it by `await LocalOpa.start(...)`."""

    def __init__(self, path: Path, policy: LoadedPolicy, on_event: OnEvent) -> None:
        self._path = path
        self._policy = policy
        self._on_event = on_event
        self._token = secrets.token_urlsafe(32)
        self._running: _Running | None = None
        self._ready = False
        self._tasks = Tasks()

    @classmethod
    async def start(cls, path: Path, policy: LoadedPolicy, on_event: OnEvent) -> LocalOpa:
        """Start OPA and wait until it answers. Raises PolicyLoadError: it does not come up."""
        await asyncio.to_thread(remove_dead_folders)
        opa = cls(path, policy, on_event)
        try:
            await opa._launch()
        except PolicyUnavailableError as error:
            raise PolicyLoadError(f"OPA does not start: {error}") from None
        opa._tasks.spawn(opa._supervise(), name="opa", failed=opa._lost)
        return opa

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def pid(self) -> int | None:
        return None if self._running is None else self._running.process.pid

    async def ask(self, document: JSON, package: str = "") -> Answer:
        """One question. Raises PolicyUnavailableError at once while OPA is down."""
        if not self._ready or self._running is None:
            raise PolicyUnavailableError("OPA is not running; it is being restarted")
        return await self._running.client.ask(document, package)

    async def close(self) -> None:
        """End OPA. Questions in flight fail; the engine waits for them first."""
        self._ready = False
        self._kill()  # first and without an await, so that a caller who is cancelled here leaves no process behind
        await self._tasks.close()
        await self._end()

    def _lost(self) -> None:
        self._ready = False

    async def _supervise(self) -> None:
        backoff = _BACKOFF_FIRST_S
        while True:
            await self._until_lost()
            self._ready = False
            if self._running is not None and time.monotonic() - self._running.started > _STABLE_S:
                backoff = _BACKOFF_FIRST_S
            await self._end()
            while not self._ready:
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _BACKOFF_MOST_S)
                try:
                    await self._launch()
                except PolicyUnavailableError as error:
                    self._event("opa-start-failed", reason=str(error))

    async def _until_lost(self) -> None:
        """Return when the process has exited or no longer answers."""
        if self._running is None:
            return
        process, client = self._running.process, self._running.client
        # One waiter for the whole life: asyncio keeps every cancelled process.wait() until the process ends.
        exited = asyncio.get_running_loop().create_task(process.wait(), name="opa-exit")
        silent = 0
        try:
            while not (await asyncio.wait({exited}, timeout=_HEALTH_INTERVAL_S))[0]:
                healthy = await client.healthy()
                if process.returncode is not None:
                    continue
                self._ready = healthy
                silent = 0 if healthy else silent + 1
                if silent > _HANGS_ALLOWED:
                    self._event("opa-hung", pid=str(process.pid))
                    return
            self._event("opa-exited", code=str(process.returncode))
        finally:
            exited.cancel()

    async def _launch(self) -> None:
        """Start a process and wait until it is healthy. Raises PolicyUnavailableError."""
        try:
            process = await self._start_process()
        except OSError as error:  # a full disk, no descriptors left, no such binary: it may pass
            raise PolicyUnavailableError(f"{self._path} can't be started: {error.strerror}") from None
        self._ready = True
        self._event("opa-started", pid=str(process.pid))

    async def _start_process(self) -> asyncio.subprocess.Process:
        with contextlib.ExitStack() as stack:
            folder = await asyncio.to_thread(stack.enter_context, staged(self._policy, self._token))
            home = _socket_folder()
            try:
                process = await self._spawn(_arguments(home / _SOCKET), folder)
            except BaseException:
                shutil.rmtree(home, ignore_errors=True)
                raise
            client = OpaClient(BASE, self._token, provenance=False, local=Local(home / _SOCKET, process.pid))
            self._running = _Running(process, client, time.monotonic(), home)
            try:
                await client.open()
                await self._until_healthy(process, client)
            except BaseException:
                await self._end()
                raise
        return process

    async def _spawn(self, arguments: Sequence[str], folder: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(self._path), *arguments),
            cwd=folder,
            env={},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=None,  # JSON lines, as ours
        )

    async def _until_healthy(self, process: asyncio.subprocess.Process, client: OpaClient) -> None:
        deadline = time.monotonic() + _START_DEADLINE_S
        while not await client.healthy():
            if process.returncode is not None:
                raise PolicyUnavailableError(f"it ended with exit code {process.returncode}")
            if time.monotonic() > deadline:
                raise PolicyUnavailableError(f"it did not answer within {_START_DEADLINE_S:.0f} s")
            await asyncio.sleep(_START_POLL_S)

    async def _end(self) -> None:
        self._kill()
        running, self._running = self._running, None
        if running is not None:
            await running.client.close()
            await running.process.wait()
            shutil.rmtree(running.home, ignore_errors=True)

    def _kill(self) -> None:
        if self._running is not None and self._running.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._running.process.kill()

    def _event(self, name: str, **fields: str) -> None:
        _log.info(name, **fields)
        self._on_event(name, fields)


class RemoteOpa:
    """An OPA that someone else runs. Ready while its health question is answered."""

    def __init__(self, url: str, token: str, on_event: OnEvent) -> None:
        self._client = OpaClient(url, token, provenance=True)
        self._on_event = on_event
        self._ready = False
        self._tasks = Tasks()

    async def start(self) -> None:
        """Begin watching its health; it need not be up yet: until it is, every question is refused."""
        await self._client.open()
        self._ready = await self._client.healthy()
        self._tasks.spawn(self._watch(), name="remote-opa", failed=self._lost)

    @property
    def ready(self) -> bool:
        return self._ready

    async def ask(self, document: JSON, package: str = "") -> Answer:
        if not self._ready:
            raise PolicyUnavailableError("the remote OPA does not answer its health question")
        return await self._client.ask(document, package)

    async def close(self) -> None:
        self._ready = False
        await self._tasks.close()
        await self._client.close()

    def _lost(self) -> None:
        self._ready = False

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_HEALTH_INTERVAL_S)
            healthy = await self._client.healthy()
            if healthy != self._ready:
                self._ready = healthy
                name = "opa-started" if healthy else "opa-exited"
                _log.info(name, remote=True)
                self._on_event(name, {"remote": "true"})


def _arguments(path: Path) -> Sequence[str]:
    return (
        *("run", "--server", "--addr", f"unix://{path}"),
        *("--authentication", "token", "--authorization", "basic"),
        *("--log-level", "error", "--log-format", "json", "--skip-version-check"),
        "--optimize-store-for-read-speed",  # the data is loaded once and read by every question
        *("--bundle", "policy", "gate"),
    )


def remove_dead_folders() -> None:
    """The socket folders of services that were killed: ours, a minute old, and nobody listens in them any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        try:
            found = folder.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _DEAD_S or _listening(folder / _SOCKET):
                continue
        except OSError:  # gone meanwhile, or not a socket: not for us to judge
            continue
        shutil.rmtree(folder, ignore_errors=True)


def _listening(path: Path) -> bool:
    """Raises OSError where that can't be told."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True


def _socket_folder() -> Path:
    """A folder (0700) of its own for one OPA's socket: nobody else can listen or ask there. Raises OSError."""
    folder = tempfile.mkdtemp(prefix=_FOLDER)
    if len(folder) + len(_SOCKET) > _MAX_NAME:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix=_FOLDER, dir="/tmp")
    return Path(folder)
