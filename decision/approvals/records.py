"""The bodies of `approval` records: what happened to an approval, who did it, and the question policy answered."""

from __future__ import annotations

from collections.abc import Sequence

from decision.model import JSON, Approval, PolicyResult, Subject
from decision.pdp.answer import approval_body, input_body, reasons_document, who_body

KIND = "approval"


def verdict_body(approval: Approval, reviewer: Subject, given: JSON, *, question: JSON, answer: PolicyResult) -> JSON:
    """A verdict that counts. `approval` is in the state it leads to: one reviewer's no denies it."""
    return {
        **approval_body(approval, "verdict"),
        "reviewer": who_body(reviewer),
        "verdict": given,
        "input": input_body(question),
        "answer": _answer(answer),
    }


def refused_body(
    approval: Approval, reviewer: Subject, given: JSON, *, code: str, question: JSON, answer: PolicyResult | None
) -> JSON:
    """A verdict that does not count, and why: policy's answer, or (answer null) the state named by `code`."""
    return {
        **approval_body(approval, "verdict-refused"),
        "reviewer": who_body(reviewer),
        "verdict": given,
        "code": code,
        "input": input_body(question),
        "answer": None if answer is None else _answer(answer),
    }


def transition_body(
    approval: Approval, cause: str, *, by: Subject | None = None, reason: str = "", answer: PolicyResult | None = None
) -> JSON:
    """`approval` is in the state after the move. cause: reviewed, withdrawn, swept. `by` is null for a service."""
    return {
        **approval_body(approval, "transition"),
        "cause": cause,
        "by": None if by is None else who_body(by),
        "why": reason,
        "answer": None if answer is None else _answer(answer),
    }


def transitions(approvals: Sequence[Approval], cause: str) -> Sequence[tuple[str, JSON]]:
    return [(KIND, transition_body(one, cause)) for one in approvals]


def _answer(answer: PolicyResult) -> JSON:
    return {
        "outcome": str(answer.outcome.value),
        "reasons": reasons_document(answer.reasons),
        "revision": answer.revision,
    }
