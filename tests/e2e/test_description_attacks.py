"""What an executor's statement sets off is seen before it runs: held or denied in production, opaque held anywhere.

Each statement stands in a transaction that has written, where nothing can be held: what would be is then refused at
once, with a hint (POLICY), so that no reviewer is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import DATABASE, Stack
from tests.e2e.clients import admin, connect

SETUP = """
CREATE SCHEMA snare;
CREATE TABLE snare.plain (id int PRIMARY KEY, x int);
INSERT INTO snare.plain SELECT n, n FROM generate_series(1, 20) n;
CREATE TABLE snare.kid (id int, p int REFERENCES snare.plain ON DELETE CASCADE);
CREATE FUNCTION snare.hidden() RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM snare.kid; RETURN 1; END';
CREATE FUNCTION snare.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM snare.kid; RETURN OLD; END';
CREATE TABLE snare.fired (id int); CREATE TRIGGER t BEFORE DELETE OR INSERT ON snare.fired
  FOR EACH ROW EXECUTE FUNCTION snare.fire();
CREATE VIEW snare.constant AS SELECT 1 AS one FROM snare.fired;
CREATE FUNCTION snare.lazy(x int DEFAULT snare.hidden()) RETURNS int LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION snare.removes() RETURNS int LANGUAGE sql AS 'DELETE FROM snare.kid; SELECT 1';
CREATE FUNCTION snare.removes2() RETURNS int LANGUAGE sql BEGIN ATOMIC DELETE FROM snare.kid; SELECT 1; END;
CREATE FUNCTION snare.nested() RETURNS int LANGUAGE sql AS 'SELECT snare.removes()';
CREATE FUNCTION snare.drops() RETURNS int LANGUAGE sql AS 'DROP TABLE IF EXISTS snare.nothing; SELECT 1';
CREATE VIEW snare.removing AS SELECT snare.removes() AS d;
CREATE TABLE snare.ruled (id int); CREATE RULE r AS ON UPDATE TO snare.ruled DO ALSO DELETE FROM snare.kid;
CREATE FUNCTION snare.plus(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE OPERATOR snare.~~~ (LEFTARG = int, RIGHTARG = int, FUNCTION = snare.plus);
CREATE TYPE snare.purse AS (a int);
CREATE FUNCTION snare.weigh(snare.purse) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE CAST (snare.purse AS int) WITH FUNCTION snare.weigh(snare.purse);
CREATE DOMAIN snare.whole AS int;
CREATE DOMAIN snare.checked AS int CHECK (snare.hidden() > 0);
CREATE TABLE snare.purses (id int, m snare.purse);
CREATE TABLE snare.defaulted (id int, x int DEFAULT snare.hidden());
CREATE TABLE snare.checks (id int CHECK (snare.hidden() = 1));
CREATE AGGREGATE snare.total(int) (SFUNC = snare.plus, STYPE = int, INITCOND = '0');
ANALYZE snare.plain;
GRANT ALL ON SCHEMA snare TO company_rw;
GRANT ALL ON ALL TABLES IN SCHEMA snare TO company_rw;
"""

# Opaque: refused here whatever the environment.
OPAQUE = (
    "SELECT snare.lazy()",
    "INSERT INTO snare.constant DEFAULT VALUES",
    "DELETE FROM snare.constant",
    "DELETE FROM snare.fired",
    "CREATE INDEX ON snare.plain ((x OPERATOR(snare.~~~) 1))",
    "ALTER TABLE snare.plain ALTER COLUMN x TYPE int USING x OPERATOR(snare.~~~) 1",
    "ALTER TABLE snare.purses ALTER COLUMN m TYPE int USING m::int",
    "ALTER TABLE snare.purses ALTER COLUMN m TYPE int USING m::snare.whole",
    "ALTER TABLE snare.checks ADD COLUMN y int",
    "SELECT m::int FROM snare.purses",
    "SELECT m::snare.whole FROM snare.purses",
    "SELECT 1::snare.checked",
    "SELECT 1 OPERATOR(snare.~~~) 2",
    "SELECT snare.total(id) FROM snare.plain",
    "INSERT INTO snare.defaulted (id) VALUES (1)",
    "INSERT INTO snare.checks VALUES (1)",
    "SELECT id FROM snare.plain ORDER BY snare.hidden()",
    "EXPLAIN ANALYZE SELECT snare.hidden()",
    "SELECT query_to_xml('DROP TABLE orders', true, true, '')",
    "DO $$ BEGIN DROP TABLE orders; END $$",
)

# Described, and more than an executor may do in production without an approval.
HELD = (
    "SELECT snare.removes()",
    "SELECT snare.removes2()",
    "SELECT snare.nested()",
    "SELECT snare.drops()",
    "SELECT * FROM snare.removing",
    "SELECT 1 FROM orders WHERE id = snare.nested()",
    "INSERT INTO snare.plain (id) SELECT snare.removes()",
    "UPDATE snare.plain SET x = snare.removes() WHERE id = 1",
    "UPDATE snare.ruled SET id = 2 WHERE id = 1",
    "MERGE INTO snare.plain t USING (VALUES (1)) s(id) ON t.id = s.id WHEN MATCHED THEN DELETE",
    "WITH d AS (DELETE FROM snare.plain WHERE id = 1 RETURNING *) SELECT * FROM d",
    "EXPLAIN ANALYZE DELETE FROM snare.plain WHERE id = 1",
    "PREPARE q AS DELETE FROM snare.plain WHERE id = 1",
    "TRUNCATE snare.plain CASCADE",
    "DROP SCHEMA snare CASCADE",
    "DROP OWNED BY CURRENT_USER",
    "ALTER TABLE snare.plain DROP COLUMN x",
    "ALTER TABLE snare.plain DISABLE TRIGGER ALL",
    "SELECT * FROM orders",
    "SELECT array_agg(o) FROM orders o",
    "SELECT ARRAY(SELECT o FROM orders o)",
    "SELECT json_agg(o) FROM orders o",
    "INSERT INTO snare.ruled SELECT id FROM orders",
    "UPDATE orders SET status = status WHERE random() < 2",
    "UPDATE orders SET status = status WHERE id = id",
)

PASSED = (
    "INSERT INTO snare.plain (id, x) VALUES (100, 1) ON CONFLICT (id) DO UPDATE SET x = excluded.x RETURNING id",
    "UPDATE snare.plain p SET x = o.id FROM orders o WHERE o.id = p.id AND p.id < 3",
    "SELECT customer_id, array_agg(id) FROM orders WHERE id < 100 GROUP BY 1",
    "CREATE TEMP TABLE own (id int, x text)",
    "SELECT id::int, '3'::int, x::bigint FROM snare.plain",
    "EXPLAIN SELECT * FROM customers",
    "SELECT current_setting(n) FROM (VALUES ('work_mem')) v(n)",
)

REFUSED = {"42501", "55000"}  # denied; or a reviewer would have to see it, who can't be waited for behind a write

Client = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def snared(stack: Stack) -> Iterator[Stack]:
    admin(stack, SETUP)
    yield stack
    admin(stack, "DROP SCHEMA snare CASCADE")


@pytest.fixture(scope="module", params=[DATABASE, "sandbox"])
def anywhere(request: pytest.FixtureRequest, snared: Stack) -> Iterator[Client]:
    with connect(snared, "executor", connection=request.param) as client:
        yield client


@pytest.fixture(scope="module")
def production(snared: Stack) -> Iterator[Client]:
    with connect(snared, "executor") as client:
        yield client


def _refusal(client: Client, statement: str) -> psycopg.Error:
    """In a transaction that has written."""
    client.execute("BEGIN")
    try:
        client.execute("UPDATE snare.plain SET x = x WHERE id = 20")
        with pytest.raises(psycopg.Error) as refused:
            pytest.fail(f"it ran: {client.execute(statement.encode(), prepare=False).statusmessage}")
        return refused.value
    finally:
        client.execute("ROLLBACK")


@pytest.mark.parametrize("statement", OPAQUE)
def test_what_runs_unseen_code_is_opaque_in_every_environment(anywhere: Client, statement: str) -> None:
    refused = _refusal(anywhere, statement)
    assert refused.sqlstate in REFUSED, refused
    assert "SQL-OPAQUE" in str(refused), refused


@pytest.mark.parametrize("statement", HELD)
def test_what_is_set_off_is_judged_in_production(production: Client, statement: str) -> None:
    refused = _refusal(production, statement)
    assert refused.sqlstate in REFUSED, refused


@pytest.mark.parametrize("statement", PASSED)
def test_ordinary_work_of_an_executor_passes(production: Client, statement: str) -> None:
    production.execute("BEGIN")
    try:
        production.execute(statement.encode(), prepare=False)
    finally:
        production.execute("ROLLBACK")


@pytest.mark.parametrize("role", ["executor", "planner"])
def test_a_cursor_is_no_way_around_the_row_budget(snared: Stack, role: str) -> None:
    with connect(snared, role) as client:
        client.execute("BEGIN")
        if role == "executor":
            client.execute("UPDATE snare.plain SET x = x WHERE id = 20")
        client.execute("DECLARE c CURSOR FOR SELECT * FROM orders")
        assert len(client.execute("FETCH 900 FROM c").fetchall()) == 900
        with pytest.raises(psycopg.Error) as refused:
            client.execute("FETCH ALL FROM c")
        assert refused.value.sqlstate in {*REFUSED, "54000"}, refused.value
        client.execute("ROLLBACK")
