"""Descriptions against the real server: RowDescription's origins, and the tables that a plan reads."""

from __future__ import annotations

import random
from typing import Any

import asyncpg
import orjson
import psycopg
import pytest

from enforcers.postgres.describe import Describer
from enforcers.postgres.describe.output import check_row_description
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server, names
from tests.enforcers.postgres.describe.corpus import CASES

TABLES = ["customers", "orders", "lines", "cards", "contact", "contact2", "parts", "animals", "totals", "guarded"]


def _describe(server: Server, sql: str) -> Description:
    found = Describer(4).describe_message(sql.encode(), catalog=server.catalog, names=names())
    assert isinstance(found, list), (sql, found)
    return found[0]


def _fields(connection: psycopg.Connection[Any], sql: str) -> list[tuple[str, int, int]]:
    result = connection.pgconn.prepare(b"", sql.encode())
    assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
    shown = connection.pgconn.describe_prepared(b"")
    return [
        ((shown.fname(index) or b"").decode(), shown.ftable(index), shown.ftablecol(index))
        for index in range(shown.nfields)
    ]


def test_the_corpus_agrees_with_row_description(server: Server) -> None:
    agreed = 0
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for case in CASES:
            if case.opaque & {"unresolved", "prepared-unknown", "cursor-unknown"} or "*syntax*" in case.verbs:
                continue
            result = connection.pgconn.prepare(b"", case.sql.encode())
            if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                continue
            description = _describe(server, case.sql)
            fields = _fields(connection, case.sql)
            assert check_row_description(description, fields) is None, case.sql
            if fields and not description.output_open and not description.utility:
                assert [name for name, _, _ in fields] == [item.name for item in description.template.output], case.sql
                agreed += 1
    assert agreed > 60


def test_disagreement_is_told(server: Server) -> None:
    found = _describe(server, "SELECT id, pan, lower(pan) FROM cards")
    (oid, _), _, _ = found.wire
    good = [("id", oid, 1), ("pan", oid, 3), ("lower", 0, 0)]
    assert check_row_description(found, good) is None
    assert check_row_description(found, good[:2]) is not None
    assert check_row_description(found, [good[0], ("pan", 0, 0), good[2]]) is not None
    assert check_row_description(found, [good[0], ("pan", oid, 2), good[2]]) is not None
    assert check_row_description(found, [good[0], good[1], ("lower", oid, 2)]) is not None
    assert check_row_description(_describe(server, "DELETE FROM cards"), good) is not None


def _random_select(source: random.Random, depth: int = 0) -> str:
    def table() -> str:
        if depth < 2 and source.random() < 0.3:
            return f"({_random_select(source, depth + 1)}) s{source.randrange(1000)}"
        return f"{source.choice(TABLES)} t{source.randrange(1000)}"

    kind = source.random()
    if kind < 0.15 and depth < 2:
        return f"SELECT count(*) AS c FROM ({_random_select(source, 2)}) a WHERE EXISTS ({_random_select(source, 2)})"
    if kind < 0.3 and depth < 2:
        return f"WITH w AS MATERIALIZED ({_random_select(source, 2)}) SELECT count(*) AS c FROM w, {table()}"
    if kind < 0.4 and depth < 2:
        return f"SELECT 1 AS c FROM {table()} UNION ALL SELECT 2 FROM {table()}"
    if kind < 0.5:
        return f"SELECT (SELECT count(*) FROM {table()}) AS c, 1 AS d FROM {table()}"
    joins = " CROSS JOIN ".join(table() for _ in range(source.randint(1, 3)))
    return f"SELECT count(*) AS c FROM {joins} WHERE 1 = (SELECT min(1) FROM {table()})"


def _scanned(node: Any) -> set[tuple[str, str]]:
    if isinstance(node, list):
        return {item for part in node for item in _scanned(part)}
    if not isinstance(node, dict):
        return set()
    found = {(node["Schema"], node["Relation Name"])} if "Relation Name" in node else set()
    return found | {item for part in node.values() for item in _scanned(part)}


@pytest.mark.parametrize("seed", range(40))
async def test_what_the_server_scans_was_described(server: Server, seed: int) -> None:
    sql = _random_select(random.Random(seed))
    connection = await asyncpg.connect(server.dsn)
    try:
        plan = orjson.loads(await connection.fetchval(f"EXPLAIN (VERBOSE, FORMAT JSON) {sql}"))
    finally:
        await connection.close()
    description = _describe(server, sql)
    assert not description.template.opaque
    described = {(item.schema, item.name) for item in description.template.relations if "read" in item.access}
    assert _scanned(plan) <= described
