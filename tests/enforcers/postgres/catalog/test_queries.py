"""What the catalog's questions bring from each version: what is only there since 15 or 18, and what looks otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from enforcers.core.errors import UpstreamError
from enforcers.postgres.catalog import source as source_module
from enforcers.postgres.catalog.parts import PARTS, builtin_queries, catalog_queries
from enforcers.postgres.catalog.queries import constraint_hash
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description, Verification
from tests.enforcers.postgres.conftest import trusting_server
from tests.enforcers.postgres.describe.conftest import Server, names

Read = Callable[[], Awaitable[Catalog]]


@pytest.fixture
async def database(server: Server) -> AsyncIterator[asyncpg.Connection]:
    """A database of its own on the same server."""
    admin = await asyncpg.connect(server.dsn)
    await admin.execute("CREATE DATABASE versions")
    connection = await asyncpg.connect(server.dsn.removesuffix("/corpus") + "/versions")
    yield connection
    await connection.close()
    await admin.execute("DROP DATABASE versions WITH (FORCE)")
    await admin.close()


@pytest.fixture
def read(server: Server, database: asyncpg.Connection) -> Read:
    async def catalog() -> Catalog:
        source = CatalogSource(lambda: asyncpg.connect(server.dsn.removesuffix("/corpus") + "/versions"))
        await source.start()
        found = source.catalog
        await source.close()
        return found

    return catalog


def described(catalog: Catalog, sql: str) -> Description:
    found = Describer(4).describe_message(sql.encode(), catalog=catalog, names=names())
    assert isinstance(found, list), found
    return found[0]


def accesses(found: Description) -> dict[tuple[str, str], set[str]]:
    return {(use.name, use.via): set(use.access) for use in found.template.relations}


async def holds(connection: asyncpg.Connection, verification: Verification | None) -> bool:
    assert verification is not None
    rows = await connection.fetch(verification.sql)
    return [row[0] for row in rows] == list(verification.expected)


def version_of(server: Server) -> int:
    return server.catalog.builtins.server_version // 10000


def test_what_is_asked_for_of_which_version() -> None:
    assert "confdelsetcols" not in constraint_hash(140024)
    assert "confdelsetcols" in constraint_hash(150000)
    assert "conenforced" not in constraint_hash(170011)
    assert "conenforced" in constraint_hash(180000)
    for version in (140024, 150000, 180006):
        assert dict(catalog_queries(version))["constraints"].count(" FROM pg_catalog.pg_constraint k ") == 1
        assert "{" not in dict(builtin_queries(version))["constraints"].replace("'{f,c,x}'", "")
    # one shape of rows, whichever version
    assert {len(catalog_queries(version)) for version in (140024, 150000, 180006)} == {len(PARTS)}


async def test_a_partitions_copy_of_a_trigger_runs_on_every_version(database: asyncpg.Connection, read: Read) -> None:
    """Until 14 it is marked internal, as what stands for a foreign key is."""
    await database.execute("""
        CREATE TABLE target (id int PRIMARY KEY);
        CREATE TABLE whole (id int REFERENCES target, x int) PARTITION BY RANGE (id);
        CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER t BEFORE INSERT ON whole FOR EACH ROW EXECUTE FUNCTION fire();
        CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (10);
        CREATE TABLE plain (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED REFERENCES target);
    """)
    catalog = await read()
    for table in ("whole", "part"):
        found = described(catalog, f"INSERT INTO {table} VALUES (1)")
        assert [item.code for item in found.template.opaque_reasons] == ["procedural-trigger"], table
        assert await holds(database, found.verification), table
    part = catalog.find_relation("public", "part")
    plain = catalog.find_relation("public", "plain")
    assert part is not None
    assert plain is not None
    assert [trigger.name for trigger in catalog.triggers[part.oid]] == ["t"]
    assert plain.oid not in catalog.triggers
    found = described(catalog, "INSERT INTO part VALUES (1)")
    await database.execute("CREATE TRIGGER u AFTER INSERT ON whole FOR EACH ROW EXECUTE FUNCTION fire()")
    assert not await holds(database, found.verification)


async def test_on_delete_set_null_of_some_columns(server: Server, database: asyncpg.Connection, read: Read) -> None:
    await database.execute("CREATE TABLE parent (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE child (a int, b int)")
    columns = "(b)" if version_of(server) >= 15 else ""
    key = "ALTER TABLE child ADD CONSTRAINT k FOREIGN KEY (a, b) REFERENCES parent ON DELETE SET NULL "
    await database.execute(key + columns)
    found = described(await read(), "DELETE FROM parent WHERE a = 1")
    written = {column.column for column in found.template.columns if column.use == "write"}
    assert written == ({"b"} if columns else {"a", "b"})
    assert await holds(database, found.verification)
    updated = described(await read(), "UPDATE parent SET a = 2 WHERE a = 1")
    assert {column.column for column in updated.template.columns if column.relation == "child"} == set()
    await database.execute("ALTER TABLE child DROP CONSTRAINT k")
    if not columns:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await database.execute(key + "(a)")
        return
    await database.execute(key + "(a)")
    assert not await holds(database, found.verification)


async def test_a_key_that_is_not_enforced_cascades_nothing(
    server: Server, database: asyncpg.Connection, read: Read
) -> None:
    await database.execute("CREATE TABLE parent (a int PRIMARY KEY); CREATE TABLE child (a int)")
    key = "ALTER TABLE child ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES parent ON DELETE CASCADE"
    if version_of(server) < 18:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await database.execute(key + " NOT ENFORCED")
        await database.execute(key)
        found = described(await read(), "DELETE FROM parent WHERE a = 1")
        assert ("child", "cascade") in accesses(found)
        return
    await database.execute(key + " NOT ENFORCED")
    found = described(await read(), "DELETE FROM parent WHERE a = 1")
    assert not any(name == "child" for name, _ in accesses(found))
    assert await holds(database, found.verification)
    await database.execute("ALTER TABLE child ALTER CONSTRAINT k ENFORCED")
    assert not await holds(database, found.verification)
    assert ("child", "cascade") in accesses(described(await read(), "DELETE FROM parent WHERE a = 1"))


async def test_generated_columns_stored_and_virtual(server: Server, database: asyncpg.Connection, read: Read) -> None:
    kind = "VIRTUAL" if version_of(server) >= 18 else "STORED"
    made = "CREATE TABLE g (email text, length int GENERATED ALWAYS AS (length(email)) {kind})"
    await database.execute(made.format(kind=kind))
    found = described(await read(), "SELECT length FROM g")
    assert {(column.column, column.use) for column in found.template.columns} == {
        ("length", "output"),
        ("email", "other"),
    }
    assert await holds(database, found.verification)
    if kind == "STORED":
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await database.execute(made.format(kind="VIRTUAL").replace("TABLE g", "TABLE h"))
        return
    await database.execute("ALTER TABLE g ALTER COLUMN length SET EXPRESSION AS (1)")
    assert not await holds(database, found.verification)


async def test_what_fires_on_log_in_is_no_matter_of_statements(
    server: Server, database: asyncpg.Connection, read: Read
) -> None:
    await database.execute("CREATE FUNCTION event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
    login = "CREATE EVENT TRIGGER l ON login EXECUTE FUNCTION event()"
    if version_of(server) < 17:
        with pytest.raises(asyncpg.PostgresError):
            await database.execute(login)
    else:
        await database.execute(login)
    assert not described(await read(), "CREATE TABLE x (id int)").template.opaque
    await database.execute("CREATE EVENT TRIGGER d ON ddl_command_start EXECUTE FUNCTION event()")
    found = described(await read(), "CREATE TABLE x (id int)")
    assert [item.code for item in found.template.opaque_reasons] == ["event-trigger"]
    await database.execute("DROP EVENT TRIGGER d; DROP EVENT TRIGGER IF EXISTS l")


async def test_a_server_too_old_to_be_described_is_refused_with_a_clear_word(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "SERVER_QUERY", "SELECT '130022', 'corpus'")
    opened: list[asyncpg.Connection] = []

    async def connect() -> asyncpg.Connection:
        opened.append(await asyncpg.connect(server.dsn))
        return opened[-1]

    source = CatalogSource(connect)
    with pytest.raises(UpstreamError, match="PostgreSQL 13; the oldest that can be described is 14"):
        await source.start()
    assert not source.fresh()
    assert [connection.is_closed() for connection in opened] == [True]


async def test_a_target_that_comes_back_as_another_version_is_read_anew(server: Server) -> None:
    """An upgrade under a running gateway."""
    other = 16 if version_of(server) != 16 else 18
    with trusting_server(f"package:{other}") as port:
        dsns = [server.dsn, f"postgresql://postgres@127.0.0.1:{port}/postgres"]
        opened: list[asyncpg.Connection] = []

        async def connect() -> asyncpg.Connection:
            opened.append(await asyncpg.connect(dsns[len(opened)]))
            return opened[-1]

        source = CatalogSource(connect)
        await source.start()
        first = source.catalog
        opened[0].terminate()
        source.note_ddl()
        await source.refresh()
        second = source.catalog
        await source.close()
    assert first.builtins.server_version == server.catalog.builtins.server_version
    assert second.builtins.server_version // 10000 == other
    assert second.version > first.version
    assert ("json(" in second.foreign_words) is (other < 17)
    assert second.find_relation("public", "orders") is None


async def test_old_and_new_in_returning_and_in_a_rule(database: asyncpg.Connection, read: Read) -> None:
    """Since 18 RETURNING knows OLD and NEW; an alias of that name, and a rule's own rows, come first on any version."""
    await database.execute("""
        CREATE TABLE told (id int, secret text); CREATE TABLE base (id int, secret text);
        CREATE VIEW shown AS SELECT id, secret FROM told;
        CREATE RULE r AS ON UPDATE TO shown DO INSTEAD UPDATE base SET secret = '' RETURNING OLD.id, OLD.secret;
    """)
    catalog = await read()
    found = described(catalog, "UPDATE shown SET id = 1 RETURNING secret")
    used = {(column.relation, column.column) for column in found.template.columns if column.use == "other"}
    assert ("told", "secret") in used
    assert ("base", "secret") not in used
    assert not found.template.opaque
    for sql, expected in (
        ("UPDATE base SET id = 1 RETURNING old.secret", "base"),
        ("UPDATE base SET id = 1 FROM told old RETURNING old.secret", "told"),
        ("UPDATE base old SET id = 1 RETURNING old.secret", "base"),
    ):
        found = described(catalog, sql)
        output = {(column.relation, column.column) for column in found.template.columns if column.use == "output"}
        assert output == {(expected, "secret")}, sql
        assert not found.template.opaque
