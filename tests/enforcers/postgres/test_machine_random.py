"""Random conversations, held directly and through gateways that allow everything: the client sees the same.

Messages in any order, sense or not: statements prepared twice or never, portals that are gone, pipelines with errors in
the middle, cursors, savepoints and prepared statements by SQL and by the protocol.
What a session leaves behind (rows, settings) is taken back by a rollback or by the statements that close it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcers.core.ports import Ruling
from enforcers.postgres import wire
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.conversations import (
    COPY_DONE,
    FLUSH,
    SYNC,
    Frame,
    Live,
    call,
    copy_data,
    copy_fail,
    live,
    make_databases,
    q,
    shown,
)
from tests.enforcers.postgres.fakes import ALLOW, LEASED, Policy
from tests.enforcers.postgres.raw import Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

DIRECT, BEHIND = "random_direct", "random_behind"
TEXTS = [
    "SELECT id FROM t ORDER BY id LIMIT 3", "SELECT $1::int + 1", "INSERT INTO w VALUES (1, 'x') RETURNING id",
    "UPDATE w SET v = 'y'", "DELETE FROM w", "SELECT 1/(count(*) - 20) FROM t", "SELECT noisy()", "", "SELEC",
    "SELECT * FROM nowhere", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a",
    "COMMIT AND CHAIN", "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id", "FETCH 2 FROM c", "MOVE 1 IN c", "CLOSE c",
    "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id", "FETCH h", "CLOSE ALL", "FETCH p",
    "PREPARE s AS SELECT 's by SQL'", "PREPARE s AS DELETE FROM w RETURNING id", "EXECUTE s", "EXECUTE s(1)",
    "DEALLOCATE s",
    "DEALLOCATE ALL", "SET search_path = elsewhere, public", "RESET search_path", "SET LOCAL search_path = elsewhere",
    "SHOW search_path", "CREATE TEMP TABLE other_t (i int)", "SELECT * FROM other_t", "DROP TABLE pg_temp.other_t",
    "SELECT 1; SELECT 2", "BEGIN; SELECT 1", "SELECT 1; SELECT 1/0; SELECT 3", "COPY w TO STDOUT", "VALUES (1), (2)",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "EXPLAIN (COSTS OFF) EXECUTE s", "DISCARD PLANS", "LISTEN x",
    "NOTIFY x",
]  # fmt: skip
NAMED, PORTALS = st.sampled_from([b"", b"s", b"u"]), st.sampled_from([b"", b"p", b"c"])
TEXT = st.sampled_from(TEXTS).map(str.encode)
BINDS = st.tuples(PORTALS, NAMED, st.lists(st.sampled_from([b"1", b"x", None]), max_size=1).map(tuple))
ONE = st.one_of(
    # Without a Sync before it a Query stays in an implicit block, which a question of the gateway's can open (ADR 8).
    TEXT.map(lambda text: SYNC + q(text)),
    st.tuples(NAMED, TEXT).map(lambda m: wire.parse(*m)),
    st.tuples(NAMED, TEXT).map(lambda m: wire.parse(*m)),
    BINDS.map(lambda m: wire.bind(*m)),
    BINDS.map(lambda m: wire.bind(*m)),
    st.tuples(PORTALS, st.sampled_from([0, 1, 2])).map(lambda m: wire.execute(*m)),
    st.tuples(PORTALS, st.sampled_from([0, 1, 2])).map(lambda m: wire.execute(*m)),
    st.one_of(NAMED.map(lambda n: wire.describe(b"S", n)), PORTALS.map(lambda n: wire.describe(b"P", n))),
    st.one_of(NAMED.map(lambda n: wire.close(b"S", n)), PORTALS.map(lambda n: wire.close(b"P", n))),
    st.sampled_from([SYNC, SYNC, SYNC, FLUSH]),
    st.sampled_from([SYNC + call(177, (b"1", b"2")), SYNC + call(177, (b"1", b"x")), SYNC + call(99, ())]),
    st.sampled_from([COPY_DONE, copy_fail(), copy_data(b"9\tz\n")]),  # out of place: both sides drop them
    st.tuples(TEXT, st.sampled_from([b"", b"1"])).map(
        lambda m: wire.parse(b"", m[0]) + wire.bind(b"", b"", (m[1],) if m[1] else ()) + wire.execute(b"") + SYNC
    ),
    st.sampled_from([b"COPY w FROM STDIN", b"SELECT 1; COPY w FROM STDIN"]).map(
        lambda text: SYNC + q(text) + copy_data(b"7\tz\n") + COPY_DONE
    ),
)
END = SYNC + q("ROLLBACK") + q("DEALLOCATE ALL") + q("UNLISTEN *") + q("DELETE FROM w") + q("SELECT 'the end'")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(postgres: Postgres) -> AsyncIterator[list[Live]]:
    make_databases(postgres, DIRECT, BEHIND)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(live(postgres, always(ruling), database=BEHIND))
            for ruling in (ALLOW, LEASED)
        ]


def always(ruling: Ruling) -> Policy:
    return lambda _text: ruling


async def all_said(client: Raw, pieces: list[bytes]) -> list[Frame]:
    for piece in pieces:
        await client.send(piece)
    await client.send(END)
    found: list[Frame] = []
    async with asyncio.timeout(20):
        while not (found and found[-1][0] == "Z" and any(b"the end" in raw for _, raw in found[-4:])):
            found.append(await client.message())
    return found


async def said(client: Raw, pieces: list[bytes]) -> list[tuple[str, object]]:
    try:
        return shown(await all_said(client, pieces))
    finally:
        client.close()


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pieces=st.lists(ONE, min_size=1, max_size=12))
async def test_any_conversation_is_the_direct_one(
    postgres: Postgres, gateways: list[Live], pieces: list[bytes]
) -> None:
    expected = await said(await Raw.connect_to(postgres.port, user="postgres", database=DIRECT), pieces)
    for gateway in gateways:
        assert await said(await gateway.client(), pieces) == expected
        gate = gateway.gate
        assert len(gate.ends) == len(gate.begun)
        assert not [outcome for _, outcome in gate.ends if outcome.status == "unknown"]
