"""A plan judged: every step described and decided as its executor would be told, without doing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import operation_pb2

from decision.errors import BadRequestError, NotFoundError, PolicyError, StateError
from decision.model import (
    Approval,
    ApprovalTerms,
    Outcome,
    PolicyResult,
    Reason,
    Session,
    Subject,
    VerifiedToken,
    new_id,
)
from decision.pdp.plan_input import PlanContext
from decision.pdp.questions import Questions
from decision.pdp.sessions import Connection
from decision.plans import fitting, waiting
from decision.plans.model import MISMATCH
from decision.ports import Clock

AT_ONCE: Final = 4
MAX_STEPS: Final = 500
MAX_PLAN: Final = 8 << 20  # bytes, described
_ALLOWED: Final = frozenset({Outcome.ALLOW, Outcome.MASK_COLUMNS})


class Describing(Protocol):
    async def describe(
        self, connection: str, role: str, statement: bytes, search_path: Sequence[str] = (), *, fresh: bool = False
    ) -> operation_pb2.Operation: ...


class Describer(Describing, Protocol):
    async def estimate(
        self,
        connection: str,
        role: str,
        statement: bytes,
        search_path: Sequence[str] = (),
        bound: Sequence[operation_pb2.BoundValue] = (),
    ) -> describe_pb2.EstimateAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One step. result: policy's answer, at the end of all that it asked for."""

    number: int
    result: PolicyResult

    @property
    def allowed(self) -> bool:
        return self.result.outcome in _ALLOWED and not self.result.needs

    @property
    def held(self) -> bool:
        return self.result.outcome is Outcome.REQUIRE_APPROVAL and self.result.approval is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    steps: tuple[Judged, ...] = field(default=())

    @property
    def denied(self) -> Judged | None:
        return next((one for one in self.steps if not one.allowed and not one.held), None)

    @property
    def terms(self) -> ApprovalTerms | None:
        """Of the one approval that covers every step; None where no step needs one."""
        held = [one.result.approval for one in self.steps if one.held and one.result.approval is not None]
        if not held:
            return None
        again = [one.again_s for one in held]
        return ApprovalTerms(
            groups=tuple(sorted({group for one in held for group in one.groups})),
            quorum=max(one.quorum for one in held),
            expires_s=min(one.expires_s for one in held),
            again_s=max(one for one in again if one is not None) if None not in again else None,
        )

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why each step is held, by its number."""
        return tuple(
            replace(reason, reason=f"step {one.number}: {reason.reason}")
            for one in self.steps
            if one.held
            for reason in one.result.reasons
        )


class Judging:
    def __init__(
        self,
        *,
        questions: Questions,
        describer: Describer,
        clock: Clock,
        connections: Mapping[str, Connection],
    ) -> None:
        self._questions = questions
        self._describer = describer
        self._clock = clock
        self._connections = connections

    async def described(self, connection: str, body: operation_pb2.PlanOperation) -> operation_pb2.PlanOperation:
        """The plan with each step as it is described now; of each the planner's own words are the statement, the
        values, the rows and `after`. Raises BadRequestError naming the step, PolicyUnavailableError."""
        if not 0 < len(body.steps) <= MAX_STEPS:
            raise BadRequestError(f"a plan has 1 to {MAX_STEPS} steps")
        await self._describe(connection, body.role, b"SELECT 1", fresh=True)  # once, for all of them
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, step: operation_pb2.PlannedStep) -> operation_pb2.PlannedStep:
            wrong = fitting.problem(step.values)
            if wrong:
                raise BadRequestError(f"step {number}: {wrong}")
            if step.HasField("rows_least") and step.HasField("rows_most") and step.rows_least > step.rows_most:
                raise BadRequestError(f"step {number}: rows: least is more than most")
            async with slots:
                try:
                    found = await self._describe(connection, body.role, step.operation.sql.values.statement)
                except BadRequestError as error:
                    raise BadRequestError(f"step {number}: {error}") from None
            if "sql.transaction" in found.sql.verbs:
                raise BadRequestError(
                    f"step {number}: {found.sql.command} is no step",
                    next_step="leave it out: transaction control passes between the steps",
                )
            planned = operation_pb2.PlannedStep()
            planned.CopyFrom(step)
            found.id = ""
            planned.operation.CopyFrom(found)
            planned.operation.sql.values.bound.extend(_fixed(step.values))
            return planned

        gathered = await asyncio.gather(
            *(one(number, step) for number, step in enumerate(body.steps, start=1)), return_exceptions=True
        )
        for failed in gathered:
            if isinstance(failed, BaseException):
                raise failed
        described = operation_pb2.PlanOperation()
        described.CopyFrom(body)
        del described.steps[:]
        described.steps.extend(step for step in gathered if isinstance(step, operation_pb2.PlannedStep))
        for step, needs in zip(described.steps, waiting.after(described.steps), strict=True):
            step.after = needs
        if described.ByteSize() > MAX_PLAN:
            raise BadRequestError("the plan is too large", code="TOO_LARGE")
        return described

    async def shape(self, connection: str, role: str, statement: bytes) -> bytes:
        """Of the statement, and of the same with a semicolon, under one meaning: the first is the same before and after
        the second was looked at. Raises StateError where it isn't."""
        return await shape_of(self._describer, connection, role, statement)

    async def judge(
        self,
        *,
        connection: str,
        body: operation_pb2.PlanOperation,
        planner: Subject,
        executor: Subject | None = None,
        approval: Approval | None = None,
        estimates: bool = True,
    ) -> Whole:
        """Every step as the executor would be told, with the verdicts of `approval`. Estimates are noted in `body`.
        executor: who carries it out; None: whom the plan names. Raises DecisionError."""
        known = self._connections.get(connection)
        if known is None:
            raise NotFoundError(f"there is no connection {connection[:256]!r}", code="UNKNOWN_CONNECTION")
        now = self._clock.now()
        who = executor or self._executor(body, now)
        session = Session(
            id="",
            subject=who,
            connection=connection,
            environment=known.environment,
            protocol=known.kind,
            client_address="",
            enforcer="",
            opened=now,
            expires=now,
        )
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, step: operation_pb2.PlannedStep) -> Judged:
            context = PlanContext(
                id=body.id,
                requester=planner,
                step=number,
                steps=len(body.steps),
                fits=True,
                rows_least=step.rows_least if step.HasField("rows_least") else None,
                rows_most=step.rows_most if step.HasField("rows_most") else None,
            )
            async with slots:
                for _ in range(2):
                    answered = await self._questions.operation(
                        session=session,
                        kind=known.kind,
                        operation=step.operation,
                        now=now,
                        can_hold=True,
                        approval=approval,
                        plan=context,
                    )
                    if "estimate" not in answered.missing or not estimates:
                        break
                    await self._estimate(connection, body.role, step)
            if answered.missing:
                raise PolicyError(f"step {number}: policy needs what nobody knows")
            return Judged(number=number, result=answered.result)

        gathered = await asyncio.gather(
            *(one(number, step) for number, step in enumerate(body.steps, start=1)), return_exceptions=True
        )
        for failed in gathered:
            if isinstance(failed, BaseException):
                raise failed
        return Whole(steps=tuple(step for step in gathered if isinstance(step, Judged)))

    def _executor(self, body: operation_pb2.PlanOperation, now: datetime) -> Subject:
        people = self._questions.engine.people
        party = people.by_name(body.executor)
        if party is None:
            raise NotFoundError(
                f"{body.executor[:256]!r}, who is to carry the plan out, is not in people", code="NOT_FOUND"
            )
        token = VerifiedToken(
            identity=party.identity, actors=(), roles=(body.role,), expires=now, token_id="", dev=False
        )
        return people.subject(token, role=body.role)

    async def _describe(
        self, connection: str, role: str, statement: bytes, *, fresh: bool = False
    ) -> operation_pb2.Operation:
        found = await self._describer.describe(connection, role, statement, fresh=fresh)
        found.id = found.id or new_id("op")
        return found

    async def _estimate(self, connection: str, role: str, step: operation_pb2.PlannedStep) -> None:
        """By EXPLAIN with the executor's account, in a read-only transaction of the gateway's own."""
        values = step.operation.sql.values
        if step.after:
            values.estimate_unknown, values.estimate_unknown_why = True, f"it depends on step {step.after}"
            return
        if len(values.bound) != len(step.values):
            values.estimate_unknown, values.estimate_unknown_why = True, "its values are not fixed"
            return
        found = await self._describer.estimate(
            connection, role, values.statement, step.operation.sql.search_path, values.bound
        )
        if found.unknown or not found.HasField("estimate"):
            values.estimate_unknown, values.estimate_unknown_why = True, found.why
        else:
            values.estimate.CopyFrom(found.estimate)


async def shape_of(describer: Describing, connection: str, role: str, statement: bytes) -> bytes:
    """See Judging.shape. Each look is at the catalog as it is then: any of a connection's gateways may answer."""

    async def look(text: bytes) -> bytes:
        return (await describer.describe(connection, role, text, fresh=True)).shape_digest

    before, ended = await look(statement), await look(statement + fitting.ENDED)
    if await look(statement) != before:
        raise StateError("what a step means is changing", code=MISMATCH, next_step="try again")
    return before + ended


def _fixed(rules: Sequence[operation_pb2.ValueRule]) -> list[operation_pb2.BoundValue]:
    """The values, where each can only be one; else none at all."""
    fixed = []
    for rule in rules:
        ranged = rule.HasField("least") or rule.HasField("most")
        if ranged or len(rule.one_of) + rule.null != 1:
            return []
        if rule.null:
            fixed.append(operation_pb2.BoundValue(is_null=True))
        else:
            fixed.append(operation_pb2.BoundValue(value=rule.one_of[0].encode()))
    return fixed


def reviewing_plans(
    acts: Callable[[Approval], Awaitable[PolicyResult]], judging: Judging
) -> Callable[[Approval], Awaitable[PolicyResult]]:
    """What asks policy again about an approval: of an act, or of a plan. Of a plan every step is asked about."""

    async def reconsider(approval: Approval) -> PolicyResult:
        operation = operation_pb2.Operation.FromString(approval.operation)
        if operation.WhichOneof("kind") != "plan":
            return await acts(approval)
        judged = await judging.judge(
            connection=approval.connection,
            body=operation.plan,
            planner=approval.requester,
            approval=approval,
        )
        first = judged.denied or next((one for one in judged.steps if one.held), None) or judged.steps[0]
        return replace(first.result, approval=judged.terms if first.held else first.result.approval)

    return reconsider
