"""Each test on both databases; those that ask for `file_url` or `file_store` on SQLite's file alone."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from decision.cli.demo.database import Database, scratch_folder
from decision.store.engine import Store, open_store
from tests.decision.store.support import ManualClock

Direct = Callable[..., Sequence[Any]]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Database]:
    """One server for all tests here; each test has a database of its own."""
    database = Database(scratch_folder("twokey-store-"))
    try:
        database.start()
        yield database
    finally:
        database.remove()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/twokey.db"


@pytest.fixture
def postgres_url(postgres_server: Database, tmp_path: Path) -> str:
    """A schema of its own: quicker made than a database."""
    name = f"store_{secrets.token_hex(6)}"
    with closing(psycopg.connect(_conninfo(postgres_server), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    passwords = tmp_path / "pgpass"
    passwords.touch(mode=0o600)
    passwords.write_text(f"*:*:*:*:{postgres_server.admin_password}\n")
    where = f"postgresql://postgres@127.0.0.1:{postgres_server.port}/postgres"
    return f"{where}?passfile={passwords}&search_path={name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("file_url" if request.param == "sqlite" else "postgres_url"))


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
        with closing(psycopg.connect(_conninfo(server), autocommit=True)) as connection:
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


def _conninfo(server: Database) -> str:
    return psycopg.conninfo.make_conninfo(
        host="127.0.0.1", port=server.port, user="postgres", password=server.admin_password, dbname="postgres"
    )
