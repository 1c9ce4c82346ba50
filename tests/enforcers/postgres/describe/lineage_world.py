"""The database that lineage is tested against (lineage.sql), and how a role that owns nothing in it is described."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description, SessionNames

HERE = Path(__file__).parent


@dataclass(frozen=True)
class World:
    dsn: str
    catalog: Catalog


async def _prepare(dsn: str) -> World:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE DATABASE lineage")
    await connection.close()
    own = dsn.rsplit("/", 1)[0] + "/lineage"
    connection = await asyncpg.connect(own)
    await connection.execute((HERE / "lineage.sql").read_text(encoding="utf-8"))
    await connection.close()
    source = CatalogSource(lambda: asyncpg.connect(own))
    await source.start()
    catalog = source.catalog
    await source.close()
    return World(own, catalog)


def newest(world: World) -> World:
    """The same, of a server that reads every word as the parser here does: for syntax that came after the oldest."""
    return replace(world, catalog=replace(world.catalog, foreign_words=frozenset()))


def make(dsn: str) -> World:
    return asyncio.run(_prepare(dsn))


def described(world: World, sql: str, *, role: str = "lineage_reader") -> Description:
    names = SessionNames(
        database="lineage",
        search_path=("pg_catalog", "public"),
        effective_role=role,
        session_role=role,
    )
    found = Describer(4).describe_message(sql.encode(), catalog=world.catalog, names=names)
    assert isinstance(found, list)
    return found[0]
