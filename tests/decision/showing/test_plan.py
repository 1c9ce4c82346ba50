from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twokey.plan.v1 import plan_pb2
from twokey.type.v1 import decision_pb2, operation_pb2

from decision.showing import plan
from tests.decision.plans.given import step

Rule = operation_pb2.ValueRule


def body(*steps: operation_pb2.PlannedStep) -> operation_pb2.PlanOperation:
    return operation_pb2.PlanOperation(
        id="pln_1", intent="move\nthem", role="executor", executor="executor-7", steps=steps
    )


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_no_statement_can_pretend_that_another_step_begins(texts: list[str]) -> None:
    """Every line stands behind the number of the step that it is of, and of each step there is at least one."""
    shown = plan.text(body(*(step(text) for text in texts))).decode()
    numbers = [line.split(" ", 2)[:2] for line in shown.split("\n")]
    assert {number for number, _ in numbers} == {str(number) for number in range(1, len(texts) + 1)}
    assert all(mark == "│" for _, mark in numbers)
    assert [int(number) for number, _ in numbers] == sorted(int(number) for number, _ in numbers)


def test_a_carriage_return_begins_a_line_of_the_same_step() -> None:
    forged = step("SELECT 1\rstep 2 of 2\r2 │ SELECT 2")
    assert plan.text(body(forged)).decode() == "1 │ SELECT 1\n1 │ step 2 of 2\n1 │ 2 │ SELECT 2"


def test_values_and_rows_are_whole_below_their_statement() -> None:
    long = "x" * 5000
    one = step("UPDATE t SET a = $1", Rule(one_of=[long], null=True), after=0)
    one.rows_least, one.rows_most = 1, 3
    two = step("DELETE FROM t WHERE id = $1", Rule(least="1", most="9"), after=1)
    two.rows_most = 2
    three = step("SELECT 1", Rule(most="9"))
    three.rows_least = 4
    assert plan.text(body(one, two, three)).decode().split("\n") == [
        "1 │ UPDATE t SET a = $1",
        f"1 └ $1 is '{long}' or NULL",
        "1 └ rows       1 to 3",
        "2 │ DELETE FROM t WHERE id = $1",
        "2 └ $1 is 1 to 9",
        "2 └ by what step 1 makes",
        "2 └ rows       0 to 2",
        "3 │ SELECT 1",
        "3 └ $1 is anything to 9",
        "3 └ rows       at least 4",
    ]


def test_what_strangers_write_is_escaped_everywhere() -> None:
    bad = "\x1b[2J\u202e"
    one = step(f"SELECT '{bad}'", Rule(one_of=[bad]))
    shown = plan_pb2.Plan(id="pln_1", connection="company", environment="production", body=body(one), state="proposed")
    shown.body.intent = bad
    shown.execution.id, shown.execution.state, shown.execution.reason = "exe_1", "failed", bad
    text = "\n".join(plan.describe(shown))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "LOOK CLOSELY" in text


def test_a_preview_says_what_would_be_decided() -> None:
    judged = plan_pb2.StepPreview(step=1, outcome=decision_pb2.OUTCOME_REQUIRE_APPROVAL, groups=["dba"], quorum=2)
    judged.reasons.add(rule="SQL-DELETE", reason="DELETE needs an approval")
    judged.masked.append("public.customers.email")
    judged.no_estimate = "it depends on step 1"
    lines = plan.steps(body(step("DELETE FROM t")), [judged])
    assert "  outcome    needs approval by 2 of dba" in lines
    assert "  masked     public.customers.email" in lines
    assert "  estimate   none: it depends on step 1" in lines
    denied = plan_pb2.StepPreview(step=1)
    assert "  outcome    DENIED" in plan.steps(body(step("DROP TABLE t")), [denied])


def test_what_is_of_each_step_names_it() -> None:
    one = step("DELETE FROM t", verbs=["sql.delete"], tables=[("t", "delete")])
    one.operation.sql.relations.add(schema="public", name="u", access=["delete"], via="cascade")
    two = step("SELECT f()", unresolved=True)
    two.operation.sql.values.redacted.append("email")
    both = body(one, two)
    assert "step 1: public.u: delete, by cascade" in plan.follows(both)
    assert "step 2: not described (unresolved): relation" in plan.uncovered(both)
    assert any(line.startswith("step 1: verbs") for line in plan.touches(both))
    assert plan.hidden(both) == "hidden from you: email"
    assert plan.hidden(body(one)) == ""


def test_the_difference_is_in_steps() -> None:
    was, now = body(step("SELECT 1"), step("SELECT 2")), body(step("SELECT 1"), step("SELECT  3"))
    assert plan.difference(was, now)[-3:] == [" SELECT 1", "-SELECT 2", "+SELECT 3"]
    assert plan.difference(was, was) == []
