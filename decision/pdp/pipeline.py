"""Decide: check, ask, redeem, record, answer (docs/architecture.md, "A decision"; design, section 4).

Every way out that is not a recorded allow is a denial. The order that matters: policy, then the compare-and-set of an
approval, then the durable intent record, then the answer (for what policy leases with a window, the record may be
durable after the answer: `_promised`). Callers run `decide` so that a cancelled RPC can't stop it
between two of these (decision.rpc.supervise).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from twokey.type.v1 import operation_pb2

from decision.audit import record
from decision.audit.record import MAX_INTEGER, Checked, RecordFormatError
from decision.errors import (
    BadRequestError,
    DecisionError,
    NotFoundError,
    PolicyError,
    PolicyUnavailableError,
    RecordError,
    StateError,
)
from decision.metrics import Metrics
from decision.model import (
    JSON,
    ActKey,
    Approval,
    ApprovalState,
    ApprovalTerms,
    Durability,
    Outcome,
    Reason,
    Session,
    new_id,
)
from decision.pdp.answer import (
    Answer,
    answer_body,
    approval_body,
    budgets_used,
    denial,
    denial_of,
    input_body,
    session_body,
    spelt_reasons,
    spelt_subject,
    values_body,
)
from decision.pdp.deadlines import stored
from decision.pdp.derivation import Derivation
from decision.pdp.planned import PlannedActs, Standing
from decision.pdp.questions import Answered, Questions
from decision.pdp.requesting import Requesting
from decision.pdp.sessions import Sessions
from decision.pdp.windows import Windows
from decision.ports import ApprovalDraft, ApprovalStore, BudgetStore, Clock, HistoryStore, WindowedRecorder

_OPERATION_ID: Final = re.compile(r"op_[a-z2-7]{26}\Z")
_HINT: Final = 1000
_PREPARED: Final = 64 << 10  # bytes of a statement whose record is begun before there is an answer
_BUDGET_TRIES: Final = 32  # statements of one closure that can be decided at once before some are told to come again
_AGAIN: Final = frozenset({"BUDGET_CHANGED", "HISTORY_CHANGED", "LABELS_DERIVED"})
_NOT_APPROVED: Final[Mapping[ApprovalState, str]] = {
    ApprovalState.PENDING: "APPROVAL_PENDING",
    ApprovalState.DENIED: "APPROVAL_DENIED",
    ApprovalState.EXPIRED: "APPROVAL_EXPIRED",
    ApprovalState.WITHDRAWN: "WITHDRAWN",
    ApprovalState.REDEEMED: "APPROVAL_REDEEMED",
    ApprovalState.LAPSED: "APPROVAL_EXPIRED",
    ApprovalState.OUTCOME_UNKNOWN: "OUTCOME_UNKNOWN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One Decide request, in the service's words. The operation is the caller's; nothing here is trusted yet."""

    session: str
    operation: operation_pb2.Operation
    approval: str
    can_hold: bool
    hold_hint: str
    sequence: int


@dataclass(slots=True)
class _Trail:
    """What is known so far, so that a failure is recorded with as much as there is."""

    ask: Ask
    now: datetime
    session: Session | None = None
    document: JSON | None = None
    standing: Standing | None = None  # in the plan that the session carries
    prepared: tuple[JSON | None, Checked] | None = None  # a question, and all of its record that isn't the answer's


class Pipeline:
    def __init__(
        self,
        *,
        questions: Questions,
        sessions: Sessions,
        approvals: ApprovalStore,
        budgets: BudgetStore,
        history: HistoryStore,
        recorder: WindowedRecorder,
        clock: Clock,
        metrics: Metrics,
        kinds: Mapping[str, str],
        derivation: Derivation | None = None,
        planned: PlannedActs | None = None,
    ) -> None:
        """`kinds`: connection name to kind."""
        self._questions = questions
        self._sessions = sessions
        self._approvals = approvals
        self._budgets = budgets
        self._history = history
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._kinds = kinds
        self._derivation = derivation
        self._planned = planned
        self._windows = Windows(clock)
        self._requesting = Requesting(questions=questions, approvals=approvals, kinds=kinds)

    async def decide(self, ask: Ask) -> Answer:
        """The decision; failures are denials. Never raises DecisionError."""
        begun = self._clock.monotonic()
        trail = _Trail(ask, self._clock.now())
        try:
            answer = await self._decide(trail)
        except DecisionError as error:
            answer = await self._refuse(trail, error)
        outcome = "needs" if answer.needs else answer.outcome.value
        self._metrics.decided(outcome, answer.code, self._clock.monotonic() - begun)
        return answer

    async def _decide(self, trail: _Trail) -> Answer:
        ask = trail.ask
        _check(ask)
        session = trail.session = await self._sessions.live(ask.session, trail.now)
        if ask.operation.connection != session.connection:
            raise BadRequestError("the operation is for another connection than the session's")
        approval = await self._approved(ask, session) if ask.approval else None
        if session.plan:
            trail.standing = await self._of_plan(session, ask)
            approval = trail.standing.approval
        if self._derivation is not None:
            await self._derivation.caught_up()
        for _ in range(_BUDGET_TRIES):
            try:
                return await self._answer(trail, session, approval)
            except StateError as error:
                if error.code not in _AGAIN:
                    raise
        raise PolicyUnavailableError("too many statements of one principal are decided at once; ask again")

    async def _answer(self, trail: _Trail, session: Session, approval: Approval | None) -> Answer:
        """Raises StateError BUDGET_CHANGED or HISTORY_CHANGED where policy was shown less than is by now: nothing has
        happened, but for a step that is noted and not taken: the safe side."""
        ask = trail.ask
        answered = await self._questions.operation(
            session=session,
            kind=self._kinds.get(session.connection, ""),
            operation=ask.operation,
            now=trail.now,
            can_hold=ask.can_hold,
            approval=approval,
            plan=None if trail.standing is None else trail.standing.context,
            meanwhile=partial(_prepare, trail),
        )
        trail.document = answered.document
        if answered.missing:
            return Answer(
                time=trail.now,
                revision=answered.result.revision,
                needs=answered.missing,
                operation=ask.operation.id,
                reasons=(Reason("service.needs", "policy needs more facts", "ask again with them"),),
            )
        result = answered.result
        match result.outcome:
            case Outcome.ALLOW | Outcome.MASK_COLUMNS:
                return await self._permit(trail, session, answered, approval)
            case Outcome.REQUIRE_APPROVAL:
                return await self._hold(trail, session, answered, approval)
            case Outcome.DENY:
                denied = _denied(ask, trail.now, answered, result.reasons)
                if any(reason.rule == "DUTY-PLAN-STEP" for reason in result.reasons):
                    denied = replace(denied, code="PLAN_STEP_MISMATCH")
                return await self._record(trail, denied)

    async def _of_plan(self, session: Session, ask: Ask) -> Standing:
        if self._planned is None or ask.approval:
            raise StateError("what a plan's session does has the plan's approval", code="PLAN_STEP_MISMATCH")
        return await self._planned.standing(session, ask.operation)

    async def _approved(self, ask: Ask, session: Session) -> Approval:
        """The approval to redeem, when it is approved and for exactly this act. Raises StateError, NotFoundError."""
        approval = await stored(self._approvals.get(ask.approval))
        if approval is None:
            raise NotFoundError("no such approval", code="APPROVAL_MISMATCH")
        if approval.key != act_key(ask.operation, session) or approval.connection != session.connection:
            raise StateError("the approval is for another act", code="APPROVAL_MISMATCH")
        if approval.state is not ApprovalState.APPROVED:
            raise StateError(f"the approval is {approval.state.value}", code=_NOT_APPROVED[approval.state])
        return approval

    async def _permit(self, trail: _Trail, session: Session, answered: Answered, approval: Approval | None) -> Answer:
        result, ask = answered.result, trail.ask
        if self._derivation is not None and result.obligations:
            await self._derivation.meet(result.obligations, session.connection, ask.operation.id)
        # Neither approved nor counted, nor judged by a past that isn't in the lease's key: what can be reused.
        free = not (approval or trail.standing or result.counts or answered.history)
        lease = result.lease_ttl_ms if answered.on_shape and free else None
        windowed = (
            result.durability is Durability.WINDOWED
            and lease is not None
            and result.window is not None
            and result.outcome is Outcome.ALLOW
            and only_reads(ask.operation)
        )
        answer = Answer(
            time=trail.now,
            outcome=result.outcome,
            reasons=result.reasons,
            obligations=result.obligations,
            revision=result.revision,
            durability=Durability.WINDOWED if windowed else Durability.BEFORE,
            window=result.window if windowed else None,
            lease_ttl_ms=lease,
            operation=ask.operation.id,
        )
        self._sessions.check_still_live(session, self._clock.now())
        if answered.history is not None:
            facts, closure = facts_of(ask.operation), answered.subject.closure
            seen = answered.history.version
            await stored(self._history.note(facts, connection=session.connection, closure=closure, seen=seen))
        if answered.used:
            taken = self._budgets.take(answered.used, answered.subject.closure, unit=answer.id)
            answer = replace(answer, budgets=tuple(await stored(taken)))
        if trail.standing is not None and self._planned is not None:
            execution = await self._planned.begin(trail.standing, session, ask.operation)
            answer = replace(answer, approval=approval, execution=execution)
        elif approval is not None:
            execution = new_id("exe")
            redeemed = await stored(
                self._approvals.redeem(
                    approval.id, key=act_key(ask.operation, session), session=session.id, execution=execution
                )
            )
            answer = replace(answer, approval=redeemed, execution=execution)
        answer = await self._record(trail, answer)
        # Someone may have revoked it while the disk turned. The record then shows an allow that no one was given.
        self._sessions.check_still_live(session, self._clock.now())
        return answer

    async def _hold(self, trail: _Trail, session: Session, answered: Answered, approval: Approval | None) -> Answer:
        result, ask = answered.result, trail.ask
        if result.approval is None:
            raise PolicyError("policy requires an approval and doesn't say whose")
        if trail.standing is not None:
            reason = Reason(
                "service.plan-insufficient",
                "the live policy asks for more than the plan's approval gives",
                "have the plan aborted, and propose it again",
            )
            return await self._record(trail, _denied(ask, trail.now, answered, (reason, *result.reasons)))
        if approval is not None:
            return await self._reopen(trail, answered, result.approval, approval)
        if not ask.can_hold and _pointless(ask.operation.sql):
            reason = _unheld(ask, "", "Run it on its own, in no failed transaction.")
            return await self._record(trail, _denied(ask, trail.now, answered, (*result.reasons, reason)))
        draft = ApprovalDraft(
            key=act_key(ask.operation, session),
            requester=answered.subject,
            session=session.id,
            connection=session.connection,
            environment=session.environment,
            operation=ask.operation.SerializeToString(deterministic=True),
            reasons=result.reasons,
            groups=result.approval.groups,
            quorum=result.approval.quorum,
            expires_s=result.approval.expires_s,
            revision=result.revision,
        )
        opened = await self._requesting.open(draft, session, ask.operation, trail.now)
        found, new = opened.approval, opened.new
        if found is None:
            why = () if opened.refused is None else opened.refused.reasons
            refused = _denied(ask, trail.now, answered, (*why, *result.reasons))
            return await self._record(trail, replace(refused, code="APPROVAL_LIMIT"))
        answer = Answer(
            time=trail.now,
            outcome=Outcome.REQUIRE_APPROVAL,
            code="APPROVAL_PENDING",
            reasons=result.reasons,
            revision=result.revision,
            approval=found,
            operation=ask.operation.id,
        )
        if not ask.can_hold:
            answer = _unwaited(ask, answer, found)
        extra = [("approval", approval_body(found, "requested" if new else "found"))]
        return await self._record(trail, answer, before=extra)

    async def _reopen(self, trail: _Trail, answered: Answered, terms: ApprovalTerms, approval: Approval) -> Answer:
        """What was approved is not enough any more: its request is open again, with the verdicts it has."""
        reasons = answered.result.reasons

        async def record(moved: Approval) -> None:
            told = {"outcome": "require-approval", "revision": answered.result.revision}
            body = {**approval_body(moved, "transition"), "cause": "reopened", "by": None, "why": "", "answer": told}
            await self._recorder.append("approval", body)

        found = await stored(self._approvals.reopen(approval.id, terms=terms, reasons=reasons, record=record))
        reason = Reason(
            "service.approval-insufficient",
            "the live policy asks for more than this approval gives; its request is open again",
            f"twokey approvals wait {found.id}, then send exactly the same again",
        )
        denied = _denied(trail.ask, trail.now, answered, (reason, *reasons))
        return await self._record(trail, replace(denied, code="APPROVAL_PENDING", approval=found))

    async def _record(
        self, trail: _Trail, answer: Answer, *, before: list[tuple[str, dict[str, object]]] | None = None
    ) -> Answer:
        """The answer with its record's index, once it is as durable as the answer says. Raises RecordError."""
        asked = trail.prepared
        if asked is None or asked[0] is not trail.document:
            asked = (trail.document, _asked(trail, trail.document))
        told = record.with_spelt(answer_body(answer), {"reasons": spelt_reasons(answer.reasons)})
        body = record.joined(asked[1], told)
        index = await self._promised(trail, answer, body)
        if index is None:
            index = await self._recorder.append_many([*(before or ()), ("decision", body)])
        return replace(answer, record=index)

    async def _promised(self, trail: _Trail, answer: Answer, body: Checked) -> int | None:
        """The index of a record that may be durable later, and will be: by its window and the log's state. None: it
        must be durable first, as everything else; with it all that its session was answered before is."""
        if answer.window is None or answer.durability is not Durability.WINDOWED:
            return None
        session = trail.ask.session
        if not self._windows.room(session, answer.window):
            return None
        promised = await self._recorder.promise("decision", body)
        if promised is None:
            return None
        self._windows.add(session, promised.written)
        return promised.index

    async def _refuse(self, trail: _Trail, error: DecisionError) -> Answer:
        """A failure as a denial, recorded where the log still takes records."""
        answer = denial_of(
            error,
            now=trail.now,
            revision=self._questions.engine.revision,
            operation=trail.ask.operation.id if _OPERATION_ID.match(trail.ask.operation.id) else "",
        )
        if isinstance(error, RecordError) and not isinstance(error, RecordFormatError):
            return answer
        if isinstance(error, RecordFormatError):
            trail.document = None
        try:
            return await self._record(trail, answer)
        except RecordError:
            return answer


def _prepare(trail: _Trail, document: JSON) -> None:
    """While OPA thinks. What has no canonical form is found again when it is recorded, and refused there. What is large
    is left for then: it may be asked about twice."""
    if len(trail.ask.operation.sql.values.statement) > _PREPARED:
        return
    with contextlib.suppress(RecordFormatError):
        trail.prepared = (document, _asked(trail, document))


def _asked(trail: _Trail, document: JSON | None) -> Checked:
    """A decision's record but for the answer. Raises RecordFormatError."""
    spelt = {"input": record.encode_checked(input_body(document))}
    if trail.session is not None:
        spelt["subject"] = spelt_subject(trail.session.subject)
    return record.with_spelt(_body(trail), spelt)


def _body(trail: _Trail) -> dict[str, object]:
    ask = trail.ask
    who = session_body(trail.session) if trail.session is not None else {"session": ask.session[:64]}
    return {**who, "sequence": min(ask.sequence, MAX_INTEGER), **values_body(ask.operation)}


def _denied(ask: Ask, now: datetime, answered: Answered, reasons: tuple[Reason, ...]) -> Answer:
    told = denial("POLICY_DENIED", reasons, now=now, revision=answered.result.revision, operation=ask.operation.id)
    return replace(told, budgets=budgets_used(answered.used))


def _unwaited(ask: Ask, held: Answer, found: Approval) -> Answer:
    """What can't be held runs when it is approved already, and the enforcer redeems it at once. Else it is refused with
    the reference of the request, which stays open for the same act, sent again (ADR 34)."""
    if found.state is ApprovalState.APPROVED:
        return replace(held, code="APPROVAL_APPROVED")
    wait = f"twokey approvals wait {found.id}, then send exactly the same again"
    reasons = (*held.reasons, _unheld(ask, wait, "Or run it outside this transaction or pipeline, where it waits."))
    return replace(held, outcome=Outcome.DENY, reasons=reasons)


def _pointless(sql: operation_pb2.SqlOperation) -> bool:
    """It would not run here though it were approved: the target refuses what stands in a failed transaction, and
    gateways verify an approved act by itself, never in a message of several, nor (0) what isn't sent as a statement.
    Nobody is asked to review it."""
    return sql.transaction.status == "failed" or sql.statements != 1


def _unheld(ask: Ask, first: str, other: str) -> Reason:
    steps = "; ".join(step for step in (first, ask.hold_hint[:_HINT] or other) if step)
    return Reason("service.cannot-hold", "it needs an approval and can't be held here", steps)


def _check(ask: Ask) -> None:
    """What every request must be before anyone is asked about it. Raises BadRequestError."""
    operation = ask.operation
    if operation.WhichOneof("kind") != "sql":
        raise BadRequestError("this kind of operation is not decided yet", code="NOT_SUPPORTED")
    if not _OPERATION_ID.match(operation.id):
        raise BadRequestError("the operation's id is not one")
    if len(operation.digest) != 32 or len(operation.shape_digest) != 32:
        raise BadRequestError("a digest is 32 bytes")
    if ask.sequence > MAX_INTEGER:
        raise BadRequestError("the sequence number is out of range")


def act_key(operation: operation_pb2.Operation, session: Session) -> ActKey:
    subject = session.subject
    return ActKey(
        digest=operation.digest,
        subject=subject.party.identity,
        actors=tuple(actor.identity for actor in subject.actors),
        role=subject.role,
        connection=session.connection,
        keys=subject.keys,
    )


def facts_of(operation: operation_pb2.Operation) -> frozenset[tuple[str, str]]:
    """What a history says of an operation, as (act, object): each verb, and each access to each relation."""
    sql = operation.sql
    verbs = {(verb, "") for verb in sql.verbs}
    return frozenset(verbs | {(access, f"{one.schema}.{one.name}") for one in sql.relations for access in one.access})


def only_reads(operation: operation_pb2.Operation) -> bool:
    """Described with certainty as touching nothing but to read it: all else is recorded before the act, whatever
    policy says (design, section 4)."""
    sql = operation.sql
    if sql.opaque or not sql.command:
        return False
    reads = all(set(use.access) <= {"read"} for use in sql.relations)
    return reads and all(column.use != "write" for column in sql.columns)
