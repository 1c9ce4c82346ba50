"""The names of result columns are the target's own, and the columns of what stands in FROM are exact or open."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import pytest

from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server

EXPRESSIONS = (
    "1", "'x'::text", "'x'::text::varchar", "id::int8", "(id + 1)::int8", "CASE WHEN true THEN 1 END",
    "CASE WHEN true THEN 1 ELSE id END", "CASE WHEN true THEN 1 ELSE 2::int8 END", "coalesce(id, 1)", "nullif(id, 1)",
    "greatest(1, 2)", "least(1, 2)", "ARRAY[1]", "ARRAY(SELECT 1)", "EXISTS (SELECT 1)", "(SELECT 1)", "(SELECT id)",
    "(SELECT 1 AS z)", "(SELECT max(id) FROM cards)", "ROW(1, 2)", "current_user", "current_date", "localtimestamp(0)",
    "lower(pan)", "pg_catalog.lower(pan)", "pan COLLATE \"C\"", "(pan) COLLATE \"C\"", "pan || 'x'", "id IS NULL",
    "NOT true", "(ARRAY[1])[1]",
    "extract(year FROM now())",
    "id = ANY('{1}'::int[])", "cards.pan", "(cards).pan", "id BETWEEN 1 AND 2", "interval '1 day'",
    "position('a' IN 'b')",
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


@pytest.mark.parametrize("expression", EXPRESSIONS)
async def test_a_result_column_is_called_as_the_target_calls_it(
    server: Server, one: Callable[..., Description], expression: str
) -> None:
    sql = f"SELECT {expression} FROM cards"
    assert [output.name for output in one(sql).template.output] == await _names(server, sql)


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
