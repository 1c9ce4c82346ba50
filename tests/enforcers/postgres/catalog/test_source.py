"""The catalog source on a real server: fresh, told of DDL, cut off, back again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
from pglast import keywords

from enforcers.core.errors import UpstreamError
from enforcers.postgres.catalog.increment import Known, Whole, changed, whole
from enforcers.postgres.catalog.parts import PRINTED, catalog_queries
from enforcers.postgres.catalog.queries import UNPRINTED
from enforcers.postgres.catalog.source import CatalogSource, differing_words
from tests.enforcers.postgres.describe.conftest import Server


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


class Switch:
    """A connector that can be broken, and counts."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.broken = False
        self.opened = 0

    async def __call__(self) -> asyncpg.Connection:
        if self.broken:
            raise ConnectionRefusedError
        self.opened += 1
        return await asyncpg.connect(self.dsn)


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.dsn)
    yield connection
    await connection.execute("DROP TABLE IF EXISTS fresh")
    await connection.close()


async def test_freshness_is_time_and_ddl(server: Server) -> None:
    clock = Clock()
    source = CatalogSource(Switch(server.dsn), clock=clock)
    with pytest.raises(UpstreamError):
        _ = source.catalog
    assert not source.fresh()
    await source.start()
    assert source.fresh()
    clock.now += 1.5
    assert not source.fresh()
    await source.refresh()
    assert source.fresh()
    source.note_ddl()
    assert not source.fresh()
    await source.refresh()
    assert source.fresh()
    await source.close()


async def test_a_change_makes_a_new_version_and_nothing_else_does(
    server: Server, connection: asyncpg.Connection
) -> None:
    clock = Clock()
    source = CatalogSource(Switch(server.dsn), clock=clock)
    await source.start()
    first = source.catalog
    await connection.execute("ANALYZE customers; CREATE TEMP TABLE mine (id int)")
    clock.now += 2
    await source.refresh()
    assert source.catalog is first
    await connection.execute("CREATE TABLE fresh (id int)")
    clock.now += 2
    await source.refresh()
    second = source.catalog
    assert second.version > first.version
    assert second.builtins is first.builtins
    assert second.find_relation("public", "fresh") is not None
    assert not any(relation.temporary for relation in second.own.relations.values())
    for change in ("ALTER TABLE fresh RENAME COLUMN id TO x", "COMMENT ON TABLE fresh IS 'x'", "DROP TABLE fresh"):
        await connection.execute(change)
    clock.now += 2
    await source.refresh()
    assert source.catalog.find_relation("public", "fresh") is None
    await source.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders RENAME COLUMN note TO n",
        "CREATE OR REPLACE VIEW simple_orders AS SELECT id, 'x'::text AS note FROM orders",
        "CREATE OR REPLACE FUNCTION purge(x int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE watched DISABLE TRIGGER ALL",
        "ALTER POLICY p ON guarded USING (true)",
        "ALTER TABLE orders ALTER total SET DEFAULT 5",
        "ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey",
        "CREATE INDEX ON orders (lower(note))",
        "ALTER TABLE orders SET SCHEMA shop",
        "ALTER SCHEMA shop RENAME TO mall",
        "CREATE CAST (mood AS bigint) WITH INOUT",
        "CREATE FUNCTION pg_catalog.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION pg_catalog.lower(text) VOLATILE",
        "ALTER TABLE cats NO INHERIT animals",
        "CREATE RULE z AS ON DELETE TO cards DO ALSO NOTHING",
    ],
)
async def test_every_kind_of_ddl_is_noticed(server: Server, connection: asyncpg.Connection, change: str) -> None:
    known = await read(connection)
    assert (await read(connection, known)).catalog is known.catalog
    transaction = connection.transaction()
    await transaction.start()
    try:
        if "pg_catalog." in change:
            await connection.execute("SET LOCAL allow_system_table_mods = on")
        await connection.execute(change)
        with contextlib.suppress(Whole):
            assert (await read(connection, known)).catalog is not known.catalog
    finally:
        await transaction.rollback()
    assert (await read(connection, known)).catalog is known.catalog


async def read(connection: asyncpg.Connection, known: Known | None = None) -> Known:
    """What the source asks, on this connection."""
    version = connection.get_server_version()
    number = version.major * 10000 + version.minor
    reading = whole(number, database="", words=frozenset(), builtins=None) if known is None else changed(known, number)
    try:
        questions = next(reading)
        while True:
            answers = [await connection.fetch(item.sql, *item.parameters) for item in questions]
            questions = reading.send([[tuple(row) for row in answer] for answer in answers])
    except StopIteration as end:
        found: Known = end.value
        return found


async def test_the_questions_answer_the_same_under_any_search_path(
    server: Server, connection: asyncpg.Connection
) -> None:
    """Apart from the printed forms, whose names are qualified only as far as the path needs."""
    queries = catalog_queries(server.catalog.builtins.server_version)
    await connection.execute("SET search_path = ''")
    plain = {name: await connection.fetch(sql) for name, sql in queries}
    await connection.execute("SET search_path = shadow, public, pg_catalog")
    for name, sql in queries:
        rows = await connection.fetch(sql)
        assert len(rows) == len(plain[name]), name
        assert all(value is None or isinstance(value, str) for row in rows for value in row)
        if name not in PRINTED:
            assert rows == plain[name]


async def test_a_dead_target_is_told_and_recovered_from(server: Server) -> None:
    clock = Clock()
    switch = Switch(server.dsn)
    source = CatalogSource(switch, clock=clock)
    await source.start()
    killer = await asyncpg.connect(server.dsn)
    await killer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'corpus' AND pid <> pg_backend_pid()"
    )
    await killer.close()
    switch.broken = True
    clock.now += 2
    with pytest.raises(UpstreamError) as caught:
        await source.refresh()
    assert server.dsn not in str(caught.value)
    assert not source.fresh()
    switch.broken = False
    with pytest.raises(UpstreamError):  # backing off
        await source.refresh()
    clock.now += 10
    await source.refresh()
    assert source.fresh()
    assert switch.opened == 2
    await source.close()


async def test_callers_at_once_share_a_check(server: Server) -> None:
    clock = Clock()
    source = CatalogSource(Switch(server.dsn), clock=clock)
    await source.start()
    clock.now += 2
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(source.refresh())
    assert source.fresh()
    await source.close()


async def test_who_finds_it_stale_shares_the_check_that_runs_and_who_finds_it_fresh_does_not(server: Server) -> None:
    clock = Clock()
    opened: list[asyncpg.Connection] = []

    async def connect() -> asyncpg.Connection:
        opened.append(await asyncpg.connect(server.dsn, statement_cache_size=0))
        return opened[-1]

    source = CatalogSource(connect, clock=clock)
    await source.start()

    async def looks() -> int:
        """So far; none of them planned anew, though nothing caches the connection's statements."""
        (row,) = await opened[0].fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%''horizon''%'"
        )
        assert row["custom_plans"] == 0
        return int(row["generic_plans"])

    async def together(*, late: bool) -> int:
        before = await looks()
        async with asyncio.TaskGroup() as group:
            group.create_task(source.refresh())
            await asyncio.sleep(0)
            if late:
                source.note_ddl()  # the check that runs may not have seen it
            for _ in range(5):
                group.create_task(source.refresh())
        assert source.fresh()
        return await looks() - before

    clock.now += 2
    assert await together(late=False) == 1
    clock.now += 2
    assert await together(late=True) == 2
    assert await together(late=False) == 2  # fresh already: they want to know of what others did a moment ago
    await source.close()
    assert len(opened) == 1


async def test_the_background_keeps_it_fresh_while_it_is_used(server: Server) -> None:
    source = CatalogSource(Switch(server.dsn))
    await source.start()
    runner = asyncio.ensure_future(source.run())
    try:
        confirmed = source._confirmed
        async with asyncio.timeout(10):
            while source._confirmed == confirmed:
                assert source.fresh()
                await asyncio.sleep(0.05)
    finally:
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        await source.close()


def test_differing_words() -> None:
    ours = {
        **dict.fromkeys(keywords.UNRESERVED_KEYWORDS, "U"),
        **dict.fromkeys(keywords.COL_NAME_KEYWORDS, "C"),
        **dict.fromkeys(keywords.TYPE_FUNC_NAME_KEYWORDS, "T"),
        **dict.fromkeys(keywords.RESERVED_KEYWORDS, "R"),
    }
    assert differing_words(ours) == frozenset()
    assert differing_words({**ours, "select": "U"}) == {"select"}
    assert differing_words({**ours, "graph_table": "C"}) == {"graph_table("}
    assert differing_words({**ours, "newly": "R"}) == {"newly"}
    assert differing_words({**ours, "newly": "U"}) == frozenset()
    assert differing_words({word: code for word, code in ours.items() if word != "json"}) == {"json("}


async def test_what_another_session_holds_for_itself_does_not_stop_the_catalog(
    server: Server, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "CREATE TABLE fresh (a integer DEFAULT 1 + 1 CHECK (a > 0)); CREATE INDEX ON fresh ((a + 1))"
    )
    await connection.execute("CREATE VIEW fresh_view AS SELECT a FROM fresh; CREATE TABLE fresh_other (b integer)")
    await connection.execute(
        "CREATE FUNCTION fresh_function() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM fresh; END"
    )
    source = CatalogSource(Switch(server.dsn))
    await source.start()
    holder = await asyncpg.connect(server.dsn)
    try:
        held = holder.transaction()
        await held.start()
        await holder.execute("LOCK TABLE fresh")
        await connection.execute("ALTER TABLE fresh_other ADD COLUMN c integer DEFAULT 7")
        known = source.catalog
        async with asyncio.timeout(5):
            await source.refresh()
        assert source.catalog is not known
        # Nothing of these has changed that anybody could see: what was printed before holds.
        assert UNPRINTED not in [text for name in ("fresh", "fresh_view") for _, text in printed(source, name)]
        await source.close()
        source = CatalogSource(Switch(server.dsn))
        async with asyncio.timeout(5):
            await source.start()
        assert {kind for kind, text in printed(source, "fresh") if text == UNPRINTED} == {"default", "check", "index"}
        assert printed(source, "fresh_view") == [("_RETURN", UNPRINTED)]
        assert source.catalog.functions_named("fresh_function")[0].source == UNPRINTED
        assert printed(source, "fresh_other") == [("default", "7")]
        await held.rollback()  # nothing changed, and yet it is read again
        await source.refresh()
        assert UNPRINTED not in [text for name in ("fresh", "fresh_view") for _, text in printed(source, name)]
        assert source.catalog.functions_named("fresh_function")[0].source != UNPRINTED
        version = source.version
        await source.refresh()
        assert source.version == version
    finally:
        await holder.close()
        await connection.execute("DROP FUNCTION fresh_function(); DROP TABLE fresh_other; DROP VIEW fresh_view")
        await source.close()


def printed(source: CatalogSource, relation: str) -> list[tuple[str, str]]:
    """What the catalog has printed of it."""
    found = source.catalog.find_relation("public", relation)
    assert found is not None
    expressions = [(item.kind, item.text) for item in source.catalog.expressions.get(found.oid, ())]
    return expressions + [(rule.name, rule.text) for rule in source.catalog.rules.get(found.oid, ())]


async def test_at_rest_it_is_not_connected_and_a_look_wakes_it(server: Server, connection: asyncpg.Connection) -> None:
    connector = Switch(server.dsn)
    source = CatalogSource(connector)
    await source.start()
    version = source.version
    await source.rest()
    assert await ours(connection) == 0
    await source.refresh()
    assert (await ours(connection), connector.opened) == (1, 2)
    assert source.version == version  # the same server, unchanged: not read again
    await source.rest()
    await connection.execute("CREATE TABLE fresh (a integer)")
    await source.refresh()
    assert source.catalog.find_relation("public", "fresh") is not None
    await source.close()


async def ours(connection: asyncpg.Connection) -> int:
    """How many others are connected to the database."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for _ in range(100):  # a backend takes a moment to end
        if not (found := await connection.fetchval(sql)):
            return 0
        await asyncio.sleep(0.01)
    return int(found)
