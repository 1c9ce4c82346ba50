"""The verification question, asked on a session's own connection: equal while nothing changed, different after."""

from __future__ import annotations

import asyncpg
import pytest

from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Verification
from tests.enforcers.postgres.describe.conftest import Server, names


async def _ask(connection: asyncpg.Connection, sql: str) -> tuple[str, ...]:
    return tuple(str(row[0]) for row in await connection.fetch(sql))


def _verification(server: Server, sql: str) -> Verification:
    found = Describer(4).describe_message(sql.encode(), catalog=server.catalog, names=names())
    assert isinstance(found, list)
    assert found[0].verification is not None
    return found[0].verification


STATEMENTS = [
    "SELECT * FROM contact2",
    "DELETE FROM customers WHERE id = 1",
    "INSERT INTO ruled VALUES (1)",
    "SELECT * FROM guarded",
    "SELECT purge(1), lower('x')",
    "INSERT INTO indexed VALUES (1, 2)",
    "INSERT INTO watched VALUES (1)",
    "UPDATE shop.items SET price = 2",
    "SELECT * FROM parts",
    "SELECT m::whole, 1::positive FROM purses",
    "SELECT pan FROM far.invoices",
]


@pytest.mark.parametrize("sql", STATEMENTS)
async def test_unchanged_means_equal(server: Server, sql: str) -> None:
    verification = _verification(server, sql)
    connection = await asyncpg.connect(server.dsn)
    try:
        assert await _ask(connection, verification.sql) == verification.expected
        if verification.functions_sql is not None:
            assert await _ask(connection, verification.functions_sql) == verification.functions_expected
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("sql", "change"),
    [
        (
            "SELECT * FROM contact2",
            "CREATE OR REPLACE VIEW contact AS SELECT id, email, upper(name) AS lname FROM customers",
        ),
        ("SELECT id FROM orders", "SET LOCAL search_path = shadow, public"),
        ("SELECT id FROM orders", "CREATE TEMP TABLE orders (id int)"),
        ("SELECT id FROM orders", "ALTER TABLE orders RENAME TO x; CREATE TABLE orders (id int)"),
        ("SELECT id FROM orders", "ALTER TABLE orders ADD COLUMN z int"),
        ("SELECT id FROM far.invoices", "ALTER FOREIGN TABLE far.invoices OPTIONS (SET table_name 'other')"),
        ("SELECT id FROM far.seen", "ALTER FOREIGN TABLE far.invoices ALTER holder OPTIONS (SET column_name 'pan')"),
        ("SELECT id FROM far.invoices", "ALTER SERVER billing OPTIONS (SET host 'b')"),
        ("SELECT id FROM far.invoices", "ALTER SERVER billing RENAME TO other"),
        ("SELECT id FROM far.invoices", "ALTER FOREIGN DATA WRAPPER nowhere OPTIONS (ADD x 'y')"),
        ("SELECT amount FROM far.years", "ALTER FOREIGN TABLE far.years_old OPTIONS (ADD x 'y')"),
        ("SELECT id FROM orders", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY"),
        ("DELETE FROM cards", "CREATE TABLE k (c int REFERENCES cards ON DELETE CASCADE)"),
        ("DELETE FROM cards", "CREATE TRIGGER z BEFORE DELETE ON cards FOR EACH ROW EXECUTE FUNCTION fire()"),
        ("DELETE FROM cards", "CREATE RULE z AS ON DELETE TO cards DO ALSO DELETE FROM orders"),
        ("SELECT * FROM guarded", "CREATE POLICY q ON guarded USING (true)"),
        ("SELECT * FROM guarded", "ALTER POLICY p ON guarded USING (proc(id) = 1)"),
        ("UPDATE lines SET sku = ''", "ALTER TABLE lines ADD CHECK (proc(id) = 1)"),
        ("INSERT INTO cards VALUES (1)", "ALTER TABLE cards ALTER pan SET DEFAULT proc(1)::text"),
        ("INSERT INTO cards VALUES (1)", "CREATE INDEX ON cards (idx(id))"),
        ("SELECT * FROM parts", "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200)"),
        ("SELECT purge(1)", "CREATE OR REPLACE FUNCTION purge(x int) RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        ("SELECT purge(1)", "ALTER FUNCTION purge(int) SECURITY DEFINER"),
        ("SELECT purge(1)", "ALTER FUNCTION purge(int) SET search_path = shadow"),
        ("SELECT purge(1)", "CREATE FUNCTION purge(x bigint) RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        ("SELECT upper('x')", "CREATE FUNCTION upper(x varchar) RETURNS text LANGUAGE sql AS 'SELECT 1'"),
        ("SELECT 1::positive", "ALTER DOMAIN positive ADD CHECK (idx(VALUE) > 0)"),
        ("SELECT 1::positive", "ALTER DOMAIN positive DROP CONSTRAINT positive_check"),
        ("SELECT id FROM cards WHERE pan = 'x'", "CREATE CAST (int AS mood) WITH INOUT AS IMPLICIT"),
        ("SELECT lazy()", "CREATE OR REPLACE FUNCTION lazy(x int DEFAULT 7) RETURNS int LANGUAGE sql AS 'SELECT x'"),
        ("SELECT 1 + 1", "CREATE OPERATOR public.+ (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)"),
    ],
)
async def test_a_change_is_seen(server: Server, sql: str, change: str) -> None:
    verification = _verification(server, sql)
    connection = await asyncpg.connect(server.dsn)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(change)
        assert await _ask(connection, verification.sql) != verification.expected
        if "FUNCTION purge(x int)" in change or "ALTER FUNCTION" in change:
            assert verification.functions_sql is not None
            assert await _ask(connection, verification.functions_sql) != verification.functions_expected
    finally:
        await transaction.rollback()
        await connection.close()


async def test_a_shadowing_search_path_can_not_bend_the_question(server: Server) -> None:
    """Operators, functions and types of the session's own schemas come first, and change nothing."""
    verification = _verification(server, "SELECT lower(sku) FROM lines WHERE id = 1")
    connection = await asyncpg.connect(server.dsn)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            "CREATE FUNCTION shadow.yes(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT true';"
            "CREATE OPERATOR shadow.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = shadow.yes);"
            "CREATE FUNCTION shadow.string_agg(text, text) RETURNS text LANGUAGE sql AS 'SELECT ''x''';"
            "CREATE TABLE shadow.pg_class (oid oid)"
        )
        await connection.execute("SET LOCAL search_path = public, shadow, pg_catalog")
        answers = await _ask(connection, verification.sql)
        # only the new operator's own name differs
        different = [(a, b) for a, b in zip(answers, verification.expected, strict=True) if a != b]
        assert len(different) == 1
        assert different[0][0].startswith(different[0][1].split(",")[0])
    finally:
        await transaction.rollback()
        await connection.close()


def test_grounds_are_kept_for_their_objects_and_their_catalog_only(server: Server) -> None:
    """Kept or not, the digests are the same; another object, another name or another catalog is another ground."""
    catalog = server.catalog.as_new()

    def digests(sql: str, *, path: str = "public") -> tuple[bytes, Verification | None]:
        found = Describer(4).describe_message(sql.encode(), catalog=catalog, names=names(path))
        assert isinstance(found, list)
        return found[0].static_digest, found[0].verification

    first = digests("SELECT id FROM orders")
    assert digests("SELECT id FROM orders") == first
    assert digests("SELECT id AS other FROM orders")[1] is first[1]
    for other in ("SELECT id FROM public.orders", "SELECT id FROM customers", "SELECT abs(id) FROM orders"):
        assert digests(other)[1] != first[1]
    before = _verification(server, "SELECT id FROM orders")
    assert before == first[1]  # the same content
    assert before is not first[1]  # looked up again under the other version


@pytest.mark.parametrize(
    ("sql", "asked", "relation"),
    [
        ("SELECT * FROM guarded", "pg_class c WHERE c.oid", "guarded"),
        ("SELECT * FROM guarded", "pg_attribute a WHERE a.attrelid", "guarded"),
        ("SELECT * FROM guarded", "pg_policy y WHERE y.polrelid", "guarded"),
        ("INSERT INTO bad_default VALUES (1)", "pg_attrdef d WHERE d.adrelid", "bad_default"),
        ("INSERT INTO bad_check VALUES (1)", "pg_constraint k WHERE k.conrelid", "bad_check"),
        ("INSERT INTO indexed VALUES (1)", "pg_index x WHERE x.indrelid", "indexed"),
        ("DELETE FROM erased", "pg_rewrite r WHERE r.ev_class", "erased"),
        ("INSERT INTO watched VALUES (1)", "pg_trigger t WHERE t.tgrelid", "watched"),
        ("SELECT pan FROM far.invoices", "pg_foreign_table f WHERE f.ftrelid", "invoices"),
    ],
)
def test_what_is_attached_is_asked_for_of_its_own_relation(server: Server, sql: str, asked: str, relation: str) -> None:
    """Whatever is not asked for could be changed between the decision and the execution that it was given for."""
    catalog = server.catalog
    (found,) = (item for item in catalog.own.relations.values() if item.name == relation)
    verification = _verification(server, sql)
    assert f" FROM pg_catalog.{asked} OPERATOR(pg_catalog.=) {found.oid}::pg_catalog.oid" in verification.sql
    assert " FROM pg_catalog.pg_cast q WHERE " in verification.sql
    hashes = [found.hash, *(item.hash for item in catalog.expressions.get(found.oid, ()))]
    hashes += [item.hash for item in (*catalog.rules.get(found.oid, ()), *catalog.triggers.get(found.oid, ()))]
    known = {part for expected in verification.expected for part in expected.split(",")}
    assert set(hashes) <= known
