"""A name in a classification means the column that it meant: renames, decoys, swaps, and what puts them right."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from enforcers.postgres.catalog.pins import Name
from enforcers.postgres.catalog.source import CatalogSource
from tests.enforcers.postgres.describe.conftest import Server

MAIL: Name = ("public", "pinned", "mail")
WAS: Name = ("public", "pinned", "was")
PAN: Name = ("public", "pinned", "pan")


class Pinned:
    def __init__(self, connection: asyncpg.Connection, source: CatalogSource) -> None:
        self._connection = connection
        self.source = source

    async def after(self, sql: str) -> set[Name]:
        """What is missing once this has been done."""
        await self._connection.execute(sql)
        self.source.note_ddl()
        await self.source.refresh()
        return set(self.source.catalog.missing)


@pytest.fixture
async def pinned(server: Server) -> AsyncIterator[Pinned]:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute("DROP TABLE IF EXISTS pinned; CREATE TABLE pinned (id int, mail text, pan text)")
    source = server.source()
    source.classify(frozenset({MAIL}))
    await source.start()
    yield Pinned(connection, source)
    await source.close()
    await connection.execute("DROP TABLE IF EXISTS pinned, pinned_old; DROP SCHEMA IF EXISTS aside CASCADE")
    await connection.close()


async def test_a_decoy_under_the_old_name_does_not_count(pinned: Pinned) -> None:
    assert await pinned.after("ALTER TABLE pinned RENAME mail TO was") == {MAIL}
    assert await pinned.after("ALTER TABLE pinned ADD mail text") == {MAIL}
    assert await pinned.after("ALTER TABLE pinned ADD more int") == {MAIL}  # nor with time
    pinned.source.classify(frozenset({MAIL, WAS}))  # a person has looked
    assert pinned.source.catalog.missing == ()
    pinned.source.classify(frozenset({MAIL}))  # and has decided that what it was is no secret
    assert pinned.source.catalog.missing == ()


async def test_one_statement_that_renames_and_replaces_is_seen(pinned: Pinned) -> None:
    sql = "BEGIN; ALTER TABLE pinned RENAME mail TO was; ALTER TABLE pinned ADD mail text; COMMIT"
    assert await pinned.after(sql) == {MAIL}
    assert await pinned.after("ALTER TABLE pinned DROP mail; ALTER TABLE pinned RENAME was TO mail") == set()


async def test_a_table_that_takes_anothers_name(pinned: Pinned) -> None:
    sql = "ALTER TABLE pinned RENAME TO pinned_old; CREATE TABLE pinned (id int, mail text)"
    assert await pinned.after(sql) == {MAIL}
    assert await pinned.after("DROP TABLE pinned_old") == set()


async def test_a_schema_that_is_moved_aside(pinned: Pinned) -> None:
    sql = "CREATE SCHEMA aside; ALTER TABLE pinned SET SCHEMA aside; CREATE TABLE pinned (id int, mail text)"
    assert await pinned.after(sql) == {MAIL}
    await pinned.after("DROP TABLE public.pinned")
    assert await pinned.after("ALTER TABLE aside.pinned SET SCHEMA public") == set()


async def test_a_swap_with_an_unlabelled_column_is_seen(pinned: Pinned) -> None:
    swap = (
        "ALTER TABLE pinned RENAME mail TO x; ALTER TABLE pinned RENAME pan TO mail; ALTER TABLE pinned RENAME x TO pan"
    )
    assert await pinned.after(swap) == {MAIL}
    pinned.source.classify(frozenset({MAIL, PAN}))
    assert pinned.source.catalog.missing == ()


async def test_dropping_and_restoring_is_no_move(pinned: Pinned) -> None:
    assert await pinned.after("DROP TABLE pinned") == {MAIL}
    assert await pinned.after("CREATE TABLE pinned (x int, mail text)") == set()
    assert await pinned.after("ALTER TABLE pinned DROP mail") == {MAIL}
    assert await pinned.after("ALTER TABLE pinned ADD mail text") == set()
    assert await pinned.after("ALTER TABLE pinned ALTER mail TYPE varchar(40)") == set()
