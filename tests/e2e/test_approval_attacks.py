"""What changes between an approval and its use: the search path, shadowing tables, functions, views, triggers (attack
lines A9 and A10). Each time a reviewer has said yes, and what would now run is something else: it doesn't run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until
from tests.e2e.test_unheld import reference

MADE = """\
CREATE SCHEMA replaced;
CREATE TABLE replaced.kept (id int);
INSERT INTO replaced.kept VALUES (1);
CREATE TABLE replaced.other (id int);
INSERT INTO replaced.other VALUES (1);
CREATE FUNCTION replaced.wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM replaced.other RETURNING 1';
CREATE VIEW replaced.seen AS SELECT id FROM replaced.other;
CREATE FUNCTION replaced.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE TRIGGER noted BEFORE DELETE ON replaced.other FOR EACH ROW EXECUTE FUNCTION replaced.noted();
GRANT USAGE ON SCHEMA replaced TO company_rw;
GRANT ALL ON ALL TABLES IN SCHEMA replaced TO company_rw;
"""


@pytest.fixture
def replaced(stack: Stack) -> Iterator[Stack]:
    admin(stack, MADE)
    try:
        yield stack
    finally:
        admin(stack, "DROP SCHEMA replaced CASCADE; DROP SCHEMA IF EXISTS company_rw CASCADE")


def left(stack: Stack, table: str) -> str:
    return admin(stack, f"SELECT count(*) FROM {table}")


@contextmanager
def approved_while_held(stack: Stack, statement: str, change: str) -> Iterator[psycopg.Error]:
    """The error that the asker gets when a colleague makes the change before the reviewer says yes."""
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, statement)
        approval = str(until(lambda: pending(stack, containing=statement), what="the hold"))
        admin(stack, change)
        assert stack.review("approve", approval).returncode == 0
        with pytest.raises(psycopg.Error) as refused:
            running.result(30)
        yield refused.value


@pytest.mark.parametrize(
    ("statement", "change"),
    [
        (
            "SELECT replaced.wipe() /* a10 function */",
            "CREATE OR REPLACE FUNCTION replaced.wipe() RETURNS int LANGUAGE sql "
            "AS 'DELETE FROM replaced.kept RETURNING 1'",
        ),
        (
            "DELETE FROM replaced.seen /* a10 view */",
            "CREATE OR REPLACE VIEW replaced.seen AS SELECT id FROM replaced.kept",
        ),
        (
            "DELETE FROM replaced.other /* a10 trigger */",
            "CREATE OR REPLACE FUNCTION replaced.noted() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN DELETE FROM replaced.kept; RETURN OLD; END'",
        ),
    ],
    ids=["function", "view", "trigger"],
)
def test_a10_what_an_approved_statement_calls_is_replaced_before_its_use(
    replaced: Stack, statement: str, change: str
) -> None:
    with approved_while_held(replaced, statement, change) as refused:
        assert refused.sqlstate is not None
    assert left(replaced, "replaced.kept") == "1"
    assert left(replaced, "replaced.other") == "1"


def test_a9_a_table_that_shadows_the_approved_one_is_not_touched(replaced: Stack) -> None:
    statement = "DELETE FROM orders WHERE id = 52001"
    admin(replaced, "INSERT INTO orders VALUES (52001, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    shadow = (
        "CREATE SCHEMA company_rw AUTHORIZATION company_rw; CREATE TABLE company_rw.orders (LIKE public.orders);"
        "INSERT INTO company_rw.orders SELECT * FROM public.orders WHERE id = 52001;"
        "ALTER TABLE company_rw.orders OWNER TO company_rw"
    )
    with approved_while_held(replaced, statement, shadow):
        pass
    assert left(replaced, "public.orders WHERE id = 52001") == "1"
    assert left(replaced, "company_rw.orders WHERE id = 52001") == "1"


def test_a9_an_approval_is_for_the_search_path_it_was_asked_under(replaced: Stack) -> None:
    """The request was opened in a transaction that couldn't wait; sent again under another path it is another act,
    and under the first one it still runs."""
    statement = "DELETE FROM kept WHERE id = 1 /* 52002 */"
    admin(replaced, "CREATE TABLE public.kept (id int); INSERT INTO public.kept VALUES (1)")
    admin(replaced, "GRANT ALL ON public.kept TO company_rw")

    def attempt(path: str) -> str | None:
        """The reference of the request, None where it ran."""
        client.execute("UPDATE orders SET status = 'new' WHERE id = 1")
        try:
            client.execute(f"SET LOCAL search_path = {path}")
            client.execute(statement)
        except psycopg.Error as error:
            client.rollback()
            return str(reference(error)["approval"])
        client.commit()
        return None

    try:
        with connect(replaced, "executor", autocommit=False) as client:
            approval = attempt("public")
            assert approval is not None
            assert replaced.review("approve", approval).returncode == 0
            other = attempt("replaced, public")
            assert other not in {None, approval}
            assert (left(replaced, "public.kept"), left(replaced, "replaced.kept")) == ("1", "1")
            assert attempt("public") is None
        assert (left(replaced, "public.kept"), left(replaced, "replaced.kept")) == ("0", "1")
        shown = replaced.twokey("approvals", "show", str(other), token=replaced.token("bob", "reviewer")).stdout
        assert "replaced.kept" in shown
    finally:
        admin(replaced, "DROP TABLE public.kept")


@pytest.mark.parametrize("setting", ["ROLE company_ro", "SESSION AUTHORIZATION company_ro"])
def test_a9_another_role_is_not_taken_on_an_approved_session(replaced: Stack, setting: str) -> None:
    with connect(replaced, "executor") as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(f"SET {setting}")
