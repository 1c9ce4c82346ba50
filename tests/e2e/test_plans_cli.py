"""`twokey plan`: what people and agents see of plans, and how they end them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.clients import admin
from tests.e2e.plans import propose, state, written

STEPS = """\
  - sql: SELECT email FROM customers WHERE id < 3
  - sql: UPDATE orders SET status = $1 WHERE id BETWEEN 60 AND 69
    values: [[paid, lost]]
    rows: {least: 1, most: 10}
  - sql: CREATE TABLE later (id integer)
  - sql: INSERT INTO later VALUES (1)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(config=CONFIG) as running:
        yield running


def test_a_preview_shows_every_step_and_stores_and_asks_for_nothing(stack: Stack) -> None:
    path = written(stack, STEPS)
    done = stack.twokey("plan", "preview", str(path), token=stack.token("planner-3", "planner"))
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    for line in (
        "planned by planner-3 (agent of carol)",
        "for        executor-7 in role executor",
        "the planner says\n  tidy up",
        "step 2 of 4\n  UPDATE orders SET status = $1 WHERE id BETWEEN 60 AND 69\n  $1 is 'paid' or 'lost'\n",
        "rows       1 to 10\n",
        "step 4 of 4, by what step 3 makes",
        'not described (unresolved): relation "later"',
        "by foreign-key",
    ):
        assert line in shown, shown
    listed = stack.twokey("plan", "list", "--all", token=stack.token("planner-3", "planner"))
    assert listed.stdout == "no plans\n"
    assert not [record for record in stack.records() if record["kind"] in {"plan", "approval"}]


def test_what_would_be_denied_is_shown_and_not_taken(stack: Stack) -> None:
    path = written(stack, "  - sql: SELECT 1\n  - sql: DROP TABLE orders\n")
    token = stack.token("planner-3", "planner")
    shown = stack.twokey("plan", "preview", str(path), token=token)
    assert "outcome    DENIED" in shown.stdout and "SQL-DROP-TRUNCATE" in shown.stdout  # noqa: PT018
    taken = stack.twokey("plan", "propose", str(path), token=token)
    assert taken.returncode == 1
    assert "step 2 would be denied: DROP is denied in production" in taken.stderr


@pytest.mark.parametrize(
    ("steps", "more", "told"),
    [
        ("  - sql: BEGIN\n", {}, "step 1: BEGIN is no step"),
        ("  - sql: SELEC 1\n", {}, "step 1: "),
        ("  - sql: SELECT 1; SELECT 2\n", {}, "step 1: one statement at a time"),
        ("  - sql: SELECT $1\n    values: [{least: x}]\n", {}, "step 1: $1: least is not a number"),
        ("  - sql: SELECT 1\n    rows: {least: 3, most: 2}\n", {}, "step 1: rows: least is more than most"),
        ("  - sql: SELECT 1\n", {"executor": "nobody"}, "'nobody', who is to carry the plan out, is not in people"),
        ("  - sql: SELECT 1\n", {"connection": "elsewhere"}, "there is no connection 'elsewhere'"),
        ("  - sql: SELECT 1\n", {"expires": "99d"}, "a plan ends after now and within 30 days"),
        ("  - sql: SELECT 1\n", {"expires": "soon"}, "plan.yaml:4: expires: is no time"),
        ("  - sqk: SELECT 1\n", {}, "did you mean 'sql'"),
    ],
)
def test_a_plan_that_can_not_be_meant_is_refused_with_its_step(
    stack: Stack, steps: str, more: dict[str, str], told: str
) -> None:
    path = written(stack, steps, **more)
    done = stack.twokey("plan", "propose", str(path), token=stack.token("planner-3", "planner"))
    assert done.returncode != 0
    assert told in done.stderr, done.stderr


def test_who_planned_it_sees_no_estimates_and_reviewers_do(stack: Stack) -> None:
    plan = propose(stack, "  - sql: DELETE FROM orders WHERE id BETWEEN 70 AND 79\n")
    mine = json.dumps(plan.shown("planner-3", "planner"))
    assert '"rows": ' not in mine.split('"execution"')[0].replace('"rows_', "")
    theirs = stack.twokey("approvals", "show", plan.approval, token=stack.token("bob", "reviewer")).stdout
    preview = stack.twokey("plan", "preview", plan.id, token=stack.token("bob", "reviewer")).stdout
    assert "outcome    needs approval by 1 of dba" in preview
    assert "SQL-DELETE" in theirs


def test_a_hidden_constant_is_hidden_in_a_plan_too(stack: Stack) -> None:
    path = written(stack, "  - sql: UPDATE customers SET email = 'ann@corp.test' WHERE id = 5\n")
    token = stack.token("planner-3", "planner")
    shown = stack.twokey("plan", "preview", str(path), token=token).stdout
    assert "ann@corp.test" not in shown
    assert "hidden from you: email" in shown


def test_plans_are_listed_aborted_and_finished(stack: Stack) -> None:
    plan = propose(stack, "  - sql: UPDATE orders SET status = 'x' WHERE id = 81\n")
    assert plan.approval == ""
    assert plan.id in plan.run("list")
    execution = plan.start()
    assert "that you may see" in plan.run("abort", execution, by="erin", role="executor")
    assert "aborted: wrong week" in plan.run(
        "abort", execution, "--reason", "wrong week", by="planner-3", role="planner"
    )
    assert plan.id not in plan.run("list")
    assert plan.id in plan.run("list", "--all")
    other = propose(stack, "  - sql: UPDATE orders SET status = 'x' WHERE id = 82\n")
    execution = other.start()
    with other.connect() as client:
        client.execute("UPDATE orders SET status = 'x' WHERE id = 82")
    assert state(other)[0] == "completed"
    assert "completed" in other.run("finish", execution)
    assert "completed" in other.run("step", execution, "--step", "1")
    third = propose(stack, "  - sql: UPDATE orders SET status = 'x' WHERE id = 83\n")
    assert "aborted: finished before step 1" in third.run("finish", third.start())
    assert admin(stack, "SELECT count(*) FROM orders WHERE id IN (81, 83) AND status = 'x'") == "0"


def test_two_plans_and_what_differs(stack: Stack) -> None:
    plan = propose(stack, "  - sql: DELETE FROM orders WHERE id = 91\n  - sql: SELECT 1\n")
    path = written(stack, "  - sql: DELETE FROM orders WHERE id = 92\n  - sql: SELECT 1\n")
    done = stack.twokey("plan", "preview", str(path), "--since", plan.id, token=stack.token("planner-3", "planner"))
    assert "-DELETE FROM orders WHERE id = 91\n+DELETE FROM orders WHERE id = 92\n SELECT 1" in done.stdout
