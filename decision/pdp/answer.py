"""A decision as the service gives it, and as the log keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from twokey.type.v1 import operation_pb2

from decision.audit.record import base64, encode, timestamp
from decision.errors import DecisionError, TokenError
from decision.model import (
    JSON,
    Approval,
    BudgetUse,
    Durability,
    Obligation,
    Outcome,
    PolicyResult,
    Reason,
    Session,
    Subject,
    new_id,
)
from decision.pdp import opa_input
from decision.ports import Used


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One decision. Nothing here is an allow unless outcome says so; `needs` not empty means ask again."""

    time: datetime
    id: str = field(default_factory=lambda: new_id("dec"))
    outcome: Outcome = Outcome.DENY
    code: str = ""
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    revision: str = ""
    durability: Durability = Durability.BEFORE
    window: tuple[int, int] | None = None  # records, delay in ms
    lease_ttl_ms: int | None = None
    needs: tuple[str, ...] = ()
    approval: Approval | None = None
    execution: str = ""
    operation: str = ""
    record: int = -1
    budgets: tuple[BudgetUse, ...] = ()


def denial(
    code: str, reasons: tuple[Reason, ...], *, now: datetime, revision: str, operation: str = "", next_step: str = ""
) -> Answer:
    if next_step:
        reasons = tuple(Reason(r.rule, r.reason, r.next or next_step) for r in reasons)
    return Answer(time=now, code=code, reasons=reasons, revision=revision, operation=operation)


def denial_of(error: DecisionError, *, now: datetime, revision: str, operation: str = "") -> Answer:
    """A failure as a denial. The rule id is the service's own, so that nobody takes it for one of policy."""
    rule = "service." + error.code.lower().replace("_", "-")
    reason = Reason(rule, sentence(error), error.next_step)
    return denial(error.code, (reason,), now=now, revision=revision, operation=operation)


def reasons_document(reasons: Sequence[Reason]) -> list[object]:
    return [{"rule": r.rule, "reason": r.reason, "next": r.next} for r in reasons]


@lru_cache(1024)
def spelt_reasons(reasons: tuple[Reason, ...]) -> bytes:
    """As `reasons_document` stands in a record. Raises RecordFormatError."""
    return encode(reasons_document(reasons))


@lru_cache(4096)
def spelt_subject(subject: Subject) -> bytes:
    """As `opa_input.subject_document` stands in a record. Raises RecordFormatError."""
    return encode(opa_input.subject_document(subject))


def answer_body(answer: Answer) -> dict[str, object]:
    """The answer's part of a record."""
    return {
        "decision": answer.id,
        "operation": answer.operation,
        "outcome": str(answer.outcome.value),
        "code": answer.code,
        "reasons": reasons_document(answer.reasons),
        "obligations": [{"type": o.type, "parameters": dict(o.parameters)} for o in answer.obligations],
        "revision": answer.revision,
        "durability": str(answer.durability.value),
        "window": None if answer.window is None else {"records": answer.window[0], "delay_ms": answer.window[1]},
        "lease_ttl_ms": answer.lease_ttl_ms,
        "approval": "" if answer.approval is None else answer.approval.id,
        "execution": answer.execution,
        "budgets": [budget_body(use) for use in answer.budgets],
    }


def budget_body(use: BudgetUse) -> dict[str, object]:
    return {
        "budget": use.budget.name,
        "limit": use.budget.limit,
        "seconds": use.budget.seconds,
        "used": use.used,
    }


def budgets_used(used: Sequence[Used]) -> tuple[BudgetUse, ...]:
    """As policy was shown them: for answers that take nothing."""
    return tuple(BudgetUse(one.budget, len(one.free_in)) for one in used)


def input_body(document: JSON | None) -> object:
    return None if document is None else opa_input.recorded(document)


def values_body(operation: operation_pb2.Operation) -> dict[str, object]:
    """What exactly was asked to run, with which values, and the digests it is known by."""
    values = operation.sql.values
    return {
        "digest": operation.digest.hex(),
        "shape_digest": operation.shape_digest.hex(),
        "statement": base64(values.statement),
        "statement_replaced": opa_input.statement_replaced(values),
        "bound": bound_body(values.bound),
    }


def bound_body(bound: Sequence[operation_pb2.BoundValue]) -> list[object]:
    return [{"type_oid": b.type_oid, "is_null": b.is_null, "binary": b.binary, "value": base64(b.value)} for b in bound]


def who_body(subject: Subject) -> dict[str, object]:
    """Who asks, for whom, under which role."""
    return {
        "subject": opa_input.subject_document(subject),
        "role": subject.role,
        "token_id": subject.token_id,
        "dev": subject.dev,
    }


def session_body(session: Session) -> dict[str, object]:
    """The session's part of a record about something done in it."""
    return {
        "session": session.id,
        "connection": session.connection,
        "environment": session.environment,
        "protocol": session.protocol,
        "client_address": session.client_address,
        "enforcer": session.enforcer,
        **({"plan": session.plan} if session.plan else {}),
        **who_body(session.subject),
    }


def call_denied_body(rpc: str, subject: Subject, document: JSON, result: PolicyResult) -> dict[str, object]:
    """A call that policy denied to someone with a token."""
    return {
        "rpc": rpc,
        **who_body(subject),
        "reasons": reasons_document(result.reasons),
        "revision": result.revision,
        "input": input_body(document),
    }


def refusal_text(result: PolicyResult) -> str:
    """Policy's reasons for people, rules named."""
    return "; ".join(f"{one.reason} [{one.rule}]" for one in result.reasons) or "no rule permits this call"


def approval_body(approval: Approval, event: str) -> dict[str, object]:
    """An approval as the log tells it when something happens to it."""
    return {
        "approval": approval.id,
        "event": event,
        "state": str(approval.state.value),
        "session": approval.session,
        "connection": approval.connection,
        "environment": approval.environment,
        "digest": approval.key.digest.hex(),
        "requester": opa_input.subject_document(approval.requester),
        "dev": approval.requester.dev,
        "groups": list(approval.groups),
        "quorum": approval.quorum,
        "expires": timestamp(approval.expires),
        "execution": approval.execution,
        "revision": approval.revision,
        "reasons": reasons_document(approval.reasons),
    }


_TOKEN_SENTENCES = {
    "TOKEN_MISSING": "No token was given.",
    "TOKEN_EXPIRED": "The token has expired.",
    "TOKEN_PROOF": "The token is bound to a key, and no good proof of it came with it.",
    "TOKEN_REVOKED": "The token was revoked.",
    "TOKEN_SCOPE": "The token's scopes are for something else.",
    "TOKEN_USED": "The one-time password is used up, too old, or for something else.",
    "USE_DPOP_NONCE": "The proof needs the nonce that comes with this answer.",
    "TOKEN_ROLE": "The token does not carry the role that was asked for.",
}


def sentence(error: DecisionError) -> str:
    """What an error says. About tokens only one of a few fixed sentences; the code tells the rest."""
    if isinstance(error, TokenError):
        return _TOKEN_SENTENCES.get(error.code, "The token was not accepted.")
    return str(error)
