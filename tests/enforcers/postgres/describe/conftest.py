"""A real catalog for the describer, of the PostgreSQL that --postgres chose, read once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description, SessionNames
from tests.enforcers.postgres.conftest import trusting_server
from tests.enforcers.postgres.describe import given, lineage_world

SETUP = Path(__file__).with_name("setup.sql")


@dataclass(frozen=True)
class Server:
    dsn: str
    catalog: Catalog

    def connect(self) -> asyncio.Future[asyncpg.Connection]:
        return asyncpg.connect(self.dsn)  # type: ignore[return-value]  # awaitable all the same

    def source(self) -> CatalogSource:
        return CatalogSource(lambda: asyncpg.connect(self.dsn))


async def _prepare(dsn: str) -> Catalog:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE DATABASE corpus")
    await connection.close()
    own = dsn.removesuffix("/postgres") + "/corpus"
    connection = await asyncpg.connect(own)
    await connection.execute(SETUP.read_text())
    await connection.close()
    source = CatalogSource(lambda: asyncpg.connect(own))
    await source.start()
    catalog = source.catalog
    await source.close()
    return catalog


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if given.CATALOGS:
        yield Server("", given.CATALOGS["corpus"])
        return
    with trusting_server() as port:
        dsn = f"postgresql://postgres@127.0.0.1:{port}"
        yield Server(f"{dsn}/corpus", asyncio.run(_prepare(f"{dsn}/postgres")))


@pytest.fixture(scope="session")
def world(server: Server) -> lineage_world.World:
    if given.CATALOGS:
        return lineage_world.World("", given.CATALOGS["lineage"])
    return lineage_world.make(server.dsn)


@pytest.fixture(scope="module")
def connection(world: lineage_world.World) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(world.dsn) as connected:
        connected.execute("SET jit = off")
        yield connected


def names(*path: str, role: str = "postgres") -> SessionNames:
    search_path = ("pg_catalog", *(path or ("public",)))
    return SessionNames(database="corpus", search_path=search_path, effective_role=role, session_role=role)


@pytest.fixture
def one(server: Server) -> Callable[..., Description]:
    """Describe a message of one statement with a new describer."""

    def describe(sql: str, *path: str) -> Description:
        found = Describer(16).describe_message(sql.encode(), catalog=server.catalog, names=names(*path))
        assert isinstance(found, list), found
        assert len(found) == 1
        return found[0]

    return describe
