"""The PostgreSQL gateway of one worker: listeners, the table of sessions, cancel requests, drain.

`python -m enforcers postgres` calls `serve(core, settings, sockets, ready=…, attach=…)` (core/ports.py, Serve). It
returns once `core.drained()` did and the sessions are over: idle ones at once, running statements get DRAIN_SECONDS,
held ones end with their approval's reference and find it again when they come back.
"""

from __future__ import annotations

import asyncio
import hmac
import resource
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from enforcers.core.balancers import Balancers
from enforcers.core.credentials import ClientCertificate
from enforcers.core.listeners import Acceptor
from enforcers.core.ports import Core, Describer
from enforcers.core.siblings import Siblings
from enforcers.core.supervise import Supervisor
from enforcers.core.tls import ServerTls
from enforcers.postgres.arrival import ALPN, Arrival
from enforcers.postgres.entry import Entry
from enforcers.postgres.maskers.secret import masking_keys
from enforcers.postgres.questions import Questions
from enforcers.postgres.session import Session, Source
from enforcers.postgres.source import LiveSource
from enforcers.postgres.startup import CancelRequested
from enforcers.postgres.target import parse_target
from enforcers.settings import Connection, Settings

log = structlog.get_logger(__name__)

MAX_CONNECTIONS = 500
# Connections that have not shown a token yet: beyond so many the kernel keeps the next ones waiting.
MAX_ENTERING = 1024
MAX_OPENING = 32  # sessions the decision service is asked to open at a time; more would only wait there, on its clock
SILENT_SECONDS = 1.0  # what a connection that sent nothing gets while others wait
TOKEN_SECONDS = 2.0  # what one that shows no token gets then
KEY_BYTES = 4  # of a cancel key, which is all that protocol 3.0 allows
LONG_KEY_BYTES = 32  # by protocol 3.2
MAX_WORKERS = 256  # a process id of ours holds the worker's number in its last byte
DRAIN_SECONDS = 30.0
_POLL_SECONDS = 0.05
_OTHER_FILES = 128


class PostgresGateway:
    """start(sockets) -> drain() -> stop(). sources: one per connection name, which is the database name on the wire."""

    def __init__(
        self,
        core: Core,
        sources: Mapping[str, Source],
        *,
        tasks: Supervisor | None = None,
        max_connections: int = MAX_CONNECTIONS,
        tls: ServerTls | None = None,
        balancers: Balancers | None = None,
        siblings: Siblings | None = None,
        oauth: str = "",
    ) -> None:
        """tls: loaded already. siblings: the other workers behind the same port. oauth: where tokens come from."""
        self.oauth = oauth
        self.core = core
        self.sources = sources
        self.tasks = tasks or Supervisor(_report)
        self.tls = tls
        self.balancers = balancers or Balancers(())
        self.opening = asyncio.Semaphore(MAX_OPENING)
        self._siblings = siblings
        self._max = max_connections
        self._entries: dict[Entry, asyncio.Task[None]] = {}
        self._arrivals: set[Arrival] = set()  # who has not shown a token yet
        self._sessions: set[Session] = set()
        self._slots: set[Arrival | Session] = set()
        self._keys: dict[int, tuple[bytes, Session]] = {}
        self._acceptor: Acceptor | None = None
        self._evicting: asyncio.TimerHandle | None = None
        self._looked = 0.0  # when who says nothing was looked for last

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on sockets that are bound already."""
        if self._siblings is not None:
            self._siblings.listen(self._cancel_told)
        self._acceptor = Acceptor(sockets, self._take)

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    # Connections on their way to a session

    def _take(self, connection: socket.socket, host: str, port: int) -> None:
        entry = Entry(self, connection, host, port)

        def gone(_task: asyncio.Task[None]) -> None:
            del self._entries[entry]
            self._admit_more()

        task = self.tasks.spawn(entry.run(), name="entry")
        self._entries[entry] = task
        task.add_done_callback(gone)
        if self.entering >= MAX_ENTERING and self._acceptor is not None:
            self._acceptor.pause()
            if self._evicting is None:
                self._evict()

    @property
    def entering(self) -> int:
        """How many are on their way, not yet among those who have a slot."""
        return len(self._entries) + len(self._arrivals)

    def _admit_more(self) -> None:
        if self.entering < MAX_ENTERING and self._acceptor is not None:
            self._acceptor.resume()

    def _evict(self) -> None:
        """While others wait, a connection that says nothing is somebody who holds a place, not a client."""
        self._evicting = None
        if self.entering < MAX_ENTERING:
            return
        now = time.monotonic()
        late, self._looked = now - self._looked > SILENT_SECONDS, now
        if late:  # this loop was busy elsewhere, or looks for the first time: what they said may only be unread
            self._evicting = asyncio.get_running_loop().call_later(SILENT_SECONDS / 4, self._evict)
            return
        for entry, task in list(self._entries.items()):
            if now - entry.since >= (SILENT_SECONDS if entry.says_nothing() else TOKEN_SECONDS):
                task.cancel()
        for arrival in list(self._arrivals):
            if now - arrival.since >= TOKEN_SECONDS:
                arrival.evict()
        self._evicting = asyncio.get_running_loop().call_later(SILENT_SECONDS / 4, self._evict)

    def arrived(self, arrival: Arrival) -> None:
        self._arrivals.add(arrival)

    def occupy(self, arrival: Arrival) -> bool:
        """Take one of the limited slots; False: there is none."""
        if len(self._slots) >= self._max:
            return False
        self._slots.add(arrival)
        self._arrivals.discard(arrival)
        self._admit_more()
        return True

    def opened(self, arrival: Arrival, session: Session) -> None:
        """The arrival's slot is the session's now."""
        self._slots.discard(arrival)
        self._slots.add(session)
        self._sessions.add(session)

    def left(self, arrival: Arrival) -> None:
        self._arrivals.discard(arrival)
        self._slots.discard(arrival)
        self._admit_more()

    # Sessions

    def register(self, session: Session, *, long_key: bool = False) -> tuple[int, bytes]:
        """A process id and a secret of the gateway's own for BackendKeyData. The process id's last byte says which
        worker has the session; the rest, and the secret, nobody can guess."""
        worker = self._siblings.index if self._siblings is not None else 0
        process = 0
        while not process or process in self._keys:
            process = (secrets.randbelow(2**23 - 1) + 1) << 8 | worker
        secret = secrets.token_bytes(LONG_KEY_BYTES if long_key else KEY_BYTES)
        self._keys[process] = (secret, session)
        return process, secret

    def forget(self, session: Session) -> None:
        self._sessions.discard(session)
        self._slots.discard(session)
        if session.key is not None:
            self._keys.pop(session.key[0], None)
            session.key = None

    async def cancel(self, request: CancelRequested) -> None:
        """Done when whoever has the session has heard it. A wrong key is ignored in silence, as PostgreSQL does."""
        worker = request.process & 0xFF
        if self._siblings is None or worker == self._siblings.index:
            self._cancel_here(request.process, request.secret)
        else:
            await self._siblings.tell(worker, request.process.to_bytes(4, "big", signed=True) + request.secret)

    def _cancel_here(self, process: int, secret: bytes) -> None:
        known = self._keys.get(process)
        if known is not None and hmac.compare_digest(known[0], secret):
            known[1].cancel()

    def _cancel_told(self, message: bytes) -> None:
        """What cancel() of another worker sent."""
        self._cancel_here(int.from_bytes(message[:4], "big", signed=True), message[4:])

    # The end

    async def drain(self, *, seconds: float = DRAIN_SECONDS) -> None:
        """Accept nothing more; end sessions as they fall idle; at the deadline end the rest."""
        if self._acceptor is not None:
            self._acceptor.close()
        for task in list(self._entries.values()):
            task.cancel()
        for arrival in [*self._arrivals, *(slot for slot in self._slots if isinstance(slot, Arrival))]:
            arrival.drain()
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
        if self._evicting is not None:
            self._evicting.cancel()
        if self._siblings is not None:
            self._siblings.close()
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
    siblings: Siblings | None = None,
) -> None:
    """What `python -m enforcers postgres` runs. Raises SettingsError for an upstream that is no PostgreSQL URL, a
    certificate and key that are none, a masking key that can't be had, and balancers that are no networks."""
    tasks = Supervisor(_report)
    keys = await masking_keys(settings)
    sources = {
        name: _source(core, connection, tasks, keys.get(name)) for name, connection in settings.connections.items()
    }
    core.on_classified(lambda connection, columns: _classify(sources, connection, columns))
    tls = ServerTls(settings.tls, settings.variables, protocols=[ALPN]) if settings.tls is not None else None
    watching = await _keep_fresh(core, tls, tasks) if tls is not None else None
    gateway = PostgresGateway(
        core,
        sources,
        tasks=tasks,
        max_connections=settings.max_connections,
        tls=tls,
        balancers=Balancers(settings.balancers),
        siblings=siblings,
        oauth=settings.oauth,
    )
    _warn_of_descriptors(settings.max_connections)
    await gateway.start(sockets)
    attach(Questions(sources))
    ready()
    try:
        await core.drained()
        await gateway.drain()
    finally:
        if watching is not None:
            watching.cancel()
        await gateway.stop()


def _warn_of_descriptors(connections: int) -> None:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < 2 * connections + MAX_ENTERING + _OTHER_FILES:
        log.warning("fewer files may be open than max_connections needs", allowed=allowed, max_connections=connections)


async def _keep_fresh(core: Core, tls: ServerTls, tasks: Supervisor) -> asyncio.Task[None]:
    """Load certificate and key, and read them again at SIGHUP and when their files change."""
    await tls.load()
    core.on_reload(lambda: tasks.spawn(_reload(tls), name="reload the certificate"))
    return tasks.spawn(tls.watch(), name="watch the certificate")


async def _reload(tls: ServerTls) -> None:
    await tls.reload()


def _classify(sources: Mapping[str, LiveSource], connection: str, columns: frozenset[tuple[str, str, str]]) -> None:
    source = sources.get(connection)
    if source is not None:
        source.catalog.classify(columns)


def _source(core: Core, connection: Connection, tasks: Supervisor, masking_key: bytes | None) -> LiveSource:
    async def credential(role: str) -> tuple[str, str]:
        return await core.credential(connection.name, role)

    async def certificate(role: str) -> ClientCertificate | None:
        return await core.certificate(connection.name, role)

    roles = sorted(connection.credentials)
    role = "default" if "default" in roles else "planner" if "planner" in roles else roles[0]
    target = parse_target(connection.upstream)
    return LiveSource(target, credential, tasks, catalog_role=role, certificate=certificate, masking_key=masking_key)


def _report(name: str, exception: BaseException) -> None:
    log.error("a task failed", task=name, exc_info=exception)
