"""The gateway with the live catalog and the real describer in front of a real PostgreSQL."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import asyncpg
import psycopg
import pytest

from enforcers.core.ports import Answer, MaskedColumn, Ruling
from enforcers.core.supervise import Supervisor
from enforcers.postgres.gateway import PostgresGateway
from enforcers.postgres.source import LiveSource
from enforcers.postgres.target import Target
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.fakes import (
    ALLOW,
    APPROVED,
    DENY,
    LEASED,
    Policy,
    ScriptedCore,
    ScriptedGate,
    with_duties,
)

Live = Callable[..., "LiveGateway"]


@dataclass
class LiveGateway:
    gateway: PostgresGateway
    core: ScriptedCore
    source: LiveSource
    port: int

    @property
    def dsn(self) -> str:
        return f"postgresql://executor:good@127.0.0.1:{self.port}/crm"

    @property
    def gate(self) -> ScriptedGate:
        return self.core.gates[-1]


@pytest.fixture
async def live(postgres: Postgres) -> AsyncIterator[Callable[..., object]]:
    started: list[LiveGateway] = []

    async def start(policy: Policy | None = None) -> LiveGateway:
        core = ScriptedCore(lambda: ScriptedGate(policy))
        tasks = Supervisor(lambda name, error: failures.append((name, error)))

        async def credential(role: str) -> tuple[str, str]:
            return await core.credential("crm", role)

        target = Target(host="127.0.0.1", port=postgres.port, database="postgres", sslmode="disable")
        source = LiveSource(target, credential, tasks, catalog_role="executor")
        gateway = PostgresGateway(core, {"crm": source}, tasks=tasks)
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        await gateway.start([listening])
        started.append(LiveGateway(gateway, core, source, int(listening.getsockname()[1])))
        return started[-1]

    failures: list[tuple[str, BaseException]] = []
    yield start
    for one in started:
        await one.gateway.stop()
    assert failures == []


async def test_leases_serve_statements_of_one_shape(live: Live) -> None:
    one = await live(lambda _text: LEASED)
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        for i in range(1, 6):
            cursor = await connection.execute(f"SELECT name FROM t WHERE id = {i}")
            assert await cursor.fetchone() == (f"name {i}",)
        assert len(one.gate.questions) == 1
        assert [status for _, status in one.gate.ended] == ["completed"] * 5


MASK = with_duties(
    ALLOW, mask=(MaskedColumn(schema="public", relation="t", column="email", label="pii", masker="null"),)
)


@pytest.mark.parametrize("binary", [False, True])
async def test_masking_with_the_real_description_and_verification(live: Live, *, binary: bool) -> None:
    one = await live(lambda text: MASK if "email" in text or "*" in text else ALLOW)
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        cursor = await connection.cursor(binary=binary).execute("SELECT * FROM t WHERE id = 1")
        assert (await cursor.fetchone() or ())[:3] == (1, "name 1", None)
        cursor = await connection.execute("SELECT email e, id FROM t WHERE id = %s", (2,))
        assert await cursor.fetchone() == (None, 2)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("SELECT upper(email) FROM t")


async def test_masking_through_a_view(live: Live, postgres: Postgres) -> None:
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as direct:
        await direct.execute("CREATE OR REPLACE VIEW people AS SELECT id, email, id + 1 AS next FROM t")
    one = await live(lambda _text: MASK)
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        cursor = await connection.execute("SELECT id, email, next FROM people WHERE id = 1")
        assert await cursor.fetchone() == (1, None, 2)


async def test_asyncpg_and_transactions(live: Live) -> None:
    one = await live(lambda text: DENY if text.startswith("DELETE") else ALLOW)
    connection = await asyncpg.connect(one.dsn, timeout=10)
    try:
        async with connection.transaction(isolation="serializable"):
            assert await connection.fetchval("SELECT count(*) FROM t WHERE id > $1", 10) == 10
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute("DELETE FROM t")
        assert await connection.fetchval("SELECT count(*) FROM t") == 20
    finally:
        await connection.close()


async def test_an_approved_statement_is_verified_and_runs(live: Live) -> None:
    approved: Ruling = APPROVED
    one = await live(lambda text: approved if text.startswith("UPDATE") else ALLOW)
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        cursor = await connection.execute("UPDATE t SET n = n WHERE id < 3")
        assert cursor.rowcount == 2
        cursor = await connection.execute("UPDATE t SET n = n WHERE id < %s", (4,))
        assert cursor.rowcount == 3


async def test_a_changed_search_path_reads_another_table(live: Live, postgres: Postgres) -> None:
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as direct:
        await direct.execute("CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE IF NOT EXISTS other.t (id int)")
    one = await live()
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        await connection.execute("SELECT id FROM t", prepare=True)
        await connection.execute("SET search_path = other, public")
        cursor = await connection.execute("SELECT id FROM t", prepare=True)
        assert await cursor.fetchall() == []
        schemas = [q.operation.sql.relations[0].schema for q in one.gate.questions if q.operation.sql.relations]
        assert schemas == ["public", "other"]


async def test_set_transaction_still_works_first_in_a_transaction(live: Live) -> None:
    one = await live()
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        await connection.execute("SET search_path = public")
        await connection.execute("BEGIN")
        await connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        await connection.execute("SELECT 1")
        await connection.execute("COMMIT")


async def test_a_ddl_elsewhere_is_seen_within_a_second_and_one_here_at_once(live: Live) -> None:
    one = await live()
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS made")
        await connection.execute("CREATE TABLE made (i int)")
        await connection.execute("SELECT i FROM made")
        sql = one.gate.questions[-1].operation.sql
        assert not sql.opaque
        assert [r.name for r in sql.relations] == ["made"]


async def test_a_fetch_inherits_what_its_cursor_reads(live: Live) -> None:
    one = await live()
    async with await psycopg.AsyncConnection.connect(one.dsn) as connection:
        await connection.execute("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id")
        cursor = await connection.execute("FETCH 2 FROM c")
        assert await cursor.fetchall() == [(1,), (2,)]
        sql = one.gate.questions[-1].operation.sql
        assert not sql.opaque
        assert [r.name for r in sql.relations] == ["t"]


async def test_a_fetch_of_what_is_no_cursor_inherits_from_none(live: Live) -> None:
    one = await live()

    async def refused(sql: str, *, prepare: bool | None = None) -> None:
        with pytest.raises(psycopg.errors.InvalidCursorName):
            await connection.execute(sql, prepare=prepare)
        await connection.rollback()

    async with await psycopg.AsyncConnection.connect(one.dsn) as connection:
        await connection.execute("SELECT 1")
        asked = len(one.gate.questions)
        # A Query goes to the target, which has no such cursor and refuses it in its own words: nothing is decided.
        await refused("FETCH 1 FROM unknown")
        assert "FETCH" not in [question.operation.sql.command for question in one.gate.questions[asked:]]
        # Where something could still come before it runs, it is decided as what it is: unknown.
        await refused("FETCH 1 FROM unknown", prepare=True)
        assert [
            question.operation.sql.opaque
            for question in one.gate.questions
            if question.operation.sql.command == "FETCH"
        ] == [True]
        for ending in ("CLOSE c", "CLOSE ALL", "ROLLBACK"):
            for prepare in (None, True):
                await connection.execute("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id")
                await connection.execute("FETCH 1 FROM c")
                await connection.execute(ending)
                asked = len(one.gate.questions)
                await refused("FETCH 1 FROM c", prepare=prepare)
                found = [question.operation.sql for question in one.gate.questions[asked:]]
                fetches = [sql for sql in found if sql.command == "FETCH"]
                assert len(fetches) == int(prepare is True), ending
                assert all(sql.opaque and not sql.relations for sql in fetches), ending


async def test_estimates_are_made_where_policy_needs_them(live: Live) -> None:
    asked: list[str] = []

    def policy(text: str) -> Ruling:
        asked.append(text)
        if len(asked) == 1:
            return Ruling(answer=Answer.NEEDS_ESTIMATE, decision="dec_e")
        return ALLOW

    one = await live(policy)
    async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
        await connection.execute("SELECT id FROM big")
        values = one.gate.questions[-1].operation.sql.values
        assert values.estimate.rows == pytest.approx(20000, rel=0.2)


async def test_concurrent_sessions(live: Live) -> None:
    one = await live(lambda _text: LEASED)

    async def run(i: int) -> int:
        connection = await asyncpg.connect(one.dsn, timeout=10)
        try:
            return int(await connection.fetchval("SELECT id FROM t WHERE id = $1", i))
        finally:
            await connection.close()

    assert await asyncio.gather(*(run(i) for i in range(1, 11))) == list(range(1, 11))


async def test_after_the_last_session_the_database_can_be_dropped(live: Live, postgres: Postgres) -> None:
    """PostgreSQL waits a few seconds for others to be gone; the gateway's own connections are by then."""
    one = await live()
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as direct:
        await direct.execute("CREATE DATABASE short_lived")
        one.source.target = replace(one.source.target, database="short_lived")
        for _ in range(2):  # the second time it is woken
            async with await psycopg.AsyncConnection.connect(one.dsn, autocommit=True) as connection:
                cursor = await connection.execute("SELECT count(*) FROM pg_catalog.pg_class")
                assert await cursor.fetchone() != (0,)
        await one.source.describer()  # as for an explanation: nobody enters, nobody leaves
        await direct.execute("DROP DATABASE short_lived")
