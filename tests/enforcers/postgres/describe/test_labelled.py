"""Labels of the target's catalog in what is described: at every column named, in the shape, and for what is opaque."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server, names

Describe = Callable[[str], Coroutine[Any, Any, Description]]


@pytest.fixture
async def noted(server: Server) -> AsyncIterator[tuple[asyncpg.Connection, Describe]]:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(
        "CREATE TABLE noted (id int, mail text) PARTITION BY RANGE (id);"
        "CREATE TABLE noted_1 PARTITION OF noted FOR VALUES FROM (0) TO (9);"
        "CREATE VIEW noted_view AS SELECT mail AS m FROM noted"
    )
    source = server.source()

    async def describe(sql: str) -> Description:
        source.note_ddl()
        await source.refresh()
        found = Describer(16).describe_message(sql.encode(), catalog=source.catalog, names=names())
        assert isinstance(found, list)
        return found[0]

    yield connection, describe
    await source.close()
    await connection.execute("DROP TABLE noted CASCADE")
    await connection.close()


async def test_labels_stand_beside_what_is_named(noted: tuple[asyncpg.Connection, Describe]) -> None:
    connection, describe = noted
    bare = await describe("SELECT mail FROM noted")
    assert not bare.template.column_labels
    assert not bare.template.target_labels
    await connection.execute("COMMENT ON COLUMN noted.mail IS 'twokey: label=email'")
    for sql in (
        "SELECT mail FROM noted",
        "SELECT mail FROM noted_1",
        "SELECT m FROM noted_view",
        "SELECT * FROM noted_1",
        "SELECT 1 FROM noted WHERE mail = 'x'",
    ):
        found = [
            (item.relation, item.column, list(item.labels)) for item in (await describe(sql)).template.column_labels
        ]
        assert ("noted", "mail", ["email"]) in found, sql
    assert not (await describe("SELECT id FROM orders")).template.column_labels


async def test_a_label_is_part_of_the_shape(noted: tuple[asyncpg.Connection, Describe]) -> None:
    """An answer that was leased under other labels is no answer any more."""
    connection, describe = noted
    before = await describe("SELECT mail FROM noted")
    await connection.execute("COMMENT ON COLUMN noted.mail IS 'twokey: label=email'")
    after = await describe("SELECT mail FROM noted")
    assert before.shape_digest != after.shape_digest
    await connection.execute("COMMENT ON COLUMN noted.mail IS 'twokey: label=pan'")
    assert (await describe("SELECT mail FROM noted")).shape_digest not in {before.shape_digest, after.shape_digest}


async def test_what_is_opaque_could_show_any_label(noted: tuple[asyncpg.Connection, Describe]) -> None:
    connection, describe = noted
    await connection.execute("COMMENT ON COLUMN noted.mail IS 'twokey: label=email'")
    found = await describe("DO $$BEGIN END$$")
    assert list(found.template.target_labels) == ["email"]
    assert not found.template.column_labels


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE noted SET id = 1", True),
        ("UPDATE noted_1 SET id = 1", True),
        ("UPDATE noted_view SET m = 'x'", True),
        ("WITH u AS (UPDATE noted SET id = 1 RETURNING id) SELECT * FROM u", True),
        ("EXPLAIN ANALYZE UPDATE noted SET id = 1", True),
        ("INSERT INTO noted SELECT id, 'x' FROM lines ON CONFLICT DO NOTHING", True),
        ("INSERT INTO noted VALUES (1, 'x')", False),
        ("SELECT * FROM noted FOR UPDATE", False),
        ("DELETE FROM noted", False),
        ("UPDATE lines SET sku = 'x'", False),
    ],
)
@pytest.mark.parametrize("how", ["comment", "file"])
async def test_what_may_quote_a_row_with_a_classified_column_says_so(
    noted: tuple[asyncpg.Connection, Describe], server: Server, how: str, sql: str, expected: bool
) -> None:
    connection, describe = noted
    assert not (await describe(sql)).quotes
    if how == "comment":
        await connection.execute("COMMENT ON COLUMN noted.mail IS 'twokey: label=email'")
        assert (await describe(sql)).quotes is expected
        return
    source = server.source()
    await source.start()
    catalog = source.catalog.checked(frozenset({("public", "noted", "mail")}), {})
    found = Describer(16).describe_message(sql.encode(), catalog=catalog, names=names())
    await source.close()
    assert isinstance(found, list)
    assert found[0].quotes is expected
