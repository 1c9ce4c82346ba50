"""Labels of the target's catalog in what is described: at every column named, in the shape, and for what is opaque."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server, names
from tests.enforcers.postgres.describe.lineage_world import World, described

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


SSN = ("public", "p", "ssn")


def flows(description: Description) -> dict[str, bool]:
    """By `source -> target`: whether the session is to keep it in mind."""
    return {
        f"{flow.source.relation}.{flow.source.column} -> {flow.target.relation}.{flow.target.column}": flow.carried
        for flow in description.template.flows
    }


def classified(world: World, **more: Any) -> World:
    return replace(world, catalog=replace(world.catalog, classified=frozenset({SSN}), **more))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("CREATE TEMP TABLE t AS SELECT ssn, name FROM p", {"p.ssn -> t.ssn": True, "p.name -> t.name": False}),
        ("SELECT upper(ssn) AS u INTO TEMP t FROM p", {"p.ssn -> t.u": True}),
        ("CREATE TABLE t AS SELECT ssn FROM p", {"p.ssn -> t.ssn": False}),
        ("CREATE TEMP TABLE t AS SELECT ssn FROM p, query_to_xml('', true, true, '')", {"p.ssn -> t.ssn": False}),
    ],
)
def test_what_a_temporary_table_takes_of_a_classified_column_is_carried(
    world: World, statement: str, expected: dict[str, bool]
) -> None:
    found = described(classified(world), statement)
    assert flows(found) == expected
    assert (found.changes_names and found.makes_temporary) or not any(expected.values())
    assert not any(flows(described(classified(world, carries=False), statement)).values())
    assert not any(flows(described(world, statement)).values())


def test_a_label_of_the_targets_own_is_carried_too(world: World) -> None:
    relation = world.catalog.find_relation("public", "p")
    assert relation is not None
    key = (relation.oid, relation.by_name["ssn"].attnum)
    attached = replace(world.catalog.attached, labels={key: frozenset({"private"})})
    labelled = replace(world, catalog=replace(world.catalog, attached=attached))
    assert flows(described(labelled, "CREATE TEMP TABLE t AS SELECT ssn FROM p")) == {"p.ssn -> t.ssn": True}


def test_what_a_column_holds_is_named_wherever_it_is(world: World) -> None:
    relation = world.catalog.find_relation("public", "n")
    assert relation is not None
    holding = classified(
        world,
        origins={(relation.oid, relation.by_name["body"].attnum): (SSN,)},
        origin_labels={SSN: frozenset({"private"})},
    )
    stored = described(classified(world), "INSERT INTO d (title) SELECT ssn FROM p")
    assert not stored.changes_names  # d stays: nothing is kept in mind of it
    found = described(holding, "INSERT INTO d (title) SELECT body FROM n WHERE body > 'x'")
    assert set(flows(found)) == {"n.body -> d.title", "p.ssn -> d.title"}
    assert {(item.relation, item.column) for item in found.template.inferences} >= {("n", "body"), ("p", "ssn")}
    assert [(item.relation, item.column, list(item.labels)) for item in found.template.column_labels] == [
        ("p", "ssn", ["private"])
    ]
    assert list(found.template.target_labels) == ["private"]
    shown = described(holding, "SELECT upper(body) FROM n").template.output[0]
    assert {(source.relation, source.column) for source in shown.sources} == {("n", "body"), ("p", "ssn")}
    fetched = described(holding, "FETCH ALL FROM c").template
    assert [(item.relation, item.column) for item in fetched.column_labels] == [("p", "ssn")]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE p SET name = 'x'", True),
        ("UPDATE p SET name = d.title FROM d WHERE d.id = p.dept", True),
        ("INSERT INTO p (name) SELECT title FROM d", True),
        ("INSERT INTO p (name) VALUES ('x')", False),  # the row is the client's own
        ("DELETE FROM p", False),
        ("UPDATE d SET title = 'x'", False),
    ],
)
def test_an_error_that_may_show_a_stored_row_is_known(world: World, statement: str, expected: bool) -> None:
    assert described(classified(world), statement).quotes == expected
    assert not described(world, statement).quotes
