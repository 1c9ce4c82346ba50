"""What is described against what happens: change one stored column, and see what of each statement's answer changes.

A real server is the oracle. Whatever differs between two databases that differ in one column only must be in the
description: a value in that result column's sources, anything else (another number of rows, an error, an order) in the
inferences, the rows of a table that was written in the flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.lineage_world import World, described

LINES, NEW = (
    (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    for name in ("lineage.txt", "lineage_18.txt")
)
# Not what has no answer of rows to compare, nor what changes with costs.
_SILENT = ("EXPLAIN", "COPY", "PREPARE", "DECLARE", "CREATE VIEW", "CREATE UNIQUE", "ALTER")
# A sample takes rows by where they stand, and whatever is changed stands elsewhere.
STATEMENTS = [line.split(" ¦ ")[0] for line in LINES if not line.startswith(_SILENT) and " TABLESAMPLE " not in line]
# Each column with expressions that its values are replaced by, one after the other.
CHANGES = {
    ("p", "id"): ("id + 1", "id * 2"),
    ("p", "name"): ("name || 'z'", "NULL"),
    ("p", "ssn"): ("reverse(ssn)", "NULL", "'1'", "'abcdef'"),
    ("p", "salary"): ("salary + 10", "70 - salary", "NULL", "2000000000"),
    ("p", "dept"): ("(dept + 1) % 4", "NULL"),
    ("p", "born"): ("born + 400", "'infinity'", "'5874897-01-01'"),
    ("p", "doc"): ('doc || \'{"a": 9, "c": 1}\'', "'[1]'", "'5'"),
    ("p", "tags"): ("tags || tags", "NULL", "'{}'"),
    ("p", "rate"): ("rate + 50", "-rate", "'NaN'", "1e300"),
    ("p", "at"): ("at + interval '40 days'", "'infinity'"),
    ("p", "tiny"): ("tiny || 'q'", "NULL"),
    ("p", "ok"): ("NOT ok", "NULL", "true"),
    ("p", "r"): ("'empty'", "int4range(1, 100)"),
    ("d", "id"): ("id + 1", "5"),
    ("d", "title"): ("title || 'q'",),
    ("d", "head"): ("head + 1", "NULL"),
    ("n", "body"): ("body || 'q'",),
    ("n", "score"): ("score + 5", "2147483647"),
    ("gen", "a"): ("a + 1", "NULL"),
    ("held", "it"): ("ROW(9, 'z')::pair",),
    ("held", "many"): ("ARRAY[ROW(7, 'y')::pair, ROW(8, 'x')::pair]",),
    ("part", "v"): ("v || 'q'",),
    ("part", "id"): ("id + 1",),
    ("mother", "v"): ("v || 'q'",),
    ("child", "extra"): ("extra || 'q'",),
    ("spoken", "one"): ("one || 'q'", "NULL"),
    ("spoken", "other"): ("other || 'q'", "NULL"),
    ("route", "v"): ("v || 'q'",),
    ("moved", "plain"): ("plain || 'q'",),
    ("moved", "secret"): ("secret || 'q'",),
    ("moved", "later"): ("later || 'q'",),
    ("paper", "page"): ("'<b/>'", "'text'"),
    ("paper", "no"): ("no + 1::smallint", "NULL"),
}
WRITTEN = ("n", "gen", "moved")


@dataclass(frozen=True)
class Answer:
    error: str
    rows: tuple[tuple[object, ...], ...]
    stored: dict[tuple[str, str], tuple[object, ...]]  # the columns of the tables that may have been written


def answer(connection: psycopg.Connection[Any], sql: str, change: str, *, written: bool) -> Answer | None:
    """The answer where that was changed first, and what was stored. None where the change itself can't be made."""
    try:
        if change:
            try:
                connection.execute(change)
            except psycopg.Error:
                return None
            if "sums" in sql:
                connection.execute("REFRESH MATERIALIZED VIEW sums")
        try:
            rows = _rows(connection, sql)
        except psycopg.Error as error:
            return Answer(str(error.sqlstate), (), {})
        stored: dict[tuple[str, str], tuple[object, ...]] = {}
        for table in WRITTEN if written else ():
            cursor = connection.execute(f"SELECT * FROM {table}")
            found = cursor.fetchall()
            for place, column in enumerate(cursor.description or ()):
                stored[(table, column.name)] = tuple(sorted(str(row[place]) for row in found))
        return Answer("", rows, stored)
    finally:
        connection.rollback()


def _rows(connection: psycopg.Connection[Any], sql: str) -> tuple[tuple[object, ...], ...]:
    """As text, which any value has."""
    result = connection.execute(sql).pgresult
    assert result is not None
    return tuple(
        tuple(result.get_value(row, place) for place in range(result.nfields)) for row in range(result.ntuples)
    )


def sees(description: Description, table: str, column: str) -> tuple[list[bool], bool, set[tuple[str, str]]]:
    """(in which result columns' sources, in an inference, into which stored columns)"""
    template = description.template
    outputs = [any((s.relation, s.column) == (table, column) for s in output.sources) for output in template.output]
    inferred = any((i.relation, i.column) == (table, column) for i in template.inferences)
    into = {
        (f.target.relation, f.target.column)
        for f in template.flows
        if (f.source.relation, f.source.column) == (table, column)
    }
    return outputs, inferred, into


def disagreements(connection: psycopg.Connection[Any], description: Description, sql: str) -> list[str]:
    found = []
    written = description.writes_or_locks
    before = answer(connection, sql, "", written=written)
    assert before is not None
    read = {relation.name for relation in description.template.relations}  # held against the plan by test_output.py
    for (table, column), expressions in CHANGES.items():
        if table not in read:
            continue
        outputs, inferred, into = sees(description, table, column)
        if inferred:
            continue  # anything may change
        for expression in expressions:
            after = answer(connection, sql, f"UPDATE {table} SET {column} = {expression}", written=written)
            if after is None:
                continue
            what = f"{sql}: {table}.{column} = {expression}"
            if after.error != before.error or len(after.rows) != len(before.rows):
                found.append(f"{what} tells by {after.error or 'the number of rows'}")
                continue
            for place, seen in enumerate(outputs):
                if not seen and [row[place] for row in before.rows] != [row[place] for row in after.rows]:
                    found.append(f"{what} tells by column {place + 1}")
            for target, values in before.stored.items():
                changed = values != after.stored[target] and target not in {*into, (table, column)}
                if changed and (table, column, target) != ("gen", "a", ("gen", "b")):
                    found.append(f"{what} is stored in {target}")
    return found


@pytest.mark.parametrize("sql", STATEMENTS, ids=lambda sql: sql[:70])
def test_what_changes_with_a_column_is_described(world: World, connection: psycopg.Connection[Any], sql: str) -> None:
    description = described(world, sql)
    assert not description.template.opaque, list(description.template.opaque_reasons)
    assert disagreements(connection, description, sql) == []


@pytest.mark.parametrize("line", NEW, ids=lambda line: line[:70])
def test_what_changes_by_new_syntax_is_described(world: World, connection: psycopg.Connection[Any], line: str) -> None:
    if connection.info.server_version < 180000:
        return  # older servers know only some of it
    sql = line.split(" ¦ ", maxsplit=1)[0]
    assert disagreements(connection, described(world, sql), sql) == []
