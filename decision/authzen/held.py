"""An approval of an AuthZEN question: how it is kept among the others, and whether one that is shown is for a question.

It is an approval like any other (decision.approvals), on the connection `authzen`: its operation's statement is the
request, which is what reviewers see, and its digest that of exactly what was denied. It isn't redeemed, because nothing
is executed here: it holds for the same question of the same application until it ends, and each use is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
from google.protobuf.message import DecodeError
from twokey.type.v1 import operation_pb2

from decision.authzen import binding, message
from decision.authzen.message import Evaluation
from decision.errors import BadRequestError, StateError
from decision.model import ActKey, Approval, ApprovalState, IdentityKey, PolicyResult, Session, Subject, new_id
from decision.pdp.deadlines import stored
from decision.ports import ApprovalDraft, ApprovalStore

CONNECTION: Final = "authzen"
SESSION: Final = "authzen"  # there is none, so any replica finds what another one was asked for
_ID: Final = re.compile(r"apr_[a-z2-7]{26}\Z")
UNVERIFIABLE: Final = "approval_unverifiable"
OUT_OF_SCOPE: Final = "out_of_scope"
EXPIRED: Final = "approval_expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an approval's operation says: who asked, by the name in people.yaml, and for what."""

    caller: str
    evaluation: str
    members: Sequence[str]
    asked: Evaluation


def chain_of(caller: Subject) -> tuple[IdentityKey, ...]:
    """The application, and whoever acts for it."""
    return (caller.party.identity, *(actor.identity for actor in caller.actors))


def draft(
    *,
    requester: Subject,
    caller: Subject,
    evaluation: str,
    members: Sequence[str],
    asked: Evaluation,
    digest: bytes,
    added: Mapping[str, object],
    result: PolicyResult,
) -> ApprovalDraft:
    """`added`: what the submission says beyond what was denied; shown, never judged by. Raises StateError."""
    if result.approval is None:
        raise StateError("policy requires an approval and doesn't say whose", code="POLICY_INVALID")
    kept = {
        "caller": caller.party.name,
        "evaluation": evaluation,
        "members": list(members),
        "request": binding.relevant(asked.document, members),
        "added": added,
    }
    described = operation_pb2.Operation(id=new_id("op"), connection=CONNECTION, digest=digest, shape_digest=digest)
    described.sql.values.statement = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    return ApprovalDraft(
        key=ActKey(
            digest=digest,
            subject=requester.party.identity,
            actors=chain_of(caller),
            role="",
            connection=CONNECTION,
        ),
        requester=requester,
        session=SESSION,
        connection=CONNECTION,
        environment="",
        operation=described.SerializeToString(deterministic=True),
        reasons=result.reasons,
        groups=result.approval.groups,
        quorum=result.approval.quorum,
        expires_s=result.approval.expires_s,
        revision=result.revision,
    )


def operation(drafted: ApprovalDraft) -> operation_pb2.Operation:
    return operation_pb2.Operation.FromString(drafted.operation)


def session(drafted: ApprovalDraft, now: datetime) -> Session:
    """What stands for a session where policy is asked whether one more approval may be asked for."""
    return Session(
        id=SESSION,
        subject=drafted.requester,
        connection=CONNECTION,
        environment="",
        protocol="",
        client_address="",
        enforcer="",
        opened=now,
        expires=now,
    )


def held(approval: Approval) -> Held:
    """Raises StateError for what can't be read back."""
    try:
        described = operation_pb2.Operation.FromString(approval.operation)
        kept = orjson.loads(described.sql.values.statement)
        return Held(
            caller=str(kept["caller"]),
            evaluation=str(kept["evaluation"]),
            members=[str(one) for one in kept["members"]],
            asked=message.evaluation(kept["request"]),
        )
    except (DecodeError, BadRequestError, orjson.JSONDecodeError, KeyError, TypeError):
        raise StateError("the held question can't be read back", code="APPROVAL_MISMATCH") from None


async def shown(
    store: ApprovalStore, *, caller: Subject, subject: IdentityKey, asked: Evaluation, given: object, now: datetime
) -> Approval | str:
    """The approval that a question shows, where it is approved, live, and for exactly this; else the profile's code for
    why it isn't. Raises StoreError, StateError."""
    ident = given.get("id") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(ident, str) or not _ID.match(ident) or "state" in given:
        return UNVERIFIABLE  # none of ours has a state: what is shown as one was signed by somebody else
    found = await mine(store, caller, ident)
    if found is None:
        return UNVERIFIABLE
    digest = binding.digest(asked.document, held(found).members)
    if digest != found.key.digest or subject != found.key.subject:
        return OUT_OF_SCOPE
    if found.state is ApprovalState.APPROVED and now < found.expires:
        return found
    ended = {ApprovalState.APPROVED, ApprovalState.EXPIRED, ApprovalState.LAPSED, ApprovalState.WITHDRAWN}
    return EXPIRED if found.state in ended else UNVERIFIABLE


async def mine(store: ApprovalStore, caller: Subject, ident: str) -> Approval | None:
    """One that this very application asked for; an id alone is nobody's key. Raises StoreError."""
    if not _ID.match(ident):
        return None
    found = await stored(store.get(ident))
    if found is None or found.connection != CONNECTION or found.key.actors != chain_of(caller):
        return None
    return found
