"""The driver against SQLite itself; SQLAlchemy's use of it is in every other test of the store."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from decision.store.driver import Connection


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    opened = Connection(tmp_path / "x.db")
    await opened
    await opened.cursor().execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    yield opened
    await opened.close()


async def test_a_statement_brings_its_rows_description_and_count(connection: Connection) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany("INSERT INTO t VALUES (?, ?)", [(number, str(number)) for number in range(5)])
        assert (cursor.rowcount, cursor.description, await cursor.fetchall()) == (5, None, [])
        await cursor.execute("SELECT n, text FROM t WHERE n > ? ORDER BY n", (2,))
        assert await cursor.fetchall() == [(3, "3"), (4, "4")]
        assert [column[0] for column in cursor.description or ()] == ["n", "text"]
        await cursor.execute("UPDATE t SET text = NULL")
        assert (cursor.rowcount, await cursor.fetchall()) == (5, [])
        await cursor.execute("INSERT INTO t VALUES (9, 'x')")
        assert cursor.lastrowid == 9


async def test_an_error_is_sqlites_own_and_the_connection_goes_on(connection: Connection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO t VALUES (1, 'x')")
    with pytest.raises(sqlite3.IntegrityError):
        await cursor.execute("INSERT INTO t VALUES (2, 'x')")
    with pytest.raises(sqlite3.OperationalError):
        await cursor.execute("SELECT nothing")
    await cursor.execute("SELECT count(*) FROM t")
    assert await cursor.fetchall() == [(1,)]


async def test_a_transaction_is_taken_back_and_without_one_nothing_is_done(connection: Connection) -> None:
    await connection.cursor().execute("INSERT INTO t VALUES (1, 'x')")  # the driver's own transaction begins here
    await connection.rollback()
    await connection.rollback()
    cursor = await connection.cursor().execute("SELECT count(*) FROM t")
    assert await cursor.fetchall() == [(0,)]


async def test_what_a_cancelled_statement_still_does_is_taken_back(connection: Connection) -> None:
    """It runs on in the thread: whether there is a transaction can't be told from outside until then."""
    entered, release = threading.Event(), threading.Event()

    def hold() -> int:
        entered.set()
        return int(release.wait(10))

    await connection.create_function("hold", 0, hold)
    running = asyncio.ensure_future(connection.cursor().execute("INSERT INTO t SELECT hold(), 'late'"))
    await asyncio.to_thread(entered.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    back = asyncio.ensure_future(connection.rollback())
    await asyncio.sleep(0)
    release.set()
    await back
    cursor = await connection.cursor().execute("SELECT count(*) FROM t")
    assert await cursor.fetchall() == [(0,)]
