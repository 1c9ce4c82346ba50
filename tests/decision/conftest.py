"""Stores for tests: a file, a schema of its own on one PostgreSQL, or each in turn."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from decision.cli.demo.database import Database, scratch_folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Database]:
    """One server for all tests; each test has a database of its own."""
    database = Database(scratch_folder("twokey-store-"))
    try:
        database.start()
        yield database
    finally:
        database.remove()


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/twokey.db"


@pytest.fixture
def postgres_url(postgres_server: Database, tmp_path: Path) -> str:
    """A schema of its own: quicker made than a database."""
    name = f"store_{secrets.token_hex(6)}"
    with closing(psycopg.connect(conninfo(postgres_server), autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    passwords = tmp_path / "pgpass"
    passwords.touch(mode=0o600)
    passwords.write_text(f"*:*:*:*:{postgres_server.admin_password}\n")
    where = f"postgresql://postgres@127.0.0.1:{postgres_server.port}/postgres"
    return f"{where}?passfile={passwords}&search_path={name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("file_url" if request.param == "sqlite" else "postgres_url"))


def conninfo(server: Database) -> str:
    return psycopg.conninfo.make_conninfo(
        host="127.0.0.1", port=server.port, user="postgres", password=server.admin_password, dbname="postgres"
    )
