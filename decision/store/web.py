"""Reviewers' browser sessions and log-ins under way. A cookie is known by its hash alone, and everything is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError, StoreError
from decision.model import Login
from decision.ports import WebSession
from decision.store import tables
from decision.store.clock import from_us, to_us
from decision.store.database import Database
from decision.store.tokens import token_json, token_of

MAX_LOGINS: Final = 10_000
MAX_SESSIONS: Final = 10_000
_SWEPT: Final = 1000  # rows past their time that one transaction removes at most
_SECOND: Final = 1_000_000

_sessions, _logins = tables.web_sessions, tables.web_logins


class SqlWeb:
    """ports.WebStore."""

    def __init__(self, database: Database, *, max_logins: int = MAX_LOGINS) -> None:
        self._database = database
        self._max_logins = max_logins

    async def begin(self, key: bytes, facts: Mapping[str, str], *, seconds: float) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:
            old = select(_logins.c.key).where(_logins.c.expires <= now).limit(_SWEPT)
            await connection.execute(delete(_logins).where(_logins.c.key.in_(old)))
            count = select(func.count()).select_from(_logins)
            if (await connection.execute(count)).scalar_one() >= self._max_logins:
                raise StateError("too many log-ins are under way; try again in some minutes", code="LOGIN_LIMIT")
            row = {"key": key, "facts": dict(facts), "expires": now + int(seconds * _SECOND)}
            await connection.execute(insert(_logins).values(row))

        await self._database.write(work)

    async def finish(self, key: bytes) -> Mapping[str, str] | None:
        async def work(connection: AsyncConnection, now: int) -> Mapping[str, str] | None:
            row = (await connection.execute(select(_logins).where(_logins.c.key == key))).one_or_none()
            gone = await connection.execute(delete(_logins).where(_logins.c.key == key))
            if row is None or gone.rowcount != 1 or row.expires <= now:
                return None
            return {str(name): str(value) for name, value in row.facts.items()}

        return await self._database.write(work)

    async def open(self, key: bytes, session: WebSession) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:
            old = select(_sessions.c.key).where(_sessions.c.expires <= now).limit(_SWEPT)
            await connection.execute(delete(_sessions).where(_sessions.c.key.in_(old)))
            count = select(func.count()).select_from(_sessions)
            if (await connection.execute(count)).scalar_one() >= MAX_SESSIONS:
                raise StoreError("too many people are logged in")
            row = {
                "key": key,
                "token": token_json(session.token),
                "auth_time": None if session.auth_time is None else to_us(session.auth_time),
                "acr": session.acr,
                "used": now,
                "expires": to_us(session.token.expires),
            }
            await connection.execute(insert(_sessions).values(row))

        await self._database.write(work)

    async def get(self, key: bytes, *, idle_s: float) -> WebSession | None:
        async def work(connection: AsyncConnection) -> WebSession | None:
            row = (await connection.execute(select(_sessions).where(_sessions.c.key == key))).one_or_none()
            now = self._database.clock.now_us()
            if row is None or row.expires <= now or row.used + int(idle_s * _SECOND) <= now:
                return None
            shown = None if row.auth_time is None else from_us(row.auth_time)
            return WebSession(
                token=replace(token_of(row.token), login=Login(acr=row.acr, time=shown)),
                auth_time=shown,
                acr=row.acr,
                used=from_us(row.used),
            )

        return await self._database.read(work)

    async def touch(self, key: bytes) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:
            await connection.execute(update(_sessions).where(_sessions.c.key == key).values(used=now))

        await self._database.write(work)

    async def close(self, key: bytes) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:  # noqa: ARG001 - as every write's
            await connection.execute(delete(_sessions).where(_sessions.c.key == key))

        await self._database.write(work)
