"""read-only by real clients, of acts and of sessions."""

from __future__ import annotations

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import connect
from tests.e2e.obliged import mark, outcome, state


@pytest.mark.parametrize("connection", ["quiet", "reading"])
@pytest.mark.parametrize("how", ["simple", "extended", "in a transaction", "in a pipeline"])
def test_what_must_be_read_only_writes_nothing(obliged: Stack, connection: str, how: str) -> None:
    marker, before = mark(), state(obliged)
    writing = f"WITH w AS (UPDATE many SET v = '{marker}' RETURNING 1) SELECT count(*) FROM w"
    with connect(obliged, "executor", connection=connection) as client:
        if how == "in a transaction" or how == "in a pipeline":
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), client.transaction():
                client.execute(writing, prepare=how == "in a pipeline")
        else:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                client.execute(writing, prepare=how == "extended")
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert state(obliged) == before
    assert outcome(obliged, marker)["sqlstate"] == "25006"


LOOSENING = [
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET default_transaction_read_only = off",
    "SET transaction_read_only = off",
    "BEGIN READ WRITE",
    "START TRANSACTION READ WRITE",
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', 'off', true)",
]


@pytest.mark.parametrize("loosening", LOOSENING)
def test_a_read_only_session_stays_one(obliged: Stack, loosening: str) -> None:
    before = state(obliged)
    with connect(obliged, "executor", connection="reading") as client:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            client.execute(loosening)
        assert "this session is read-only" in str(refused.value)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            client.execute("UPDATE many SET v = ''")
    assert state(obliged) == before


def test_a_read_only_act_can_not_be_loosened(obliged: Stack) -> None:
    before = state(obliged)
    with connect(obliged, "executor", connection="quiet") as client:
        client.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            client.execute("WITH w AS (UPDATE many SET v = '' RETURNING 1) SELECT count(*) FROM w")
        client.execute("BEGIN")
        client.execute("SET TRANSACTION READ WRITE")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            client.execute("WITH w AS (UPDATE many SET v = '' RETURNING 1) SELECT count(*) FROM w")
    assert state(obliged) == before
