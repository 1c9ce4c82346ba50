"""Attacks on the wire: no order of messages shows a planner a classified value, or runs what nobody allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from decision.cli.demo.stack import DATABASE, SUBJECTS, Stack
from enforcers.postgres import wire
from tests.e2e.clients import admin, pending
from tests.enforcers.postgres.raw import Raw

MASKED = b"SELECT id, email FROM customers WHERE id < 4 ORDER BY id"
SYNC = wire.SYNC
FETCH = b"FETCH ALL FROM c"
Frames = list[tuple[str, bytes]]


@asynccontextmanager
async def raw(stack: Stack, role: str, *, connection: str = DATABASE) -> AsyncIterator[Raw]:
    _, port = stack.address(connection)
    client = await Raw.connect_to(port, user=role, database=connection, password=stack.token(SUBJECTS[role], role))
    try:
        yield client
    finally:
        client.close()


def query(text: str | bytes) -> bytes:
    return wire.query(text if isinstance(text, bytes) else text.encode())


def run(text: bytes, *, portal: bytes = b"") -> bytes:
    return wire.parse(b"", text) + wire.bind(portal, b"") + wire.execute(portal)


async def exchange(client: Raw, data: bytes, *, readies: int = 1) -> Frames:
    await client.send(data)
    found: Frames = []
    for _ in range(readies):
        found += await client.until_ready()
    return found


def rows(frames: Frames) -> list[list[bytes | None]]:
    return [wire.parse_data_row(frame) for kind, frame in frames if kind == "D"]


def errors(frames: Frames) -> list[str]:
    return [wire.parse_fields(frame)["C"].decode() for kind, frame in frames if kind == "E"]


async def held(stack: Stack, text: str) -> str:
    async with asyncio.timeout(20):
        while True:
            approval = await asyncio.to_thread(pending, stack, containing=text)
            if approval is not None:
                return approval


SEQUENCES: dict[str, list[bytes]] = {
    "declare": [query("BEGIN"), query(b"DECLARE c CURSOR FOR " + MASKED), query(FETCH), query("COMMIT"), query(FETCH)],
    "with hold": [query(b"DECLARE c CURSOR WITH HOLD FOR " + MASKED), query(FETCH)],
    "binary": [query(b"BEGIN; DECLARE c BINARY CURSOR FOR " + MASKED + b"; " + FETCH), query(FETCH)],
    "declare, extended": [query("BEGIN"), run(b"DECLARE c CURSOR FOR " + MASKED) + SYNC, run(FETCH) + SYNC],
    "prepare": [query(b"PREPARE p AS " + MASKED), query("EXECUTE p"), run(b"EXECUTE p") + SYNC],
    "prepare, extended": [run(b"PREPARE p AS " + MASKED) + SYNC, query("EXECUTE p")],
    "execute of the protocol's own": [wire.parse(b"c", MASKED) + SYNC, query("EXECUTE c"), query("EXPLAIN EXECUTE c")],
    "fetch of the protocol's own": [
        query("BEGIN"),
        wire.parse(b"s", MASKED) + wire.bind(b"c", b"s") + SYNC,
        query(FETCH),
    ],
    "fetch in the pipeline": [
        query("BEGIN"),
        wire.parse(b"s", MASKED) + wire.bind(b"c", b"s") + run(FETCH, portal=b"x") + SYNC,
    ],
    "copy": [query(b"COPY (" + MASKED + b") TO STDOUT"), run(b"COPY customers TO STDOUT") + SYNC],
    "explain": [query(b"EXPLAIN ANALYZE VERBOSE " + MASKED)],
    "several in a message": [query(b"SELECT 1; " + MASKED)],
    "table and star": [query("TABLE customers LIMIT 3"), query("SELECT customers FROM customers LIMIT 3")],
    "unnamed twice": [wire.parse(b"", b"SELECT 7") + run(MASKED) + SYNC, run(b"SELECT 7") + run(MASKED) + SYNC],
    "paging in binary": [
        query("BEGIN"),
        wire.parse(b"s", MASKED) + wire.bind(b"c", b"s", result_formats=(1,)) + wire.execute(b"c", 1) + SYNC,
        wire.describe(b"P", b"c") + wire.execute(b"c", 1) + wire.FLUSH + wire.execute(b"c") + SYNC,
        query(FETCH),
    ],
    "two portals": [
        query("BEGIN"),
        wire.parse(b"s", MASKED) + wire.bind(b"a", b"s") + wire.bind(b"b", b"s", result_formats=(0, 1)) + SYNC,
        wire.execute(b"b", 1) + wire.execute(b"a", 1) + wire.close(b"S", b"s") + wire.execute(b"b") + SYNC,
        query("SAVEPOINT x"),
        query("ROLLBACK TO x"),
        wire.execute(b"a") + SYNC,
    ],
}


@pytest.mark.parametrize("name", SEQUENCES)
async def test_no_sequence_shows_a_planner_a_classified_value(stack: Stack, name: str) -> None:
    secrets = admin(stack, "SELECT email FROM customers WHERE id < 4 ORDER BY id").split("\n")
    assert all("@" in secret for secret in secrets)
    async with raw(stack, "planner") as client:
        frames: Frames = []
        for batch in SEQUENCES[name]:
            frames += await exchange(client, batch)
        everything = b"".join(frame for _, frame in frames)
        assert not [secret for secret in secrets if secret.encode() in everything]
        assert not [cell for row in rows(frames) for cell in row if cell is not None and b"@" in cell]
        if "portal" in name or "paging" in name or "unnamed" in name:
            assert [row for row in rows(frames) if len(row) == 2]  # they do read, masked
        assert rows(await exchange(client, query("ROLLBACK") + query("SELECT 1"), readies=2)) == [[b"1"]]


async def test_an_error_that_comes_before_the_next_decision_keeps_the_session(stack: Stack) -> None:
    """After a masked read the target's error of an early message met a Bind that was still being decided."""
    async with raw(stack, "planner") as client:
        await exchange(client, query("BEGIN"))
        await exchange(client, run(MASKED) + SYNC)
        frames = await exchange(client, run(b"SELECT 'x'::int AS early") + SYNC)
        assert errors(frames) == ["XX000"]  # its text is withheld: the transaction touches classified columns
        await exchange(client, query("ROLLBACK"))
        assert rows(await exchange(client, query("SELECT 1"))) == [[b"1"]]


async def test_errors_of_classified_statements_say_nothing_in_extended_mode(stack: Stack) -> None:
    async with raw(stack, "planner") as client:
        frames = await exchange(client, run(b"SELECT email, 1/(id-2) FROM customers WHERE id < 5 ORDER BY id") + SYNC)
        assert errors(frames) == ["XX000"]
        (text,) = [wire.parse_fields(frame)["M"] for kind, frame in frames if kind == "E"]
        assert b"division" not in text
        frames = await exchange(client, run(b"SELECT 1/0") + SYNC)
        assert errors(frames) == ["22012"]  # nothing classified: the target's own words


@pytest.mark.parametrize("count", [999, 1000, 1001])
@pytest.mark.parametrize("extended", [False, True])
async def test_max_rows_is_exact(stack: Stack, count: int, extended: bool) -> None:
    text = f"SELECT id FROM orders ORDER BY id LIMIT {count}".encode()
    async with raw(stack, "planner") as client:
        frames = await exchange(client, run(text) + SYNC if extended else query(text))
        assert len(rows(frames)) == min(count, 1000)
        assert errors(frames) == (["54000"] if count > 1000 else [])
        await exchange(client, query("BEGIN"))
        first = wire.parse(b"", b"SELECT id FROM orders ORDER BY id") + wire.bind(b"p", b"") + wire.execute(b"p", 600)
        assert len(rows(await exchange(client, first + SYNC))) == 600
        frames = await exchange(client, wire.execute(b"p", 600) + SYNC)
        assert (len(rows(frames)), errors(frames)) == (400, ["54000"])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT set_config('search_path', 'pg_temp', false)",
        "SET TRANSACTION READ WRITE",
        "BEGIN READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    ],
)
async def test_a_planner_can_not_loosen_its_sessions_duties(stack: Stack, text: str) -> None:
    async with raw(stack, "planner") as client:
        for batch in (query(text), run(text.encode()) + SYNC):
            assert errors(await exchange(client, batch)) == ["42501"]
        await exchange(client, query("BEGIN"))
        assert errors(await exchange(client, query(text))) == ["42501"]
        await exchange(client, query("ROLLBACK"))
        await exchange(client, query("DISCARD ALL"))
        assert rows(await exchange(client, query("SHOW transaction_read_only"))) == [[b"on"]]
        assert rows(await exchange(client, query("SHOW statement_timeout"))) == [[b"30s"]]


async def test_nothing_pipelined_overtakes_a_hold_or_survives_its_denial(stack: Stack) -> None:
    admin(stack, "INSERT INTO orders VALUES (71001, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    async with raw(stack, "executor") as client:
        delete = run(b"DELETE FROM orders WHERE id = 71001")
        update = run(b"UPDATE orders SET status = 'overtaken' WHERE id = 71001")
        await client.send(delete, update, SYNC, query("SELECT 5"))
        approval = await held(stack, "71001")
        assert admin(stack, "SELECT status FROM orders WHERE id = 71001") == "new"
        await asyncio.to_thread(stack.review, "deny", approval)
        assert errors(await client.until_ready()) == ["42501"]
        assert rows(await client.until_ready()) == [[b"5"]]
        assert admin(stack, "SELECT status FROM orders WHERE id = 71001") == "new"
        frames = await exchange(client, update + delete + SYNC)  # it has written: no hold, and no write that stays
        assert errors(frames) == ["55000"]
        assert admin(stack, "SELECT status FROM orders WHERE id = 71001") == "new"


async def test_a_hold_ends_with_its_pipeline(stack: Stack) -> None:
    admin(stack, "INSERT INTO orders VALUES (71006, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    async with raw(stack, "executor") as client:
        slow_and_bad = run(b"SELECT 1/(count(pg_sleep(0.5)) - count(*))")
        frames = await exchange(client, slow_and_bad + run(b"DELETE FROM orders WHERE id = 71006") + SYNC)
        assert "N" in [kind for kind, _ in frames]  # it was held
        assert errors(frames) == ["22012"]
        assert await asyncio.to_thread(pending, stack, containing="71006") is None
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 71006") == "1"


async def test_an_approved_portal_runs_once(stack: Stack) -> None:
    admin(stack, "INSERT INTO orders VALUES (71002, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    async with raw(stack, "executor") as client:
        twice = wire.bind(b"p", b"s") + wire.execute(b"p") + wire.execute(b"p")
        await client.send(wire.parse(b"s", b"DELETE FROM orders WHERE id = 71002"), twice, SYNC)
        approval = await held(stack, "71002")
        await asyncio.to_thread(stack.review, "approve", approval)
        assert errors(await client.until_ready()) == ["55000"]  # and with it the implicit transaction is undone
        await client.send(wire.bind(b"p", b"s"), wire.execute(b"p"), SYNC)
        assert await held(stack, "71002") != approval
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 71002") == "1"


@pytest.mark.parametrize("polite", [True, False])
async def test_who_leaves_while_held_never_runs_it(stack: Stack, polite: bool) -> None:
    number = 71003 + polite
    admin(stack, f"INSERT INTO orders VALUES ({number}, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    async with raw(stack, "executor") as client:
        await client.send(query(f"DELETE FROM orders WHERE id = {number}"))
        approval = await held(stack, str(number))
        if polite:
            await client.send(wire.TERMINATE)
    reviewed = await asyncio.to_thread(stack.review, "approve", approval)
    assert reviewed.returncode == 0
    assert admin(stack, f"SELECT count(*) FROM orders WHERE id = {number}") == "1"


async def test_cancel_needs_the_sessions_own_key_and_a_storm_cancels_once(stack: Stack) -> None:
    host, port = stack.address()

    async def cancel(process: int, secret: bytes) -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.write(wire.cancel_request(process, secret))
        await writer.drain()
        writer.close()

    admin(stack, "INSERT INTO orders VALUES (71005, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    async with raw(stack, "executor") as one, raw(stack, "executor") as other:
        await one.send(query("DELETE FROM orders WHERE id = 71005"))
        approval = await held(stack, "71005")
        for _ in range(10):
            await cancel(one.process, other.secret)
            await cancel(other.process, one.secret)
            await cancel(other.process, other.secret)
        assert rows(await exchange(other, query("SELECT 3"))) == [[b"3"]]
        assert await held(stack, "71005") == approval
        for _ in range(30):
            await cancel(one.process, one.secret)
        assert errors(await one.until_ready()) == ["57014"]
        assert rows(await exchange(one, query("SELECT 4"))) == [[b"4"]]
        refused = await asyncio.to_thread(stack.review, "approve", approval)
        assert refused.returncode != 0
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 71005") == "1"


async def test_copy_with_bad_data_fails_alone(stack: Stack) -> None:
    def data(text: bytes) -> bytes:
        return wire.message(b"d", text)

    done, copy = wire.message(b"c", b""), b"COPY wire_copy FROM STDIN"
    async with raw(stack, "executor", connection="sandbox") as client:
        await exchange(client, query("CREATE TEMP TABLE wire_copy (id int)"))
        assert errors(await exchange(client, query(copy) + data(b"bad\n") + done)) == ["22P02"]
        assert errors(await exchange(client, run(copy) + data(b"zz\n") + data(b"2\n") + done + SYNC)) == ["22P02"]
        stopped = await exchange(client, run(copy) + wire.message(b"f", b"stop\0") + SYNC)
        assert errors(stopped) == ["57014"]
        assert errors(await exchange(client, run(copy) + data(b"1\n") + done + SYNC)) == []
        assert rows(await exchange(client, query("SELECT count(*) FROM wire_copy"))) == [[b"1"]]
        assert errors(await exchange(client, query(copy + b"; SELECT 1") + data(b"2\n") + done)) == []


async def test_chained_transactions_and_two_phase_commit(stack: Stack) -> None:
    async with raw(stack, "executor") as client:
        await exchange(client, query("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        (_, ready) = (await exchange(client, query("COMMIT AND CHAIN")))[-1]
        assert ready[5:] == b"T"
        assert rows(await exchange(client, query("SHOW transaction_isolation"))) == [[b"repeatable read"]]
        asked = [record for record in stack.records() if record["kind"] == "decision"][-1]["input"]
        assert asked["operation"]["sql"]["transaction"]["status"] == "active"  # type: ignore[index]  # JSON
        assert asked["operation"]["sql"]["transaction"]["isolation"] == "repeatable read"  # type: ignore[index]  # JSON
        assert errors(await exchange(client, query("PREPARE TRANSACTION 'x'"))) == ["42501"]
        await exchange(client, query("ROLLBACK"))


async def test_a_function_that_makes_objects_misleads_nobody(stack: Stack) -> None:
    admin(
        stack,
        "CREATE FUNCTION wire_sneaky() RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN CREATE TEMP TABLE customers (id int, email text); RETURN 1; END $$",
    )
    try:
        async with raw(stack, "executor") as client:
            frames: Frames = []
            while not rows(frames):
                await client.send(query("SELECT wire_sneaky()"))
                await asyncio.to_thread(stack.review, "approve", await held(stack, "wire_sneaky"))
                frames = await client.until_ready()
                # Until the catalog has the new function, what was approved is not what would run.
                assert rows(frames) == [[b"1"]] or errors(frames) == ["42501"]
            assert rows(await exchange(client, query("SELECT count(*) FROM customers"))) == [[b"0"]]
            asked = [record for record in stack.records() if record["kind"] == "decision"][-1]["input"]
            (relation,) = asked["operation"]["sql"]["relations"]  # type: ignore[index]  # JSON
            assert relation["temporary"] is True
    finally:
        admin(stack, "DROP FUNCTION wire_sneaky()")
