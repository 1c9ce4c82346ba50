"""What a session that carries a plan may do now, and how its execution moves with what it does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from twokey.type.v1 import operation_pb2

from decision.errors import DecisionError, StateError
from decision.identity.tasks import Tasks
from decision.model import Session, Subject
from decision.pdp.deadlines import stored
from decision.pdp.plan_input import PlanContext
from decision.pdp.planned import Standing
from decision.plans import fitting, records
from decision.plans.judging import Describing, shape_of
from decision.plans.model import (
    MISMATCH,
    Execution,
    ExecutionState,
    Plan,
    StepState,
    abandoned,
    begin,
    ended,
    ending,
    over,
    rolled_back,
)
from decision.plans.ports import PlanStore, RecordMove
from decision.ports import ApprovalStore, Clock, Recorder
from decision.showing.escape import safe

WAIT_S: Final = 5.0  # for the outcome of the step before, and for what it made to be described
LOOK_S: Final = 0.25  # where another replica heard of it
SWEEP_S: Final = 1.0
_SHOWN: Final = 200  # characters of a statement
_log = structlog.get_logger(__name__)


class Executing:
    """pdp.planned.PlannedActs."""

    def __init__(
        self, *, store: PlanStore, approvals: ApprovalStore, describer: Describing, recorder: Recorder, clock: Clock
    ) -> None:
        self._store = store
        self._approvals = approvals
        self._describer = describer
        self._recorder = recorder
        self._clock = clock
        self._moved = asyncio.Condition()
        self._tasks = Tasks()

    async def close(self) -> None:
        await self._tasks.close()

    # A session

    async def admitted(self, plan: str, subject: Subject, connection: str) -> PlanContext:
        found = await stored(self._store.get(plan))
        execution = None if found is None else await self._execution(found)
        if found is None or found.connection != connection:
            raise StateError("there is no such plan for this connection", code=MISMATCH)
        if execution is None:
            step = f"twokey plan start {found.id}, once it is approved"
            raise StateError("the plan is not started", code=MISMATCH, next_step=step)
        if execution.state is not ExecutionState.RUNNING:
            raise StateError(f"the plan's execution is {execution.state.value}", code=MISMATCH)
        if not same_executor(execution.executor, subject):
            raise StateError("the plan was started by somebody else, or in another way", code=MISMATCH)
        return _context(found, execution, step=execution.next, fits=False, expects="")

    async def standing(self, session: Session, operation: operation_pb2.Operation) -> Standing:
        plan, execution = await self._settled(session)
        if execution is None or not same_executor(execution.executor, session.subject):
            raise StateError("the plan was not started by this session's executor", code=MISMATCH)
        number = execution.next
        why = self._not_now(plan, execution, session)
        if not why:
            planned = plan.body.steps[number - 1]
            shape = execution.shapes.get(number)
            why = (
                f"the work of step {planned.after} to be committed first"
                if shape is None
                else fitting.difference(planned, operation, shape=shape)
            )
            if why:
                text = planned.operation.sql.values.statement.decode("utf-8", "replace")
                cut = "…" if len(text) > _SHOWN else ""
                shown = f"{safe(text[:_SHOWN])}{cut}"
                why = f"step {number} of {execution.steps} expects {shown}; this is not it: it expects {why}"
        context = _context(plan, execution, step=number, fits=not why, expects=why)
        approval = await stored(self._approvals.get(plan.approval)) if plan.approval else None
        if plan.approval and (approval is None or approval.execution != execution.id):
            raise StateError("the plan's approval is not this execution's", code=MISMATCH)
        return Standing(execution.id, context, approval, None if why else number)

    async def begin(self, standing: Standing, session: Session, operation: operation_pb2.Operation) -> str:
        sql = operation.sql
        if standing.step is not None:
            step = standing.step
            autocommit = sql.transaction.status == "idle"

            def move(execution: Execution, now: datetime) -> Execution:
                return begin(
                    execution, step, operation=operation.id, session=session.id, autocommit=autocommit, now=now
                )

            await stored(self._store.move(standing.execution, move, record=self._recording("step-begun")))
            return standing.execution
        if sql.command == "COMMIT" and sql.transaction.status == "active":

            def commit(execution: Execution, _now: datetime) -> Execution:
                return _ending(execution, operation.id, session.id)

            moved = await stored(self._store.move(standing.execution, commit))
            return standing.execution if moved.ending == operation.id else ""
        if sql.command in {"COMMIT", "ROLLBACK"}:

            def back(execution: Execution, now: datetime) -> Execution:
                return rolled_back(execution, session.id, now)

            await stored(self._store.move(standing.execution, back, record=self._recording("rolled-back")))
        return ""

    async def ended(self, execution: str, operation: str, *, status: str, rows: int, why: str) -> None:
        if await stored(self._store.execution(execution)) is None:
            return

        def move(found: Execution, now: datetime) -> Execution:
            return ended(found, operation, status=status, rows=rows, why=why, now=now)

        moved = await stored(self._store.move(execution, move, record=self._recording("step-ended")))
        await self._tell()
        if moved.state is ExecutionState.RUNNING:
            self._tasks.spawn(self._settle(moved), name="describe-next-steps", failed=lambda: None)

    # What waits

    async def run_sweeper(self) -> None:
        """For ever: what expired, and what the end of a session leaves behind."""
        while True:
            try:
                await self.sweep()
            except DecisionError as error:
                _log.warning("plans.sweep-failed", code=error.code, error=str(error))
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Raises StoreError, RecordError."""
        for execution in await stored(self._store.running()):
            waits = execution.sessions
            gone = await stored(self._store.gone(sorted(waits))) if waits else frozenset()
            if execution.state is ExecutionState.RUNNING and gone:
                left = partial(_left, gone=gone)
                await stored(self._store.move(execution.id, left, record=self._recording("left")))
            elif not waits and not execution.ending:
                await self._expire(execution)
                await self._settle(execution)
        await self._tell()

    async def _expire(self, execution: Execution) -> None:
        plan = await stored(self._store.get(execution.plan))
        if plan is None or self._clock.now() < plan.expires:
            return

        def expired(one: Execution, now: datetime) -> Execution:
            if one.open is not None or one.ending or one.uncommitted or not one.live:
                return one
            return over(one, ExecutionState.EXPIRED, "its time is over", now)

        await stored(self._store.move(execution.id, expired, record=self._recording("expired")))

    async def _settle(self, execution: Execution) -> None:
        """Describe the steps that waited for work that is committed by now, and keep what they mean."""
        plan = await stored(self._store.get(execution.plan))
        if plan is None or execution.state is not ExecutionState.RUNNING or execution.uncommitted:
            return
        for number, step in enumerate(plan.body.steps, start=1):
            if number in execution.shapes or number < execution.next or step.after >= execution.next:
                continue
            try:
                statement = step.operation.sql.values.statement
                shape = await shape_of(self._describer, plan.connection, plan.body.role, statement)
            except DecisionError as error:
                _log.warning("plans.not-described", plan=plan.id, step=number, code=error.code)
                return
            meant = partial(_meaning, step=number, shape=shape)
            execution = await stored(self._store.move(execution.id, meant, record=self._recording("settled")))
        await self._tell()

    async def _settled(self, session: Session) -> tuple[Plan, Execution | None]:
        """Plan and execution, once what this session did before has been told, and been described; or after a while."""
        ends = self._clock.monotonic() + WAIT_S
        while True:
            plan = await stored(self._store.get(session.plan))
            if plan is None:
                raise StateError("there is no such plan", code=MISMATCH)
            execution = await self._execution(plan)
            left = ends - self._clock.monotonic()
            if execution is None or not _waits(plan, execution, session) or left <= 0:
                return plan, execution
            async with self._moved:
                try:
                    async with asyncio.timeout(min(left, LOOK_S)):
                        await self._moved.wait()
                except TimeoutError:
                    continue

    async def _execution(self, plan: Plan) -> Execution | None:
        return await stored(self._store.execution(plan.execution)) if plan.execution else None

    def _not_now(self, plan: Plan, execution: Execution, session: Session) -> str:
        """Why no step is anybody's turn, whatever it is; "" where the next one is."""
        if execution.state is not ExecutionState.RUNNING:
            return f"the execution is {execution.state.value}: {execution.reason}".rstrip(": ")
        if self._clock.now() >= plan.expires:
            return "the plan's time is over"
        if execution.next > execution.steps:
            return "every step is done"
        if execution.open is not None or execution.ending:
            return "the step before has not ended yet"
        if execution.sessions - {session.id}:
            return "another session holds steps that it has not committed"
        return ""

    def _recording(self, event: str) -> RecordMove:
        async def record(moved: Execution) -> None:
            await self._recorder.append(records.KIND, records.moved_body(moved, event))

        return record

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()


def same_executor(one: Subject, other: Subject) -> bool:
    """The same subject, chain, role and proof key (design, invariant 4)."""
    return (
        one.party.identity == other.party.identity
        and [actor.identity for actor in one.actors] == [actor.identity for actor in other.actors]
        and one.role == other.role
        and one.keys == other.keys
    )


def _context(plan: Plan, execution: Execution, *, step: int, fits: bool, expects: str) -> PlanContext:
    planned = plan.body.steps[step - 1] if fits else None
    return PlanContext(
        id=plan.id,
        requester=plan.requester,
        executor=execution.executor,
        step=step,
        steps=execution.steps,
        fits=fits,
        expects=expects,
        rows_least=planned.rows_least if planned is not None and planned.HasField("rows_least") else None,
        rows_most=planned.rows_most if planned is not None and planned.HasField("rows_most") else None,
    )


def _waits(plan: Plan, execution: Execution, session: Session) -> bool:
    if execution.state is not ExecutionState.RUNNING or execution.next > execution.steps:
        return False
    if execution.open is not None or execution.ending:
        return session.id in execution.sessions
    last = plan.body.steps[execution.next - 1].after
    done = any(run.step == last and run.state is StepState.DONE and run.committed for run in execution.runs)
    return execution.next not in execution.shapes and done and not execution.uncommitted


def _ending(execution: Execution, operation: str, session: str) -> Execution:
    mine = any(run.session == session for run in execution.uncommitted)
    return ending(execution, operation) if mine and not execution.ending else execution


def _left(execution: Execution, now: datetime, *, gone: frozenset[str]) -> Execution:
    return abandoned(execution, now) if execution.sessions and execution.sessions <= gone else execution


def _meaning(execution: Execution, _now: datetime, *, step: int, shape: bytes) -> Execution:
    if step in execution.shapes or not execution.live:
        return execution
    return replace(execution, shapes={**execution.shapes, step: shape})
