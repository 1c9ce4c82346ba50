"""SQLite in a thread, one step a statement.

aiosqlite takes a step of its own (queue, thread, event loop) to make a cursor, to execute, to fetch and to close it.
A statement of ours is small, and the steps cost more than it does; so here all four are one. What SQLAlchemy's adapter
asks of a driver is answered from what that step brought back.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiosqlite

_CHUNK = 64  # rows of aiosqlite's own iteration, which nobody uses here


@dataclass(frozen=True, slots=True)
class _Done:
    description: Sequence[Any] | None
    rows: list[Any]
    rowcount: int
    lastrowid: int | None


_NOTHING = _Done(None, [], -1, None)


class Connection(aiosqlite.Connection):
    """One SQLite connection, used by one task at a time. Awaiting it opens it. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        super().__init__(lambda: sqlite3.connect(path), _CHUNK)
        self._thread.daemon = True  # a transaction that hangs must not keep the process
        self._sure = True  # nothing of ours may still be running in the thread

    def cursor(self) -> Cursor:  # type: ignore[override] # all that SQLAlchemy's adapter uses of one
        return Cursor(self)

    async def rollback(self) -> None:
        """A step only where there is something to take back."""
        if not self._sure or self._conn.in_transaction:
            await super().rollback()

    async def run(self, step: Callable[[sqlite3.Connection], _Done]) -> _Done:
        """One step in the thread, after whatever is queued there."""
        try:
            done: _Done = await self._execute(step, self._conn)  # type: ignore[no-untyped-call] # aiosqlite's own
        except asyncio.CancelledError:
            self._sure = False
            raise
        return done


class Cursor:
    """One statement at a time; its rows are there when it is done."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._done = _NOTHING

    @property
    def description(self) -> Sequence[Any] | None:
        return self._done.description

    @property
    def rowcount(self) -> int:
        return self._done.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._done.lastrowid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Self:
        """Raises sqlite3.Error."""
        return await self._run(lambda cursor: cursor.execute(statement, parameters))

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> Self:
        """Raises sqlite3.Error."""
        return await self._run(lambda cursor: cursor.executemany(statement, parameters))

    async def _run(self, ask: Callable[[sqlite3.Cursor], object]) -> Self:
        """Ask, fetch and close in one step of the connection's thread."""

        def step(connection: sqlite3.Connection) -> _Done:
            cursor = connection.cursor()
            try:
                ask(cursor)
                return _done(cursor)
            finally:
                cursor.close()

        self._done = await self._connection.run(step)
        return self

    async def fetchall(self) -> list[Any]:
        return self._done.rows

    async def close(self) -> None:
        """Nothing is held."""


def _done(cursor: sqlite3.Cursor) -> _Done:
    rows = cursor.fetchall() if cursor.description else []
    return _Done(cursor.description, rows, cursor.rowcount, cursor.lastrowid)
