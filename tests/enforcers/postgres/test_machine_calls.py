"""FunctionCall: decided as the SELECT that it is, forwarded as it came, refused where a decision can't be met."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator

import psycopg
import pytest

from enforcers.core.errors import ProtocolError, UpstreamError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres import wire
from enforcers.postgres.machine_calls import select_of
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.conversations import SYNC, Frame, call, hold, live, make_databases, q, run
from tests.enforcers.postgres.dialogue import Dialogue, error, kinds
from tests.enforcers.postgres.fakes import ALLOW, APPROVED, DENY, HELD, LEASED, with_duties
from tests.enforcers.postgres.raw import Raw

DATABASE = "calls"
INT4PL, REPEAT = 177, 1622
SETUP = """
CREATE FUNCTION spend(account int, amount int) RETURNS int LANGUAGE sql AS
  $$ UPDATE w SET v = amount::text WHERE id = account; SELECT amount $$;
CREATE SCHEMA "odd ""name";
CREATE FUNCTION "odd ""name"."f;--"(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION opaque(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
INSERT INTO w VALUES (1, '0');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION orphan() RETURNS int LANGUAGE sql AS 'INSERT INTO child VALUES (1) RETURNING id';
"""


@pytest.fixture(scope="module")
def target(postgres: Postgres) -> str:
    make_databases(postgres, DATABASE)
    dsn = f"{postgres.dsn.rpartition('/')[0]}/{DATABASE}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(SETUP)
    return dsn


def oid_of(dsn: str, function: str) -> int:
    with psycopg.connect(dsn) as admin:
        (row,) = admin.execute("SELECT %s::regproc::oid::int8", (function,)).fetchall()
        return int(row[0])


def states(frames: list[Frame]) -> list[str]:
    return [wire.parse_fields(raw)["C"].decode() for kind, raw in frames if kind == "E"]


async def test_a_call_is_described_as_a_select_with_its_values(postgres: Postgres, target: str) -> None:
    async with live(postgres, database=DATABASE) as one:
        client = await one.client()
        frames = await hold(client, [call(oid_of(target, "spend"), (b"\0\0\0\1", b"70"), formats=(1, 0))])
        assert [kind for kind, _ in frames] == ["V", "Z"]
        question = one.gate.questions[-1].operation
        assert question.sql.values.statement == (
            b'SELECT "public"."spend"($1::"pg_catalog"."int4", $2::"pg_catalog"."int4")'
        )
        assert list(question.sql.verbs) == ["sql.update", "sql.select"] or set(question.sql.verbs) == {
            "sql.update",
            "sql.select",
        }
        assert [(item.name, list(item.access)) for item in question.sql.relations if "update" in item.access]
        bound = [(item.type_oid, item.binary, item.value) for item in question.sql.values.bound]
        assert bound == [(23, True, b"\0\0\0\1"), (23, False, b"70")]
        (text, outcome) = one.gate.ends[-1]
        assert (text.startswith("SELECT"), outcome.status, outcome.rows) == (True, "completed", 1)
        client.close()
    with psycopg.connect(target) as admin:
        assert admin.execute("SELECT v FROM w WHERE id = 1").fetchall() == [("70",)]


async def test_a_denied_call_is_never_made(postgres: Postgres, target: str) -> None:
    async with live(postgres, lambda text: DENY if "spend" in text else ALLOW, database=DATABASE) as one:
        client = await one.client()
        spend = call(oid_of(target, "spend"), (b"1", b"666"))
        assert states(await hold(client, [spend])) == ["42501"]
        assert states(await hold(client, [q("BEGIN"), spend, q("SELECT 1"), q("ROLLBACK")])) == ["42501", "25P02"]
        pipeline = await hold(client, [run("UPDATE w SET v = 'lost' WHERE id = 1") + spend])
        assert states(pipeline) == ["42501"]
        assert [kind for kind, _ in pipeline].count("Z") == 1
        assert [wire.parse_data_row(raw) for kind, raw in await hold(client, [q("SELECT 5")]) if kind == "D"] == [
            [b"5"]
        ]
        client.close()
    with psycopg.connect(target) as admin:
        assert admin.execute("SELECT count(*) FROM w WHERE v IN ('666', 'lost')").fetchall() == [(0,)]


async def test_what_a_call_means_is_asked_again_when_the_catalog_changed(postgres: Postgres, target: str) -> None:
    async with live(postgres, lambda _text: LEASED, database=DATABASE) as one:
        client = await one.client()
        await hold(client, [q("CREATE FUNCTION mine(int) RETURNS int LANGUAGE sql AS 'SELECT $1'")])
        mine = call(oid_of(target, "mine"), (b"3",))
        await hold(client, [mine, mine])
        asked = len(one.gate.questions)
        await hold(client, [mine])
        assert len(one.gate.questions) == asked  # a lease serves it
        await hold(client, [q("ALTER FUNCTION mine RENAME TO yours"), mine])
        assert one.gate.questions[-1].operation.sql.values.statement.startswith(b'SELECT "public"."yours"')
        await hold(client, [q("DROP FUNCTION yours")])
        assert states(await hold(client, [mine])) == ["42883"]
        client.close()


async def test_opaque_functions_and_odd_names(postgres: Postgres, target: str) -> None:
    async with live(postgres, database=DATABASE) as one:
        client = await one.client()
        await hold(client, [call(oid_of(target, "opaque"), (b"3",))])
        assert [reason.code for reason in one.gate.questions[-1].operation.sql.opaque_reasons] == [
            "procedural-function"
        ]
        frames = await hold(client, [call(oid_of(target, '"odd ""name"."f;--"'), (b"x",))])
        assert frames[0][1][9:] == b"x"
        client.close()


@pytest.mark.parametrize(
    "ruling",
    [
        APPROVED,
        with_duties(ALLOW, max_rows=0),
        with_duties(ALLOW, read_only=True),
        with_duties(ALLOW, mask=(MaskedColumn(schema="s", relation="r", column="c", label="l", masker="null"),)),
    ],
)
async def test_a_decision_that_a_call_can_not_meet_refuses_it(postgres: Postgres, target: str, ruling: object) -> None:
    async with live(
        postgres,
        lambda text: ruling if "spend" in text else ALLOW,  # type: ignore[arg-type,return-value]  # one of the above
        database=DATABASE,
    ) as one:
        client = await one.client()
        assert states(await hold(client, [call(oid_of(target, "spend"), (b"1", b"13"))])) == ["42501"]
        assert one.gate.ended[-1][1] == "refused"
        client.close()
    with psycopg.connect(target) as admin:
        assert admin.execute("SELECT count(*) FROM w WHERE v = '13'").fetchall() == [(0,)]


async def test_a_call_is_not_held(postgres: Postgres, target: str) -> None:
    async with live(postgres, lambda text: HELD if "spend" in text else ALLOW, database=DATABASE) as one:
        client = await one.client()
        frames = await hold(client, [call(oid_of(target, "spend"), (b"1", b"13"))])
        assert states(frames) == ["42501"]
        assert b"SELECT function" in wire.parse_fields(frames[0][1])["H"]
        assert not one.gate.questions[-1].can_hold
        assert one.gate.questions[-1].operation.sql.statements == 0  # so nobody is asked to review it either
        client.close()


@pytest.fixture
async def client(postgres: Postgres, target: str) -> AsyncIterator[Raw]:
    async with live(postgres, database=DATABASE) as one:
        raw = await one.client()
        yield raw
        raw.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0\xb1",
        b"\0\0\0\xb1\0\0\0\1\0\0\0\5x\0\0",  # a value longer than the message
        b"\0\0\0\xb1\0\0\0\1\xff\xff\xff\xfe\0\0",  # a length of -2
        b"\0\0\0\xb1\0\0\0\0\0\2",  # result format 2
        b"\0\0\0\xb1\0\1\0\7\0\0\0\0",  # argument format 7
        b"\0\0\0\xb1\0\2\0\0\0\0\0\1\0\0\0\1x\0\0",  # two formats, one value
        b"\0\0\0\xb1\0\0\0\0\0\0more",
    ],
)
async def test_malformed_calls_end_the_session(client: Raw, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.parse_function_call(wire.message(b"F", body))
    await client.send(wire.message(b"F", body))
    kind, frame = await client.message()
    assert (kind, wire.parse_fields(frame)["C"]) == ("E", b"08P01")
    assert await client.reader.read() == b""


async def test_a_call_of_17_mib_is_refused_and_the_session_lives(client: Raw) -> None:
    assert states(await hold(client, [call(1258, (b"x" * (17 << 20), b"y"))])) == ["54000"]
    assert [kind for kind, _ in await hold(client, [call(1258, (b"x" * 100_000, b"y"))])] == ["V", "Z"]


LONG = call(REPEAT, (b"x" * 1000, str(20_000).encode()))  # 20 MB


async def test_a_result_of_20_mb_streams(client: Raw) -> None:
    for _ in range(2):
        (_, answer), (_, ready) = await hold(client, [LONG])
        assert answer[9:] == b"x" * 20_000_000
        assert answer[:9] == b"V" + struct.pack("!II", 20_000_008, 20_000_000)
        assert ready == wire.ready(b"I")


async def test_a_result_of_20_mb_is_cut_at_the_byte_limit(postgres: Postgres, target: str) -> None:
    async with live(postgres, lambda _t: with_duties(ALLOW, max_bytes=19_000_000), database=DATABASE) as one:
        client = await one.client()
        assert states(await hold(client, [LONG])) == ["54000"]
        assert [kind for kind, _ in await hold(client, [call(INT4PL, (b"1", b"1"))])] == ["V", "Z"]
        assert [outcome.status for _, outcome in one.gate.ends] == ["failed", "completed"]
        client.close()


async def test_a_call_whose_commit_fails_has_failed(postgres: Postgres, target: str) -> None:
    async with live(postgres, database=DATABASE) as one:
        client = await one.client()
        frames = await hold(client, [call(oid_of(target, "orphan"), ())])
        assert (states(frames), [kind for kind, _ in frames]) == (["23503"], ["V", "E", "Z"])
        assert [(outcome.status, outcome.sqlstate) for _, outcome in one.gate.ends] == [("failed", "23503")]
        client.close()


def test_a_long_answer_that_nobody_asked_for_ends_the_session() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"SELECT 1"))
    with pytest.raises(UpstreamError, match="too large"):
        one.target(b"V" + struct.pack("!I", 20_000_000) + b"x" * 100)


async def test_calls_skip_behind_an_error_as_all_else(client: Raw) -> None:
    await client.send(run("SELECT 1/0") + call(INT4PL, (b"1", b"1")) + SYNC)
    assert [kind for kind, _ in await client.until_ready()] == ["1", "E", "Z"]


def test_a_target_that_answers_a_call_twice_ends_the_session() -> None:
    one = Dialogue().named()
    one.client(call(INT4PL, (b"1",)))
    row = wire.data_row([b"pg_catalog", b"int4pl", b"23", b"pg_catalog", b"int4", b"b"])
    done = wire.message(b"C", b"SELECT 1\0")
    three = wire.message(b"3") + wire.message(b"1") + wire.message(b"2")
    _, _, commands = one.target(three + row + done + wire.message(b"3") + wire.ready(b"I"))
    _, target, _ = one.reply(ALLOW)
    assert target == call(INT4PL, (b"1",))
    assert commands
    answer = wire.message(b"V", b"\0\0\0\1x")
    client, _, _ = one.target(answer)
    assert kinds(client) == "V"
    with pytest.raises(Exception, match="out of order"):
        one.target(answer)


def test_a_function_call_response_answers_nothing_else() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"SELECT 1"))
    with pytest.raises(Exception, match="out of order"):
        one.target(wire.message(b"V", b"\0\0\0\1x"))


def test_a_call_in_a_failed_transaction_is_not_even_looked_up() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"BEGIN"))
    one.target(wire.message(b"C", b"BEGIN\0"), wire.ready(b"T"))
    one.ask(wire.query(b"SELECT 1"))
    one.target(error("22012"), wire.ready(b"E"))
    _, target, commands = one.client(call(INT4PL, (b"1", b"2")))
    assert (b"pg_proc" in target, commands) == (False, [])
    assert b"int4" not in target


def test_the_select_of_a_function() -> None:
    assert select_of([["s", "f", "", "", "", ""]]) == (b'SELECT "s"."f"()', ())
    assert select_of(
        [["s", "f", "23", "pg_catalog", "int4", "b"], ["s", "f", "2283", "pg_catalog", "anyelement", "p"]]
    ) == (
        b'SELECT "s"."f"($1::"pg_catalog"."int4", $2)',
        (23, 2283),
    )
