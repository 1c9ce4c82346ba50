"""Transactions: one place where deadlines, the write order, the clock and the error contract are kept.

A transaction runs in a task of its own. A caller that is cancelled (a client gone, a deadline) leaves it to end by
itself, so that no connection is torn in the middle of a statement and no half of a transition is left behind.
Every writing transaction first touches the clock's row. That persists the high-water mark, and on a database with row
locks it makes writers wait for each other as SQLite's own lock does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decision.errors import DecisionError, StateError, StoreError
from decision.store import tables
from decision.store.bus import Bus
from decision.store.clock import StoreClock

T = TypeVar("T")
Read = Callable[[AsyncConnection], Awaitable[T]]
Write = Callable[[AsyncConnection, int], Awaitable[T]]

DEADLINE_S = 10.0  # one transaction, the wait for the write lock included
GRACE_S = 2.0  # for its rollback

# Of every transaction that writes, so made once.
_TOUCH = update(tables.clock).where(tables.clock.c.high_water <= bindparam("now")).values(high_water=bindparam("now"))
_MARK = select(tables.clock.c.high_water).with_for_update()

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """One database: how its transactions begin for who reads and who writes, and how replicas on it hear each other."""

    reader: AsyncEngine
    writer: AsyncEngine
    bus: Bus
    migration_lock: int | None = None  # an advisory lock, where a writing transaction takes none by itself


class Database:
    """Reads and writes on one database. Raises StoreError, StateError, and what a caller's own hook raises."""

    def __init__(self, engines: Engines, clock: StoreClock) -> None:
        self.clock = clock
        self.bus = engines.bus
        self._reader = engines.reader
        self._writer = engines.writer
        self._one_writer = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def read(self, work: Read[T]) -> T:
        async def transaction() -> T:
            async with self._reader.connect() as connection:
                return await work(connection)

        return await self._run(transaction())

    async def write(self, work: Write[T]) -> T:
        """`work` gets the connection and the store's time; it commits when `work` returns."""

        async def transaction() -> T:
            async with self._one_writer:
                try:
                    async with self._writer.begin() as connection:
                        return await work(connection, await self._touch_clock(connection))
                except StateError:
                    # The refusal may rest on the time; a restart with the clock set back must not take it back.
                    async with self._writer.begin() as connection:
                        await self._touch_clock(connection)
                    raise

        return await self._run(transaction())

    async def note(self, work: Read[T]) -> T:
        """As `write`, for what no time and no other row depends on: it neither moves the clock nor waits its turn."""

        async def transaction() -> T:
            async with self._writer.begin() as connection:
                return await work(connection)

        return await self._run(transaction())

    async def _touch_clock(self, connection: AsyncConnection) -> int:
        now = self.clock.now_us()
        if (await connection.execute(_TOUCH, {"now": now})).rowcount == 1:
            return now
        # Somebody else has been further: the lock is taken all the same.
        return self.clock.raise_to((await connection.execute(_MARK)).scalar_one())

    async def _run(self, transaction: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            transaction.close()
            raise StoreError("The store is closed")
        task = asyncio.get_running_loop().create_task(_guarded(transaction))
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(DEADLINE_S + GRACE_S):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise StoreError(f"The store did not answer in {DEADLINE_S + GRACE_S:.0f} s") from error

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, DecisionError):
            _log.error("store.transaction-failed", error=type(error).__name__)

    async def close(self) -> None:
        self._closed = True
        if self._running:
            await asyncio.wait(self._running, timeout=DEADLINE_S + GRACE_S)
        await self.bus.close()
        await self._reader.dispose()


async def _guarded(transaction: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await transaction
    except TimeoutError as error:
        raise StoreError(f"The store did not answer in {DEADLINE_S:.0f} s") from error
    except (SQLAlchemyError, OSError, ValueError, OverflowError) as error:
        raise StoreError(f"The store can't be read or written: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """What went wrong, without the statement and its parameters, which may hold a client's values."""
    original = getattr(error, "orig", None)
    # PostgreSQL's further lines (DETAIL) quote rows.
    return str(original).partition("\n")[0] if original is not None else type(error).__name__
