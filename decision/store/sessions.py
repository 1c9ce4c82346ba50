"""Sessions as rows, and the enforcers' signs of life.

When an enforcer was last heard is kept in memory on the monotonic clock, so that a wall clock set forward does not end
everybody's sessions. After a restart every enforcer has the full time again, counted from the opening of the store.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError
from decision.model import Session
from decision.ports import Live
from decision.store import tables
from decision.store.clock import from_us, to_us
from decision.store.codec import kind_hash, subject_json, subject_of
from decision.store.database import Database

LIST_LIMIT = 2000  # newest first
MAX_ENFORCERS = 10_000  # signs of life kept

_sessions = tables.sessions
_closure = tables.session_closure


class SqlSessions:
    """ports.SessionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, float] = {}
        self._started = database.clock.monotonic()

    async def open(self, session: Session, *, seen: Collection[str] | None = None) -> None:
        """One transaction. `seen` are the kinds of live sessions of its closure that policy was told of; when there is
        another by now it was opened meanwhile: StateError SESSIONS_CHANGED, and nothing is opened."""

        async def work(connection: AsyncConnection, now: int) -> None:
            if seen is not None:
                live = (await connection.execute(_live(session.subject.closure, now))).scalars()
                if not set(live) <= set(seen):
                    raise StateError("Another session of this principal was opened meanwhile", code="SESSIONS_CHANGED")
            await connection.execute(insert(_sessions).values(_columns(session)))
            elements = _elements(session)
            if elements and session.closed is None:
                await connection.execute(insert(_closure), elements)

        await self._database.write(work)
        await self.enforcer_seen(session.enforcer)

    async def get(self, session: str) -> Session | None:
        async def work(connection: AsyncConnection) -> Session | None:
            row = (await connection.execute(select(_sessions).where(_sessions.c.id == session))).one_or_none()
            return None if row is None else _session(row)

        return await self._database.read(work)

    async def close(self, session: str, reason: str) -> bool:
        async def work(connection: AsyncConnection, now: int) -> bool:
            return bool(await _close(connection, [session], reason, now))

        return await self._database.write(work)

    async def list(self, *, include_closed: bool = False) -> Sequence[Session]:
        """The newest first, at most LIST_LIMIT."""
        query = select(_sessions).order_by(_sessions.c.opened.desc(), _sessions.c.id.desc()).limit(LIST_LIMIT)
        if not include_closed:
            query = query.where(_sessions.c.closed.is_(None))

        async def work(connection: AsyncConnection) -> Sequence[Session]:
            return [_session(row) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def live_of_closure(self, closure: Sequence[str]) -> Live:
        """One session of each kind is read, however many there are."""

        async def work(connection: AsyncConnection) -> Live:
            first = _live(closure, self._database.clock.now_us()).subquery()
            query = select(_sessions, first.c.kind).join(first, first.c.session == _sessions.c.id)
            rows = (await connection.execute(query.order_by(_sessions.c.opened, _sessions.c.id))).all()
            return Live(frozenset(row.kind for row in rows), tuple(_session(row) for row in rows))

        return await self._database.read(work)

    async def closed_last(self, limit: int) -> Sequence[str]:
        query = select(_sessions.c.id).where(_sessions.c.closed.is_not(None))
        query = query.order_by(_sessions.c.closed.desc()).limit(limit)

        async def work(connection: AsyncConnection) -> Sequence[str]:
            return list((await connection.execute(query)).scalars())

        return await self._database.read(work)

    async def enforcer_seen(self, enforcer: str) -> None:
        """In memory only: never raises, costs nothing."""
        self._seen.pop(enforcer, None)  # to the end: the dict is in the order of the last sign of life
        self._seen[enforcer] = self._database.clock.monotonic()
        if len(self._seen) > MAX_ENFORCERS:
            del self._seen[next(iter(self._seen))]

    async def close_silent(self, *, seconds: float) -> Sequence[str]:
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
            return await _close(connection, ids, "enforcer silent", now)

        names = await self._database.read(look)
        return await self._database.write(work) if names else []


def _live(closure: Sequence[str], now: int) -> Select[str, str]:
    """The kinds of live sessions whose closure meets this one, each with one of its sessions; from the index alone."""
    one = func.min(_closure.c.session).label("session")
    meets = (_closure.c.element.in_(set(closure)), _closure.c.expires > now)
    return select(_closure.c.kind, one).where(*meets).group_by(_closure.c.kind)


def _elements(session: Session) -> list[dict[str, object]]:
    kind, expires = kind_hash(session.connection, session.subject), to_us(session.expires)
    return [
        {"session": session.id, "element": one, "kind": kind, "expires": expires}
        for one in sorted(set(session.subject.closure))
    ]


async def _close(connection: AsyncConnection, ids: Sequence[str], reason: str, now: int) -> list[str]:
    """Those of `ids` that were open, now closed."""
    closed = []
    for one in ids:
        change = update(_sessions).where(_sessions.c.id == one, _sessions.c.closed.is_(None))
        if (await connection.execute(change.values(closed=now, close_reason=reason))).rowcount == 1:
            closed.append(one)
            await connection.execute(delete(_closure).where(_closure.c.session == one))
    return closed


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
    )
