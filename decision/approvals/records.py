"""The bodies of `approval` records: what happened to an approval, who did it, and the question policy answered."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from decision.model import JSON, Approval, PolicyResult, Subject
from decision.pdp.opa_input import recorded
from decision.store.codec import reasons_json, subject_json

KIND = "approval"


def verdict_body(approval: Approval, subject: Subject, given: JSON, question: JSON, answer: PolicyResult) -> JSON:
    """A verdict that counts. `approval` is the state it leads to: a refusal by one reviewer denies."""
    return {
        **_approval("verdict", approval),
        "reviewer": subject_json(subject),
        "verdict": given,
        "question": recorded(question),
        "answer": _answer(answer),
    }


def refused_body(
    approval: Approval, subject: Subject, given: JSON, *, code: str, question: JSON, answer: PolicyResult | None
) -> JSON:
    """A verdict that does not count, and why: policy's answer, or the state the approval was in."""
    return {
        **_approval("verdict-refused", approval),
        "reviewer": subject_json(subject),
        "verdict": given,
        "code": code,
        "question": recorded(question),
        "answer": None if answer is None else _answer(answer),
    }


def transition_body(approval: Approval, cause: str, *, by: Subject | None = None, reason: str = "") -> JSON:
    """`approval` is the state after the move. cause: reviewed, withdrawn, swept."""
    return {
        **_approval("transition", approval),
        "cause": cause,
        "by": None if by is None else subject_json(by),
        "reason": reason,
    }


def transitions(approvals: Sequence[Approval], cause: str) -> Sequence[tuple[str, JSON]]:
    return [(KIND, transition_body(one, cause)) for one in approvals]


def _approval(event: str, approval: Approval) -> dict[str, object]:
    return {
        "event": event,
        "approval": approval.id,
        "state": approval.state.value,
        "session": approval.session,
        "connection": approval.connection,
        "environment": approval.environment,
        "digest": b64encode(approval.key.digest).decode(),
        "requester": subject_json(approval.requester),
        "execution": approval.execution,
    }


def _answer(answer: PolicyResult) -> JSON:
    return {
        "outcome": answer.outcome.value,
        "reasons": reasons_json(answer.reasons),
        "revision": answer.revision,
    }
