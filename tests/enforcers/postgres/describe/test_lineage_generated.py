"""Random well-typed statements against the oracle of test_lineage_oracle.py."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.enforcers.postgres.describe.lineage_world import World, described
from tests.enforcers.postgres.describe.test_lineage_oracle import disagreements

TEXTS = (
    "upper({t})", "left({t}, {n})", "{t} || {t}", "coalesce({t}, {t})", "nullif({t}, {t})", "({n})::text", "md5({t})",
    "CASE WHEN {c} THEN {t} ELSE {t} END", "reverse({t})", "substr({t}, {n})", "up({t})", "greatest({t}, {t})",
    "(SELECT ssn FROM p z WHERE z.id = {n} LIMIT 1)", "(ARRAY[{t}, {t}])[1]", "look({n})", "replace({t}, '0', {t})",
)  # fmt: skip
NUMBERS = (
    "length({t})", "({n} + {n})", "({n} / nullif({n}, 0))", "(100 / {n})", "abs({n})", "coalesce({n}, 0)",
    "CASE {n} WHEN {n} THEN {n} END", "(SELECT count(*)::int FROM p z WHERE z.dept = {n})", "ascii({t})",
    "array_length({q}tags, 1)", "({c})::int",
)  # fmt: skip
CONDITIONS = (
    "{t} = {t}", "{n} < {n}", "({c} AND {c})", "({c} OR {c})", "NOT {c}", "{t} IS NULL", "{t} IN ({t}, 'x')",
    "EXISTS (SELECT 1 FROM d WHERE d.id = {n})", "{n} = ANY (SELECT head FROM d)", "{q}rate > 1",
)  # fmt: skip
LEAVES = {
    "t": ("{q}name", "{q}ssn", "{q}tiny", "'k'"),
    "n": ("{q}id", "{q}salary", "{q}dept", "2"),
    "c": ("{q}ok", "{q}salary > 20", "{q}ssn > '05'"),
}
GROWN = {"t": TEXTS, "n": NUMBERS, "c": CONDITIONS}
STATEMENTS = (
    "SELECT {t}, {n}, {c} FROM p",
    "SELECT {t} FROM p WHERE {c}",
    "SELECT a FROM (SELECT {t} AS a, {n} AS b FROM p) x",
    "SELECT a FROM (SELECT {t} AS a, {n} AS b FROM p OFFSET 0) x",
    "WITH w AS (SELECT {t} AS a, {n} AS b FROM p) SELECT b FROM w",
    "SELECT {t} FROM p UNION ALL SELECT {t} FROM p",
    "SELECT x.a FROM p, LATERAL (SELECT {t} AS a) x",
    "SELECT max({t}), count({n}) FROM p",
    "SELECT a FROM (SELECT DISTINCT {t} AS a, {n} AS b FROM p) x",
    "SELECT p.name, y.a FROM p LEFT JOIN (SELECT id, {t} AS a FROM p) y ON y.id = p.dept",
    "SELECT EXISTS (SELECT {n} FROM p OFFSET 0)",
    "SELECT dept, min({t}) FILTER (WHERE {c}) FROM p GROUP BY dept ORDER BY 1",
    "UPDATE n SET body = (SELECT max({t}) FROM p) RETURNING body",
)
EACH = 30


def _grow(chance: random.Random, pattern: str, depth: int, qualifier: str) -> str:
    """The pattern with an expression of the right type in each of its places."""
    out, rest = "", pattern
    while "{" in rest:
        before, rest = rest.split("{", 1)
        kind, rest = rest.split("}", 1)
        if kind == "q":
            out += before + qualifier
            continue
        below = GROWN[kind] if depth > 0 else LEAVES[kind]
        out += before + _grow(chance, chance.choice(below), depth - 1, qualifier)
    return out + rest


def statements(seed: int) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(EACH):
        pattern = chance.choice(STATEMENTS)
        yield _grow(chance, pattern, chance.choice((1, 2, 2, 3)), "p." if "FROM p," in pattern else "")


@pytest.mark.parametrize("seed", range(4))
def test_what_changes_with_a_column_is_described(world: World, connection: psycopg.Connection[Any], seed: int) -> None:
    for sql in statements(seed):
        description = described(world, sql)
        assert not description.template.opaque, sql
        assert disagreements(connection, description, sql) == []
