"""Each test on both databases; those that ask for `file_url` or `file_store` on SQLite's file alone."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest

from decision.store.engine import Store, open_store
from tests.decision.conftest import conninfo
from tests.decision.store.support import ManualClock

Direct = Callable[..., Sequence[Any]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def direct(url: str, request: pytest.FixtureRequest) -> Direct:
    """Statements straight to the database; the rows of the last."""

    def run(*statements: str, parameters: Sequence[object] = ()) -> Sequence[Any]:
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
                for statement in statements:
                    found: Any = file.execute(statement, parameters)
                return list(found)
        server = request.getfixturevalue("postgres_server")
        with closing(psycopg.connect(conninfo(server), autocommit=True)) as connection:
            connection.execute(f"SET search_path = {url.rpartition('=')[2]}")
            for statement in statements:
                found = connection.execute(statement.replace("?", "%s"), tuple(parameters))
            return list(found) if found.description else []

    return run


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(url, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def file_store(file_url: str, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(file_url, clock=clock)
    yield opened
    await opened.close()
