"""Protobuf to the service's words and back. Strict inwards; outwards every enum value is named here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import orjson
from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.json_format import ParseDict, ParseError
from twokey.approval.v1 import approval_pb2
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2
from twokey.type.v1 import operation_pb2, subject_pb2

from decision.errors import PolicyError
from decision.model import (
    Approval,
    ApprovalState,
    BudgetUse,
    Durability,
    IdentityKey,
    Obligation,
    Outcome,
    Party,
    Reason,
    Session,
    Subject,
    Verdict,
)
from decision.pdp.answer import Answer
from decision.pdp.pipeline import Ask
from decision.pdp.revocations import Revocation
from decision.pdp.sessions import Opening

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOMES: Final[Mapping[Outcome, type_pb2.Outcome]] = {
    Outcome.ALLOW: type_pb2.OUTCOME_ALLOW,
    Outcome.DENY: type_pb2.OUTCOME_DENY,
    Outcome.MASK_COLUMNS: type_pb2.OUTCOME_MASK_COLUMNS,
    Outcome.REQUIRE_APPROVAL: type_pb2.OUTCOME_REQUIRE_APPROVAL,
}
_DURABILITIES: Final[Mapping[Durability, type_pb2.Durability]] = {
    Durability.BEFORE: type_pb2.DURABILITY_BEFORE,
    Durability.WINDOWED: type_pb2.DURABILITY_WINDOWED,
}
_STATES: Final[Mapping[ApprovalState, approval_pb2.State]] = {
    ApprovalState.PENDING: approval_pb2.STATE_PENDING,
    ApprovalState.APPROVED: approval_pb2.STATE_APPROVED,
    ApprovalState.DENIED: approval_pb2.STATE_DENIED,
    ApprovalState.EXPIRED: approval_pb2.STATE_EXPIRED,
    ApprovalState.WITHDRAWN: approval_pb2.STATE_WITHDRAWN,
    ApprovalState.REDEEMED: approval_pb2.STATE_REDEEMED,
    ApprovalState.LAPSED: approval_pb2.STATE_LAPSED,
    ApprovalState.OUTCOME_UNKNOWN: approval_pb2.STATE_OUTCOME_UNKNOWN,
}


def ask_of(request: decision_pb2.DecideRequest) -> Ask:
    return Ask(
        session=request.session,
        operation=request.operation,
        approval=request.approval,
        can_hold=request.can_hold,
        hold_hint=request.hold_hint,
        sequence=request.sequence,
    )


def opening_of(request: decision_pb2.OpenSessionRequest) -> Opening:
    return Opening(
        token=request.token,
        proof=request.proof,
        connection=request.connection,
        role=request.role,
        protocol=request.protocol,
        client_address=request.client_address,
        plan=request.plan,
        enforcer=request.enforcer,
        client_certificate=request.client_certificate,
    )


def timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    since = moment - _EPOCH
    return timestamp_pb2.Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def reason(value: Reason) -> type_pb2.Reason:
    return type_pb2.Reason(rule=value.rule, reason=value.reason, next=value.next)


def obligation(value: Obligation) -> type_pb2.Obligation:
    """Raises PolicyError when the parameters have no protobuf form."""
    try:
        return _obligation(value.type, orjson.dumps(dict(value.parameters)))
    except (ParseError, TypeError):
        raise PolicyError(f"the parameters of the obligation {value.type} can't be sent") from None


@lru_cache(1024)
def _obligation(kind: str, parameters: bytes) -> type_pb2.Obligation:
    """Shared by those who send the same one: not to be changed."""
    return type_pb2.Obligation(type=kind, parameters=ParseDict(orjson.loads(parameters), struct_pb2.Struct()))


def decision(answer: Answer) -> type_pb2.Decision:
    message = type_pb2.Decision(
        id=answer.id,
        outcome=_OUTCOMES[answer.outcome],
        reasons=[reason(value) for value in answer.reasons],
        obligations=[obligation(value) for value in answer.obligations],
        revision=answer.revision,
        durability=_DURABILITIES[answer.durability],
        needs=answer.needs,
        reason_code=answer.code,
        time=timestamp(answer.time),
        budgets=[_budget(use) for use in answer.budgets],
    )
    if answer.window is not None:
        message.window.records = answer.window[0]
        message.window.delay.FromMilliseconds(answer.window[1])
    if answer.lease_ttl_ms is not None:
        message.lease.ttl.FromMilliseconds(answer.lease_ttl_ms)
    if answer.approval is not None:
        message.approval.id = answer.approval.id
        message.approval.groups.extend(answer.approval.groups)
        message.approval.quorum = answer.approval.quorum
        message.approval.expires.FromDatetime(answer.approval.expires)
    return message


def _budget(use: BudgetUse) -> type_pb2.BudgetUse:
    return type_pb2.BudgetUse(budget=use.budget.name, limit=use.budget.limit, seconds=use.budget.seconds, used=use.used)


def decide_response(answer: Answer) -> decision_pb2.DecideResponse:
    return decision_pb2.DecideResponse(
        decision=decision(answer), record=answer.record, execution=answer.execution, operation=answer.operation
    )


def _identity(party: Party) -> subject_pb2.Identity:
    return subject_pb2.Identity(
        iss=party.identity.iss, sub=party.identity.sub, name=party.name, owner=party.owner, kind=party.kind
    )


def subject(value: Subject) -> subject_pb2.Subject:
    return subject_pb2.Subject(
        identity=_identity(value.party),
        actors=[_identity(actor) for actor in value.actors],
        roles=value.roles,
        role=value.role,
        token_id=value.token_id,
    )


def identity_of(message: subject_pb2.Identity) -> IdentityKey:
    return IdentityKey(message.iss, message.sub)


def session(value: Session) -> decision_pb2.Session:
    return decision_pb2.Session(
        id=value.id,
        subject=subject(value.subject),
        connection=value.connection,
        environment=value.environment,
        role=value.subject.role,
        opened=timestamp(value.opened),
        expires=timestamp(value.expires),
        client_address=value.client_address,
        enforcer=value.enforcer,
        closed=None if value.closed is None else timestamp(value.closed),
        dev=value.subject.dev,
    )


def revocation(value: Revocation) -> decision_pb2.WatchRevocationsResponse:
    message = decision_pb2.WatchRevocationsResponse(
        sequence=value.sequence, revision=value.revision, revoked_sessions=value.sessions, reason=value.reason
    )
    if value.classified is not None:
        message.classified.connection = value.classified.connection
        for schema, relation, column in value.classified.columns:
            message.classified.columns.add(schema=schema, relation=relation, column=column)
    return message


def approval(value: Approval) -> approval_pb2.Approval:
    return approval_pb2.Approval(
        id=value.id,
        state=_STATES[value.state],
        requester=subject(value.requester),
        session=value.session,
        connection=value.connection,
        environment=value.environment,
        operation=operation_pb2.Operation.FromString(value.operation),
        reasons=[reason(item) for item in value.reasons],
        groups=value.groups,
        quorum=value.quorum,
        verdicts=[_verdict(item) for item in value.verdicts],
        created=timestamp(value.created),
        expires=timestamp(value.expires),
        execution=value.execution,
        revision=value.revision,
        dev=value.requester.dev,
    )


def _verdict(value: Verdict) -> approval_pb2.Verdict:
    return approval_pb2.Verdict(
        reviewer=subject(value.reviewer),
        approve=value.approve,
        reason=value.reason,
        channel=value.channel,
        time=timestamp(value.time),
    )
