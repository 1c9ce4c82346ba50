"""statement-timeout and max-duration by real clients, of acts and of sessions."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import connect, until
from tests.e2e.obliged import ended, mark, outcome, run, shown


@pytest.mark.parametrize("how", ["simple", "extended", "in a transaction", "in a pipeline"])
def test_a_statement_ends_at_its_timeout_and_the_setting_is_restored(obliged: Stack, how: str) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="slow") as client:
        assert shown(client) == "1min"
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            run(client, f"SELECT pg_sleep(30), '{marker}'", how)
        assert time.monotonic() - began < 10
        with client.transaction():
            client.execute("SELECT id FROM many LIMIT 1")
            assert shown(client) == "1min"
        assert shown(client) == "1min"
    assert (outcome(obliged, marker)["status"], outcome(obliged, marker)["sqlstate"]) == ("failed", "57014")


RAISING = [
    "SET statement_timeout = 0",
    "SET statement_timeout = '1h'",
    "SELECT set_config('statement_timeout', '0', false)",
]


@pytest.mark.parametrize("raising", RAISING)
def test_a_client_can_not_raise_a_timeout(obliged: Stack, raising: str) -> None:
    with connect(obliged, "executor", connection="slow") as client:
        client.execute(raising)
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.QueryCanceled):
                client.execute("SELECT pg_sleep(30)", prepare=prepare)
        client.execute("BEGIN")
        client.execute("SET LOCAL statement_timeout = 0")
        with pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(30)")


def test_a_lower_timeout_of_the_clients_own_holds(obliged: Stack) -> None:
    with connect(obliged, "executor", connection="slow") as client:
        client.execute("SET statement_timeout = '50ms'")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(0.3)")
        assert time.monotonic() - began < 0.35
        assert shown(client) == "50ms"


@pytest.mark.parametrize("how", ["simple", "extended", "in a transaction", "in a pipeline"])
def test_an_act_ends_after_its_duration(obliged: Stack, how: str) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="brief") as client:
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled) as refused:
            run(client, f"SELECT pg_sleep(30), '{marker}'", how)
        assert 0.5 < time.monotonic() - began < 10
        assert "longer than policy allows: 600 ms" in str(refused.value)
        assert client.execute("SELECT 1").fetchone() == (1,)
    end = outcome(obliged, marker)
    assert (end["status"], end["sqlstate"]) == ("failed", "57014")


def test_a_portal_read_in_parts_ends_after_its_duration_too(obliged: Stack) -> None:
    marker = mark()

    async def fetch() -> None:
        host, port = obliged.address("brief")
        token = obliged.token("executor-7", "executor")
        client = await asyncpg.connect(host=host, port=port, user="executor", password=token, database="brief")
        try:
            async with client.transaction():
                cursor = await client.cursor(f"SELECT id, '{marker}' FROM many")
                await cursor.fetch(1)
                await asyncio.to_thread(until, lambda: ended(obliged, marker), what="the end of the act")
                await cursor.fetch(1)
        finally:
            await client.close()

    with pytest.raises(asyncpg.QueryCanceledError, match="longer than policy allows"):
        asyncio.run(fetch())
    assert outcome(obliged, marker)["rows"] == 1


def test_a_session_ends_after_its_duration(obliged: Stack) -> None:
    began = time.monotonic()
    with connect(obliged, "executor", connection="short") as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.errors.AdminShutdown) as ended:
            client.execute("SELECT pg_sleep(30)")
    assert 1.0 < time.monotonic() - began < 10
    assert "as long as policy allows: 1500 ms" in str(ended.value)

    def closed() -> object:
        return [
            r for r in obliged.records() if r["kind"] == "session-closed" and "max-duration" in str(r.get("reason"))
        ]

    until(closed, what="the record of the session's end")
