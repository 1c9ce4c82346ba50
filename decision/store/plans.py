"""Plans and executions as rows. An execution is read, moved and written within one transaction of the store's one
writer, so no two moves ever begin from the same state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from twokey.type.v1 import operation_pb2

from decision.errors import StateError, StoreError
from decision.model import ApprovalState
from decision.plans.model import Execution, ExecutionState, Plan, Run, StepState
from decision.plans.ports import Move, RecordMove
from decision.store import tables
from decision.store.approval_rows import SESSION_GRACE_US, load_one, refusal
from decision.store.bus import APPROVALS
from decision.store.clock import from_us, to_us
from decision.store.codec import subject_json, subject_of
from decision.store.database import Database

LIST_LIMIT = 500
MAX_LIVE = 10_000  # plans that have neither ended nor expired

_plans = tables.plans
_executions = tables.executions
_approvals = tables.approvals
_sessions = tables.sessions


class SqlPlans:
    """plans.ports.PlanStore. told: called with the ids of approvals that this changed."""

    def __init__(self, database: Database, told: Callable[[Sequence[str]], None]) -> None:
        self._database = database
        self._told = told

    async def add(self, plan: Plan) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:
            live = (_plans.c.execution.is_(None), _plans.c.expires > now)
            if (await connection.execute(select(func.count()).where(*live))).scalar_one() >= MAX_LIVE:
                raise StateError(f"{MAX_LIVE} plans wait already", code="PLAN_LIMIT")
            await connection.execute(insert(_plans).values(_columns(plan)))

        await self._database.write(work)

    async def get(self, plan: str) -> Plan | None:
        return await self._one(_plans.c.id == plan)

    async def of_approval(self, approval: str) -> Plan | None:
        return await self._one(_plans.c.approval == approval)

    async def list(self) -> Sequence[Plan]:
        async def work(connection: AsyncConnection) -> Sequence[Plan]:
            query = select(_plans).order_by(_plans.c.created.desc(), _plans.c.id.desc()).limit(LIST_LIMIT)
            return [_plan(row) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def start(self, plan: Plan, execution: Execution, *, record: RecordMove) -> Execution:
        async def work(connection: AsyncConnection, now: int) -> Execution:
            if to_us(plan.expires) <= now:
                raise StateError("The plan has expired", code="PLAN_EXPIRED")
            mine = (_plans.c.id == plan.id, _plans.c.execution.is_(None))
            taken = await connection.execute(update(_plans).where(*mine).values(execution=execution.id))
            if taken.rowcount != 1:
                raise StateError("The plan was started already", code="PLAN_STARTED")
            if plan.approval:
                await self._redeem(connection, plan.approval, execution.id, now)
            await connection.execute(insert(_executions).values(_row(execution)))
            await record(execution)
            return execution

        started = await self._database.write(work)
        if plan.approval:
            self._told([plan.approval])
        return started

    async def _redeem(self, connection: AsyncConnection, approval: str, execution: str, now: int) -> None:
        """Once, and finished with it: what comes of it is the execution's to say."""
        which = (
            _approvals.c.id == approval,
            _approvals.c.state == ApprovalState.APPROVED.value,
            _approvals.c.expires > now,
        )
        values = {"state": ApprovalState.REDEEMED.value, "execution": execution, "finished": now}
        if (await connection.execute(update(_approvals).where(*which).values(values))).rowcount != 1:
            found = await load_one(connection, approval)
            late = found.state is ApprovalState.APPROVED
            raise refusal(ApprovalState.EXPIRED if late else found.state)
        await self._database.bus.tell(connection, APPROVALS, [approval])

    async def execution(self, execution: str) -> Execution | None:
        async def work(connection: AsyncConnection) -> Execution | None:
            return await _load(connection, execution)

        return await self._database.read(work)

    async def move(self, execution: str, move: Move, *, record: RecordMove | None = None) -> Execution:
        async def work(connection: AsyncConnection, now: int) -> Execution:
            found = await _load(connection, execution)
            if found is None:
                raise StateError("There is no such execution", code="NOT_FOUND")
            moved = move(found, from_us(now))
            if moved is found:
                return found
            row = _row(moved)
            await connection.execute(update(_executions).where(_executions.c.id == execution).values(row))
            if record is not None:
                await record(moved)
            return moved

        return await self._database.write(work)

    async def running(self) -> Sequence[Execution]:
        async def work(connection: AsyncConnection) -> Sequence[Execution]:
            query = select(_executions).where(_executions.c.live.is_(True)).limit(MAX_LIVE)
            return [_execution(row) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def gone(self, sessions: Sequence[str]) -> frozenset[str]:
        before = self._database.clock.now_us() - SESSION_GRACE_US

        async def work(connection: AsyncConnection) -> frozenset[str]:
            still = _sessions.c.closed.is_(None) | (_sessions.c.closed > before)
            query = select(_sessions.c.id).where(_sessions.c.id.in_(sessions), still)
            return frozenset(sessions) - set((await connection.execute(query)).scalars())

        return await self._database.read(work)

    async def _one(self, which: object) -> Plan | None:
        async def work(connection: AsyncConnection) -> Plan | None:
            row = (await connection.execute(select(_plans).where(which))).one_or_none()  # type: ignore[arg-type]
            return None if row is None else _plan(row)

        return await self._database.read(work)


async def _load(connection: AsyncConnection, execution: str) -> Execution | None:
    row = (await connection.execute(select(_executions).where(_executions.c.id == execution))).one_or_none()
    return None if row is None else _execution(row)


def _columns(plan: Plan) -> dict[str, object]:
    return {
        "id": plan.id,
        "requester": subject_json(plan.requester),
        "connection": plan.connection,
        "environment": plan.environment,
        "body": plan.body.SerializeToString(deterministic=True),
        "digest": plan.digest,
        "created": to_us(plan.created),
        "not_before": None if plan.not_before is None else to_us(plan.not_before),
        "expires": to_us(plan.expires),
        "approval": plan.approval or None,
        "execution": plan.execution or None,
    }


def _plan(row: Row[*tuple[object, ...]]) -> Plan:
    try:
        body = operation_pb2.PlanOperation.FromString(row.body)
    except DecodeError as error:
        raise StoreError("A row of the store is not readable: a plan") from error
    return Plan(
        id=row.id,
        requester=subject_of(row.requester),
        connection=row.connection,
        environment=row.environment,
        body=body,
        digest=row.digest,
        created=from_us(row.created),
        not_before=None if row.not_before is None else from_us(row.not_before),
        expires=from_us(row.expires),
        approval=row.approval or "",
        execution=row.execution or "",
    )


def _row(execution: Execution) -> dict[str, object]:
    return {
        "id": execution.id,
        "plan": execution.plan,
        "executor": subject_json(execution.executor),
        "live": execution.live,
        "state": execution.state.value,
        "steps": execution.steps,
        "next": execution.next,
        "shapes": {str(step): shape.hex() for step, shape in execution.shapes.items()},
        "started": to_us(execution.started),
        "ended": None if execution.ended is None else to_us(execution.ended),
        "reason": execution.reason,
        "ending": execution.ending,
        "runs": [_run_json(run) for run in execution.runs],
    }


def _run_json(run: Run) -> dict[str, object]:
    return {
        "step": run.step,
        "state": run.state.value,
        "operation": run.operation,
        "session": run.session,
        "started": to_us(run.started),
        "ended": None if run.ended is None else to_us(run.ended),
        "committed": run.committed,
        "rows": run.rows,
    }


def _execution(row: Row[*tuple[object, ...]]) -> Execution:
    try:
        return Execution(
            id=row.id,
            plan=row.plan,
            executor=subject_of(row.executor),
            state=ExecutionState(row.state),
            steps=row.steps,
            next=row.next,
            shapes={int(step): bytes.fromhex(shape) for step, shape in row.shapes.items()},
            started=from_us(row.started),
            ended=None if row.ended is None else from_us(row.ended),
            reason=row.reason,
            ending=row.ending,
            runs=tuple(
                Run(
                    step=run["step"],
                    state=StepState(run["state"]),
                    operation=run["operation"],
                    session=run["session"],
                    started=from_us(run["started"]),
                    ended=None if run["ended"] is None else from_us(run["ended"]),
                    committed=run["committed"],
                    rows=run["rows"],
                )
                for run in row.runs
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError("A row of the store is not readable: an execution") from error
