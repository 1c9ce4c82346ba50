from __future__ import annotations

import pytest

from decision.plans.waiting import after, defines
from tests.decision.plans.given import operation, step

CREATE = step("CREATE TABLE a ()", verbs=["sql.create"])
FILL = step("INSERT INTO a SELECT 1", verbs=["sql.insert", "sql.select"], unresolved=True)
ALTER_B = step("ALTER TABLE b", verbs=["sql.alter"], tables=[("b", "ddl")])
READ_B = step("SELECT * FROM b", verbs=["sql.select"], tables=[("b", "read")])
READ_C = step("SELECT * FROM c", verbs=["sql.select"], tables=[("c", "read")])


def test_what_is_not_there_yet_waits_for_the_last_step_that_may_make_it() -> None:
    assert after([CREATE, FILL]) == [0, 1]
    assert after([CREATE, ALTER_B, FILL, FILL]) == [0, 0, 2, 2]
    assert after([FILL]) == [0]
    assert after([READ_C, FILL]) == [0, 0]


def test_what_an_earlier_step_changes_waits_for_it_and_nothing_else_does() -> None:
    assert after([ALTER_B, READ_B, READ_C]) == [0, 1, 0]
    assert after([READ_B, ALTER_B]) == [0, 0]
    assert after([ALTER_B, READ_C, ALTER_B, READ_B]) == [0, 0, 1, 3]


def test_the_planner_may_say_it_of_a_step_that_defines_something() -> None:
    said = step("SELECT f()", verbs=["sql.select"], after=1)
    assert after([CREATE, said]) == [0, 1]
    assert after([READ_C, said]) == [0, 0]
    assert after([said, CREATE]) == [0, 0]


@pytest.mark.parametrize("verb", ["sql.create", "sql.alter", "sql.drop", "sql.grant", "sql.do", "sql.call", "sql.new"])
def test_whatever_is_not_known_to_leave_definitions_alone_defines(verb: str) -> None:
    assert defines(operation("", verbs=["sql.select", verb]))
    assert not defines(operation("", verbs=["sql.select", "sql.insert", "sql.update", "sql.delete", "sql.merge"]))
    assert defines(operation("", verbs=["sql.select"], tables=[("a", "ddl")]))
