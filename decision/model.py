"""The service's own words as frozen values; no protobuf, no I/O.

Times are timezone-aware UTC datetimes. Digests are raw bytes. Ids are strings with their prefix.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

JSON = Mapping[str, object]


def new_id(prefix: str) -> str:
    """`prefix` + "_" + a UUIDv7 (RFC 9562, section 5.7) in lower-case base32: 26 characters."""
    millis = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    value = (millis & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    value <<= 2  # 26 digits of 5 bits
    return f"{prefix}_{''.join([_DIGITS[value >> shift & 0x3FF] for shift in range(120, -1, -10)])}"


_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_DIGITS = [first + second for first in _ALPHABET for second in _ALPHABET]  # two at a time


class Outcome(enum.StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    MASK_COLUMNS = "mask-columns"
    REQUIRE_APPROVAL = "require-approval"


class Durability(enum.StrEnum):
    BEFORE = "before"
    WINDOWED = "windowed"


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """An identity is the pair (iss, sub), never one of them."""

    iss: str
    sub: str


@dataclass(frozen=True, slots=True)
class Login:
    """How its subject logged in, as a token tells (OpenID Connect Core, section 2: acr, auth_time; RFC 9470)."""

    acr: str = ""
    time: datetime | None = None


NO_LOGIN = Login()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedToken:
    identity: IdentityKey
    actors: tuple[IdentityKey, ...]  # actors[0] is the current actor
    roles: tuple[str, ...]  # after the issuer's role map
    expires: datetime
    token_id: str
    dev: bool
    issuer: str = ""  # who signed it: with token_id its name; the subject's own issuer unless it was exchanged
    issued: datetime | None = None  # what it rests on was issued then: before a revocation or after
    scopes: tuple[str, ...] = ()  # those that are ours: twokey:CONNECTION:VERB
    scoped: bool = False  # only what `scopes` names
    keys: tuple[str, ...] = ()  # keys it is bound to, all shown to be held: jkt:…, x5t:…
    may_act: IdentityKey | None = None  # who alone may act for its subject (RFC 8693, section 4.4)
    client: str = ""
    login: Login = NO_LOGIN
    transactions: tuple[tuple[str, str], ...] = ()  # (issuer, its `txn`): whatever it issued for it belongs together


def token_key(issuer: str, token_id: str) -> bytes:
    """What a token is known by in the store and in a revocation: ids are unique only to their issuer."""
    return hashlib.sha256(f"{issuer}\0{token_id}".encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Possession:
    """What a caller has shown to hold. jkt: the thumbprint of the key that signed a good DPoP proof for this very
    call; x5t: that of the certificate shown in TLS and checked there; "" where none was."""

    jkt: str = ""
    x5t: str = ""


NOTHING = Possession()


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """An identity as people.yaml knows it. kind: person, agent or unknown (then name is "")."""

    identity: IdentityKey
    name: str
    kind: str
    owner: str  # of an agent; else ""
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who asks, for whom: the token's facts joined with people.yaml under one policy revision."""

    party: Party
    actors: tuple[Party, ...]
    roles: tuple[str, ...]
    role: str  # the active one; "" where none is activated (reviewers, auditors)
    closure: tuple[str, ...]  # sorted; docs/architecture.md says how an element is spelt
    acting_closure: tuple[str, ...]
    token_id: str
    dev: bool
    keys: tuple[
        str, ...
    ] = ()  # that the token is bound to, sorted: jkt:…, x5t:…; what it asks for is bound to them too


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    id: str
    subject: Subject
    connection: str
    environment: str
    protocol: str
    client_address: str
    enforcer: str
    opened: datetime
    expires: datetime
    closed: datetime | None = None
    close_reason: str = ""
    plan: str = ""  # pln_, whose steps it does


@dataclass(frozen=True, slots=True)
class Reason:
    rule: str
    reason: str
    next: str = ""


@dataclass(frozen=True, slots=True)
class Obligation:
    type: str
    parameters: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalTerms:
    groups: tuple[str, ...]
    quorum: int
    expires_s: int
    again_s: int | None = None  # only time is missing (cooling-off): ask again after so many seconds


@dataclass(frozen=True, slots=True)
class Budget:
    """What an act counts against: so many of its kind in so many seconds, by everyone of one closure together."""

    name: str
    limit: int
    seconds: int


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How far a budget is used. Of an act that was let through, itself included."""

    budget: Budget
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """`data.twokey.main.decision`, checked. revision is that of the policy that answered."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]
    needs: tuple[str, ...]
    approval: ApprovalTerms | None
    lease_ttl_ms: int | None
    durability: Durability
    window: tuple[int, int] | None  # records, delay_ms
    revision: str
    counts: tuple[Budget, ...] = ()  # what the act counts against, if it is let through


class ApprovalState(enum.StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    REDEEMED = "redeemed"
    LAPSED = "lapsed"
    OUTCOME_UNKNOWN = "outcome-unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    reviewer: Subject
    approve: bool
    reason: str
    channel: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ActKey:
    """What an approval is bound to (design, invariant 4): all of it, compared member by member."""

    digest: bytes
    subject: IdentityKey
    actors: tuple[IdentityKey, ...]
    role: str
    connection: str
    keys: tuple[str, ...] = ()  # of the subject's proof; none for a bearer's


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    id: str
    state: ApprovalState
    key: ActKey
    requester: Subject
    session: str  # the asking session
    connection: str
    environment: str
    operation: bytes  # the Operation protobuf, serialised, values included
    reasons: tuple[Reason, ...]
    groups: tuple[str, ...]
    quorum: int
    verdicts: tuple[Verdict, ...] = field(default=())
    created: datetime
    expires: datetime
    decided: datetime | None = None
    execution: str = ""
    revision: str = ""
