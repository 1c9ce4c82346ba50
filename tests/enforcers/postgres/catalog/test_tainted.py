"""What a session's temporary tables hold, found again whatever happened to names meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from twokey.type.v1 import operation_pb2

from enforcers.postgres.catalog.increment import session_view
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.catalog.tainted import tainted
from enforcers.postgres.named_columns import Named
from enforcers.postgres.taint import MOST, Taint
from tests.enforcers.postgres.catalog.test_increment import answered
from tests.enforcers.postgres.describe.conftest import Server

SOURCE: Named = ("public", "tainted_source", "mail")


class Session:
    """One connection of a client's, and what the gateway keeps of it."""

    def __init__(self, connection: asyncpg.Connection, source: CatalogSource) -> None:
        self.connection = connection
        self.source = source
        self.taint = Taint()

    async def run(self, sql: str) -> None:
        await self.connection.execute(sql)

    def store(self, relation: str, column: str, *, schema: str = "pg_temp", labels: tuple[str, ...] = ()) -> None:
        """As if SOURCE had been stored there."""
        template = operation_pb2.SqlOperation()
        flow = template.flows.add(kind="insert", temporary=True, carried=True)
        flow.source.schema, flow.source.relation, flow.source.column = SOURCE
        flow.target.schema, flow.target.relation, flow.target.column = schema, relation, column
        if labels:
            template.column_labels.add(schema=SOURCE[0], relation=SOURCE[1], column=SOURCE[2], labels=labels)
        self.taint.note(template)

    async def look(self, *, settled: bool = False) -> Catalog:
        schemas = tuple(await self.connection.fetchval("SELECT current_schemas(true)::text[]"))
        found, _ = await answered(self.connection, session_view(self.source.known, search_path=schemas))
        return tainted(found, self.taint, settled=settled)

    async def holds(self, *, settled: bool = False) -> dict[str, set[Named]]:
        """By `table.column`."""
        catalog = await self.look(settled=settled)
        return {
            f"{relation.name}.{column.name}": set(names)
            for (oid, attnum), names in catalog.origins.items()
            if (relation := catalog.relation(oid)) is not None
            for column in relation.columns
            if column.attnum == attnum
        }


@pytest.fixture
async def session(server: Server) -> AsyncIterator[Session]:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(
        "DROP TABLE IF EXISTS tainted_source, tainted_moved; CREATE TABLE tainted_source (mail text)"
    )
    source = server.source()
    await source.start()
    yield Session(connection, source)
    await source.close()
    await connection.execute("DROP TABLE IF EXISTS tainted_source, tainted_moved")
    await connection.close()


async def test_nothing_is_said_of_a_session_that_stored_nothing(session: Session) -> None:
    await session.run("CREATE TEMP TABLE t (v text)")
    catalog = await session.look()
    assert (catalog.origins, catalog.origin_labels, catalog.carries) == ({}, {}, True)


async def test_a_column_is_followed_through_its_names(session: Session) -> None:
    await session.run("CREATE TEMP TABLE t (v text, w text)")
    session.store("t", "v")
    assert await session.holds() == {"t.v": {SOURCE}}
    await session.run("ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME v TO x; CREATE TEMP TABLE t (v text)")
    assert await session.holds(settled=True) == {"u.x": {SOURCE}}


async def test_a_source_is_named_as_it_was_and_as_it_is(session: Session) -> None:
    await session.run("CREATE TEMP TABLE t (v text)")
    session.store("t", "v", labels=("email",))
    await session.look()
    await session.run(
        "ALTER TABLE tainted_source RENAME TO tainted_moved; ALTER TABLE tainted_moved RENAME mail TO post"
    )
    session.source.note_ddl()
    await session.source.refresh()
    catalog = await session.look()
    now = ("public", "tainted_moved", "post")
    assert set(catalog.origins.popitem()[1]) == {SOURCE, now}  # type: ignore[attr-defined]  # a dict it is
    assert catalog.origin_labels == {SOURCE: {"email"}, now: {"email"}}
    await session.run("DROP TABLE tainted_moved")
    session.source.note_ddl()
    await session.source.refresh()
    assert (await session.holds())["t.v"] == {SOURCE}


async def test_a_family_of_partitions_holds_it_together(session: Session) -> None:
    await session.run(
        "CREATE TEMP TABLE t (id int, v text) PARTITION BY LIST (id);"
        "CREATE TEMP TABLE one PARTITION OF t FOR VALUES IN (1);"
        "CREATE TEMP TABLE two (v text, id int); CREATE TEMP TABLE other (v text)"
    )
    session.store("one", "v")
    assert set(await session.holds()) == {"t.v", "one.v"}
    await session.run("ALTER TABLE t ATTACH PARTITION two FOR VALUES IN (2)")
    assert set(await session.holds()) == {"t.v", "one.v", "two.v"}


async def test_a_column_that_is_not_found_by_name_may_be_any_of_the_table(session: Session) -> None:
    await session.run("CREATE TEMP TABLE t (a text, b text)")
    session.store("t", "v")
    assert set(await session.holds()) == {"t.a", "t.b"}


async def test_a_table_that_is_not_there_yet_is_waited_for_until_its_transaction_is_over(session: Session) -> None:
    session.store("t", "v")
    assert await session.holds() == {}
    await session.run("CREATE TEMP TABLE t (v text)")
    assert set(await session.holds()) == {"t.v"}
    session.store("failed", "v")
    assert set(await session.holds(settled=True)) == {"t.v"}
    await session.run("CREATE TEMP TABLE failed (v text)")
    assert set(await session.holds()) == {"t.v"}


async def test_where_nobody_could_look_it_may_be_in_any_temporary_table(session: Session) -> None:
    session.taint.unseen()  # nothing is kept in mind: nothing to lose sight of
    session.store("t", "v")
    session.taint.unseen()
    await session.run("CREATE TEMP TABLE u (x text, y int)")
    assert set(await session.holds(settled=True)) == {"u.x", "u.y"}
    session.store("missing", "v")
    assert set(await session.holds(settled=True)) == {"u.x", "u.y"}


async def test_it_is_forgotten_with_its_table_once_that_cannot_be_back(session: Session) -> None:
    await session.run("CREATE TEMP TABLE t (v text)")
    session.store("t", "v")
    await session.look()
    await session.run("BEGIN; DROP TABLE t")
    assert await session.holds() == {}
    await session.run("ROLLBACK")
    assert set(await session.holds(settled=True)) == {"t.v"}
    await session.run("DROP TABLE t")
    await session.look(settled=True)
    assert not session.taint.held


async def test_beyond_a_bound_nothing_more_is_promised(session: Session) -> None:
    await session.run("CREATE TEMP TABLE t (v text)")
    for number in range(MOST):
        session.store(f"t{number}", "v")
    assert not (await session.look()).carries
    assert (await session.look(settled=True)).carries
