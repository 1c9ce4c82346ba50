"""Plans over the wire: reviewed once, carried out exactly, by psycopg in sessions that carry the plan's id."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.clients import admin, connect, until
from tests.e2e.plans import Planned, approve, propose, refused, state, written


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(config=CONFIG) as running:
        yield running


TWO = """\
  - sql: UPDATE orders SET status = 'planned' WHERE id = 11
  - sql: DELETE FROM orders WHERE id = 12
"""


def test_what_was_approved_runs_in_its_order_and_nothing_else(stack: Stack) -> None:
    plan = propose(stack, TWO)
    shown = stack.twokey("approvals", "show", plan.approval, token=stack.token("bob", "reviewer")).stdout
    assert "tidy up" in shown and "SQL-DELETE: step 2: DELETE on public.orders" in shown  # noqa: PT018
    assert "step 1 of 2\n  UPDATE orders SET status = 'planned' WHERE id = 11" in shown
    assert "pending" in plan.run("start", plan.id)
    approve(plan)
    execution = plan.start()
    with plan.connect() as client:
        assert "step 1 of 2 expects UPDATE orders" in refused(client, "DELETE FROM orders WHERE id = 12")
        assert "DUTY-PLAN-STEP" in refused(client, "SELECT count(*) FROM orders")
        assert "DUTY-PLAN-STEP" in refused(client, "UPDATE orders SET status = 'planned' WHERE id = 13")
        client.execute("SET application_name = 'the executor'")
        client.execute("UPDATE orders SET status = 'planned' WHERE id = 11")
        refused(client, "UPDATE orders SET status = 'planned' WHERE id = 11")
        client.execute("DELETE FROM orders WHERE id = 12")
        assert "is completed" in refused(client, "DELETE FROM orders WHERE id = 12")
    assert state(plan) == ("completed", 3, "")
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 12 OR (id = 11 AND status = 'planned')") == "1"
    records = [record for record in stack.records() if record.get("execution") == execution]
    decided = [record for record in records if record["kind"] == "decision"]
    assert [record["approval"] for record in decided] == [plan.approval, plan.approval]
    moves = [record["event"] for record in records if record["kind"] == "plan"]
    assert moves == ["started", "step-begun", "step-ended", "step-begun", "step-ended"]
    assert "started already" in plan.run("start", plan.id)


VALUES = """\
  - sql: UPDATE orders SET status = $1 WHERE id = $2
    values: [[shipped, packed], {least: 20, most: 29}]
    rows: 1
  - sql: DELETE FROM orders WHERE id = $1 AND status = $2
    values: [23, shipped]
"""


@pytest.mark.parametrize("binary", [False, True])
def test_values_are_those_that_were_approved(stack: Stack, binary: bool) -> None:
    own = 24 if binary else 23
    plan = propose(stack, VALUES.replace("[23, shipped]", f"[{own}, shipped]"))
    approve(plan)
    plan.start()
    with plan.connect() as client:
        run = client.cursor(binary=binary)
        update = "UPDATE orders SET status = %s WHERE id = %s"
        for values in (
            ("lost", own),
            ("shipped", 30),
            ("shipped", 19),
            ("shipped", -own),
            (None, own),
            ("shipped ", own),
        ):
            with pytest.raises(psycopg.Error, match="another value") as error:
                run.execute(update, values)
            assert error.value.sqlstate == "55000"
        run.execute(update, ("shipped", own))
        with pytest.raises(psycopg.Error, match=rf"another value for \$1: '{own}'"):
            run.execute("DELETE FROM orders WHERE id = %s AND status = %s", (25, "shipped"))
        run.execute("DELETE FROM orders WHERE id = %s AND status = %s", (own, "shipped"))
    assert state(plan)[0] == "completed"


ROWS = """\
  - sql: UPDATE orders SET status = 'counted' WHERE id BETWEEN 31 AND {last}
    rows: {{least: 2, most: 3}}
  - sql: DELETE FROM orders WHERE id = 39
"""


@pytest.mark.parametrize(("last", "told"), [(31, "it wrote 1 rows, fewer than"), (34, "it wrote 4 rows, more than")])
def test_a_step_of_other_rows_is_rolled_back_and_stops_the_plan(stack: Stack, last: int, told: str) -> None:
    plan = propose(stack, ROWS.format(last=last))
    approve(plan)
    plan.start()
    statement = f"UPDATE orders SET status = 'counted' WHERE id BETWEEN 31 AND {last}"
    with plan.connect() as client:
        with pytest.raises(psycopg.Error, match=told):
            client.execute(statement.encode())
        assert "is failed" in refused(client, "DELETE FROM orders WHERE id = 39")
    assert admin(stack, "SELECT count(*) FROM orders WHERE status = 'counted'") == "0"
    ended, step, reason = state(plan)
    assert (ended, step) == ("failed", 1)
    assert told in str(reason)


def test_as_many_rows_as_were_said_pass(stack: Stack) -> None:
    plan = propose(stack, ROWS.format(last=33))
    approve(plan)
    plan.start()
    with plan.connect() as client:
        assert client.execute("UPDATE orders SET status = 'counted' WHERE id BETWEEN 31 AND 33").rowcount == 3
    assert state(plan) == ("running", 2, "")


BUILDS = """\
  - sql: CREATE TABLE archive_{name} (id integer PRIMARY KEY, status text)
  - sql: INSERT INTO archive_{name} SELECT id, status FROM orders WHERE id < 6
    rows: 5
  - sql: ALTER TABLE archive_{name} ADD COLUMN moved timestamptz
  - sql: UPDATE archive_{name} SET moved = now() WHERE id < 3
"""


def built(name: str) -> list[str]:
    return [line.split("sql: ")[1] for line in BUILDS.format(name=name).splitlines() if "sql: " in line]


def test_a_step_may_need_what_an_earlier_one_makes(stack: Stack) -> None:
    plan = propose(stack, BUILDS.format(name="one"))
    body = plan.shown()["body"]
    assert isinstance(body, dict)
    assert [step["after"] for step in body["steps"]] == [0, 1, 1, 3]
    approve(plan)
    plan.start()
    with plan.connect() as client:
        for statement in built("one"):
            client.execute(statement.encode())
    assert state(plan)[0] == "completed"
    assert admin(stack, "SELECT count(*), count(moved) FROM archive_one") == "5|2"


def test_what_it_made_must_still_be_what_it_was(stack: Stack) -> None:
    plan = propose(stack, BUILDS.format(name="two"))
    approve(plan)
    plan.start()
    with plan.connect() as client:
        make, fill = built("two")[:2]
        client.execute(make.encode())
        until(lambda: "settled" in [one.get("event") for one in stack.records() if one.get("plan") == plan.id])
        admin(stack, "CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        admin(stack, "CREATE TRIGGER steal BEFORE INSERT ON archive_two FOR EACH ROW EXECUTE FUNCTION steal()")
        # Within a second of the change the gateway itself finds it, between the decision and the execution.
        with pytest.raises(psycopg.Error) as error:
            client.execute(fill.encode())
        assert error.value.sqlstate in {"42501", "55000"}
        assert "not what it means now" in refused(client, fill)
    assert admin(stack, "SELECT count(*) FROM archive_two") == "0"
    assert state(plan) == ("running", 2, "")


def test_a_plan_that_means_something_else_by_now_is_not_started(stack: Stack) -> None:
    admin(stack, "CREATE VIEW seen AS SELECT id, status FROM orders WHERE id < 3; GRANT SELECT ON seen TO company_rw")
    plan = propose(stack, "  - sql: SELECT * FROM seen\n  - sql: DELETE FROM orders WHERE id = 40\n")
    approve(plan)
    admin(stack, "CREATE OR REPLACE VIEW seen AS SELECT id, status FROM orders WHERE id < 300")
    assert "step 1 means something else than when it was reviewed" in plan.run("start", plan.id)
    assert plan.shown()["state"] == "approved"


def test_a_transaction_of_steps_stands_or_falls_whole(stack: Stack) -> None:
    plan = propose(stack, TWO.replace("11", "51").replace("12", "52"))
    approve(plan)
    plan.start()
    update, delete = "UPDATE orders SET status = 'planned' WHERE id = 51", "DELETE FROM orders WHERE id = 52"
    with plan.connect() as client:
        client.execute("BEGIN")
        client.execute(update)
        assert "DUTY-PLAN-STEP" in refused(client, "SAVEPOINT a")
        client.execute("ROLLBACK")
        assert state(plan) == ("running", 1, "")
        client.execute("BEGIN")
        client.execute(update)
        with plan.connect() as other:
            assert "another" in refused(other, delete) or state(plan)[1] == 2
        client.execute(delete)
        until(lambda: state(plan) == ("running", 3, ""), what="the outcome")
        with plan.connect() as other:
            assert "every step is done" in refused(other, update)
        client.execute("COMMIT")
        until(lambda: state(plan)[0] == "completed", what="the end")
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 52 OR (id = 51 AND status = 'planned')") == "1"


def test_what_a_lost_session_did_not_commit_is_done_again(stack: Stack) -> None:
    plan = propose(stack, TWO.replace("11", "61").replace("12", "62"))
    approve(plan)
    plan.start()
    update, delete = "UPDATE orders SET status = 'planned' WHERE id = 61", "DELETE FROM orders WHERE id = 62"
    with plan.connect() as client:
        client.execute("BEGIN")
        client.execute(update)
        assert state(plan) == ("running", 2, "")
        client.pgconn.finish()
    until(lambda: state(plan)[1] == 1, timeout_s=20, what="the step's return")
    with plan.connect() as client:
        client.execute(update)
    with plan.connect() as client:
        client.execute(delete)
    assert state(plan)[0] == "completed"


def test_possession_of_a_plans_id_proves_nothing(stack: Stack) -> None:
    plan = propose(stack, TWO.replace("11", "71").replace("12", "72"))
    for subject, role, connection in (
        ("executor-7", "executor", "company"),  # it isn't started
        ("planner-3", "planner", "company"),
        ("executor-7", "executor", "sandbox"),
    ):
        with pytest.raises(psycopg.OperationalError, match="plan"):
            open_as(plan, subject, role, connection)
    approve(plan)
    plan.start()
    for subject, role, connection in (
        ("planner-3", "planner", "company"),
        ("bob", "executor", "company"),
        ("executor-7", "executor", "sandbox"),
    ):
        with pytest.raises(psycopg.OperationalError, match="plan"):
            open_as(plan, subject, role, connection)
    assert "that you may see" in plan.run("show", plan.id, by="dana", role="planner")


def open_as(plan: Planned, subject: str, role: str, connection: str) -> None:
    token = plan.stack.token(subject, role)
    options = f"-c twokey.plan={plan.id}"
    with connect(plan.stack, role, token=token, connection=connection, options=options) as client:
        client.execute("SELECT 1")


def test_only_its_executor_starts_it_and_only_for_others(stack: Stack) -> None:
    plan = propose(stack, TWO.replace("11", "81").replace("12", "82"))
    for behind in ("alice", "carol"):  # the executor's owner, the planner's
        done = stack.twokey("approvals", "approve", plan.approval, token=stack.token(behind, "reviewer"))
        assert "DUTY-REVIEW-SELF" in done.stderr
    approve(plan)
    assert "that you may see" in plan.run("start", plan.id, by="dana")
    assert "may not call" in plan.run("start", plan.id, by="executor-7", role="planner")
    path = written(stack, "  - sql: DELETE FROM orders\n")
    own = stack.twokey("plan", "propose", str(path), token=stack.token("alice", "planner"))  # who owns executor-7
    assert "DUTY-PLAN" in own.stderr


def test_a_lease_of_another_session_is_of_no_use_in_a_plans(stack: Stack) -> None:
    plan = propose(stack, TWO.replace("11", "91").replace("12", "92"))
    approve(plan)
    plan.start()
    with connect(stack, "executor") as client, plan.connect() as planned:
        for _ in range(5):
            client.execute("SELECT count(*) FROM orders WHERE id < 3", prepare=False)
        refused(planned, "SELECT count(*) FROM orders WHERE id < 3")
