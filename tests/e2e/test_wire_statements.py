"""Statements that name others, function calls, COPY, LISTEN and two-phase commit under the shipped policy."""

from __future__ import annotations

import asyncio
import io
import struct

import asyncpg
import psycopg
import pytest

from decision.cli.demo.stack import SUBJECTS, Stack
from enforcers.postgres import wire
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until
from tests.e2e.test_wire_attacks import errors, exchange, held, query, raw, rows

INT4PL, LO_CREAT, PG_SLEEP = 177, 957, 2626


def call(oid: int, *values: bytes) -> bytes:
    return wire.message(
        b"F", struct.pack("!IHH", oid, 0, len(values)) + b"".join(wire.cells(values)) + struct.pack("!H", 0)
    )


# SQL PREPARE and EXECUTE


def test_a_planner_prepares_and_executes_masked_reads(stack: Stack) -> None:
    with connect(stack, "planner") as client:
        client.execute("PREPARE mine (int) AS SELECT id, email FROM customers WHERE id = $1")
        (row,) = client.execute("EXECUTE mine(3)").fetchall()
        assert row[0] == 3
        assert "@" not in str(row[1])
        assert client.execute("EXECUTE mine(3)").fetchall() == [row]
        for statement in (
            "PREPARE worse AS SELECT count(*) FROM customers WHERE email LIKE 'a%'",
            "PREPARE worse AS UPDATE orders SET status = 'x' WHERE id = 1",
            "EXPLAIN ANALYZE EXECUTE mine(3)",
            "CREATE TEMP TABLE copied AS EXECUTE mine(3)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(statement)


def test_an_executor_executes_small_writes_unasked_and_is_held_for_deletes(stack: Stack) -> None:
    admin(stack, "INSERT INTO orders VALUES (72001, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    with connect(stack, "executor") as client, Background() as pool:
        client.execute("PREPARE pay (int) AS UPDATE orders SET status = 'paid' WHERE id = $1")
        assert client.execute("EXECUTE pay(72001)").rowcount == 1
        with connect(stack, "executor") as other:
            preparing = pool.submit(other.execute, "PREPARE gone (int) AS DELETE FROM orders WHERE id = $1")
            stack.review("approve", _held(stack, "PREPARE gone"))
            preparing.result(20)
            running = pool.submit(other.execute, "EXECUTE gone(72001)")
            approval = _held(stack, "EXECUTE gone(72001)")
            shown = stack.twokey("approvals", "show", approval, token=stack.token("bob", "reviewer"))
            assert "PREPARE gone (int) AS DELETE FROM orders WHERE id = $1" in shown.stdout
            assert stack.review("approve", approval).returncode == 0
            assert running.result(20).rowcount == 1
            # One approval, one execution, these values.
            again = pool.submit(other.execute, "EXECUTE gone(72002)")
            second = _held(stack, "EXECUTE gone(72002)")
            assert stack.review("deny", second).returncode == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                again.result(20)
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 72001") == "0"


def _held(stack: Stack, text: str) -> str:
    return str(until(lambda: pending(stack, containing=text), what=f"a pending approval for {text}"))


# Cursors


@pytest.mark.parametrize("binary", [False, True])
def test_a_planners_server_side_cursor_is_masked(stack: Stack, *, binary: bool) -> None:
    with connect(stack, "planner", autocommit=False) as client:
        with client.cursor("mine", binary=binary) as cursor:
            cursor.execute("SELECT id, email FROM customers ORDER BY id LIMIT 20")
            cursor.itersize = 7
            found = cursor.fetchmany(5) + cursor.fetchall()
        assert [row[0] for row in found] == list(range(1, 21))
        assert not [row for row in found if "@" in str(row[1])]
        with client.cursor("other") as cursor:
            cursor.execute("SELECT id, city FROM customers ORDER BY id LIMIT 2")
            shown = admin(stack, "SELECT id, city FROM customers ORDER BY id LIMIT 2").split("\n")
            assert [f"{number}|{city}" for number, city in cursor.fetchall()] == shown


def test_a_cursor_with_hold_outlives_its_transaction_masked(stack: Stack) -> None:
    with connect(stack, "planner") as client:
        client.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT email FROM customers ORDER BY id")
        client.execute("BEGIN; ROLLBACK")
        found = client.execute("FETCH 3 FROM kept").fetchall() + client.execute("FETCH 3 FROM kept").fetchall()
        assert len(found) == 6
        assert not [row for row in found if "@" in str(row[0])]
        client.execute("CLOSE ALL")
        with pytest.raises(psycopg.Error):
            client.execute("FETCH kept")


def test_several_masked_reads_in_one_transaction(stack: Stack) -> None:
    with connect(stack, "planner", autocommit=False) as client:
        for number in (1, 2, 3):
            assert len(client.execute(f"SELECT email FROM customers LIMIT {number}").fetchall()) == number
        terminal = stack.psql(
            "planner", "BEGIN", *["SELECT email FROM customers LIMIT 1"] * 3, "SELECT 'still here'", "COMMIT"
        )
        assert terminal.stdout.count("still here") == 1, terminal.stderr
        assert "@" not in terminal.stdout


# Function calls


async def test_function_calls_are_judged_as_their_functions(stack: Stack) -> None:
    for role in ("planner", "executor"):
        async with raw(stack, role) as client:
            frames = await exchange(client, call(INT4PL, b"2", b"40"))
            assert [frame[9:] for kind, frame in frames if kind == "V"] == [b"42"]
            assert errors(await exchange(client, call(LO_CREAT, b"-1"))) == ["42501"]  # granted to nobody
            assert errors(await exchange(client, query("BEGIN") + call(LO_CREAT, b"-1"), readies=2)) == ["42501"]
            assert errors(await exchange(client, query("SELECT 1"))) == ["25P02"]
            assert errors(await exchange(client, query("ROLLBACK"))) == []
    assert admin(stack, "SELECT count(*) FROM pg_largeobject_metadata") == "0"
    asked = [record for record in stack.records() if record["kind"] == "decision"]
    verbs = [record["input"]["operation"]["sql"]["verbs"] for record in asked[-6:] if record["input"]]  # type: ignore[index]  # JSON
    assert ["sql.large-object", "sql.select"] in [sorted(item) for item in verbs]


async def test_a_call_of_what_nobody_can_see_through_is_refused_and_says_what_to_do(stack: Stack) -> None:
    oid = int(admin(stack, "SELECT 'tidy_up'::regproc::oid"))
    async with raw(stack, "executor") as client:
        frames = await exchange(client, call(oid))
        (error,) = [wire.parse_fields(frame) for kind, frame in frames if kind == "E"]
        assert (error["C"], b"SELECT" in error["H"]) == (b"42501", True)
    assert admin(stack, "SELECT count(*) > 0 FROM orders") == "t"


# COPY


async def test_copy_in_every_format_and_direction(stack: Stack) -> None:
    host, port = stack.address("sandbox")
    connection = await asyncpg.connect(
        host=host,
        port=port,
        user="executor",
        password=stack.token(SUBJECTS["executor"], "executor"),
        database="sandbox",
        timeout=20,
        ssl=False,
    )
    try:
        await connection.execute("CREATE TEMP TABLE formats (id int, v text)")
        records = [(number, f"v{number}\t\\") for number in range(1, 101)]
        assert await connection.copy_records_to_table("formats", records=records) == "COPY 100"  # binary
        for name in ("text", "csv", "binary"):
            out = io.BytesIO()
            await connection.copy_from_query("SELECT * FROM formats WHERE id > $1", 0, output=out, format=name)
            out.seek(0)
            await connection.execute("CREATE TEMP TABLE again (LIKE formats)")
            assert await connection.copy_to_table("again", source=out, format=name) == "COPY 100"
            assert [tuple(row) for row in await connection.fetch("SELECT * FROM again ORDER BY id")] == records
            await connection.execute("DROP TABLE again")
    finally:
        await connection.close()


def test_psql_copies_both_ways(stack: Stack) -> None:
    done = stack.psql(
        "executor",
        "CREATE TEMP TABLE lines (v text)",
        r"\copy lines FROM PROGRAM 'printf a\\nb\\n'",
        r"\copy lines TO STDOUT",
        "COPY lines TO STDOUT WITH (FORMAT csv, HEADER)",
        connection="sandbox",
    )
    assert done.stdout.split() == ["CREATE", "TABLE", "COPY", "2", "a", "b", "v", "a", "b"], done.stderr


def test_an_approved_copy_takes_its_data_afterwards(stack: Stack) -> None:
    """What a COPY will write can't be known before: it is held, the reviewer told so, and then takes the data."""
    with connect(stack, "executor") as client, Background() as pool:

        def copy() -> None:
            with client.cursor() as cursor, cursor.copy("COPY orders FROM STDIN") as writing:
                writing.write_row((72100, 1, "2026-01-01", 1, "copied"))

        running = pool.submit(copy)
        approval = _held(stack, "COPY orders")
        assert admin(stack, "SELECT count(*) FROM orders WHERE id = 72100") == "0"
        assert stack.review("approve", approval).returncode == 0
        running.result(20)
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 72100") == "1"
    admin(stack, "DELETE FROM orders WHERE id = 72100")


# The rest


async def test_listen_and_notify(stack: Stack) -> None:
    async with raw(stack, "executor") as listener, raw(stack, "executor") as speaker, raw(stack, "planner") as planner:
        assert errors(await exchange(listener, query("LISTEN wire_news"))) == []
        assert errors(await exchange(speaker, query("NOTIFY wire_news, 'spoken'"))) == []
        kind, frame = await listener.message()
        assert (kind, frame[9:]) == ("A", b"wire_news\0spoken\0")
        assert errors(await exchange(planner, query("LISTEN wire_news"))) == ["42501"]
        assert errors(await exchange(planner, query("NOTIFY wire_news"))) == ["42501"]


async def test_nobody_is_granted_two_phase_commit(stack: Stack) -> None:
    async with raw(stack, "executor") as client:
        for text in ("PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'"):
            assert errors(await exchange(client, query(text))) == ["42501"]


async def test_leases_are_nobody_elses_after_discard_all(stack: Stack) -> None:
    """Drivers send it to give a session back clean; it ends no lease of others (its own names are read again)."""
    async with raw(stack, "planner") as client:
        text = query("SELECT id FROM orders WHERE id = 1")
        await exchange(client, text + query("DISCARD ALL") + text, readies=3)
        assert rows(await exchange(client, text)) == [[b"1"]]


async def test_after_rollback_to_a_savepoint_a_statement_can_be_held_again(stack: Stack) -> None:
    admin(stack, "INSERT INTO orders VALUES (72003, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    async with raw(stack, "executor") as client:
        await exchange(client, query("BEGIN") + query("SAVEPOINT a"), readies=2)
        update = query("UPDATE orders SET status = 'x' WHERE id = 72003")
        assert errors(await exchange(client, update)) == []
        behind = await exchange(client, query("DELETE FROM orders WHERE id = 72003"))
        assert errors(behind) == ["55000"]  # it has written: a request is opened, and nothing waits
        await exchange(client, query("ROLLBACK TO a"))
        await client.send(query("DELETE FROM orders WHERE id = 72003"))
        await asyncio.to_thread(stack.review, "approve", await held(stack, "72003"))
        assert errors(await client.until_ready()) == []
        await exchange(client, query("COMMIT"))
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 72003") == "0"
