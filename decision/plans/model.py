"""A plan and its execution, and every move of an execution: pure, one function a move.

An execution is a cursor over the plan's steps. It moves on when a step is done, and back only over what a transaction
that never committed took back. `unknown` waits for a person; the other ends are final.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from twokey.type.v1 import operation_pb2

from decision.errors import StateError
from decision.model import Subject

MISMATCH: Final = "PLAN_STEP_MISMATCH"


class ExecutionState(enum.StrEnum):
    RUNNING = "running"
    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    ABORTED = "aborted"


LIVE: Final = frozenset({ExecutionState.RUNNING, ExecutionState.UNKNOWN})


class StepState(enum.StrEnum):
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    UNDONE = "undone"  # its transaction never committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`body` is what the digest is over, and what reviewers approve."""

    id: str
    requester: Subject
    connection: str
    environment: str
    body: operation_pb2.PlanOperation
    digest: bytes
    created: datetime
    not_before: datetime | None
    expires: datetime
    approval: str = ""  # apr_; "" where no step needs one
    execution: str = ""  # exe_, once it was started


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One step as it was done. session: whose; committed: nothing takes it back any more; rows: -1 until it is told."""

    step: int
    state: StepState
    operation: str
    session: str
    started: datetime
    ended: datetime | None = None
    committed: bool = False
    rows: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """shapes: of each step its shape digest, as it must be when the step is done; not yet those of steps that wait for
    another one's work. ending: the operation that is about to end the open transaction."""

    id: str
    plan: str
    executor: Subject
    state: ExecutionState
    steps: int
    next: int
    shapes: Mapping[int, bytes]
    started: datetime
    ended: datetime | None = None
    reason: str = ""
    ending: str = ""
    runs: tuple[Run, ...] = field(default=())

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def open(self) -> Run | None:
        """The step that was begun and of which nothing was heard."""
        return next((run for run in self.runs if run.state is StepState.STARTED), None)

    @property
    def uncommitted(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.state is StepState.DONE and not run.committed)

    @property
    def sessions(self) -> frozenset[str]:
        """Those without whose end nothing more may happen elsewhere."""
        waits = {run.session for run in self.uncommitted}
        return frozenset(waits | ({self.open.session} if self.open is not None else set()))


def begin(
    execution: Execution, step: int, *, operation: str, session: str, autocommit: bool, now: datetime
) -> Execution:
    """Step `step` is about to be sent. Raises StateError PLAN_STEP_MISMATCH where it is not its turn."""
    if execution.state is not ExecutionState.RUNNING:
        raise StateError(f"the execution is {execution.state.value}", code=MISMATCH)
    if execution.open is not None or execution.ending:
        raise StateError("another step has not ended yet", code=MISMATCH)
    if execution.sessions - {session}:
        raise StateError("another session holds steps that it has not committed", code=MISMATCH)
    if step != execution.next or step > execution.steps:
        raise StateError(f"it is the turn of step {execution.next}", code=MISMATCH)
    run = Run(
        step=step, state=StepState.STARTED, operation=operation, session=session, started=now, committed=autocommit
    )
    return replace(execution, runs=(*execution.runs, run))


def ended(execution: Execution, operation: str, *, status: str, rows: int, why: str, now: datetime) -> Execution:
    """What came of the step, or of the end of a transaction, that `operation` is. status: an outcome's. Of an operation
    that is neither, or that was heard of before, nothing changes."""
    if execution.ending and operation == execution.ending:
        return _transaction_ended(execution, status, why, now)
    run = execution.open
    if run is None or run.operation != operation:
        return execution
    if status == "completed":
        return _advanced(_with(execution, replace(run, state=StepState.DONE, rows=rows, ended=now)), now)
    if status in {"refused", "not-executed"}:
        return replace(execution, runs=tuple(one for one in execution.runs if one is not run))
    if status == "failed":
        failed = _with(execution, replace(run, state=StepState.FAILED, rows=rows, ended=now, committed=False))
        return _over(_undone(failed, now), ExecutionState.FAILED, f"step {run.step} failed: {why}", now)
    unknown = _with(execution, replace(run, state=StepState.UNKNOWN, ended=now))
    return replace(unknown, state=ExecutionState.UNKNOWN, reason=f"nobody knows what became of step {run.step}")


def ending(execution: Execution, operation: str) -> Execution:
    """A COMMIT is about to be sent: what is uncommitted stands or falls with it. Without any, nothing changes."""
    return replace(execution, ending=operation) if execution.uncommitted else execution


def rolled_back(execution: Execution, session: str, now: datetime) -> Execution:
    """A ROLLBACK of that session: what it did not commit is to be done again."""
    mine = [run for run in execution.uncommitted if run.session == session]
    return _back(execution, now) if mine and execution.live else execution


def abandoned(execution: Execution, now: datetime) -> Execution:
    """The session that had it has ended, and nothing more will be heard of it."""
    if execution.state is not ExecutionState.RUNNING:
        return execution
    run = execution.open
    if execution.ending:
        return replace(
            execution,
            state=ExecutionState.UNKNOWN,
            reason=f"nobody knows whether step {execution.uncommitted[-1].step} was committed",
        )
    if run is None:
        return _back(execution, now) if execution.uncommitted else execution
    if not run.committed:  # in a transaction that nobody ended: the target has rolled it back
        return _back(_with(execution, replace(run, state=StepState.UNDONE, ended=now)), now)
    unknown = _with(execution, replace(run, state=StepState.UNKNOWN, ended=now))
    return replace(unknown, state=ExecutionState.UNKNOWN, reason=f"nobody knows what became of step {run.step}")


def resolved(execution: Execution, *, done: bool, now: datetime) -> Execution:
    """A person has looked. Raises StateError where nothing is unknown."""
    if execution.state is not ExecutionState.UNKNOWN:
        raise StateError(f"the execution is {execution.state.value}: nothing is unknown", code="STATE")
    running = replace(execution, state=ExecutionState.RUNNING, reason="", ending="")
    run = next((one for one in running.runs if one.state is StepState.UNKNOWN), None)
    if run is None:  # a commit
        return _advanced(_committed(running), now) if done else _back(running, now)
    state = StepState.DONE if done else StepState.UNDONE
    settled = _with(running, replace(run, state=state, committed=done))
    return _advanced(settled, now) if done else settled


def over(execution: Execution, state: ExecutionState, reason: str, now: datetime) -> Execution:
    """It ends before its last step. Raises StateError where it has ended, or where a step is under way or unknown."""
    if not execution.live:
        raise StateError(f"the execution is {execution.state.value}", code="STATE")
    if execution.open is not None or execution.ending:
        raise StateError("a step is under way", code="STATE")
    if execution.uncommitted:
        raise StateError("a session holds steps that it has not committed; end it first", code="STATE")
    return _over(execution, state, reason, now)


def _transaction_ended(execution: Execution, status: str, why: str, now: datetime) -> Execution:
    settled = replace(execution, ending="")
    if status == "completed":
        return _advanced(_committed(settled), now)
    if status in {"refused", "not-executed"}:
        return settled
    if status == "failed":
        undone = _undone(settled, now)
        return _over(undone, ExecutionState.FAILED, f"its transaction was not committed: {why}", now)
    reason = f"nobody knows whether step {execution.uncommitted[-1].step} was committed"
    return replace(execution, state=ExecutionState.UNKNOWN, reason=reason)


def _advanced(execution: Execution, now: datetime) -> Execution:
    last = max((run.step for run in execution.runs if run.state is StepState.DONE), default=0)
    moved = replace(execution, next=last + 1)
    if last == execution.steps and not moved.uncommitted:
        return _over(moved, ExecutionState.COMPLETED, "", now)
    return moved


def _back(execution: Execution, now: datetime) -> Execution:
    undone = _undone(execution, now)
    last = max((run.step for run in undone.runs if run.state is StepState.DONE), default=0)
    return replace(undone, next=last + 1, ending="")


def _undone(execution: Execution, now: datetime) -> Execution:
    runs = tuple(
        replace(run, state=StepState.UNDONE, ended=run.ended or now)
        if run.state is StepState.DONE and not run.committed
        else run
        for run in execution.runs
    )
    return replace(execution, runs=runs)


def _committed(execution: Execution) -> Execution:
    runs = tuple(replace(run, committed=True) if run.state is StepState.DONE else run for run in execution.runs)
    return replace(execution, runs=runs)


def _with(execution: Execution, run: Run) -> Execution:
    """The run in place of the one of the same operation."""
    return replace(execution, runs=tuple(run if one.operation == run.operation else one for one in execution.runs))


def _over(execution: Execution, state: ExecutionState, reason: str, now: datetime) -> Execution:
    return replace(execution, state=state, reason=reason[:2000], ended=now, ending="")
