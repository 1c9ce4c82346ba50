"""A Decision message, read strictly into a Ruling: whatever is not wholly understood is a denial that says so.

The wire is open (an enum may carry any number, a field may be missing); what a gateway acts on is closed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from twokey.decision.v1 import decision_pb2 as rpc
from twokey.type.v1 import decision_pb2

from enforcers.core.errors import CODES
from enforcers.core.obligations import ObligationUnmetError, read_obligations
from enforcers.core.ports import Answer, Hold, Ruling

MAX_REASONS = 16
MAX_SENTENCE = 2000  # characters of one text that came with a decision
MAX_WINDOW = 4096  # records

_NOT_ACCEPTED = "the token was not accepted"


def unavailable(why: str = "the decision service can't be reached") -> Ruling:
    return denied("DECISION_UNAVAILABLE", why, hint="try again; nothing was done")


def denied(code: str, message: str, *, hint: str = "", decision: str = "", rules: tuple[str, ...] = ()) -> Ruling:
    return Ruling(answer=Answer.DENIED, decision=decision, code=known(code), message=message, hint=hint, rules=rules)


def known(code: str) -> str:
    """The code itself when the table of errors.py has it; TOKEN_* are one row of it."""
    return code if code in CODES or code.startswith("TOKEN_") else "POLICY_DENIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    ttl: float  # seconds
    window: tuple[int, float] | None  # W records, T seconds; None: each intent is durable before its act
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a Decide answer came to. lease: only where the answer may be kept."""

    ruling: Ruling
    lease: LeaseTerms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked, as far as the answer must fit it."""

    operation: str
    can_hold: bool
    redeeming: bool
    has_estimate: bool
    planned: bool = False  # the session carries a plan, whose steps belong to its execution


def read_decide(response: rpc.DecideResponse, asked: Asked) -> Read:
    """Never raises. Only a ruling of allow carries a lease."""
    decision = response.decision
    if response.operation and response.operation != asked.operation:
        return Read(ruling=_invalid(decision, "the answer belongs to another operation"))
    if not decision.id.startswith("dec_") or not decision.revision:
        return Read(ruling=_invalid(decision, "a decision without id or policy revision"))
    outcome = decision.outcome
    if decision.needs:
        return Read(ruling=_needs(decision, asked))
    if outcome == decision_pb2.OUTCOME_DENY:
        return Read(ruling=denial(decision))
    if outcome == decision_pb2.OUTCOME_REQUIRE_APPROVAL:
        return Read(ruling=_held(decision, asked))
    if outcome in (decision_pb2.OUTCOME_ALLOW, decision_pb2.OUTCOME_MASK_COLUMNS):
        return _allowed(response, asked)
    return Read(ruling=_invalid(decision, "an outcome this enforcer does not know"))


def denial(decision: decision_pb2.Decision) -> Ruling:
    """The words of a denial: each reason with its rule, the next steps as the hint."""
    code = known(decision.reason_code or "POLICY_DENIED")
    reasons = decision.reasons[:MAX_REASONS]
    if code.startswith("TOKEN_"):
        return denied(code, _NOT_ACCEPTED, decision=decision.id)
    told = [f"{_cut(item.reason)} [{_cut(item.rule)}]" if item.rule else _cut(item.reason) for item in reasons]
    hints = dict.fromkeys(_cut(item.next) for item in reasons if item.next)
    refused = denied(
        code,
        "; ".join(told) or "denied by policy",
        hint="; ".join(hints),
        decision=decision.id,
        rules=tuple(item.rule for item in reasons if item.rule),
    )
    # A request that is open though nobody waits for it: the client is told which.
    return replace(refused, hold=_hold(decision)) if code == "APPROVAL_PENDING" else refused


def _cut(text: str) -> str:
    return text[:MAX_SENTENCE].replace("\0", "")


def _invalid(decision: decision_pb2.Decision, why: str) -> Ruling:
    return denied("POLICY_INVALID", why, hint="tell the operator: the decision can't be used", decision=decision.id)


def _needs(decision: decision_pb2.Decision, asked: Asked) -> Ruling:
    # Values always travel with the question, so only an estimate can still be missing, and only once.
    if (
        list(decision.needs) != ["estimate"]
        or decision.outcome != decision_pb2.OUTCOME_DENY
        or asked.has_estimate
        or asked.redeeming
    ):
        return _invalid(decision, "the decision asks for what it was given or can't have")
    return Ruling(answer=Answer.NEEDS_ESTIMATE, decision=decision.id)


def _held(decision: decision_pb2.Decision, asked: Asked) -> Ruling:
    if asked.redeeming:
        return denied(
            "APPROVAL_MISMATCH",
            "the policy now asks for another approval",
            hint="ask again",
            decision=decision.id,
        )
    if not asked.can_hold and decision.reason_code != "APPROVAL_APPROVED":
        return _invalid(decision, "held where nothing can be held")
    hold = _hold(decision)
    if hold is None:
        return _invalid(decision, "an approval without id, groups, quorum or expiry")
    return Ruling(
        answer=Answer.HELD,
        decision=decision.id,
        message="; ".join(_cut(item.reason) for item in decision.reasons[:MAX_REASONS]),
        rules=tuple(item.rule for item in decision.reasons[:MAX_REASONS] if item.rule),
        hold=hold,
    )


def _hold(decision: decision_pb2.Decision) -> Hold | None:
    """The request that a decision names. None: it names none that can be used."""
    approval = decision.approval
    if (
        not approval.id.startswith("apr_")
        or approval.quorum < 1
        or not approval.groups
        or not approval.HasField("expires")
    ):
        return None
    try:
        expires = approval.expires.ToJsonString()
    except ValueError:
        return None
    return Hold(approval=approval.id, groups=tuple(approval.groups), quorum=approval.quorum, expires=expires)


def _allowed(response: rpc.DecideResponse, asked: Asked) -> Read:
    decision = response.decision
    if response.record < 0:
        return Read(ruling=denied("RECORD_UNAVAILABLE", "the intent was not recorded", decision=decision.id))
    execution = response.execution
    fits = asked.planned or asked.redeeming == bool(execution)
    if not fits or (execution and not execution.startswith("exe_")):
        return Read(ruling=_invalid(decision, "the execution does not fit the question"))
    try:
        duties = read_obligations(decision.obligations)
    except ObligationUnmetError as error:
        return Read(ruling=denied("OBLIGATION_UNMET", str(error), decision=decision.id))
    if bool(duties.mask) != (decision.outcome == decision_pb2.OUTCOME_MASK_COLUMNS):
        return Read(ruling=_invalid(decision, "the outcome and the masks contradict each other"))
    ruling = Ruling(
        answer=Answer.ALLOWED,
        decision=decision.id,
        rules=tuple(item.rule for item in decision.reasons[:MAX_REASONS] if item.rule),
        duties=duties,
        execution=response.execution,
    )
    alone = asked.redeeming or asked.planned
    # The reason for an act is that act's own: an answer that demands one is not kept for the next.
    return Read(ruling=ruling, lease=None if alone or duties.require_reason else _lease(decision))


def _lease(decision: decision_pb2.Decision) -> LeaseTerms | None:
    """Of an allow with a usable window, or whose intents are durable first; anything else is asked again (ADR 0007)."""
    ttl = decision.lease.ttl.ToNanoseconds() / 1e9
    if not decision.HasField("lease") or ttl <= 0 or decision.outcome != decision_pb2.OUTCOME_ALLOW:
        return None
    window = _window(decision)
    if window is None and decision.durability != decision_pb2.DURABILITY_BEFORE:
        return None
    return LeaseTerms(ttl=ttl, window=window, revision=decision.revision)


def _window(decision: decision_pb2.Decision) -> tuple[int, float] | None:
    """(W records, T seconds) of a windowed decision."""
    if decision.durability != decision_pb2.DURABILITY_WINDOWED or not decision.HasField("window"):
        return None
    delay = decision.window.delay.ToNanoseconds() / 1e9
    if decision.window.records < 1 or delay <= 0:
        return None
    return min(decision.window.records, MAX_WINDOW), delay
