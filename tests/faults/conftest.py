"""A real PostgreSQL and a gateway between two proxies, shared by the tests of faults."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.enforcers.postgres.conftest import Postgres, postgres  # noqa: F401 - a fixture
from tests.faults.bench import Bench

SETUP = "CREATE TABLE ledger (run text NOT NULL, n int NOT NULL); CREATE INDEX ON ledger (run)"


@pytest.fixture(scope="module")
def bench(postgres: Postgres) -> Iterator[Bench]:  # noqa: F811 - the fixture above
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("DROP TABLE IF EXISTS ledger")
        for statement in SETUP.split("; "):
            admin.execute(statement.encode())
    made = Bench(postgres.port).start()
    yield made
    made.stop()
    assert made.failures == []
