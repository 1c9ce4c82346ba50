"""The moves of an execution: whatever happens in whatever order, no completed step is ever done again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from decision.errors import StateError
from decision.plans.model import (
    MISMATCH,
    Execution,
    ExecutionState,
    StepState,
    abandoned,
    begin,
    ended,
    ending,
    over,
    resolved,
    rolled_back,
)
from tests.decision.plans.given import NOW, execution

RUNNING, UNKNOWN = ExecutionState.RUNNING, ExecutionState.UNKNOWN
ENDS = st.sampled_from(["completed", "failed", "refused", "not-executed", "unknown"])


def started(found: Execution, step: int = 1, *, autocommit: bool = True, session: str = "ses_1") -> Execution:
    return begin(found, step, operation=f"op_{step}", session=session, autocommit=autocommit, now=NOW)


def done(found: Execution, step: int = 1, *, autocommit: bool = True) -> Execution:
    begun = started(found, step, autocommit=autocommit)
    return ended(begun, f"op_{step}", status="completed", rows=1, why="", now=NOW)


def test_steps_are_done_one_after_the_other_to_the_end() -> None:
    found = execution(2)
    found = done(found)
    assert (found.state, found.next, found.reason) == (RUNNING, 2, "")
    found = done(found, 2)
    assert (found.state, found.next, found.ended) == (ExecutionState.COMPLETED, 3, NOW)


@pytest.mark.parametrize("step", [0, 2, 3, 4])
def test_another_steps_turn(step: int) -> None:
    with pytest.raises(StateError) as refused:
        started(execution(), step)
    assert refused.value.code == MISMATCH


def test_nothing_is_begun_while_another_step_is_open_or_a_commit_under_way() -> None:
    for found in (started(execution()), ending(done(execution(), autocommit=False), "op_c")):
        with pytest.raises(StateError, match="has not ended"):
            started(found, found.next)


def test_nothing_is_begun_elsewhere_while_a_session_has_not_committed() -> None:
    found = done(execution(), autocommit=False)
    with pytest.raises(StateError, match="another session"):
        started(found, 2, session="ses_2")
    assert started(found, 2).open is not None


def test_what_did_not_run_is_as_if_it_had_not_been_begun() -> None:
    found = execution()
    for status in ("refused", "not-executed"):
        assert ended(started(found), "op_1", status=status, rows=-1, why="", now=NOW) == found


def test_a_step_that_fails_ends_it_and_undoes_what_was_not_committed() -> None:
    found = started(done(execution(), autocommit=False), 2, autocommit=False)
    over_ = ended(found, "op_2", status="failed", rows=0, why="no such table", now=NOW)
    assert (over_.state, over_.reason) == (ExecutionState.FAILED, "step 2 failed: no such table")
    assert [run.state for run in over_.runs] == [StepState.UNDONE, StepState.FAILED]


def test_an_outcome_of_something_else_moves_nothing() -> None:
    found = started(execution())
    assert ended(found, "op_other", status="completed", rows=1, why="", now=NOW) is found
    once = ended(found, "op_1", status="completed", rows=1, why="", now=NOW)
    assert ended(once, "op_1", status="failed", rows=1, why="", now=NOW) is once


def test_a_commit_makes_it_stand_and_a_rollback_sends_it_back() -> None:
    found = done(done(execution(2), autocommit=False), 2, autocommit=False)
    assert (found.state, found.next) == (RUNNING, 3)
    committed = ended(ending(found, "op_c"), "op_c", status="completed", rows=-1, why="", now=NOW)
    assert committed.state is ExecutionState.COMPLETED
    back = rolled_back(found, "ses_1", NOW)
    assert (back.state, back.next) == (RUNNING, 1)
    assert rolled_back(found, "ses_2", NOW) is found
    failed = ended(ending(found, "op_c"), "op_c", status="failed", rows=-1, why="deferred", now=NOW)
    assert (failed.state, failed.reason) == (ExecutionState.FAILED, "its transaction was not committed: deferred")
    assert ending(done(execution()), "op_c").ending == ""


def test_a_lost_session_leaves_unknown_what_may_have_happened_and_undone_what_can_not_have() -> None:
    outside = abandoned(started(execution()), NOW)
    assert (outside.state, outside.reason) == (UNKNOWN, "nobody knows what became of step 1")
    inside = abandoned(started(done(execution(), autocommit=False), 2, autocommit=False), NOW)
    assert (inside.state, inside.next) == (RUNNING, 1)
    commit = abandoned(ending(done(execution(), autocommit=False), "op_c"), NOW)
    assert (commit.state, commit.reason) == (UNKNOWN, "nobody knows whether step 1 was committed")
    idle = done(execution())
    assert abandoned(idle, NOW) is idle


@pytest.mark.parametrize(("yes", "state"), [(True, (RUNNING, 2)), (False, (RUNNING, 1))])
def test_a_person_says_what_became_of_it(yes: bool, state: tuple[ExecutionState, int]) -> None:
    for unknown in (
        abandoned(started(execution()), NOW),
        abandoned(ending(done(execution(), autocommit=False), "op_c"), NOW),
    ):
        found = resolved(unknown, done=yes, now=NOW)
        assert (found.state, found.next) == state
        assert not found.uncommitted
    with pytest.raises(StateError, match="nothing is unknown"):
        resolved(execution(), done=yes, now=NOW)


def test_it_does_not_end_over_an_open_step() -> None:
    for found in (started(execution()), done(execution(), autocommit=False)):
        with pytest.raises(StateError):
            over(found, ExecutionState.ABORTED, "enough", NOW)
    ended_ = over(done(execution()), ExecutionState.ABORTED, "enough", NOW)
    assert (ended_.state, ended_.reason) == (ExecutionState.ABORTED, "enough")
    with pytest.raises(StateError):
        over(ended_, ExecutionState.ABORTED, "again", NOW)
    assert over(abandoned(started(execution()), NOW), ExecutionState.ABORTED, "x", NOW).state is ExecutionState.ABORTED


class Executions(RuleBasedStateMachine):
    """A target that really does what it is told, beside the execution that hears of it late, wrongly or never."""

    operations = Bundle("operations")

    def __init__(self) -> None:
        super().__init__()
        self.found = execution(3)
        self.number = 0
        self.applied: dict[int, int] = {}  # by step: how often it stands in the target
        self.pending: list[int] = []  # done in the transaction that is open there
        self.in_transaction = False
        self.sent: dict[str, int] = {}
        self.told = True  # everything that was sent was heard of

    @precondition(lambda self: self.found.open is None and not self.found.ending and not self.in_transaction)
    @rule()
    def begin_transaction(self) -> None:
        self.in_transaction = True

    @rule(target=operations, step=st.integers(1, 4), session=st.sampled_from(["ses_1", "ses_2"]))
    def send(self, step: int, session: str) -> object:
        self.number += 1
        operation = f"op_{self.number}"
        try:
            self.found = begin(
                self.found,
                step,
                operation=operation,
                session=session,
                autocommit=not self.in_transaction,
                now=NOW,
            )
        except StateError:
            return multiple()
        self.sent[operation] = step
        return operation

    @rule(operation=operations, status=ENDS)
    def hear(self, operation: str, status: str) -> None:
        run = self.found.open
        if run is None or run.operation != operation:
            before = self.found
            self.found = ended(self.found, operation, status=status, rows=1, why="x", now=NOW)
            assert self.found is before
            return
        if status == "completed":
            if self.in_transaction:
                self.pending.append(run.step)
            else:
                self.applied[run.step] = self.applied.get(run.step, 0) + 1
        if status == "failed":
            self.pending = []
            self.in_transaction = False
        self.found = ended(self.found, operation, status=status, rows=1, why="x", now=NOW)

    @precondition(lambda self: self.in_transaction and self.found.open is None and not self.found.ending)
    @rule(heard=st.sampled_from(["completed", "failed", "lost"]), really=st.booleans())
    def commit(self, heard: str, really: bool) -> None:
        self.number += 1
        operation = f"op_{self.number}"
        self.found = ending(self.found, operation) if self.found.live else self.found
        stands = heard == "completed" or (heard == "lost" and really)
        for step in self.pending if stands else ():
            self.applied[step] = self.applied.get(step, 0) + 1
        was, self.pending, self.in_transaction = bool(self.pending), [], False
        if heard == "lost":
            self.found = abandoned(self.found, NOW)
            assert not was or self.found.state is UNKNOWN or not self.found.live
            return
        self.found = ended(self.found, operation, status=heard, rows=-1, why="x", now=NOW)

    @precondition(lambda self: self.in_transaction and self.found.open is None)
    @rule()
    def roll_back(self) -> None:
        self.pending, self.in_transaction = [], False
        for session in ("ses_1", "ses_2"):
            self.found = rolled_back(self.found, session, NOW)

    @precondition(lambda self: self.found.sessions)
    @rule(ran=st.booleans())
    def lose_the_session(self, ran: bool) -> None:
        run = self.found.open
        if run is not None and run.committed and ran:
            self.applied[run.step] = self.applied.get(run.step, 0) + 1
        self.pending, self.in_transaction = [], False
        self.found = abandoned(self.found, NOW)

    @precondition(lambda self: self.found.state is UNKNOWN)
    @rule()
    def resolve(self) -> None:
        """By somebody who looks at the target."""
        run = next((one for one in self.found.runs if one.state is StepState.UNKNOWN), None)
        step = run.step if run is not None else self.found.uncommitted[-1].step
        if run is not None and not run.committed:
            self.applied.setdefault(step, 0)
        self.found = resolved(self.found, done=self.applied.get(step, 0) > 0, now=NOW)

    @invariant()
    def nothing_is_done_twice_or_out_of_order(self) -> None:
        assert all(times <= 1 for times in self.applied.values()), self.applied
        stands = sorted(step for step, times in self.applied.items() if times)
        assert stands == list(range(1, len(stands) + 1)), stands
        if self.found.state is ExecutionState.COMPLETED:
            assert stands == [1, 2, 3]


Executions.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestExecutions = Executions.TestCase


def test_a_reason_of_any_length_is_kept_short() -> None:
    found = ended(started(execution()), "op_1", status="failed", rows=0, why="x" * 5000, now=NOW)
    assert len(found.reason) == 2000
    assert replace(found, reason="") != found
