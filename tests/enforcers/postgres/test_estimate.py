"""The estimator against a real planner; every fault is an unknown that shows no value."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from twokey.type.v1 import operation_pb2

from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description, SessionNames
from enforcers.postgres.estimate import Estimator
from tests.enforcers.postgres.conftest import Postgres

NAMES = SessionNames(
    database="postgres", search_path=("pg_catalog", "public"), effective_role="postgres", session_role="postgres"
)


class Part:
    """A describer and an estimator on one target; counts connections."""

    def __init__(self, dsn: str, source: CatalogSource) -> None:
        self.dsn, self.source, self.opened = dsn, source, 0
        self.estimator = Estimator(self.connect)

    async def connect(self, role: str) -> asyncpg.Connection:
        assert role == "executor"
        self.opened += 1
        return await asyncpg.connect(self.dsn)

    def describe(self, sql: str) -> Description:
        found = Describer(4).describe_message(sql.encode(), catalog=self.source.catalog, names=NAMES)
        assert isinstance(found, list)
        return found[0]


@pytest.fixture
async def part(postgres: Postgres) -> AsyncIterator[Part]:
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute(
        "CREATE TABLE counted AS SELECT i AS id, 'n' || i AS name FROM generate_series(1, 10000) i;"
        "ALTER TABLE counted ADD PRIMARY KEY (id); ANALYZE counted;"
        "CREATE FUNCTION nosy() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
    )
    source = CatalogSource(lambda: asyncpg.connect(postgres.dsn))
    await source.start()
    found = Part(postgres.dsn, source)
    yield found
    await found.estimator.close()
    await source.close()
    await connection.execute("DROP TABLE counted; DROP FUNCTION nosy()")
    await connection.close()


def text(value: str) -> operation_pb2.BoundValue:
    return operation_pb2.BoundValue(value=value.encode())


def binary(oid: int, value: bytes) -> operation_pb2.BoundValue:
    return operation_pb2.BoundValue(type_oid=oid, binary=True, value=value)


@pytest.mark.parametrize(
    ("sql", "values", "low", "high"),
    [
        ("SELECT * FROM counted", [], 9_000, 11_000),
        ("SELECT * FROM counted -- all\n;", [], 9_000, 11_000),
        ("SELECT * FROM counted LIMIT 10", [], 10, 10),
        ("SELECT count(*) FROM counted", [], 1, 1),
        ("SELECT * FROM counted WHERE id = $1", [text("5")], 1, 1),
        ("SELECT * FROM counted WHERE id < $1", [text("5000")], 4_000, 6_000),
        ("SELECT * FROM counted WHERE id < $1", [binary(23, (5000).to_bytes(4, "big"))], 4_000, 6_000),
        ("SELECT * FROM counted WHERE name = $1", [text("it's \\ '; DROP TABLE counted; --")], 1, 1),
        ("DELETE FROM counted", [], 9_000, 11_000),
        ("UPDATE counted SET name = 'x' WHERE id < 100", [], 50, 200),
        ("WITH d AS (DELETE FROM counted RETURNING *) SELECT count(*) FROM d", [], 9_000, 11_000),
        ("INSERT INTO counted SELECT id + 20000, name FROM counted", [], 9_000, 11_000),
    ],
)  # fmt: skip
async def test_rows(part: Part, sql: str, values: list[operation_pb2.BoundValue], low: int, high: int) -> None:
    found = await part.estimator.estimate(part.describe(sql), NAMES, role="executor", values=values)
    assert found.rows is not None, found.why
    assert low <= found.rows <= high
    connection = await asyncpg.connect(part.dsn)
    assert await connection.fetchval("SELECT count(*) FROM counted") == 10_000
    await connection.close()


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("SELECT nosy() FROM counted", []),
        ("SELECT pg_sleep(5)", []),
        ("TRUNCATE counted", []),
        ("SELECT * FROM nowhere", []),
        ("SELECT * FROM counted WHERE id < $1", []),
        ("SELECT * FROM counted WHERE id < $1", [text("s3cret")]),
        ("SELECT * FROM counted WHERE id < $1", [binary(1700, b"s3cret")]),
        ("SELECT * FROM counted WHERE name = $1", [operation_pb2.BoundValue(value=b"s3cret\xff")]),
    ],
)  # fmt: skip
async def test_unknown_says_why_and_shows_no_value(
    part: Part, sql: str, values: list[operation_pb2.BoundValue]
) -> None:
    found = await part.estimator.estimate(part.describe(sql), NAMES, role="executor", values=values)
    assert found.rows is None
    assert found.why
    assert "s3cret" not in found.why


async def test_connections_are_used_again_and_survive_errors(part: Part) -> None:
    good = part.describe("SELECT * FROM counted")
    bad = part.describe("SELECT * FROM counted WHERE id < $1")
    for _ in range(3):
        assert (await part.estimator.estimate(good, NAMES, role="executor")).rows
        assert (await part.estimator.estimate(bad, NAMES, role="executor", values=[text("x")])).rows is None
    assert part.opened == 1


async def test_an_unreachable_target_is_unknown(part: Part) -> None:
    async def refuse(role: str) -> asyncpg.Connection:
        raise ConnectionRefusedError(role)

    found = await Estimator(refuse).estimate(part.describe("SELECT 1 FROM counted"), NAMES, role="executor")
    assert (found.rows, found.why) == (None, "the target can't be reached")
