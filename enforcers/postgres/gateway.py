"""The PostgreSQL gateway of one worker: listeners, the table of sessions, cancel requests, drain.

`python -m enforcers postgres` calls `serve(core, settings, sockets, ready=…, attach=…)` (core/ports.py, Serve). It
returns once `core.drained()` did and the sessions are over: idle ones at once, running statements get DRAIN_SECONDS,
held ones end with their approval's reference and find it again when they come back.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence

import structlog

from enforcers.core.ports import Core, Describer
from enforcers.postgres.questions import Questions
from enforcers.postgres.session import Session, Source
from enforcers.postgres.source import LiveSource
from enforcers.postgres.startup import CancelRequested
from enforcers.postgres.supervise import Supervisor
from enforcers.postgres.upstream import parse_target
from enforcers.settings import Connection, Settings

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 500
DRAIN_SECONDS = 30.0
_POLL_SECONDS = 0.05


class PostgresGateway:
    """start(sockets) -> drain() -> stop(). sources: one per connection name, which is the database name on the wire."""

    def __init__(
        self,
        core: Core,
        sources: Mapping[str, Source],
        *,
        tasks: Supervisor | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.core = core
        self.sources = sources
        self.tasks = tasks or Supervisor(_report)
        self._max = max_connections
        self._sessions: set[Session] = set()
        self._keys: dict[int, tuple[bytes, Session]] = {}
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on sockets that are bound already."""
        loop = asyncio.get_running_loop()
        for bound in sockets:
            self._servers.append(await loop.create_server(lambda: Session(self), sock=bound, backlog=1024))

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    @property
    def crowded(self) -> bool:
        """More sessions than the limit; the newest are told so."""
        return len(self._sessions) > self._max

    def admit(self, session: Session) -> bool:
        """False: don't even listen to it (twice the limit are there, told or waiting to be)."""
        if len(self._sessions) >= 2 * self._max:
            return False
        self._sessions.add(session)
        return True

    def register(self, session: Session) -> tuple[int, bytes]:
        """A process id and a secret of the gateway's own for BackendKeyData (4 bytes is what protocol 3.0 allows)."""
        process = secrets.randbelow(2**31 - 1) + 1
        while process in self._keys:
            process = secrets.randbelow(2**31 - 1) + 1
        secret = secrets.token_bytes(4)
        self._keys[process] = (secret, session)
        return process, secret

    def forget(self, session: Session) -> None:
        self._sessions.discard(session)
        if session.key is not None:
            self._keys.pop(session.key[0], None)
            session.key = None

    def cancel(self, request: CancelRequested) -> None:
        """A wrong key is ignored in silence, as PostgreSQL does."""
        known = self._keys.get(request.process)
        if known is not None and hmac.compare_digest(known[0], request.secret):
            known[1].cancel()

    async def drain(self, *, seconds: float = DRAIN_SECONDS) -> None:
        """Accept nothing more; end sessions as they fall idle; at the deadline end the rest."""
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._sessions and loop.time() < deadline:
            for session in list(self._sessions):
                session.drain(now=session.holding)
            if self._sessions:
                await asyncio.sleep(_POLL_SECONDS)
        for session in list(self._sessions):
            session.drain(now=True)

    async def stop(self) -> None:
        """End everything at once and free what is held."""
        await self.drain(seconds=0.0)
        for source in self.sources.values():
            await source.close()
        await self.tasks.stop(grace=5.0)


async def serve(
    core: Core,
    settings: Settings,
    sockets: Sequence[socket.socket],
    *,
    ready: Callable[[], None],
    attach: Callable[[Describer], None],
) -> None:
    """What `python -m enforcers postgres` runs. Raises SettingsError for an upstream that is no PostgreSQL URL."""
    tasks = Supervisor(_report)
    sources = {name: _source(core, connection, tasks) for name, connection in settings.connections.items()}
    gateway = PostgresGateway(core, sources, tasks=tasks)
    await gateway.start(sockets)
    attach(Questions(sources))
    ready()
    try:
        await core.drained()
        await gateway.drain()
    finally:
        await gateway.stop()


def _source(core: Core, connection: Connection, tasks: Supervisor) -> LiveSource:
    async def credential(role: str) -> tuple[str, str]:
        return await core.credential(connection.name, role)

    roles = sorted(connection.credentials)
    role = "default" if "default" in roles else "planner" if "planner" in roles else roles[0]
    return LiveSource(parse_target(connection.upstream), credential, tasks, catalog_role=role)


def _report(name: str, exception: BaseException) -> None:
    log.error("a task failed", task=name, exc_info=exception)
