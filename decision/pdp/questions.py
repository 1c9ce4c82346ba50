"""Asking policy about an operation: the shape first, values only when policy says it needs them (design, section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from twokey.type.v1 import operation_pb2

from decision.errors import PolicyError, PolicyUnavailableError
from decision.metrics import Metrics
from decision.model import JSON, Approval, Outcome, PolicyResult, Session, Subject
from decision.pdp import opa_input
from decision.pdp.approval_input import ApprovalContext
from decision.pdp.deadlines import stored
from decision.pdp.plan_input import PlanContext
from decision.ports import BudgetStore, Clock, History, HistoryStore, People, PolicyEngine, Used, VerdictStanding

OPA_DEADLINE_S: Final = 1.0
_REVISION_TRIES: Final = 3
_KNOWN_NEEDS: Final = frozenset({"values", "estimate", "budgets", "history"})
_OF_STORE: Final = frozenset({"budgets", "history"})  # what the service itself finds out


def _nothing(_document: JSON) -> None:
    """For who has nothing to do meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What policy said, to which document. `missing` is not empty when it can't say yet."""

    result: PolicyResult
    document: JSON
    subject: Subject
    on_shape: bool
    missing: tuple[str, ...] = ()
    used: Sequence[Used] = ()  # the budgets that policy was shown
    history: History | None = None  # what policy was shown of the closure's past


class Questions:
    """Puts questions to the engine with a deadline, people and answer under one revision."""

    def __init__(
        self,
        engine: PolicyEngine,
        clock: Clock,
        metrics: Metrics,
        *,
        budgets: BudgetStore,
        history: HistoryStore,
        verdicts: VerdictStanding,
        deadline_s: float = OPA_DEADLINE_S,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._metrics = metrics
        self._budgets = budgets
        self._history = history
        self._verdicts = verdicts
        self._deadline = deadline_s

    @property
    def engine(self) -> PolicyEngine:
        return self._engine

    async def ask(self, document: JSON) -> PolicyResult:
        """One question. Raises PolicyError or PolicyUnavailableError, the latter also after the deadline."""
        begun = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._deadline):
                return await self._engine.evaluate(document)
        except TimeoutError:
            raise PolicyUnavailableError("policy did not answer in time") from None
        finally:
            self._metrics.asked(self._clock.monotonic() - begun)

    async def past(self, subject: Subject, *, reviews: bool = False) -> History:
        """Of whoever is behind `subject`; with `reviews`, also who approved for whom. Raises StoreError."""
        return await stored(self._history.read(subject.closure, reviews=reviews))

    async def operation(
        self,
        *,
        session: Session,
        kind: str,
        operation: operation_pb2.Operation,
        now: datetime,
        can_hold: bool,
        approval: Approval | None = None,
        plan: PlanContext | None = None,
        meanwhile: Callable[[JSON], None] = _nothing,
    ) -> Answered:
        """Shape, then values. A revision that changes meanwhile starts over, so that people, approval and answer are
        of one revision. `meanwhile` is called with each question once it is on its way."""
        for _ in range(_REVISION_TRIES):
            revision, people = self._engine.revision, self._engine.people
            context = opa_input.Context(
                now=now,
                can_hold=can_hold,
                approval=None if approval is None else await self._shown(approval, people),
                plan=plan,
            )
            subject = opa_input.rejoin(session.subject, people)
            answered = await self._operation(subject, session, kind, operation, context, meanwhile=meanwhile)
            if answered.result.revision == revision == self._engine.revision:
                return answered
        raise PolicyUnavailableError("the policy is being replaced; ask again")

    async def _shown(self, approval: Approval, people: People) -> ApprovalContext:
        fallen = await stored(self._verdicts.fallen(approval, people)) if approval.verdicts else frozenset()
        return opa_input.approval_context(approval, people, fallen)

    async def _operation(
        self,
        subject: Subject,
        session: Session,
        kind: str,
        operation: operation_pb2.Operation,
        context: opa_input.Context,
        *,
        meanwhile: Callable[[JSON], None],
    ) -> Answered:
        async def put(*, with_values: bool, used: Sequence[Used] | None, past: History | None) -> Answered:
            document = opa_input.operation_question(
                subject=subject,
                session=session,
                kind=kind,
                operation=operation,
                context=context if used is None and past is None else replace(context, budgets=used, history=past),
                with_values=with_values,
            )
            asyncio.get_running_loop().call_soon(meanwhile, document)  # when this task next waits, as it does for OPA
            result = await self.ask(document)
            if not _KNOWN_NEEDS.issuperset(result.needs):
                raise PolicyError("policy needs something nobody knows")
            return Answered(
                result=result,
                document=document,
                subject=subject,
                on_shape=not with_values,
                used=used or (),
                history=past,
            )

        with_values, used, past = False, None, None
        while True:
            answered = await put(with_values=with_values, used=used, past=past)
            needs = frozenset(answered.result.needs)
            if not needs:
                return _whole(answered)
            asked_of_enforcer = needs - _OF_STORE
            if asked_of_enforcer:
                missing = missing_facts(operation, asked_of_enforcer)
                if missing:
                    return replace(answered, missing=missing)
            unshown = ("budgets" in needs and used is None) or ("history" in needs and past is None)
            again = (not asked_of_enforcer or with_values) and not unshown
            if again:
                raise PolicyError("policy was given what it needs and asks for it again")
            with_values = with_values or bool(asked_of_enforcer)
            if "history" in needs and past is None:
                past = await self.past(subject)
            if "budgets" in needs and used is None:
                used = await stored(self._budgets.used(answered.result.counts, subject.closure))


def _whole(answered: Answered) -> Answered:
    """An act counts against nothing that policy was not shown. Raises PolicyError."""
    if answered.result.outcome in {Outcome.ALLOW, Outcome.MASK_COLUMNS} and (
        tuple(one.budget for one in answered.used) != answered.result.counts
    ):
        raise PolicyError("policy lets an act count against a budget without asking how far it is used")
    return answered


def missing_facts(operation: operation_pb2.Operation, needs: Collection[str]) -> tuple[str, ...]:
    """Which of `needs` the enforcer hasn't given. A given "unknown" is an answer."""
    if not operation.sql.HasField("values"):
        return tuple(sorted({*needs, "values"}))
    values = operation.sql.values
    known = values.estimate_unknown or values.HasField("estimate")
    return () if known or "estimate" not in needs else ("estimate",)
