"""A session's own objects: temporary ones, and what it has defined and not committed, are described as they are."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until


def described(stack: Stack) -> Any:
    """The description that policy was last asked about."""
    return [record for record in stack.records() if record["kind"] == "decision"][-1]["input"]["operation"]["sql"]  # type: ignore[index]  # JSON


def test_a_temporary_tables_life_needs_nobody(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        client.execute("CREATE TEMP TABLE own_life (id int, v text)")
        assert client.execute("INSERT INTO own_life VALUES (1, 'a'), (2, 'b')").rowcount == 2
        assert client.execute("SELECT * FROM own_life ORDER BY id").fetchall() == [(1, "a"), (2, "b")]
        assert client.execute("UPDATE own_life SET v = %s WHERE id = %s", ["c", 1]).rowcount == 1
        assert client.execute("DELETE FROM own_life WHERE id < 3").rowcount == 2
        assert client.execute("SELECT count(*) FROM orders WHERE id < 5").fetchone() == (4,)
        client.execute("DROP TABLE own_life")
        sql = described(stack)
        assert sql["opaque"] is False
        assert [relation["temporary"] for relation in sql["relations"]] == [True]


def test_a_temporary_table_in_front_of_a_classified_one_is_described_as_what_it_is(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        assert client.execute("SELECT count(email) FROM customers WHERE id = 1").fetchone() == (1,)
        client.execute("CREATE TEMP TABLE customers (id int, email text)")
        client.execute("INSERT INTO customers VALUES (1, 'own')")
        assert client.execute("SELECT email FROM customers AS own_shadow").fetchall() == [("own",)]
        (relation,) = described(stack)["relations"]
        assert relation["temporary"] is True
        assert str(relation["schema"]).startswith("pg_temp_")
        client.execute("SELECT id FROM public.customers AS own_real WHERE id = 1")
        (relation,) = described(stack)["relations"]
        assert (relation["schema"], relation["temporary"]) == ("public", False)
        client.execute("DROP TABLE customers")
        client.execute("SELECT id FROM customers AS own_again WHERE id = 1")
        (relation,) = described(stack)["relations"]
        assert (relation["schema"], relation["temporary"]) == ("public", False)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE customers (id int, email text)",
        "CREATE TABLE pg_temp.customers (id int)",
        "SELECT id INTO TEMP customers FROM orders",
        "CREATE TEMP VIEW customers AS SELECT 1 AS id",
    ],
)
def test_a_planner_makes_nothing_that_could_stand_in_front(stack: Stack, statement: str) -> None:
    with connect(stack, "planner") as client:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="SQL-"):
            client.execute(statement)
        (email,) = client.execute("SELECT email FROM customers WHERE id = 1").fetchone() or ("",)
        assert "@" not in str(email)


def test_a_prepared_statement_follows_the_table_that_now_stands_in_front(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        count = "SELECT count(*) AS own_prepared FROM orders WHERE id < %s"
        assert client.execute(count, [3], prepare=True).fetchone() == (2,)
        client.execute("CREATE TEMP TABLE orders (id int)")
        assert client.execute(count, [3], prepare=True).fetchone() == (0,)
        (relation,) = described(stack)["relations"]
        assert relation["temporary"] is True


def test_rollback_and_savepoints_bring_the_real_table_back(stack: Stack) -> None:
    with connect(stack, "executor", autocommit=False) as client:
        client.execute("SAVEPOINT before")
        client.execute("CREATE TEMP TABLE orders (id int)")
        assert client.execute("SELECT count(*) FROM orders").fetchone() == (0,)
        client.execute("ROLLBACK TO before")
        client.execute("SELECT count(*) AS own_savepoint FROM orders WHERE id < 3")
        (relation,) = described(stack)["relations"]
        assert relation["schema"] == "public"
        client.execute("CREATE TEMP TABLE orders (id int)")
        client.rollback()
        assert client.execute("SELECT count(*) AS own_rollback FROM orders WHERE id < 3").fetchone() == (2,)
        (relation,) = described(stack)["relations"]
        assert relation["schema"] == "public"


def test_a_definition_in_a_transaction_is_held_in_production(stack: Stack) -> None:
    with connect(stack, "executor", autocommit=False) as client, Background() as pool:
        running = pool.submit(client.execute, "CREATE TABLE own_held (id int)")
        approval = str(until(lambda: pending(stack, containing="own_held"), what="the hold"))
        assert stack.review("deny", approval, reason="not today").returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not today"):
            running.result(20)
        client.rollback()
    assert admin(stack, "SELECT to_regclass('own_held') IS NULL") == "t"


def test_uncommitted_definitions_are_described_and_gone_after_a_rollback(stack: Stack) -> None:
    with connect(stack, "executor", connection="sandbox", autocommit=False) as client:
        client.execute("CREATE TABLE own_draft (id int, v text)")
        client.execute("INSERT INTO own_draft VALUES (1, 'a')")
        assert client.execute("SELECT * FROM own_draft").fetchall() == [(1, "a")]
        sql = described(stack)
        assert sql["opaque"] is False
        (relation,) = sql["relations"]
        assert (relation["schema"], relation["name"], relation["temporary"]) == ("public", "own_draft", False)
        client.rollback()
        for binary in (None, True):  # by a Query too
            with pytest.raises(psycopg.errors.UndefinedTable, match='relation "own_draft" does not exist'):
                client.execute("SELECT * FROM own_draft", binary=binary)
            client.rollback()


def test_where_catalog_questions_would_see_the_past_own_objects_stay_opaque(stack: Stack) -> None:
    with connect(stack, "executor", connection="sandbox", autocommit=False) as client:
        client.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        client.execute("CREATE TABLE own_past (id int)")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="uncommitted DDL"):
            client.execute("INSERT INTO own_past VALUES (1)")


def test_temporary_objects_do_not_hold_work_on_shared_ones(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        client.execute("CREATE TEMP TABLE aside (id int)")
        client.execute("BEGIN")
        assert client.execute("UPDATE orders SET status = status WHERE id = 3").rowcount == 1
        client.execute("ROLLBACK")
        client.execute("BEGIN")
        client.execute("CREATE TEMP TABLE gone (id int)")
        client.execute("ROLLBACK")
        assert client.execute("UPDATE orders SET status = status WHERE id = 3").rowcount == 1
