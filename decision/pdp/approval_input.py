"""What policy is told of an approval, of a login and of a closure's requests: parts of the question's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from decision.model import Login, Subject
from decision.ports import Requests

Document = dict[str, object]
_LONGEST_S: Final = 2**31 - 1  # what OPA's input may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalContext:
    """An approval as policy reads it: verdicts under the live people."""

    id: str
    requester: Subject
    verdicts: Sequence[tuple[Subject, bool, datetime]]
    groups: tuple[str, ...]
    quorum: int
    rules: tuple[str, ...] = ()  # those that held the act when it was asked for
    revoked: frozenset[int] = frozenset()  # by their place: whose reviewer was revoked since


def approval_document(approval: ApprovalContext | None, now: datetime) -> Document:
    if approval is None:
        return {
            "present": False,
            "id": "",
            "requester_closure": [],
            "requester_acting_closure": [],
            "verdicts": [],
            "groups": [],
            "quorum": 0,
            "rules": [],
        }
    return {
        "present": True,
        "id": approval.id,
        "requester_closure": list(approval.requester.closure),
        "requester_acting_closure": list(approval.requester.acting_closure),
        "verdicts": [
            {
                "name": reviewer.party.name,
                "kind": reviewer.party.kind,
                "approve": approve,
                "closure": list(reviewer.closure),
                "groups": list(reviewer.party.groups),
                "in_people": reviewer.party.kind != "unknown",
                "revoked": number in approval.revoked,
                "age_s": _age(given, now),
            }
            for number, (reviewer, approve, given) in enumerate(approval.verdicts)
        ],
        "groups": list(approval.groups),
        "quorum": approval.quorum,
        "rules": list(approval.rules),
    }


def login_document(login: Login, now: datetime) -> Document:
    """age_s is -1 where the token doesn't say when its subject logged in, and 0 for a time to come."""
    return {"acr": login.acr, "age_s": -1 if login.time is None else _age(login.time, now)}


def requests_document(requests: Requests | None) -> Document:
    if requests is None:
        return {"present": False, "live": 0, "hour": 0, "refused": 0}
    return {"present": True, "live": requests.live, "hour": requests.hour, "refused": requests.refused}


def _age(since: datetime, now: datetime) -> int:
    """Whole seconds, within what OPA's input may hold."""
    return max(0, min(_LONGEST_S, (now - since) // timedelta(seconds=1)))
