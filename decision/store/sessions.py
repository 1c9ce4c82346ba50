"""Sessions as rows, and the enforcers' signs of life.

When an enforcer was last heard is kept in memory on the monotonic clock, so that a wall clock set forward does not end
everybody's sessions. After a restart every enforcer has the full time again, counted from the opening of the store.
Replicas that share a store tell each other of the signs they had by numbers that grow: what counts is when a replica
saw one grow, by its own monotonic clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Row, bindparam, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError
from decision.model import Session
from decision.ports import Live
from decision.store import tables
from decision.store.bus import SESSIONS
from decision.store.clock import from_us, to_us
from decision.store.codec import kind_hash, subject_json, subject_of
from decision.store.database import Database
from decision.store.history import OPENED, Fact, ended, note_first, unchanged

LIST_LIMIT = 2000  # newest first
MAX_ENFORCERS = 10_000  # signs of life kept

_sessions = tables.sessions
_closure = tables.session_closure
_signs = tables.enforcer_signs
# Sorted, so that two replicas that do this at once never wait for each other in a ring. A sign lost with the server is
# told again within a second: no wait for the disk.
_NO_WAIT = text("SET LOCAL synchronous_commit TO off")
_SIGN = text(
    "INSERT INTO enforcer_signs (name, beats) SELECT name, 1 FROM unnest(CAST(:names AS text[])) AS name ORDER BY name"
    " ON CONFLICT (name) DO UPDATE SET beats = enforcer_signs.beats + 1"
)


# What every log-in asks is made once: to make a statement takes as long as to run it.
_ID = select(_sessions).where(_sessions.c.id == bindparam("session"))
# The kinds of live sessions whose closure meets this one, each with one of its sessions; from the index alone.
_LIVE = (
    select(_closure.c.kind, func.min(_closure.c.session).label("session"))
    .where(_closure.c.element.in_(bindparam("closure", expanding=True)), _closure.c.expires > bindparam("now"))
    .group_by(_closure.c.kind)
)
_FIRST = _LIVE.subquery()
_LIVE_SESSIONS = (
    select(_sessions, _FIRST.c.kind)
    .join(_FIRST, _FIRST.c.session == _sessions.c.id)
    .order_by(_sessions.c.opened, _sessions.c.id)
)
_INSERT, _INSERT_ELEMENTS = insert(_sessions), insert(_closure)
_CLOSE = (
    update(_sessions)
    .where(_sessions.c.id == bindparam("session"), _sessions.c.closed.is_(None))
    .values(closed=bindparam("at"), close_reason=bindparam("why"))
    .returning(_sessions.c.subject, _sessions.c.connection)
)
_LEAVE = delete(_closure).where(_closure.c.session == bindparam("left"))


class SqlSessions:
    """ports.SessionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, float] = {}
        self._started = database.clock.monotonic()
        self._untold: set[str] = set()  # heard here, not yet told to the other replicas
        self._beats: dict[str, int] = {}

    async def open(self, session: Session, *, seen: Collection[str] | None = None, history: int | None = None) -> None:
        """One transaction. `seen` are the kinds of live sessions of its closure that policy was told of; when there is
        another by now it was opened meanwhile: StateError SESSIONS_CHANGED, and nothing is opened."""

        async def work(connection: AsyncConnection, now: int) -> None:
            if seen is not None:
                live = (await connection.execute(_LIVE, _of(session.subject.closure, now))).scalars()
                if not set(live) <= set(seen):
                    raise StateError("Another session of this principal was opened meanwhile", code="SESSIONS_CHANGED")
            if history is not None:
                await unchanged(connection, session.subject.closure, history, code="SESSIONS_CHANGED")
            await connection.execute(_INSERT, _columns(session))
            elements = _elements(session)
            if elements and session.closed is None:
                await connection.execute(_INSERT_ELEMENTS, elements)
                role, where = session.subject.role, session.connection
                await note_first(connection, [Fact(str(one["element"]), OPENED, role, where) for one in elements], now)

        await self._database.write(work)
        await self.enforcer_seen(session.enforcer)

    async def get(self, session: str) -> Session | None:
        async def work(connection: AsyncConnection) -> Session | None:
            row = (await connection.execute(_ID, {"session": session})).one_or_none()
            return None if row is None else _session(row)

        return await self._database.read(work)

    async def close(self, session: str, reason: str, *, told: bool = True) -> bool:
        async def work(connection: AsyncConnection, now: int) -> bool:
            return bool(await self._close(connection, [session], reason, now, told=told))

        return await self._database.write(work)

    async def list(self, *, include_closed: bool = False, every: bool = False) -> Sequence[Session]:
        """The newest first, at most LIST_LIMIT unless `every`."""
        query = select(_sessions).order_by(_sessions.c.opened.desc(), _sessions.c.id.desc())
        if not every:
            query = query.limit(LIST_LIMIT)
        if not include_closed:
            query = query.where(_sessions.c.closed.is_(None))

        async def work(connection: AsyncConnection) -> Sequence[Session]:
            return [_session(row) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def live_of_closure(self, closure: Sequence[str]) -> Live:
        """One session of each kind is read, however many there are."""

        async def work(connection: AsyncConnection) -> Live:
            rows = (await connection.execute(_LIVE_SESSIONS, _of(closure, self._database.clock.now_us()))).all()
            return Live(frozenset(row.kind for row in rows), tuple(_session(row) for row in rows))

        return await self._database.read(work)

    async def closed_last(self, limit: int) -> Sequence[str]:
        query = select(_sessions.c.id).where(_sessions.c.closed.is_not(None))
        query = query.order_by(_sessions.c.closed.desc()).limit(limit)

        async def work(connection: AsyncConnection) -> Sequence[str]:
            return list((await connection.execute(query)).scalars())

        return await self._database.read(work)

    async def why_closed(self, sessions: Sequence[str]) -> Mapping[str, str]:
        query = select(_sessions.c.id, _sessions.c.close_reason).where(_sessions.c.closed.is_not(None))
        query = query.where(_sessions.c.id.in_(sessions))

        async def work(connection: AsyncConnection) -> Mapping[str, str]:
            return {row.id: row.close_reason for row in await connection.execute(query)}

        return await self._database.read(work)

    async def enforcer_seen(self, enforcer: str) -> None:
        """In memory only: never raises, costs nothing."""
        self._seen.pop(enforcer, None)  # to the end: the dict is in the order of the last sign of life
        self._seen[enforcer] = self._database.clock.monotonic()
        if self._database.bus.shared and len(self._untold) < MAX_ENFORCERS:
            self._untold.add(enforcer.replace("\0", "\ufffd"))
        if len(self._seen) > MAX_ENFORCERS:
            del self._seen[next(iter(self._seen))]

    async def _exchange_signs(self) -> None:
        """Tell the other replicas whom this one heard, and take over whom they did."""
        names, self._untold = sorted(self._untold), set()

        async def tell(connection: AsyncConnection) -> Sequence[Row[str, int]]:
            if names:
                await connection.execute(_NO_WAIT)
                await connection.execute(_SIGN, {"names": names})
            return (await connection.execute(select(_signs.c.name, _signs.c.beats).limit(MAX_ENFORCERS))).all()

        try:
            found = await self._database.note(tell)
        except BaseException:
            self._untold.update(names)
            raise
        now = self._database.clock.monotonic()
        own = set(names)
        for row in found:
            if row.beats != self._beats.get(row.name, 0) + (row.name in own):  # somebody else's sign too
                self._seen[row.name] = now
        self._beats = {row.name: row.beats for row in found}

    async def close_silent(self, *, seconds: float) -> Sequence[str]:
        if self._database.bus.shared:
            await self._exchange_signs()
        limit = self._database.clock.monotonic() - seconds

        def silent(enforcer: str) -> bool:
            return self._seen.get(enforcer, self._started) <= limit

        async def look(connection: AsyncConnection) -> list[str]:
            query = select(_sessions.c.enforcer).where(_sessions.c.closed.is_(None)).distinct()
            return [name for name in (await connection.execute(query)).scalars() if silent(name)]

        async def work(connection: AsyncConnection, now: int) -> Sequence[str]:
            query = select(_sessions.c.id, _sessions.c.enforcer).where(_sessions.c.closed.is_(None))
            found = await connection.execute(query.where(_sessions.c.enforcer.in_(names)).limit(LIST_LIMIT))
            ids = [row.id for row in found if silent(row.enforcer)]  # again: one may have spoken meanwhile
            if self._database.bus.shared:
                await connection.execute(delete(_signs).where(_signs.c.name.in_([one for one in names if silent(one)])))
            return await self._close(connection, ids, "enforcer silent", now)

        names = await self._database.read(look)
        return await self._database.write(work) if names else []

    async def _close(
        self, connection: AsyncConnection, ids: Sequence[str], reason: str, now: int, *, told: bool = True
    ) -> Sequence[str]:
        """Those of `ids` that were open, now closed."""
        closed = []
        for one in ids:
            gone = (await connection.execute(_CLOSE, {"session": one, "at": now, "why": reason})).first()
            if gone is not None:
                closed.append(one)
                subject = subject_of(gone.subject)
                await ended(connection, subject.closure, subject.role, gone.connection, now)
                await connection.execute(_LEAVE, {"left": one})
        if told:
            await self._database.bus.tell(connection, SESSIONS, closed)
        return closed


def _of(closure: Sequence[str], now: int) -> dict[str, object]:
    """The parameters of _LIVE."""
    return {"closure": sorted(set(closure)), "now": now}


def _elements(session: Session) -> list[dict[str, object]]:
    kind, expires = kind_hash(session.connection, session.subject), to_us(session.expires)
    return [
        {"session": session.id, "element": one, "kind": kind, "expires": expires}
        for one in sorted(set(session.subject.closure))
    ]


def _columns(session: Session) -> dict[str, object]:
    return {
        "id": session.id,
        "subject": subject_json(session.subject),
        "connection": session.connection,
        "environment": session.environment,
        "protocol": session.protocol,
        "client_address": session.client_address,
        "enforcer": session.enforcer,
        "opened": to_us(session.opened),
        "expires": to_us(session.expires),
        "closed": None if session.closed is None else to_us(session.closed),
        "close_reason": session.close_reason,
        "plan": session.plan,
    }


def _session(row: Row[*tuple[object, ...]]) -> Session:
    return Session(
        id=row.id,
        subject=subject_of(row.subject),
        connection=row.connection,
        environment=row.environment,
        protocol=row.protocol,
        client_address=row.client_address,
        enforcer=row.enforcer,
        opened=from_us(row.opened),
        expires=from_us(row.expires),
        closed=None if row.closed is None else from_us(row.closed),
        close_reason=row.close_reason,
        plan=row.plan,
    )
