"""What the gateway knows of a transaction, asynchronous messages, cancels, and sessions that end in every state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest

from enforcers.core.ports import HoldEnd
from enforcers.postgres import wire
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.conversations import (
    COPY_DONE,
    FLUSH,
    SYNC,
    Frame,
    Live,
    Step,
    copy_data,
    hold,
    live,
    make_databases,
    q,
    run,
)
from tests.enforcers.postgres.fakes import ALLOW, DENY, HELD, LEASED, Policy, ScriptedGate
from tests.enforcers.postgres.raw import Raw, eventually

DATABASE = "transactions"
BACKENDS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = 'transactions' AND application_name = 'ends here'"
    " AND backend_type = 'client backend'"
)


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    make_databases(postgres, DATABASE)
    return f"{postgres.dsn.rpartition('/')[0]}/{DATABASE}"


def held_deletes(text: str) -> bool:
    return text.startswith("DELETE")


async def states_asked(postgres: Postgres, *steps: bytes) -> list[tuple[str, str, bool, str, bool]]:
    """(statement, transaction's status, written, isolation, may be held) of every question."""
    async with live(postgres, database=DATABASE) as one:
        client = await one.client()
        await hold(client, steps)
        found = []
        for question in one.gate.questions:
            sql = question.operation.sql
            state = sql.transaction
            text = sql.values.statement.decode()
            found.append((text, state.status, state.written, state.isolation, question.can_hold))
        client.close()
        return found


SELECT = "SELECT 1"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # AND CHAIN: the next transaction is there at once, in a pipeline too.
        (
            [
                run("BEGIN ISOLATION LEVEL SERIALIZABLE") + run("DELETE FROM w") + run(SELECT) + SYNC,
                run("COMMIT AND CHAIN") + run(SELECT) + run("ROLLBACK AND CHAIN") + run(SELECT) + SYNC,
                q("ROLLBACK"),
            ],
            [
                ("active", True, "serializable", False),
                ("active", False, "serializable", True),
                ("active", False, "serializable", True),
            ],
        ),
        ([q(f"BEGIN; DELETE FROM w; COMMIT AND CHAIN; {SELECT}"), q("ROLLBACK")], [("active", False, "", False)]),
        # Without it a pipeline goes on in an implicit one.
        (
            [run("BEGIN ISOLATION LEVEL SERIALIZABLE") + run("COMMIT") + run(SELECT) + SYNC],
            [("idle", False, "", True)],
        ),
        # ROLLBACK TO gives back what was taken since.
        (
            [q("BEGIN"), q("SAVEPOINT a"), q("DELETE FROM w"), q(SELECT), q("ROLLBACK TO a"), q(SELECT), q("ROLLBACK")],
            [("active", True, "", False), ("active", False, "", True)],
        ),
        (
            [
                q("BEGIN; DELETE FROM w; SAVEPOINT A; SAVEPOINT b; DELETE FROM w"),
                q("SELECT 1/0"),
                q('ROLLBACK TO "a"'),
                q(SELECT),
                q("ROLLBACK"),
            ],
            [("active", True, "", False)],
        ),
        # RELEASE forgets the savepoint and keeps what was done.
        (
            [q("BEGIN; SAVEPOINT a; SAVEPOINT b; DELETE FROM w; RELEASE b"), q(SELECT), q("ROLLBACK TO a"), q(SELECT)],
            [("active", True, "", False), ("active", False, "", True)],
        ),
        (
            [q("BEGIN; SAVEPOINT a; DELETE FROM w; SAVEPOINT a"), q("ROLLBACK TO a"), q(SELECT), q("ROLLBACK")],
            [("active", True, "", False)],
        ),
        # Two-phase: prepared is over.
        (
            [q("BEGIN"), q("DELETE FROM w"), q("PREPARE TRANSACTION 'mine'"), q(SELECT), q("ROLLBACK PREPARED 'mine'")],
            [("idle", False, "", True)],
        ),
    ],
)
async def test_what_policy_is_told_of_the_transaction(
    postgres: Postgres, database: str, steps: list[bytes], expected: list[tuple[str, bool, str, bool]]
) -> None:
    asked = await states_asked(postgres, *steps)
    assert [state[1:] for state in asked if state[0].strip() == SELECT] == expected


async def test_ddl_of_a_chained_transaction_ends_leases_when_it_is_committed(postgres: Postgres, database: str) -> None:
    async with live(postgres, lambda _text: LEASED, database=DATABASE) as one:
        client = await one.client()
        await hold(client, [q("BEGIN"), q("CREATE TABLE chained (i int)")])
        one.gate.dropped.clear()
        await hold(client, [q("COMMIT AND CHAIN")])
        assert one.gate.dropped
        await hold(client, [q("ROLLBACK"), q("DROP TABLE chained")])
        client.close()


async def test_discard_all_ends_nobody_elses_leases(postgres: Postgres, database: str) -> None:
    async with live(postgres, lambda _text: LEASED, database=DATABASE) as one:
        client = await one.client()
        await hold(client, [q("SELECT 1"), q("DISCARD ALL"), q("DISCARD TEMP"), q("DISCARD PLANS")])
        assert one.gate.dropped == []
        client.close()


# Asynchronous messages


async def test_notifications_come_while_idle_and_after_a_transaction(postgres: Postgres, database: str) -> None:
    async with live(postgres, database=DATABASE) as one:
        listener = await one.client()
        await hold(listener, [q("LISTEN news")])
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("NOTIFY news, 'idle'")
            kind, frame = await listener.message()
            assert (kind, frame[9:]) == ("A", b"news\0idle\0")
            await hold(listener, [q("BEGIN")])
            other.execute("NOTIFY news, 'in between'")
            within = await hold(listener, [q("SELECT 1"), run("SELECT 2") + SYNC])
            assert "A" not in [kind for kind, _ in within]  # the target keeps it until the transaction is over
            ended = await hold(listener, [Step(q("COMMIT"), "Z")])
            if "A" not in [kind for kind, _ in ended]:
                ended.append(await listener.message())
            assert [raw[9:] for kind, raw in ended if kind == "A"] == [b"news\0in between\0"]
        listener.close()


async def test_a_notification_while_a_statement_is_held(postgres: Postgres, database: str) -> None:
    async with live(postgres, lambda text: HELD if held_deletes(text) else ALLOW, database=DATABASE) as one:
        listener = await one.client()
        await hold(listener, [q("LISTEN news")])
        await listener.send(q("DELETE FROM w"))
        await one.gate.waiting.wait()
        assert (await listener.message())[0] == "N"
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("NOTIFY news, 'while held'")
        assert (await listener.message())[0] == "A"
        one.gate.decide_hold(HoldEnd.APPROVED)
        assert [kind for kind, _ in await listener.until_ready()] == ["C", "Z"]
        listener.close()


async def test_a_large_result_streams(postgres: Postgres, database: str) -> None:
    """Its first rows are here while the target still makes the last."""
    text = "SELECT repeat('x', 1000), CASE WHEN i = 3000 THEN pg_sleep(60) END FROM generate_series(1, 4000) i"
    async with live(postgres, database=DATABASE) as one:
        for message in (q(text), run(text) + SYNC):
            client = await one.client()
            await client.send(message)
            rows = 0
            while rows < 2000:
                rows += (await client.message())[0] == "D"
            await cancel(one, client)
            frames = await client.until_ready()
            assert [wire.parse_fields(raw)["C"] for kind, raw in frames if kind == "E"] == [b"57014"]
            client.close()


# Cancels


async def cancel(one: Live, client: Raw) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(wire.cancel_request(client.process, client.secret))
    await writer.drain()
    await reader.read()
    writer.close()


@pytest.mark.parametrize("extended", [False, True])
async def test_cancel_within_copy(postgres: Postgres, database: str, *, extended: bool) -> None:
    async with live(postgres, database=DATABASE) as one:
        client = await one.client()
        copy = b"COPY w FROM STDIN"
        await hold(client, [Step(run(copy) + FLUSH if extended else q(copy), "G")])
        await client.send(copy_data(b"900\tx\n"))
        await cancel(one, client)
        failed = asyncio.ensure_future(client.message())
        for number in range(901, 5000):  # the target looks up from its data between two rows
            await client.send(copy_data(f"{number}\tx\n".encode()))
            await asyncio.wait({failed}, timeout=0.01)
            if failed.done():
                break
        kind, frame = await failed
        assert (kind, wire.parse_fields(frame)["C"]) == ("E", b"57014")
        # The client goes on for a while: its data is dropped, and nothing of it runs as something else.
        await client.send(copy_data(b"5001\tx\n") + COPY_DONE + (SYNC if extended else b""))
        assert [kind for kind, _ in await client.until_ready()] == ["Z"]
        assert [kind for kind, _ in await hold(client, [q("SELECT 1 FROM w WHERE id > 899")])] == ["T", "C", "Z"]
        assert one.gate.ended[0][1] == "failed"
        client.close()


async def test_cancel_of_a_pipeline_takes_its_rest_along(postgres: Postgres, database: str) -> None:
    async with live(postgres, database=DATABASE) as one:
        client = await one.client()
        await client.send(run("INSERT INTO w VALUES (910, 'x')") + run("SELECT pg_sleep(60)") + run("SELECT 5") + SYNC)
        await eventually(lambda: one.gateway is not None and len(one.gate.begun) >= 3)
        await cancel(one, client)
        frames = await client.until_ready()
        assert [wire.parse_fields(raw)["C"] for kind, raw in frames if kind == "E"] == [b"57014"]
        assert [kind for kind, _ in await hold(client, [q("SELECT 1 FROM w WHERE id = 910")])] == ["T", "C", "Z"]
        client.close()


async def test_a_cancel_between_statements_cancels_nothing(postgres: Postgres, database: str) -> None:
    async with live(postgres, database=DATABASE) as one:
        client = await one.client()
        for _ in range(20):
            await cancel(one, client)
            assert [kind for kind, _ in await hold(client, [q("SELECT 1")])] == ["T", "D", "C", "Z"]
        client.close()


# Traps


async def test_an_unnamed_statement_never_runs_in_anothers_place(postgres: Postgres, database: str) -> None:
    """After a denied Parse or Bind, in the same pipeline, the next one, and behind a Flush."""
    async with live(postgres, lambda text: DENY if "denied" in text else ALLOW, database=DATABASE) as one:
        client = await one.client()

        def written(frames: list[Frame]) -> list[str]:
            return [wire.parse_fields(raw)["C"].decode() for kind, raw in frames if kind == "E"]

        insert = "INSERT INTO w VALUES ({}, 'x') ON CONFLICT DO NOTHING"
        execute = wire.bind(b"", b"") + wire.execute(b"")
        for number, refused in enumerate(
            [
                run("SELECT 'denied'"),
                wire.parse(b"", b"SELECT 'denied'") + wire.bind(b"", b""),
                wire.parse(b"", b"SELEC 'denied'"),
                wire.parse(b"", b"SELECT 1; SELECT 2"),
                wire.parse(b"__twokey_x", b"SELECT 1"),
                wire.bind(b"__twokey_x", b""),
            ]
        ):
            prepared = wire.parse(b"", insert.format(920 + number).encode())
            await hold(client, [prepared + SYNC])
            frames = await hold(client, [refused + wire.execute(b"") + SYNC])
            assert len(written(frames)) == 1, number
            after = await hold(client, [wire.execute(b"") + SYNC, execute + SYNC if number < 4 else SYNC])
            assert written(after)[0] == "34000", number
            if number < 4:
                assert written(after)[1:] == (["42501"] if number < 2 else ["26000"]), number
        assert [kind for kind, _ in await hold(client, [q("SELECT 1 FROM w WHERE id BETWEEN 920 AND 929")])] == [
            "T",
            "C",
            "Z",
        ]
        client.close()


@pytest.mark.parametrize("begin", [False, True])
async def test_a_denial_comes_after_the_earlier_results(postgres: Postgres, database: str, *, begin: bool) -> None:
    async with live(postgres, lambda text: DENY if "denied" in text else ALLOW, database=DATABASE) as one:
        client = await one.client()
        if begin:
            await hold(client, [q("BEGIN")])
        frames = await hold(
            client,
            [
                run("SELECT 1")
                + run("INSERT INTO w VALUES (930, 'x')")
                + run("SELECT 'denied'")
                + run("SELECT 2")
                + SYNC
            ],
        )
        assert "".join(kind for kind, _ in frames) == "12TDC12nC1EZ"
        assert frames[-1][1][5:] == (b"E" if begin else b"I")
        await hold(client, [q("ROLLBACK")])
        assert [kind for kind, _ in await hold(client, [q("SELECT 1 FROM w WHERE id = 930")])] == ["T", "C", "Z"]
        client.close()


async def test_approval_covers_one_execution_with_its_values(postgres: Postgres, database: str) -> None:
    async with live(postgres, lambda text: HELD if held_deletes(text) else ALLOW, database=DATABASE) as one:
        client = await one.client()
        await hold(client, [wire.parse(b"d", b"DELETE FROM w WHERE id = $1") + SYNC])
        for value in (b"1", b"2", b"1"):
            await client.send(wire.bind(b"", b"d", (value,)) + wire.execute(b"") + SYNC)
            await one.gate.waiting.wait()
            one.gate.decide_hold(HoldEnd.APPROVED)
            await client.until_ready()
        assert len(one.gate.redeemed) == 3
        digests = [question.operation.digest for question in one.gate.questions if held_deletes(_text(question))]
        assert len(set(digests)) == 2
        client.close()


def _text(question: object) -> str:
    return question.operation.sql.values.statement.decode()  # type: ignore[attr-defined,no-any-return]  # a Question


# Ends

Act = Callable[[Raw, ScriptedGate], Awaitable[None]]


async def idle(client: Raw, gate: ScriptedGate) -> None:
    del client, gate


async def in_transaction(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [q("BEGIN"), q("INSERT INTO w VALUES (940, 'x')")])


async def in_pipeline(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [Step(run("INSERT INTO w VALUES (940, 'x')") + FLUSH, "C")])


async def suspended(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [q("BEGIN"), Step(run("SELECT * FROM t", limit=2) + FLUSH, "s")])


async def mid_copy_in(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [Step(q("COPY w FROM STDIN"), "G")])
    await client.send(copy_data(b"940\tx\n"))


async def mid_result(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [Step(q("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"), "D")])


async def mid_copy_out(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [Step(q("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT"), "d")])


async def running(client: Raw, gate: ScriptedGate) -> None:
    before = len(gate.begun)
    await client.send(q("SELECT pg_sleep(60)"))
    await eventually(lambda: len(gate.begun) > before)


async def held(client: Raw, gate: ScriptedGate) -> None:
    await client.send(q("DELETE FROM w"))
    await gate.waiting.wait()


async def failed(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [q("BEGIN"), q("SELECT 1/0")])


async def skipping(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await hold(client, [Step(wire.bind(b"", b"none") + FLUSH, "E")])


async def half_a_message(client: Raw, gate: ScriptedGate) -> None:
    del gate
    await client.send(q("DELETE FROM w WHERE id < 0")[:-5])


STATES: dict[str, Act] = {
    act.__name__: act
    for act in (
        idle, in_transaction, in_pipeline, suspended, mid_copy_in, mid_result, mid_copy_out, running, held, failed,
        skipping, half_a_message,
    )
}  # fmt: skip


def ends_policy() -> Policy:
    return lambda text: HELD if held_deletes(text) else ALLOW


@pytest.fixture
async def ending(postgres: Postgres, database: str) -> AsyncIterator[Live]:
    async with live(postgres, ends_policy(), database=DATABASE) as one:
        yield one


@pytest.mark.parametrize("how", ["terminate", "close", "reset"])
@pytest.mark.parametrize("state", STATES)
async def test_a_session_ends_in_every_state(ending: Live, database: str, state: str, how: str) -> None:
    client = await ending.client()
    gate = ending.gate
    await hold(client, [q("SET application_name = 'ends here'")])
    await STATES[state](client, gate)
    if how == "terminate":
        await client.send(wire.TERMINATE)
        client.close()
    elif how == "close":
        client.close()
    else:
        client.writer.transport.abort()
    with psycopg.connect(database, autocommit=True) as admin:

        def gone() -> bool:
            return admin.execute(BACKENDS).fetchall() == [(0,)]

        await eventually(gone, seconds=10)
        assert admin.execute("SELECT count(*) FROM w WHERE id = 940").fetchall() == [(0,)]
    await eventually(lambda: bool(gate.closed))
    # Every act that began has one outcome, and only those.
    assert len(gate.ends) == len(gate.begun)
    statuses = [outcome.status for _, outcome in gate.ends]
    assert statuses.count("unknown") <= 1 + (state == "in_pipeline")
    if state == "held":
        assert [text for text, _ in gate.ends if held_deletes(text)] == []
    client.close()
