"""The names of result columns are the target's own, and the columns of what stands in FROM are exact or open."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import orjson
import pytest
from pglast.parser import parse_sql_json

from enforcers.postgres.describe import labels
from enforcers.postgres.describe.context import UNNAMED, unwrap
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server

EXPRESSIONS = {
    "?column?": ["1", "(SELECT 1)", "pan || 'x'", "id IS NULL", "NOT true", "id = ANY('{1}'::int[])",
                 "id BETWEEN 1 AND 2", "'x' COLLATE \"C\"", "id IN (SELECT 1)", "id = ANY (SELECT 1)", "- id", "B'1'"],
    "text": ["'x'::text", "CASE WHEN true THEN 1 END::text", "(1)::pg_catalog.text", "(SELECT 1::text)", "NULL::text"],
    "varchar": ["'x'::text::varchar"],
    "int8": ["(id + 1)::int8"],
    "id": ["id::int8", "CASE WHEN true THEN 1 ELSE id END", "(SELECT id)", "(cards).id", "(ARRAY[cards])[1].id"],
    "pan": ["pan COLLATE \"C\"", "(pan) COLLATE \"C\"", "cards.pan", "(cards).pan", "(SELECT pan)::text"],
    "case": ["CASE WHEN true THEN 1 END", "CASE WHEN true THEN 1 ELSE 2::int8 END"],
    "coalesce": ["coalesce(id, 1)"],
    "nullif": ["nullif(id, 1)"],
    "greatest": ["greatest(1, 2)"],
    "least": ["least(1, 2)"],
    "array": ["ARRAY[1]", "ARRAY(SELECT 1)", "(ARRAY[1])[1]", "((ARRAY[pan])[1])::text", "(ARRAY(SELECT pan))[1]"],
    "exists": ["EXISTS (SELECT 1)"],
    "z": ["(SELECT 1 AS z)"],
    "max": ["(SELECT max(id) FROM cards)"],
    "row": ["ROW(1, 2)", "(1, 2)"],
    "current_user": ["current_user"],
    "current_date": ["current_date"],
    "localtimestamp": ["localtimestamp(0)"],
    "lower": ["lower(pan)", "pg_catalog.lower(pan)", "CASE WHEN true THEN 1 ELSE lower(pan)::int END::text"],
    "extract": ["extract(year FROM now())"],
    "interval": ["interval '1 day'"],
    "position": ["position('a' IN 'b')"],
    "timezone": ["current_date AT TIME ZONE 'utc'"],
    "btrim": ["trim('a')"],
    "grouping": ["(SELECT grouping(id) FROM orders GROUP BY id)"],
}  # fmt: skip
# What not every server has: its version, or libxml.
LATER = {
    "?column?": ["'1' IS JSON"],
    "json_array": ["json_array(1)", "json_array(SELECT 1)"],
    "json_arrayagg": ["json_arrayagg(id)"],
    "json_objectagg": ["json_objectagg('a': id)"],
    "json_object": ["json_object('a': 1)"],
    "json": ["json('1')"],
    "json_scalar": ["json_scalar(1)"],
    "json_serialize": ["json_serialize('1')"],
    "json_value": ["json_value('1', '$')"],
    "json_query": ["json_query('1', '$')"],
    "json_exists": ["json_exists('1', '$')"],
    "xmlconcat": ["xmlconcat('<a/>')"],
    "xmlelement": ["xmlelement(name a)"],
    "xmlforest": ["xmlforest(id)"],
    "xmlparse": ["xmlparse(content 'a')"],
    "xmlpi": ["xmlpi(name a)"],
    "xmlroot": ["xmlroot('<a/>', version '1')"],
    "xmlserialize": ["xmlserialize(content '<a/>' AS text)"],
}
# The first column's name of a query, which is found by describing it.
OF_A_QUERY = (
    "(SELECT * FROM (SELECT 1 AS w) x)", "(VALUES (1))", "(SELECT 1 AS a UNION SELECT 2)", "(SELECT x.* FROM cards x)",
    "(SELECT (cards).* FROM cards)",
)  # fmt: skip
SOURCES = (
    "generate_series(1, 1)", "generate_series(1, 1) g", "json_array_elements('[1]') x", "unnest(ARRAY[1]) u",
    "unnest(ARRAY[1], ARRAY['a']) u", "unnest(ARRAY[1], ARRAY['a']) WITH ORDINALITY u(a, b, c)",
    "unnest(ARRAY[1], '{}'::int[])", "ROWS FROM (unnest(ARRAY[1], ARRAY[2]), generate_series(1, 2)) x",
    "unnest(ARRAY[1]) WITH ORDINALITY u", "unnest('{}'::int[]) u(v)", "jsonb_each('{}') e", "jsonb_each('{}') e(a)",
    "ROWS FROM (generate_series(1, 1), md5('x'))", "ROWS FROM (md5('x'), generate_series(1, 1)) r(a)",
    "current_user", "CAST('1' AS int)", "CAST('1' AS int) c", "json_to_record('{}') AS r(a int, b text)",
    "ROWS FROM (json_to_record('{}') AS (a int), json_to_record('{}') AS (b int))",
    "regexp_matches('a', 'a') m", "pg_options_to_table(NULL)", "string_to_table('a', 'b') s",
)  # fmt: skip


async def _names(server: Server, sql: str) -> list[str]:
    connection = await asyncpg.connect(server.dsn)
    try:
        prepared = await connection.prepare(sql)
        return [attribute.name for attribute in prepared.get_attributes()]
    finally:
        await connection.close()


def _labelled(expression: str) -> str:
    tree = orjson.loads(parse_sql_json(f"SELECT {expression} FROM cards"))
    target = tree["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    return labels.label(*unwrap(target))


@pytest.mark.parametrize("name", [*EXPRESSIONS, *(name for name in LATER if name not in EXPRESSIONS)])
def test_a_result_column_without_a_name_is_called_after_what_it_is(name: str) -> None:
    for expression in (*EXPRESSIONS.get(name, ()), *LATER.get(name, ())):
        assert _labelled(expression) == name, expression


def test_of_a_query_that_has_to_be_described_the_name_is_not_guessed() -> None:
    assert {expression: _labelled(expression) for expression in OF_A_QUERY} == dict.fromkeys(OF_A_QUERY, UNNAMED)
    assert labels.label("MergeSupportFunc", {}) == "merge_action"  # of RETURNING only


async def test_a_result_column_is_called_as_the_target_calls_it(
    server: Server, one: Callable[..., Description]
) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        for name, expressions in EXPRESSIONS.items():
            for expression in expressions:
                sql = f"SELECT {expression} FROM cards"
                assert [output.name for output in one(sql).template.output] == [name], expression
                prepared = await connection.prepare(sql)
                assert [attribute.name for attribute in prepared.get_attributes()] == [name], expression
        known = 0
        for name, expressions in LATER.items():
            for expression in expressions:
                try:
                    prepared = await connection.prepare(f"SELECT {expression} FROM cards")
                except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError):
                    continue
                known += 1
                assert [attribute.name for attribute in prepared.get_attributes()] == [name], expression
        assert known
    finally:
        await connection.close()


@pytest.mark.parametrize("source", SOURCES)
async def test_a_source_has_the_columns_that_the_target_gives_it(
    server: Server, one: Callable[..., Description], source: str
) -> None:
    sql = f"SELECT * FROM {source}"
    found = one(sql)
    assert not found.output_open
    assert [output.name for output in found.template.output] == await _names(server, sql)


@pytest.mark.parametrize(
    "source", ["unnest(ARRAY[1], ARRAY['a'])", "ROWS FROM (unnest(ARRAY[1], ARRAY['a']), generate_series(1, 2))"]
)
def test_unnest_of_several_arrays_is_as_many_calls_of_the_servers_own(
    one: Callable[..., Description], source: str
) -> None:
    """Django's introspection asks so."""
    found = one(f"SELECT * FROM {source} AS u")
    assert not found.template.opaque
    assert "pg_catalog.unnest" in {f"{item.schema}.{item.name}" for item in found.template.functions}
