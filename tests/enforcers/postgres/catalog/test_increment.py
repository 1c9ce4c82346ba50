"""What is read a little at a time is what is read whole, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import fields, is_dataclass

import asyncpg
import pytest

from enforcers.postgres.catalog.increment import Known, Reading, session_view
from enforcers.postgres.catalog.parts import PARTS, catalog_queries
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from tests.enforcers.postgres.describe.conftest import Server

# What anybody may do to a schema. {a} and {b} are tables, {v} and {w} views, {c} and {d} columns, {f} a function, {t} a
# type, {s} and {z} schemas, {n} any other name. Most of it fails most of the time: that too happens.
CHANGES = """
CREATE TABLE {s}.{a} (id serial PRIMARY KEY, {c} text DEFAULT 'x', {d} int CHECK ({d} > 0))
CREATE TABLE {s}.{a} (id int PRIMARY KEY, {c} int REFERENCES {z}.{b} ON DELETE CASCADE, {d} text COLLATE "C")
CREATE TABLE {s}.{a} (LIKE {z}.{b} INCLUDING ALL)
CREATE TABLE {s}.{a} (extra int) INHERITS ({z}.{b})
CREATE TABLE {s}.{a} (id int, {c} int, {d} int GENERATED ALWAYS AS (id + 1) STORED) PARTITION BY RANGE (id)
CREATE TABLE {s}.{a} PARTITION OF {z}.{b} FOR VALUES FROM ({i}) TO ({j})
CREATE TABLE {s}.{a} AS SELECT * FROM {z}.{v}
CREATE TEMP TABLE {a} (id int)
CREATE UNLOGGED TABLE {s}.{a} (id int GENERATED ALWAYS AS IDENTITY, {c} int, {d} text)
DROP TABLE {s}.{a}
DROP TABLE {s}.{a} CASCADE
ALTER TABLE {s}.{a} ADD COLUMN {c} int DEFAULT 7
ALTER TABLE {s}.{a} DROP COLUMN {c}
ALTER TABLE {s}.{a} DROP COLUMN {c} CASCADE
ALTER TABLE {s}.{a} RENAME COLUMN {c} TO {n}
ALTER TABLE {s}.{a} RENAME COLUMN {n} TO {c}
ALTER TABLE {s}.{a} ALTER COLUMN {c} TYPE bigint USING NULL
ALTER TABLE {s}.{a} ALTER COLUMN {c} SET DEFAULT 5
ALTER TABLE {s}.{a} ALTER COLUMN {c} DROP DEFAULT
ALTER TABLE {s}.{a} ADD CHECK ({c} IS NOT NULL)
ALTER TABLE {s}.{a} ADD UNIQUE ({c})
ALTER TABLE {s}.{a} ADD FOREIGN KEY ({c}) REFERENCES {z}.{b}
ALTER TABLE {s}.{a} RENAME TO {b}
ALTER TABLE {s}.{a} SET SCHEMA {z}
ALTER TABLE {s}.{a} ENABLE ROW LEVEL SECURITY
ALTER TABLE {s}.{a} DISABLE TRIGGER ALL
ALTER TABLE {s}.{a} NO INHERIT {z}.{b}
ALTER TABLE {z}.{b} DETACH PARTITION {s}.{a}
ALTER TABLE {s}.{a} SET LOGGED
CREATE INDEX ON {s}.{a} ({c})
CREATE UNIQUE INDEX ON {s}.{a} (lower({d}::text)) WHERE {c} IS NOT NULL
DROP INDEX {s}.{a}_{c}_idx
ALTER INDEX {s}.{a}_{c}_idx RENAME TO {n}
CREATE VIEW {s}.{v} AS SELECT * FROM {z}.{a}
CREATE VIEW {s}.{v} AS SELECT x.{c}, count(*) FROM {z}.{a} x JOIN {s}.{b} y USING (id) GROUP BY 1
CREATE OR REPLACE VIEW {s}.{v} AS SELECT x AS whole, {z}.{f}(x.id) FROM {z}.{a} x
CREATE VIEW {s}.{v} AS SELECT w.* FROM {z}.{w} w
CREATE VIEW {s}.{v} AS SELECT 1 AS one FROM {z}.{f}_rows()
CREATE VIEW {s}.{v} AS SELECT 'one'::{z}.{t}, NULL::{z}.{t}_domain
CREATE MATERIALIZED VIEW {s}.{v} AS SELECT * FROM {z}.{a}
DROP VIEW {s}.{v}
DROP VIEW {s}.{v} CASCADE
ALTER VIEW {s}.{v} RENAME TO {w}
CREATE FUNCTION {s}.{f}(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'
CREATE FUNCTION {s}.{f}(text, k int DEFAULT 1 + 2) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'
CREATE FUNCTION {s}.{f}_rows() RETURNS SETOF {z}.{a} LANGUAGE sql AS 'SELECT * FROM {z}.{a}'
CREATE FUNCTION {s}.{f}() RETURNS bigint BEGIN ATOMIC SELECT count({c}) FROM {z}.{a}; END
CREATE OR REPLACE FUNCTION {s}.{f}(int) RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = {z} AS 'SELECT 2'
CREATE FUNCTION {s}.{f}_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
CREATE FUNCTION pg_temp.{f}() RETURNS int LANGUAGE sql AS 'SELECT 1'
ALTER FUNCTION {s}.{f}(int) RENAME TO {n}
ALTER FUNCTION {s}.{f}(int) SET SCHEMA {z}
ALTER FUNCTION {s}.{f}(int) STABLE
DROP FUNCTION {s}.{f}(int)
DROP FUNCTION {s}.{f}_rows() CASCADE
CREATE TRIGGER {n} BEFORE INSERT ON {s}.{a} FOR EACH ROW EXECUTE FUNCTION {z}.{f}_trigger()
DROP TRIGGER {n} ON {s}.{a}
CREATE RULE {n} AS ON UPDATE TO {s}.{a} DO ALSO NOTIFY x
DROP RULE {n} ON {s}.{a}
CREATE POLICY {n} ON {s}.{a} USING ({c} = {z}.{f}(1))
DROP POLICY {n} ON {s}.{a}
CREATE TYPE {s}.{t} AS ENUM ('one', 'two')
ALTER TYPE {s}.{t} RENAME VALUE 'one' TO 'eins'
ALTER TYPE {s}.{t} ADD VALUE 'three'
ALTER TYPE {s}.{t} RENAME TO {n}
CREATE TYPE {s}.{t}_pair AS (x int, y text)
ALTER TYPE {s}.{t}_pair ADD ATTRIBUTE z int CASCADE
CREATE DOMAIN {s}.{t}_domain AS int CHECK (VALUE > 0) DEFAULT 3
ALTER DOMAIN {s}.{t}_domain ADD CHECK (VALUE < {i} + 100)
DROP DOMAIN {s}.{t}_domain CASCADE
DROP TYPE {s}.{t} CASCADE
CREATE OPERATOR {s}.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)
DROP OPERATOR {s}.=== (int, int)
CREATE CAST ({s}.{t}_pair AS text) WITH INOUT AS ASSIGNMENT
DROP CAST ({s}.{t}_pair AS text)
CREATE AGGREGATE {s}.{n}(int) (SFUNC = int4pl, STYPE = int)
DROP AGGREGATE {s}.{n}(int)
CREATE COLLATION {s}.{n} FROM "C"
ALTER COLLATION {s}.{n} RENAME TO {n}_other
CREATE SCHEMA {s}_more
DROP SCHEMA {s}_more CASCADE
ALTER SCHEMA {s} RENAME TO {s}_more
ALTER SCHEMA {s}_more RENAME TO {s}
CREATE SEQUENCE {s}.{n}
ALTER SEQUENCE {s}.{n} RENAME TO {n}_other
DROP SEQUENCE {s}.{n} CASCADE
COMMENT ON TABLE {s}.{a} IS '{n}'
COMMENT ON TABLE {s}.{a} IS 'twokey: label={n}'
COMMENT ON COLUMN {s}.{a}.{c} IS 'twokey: label={n}'
COMMENT ON COLUMN {s}.{a}.{c} IS NULL
CREATE ROLE {n}
DROP ROLE {n}
GRANT {n} TO postgres
REVOKE {n} FROM postgres
GRANT SELECT ON {s}.{a} TO PUBLIC
ANALYZE {s}.{a}
VACUUM FULL pg_class
CREATE FUNCTION {s}.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'
CREATE EVENT TRIGGER {n} ON ddl_command_end EXECUTE FUNCTION {s}.on_ddl()
DROP EVENT TRIGGER {n}
CREATE FOREIGN DATA WRAPPER w1
CREATE SERVER {n} FOREIGN DATA WRAPPER w1 OPTIONS (host 'a')
CREATE FOREIGN TABLE {s}.{a} ({c} text OPTIONS (k 'x'), id int) SERVER {n} OPTIONS (t 'x')
ALTER FOREIGN TABLE {s}.{a} OPTIONS (SET t 'y')
ALTER FOREIGN TABLE {s}.{a} ALTER COLUMN {c} OPTIONS (SET k 'y')
ALTER FOREIGN TABLE {s}.{a} RENAME TO {b}
ALTER SERVER {n} OPTIONS (SET host 'b')
ALTER SERVER n1 RENAME TO n2
ALTER FOREIGN DATA WRAPPER w1 RENAME TO w2
ALTER FOREIGN DATA WRAPPER w1 OPTIONS (ADD o 'x')
DROP SERVER {n} CASCADE
ALTER LANGUAGE plpgsql RENAME TO plpgsql_other
ALTER LANGUAGE plpgsql_other RENAME TO plpgsql
""".strip().splitlines()


def change(random_: random.Random) -> str:
    def one(*names: str) -> str:
        return random_.choice(names)

    first = random_.randrange(5) * 10
    # Tables, views and functions are what it is about.
    template = random_.choice(CHANGES if random_.random() < 0.5 else CHANGES[:55])
    return template.format(
        a=one("a1", "a2", "a3"), b=one("a1", "a2", "a3"), v=one("v1", "v2"), w=one("v1", "v2"),
        c=one("c1", "c2"), d=one("d1", "d2"), f=one("f1", "f2"), t=one("t1", "t2"), s=one("one", "two"),
        z=one("one", "two"), n=one("n1", "n2"), i=first, j=first + 10,
    )  # fmt: skip


def plain(value: object) -> object:
    """With everything in it, in its order."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return [(key, plain(item)) for key, item in value.items()]
    return [plain(item) for item in value] if isinstance(value, tuple) else value


_TEXTS = {"text", "source", "default_text"}


def unprinted(value: object) -> object:
    """Without what is printed, which says the same under another search_path in other words."""
    if isinstance(value, dict):
        return {name: unprinted(item) for name, item in value.items() if name not in _TEXTS}
    if isinstance(value, list | tuple):
        return [unprinted(item) for item in value]
    return value


def differences(now: Catalog, then: Catalog, *, printed: bool = True) -> list[object]:
    """Mappings in which an object, or the order, is not the same."""
    found: list[object] = []
    for half in ("own", "attached"):
        for item in fields(getattr(then, half)):
            one, other = (plain(getattr(getattr(catalog, half), item.name)) for catalog in (now, then))
            if not printed:
                one, other = unprinted(one), unprinted(other)
            if one != other and isinstance(one, list) and isinstance(other, list):
                differing = [each for each in one if each not in other], [each for each in other if each not in one]
                found.append((item.name, *(differing if any(differing) else (one, other))))
    return found


@pytest.fixture
async def database(server: Server) -> AsyncIterator[str]:
    """Empty, for this test."""
    maker = await server.connect()
    await maker.execute("CREATE DATABASE incremental")
    dsn = server.dsn.removesuffix("/corpus") + "/incremental"
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE SCHEMA one; CREATE SCHEMA two")
    await connection.close()
    yield dsn
    await maker.execute("DROP DATABASE incremental WITH (FORCE)")
    await maker.execute("DROP ROLE IF EXISTS n1, n2")
    await maker.close()


async def until(connection: asyncpg.Connection, random_: random.Random, wanted: int) -> None:
    """So many changes that succeed; many more are tried."""
    for _ in range(40 * wanted):
        try:
            await connection.execute(change(random_))
        except asyncpg.PostgresError:
            continue
        wanted -= 1
        if wanted == 0:
            break


class Slowly:
    """A transaction with an xid of its own that goes on for long, and is ended one way or the other."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._made = 0

    async def step(self, random_: random.Random) -> None:
        if self._connection.is_in_transaction():
            await self._connection.execute(random_.choice(("COMMIT", "COMMIT", "ROLLBACK")))
        else:
            self._made += 1  # always another: a lock on what is there already would keep it from being printed
            await self._connection.execute(f"BEGIN; CREATE TABLE public.slow{self._made} (x serial)")


@pytest.mark.parametrize("seed", range(2))
async def test_after_any_changes_it_is_what_is_read_whole(database: str, seed: int) -> None:
    random_ = random.Random(seed)
    fast, slow = [await asyncpg.connect(database) for _ in range(2)]
    await fast.execute("SET lock_timeout = 50; SET client_min_messages = error")
    await until(fast, random_, 40)
    slowly = Slowly(slow)
    whole = 0
    source = CatalogSource(lambda: asyncpg.connect(database))
    await source.start()
    try:
        for _ in range(20):
            if random_.random() < 0.2:
                await slowly.step(random_)
            await until(fast, random_, random_.choice((1, 1, 1, 2, 12)))
            known = source.known
            await source.refresh()
            whole += known.builtin is not source.known.builtin
            fresh = CatalogSource(lambda: asyncpg.connect(database))
            await fresh.start()
            await fresh.close()
            assert differences(source.catalog, fresh.catalog) == []
    finally:
        await source.close()
        await fast.close()
        await slow.close()
    assert whole < 14  # of 20; names that change, for the most part


async def answered(connection: asyncpg.Connection, reading: Reading[Catalog]) -> tuple[Catalog, bool]:
    """What it has learnt of this connection; whether it read everything."""
    everything = False
    try:
        questions = next(reading)
        while True:
            answers = [[tuple(row) for row in await connection.fetch(item.sql, *item.parameters)] for item in questions]
            everything = everything or ("$1" not in questions[0].sql and len(questions) == len(PARTS))
            questions = reading.send(answers)
    except StopIteration as end:
        catalog: Catalog = end.value
        return catalog, everything


async def whole_view(connection: asyncpg.Connection, known: Known, path: tuple[str, ...]) -> Catalog:
    queries = catalog_queries(known.catalog.builtins.server_version)
    rows = {name: [tuple(row) for row in await connection.fetch(sql)] for name, sql in queries}
    return known.catalog.with_rows(rows, search_path=path)


@pytest.mark.parametrize("path", ["one, two", "two, pg_catalog"])
async def test_a_session_sees_its_own_objects_as_if_it_had_read_everything(database: str, path: str) -> None:
    """Its temporary objects, old and new, and what its transaction has not committed; whatever others commit."""
    random_ = random.Random(path)
    mine, other = [await asyncpg.connect(database) for _ in range(2)]
    for connection in (mine, other):
        await connection.execute("SET lock_timeout = 50; SET client_min_messages = error")
    await until(other, random_, 25)
    await mine.execute(f"SET search_path = {path}")
    await mine.execute("CREATE TEMP TABLE kept (id serial PRIMARY KEY, label text CHECK (label <> ''))")
    await mine.execute("CREATE FUNCTION pg_temp.kept() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    source = CatalogSource(lambda: asyncpg.connect(database))
    await source.start()
    few = 0
    try:
        for _ in range(12):
            await source.refresh()
            if random_.random() < 0.4:
                await until(other, random_, 1)
            transaction = mine.transaction()
            await transaction.start()
            for _ in range(random_.choice((1, 2, 8))):
                try:
                    async with mine.transaction():
                        await mine.execute(change(random_))
                except asyncpg.PostgresError:
                    continue
            schemas = tuple(await mine.fetchval("SELECT current_schemas(true)::text[]"))
            found, everything = await answered(mine, session_view(source.known, search_path=schemas))
            whole = await whole_view(mine, source.known, schemas)
            assert differences(found, whole, printed=False) == []
            assert (found.temporary_schema, found.printed_path) == (whole.temporary_schema, schemas)
            assert found.find_relation(schemas[0], "kept") is not None
            few += not everything
            await transaction.rollback() if random_.random() < 0.5 else await transaction.commit()
    finally:
        await source.close()
        await mine.close()
        await other.close()
    assert few > 4 if "pg_catalog" not in path else few == 0  # where pg_catalog is not first, all is read


async def test_a_temporary_object_that_shadows_one_of_the_servers_has_all_read_again(database: str) -> None:
    source = CatalogSource(lambda: asyncpg.connect(database))
    await source.start()
    mine = await asyncpg.connect(database)
    try:
        await mine.execute("CREATE TEMP TABLE mine (id int); CREATE VIEW one.sizes AS SELECT relname FROM pg_class")
        schemas = tuple(await mine.fetchval("SELECT current_schemas(true)::text[]"))
        _, everything = await answered(mine, session_view(source.known, search_path=schemas))
        assert not everything
        await mine.execute("CREATE TEMP TABLE pg_class (relname text)")
        found, everything = await answered(mine, session_view(source.known, search_path=schemas))
        assert everything
        sizes = found.find_relation("one", "sizes")
        assert sizes is not None
        (rule,) = found.rules[sizes.oid]
        assert "pg_catalog.pg_class" in rule.text
    finally:
        await source.close()
        await mine.close()
