"""The gateway on real parts: psql, psycopg and asyncpg to a real PostgreSQL, with a scripted Gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest
import uvloop

from enforcers.core.ports import Answer, Duties, HoldEnd, MaskedColumn, Question, Ruling
from enforcers.postgres.wire import (
    SYNC,
    bind,
    cancel_request,
    close,
    describe,
    execute,
    parse,
    parse_data_row,
    parse_fields,
    query,
)
from tests.enforcers.postgres.conftest import Gatewayed, Postgres, Start, free_port, start_gateway
from tests.enforcers.postgres.fakes import ALLOW, DENY, HELD, Policy, ScriptedDescriber, ScriptedGate, with_duties
from tests.enforcers.postgres.raw import CuttingProxy, Raw, eventually


async def psql(postgres: Postgres, dsn: str, *commands: str) -> tuple[int, str, str]:
    arguments = [item for command in commands for item in ("-c", command)]
    process = await asyncio.create_subprocess_exec(
        postgres.psql, "-XqAt", dsn, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, out.decode(), err.decode()


async def test_simple_query_through_psql(gateway: Start, postgres: Postgres) -> None:
    one = await gateway()
    code, out, err = await psql(
        postgres, one.dsn, "SELECT id, name FROM t WHERE id < 3 ORDER BY id", "SELECT 1; SELECT 2"
    )
    assert (code, err) == (0, "")
    assert out == "1|name 1\n2|name 2\n1\n2\n"
    assert [status for _, status in one.gate.ended] == ["completed"] * 3


async def test_extended_query_through_asyncpg(gateway: Start) -> None:
    one = await gateway()
    connection = await asyncpg.connect(one.dsn, timeout=10)
    try:
        assert await connection.fetchval("SELECT name FROM t WHERE id = $1", 5) == "name 5"
        async with connection.transaction():
            await connection.execute("UPDATE t SET n = n WHERE id = 1")
        assert [r["id"] for r in await connection.fetch("SELECT id FROM t WHERE id < $1 ORDER BY id", 4)] == [1, 2, 3]
    finally:
        await connection.close()


async def test_extended_query_through_psycopg(gateway: Start) -> None:
    one = await gateway()
    async with await psycopg.AsyncConnection.connect(one.dsn, connect_timeout=10) as connection:
        cursor = await connection.execute("SELECT name FROM t WHERE id = %s", (7,))
        assert await cursor.fetchone() == ("name 7",)


def deny_writes(text: str) -> Ruling:
    return DENY if text.lower().startswith(("insert", "update", "delete", "drop")) else ALLOW


def gate_of(policy: Policy) -> Callable[[], ScriptedGate]:
    return lambda: ScriptedGate(policy)


async def held(one: Gatewayed) -> None:
    await eventually(lambda: bool(one.core.gates) and one.gate.waiting.is_set())


async def connect(one: Gatewayed, *, autocommit: bool = True) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(one.dsn, connect_timeout=10, autocommit=autocommit)


async def test_a_denial_outside_a_transaction_leaves_the_session_alive(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(deny_writes))
    code, out, err = await psql(postgres, one.dsn, "UPDATE t SET name = 'x'", "SELECT 1")
    assert out == "1\n"
    assert "planners may not write [duties.planner_write]" in err
    assert "DETAIL:  Decision: dec_deny" in err
    assert "HINT:  Ask an executor." in err
    assert one.gate.ended == [("SELECT 1", "completed")]
    del code


async def test_a_denial_in_a_transaction_fails_the_targets_transaction(gateway: Start) -> None:
    one = await gateway(gate_of(deny_writes))
    async with await connect(one, autocommit=False) as connection:
        await connection.execute("SELECT 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("UPDATE t SET name = 'x'")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            await connection.execute("SELECT 2")
        await connection.rollback()
        assert await (await connection.execute("SELECT 3")).fetchone() == (3,)


async def test_a_denial_by_simple_query_in_a_transaction(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(deny_writes))
    _, out, err = await psql(
        postgres, one.dsn, "BEGIN", "CREATE TABLE gone (i int)", "DELETE FROM t", "SELECT 1", "ROLLBACK", "SELECT 2"
    )
    assert out == "2\n"
    assert "planners may not write" in err
    assert "current transaction is aborted" in err
    _, out, _ = await psql(postgres, postgres.dsn, "SELECT count(*) FROM t", "SELECT to_regclass('gone') IS NULL")
    assert out == "20\nt\n"


async def test_one_denied_statement_of_a_message_and_nothing_of_it_is_sent(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(deny_writes))
    _, out, err = await psql(postgres, one.dsn, "CREATE TABLE first (i int); DROP TABLE t", "SELECT 1")
    assert out == "1\n"
    assert "planners may not write" in err
    assert one.gate.ended == [("CREATE TABLE first (i int)", "not-executed"), ("SELECT 1", "completed")]
    _, out, _ = await psql(postgres, postgres.dsn, "SELECT to_regclass('first') IS NULL")
    assert out == "t\n"


async def test_a_denial_in_a_pipeline_comes_after_the_earlier_results(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(deny_writes))
    async with await connect(one) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):  # noqa: PT012 - the error comes at the pipeline's end
            async with connection.pipeline():
                first = await connection.execute("SELECT 41")
                await connection.execute("CREATE TABLE piped (i int)")
                await connection.execute("DELETE FROM t")
                later = await connection.execute("CREATE TABLE later (i int)")
                assert await first.fetchone() == (41,)
                await later.fetchone()
        assert await (await connection.execute("SELECT 42")).fetchone() == (42,)
    _, out, _ = await psql(postgres, postgres.dsn, "SELECT to_regclass('piped') IS NULL, to_regclass('later') IS NULL")
    assert out == "t|t\n"


async def test_after_a_denied_parse_the_earlier_unnamed_statement_never_runs(gateway: Start) -> None:
    one = await gateway(gate_of(deny_writes))
    raw = await Raw.connect(one)
    await raw.send(parse(b"", b"SELECT 1"), bind(b"", b""), execute(b""), SYNC)
    assert [k for k, _ in await raw.until_ready()] == list("12DCZ")
    await raw.send(parse(b"", b"DELETE FROM t"), bind(b"", b""), execute(b""), SYNC)
    assert [k for k, _ in await raw.until_ready()] == list("1EZ")
    await raw.send(bind(b"", b"nothing"), execute(b""), SYNC)
    replies = await raw.until_ready()
    assert [k for k, _ in replies] == list("EZ")
    assert parse_fields(replies[0][1])["C"] == b"26000"
    raw.close()


async def test_bytes_of_results_are_those_of_the_target(gateway: Start, postgres: Postgres) -> None:
    """Invariant 7: what touches nothing sensitive is byte-identical to direct access."""
    one = await gateway()
    messages = (
        query(b"SELECT * FROM t ORDER BY id"),
        query(b"SELECT 1; SELECT 2 AS two"),
        query(b""),
        query(b"SELECT 1/0"),
        query(b"UPDATE t SET n = n WHERE id < 4 RETURNING id"),
        query(b"BEGIN"),
        query(b"SELECT nothing"),
        query(b"ROLLBACK"),
        query(b"COPY (SELECT id, name FROM t WHERE id < 5 ORDER BY id) TO STDOUT"),
        parse(b"s", b"SELECT id, name FROM t WHERE id > $1::int ORDER BY id") + describe(b"S", b"s") + SYNC,
        bind(b"", b"s", [b"3"], result_formats=[1]) + describe(b"P", b"") + execute(b"", 2) + execute(b"", 2) + SYNC,
        bind(b"", b"s", [b"x"]) + execute(b"") + SYNC,
        close(b"S", b"s") + SYNC,
        query(b"SELECT id, filler FROM big"),
    )
    through = await Raw.connect(one)
    direct = await Raw.connect_to(postgres.port, user="postgres", database="postgres")
    for message in messages:
        await through.send(message)
        await direct.send(message)
        got, wanted = await through.until_ready(), await direct.until_ready()
        assert [k for k, _ in got] == [k for k, _ in wanted], message
        for (kind, mine), (_, theirs) in zip(got, wanted, strict=True):
            assert kind == "E" or mine == theirs, message
            if kind == "E":
                assert parse_fields(mine)["M"] == parse_fields(theirs)["M"]
    through.close()
    direct.close()


async def test_a_held_statement_resumes_in_the_same_session(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
    async with await connect(one) as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda d: notices.append(str(d.message_primary)))
        waiting = asyncio.ensure_future(connection.execute("DELETE FROM t WHERE id = %s", (20,)))
        await asyncio.wait_for(held(one), 5)
        one.gate.decide_hold(HoldEnd.APPROVED)
        cursor = await asyncio.wait_for(waiting, 5)
        assert cursor.rowcount == 1
        assert notices == ["waiting for approval apr_1: 1 reviewer of dba, until 2026-01-01T00:00:00.000000Z"]
        assert one.gate.redeemed == ["apr_1"]
    await psql(postgres, postgres.dsn, "INSERT INTO t VALUES (20, 'name 20', 'user20@example.com', 30)")


@pytest.mark.parametrize(
    ("end", "state", "words"),
    [
        (HoldEnd.DENIED, "42501", "a reviewer denied this statement: too much"),
        (HoldEnd.EXPIRED, "55000", "nobody approved"),
        (HoldEnd.LOST, "57P03", "the decision service was lost"),
    ],
)
async def test_how_a_hold_ends(gateway: Start, postgres: Postgres, end: HoldEnd, state: str, words: str) -> None:
    one = await gateway(gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
    async with await connect(one) as connection:
        waiting = asyncio.ensure_future(connection.execute("DELETE FROM t"))
        await asyncio.wait_for(held(one), 5)
        one.gate.decide_hold(end, "too much")
        with pytest.raises(psycopg.Error) as raised:
            await asyncio.wait_for(waiting, 5)
        assert raised.value.sqlstate == state
        assert words in str(raised.value)
        assert await (await connection.execute("SELECT count(*) FROM t")).fetchone() == (20,)


async def test_cancel_withdraws_a_held_statement(gateway: Start) -> None:
    one = await gateway(gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
    async with await connect(one) as connection:
        waiting = asyncio.ensure_future(connection.execute("DELETE FROM t"))
        await asyncio.wait_for(held(one), 5)
        await connection.cancel_safe(timeout=5)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await asyncio.wait_for(waiting, 5)
        assert one.gate.withdrawn == ["apr_1"]
        assert await (await connection.execute("SELECT count(*) FROM t")).fetchone() == (20,)


async def test_a_cancel_between_the_question_and_its_hold_is_not_lost(
    gateway: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await gateway(gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
    asked, answer = asyncio.Event(), asyncio.Event()
    async with await connect(one) as connection:
        ask = one.gate.ask

        async def slow(question: Question) -> Ruling:
            asked.set()
            await answer.wait()
            return await ask(question)

        monkeypatch.setattr(one.gate, "ask", slow)
        waiting = asyncio.ensure_future(connection.execute("DELETE FROM t"))
        await asyncio.wait_for(asked.wait(), 5)
        await connection.cancel_safe(timeout=5)
        answer.set()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await asyncio.wait_for(waiting, 5)
        assert one.gate.withdrawn == ["apr_1"]
        assert one.gate.redeemed == []
        one.gate.waiting.clear()
        waiting = asyncio.ensure_future(connection.execute("DELETE FROM t"))
        await asyncio.wait_for(held(one), 5)  # the cancel counted once
        one.gate.decide_hold(HoldEnd.DENIED)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await asyncio.wait_for(waiting, 5)


async def test_a_cancel_at_the_moment_of_the_approval_withdraws_it(gateway: Start) -> None:
    one = await gateway(gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
    async with await connect(one) as connection:
        waiting = asyncio.ensure_future(connection.execute("DELETE FROM t"))
        await asyncio.wait_for(held(one), 5)
        (session,) = one.gateway._sessions  # both in one turn of the loop
        session.cancel()
        one.gate.decide_hold(HoldEnd.APPROVED)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await asyncio.wait_for(waiting, 5)
        assert one.gate.withdrawn == ["apr_1"]
        assert one.gate.redeemed == []


async def test_a_client_gone_while_held_never_runs(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
    raw = await Raw.connect(one)
    await raw.send(query(b"DELETE FROM t"))
    await asyncio.wait_for(held(one), 5)
    gate = one.gate
    raw.close()
    await eventually(lambda: gate.closed != "")
    assert gate.redeemed == []
    assert gate.withdrawn == []
    assert one.gateway.sessions == 0
    _, out, _ = await psql(postgres, postgres.dsn, "SELECT count(*) FROM t")
    assert out == "20\n"


async def test_nothing_overtakes_a_held_statement(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
    raw = await Raw.connect(one)
    await raw.send(
        parse(b"", b"DELETE FROM t WHERE id = 19"), bind(b"", b""), execute(b""), SYNC, query(b"SELECT count(*) FROM t")
    )
    await asyncio.wait_for(held(one), 5)
    assert one.gate.begun == []
    one.gate.decide_hold(HoldEnd.APPROVED)
    assert [k for k, _ in await raw.until_ready()] == list("N12CZ")
    replies = await raw.until_ready()
    assert parse_data_row(replies[1][1]) == [b"19"]
    raw.close()
    await psql(postgres, postgres.dsn, "INSERT INTO t VALUES (19, 'name 19', 'user19@example.com', 28.5)")


async def test_cancel_of_a_running_statement(gateway: Start) -> None:
    one = await gateway()
    async with await connect(one) as connection:
        running = asyncio.ensure_future(connection.execute("SELECT pg_sleep(30)"))
        await eventually(lambda: bool(one.core.gates and one.gate.begun))
        await connection.cancel_safe(timeout=5)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await asyncio.wait_for(running, 5)
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_wrong_cancel_key_cancels_nothing(gateway: Start) -> None:
    one = await gateway()
    raw = await Raw.connect(one)
    await raw.send(query(b"SELECT pg_sleep(0.3)"))
    _, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(cancel_request(raw.process, bytes(4)))
    await writer.drain()
    assert [k for k, _ in await raw.until_ready()] == list("TDCZ")
    writer.close()
    raw.close()


MASKED = with_duties(
    ALLOW,
    mask=(
        MaskedColumn(schema="public", relation="t", column="email", label="pii", masker="keep-last", keep=4),
        MaskedColumn(schema="public", relation="t", column="n", label="pii", masker="null"),
    ),
)
MASKED_SQL = "SELECT id, email, n FROM t WHERE id < 3 ORDER BY id"


def masking_describer(postgres: Postgres, sql: str = MASKED_SQL) -> ScriptedDescriber:
    describer = ScriptedDescriber()
    describer.outputs[sql] = (("id", postgres.table, 1), ("email", postgres.table, 3), ("n", postgres.table, 4))
    return describer


@pytest.mark.parametrize("binary", [False, True])
async def test_masking_in_text_and_binary(gateway: Start, postgres: Postgres, *, binary: bool) -> None:
    one = await gateway(gate_of(lambda _text: MASKED), describer=masking_describer(postgres))
    async with await connect(one) as connection:
        cursor = await connection.cursor(binary=binary).execute(MASKED_SQL)
        assert await cursor.fetchall() == [(1, "*************.com", None), (2, "*************.com", None)]
        assert one.gate.ends[-1][1].masked_fields == 4


async def test_masking_of_a_simple_query(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(lambda _text: MASKED), describer=masking_describer(postgres))
    _, out, err = await psql(postgres, one.dsn, MASKED_SQL)
    assert (out, err) == ("1|*************.com|\n2|*************.com|\n", "")
    raw = await Raw.connect(one)
    await raw.send(query(MASKED_SQL.encode()))
    assert [k for k, _ in await raw.until_ready()] == list("TDDCZ")
    raw.close()


async def test_a_masker_that_cannot_be_applied_lets_no_row_out(gateway: Start, postgres: Postgres) -> None:
    fixed = with_duties(
        ALLOW,
        mask=(MaskedColumn(schema="public", relation="t", column="n", label="pii", masker="fixed", text="no"),),
    )
    one = await gateway(gate_of(lambda _text: fixed), describer=masking_describer(postgres))
    raw = await Raw.connect(one)
    await raw.send(query(MASKED_SQL.encode()))
    replies = await raw.until_ready()
    assert [k for k, _ in replies] == list("EZ")
    assert b"42501" in replies[0][1]
    assert one.gate.ended == [(MASKED_SQL, "refused")]
    raw.close()


async def test_a_result_that_is_not_the_one_decided_lets_no_row_out(gateway: Start, postgres: Postgres) -> None:
    describer = masking_describer(postgres)
    describer.outputs[MASKED_SQL] = (("email", postgres.table, 3), ("id", postgres.table, 1), ("n", postgres.table, 4))
    one = await gateway(gate_of(lambda _text: MASKED), describer=describer)
    raw = await Raw.connect(one)
    await raw.send(query(MASKED_SQL.encode()))
    assert [k for k, _ in await raw.until_ready()] == list("EZ")
    raw.close()


async def test_texts_of_the_target_are_withheld_while_masked_columns_are_touched(
    gateway: Start, postgres: Postgres
) -> None:
    sql = "SELECT id, email, n FROM t WHERE (email)::int = 1"
    one = await gateway(gate_of(lambda _text: MASKED), describer=masking_describer(postgres, sql))
    raw = await Raw.connect(one)
    await raw.send(query(sql.encode()))
    replies = await raw.until_ready()
    assert [k for k, _ in replies] == list("TEZ")
    assert b"example.com" not in replies[1][1]
    assert parse_fields(replies[1][1])["C"] == b"XX000"
    raw.close()


@pytest.mark.parametrize("prepared", [False, True])
async def test_max_rows_stops_the_result(gateway: Start, *, prepared: bool) -> None:
    one = await gateway(gate_of(lambda _text: with_duties(ALLOW, max_rows=100)))
    raw = await Raw.connect(one)
    sql = b"SELECT id FROM big ORDER BY id"
    if prepared:
        await raw.send(parse(b"", sql), bind(b"", b""), execute(b""), SYNC)
    else:
        await raw.send(query(sql))
    replies = await raw.until_ready()
    kinds = "".join(k for k, _ in replies)
    assert kinds.strip("12T") == "D" * 100 + "EZ"
    assert parse_fields(replies[-2][1])["C"] == b"54000"
    assert one.gate.ends[-1][1].rows == 100
    assert one.gate.ends[-1][1].status == "failed"
    await raw.send(query(b"SELECT id FROM t WHERE id < 3"))
    assert [k for k, _ in await raw.until_ready()] == list("TDDCZ")
    raw.close()


async def test_nothing_behind_a_result_that_is_too_large_runs(gateway: Start, postgres: Postgres) -> None:
    one = await gateway(gate_of(lambda text: with_duties(ALLOW, max_rows=5) if "big" in text else ALLOW))
    raw = await Raw.connect(one)
    await raw.send(
        parse(b"", b"SELECT id FROM big"), bind(b"", b""), execute(b""),
        parse(b"", b"CREATE TABLE behind (i int)"), bind(b"", b""), execute(b""), SYNC,
    )  # fmt: skip
    assert [k for k, _ in await raw.until_ready()] == [*"12DDDDDEZ"]
    _, out, _ = await psql(postgres, postgres.dsn, "SELECT to_regclass('behind') IS NULL")
    assert out == "t\n"
    raw.close()


async def test_read_only_and_statement_timeout_of_one_decision(gateway: Start) -> None:
    ruling = with_duties(ALLOW, read_only=True, statement_timeout_ms=300)
    one = await gateway(gate_of(lambda _text: ruling))
    async with await connect(one) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute("UPDATE t SET n = n")
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("SELECT pg_sleep(5)")
        cursor = await connection.execute("SHOW transaction_read_only")
        assert await cursor.fetchone() == ("on",)
    raw = await Raw.connect(one)
    await raw.send(query(b"UPDATE t SET n = n"))
    replies = await raw.until_ready()
    assert parse_fields(replies[0][1])["C"] == b"25006"
    raw.close()


async def test_session_duties_hold_for_the_whole_session(gateway: Start) -> None:
    one = await gateway(lambda: ScriptedGate(duties=Duties(read_only=True, statement_timeout_ms=60)))
    async with await connect(one) as connection:
        await connection.execute("RESET ALL")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute("UPDATE t SET n = n")
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("SELECT pg_sleep(5)")


async def test_copy_both_ways(gateway: Start, postgres: Postgres) -> None:
    one = await gateway()
    async with await connect(one) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS copied (i int)")
        async with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            for i in range(1000):
                await copy.write_row((i,))
        assert one.gate.ends[-1][1].rows == 1000
        async with connection.cursor() as cursor, cursor.copy("COPY copied TO STDOUT") as copy:
            rows = [row async for row in copy.rows()]
        assert len(rows) == 1000
        await connection.execute("DROP TABLE copied")
        assert "a DDL was executed" in one.gate.dropped
    _, out, err = await psql(postgres, one.dsn, "COPY t TO STDOUT", "SELECT 1")
    assert (out.count("\n"), err) == (21, "")


async def test_seventeen_mebibytes_are_refused_and_ten_run(gateway: Start) -> None:
    one = await gateway()
    raw = await Raw.connect(one)
    await raw.send(query(b"SELECT length('" + b"x" * (10 << 20) + b"')"))
    replies = await raw.until_ready()
    assert parse_data_row(replies[1][1]) == [str(10 << 20).encode()]
    await raw.send(query(b"SELECT length('" + b"x" * (17 << 20) + b"')"))
    replies = await raw.until_ready()
    assert [k for k, _ in replies] == list("EZ")
    assert parse_fields(replies[0][1])["C"] == b"54000"
    await raw.send(query(b"SELECT 1"))
    assert [k for k, _ in await raw.until_ready()] == list("TDCZ")
    raw.close()


async def test_a_revocation_cuts_the_session_mid_statement(gateway: Start) -> None:
    one = await gateway()
    async with await connect(one) as connection:
        running = asyncio.ensure_future(connection.execute("SELECT pg_sleep(30)"))
        await eventually(lambda: bool(one.core.gates and one.gate.begun))
        gate = one.gate
        if gate.on_revoked is None:
            raise AssertionError("the gateway gave no callback")
        gate.on_revoked("an admin did it")
        with pytest.raises(psycopg.errors.AdminShutdown, match="an admin did it"):
            await asyncio.wait_for(running, 5)
        await eventually(lambda: gate.closed != "")
        assert gate.ended[-1] == ("SELECT pg_sleep(30)", "unknown")


async def test_an_expired_token_ends_the_session_at_the_next_statement(gateway: Start) -> None:
    one = await gateway()
    async with await connect(one) as connection:
        await connection.execute("SELECT 1")
        one.gate.refused = Ruling(
            answer=Answer.DENIED, decision="", code="SESSION_EXPIRED", message="the token has expired"
        )
        with pytest.raises(psycopg.errors.AdminShutdown, match="the token has expired"):
            await connection.execute("SELECT 2")


async def test_a_target_that_dies_mid_result(gateway: Start, postgres: Postgres) -> None:
    proxy = await CuttingProxy.start(postgres.port, after=400_000)
    one = await gateway(port=proxy.port)
    raw = await Raw.connect(one)
    await raw.send(query(b"SELECT id, filler FROM big"))
    with pytest.raises(EOFError):
        await raw.until_ready()
    await eventually(lambda: bool(one.gate.closed))
    assert one.gate.ended == [("SELECT id, filler FROM big", "unknown")]
    raw.close()
    proxy.close()


async def test_an_unreachable_target(gateway: Start) -> None:
    one = await gateway(port=free_port())
    with pytest.raises(psycopg.OperationalError, match="can't be reached"):
        await connect(one)


async def test_a_bad_token_and_an_unknown_connection(gateway: Start) -> None:
    one = await gateway()
    with pytest.raises(psycopg.OperationalError, match="the token was not accepted"):
        await psycopg.AsyncConnection.connect(one.dsn.replace("good", "bad"))
    with pytest.raises(psycopg.OperationalError, match='connection "nope" does not exist'):
        await psycopg.AsyncConnection.connect(one.dsn.replace("/crm", "/nope"))


async def test_the_connection_limit(gateway: Start) -> None:
    one = await gateway(max_connections=1)
    async with await connect(one):
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            await connect(one)


async def test_encryption_requests_and_bytes_stuffed_behind_them(gateway: Start) -> None:
    one = await gateway()
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(bytes.fromhex("0000000804d2162f"))
    assert await reader.readexactly(1) == b"N"
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(bytes.fromhex("0000000804d2162f") + b"stuffed")
    assert b"08P01" in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_drain_ends_idle_sessions_and_lets_statements_finish(gateway: Start) -> None:
    one = await gateway()
    idle, busy = await Raw.connect(one), await Raw.connect(one)
    await busy.send(query(b"SELECT pg_sleep(0.5)"))
    await eventually(lambda: any(gate.begun for gate in one.core.gates))
    draining = asyncio.ensure_future(one.gateway.drain(seconds=10))
    with pytest.raises(EOFError):
        await idle.until_ready()
    assert [k for k, _ in await busy.until_ready()] == list("TDCZ")
    await asyncio.wait_for(draining, 5)
    assert one.gateway.sessions == 0
    idle.close()
    busy.close()


def test_on_uvloop(postgres: Postgres) -> None:
    """The loop that production runs on: its transports are another implementation."""

    async def story() -> None:
        one = await start_gateway(postgres.port, gate_of(lambda text: HELD if text.startswith("DELETE") else ALLOW))
        raw = await Raw.connect(one)
        await raw.send(query(b"SELECT id, filler FROM big"))
        assert len(await raw.until_ready()) == 20_003
        await raw.send(query(b"DELETE FROM t"))
        await held(one)
        one.gate.decide_hold(HoldEnd.DENIED)
        assert [k for k, _ in await raw.until_ready()] == list("NEZ")
        raw.close()
        await eventually(lambda: one.gateway.sessions == 0)
        await one.gateway.stop()

    uvloop.run(story())
