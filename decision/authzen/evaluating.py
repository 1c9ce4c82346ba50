"""One AuthZEN question: the resource type's own entrypoint first, where it has one, then main, which has the last word.

Main sees what the entrypoint said (`input.access.entrypoint`), so its denials hold over it, and the record holds both.

What needs an approval is `decision: false`, with what an access request is to be bound to; an approval that the
question shows (`context.approval`) is looked up, and policy asked again with its verdicts, under the live revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import orjson

from decision.authzen import binding, held
from decision.authzen.binding import Binding, Bound
from decision.authzen.message import Evaluation
from decision.errors import DecisionError, PolicyError, PolicyUnavailableError, RecordError
from decision.metrics import Metrics
from decision.model import Approval, IdentityKey, Outcome, PolicyResult, Subject, VerifiedToken, new_id
from decision.pdp import opa_input
from decision.pdp.answer import input_body, reasons_document, who_body
from decision.pdp.deadlines import stored
from decision.pdp.questions import Questions
from decision.ports import ApprovalStore, Clock, People, Recorder, VerdictStanding

DEADLINE_S: Final = 3.0
_TRIES: Final = 3
_STRANGER: Final = "urn:twokey:authzen"
REQUESTABLE_S: Final = 600  # how long after a denial it may be asked for
_PERMITS: Final = frozenset({Outcome.ALLOW, Outcome.MASK_COLUMNS})
_NEXT: Final = {
    held.EXPIRED: "request",
    held.OUT_OF_SCOPE: "request",
    held.UNVERIFIABLE: "none",
    "policy_denied": "none",
}


class Foreign(Protocol):
    """What the policy engine knows of the entrypoints of resource types."""

    @property
    def entrypoints(self) -> Mapping[str, str]: ...

    async def foreign(self, package: str, document: Mapping[str, object]) -> object:
        """Raises PolicyError, PolicyUnavailableError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The answer, as `body` has it on the wire."""

    decision: bool
    context: Mapping[str, object] = field(default_factory=dict)

    @property
    def body(self) -> Mapping[str, object]:
        return {"decision": self.decision, **({"context": self.context} if self.context else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What policy was asked and said. subject: who the application's user is; code: what became of an approval that the
    question showed, or ""; approval: the one that was used."""

    subject: Subject
    document: Mapping[str, object]
    result: PolicyResult
    code: str = ""
    approval: Approval | None = None


class Evaluating:
    def __init__(
        self,
        *,
        questions: Questions,
        foreign: Foreign,
        recorder: Recorder,
        clock: Clock,
        metrics: Metrics,
        binding: Binding,
        approvals: ApprovalStore,
        verdicts: VerdictStanding,
    ) -> None:
        self._questions = questions
        self._foreign = foreign
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._binding = binding
        self._approvals = approvals
        self._verdicts = verdicts

    async def evaluate(self, caller: Subject, asked: Evaluation) -> Told:
        """The recorded decision. Raises PolicyError, PolicyUnavailableError, RecordError, StoreError: then nothing is
        permitted."""
        begun = self._clock.monotonic()
        try:
            result, told = await self._in_time(caller, asked)
        except DecisionError as error:
            self._metrics.decided("deny", error.code, self._clock.monotonic() - begun)
            if not isinstance(error, RecordError):
                await self._recorder.append("evaluation", _failed(caller, asked, error))
            raise
        self._metrics.decided(
            result.outcome.value, "" if told.decision else "POLICY_DENIED", self._clock.monotonic() - begun
        )
        return told

    async def ask(self, caller: Subject, asked: Evaluation) -> Asked:
        """What policy says now, without a record. Raises PolicyError, PolicyUnavailableError."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._ask(caller.party.name, asked)
        except TimeoutError:
            raise PolicyUnavailableError("the decision was not made in time") from None

    async def reconsider(self, approval: Approval) -> PolicyResult:
        """Policy on a held question, with the verdicts as context. Raises StateError, and what `ask` does."""
        kept = held.held(approval)
        return (await self._ask(kept.caller, kept.asked, approval)).result

    def requester(self, caller: Subject, asked: Evaluation) -> Subject:
        """Whoever an approval is asked for by: the application's user, and the application and all behind it."""
        people, now = self._questions.engine.people, self._clock.now()
        return _subject(people, asked, now, behind=held.chain_of(caller))

    async def given_up(self, caller: Subject, asked: Evaluation) -> None:
        """Record that an evaluation was not waited for any longer. What can't be recorded is no permission either."""
        error = PolicyUnavailableError("the batch took too long")
        self._metrics.decided("deny", error.code, DEADLINE_S)
        with contextlib.suppress(RecordError, TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                await self._recorder.append("evaluation", _failed(caller, asked, error))

    async def _in_time(self, caller: Subject, asked: Evaluation) -> tuple[PolicyResult, Told]:
        """Asked and recorded. Raises what `evaluate` does."""
        evaluation = new_id("dec")
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = await self._ask(caller.party.name, asked)
                context = asked.document.get("context")
                if isinstance(context, dict) and "approval" in context:
                    found = await self._with_approval(caller, asked, found, context["approval"])
                told = self._tell(caller, asked, evaluation, found)
                await self._record(evaluation, caller, asked, found, told)
        except TimeoutError:
            raise PolicyUnavailableError("the decision was not made in time") from None
        return found.result, told

    async def _with_approval(self, caller: Subject, asked: Evaluation, found: Asked, given: object) -> Asked:
        """What is permitted without one needs none. An approval lifts what is held, and nothing that is denied."""
        if found.result.outcome in _PERMITS:
            return found
        use = await held.shown(
            self._approvals,
            caller=caller,
            subject=found.subject.party.identity,
            asked=asked,
            given=given,
            now=self._clock.now(),
        )
        if isinstance(use, str):
            return replace(found, code=use)
        if found.result.outcome is Outcome.DENY:
            return replace(found, code="policy_denied")
        again = await self._ask(caller.party.name, asked, use)
        if again.result.outcome in _PERMITS:
            return replace(again, approval=use)
        # Still held: a reviewer was taken out or revoked since, or policy asks for more than there was.
        return replace(again, code="policy_denied" if again.result.outcome is Outcome.DENY else held.EXPIRED)

    async def _ask(self, caller: str, asked: Evaluation, approval: Approval | None = None) -> Asked:
        """People, entrypoint and main under one revision."""
        engine = self._questions.engine
        for _ in range(_TRIES):
            revision, people = engine.revision, engine.people
            package = self._foreign.entrypoints.get(asked.resource_type, "")
            said = await self._said(package, asked) if package else None
            subject = _subject(people, asked, self._clock.now())
            context = opa_input.Context(now=self._clock.now())
            if approval is not None:
                fallen = await stored(self._verdicts.fallen(approval, people)) if approval.verdicts else frozenset()
                context = replace(context, approval=opa_input.approval_context(approval, people, fallen))
            document = opa_input.call_question(subject=subject, rpc=asked.action, context=context)
            document["question"] = "access"
            document["resource"] = {
                "type": "access",
                "id": asked.resource_id,
                "kind": asked.resource_type,
                "environment": "",
                "subject": "",
            }
            document["access"] = {
                "caller": caller,
                "subject_type": asked.subject_type,
                "entrypoint": {"present": bool(package), "decision": said is True},
            }
            result = await self._questions.ask(document)
            if result.revision == revision == engine.revision:
                return Asked(subject=subject, document=document, result=result)
        raise PolicyUnavailableError("the policy is being replaced; ask again")

    async def _said(self, package: str, asked: Evaluation) -> bool:
        """A boolean, or an object whose `decision` is one. Anything else is no answer. Raises PolicyError."""
        context = asked.document.get("context")
        document = dict(asked.document)
        if isinstance(context, dict):  # an approval that is shown is judged here, and by main
            document["context"] = {name: value for name, value in context.items() if name != "approval"}
        answer = await self._foreign.foreign(package, document)
        found = answer.get("decision") if isinstance(answer, dict) else answer
        if not isinstance(found, bool):
            raise PolicyError(f"data.{package}.decision is not a boolean")
        return found

    def _tell(self, caller: Subject, asked: Evaluation, evaluation: str, found: Asked) -> Told:
        told = _told(found.result)
        context = dict(told.context)
        why = context.get("reason")
        if found.approval is not None and told.decision:
            until = binding.spelt(found.approval.expires)
            context["approval"] = {"id": found.approval.id, "approved_until": until}
        if found.code:
            context |= {"reason": found.code, "next_action": _NEXT[found.code]}
        if found.result.outcome is Outcome.REQUIRE_APPROVAL and not found.result.needs:
            requestable = self._requestable(caller, asked, evaluation, found.result)
            if found.code:
                requestable.pop("reason", None)
            if _NEXT.get(found.code, "request") == "request":
                context |= requestable
            if "access_request" not in context and "next_action" in context:
                context["next_action"] = "none"
        if context.get("reason") != why:
            context["explanation"] = why
        return Told(decision=told.decision, context=context)

    def _requestable(
        self, caller: Subject, asked: Evaluation, evaluation: str, result: PolicyResult
    ) -> dict[str, object]:
        """What makes a denial one that an access request can be made of; empty where nothing could be bound to it."""
        members = binding.members_of(asked.document)
        digest = binding.digest(asked.document, members)
        if digest is None or result.approval is None:
            return {}
        now = self._clock.now()
        bound = Bound(
            evaluation=evaluation,
            digest=binding.text_of(digest),
            members=members,
            client=binding.client_of(held.chain_of(caller)),
            expires=(now + timedelta(seconds=REQUESTABLE_S)).replace(microsecond=0),
        )
        return {
            "reason": "approval_required",
            "evaluation_id": evaluation,
            "evaluated_at": binding.spelt(now),
            "access_request": {
                "expires_at": binding.spelt(bound.expires),
                "binding_token": self._binding.sign(bound, now=now),
            },
        }

    async def _record(self, evaluation: str, caller: Subject, asked: Evaluation, found: Asked, told: Told) -> None:
        result = found.result
        body = {
            **_asked_body(caller, asked, evaluation),
            "input": input_body(found.document),
            "outcome": str(result.outcome.value),
            "decision": told.decision,
            "code": found.code,
            "approval": "" if found.approval is None else found.approval.id,
            "reasons": reasons_document(result.reasons),
            "revision": result.revision,
        }
        await self._recorder.append("evaluation", body)


def _told(result: PolicyResult) -> Told:
    """Four outcomes as two: what needs anything more is no permission."""
    decision = result.outcome in _PERMITS and not result.needs
    context: dict[str, object] = {}
    if result.obligations:
        context["obligations"] = [
            {
                "id": f"obl-{number}",
                "type": "custom",
                "properties": {"name": one.type, "parameters": dict(one.parameters)},
            }
            for number, one in enumerate(result.obligations, 1)
        ]
    if not decision:
        context["reason"] = "; ".join(one.reason for one in result.reasons)[:1000] or "no rule permits this"
        context["rules"] = sorted({one.rule for one in result.reasons})
    return Told(decision=decision, context=context)


def _subject(people: People, asked: Evaluation, now: datetime, *, behind: tuple[IdentityKey, ...] = ()) -> Subject:
    """Who the application's user is to people.yaml, by name; anybody else is a stranger with nobody behind them."""
    party = people.by_name(asked.subject_id)
    stranger = IdentityKey(f"{_STRANGER}:{asked.subject_type}", asked.subject_id)
    identity = party.identity if party is not None else stranger
    token = VerifiedToken(
        identity=identity,
        actors=tuple(one for one in behind if one != identity),
        roles=(),
        expires=now.astimezone(UTC),
        token_id="",
        dev=False,
    )
    return people.subject(token, role="")


def _asked_body(caller: Subject, asked: Evaluation, evaluation: str = "") -> dict[str, object]:
    """The request as text: it may hold numbers that a record's canonical form has not."""
    request = orjson.dumps(asked.document, option=orjson.OPT_SORT_KEYS)
    return {
        "evaluation": evaluation or new_id("dec"),
        **who_body(caller),
        "request": request.decode(),
        "digest": hashlib.sha256(request).hexdigest(),
    }


def _failed(caller: Subject, asked: Evaluation, error: DecisionError) -> dict[str, object]:
    return {
        **_asked_body(caller, asked),
        "input": None,
        "outcome": "deny",
        "decision": False,
        "code": error.code,
        "approval": "",
        "reasons": [],
        "revision": "",
    }
