"""Plans from proposal to their end: proposed by a planner, approved once, started and ended by their executor.

A plan is judged three times: when it is proposed, with every verdict on its approval, and when it is started; and each
step once more when it is done (pdp.pipeline). Each time under the policy and the people then in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NoReturn

from twokey.type.v1 import operation_pb2

from decision.errors import BadRequestError, CallerError, NotFoundError, StateError
from decision.model import (
    ActKey,
    Approval,
    ApprovalState,
    ApprovalTerms,
    Outcome,
    PolicyResult,
    Session,
    Subject,
    new_id,
)
from decision.pdp import opa_input
from decision.pdp.answer import approval_body, refusal_text
from decision.pdp.deadlines import stored
from decision.pdp.plan_input import PlanContext, plan_of
from decision.pdp.questions import Questions
from decision.pdp.requesting import Requesting
from decision.pdp.sessions import Connection
from decision.plans import records
from decision.plans.executing import same_executor
from decision.plans.judging import Judging, Whole
from decision.plans.model import Execution, ExecutionState, Plan, over, resolved
from decision.plans.ports import Move, PlanStore
from decision.ports import ApprovalDraft, ApprovalStore, Clock, Recorder

RESOLVE: Final = "twokey.plan.v1.PlanService/Resolve"
MAX_INTENT: Final = 10_000  # characters
MAX_REASON: Final = 2_000
LONGEST_S: Final = 30 * 24 * 3600  # that a plan may wait and run
_DIGEST: Final = b"twokey plan v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Of each step what the planner says: statement, values, rows, `after`."""

    connection: str
    body: operation_pb2.PlanOperation
    not_before: datetime | None
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A plan with what became of it. judged: of Propose and Preview."""

    plan: Plan
    state: str
    execution: Execution | None = None
    judged: Whole | None = None


class Plans:
    def __init__(
        self,
        *,
        store: PlanStore,
        approvals: ApprovalStore,
        judging: Judging,
        questions: Questions,
        recorder: Recorder,
        clock: Clock,
        connections: Mapping[str, Connection],
    ) -> None:
        self._store = store
        self._approvals = approvals
        self._judging = judging
        self._questions = questions
        self._recorder = recorder
        self._clock = clock
        self._connections = connections
        kinds = {name: connection.kind for name, connection in connections.items()}
        self._requesting = Requesting(questions=questions, approvals=approvals, kinds=kinds)

    # Planners

    async def preview(self, subject: Subject, proposal: Proposal) -> Shown:
        """As `propose`, but that nothing is stored or asked for; what would be denied is shown."""
        plan = await self._described(subject, proposal)
        judged = await self._judging.judge(connection=plan.connection, body=plan.body, planner=subject)
        return Shown(plan=plan, state="", judged=judged)

    async def propose(self, subject: Subject, proposal: Proposal) -> Shown:
        """The plan, stored; with its approval asked for, where a step needs one. Raises CallerError for a plan of which
        a step would be denied, BadRequestError, NotFoundError, StateError, PolicyError, StoreError, RecordError."""
        plan = await self._described(subject, proposal)
        judged = await self._judging.judge(connection=plan.connection, body=plan.body, planner=subject)
        denied = judged.denied
        if denied is not None:
            raise CallerError(
                f"step {denied.number} would be denied: {refusal_text(denied.result)}",
                code="POLICY_DENIED",
                next_step="twokey plan preview shows every step",
            )
        plan = replace(plan, digest=_digest(plan.body))
        approval = await self._asked_for(plan, judged)
        if approval is not None:
            plan = replace(plan, approval=approval.id)
        await self._recorder.append(records.KIND, records.proposed_body(plan))
        await stored(self._store.add(plan))
        return Shown(plan=plan, state=_state(plan, approval, None, self._clock.now()), judged=judged)

    async def _described(self, subject: Subject, proposal: Proposal) -> Plan:
        now = self._clock.now()
        known = self._connections.get(proposal.connection)
        if known is None:
            raise NotFoundError(f"there is no connection {proposal.connection[:256]!r}", code="UNKNOWN_CONNECTION")
        body = proposal.body
        if not body.executor or not body.role:
            raise BadRequestError("a plan names its executor and the role of its steps")
        if len(body.intent) > MAX_INTENT:
            raise BadRequestError(f"the intent has at most {MAX_INTENT} characters", code="TOO_LARGE")
        if not now < proposal.expires <= now + timedelta(seconds=LONGEST_S):
            raise BadRequestError("a plan ends after now and within 30 days")
        if proposal.not_before is not None and proposal.not_before >= proposal.expires:
            raise BadRequestError("a plan begins before it ends")
        described = await self._judging.described(proposal.connection, body)
        described.id = new_id("pln")
        return Plan(
            id=described.id,
            requester=subject,
            connection=proposal.connection,
            environment=known.environment,
            body=described,
            digest=b"",
            created=now,
            not_before=proposal.not_before,
            expires=proposal.expires,
        )

    async def _asked_for(self, plan: Plan, judged: Whole) -> Approval | None:
        """The one approval for all of it; None where no step needs one. Raises CallerError where policy lets no more be
        asked for."""
        terms = judged.terms
        if terms is None:
            return None
        now = self._clock.now()
        left = int((plan.expires - now).total_seconds())
        operation = as_operation(plan)
        subject = plan.requester
        draft = ApprovalDraft(
            key=ActKey(
                digest=plan.digest,
                subject=subject.party.identity,
                actors=tuple(actor.identity for actor in subject.actors),
                role=plan.body.role,
                connection=plan.connection,
                keys=subject.keys,
            ),
            requester=subject,
            session=plan.id,
            connection=plan.connection,
            environment=plan.environment,
            operation=operation.SerializeToString(deterministic=True),
            reasons=judged.reasons,
            groups=terms.groups,
            quorum=terms.quorum,
            expires_s=max(1, min(terms.expires_s, left)),
            revision=self._questions.engine.revision,
        )
        opened = await self._requesting.open(draft, self._session(plan), operation, now)
        if opened.approval is None:
            why = "" if opened.refused is None else refusal_text(opened.refused)
            raise CallerError(why or "no more may be asked for", code="APPROVAL_LIMIT")
        await self._recorder.append("approval", approval_body(opened.approval, "requested"))
        return opened.approval

    # Everyone

    async def get(self, viewer: Subject, plan: str) -> Shown:
        """Raises NotFoundError, the same for an unknown id and one that isn't for this viewer's eyes."""
        found = await stored(self._store.get(plan))
        if found is None or not await self._visible(viewer, found):
            raise NotFoundError(f"There is no plan {plan[:64]} that you may see")
        return await self._shown(found)

    async def list(self, viewer: Subject, *, include_finished: bool = False) -> Sequence[Shown]:
        """The newest first."""
        found = [one for one in await stored(self._store.list()) if await self._visible(viewer, one)]
        shown = [await self._shown(one) for one in found]
        return [one for one in shown if include_finished or one.state in {"proposed", "approved", "running", "unknown"}]

    async def again(self, viewer: Subject, plan: str) -> Shown:
        """A stored plan, as it would be judged now."""
        shown = await self.get(viewer, plan)
        found = shown.plan
        body = await self._judging.described(found.connection, _words(found.body))
        approval = await stored(self._approvals.get(found.approval)) if found.approval else None
        judged = await self._judging.judge(
            connection=found.connection, body=body, planner=found.requester, approval=approval
        )
        body.id = found.id
        return replace(shown, plan=replace(found, body=body), judged=judged)

    async def _shown(self, plan: Plan) -> Shown:
        execution = await stored(self._store.execution(plan.execution)) if plan.execution else None
        approval = await stored(self._approvals.get(plan.approval)) if plan.approval else None
        return Shown(plan=plan, state=_state(plan, approval, execution, self._clock.now()), execution=execution)

    async def _visible(self, viewer: Subject, plan: Plan) -> bool:
        """Its planner and executor, who is asked to review it, whom calls.yaml lets resolve, and who reads the log."""
        if viewer.party.identity == plan.requester.party.identity or viewer.party.name == plan.body.executor:
            return True
        for rpc in (RESOLVE, "twokey.audit.v1.AuditService/Read"):
            if (await self._called(viewer, rpc, None)).outcome is Outcome.ALLOW:
                return True
        approval = await stored(self._approvals.get(plan.approval)) if plan.approval else None
        if approval is None:
            return False
        document = opa_input.review_question(
            subject=opa_input.rejoin(viewer, self._questions.engine.people),
            kind=self._connections[plan.connection].kind if plan.connection in self._connections else "",
            approval=approval,
            operation=as_operation(plan),
            context=opa_input.Context(
                now=self._clock.now(),
                approval=opa_input.approval_context(approval, self._questions.engine.people),
                plan=plan_of(as_operation(plan), plan.requester, self._questions.engine.people),
            ),
            verdict=False,
        )
        return (await self._questions.ask(document)).outcome is Outcome.ALLOW

    # Executors

    async def start(self, subject: Subject, plan: str) -> Execution:
        """The plan's one execution. Everything is described and decided once more; nothing may mean anything else than
        when it was reviewed. Raises as `propose`."""
        shown = await self.get(subject, plan)
        found, now = shown.plan, self._clock.now()
        who = replace(subject, role=found.body.role)
        if subject.party.name != found.body.executor or found.body.role not in subject.roles:
            raise CallerError(f"this plan is {found.body.executor}'s to carry out, as {found.body.role}")
        if found.execution:
            raise StateError("The plan was started already", code="PLAN_STARTED")
        if now >= found.expires or (found.not_before is not None and now < found.not_before):
            raise StateError("The plan is not to be carried out at this time", code="PLAN_EXPIRED")
        await self._may_begin(found, who)
        body = await self._judging.described(found.connection, _words(found.body))
        changed = [
            number
            for number, (was, new) in enumerate(zip(found.body.steps, body.steps, strict=True), start=1)
            if was.operation.shape_digest != new.operation.shape_digest or was.after != new.after
        ]
        if changed:
            raise _changed(changed[0])
        approval = await self._approved(found)
        judged = await self._judging.judge(
            connection=found.connection, body=found.body, planner=found.requester, executor=who, approval=approval
        )
        denied, terms = judged.denied, judged.terms
        if denied is not None:
            raise CallerError(f"step {denied.number}: {refusal_text(denied.result)}", code="POLICY_DENIED")
        if terms is not None:
            await self._ask_for_more(approval, judged, terms)
        shapes = await self._shapes(found)
        execution = Execution(
            id=new_id("exe"),
            plan=found.id,
            executor=who,
            state=ExecutionState.RUNNING,
            steps=len(found.body.steps),
            next=1,
            shapes=shapes,
            started=now,
        )

        async def record(started: Execution) -> None:
            body = {**records.moved_body(started, "started", by=who), "digest": found.digest.hex()}
            await self._recorder.append(records.KIND, body)

        return await stored(self._store.start(found, execution, record=record))

    async def _shapes(self, plan: Plan) -> dict[int, bytes]:
        """Of each step that waits for none, still as it was reviewed."""
        shapes: dict[int, bytes] = {}
        for number, step in enumerate(plan.body.steps, start=1):
            if not step.after:
                statement = step.operation.sql.values.statement
                shapes[number] = await self._judging.shape(plan.connection, plan.body.role, statement)
                if not shapes[number].startswith(step.operation.shape_digest):
                    raise _changed(number)
        return shapes

    async def _ask_for_more(self, approval: Approval | None, judged: Whole, terms: ApprovalTerms) -> NoReturn:
        """Policy asks for more than the plan's approval gives: its request is open again, with the verdicts it has."""
        if approval is None:
            raise StateError(
                "the live policy asks for an approval that this plan has never had",
                code="APPROVAL_MISMATCH",
                next_step="propose the plan again",
            )

        async def record(moved: Approval) -> None:
            body = {**approval_body(moved, "transition"), "cause": "reopened", "by": None, "why": "", "answer": None}
            await self._recorder.append("approval", body)

        await stored(self._approvals.reopen(approval.id, terms=terms, reasons=judged.reasons, record=record))
        raise StateError(
            "the live policy asks for more than this plan's approval gives; its request is open again",
            code="APPROVAL_PENDING",
            next_step=f"twokey approvals wait {approval.id}, then start it again",
        )

    async def _may_begin(self, plan: Plan, who: Subject) -> None:
        """Policy on a session of this subject that carries this plan. Raises CallerError."""
        known = self._connections[plan.connection]
        context = opa_input.Context(
            now=self._clock.now(),
            plan=PlanContext(id=plan.id, requester=plan.requester, step=1, steps=len(plan.body.steps), fits=False),
        )
        for history in (None, await self._questions.past(who)):
            document = opa_input.session_question(
                subject=opa_input.rejoin(who, self._questions.engine.people),
                connection=plan.connection,
                kind=known.kind,
                environment=plan.environment,
                context=replace(context, history=history),
            )
            result = await self._questions.ask(document)
            if result.needs != ("history",):
                break
        if result.outcome is not Outcome.ALLOW or result.needs:
            raise CallerError(refusal_text(result), code="POLICY_DENIED")

    async def _approved(self, plan: Plan) -> Approval | None:
        if not plan.approval:
            return None
        approval = await stored(self._approvals.get(plan.approval))
        if approval is None or approval.key.digest != plan.digest or plan.digest != _digest(plan.body):
            raise StateError("The approval is for another plan", code="APPROVAL_MISMATCH")
        if approval.state is not ApprovalState.APPROVED:
            raise StateError(
                f"The plan's approval is {approval.state.value}",
                code="APPROVAL_PENDING" if approval.state is ApprovalState.PENDING else "APPROVAL_MISMATCH",
                next_step=f"twokey approvals wait {approval.id}",
            )
        return approval

    async def step(self, viewer: Subject, execution: str) -> Execution:
        """Where it stands. Raises NotFoundError."""
        found = await stored(self._store.execution(execution))
        plan = None if found is None else await stored(self._store.get(found.plan))
        if found is None or plan is None or not await self._visible(viewer, plan):
            raise NotFoundError(f"There is no execution {execution[:64]} that you may see")
        return found

    async def abort(self, subject: Subject, execution: str, reason: str) -> Execution:
        """By its planner or executor. Raises NotFoundError, CallerError, StateError."""
        found = await self.step(subject, execution)
        plan = await stored(self._store.get(found.plan))
        planner = plan is not None and subject.party.identity == plan.requester.party.identity
        if not planner and subject.party.identity != found.executor.party.identity:
            raise CallerError("Only the plan's planner or executor can abort it")
        return await self._moved(
            found,
            lambda one, now: over(one, ExecutionState.ABORTED, _bounded(reason) or "aborted", now),
            "aborted",
            by=subject,
            why=reason,
        )

    async def finish(self, subject: Subject, execution: str) -> Execution:
        """The executor does nothing more: completed where every step is done, else aborted."""
        found = await self.step(subject, execution)
        if not same_executor(replace(subject, role=found.executor.role), found.executor):
            raise CallerError("Only the plan's executor can finish it")
        if not found.live:
            return found
        return await self._moved(
            found,
            lambda one, now: over(one, ExecutionState.ABORTED, f"finished before step {one.next}", now),
            "finished",
            by=subject,
        )

    async def resolve(self, subject: Subject, execution: str, *, outcome: str, reason: str) -> Execution:
        """By somebody else than who planned or did it: what became of a step of which nobody knows. Raises CallerError,
        NotFoundError, StateError."""
        if outcome not in {"done", "not-done"}:
            raise BadRequestError("what became of it is done or not-done")
        found = await self.step(subject, execution)
        plan = await stored(self._store.get(found.plan))
        if plan is None:
            raise NotFoundError("There is no such plan")
        await self._may_resolve(subject, plan, found)
        return await self._moved(
            found,
            lambda one, now: resolved(one, done=outcome == "done", now=now),
            "resolved",
            by=subject,
            why=f"{outcome}: {_bounded(reason)}",
        )

    async def _may_resolve(self, subject: Subject, plan: Plan, execution: Execution) -> None:
        context = PlanContext(
            id=plan.id,
            requester=opa_input.rejoin(plan.requester, self._questions.engine.people),
            executor=opa_input.rejoin(execution.executor, self._questions.engine.people),
            step=execution.next,
            steps=execution.steps,
            fits=False,
        )
        result = await self._called(subject, RESOLVE, context)
        if result.outcome is not Outcome.ALLOW or result.needs or result.obligations:
            raise CallerError(refusal_text(result), code="POLICY_DENIED")

    async def _moved(self, execution: Execution, move: Move, event: str, *, by: Subject, why: str = "") -> Execution:
        async def record(moved: Execution) -> None:
            await self._recorder.append(records.KIND, records.moved_body(moved, event, by=by, why=why))

        return await stored(self._store.move(execution.id, move, record=record))

    async def _called(self, subject: Subject, rpc: str, plan: PlanContext | None) -> PolicyResult:
        context = opa_input.Context(now=self._clock.now(), plan=plan)
        return await self._questions.ask(opa_input.call_question(subject=subject, rpc=rpc, context=context))

    def _session(self, plan: Plan) -> Session:
        """Whose request it is, as questions about requests know one."""
        return Session(
            id=plan.id,
            subject=plan.requester,
            connection=plan.connection,
            environment=plan.environment,
            protocol=self._connections[plan.connection].kind,
            client_address="",
            enforcer="",
            opened=plan.created,
            expires=plan.expires,
        )


def as_operation(plan: Plan) -> operation_pb2.Operation:
    """What a reviewer is shown and approves."""
    return operation_pb2.Operation(connection=plan.connection, digest=plan.digest, plan=plan.body)


def _changed(step: int) -> StateError:
    return StateError(
        f"step {step} means something else than when it was reviewed",
        code="PLAN_STEP_MISMATCH",
        next_step="propose the plan again, so that it is reviewed as it is now",
    )


def _digest(body: operation_pb2.PlanOperation) -> bytes:
    return hashlib.sha256(_DIGEST + body.SerializeToString(deterministic=True)).digest()


def _words(body: operation_pb2.PlanOperation) -> operation_pb2.PlanOperation:
    """The plan as its planner said it, to be described anew."""
    said = operation_pb2.PlanOperation()
    said.CopyFrom(body)
    for step in said.steps:
        statement = step.operation.sql.values.statement
        step.operation.Clear()
        step.operation.sql.values.statement = statement
    return said


def _state(plan: Plan, approval: Approval | None, execution: Execution | None, now: datetime) -> str:
    if execution is not None:
        return execution.state.value
    if approval is not None and approval.state is not ApprovalState.APPROVED:
        names = {ApprovalState.PENDING: "proposed", ApprovalState.LAPSED: "expired"}
        return names.get(approval.state, approval.state.value)
    return "expired" if now >= plan.expires else "approved"


def _bounded(reason: str) -> str:
    if len(reason) > MAX_REASON:
        raise BadRequestError(f"reason: at most {MAX_REASON} characters", code="TOO_LARGE")
    return reason
