"""What policy refuses: the client's words, the session after it, and that nothing reached the target."""

from __future__ import annotations

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import admin, connect

DROP_TRICKS = (
    "DROP TABLE cards",
    "SELECT 1; DROP TABLE cards",
    "/* DROP is only a comment */ DROP TABLE cards",
    "SELECT 1 /* /* nested */ */; DROP TABLE cards",
    "SELECT 'a;b'; DROP TABLE cards",
    r"SELECT E'\'; SELECT '; DROP TABLE cards; --'",
    r"SELECT '\'; DROP TABLE cards; --'",
    "SELECT $$;$$; DROP TABLE cards",
    "SELECT $a$ $b$ ; $a$; DROP TABLE cards",
    "SELECT 1 AS a$x$; DROP TABLE cards; SELECT 2 AS b$x$",
    r"SELECT U&'\0027'; DROP TABLE cards",
    "-- comment\nDROP TABLE cards",
    "drop/**/table/**/cards",
    'DROP TABLE "cards"',
    'DROP TABLE U&"c\\0061rds"',
    "DROP TABLE IF EXISTS nothing_here, public.cards CASCADE",
    "TRUNCATE cards",
    "BEGIN; TRUNCATE cards; COMMIT",
    "DROP SCHEMA public CASCADE",
    "DROP OWNED BY company_rw",
)


@pytest.mark.parametrize("statement", DROP_TRICKS)
def test_drop_and_truncate_in_production_never_reach_the_target(stack: Stack, statement: str) -> None:
    with connect(stack, "executor") as client:
        with pytest.raises(psycopg.Error) as refused:
            client.execute(statement.encode(), prepare=False)
        assert refused.value.sqlstate in {"42501", "42601"}, refused.value
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert admin(stack, "SELECT count(*) FROM cards") == "500"


def test_a_denial_names_rule_reason_and_next_step_and_leaves_the_session_alive(stack: Stack) -> None:
    with connect(stack, "planner") as client:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            client.execute("UPDATE orders SET status = 'x' WHERE id = 1")
        shown = refused.value.diag
        assert "SQL-PLANNER-WRITE" in str(refused.value)
        assert shown.message_hint
        assert "dec_" in str(shown.message_detail)
        assert client.execute("SELECT status FROM orders WHERE id = 1").fetchone() is not None
    assert admin(stack, "SELECT status FROM orders WHERE id = 1") != "x"


PLANNER_WRITES = (
    "INSERT INTO orders VALUES (90001, 1, '2026-01-01', 1, 'new')",
    "UPDATE orders SET status = 'x' WHERE id = 1",
    "DELETE FROM orders WHERE id = 1",
    "WITH gone AS (DELETE FROM orders WHERE id = 1 RETURNING *) SELECT * FROM gone",
    "WITH a AS (SELECT 1), b AS (UPDATE orders SET status = 'x' RETURNING id) SELECT * FROM b",
    "SELECT * INTO copy_of_orders FROM orders",
    "CREATE TABLE copy_of_orders AS SELECT * FROM orders",
    "EXPLAIN ANALYZE DELETE FROM orders WHERE id = 1",
    "COPY orders FROM STDIN",
    "MERGE INTO orders o USING (SELECT 1 AS id) s ON o.id = s.id WHEN MATCHED THEN DELETE",
    "PREPARE p AS DELETE FROM orders WHERE id = 1",
    "SELECT * FROM orders WHERE id = 1 FOR UPDATE",
    "LOCK TABLE orders",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "SELECT tidy_up()",
    "SET ROLE company_rw",
    "SET SESSION AUTHORIZATION company_rw",
    "SELECT set_config('role', 'company_rw', false)",
    "SET default_transaction_read_only = off",
    "BEGIN READ WRITE",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "COPY orders TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_sleep(1)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT query_to_xml('select 1', true, true, '')",
    "NOTIFY a, 'b'",
    "VACUUM orders",
    "GRANT ALL ON orders TO PUBLIC",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
)


@pytest.mark.parametrize("statement", PLANNER_WRITES)
def test_planner_writes_nothing_by_any_door(stack: Stack, statement: str) -> None:
    before = admin(stack, "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o")
    with connect(stack, "planner") as client:
        with pytest.raises(psycopg.Error) as refused:
            client.execute(statement.encode(), prepare=False)
        assert refused.value.sqlstate == "42501", refused.value
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert admin(stack, "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o") == before


def test_denied_in_a_transaction_the_transaction_fails_as_with_any_error(stack: Stack) -> None:
    with connect(stack, "planner", autocommit=False) as client:
        client.execute("SELECT 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("DELETE FROM orders WHERE id = 1")
        assert client.info.transaction_status is psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            client.execute("SELECT 1")
        client.rollback()
        assert client.execute("SELECT 1").fetchone() == (1,)


def pipelined(client: psycopg.Connection[tuple[object, ...]], *statements: str) -> None:
    with client.pipeline():
        for statement in statements:
            client.execute(statement.encode())


def test_one_denied_statement_of_a_pipeline_rolls_back_what_came_before(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        with pytest.raises(psycopg.Error):
            pipelined(client, "UPDATE orders SET status = 'pipelined' WHERE id = 2", "DROP TABLE cards")
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert admin(stack, "SELECT status FROM orders WHERE id = 2") != "pipelined"


def test_one_denied_statement_of_a_message_sends_nothing_of_it(stack: Stack) -> None:
    done = stack.psql("executor", "UPDATE orders SET status = 'first' WHERE id = 3; DROP TABLE cards")
    assert done.returncode != 0
    assert "SQL-DROP-TRUNCATE" in done.stderr
    assert admin(stack, "SELECT status FROM orders WHERE id = 3") != "first"


def test_after_a_denied_parse_execute_never_runs_the_previous_statement(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        client.execute("SELECT 41 + %s", [1])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("DROP TABLE cards -- %s", [1])
        pgconn = client.pgconn
        pgconn.send_query_prepared(b"", [b"1"])  # the unnamed statement, as it now stands
        results = []
        while (result := pgconn.get_result()) is not None:
            results.append(result.status)
        assert psycopg.pq.ExecStatus.TUPLES_OK not in results


def test_opaque_is_denied_to_planners_and_held_for_executors(stack: Stack) -> None:
    denied = stack.psql("planner", "DO $$ BEGIN EXECUTE 'DROP TABLE cards'; END $$")
    assert denied.returncode != 0
    assert "OPAQUE" in denied.stderr
    assert admin(stack, "SELECT count(*) FROM cards") == "500"


def test_an_unknown_role_of_the_token_is_refused(stack: Stack) -> None:
    with (
        pytest.raises(psycopg.OperationalError, match="role"),
        connect(stack, "executor", token=stack.token("planner-3", "planner")),
    ):
        pass


def test_unparsable_text_is_a_syntax_error_with_its_position(stack: Stack) -> None:
    with connect(stack, "planner") as client:
        with pytest.raises(psycopg.errors.SyntaxError) as refused:
            client.execute("SELEC 1")
        assert refused.value.diag.statement_position == "1"
        assert client.execute("SELECT 1").fetchone() == (1,)
