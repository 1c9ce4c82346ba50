"""What of a statement's writes can be counted, as the real describer describes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enforcers.postgres.bounds import Writes, counted, writes_of, written_tables
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe import conftest as describing

One = Callable[..., Description]
server, one = describing.server, describing.one

KINDS = [
    ("SELECT * FROM orders", Writes.NOTHING),
    ("SELECT * FROM orders FOR UPDATE", Writes.NOTHING),
    ("COPY orders TO STDOUT", Writes.NOTHING),
    ("EXPLAIN UPDATE orders SET note = ''", Writes.NOTHING),
    ("BEGIN", Writes.NOTHING),
    ("SET work_mem = '1MB'", Writes.NOTHING),
    ("CREATE TABLE fresh (id int)", Writes.NOTHING),
    ("UPDATE orders SET note = ''", Writes.TAGGED),
    ("UPDATE orders SET note = '' RETURNING id", Writes.TAGGED),
    ("UPDATE simple_orders SET note = ''", Writes.TAGGED),
    ("INSERT INTO orders (id) SELECT 1", Writes.TAGGED),
    ("INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET note = ''", Writes.TAGGED),
    ("DELETE FROM lines", Writes.TAGGED),
    ("MERGE INTO lines USING orders o ON o.id = lines.id WHEN MATCHED THEN DELETE", Writes.TAGGED),
    ("INSERT INTO parts VALUES (1, 'a')", Writes.TAGGED),
    ("UPDATE animals SET name = ''", Writes.TAGGED),
    ("COPY orders FROM STDIN", Writes.TAGGED),
    ("COPY (DELETE FROM lines RETURNING id) TO STDOUT", Writes.TAGGED),
    ("CREATE TABLE fresh AS SELECT * FROM orders", Writes.TAGGED),
    ("SELECT * INTO fresh FROM orders", Writes.TAGGED),
    ("DELETE FROM orders", Writes.COUNTED),  # its lines are set to NULL
    ("DELETE FROM customers", Writes.COUNTED),
    ("WITH w AS (DELETE FROM lines RETURNING id) SELECT count(*) FROM w", Writes.COUNTED),
    ("WITH w AS (UPDATE lines SET sku = '') UPDATE lines SET sku = ''", Writes.COUNTED),
    ("EXPLAIN ANALYZE UPDATE orders SET note = ''", Writes.COUNTED),
    ("COPY (WITH w AS (DELETE FROM lines RETURNING id) SELECT * FROM w) TO STDOUT", Writes.UNKNOWN),
    ("INSERT INTO ruled VALUES (1)", Writes.COUNTED),
    ("INSERT INTO watched VALUES (1)", Writes.UNKNOWN),  # a trigger in plpgsql
    ("TRUNCATE lines", Writes.UNKNOWN),
    ("VACUUM lines", Writes.UNKNOWN),
    ("CREATE DATABASE fresh", Writes.UNKNOWN),
    ("DO $$ BEGIN END $$", Writes.UNKNOWN),
    ("SELECT * FROM nowhere", Writes.UNKNOWN),
    ("CREATE INDEX CONCURRENTLY i ON lines (sku)", Writes.UNKNOWN),
]


@pytest.mark.parametrize(("sql", "expected"), KINDS, ids=[sql for sql, _ in KINDS])
def test_what_can_be_counted(one: One, sql: str, expected: Writes) -> None:
    assert writes_of(one(sql)) is expected


def test_every_table_that_is_written_is_counted(one: One) -> None:
    description = one("DELETE FROM customers")
    names = {use.name: use.oid for use in description.template.relations if set(use.access) & {"delete", "update"}}
    assert {"customers", "orders", "lines"} <= set(names)
    assert written_tables(description) == b"{" + b",".join(str(oid).encode() for oid in sorted(names.values())) + b"}"


@pytest.mark.parametrize(
    ("row", "rows"),
    [
        ([b"on", b"12"], 12),
        ([b"off", b"0"], None),
        ([b"on", None], None),
        ([b"on", b"1e3"], None),
        ([b"on"], None),
        ([], None),
    ],
)
def test_an_answer_that_counts_nothing_is_none(row: list[bytes | None], rows: int | None) -> None:
    assert counted(row) == rows
