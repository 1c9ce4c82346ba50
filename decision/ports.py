"""The seams inside the decision service: who offers what to whom.

Each port's wrapper owns the error contract: callers see only the errors named here, whatever lies below.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from decision.model import (
    JSON,
    NOTHING,
    ActKey,
    Approval,
    ApprovalState,
    ApprovalTerms,
    Budget,
    BudgetUse,
    IdentityKey,
    Party,
    PolicyResult,
    Possession,
    Reason,
    Session,
    Subject,
    Verdict,
    VerifiedToken,
)


class People(Protocol):
    """people.yaml under one revision. Immutable, and hashed as the one it is."""

    def __hash__(self) -> int: ...

    def party(self, identity: IdentityKey) -> Party: ...

    def by_name(self, name: str) -> Party | None:
        """A principal or agent by its people.yaml name (its first identity)."""

    def subject(self, token: VerifiedToken, *, role: str) -> Subject:
        """Join a token with people: parties, closure and acting closure (design, section 1)."""


class PolicyEngine(Protocol):
    """OPA with one loaded revision; reloads swap engine, people and revision together."""

    @property
    def revision(self) -> str: ...

    @property
    def people(self) -> People: ...

    @property
    def ready(self) -> bool: ...

    async def evaluate(self, document: JSON) -> PolicyResult:
        """One question. Raises PolicyError (unusable answer) or PolicyUnavailableError (none in time)."""

    def on_change(self, callback: Callable[[str], None]) -> None:
        """Called with the new revision after each swap, on the event loop."""


class TokenVerifier(Protocol):
    async def verify(self, token: str, shown: Possession = NOTHING) -> VerifiedToken:
        """Raises TokenError with code TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_ALG, TOKEN_SIGNATURE, TOKEN_EXPIRED,
        TOKEN_NOT_YET, TOKEN_ISSUER, TOKEN_AUDIENCE, TOKEN_TYPE, TOKEN_CLAIMS, TOKEN_PROOF (it is bound to a key that is
        not in `shown`, which is nothing unless given) or TOKEN_KEYS_UNAVAILABLE (the issuer does
        not answer); PolicyUnavailableError never."""

    async def verify_spoken_of(self, token: str) -> VerifiedToken:
        """As `verify`, whatever key it is bound to: only for a token that is not used but spoken of (an exchange)."""


@dataclass(frozen=True, slots=True)
class Live:
    """sessions: one of each role, connection and closure, which is all that policy tells apart (an agent may have
    hundreds that are alike); kinds: what the store knows these by."""

    kinds: frozenset[str]
    sessions: tuple[Session, ...]


class Admission(Protocol):
    async def admit(
        self, token: str, *, connection: str, role: str, address: str, x5t: str, people: People
    ) -> VerifiedToken:
        """What opens a session: a token whose keys were shown, or a one-time password, and that still stands.
        Raises TokenError with a code of TokenVerifier.verify's, TOKEN_USED or TOKEN_REVOKED; StoreError."""

    async def still_stands(self, token: VerifiedToken, role: str, people: People) -> None:
        """Again, once the session is stored: what was revoked meanwhile didn't see it. Raises as `admit`."""


class VerdictStanding(Protocol):
    async def fallen(self, approval: Approval, people: People) -> frozenset[int]:
        """The verdicts, by their place, whose reviewer, or the token or a role of theirs, was revoked since. Raises
        StoreError."""


class SessionStore(Protocol):
    """Durable sessions. Every method may raise StoreError."""

    async def open(self, session: Session, *, seen: Collection[str] | None = None, history: int | None = None) -> None:
        """`seen`: the kinds of live sessions of its closure that policy was told of. When one of another kind is live
        by now, it was opened meanwhile: StateError SESSIONS_CHANGED, nothing is opened (of two exclusive roles at once
        one wins). The same when its closure's history has grown beyond `history`."""

    async def get(self, session: str) -> Session | None: ...

    async def close(self, session: str, reason: str, *, told: bool = True) -> bool:
        """True when it was open. `told`: replicas that share the store hear of it at once."""

    async def list(self, *, include_closed: bool = False, every: bool = False) -> Sequence[Session]:
        """The newest first, a bounded number of them unless `every`."""

    async def live_of_closure(self, closure: Sequence[str]) -> Live:
        """The open, unexpired sessions whose subject's closure meets `closure`."""

    async def closed_last(self, limit: int) -> Sequence[str]:
        """The ids of the sessions that were closed last, at most `limit`."""

    async def why_closed(self, sessions: Sequence[str]) -> Mapping[str, str]:
        """The reasons, by id, of those that are closed."""

    async def enforcer_seen(self, enforcer: str) -> None: ...

    async def close_silent(self, *, seconds: float) -> Sequence[str]:
        """Close sessions of enforcers silent that long (also those from before a restart). Returns their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDraft:
    key: ActKey
    requester: Subject
    session: str
    connection: str
    environment: str
    operation: bytes
    reasons: tuple[Reason, ...]
    groups: tuple[str, ...]
    quorum: int
    expires_s: int
    revision: str


@dataclass(frozen=True, slots=True)
class Requests:
    """What one closure has asked for: how many requests are open, were opened and were refused within an hour."""

    live: int
    hour: int
    refused: int


class ApprovalStore(Protocol):
    """Durable approvals and their state machine: pending -> approved | denied | expired | withdrawn;
    approved -> redeemed | lapsed | withdrawn | pending (reopened); redeemed -> outcome-unknown.
    Every move is one compare-and-set in one
    transaction, on the store's clock with a high-water mark (a clock set back revives nothing).
    May raise StoreError; a move that another one beat raises StateError with the state now in force as code
    (APPROVAL_DENIED, APPROVAL_EXPIRED, WITHDRAWN, APPROVAL_REDEEMED, APPROVAL_PENDING, APPROVAL_APPROVED,
    OUTCOME_UNKNOWN; NOT_FOUND for an unknown id).
    `record` is awaited after the compare-and-set has won and before its commit: a state is never seen by anyone before
    its record is durable, and what it raises undoes the move and reaches the caller unchanged."""

    async def requests(self, draft: ApprovalDraft) -> Requests | None:
        """What the draft's closure has asked for. None where an approval is there already that it may use."""

    async def find_or_create(self, draft: ApprovalDraft, *, seen: Requests | None = None) -> tuple[Approval, bool]:
        """The live (pending or approved, unexpired) approval for draft.key that this session may use: its own, or one
        whose asking session is closed (it is then bound to this session). Else a new one; True when new.
        StateError APPROVAL_LIMIT when there are too many live ones of everybody; REQUESTS_CHANGED where the closure
        has asked for more than was `seen` when policy was asked: ask policy again."""

    async def get(self, approval: str) -> Approval | None: ...

    async def list(self, *, include_finished: bool = False) -> Sequence[Approval]: ...

    async def add_verdict(
        self,
        approval: str,
        verdict: Verdict,
        *,
        record: Callable[[Approval], Awaitable[None]] | None = None,
        history: int | None = None,
    ) -> Approval:
        """Only while pending, and while the reviewer's history has not grown beyond `history` (HISTORY_CHANGED). A
        second verdict of one closure replaces nothing: StateError VERDICT_GIVEN. A refusing one moves the approval to
        denied in the same transaction."""

    async def move(
        self,
        approval: str,
        *,
        expect: ApprovalState,
        to: ApprovalState,
        record: Callable[[Approval], Awaitable[None]] | None = None,
    ) -> Approval: ...

    async def redeem(
        self,
        approval: str,
        *,
        key: ActKey,
        session: str,
        execution: str,
        record: Callable[[Approval], Awaitable[None]] | None = None,
    ) -> Approval:
        """approved -> redeemed, once; raises StateError APPROVAL_MISMATCH where key or session differ, REVOKED where
        the session has ended."""

    async def reopen(
        self,
        approval: str,
        *,
        terms: ApprovalTerms,
        reasons: Sequence[Reason],
        record: Callable[[Approval], Awaitable[None]] | None = None,
    ) -> Approval:
        """approved -> pending, its verdicts kept: the live policy asks for more than they give. Raises as `move`."""

    async def answered(self) -> Sequence[str]:
        """The pending ones that have a verdict: policy may have to be asked again. A bounded number of them."""

    async def finished(self, execution: str) -> None:
        """The outcome of a redeemed act was recorded."""

    async def sweep(
        self, *, record: Callable[[Sequence[Approval]], Awaitable[None]] | None = None
    ) -> Sequence[Approval]:
        """Expire and lapse what is due; redeemed acts with no outcome whose session is gone become outcome-unknown."""

    def watch(self, ids: Sequence[str]) -> AsyncIterator[Approval]:
        """The current state of each, then each change (all when ids is empty). Bounded: a slow watcher is ended."""


@dataclass(frozen=True, slots=True)
class Used:
    """The units of a budget that are taken, by the whole seconds until each is free again, ascending."""

    budget: Budget
    free_in: tuple[int, ...]


class BudgetStore(Protocol):
    """Durable units of budgets, on the store's clock. A unit counts for everyone whose closure meets that of whom it
    was taken for, until the budget's seconds have passed. May raise StoreError."""

    async def used(self, budgets: Sequence[Budget], closure: Sequence[str]) -> Sequence[Used]: ...

    async def take(self, seen: Sequence[Used], closure: Sequence[str], *, unit: str) -> Sequence[BudgetUse]:
        """One unit of each, all or none, where no more are taken by now than were `seen` when policy was asked: else
        StateError BUDGET_CHANGED, and policy must be asked again. How many are taken then, this one included."""


@dataclass(frozen=True, slots=True)
class PastAct:
    """A fact about a principal: what it did, to what, and how many seconds ago it last did."""

    element: str  # of the closure that did it
    act: str  # an access ("insert"), a verb ("sql.grant"), "session.open", "approval.approve", "policy.change"
    object: str  # a relation, the role of a session, an element of the requester's closure
    connection: str
    age_s: int


@dataclass(frozen=True, slots=True)
class History:
    """What a closure has done, at one moment. `version` grows with each of its acts."""

    version: int
    acts: tuple[PastAct, ...] = ()


class HistoryStore(Protocol):
    """Durable facts of who did what, for duties that depend on the past. May raise StoreError."""

    async def read(self, closure: Sequence[str], *, reviews: bool = False) -> History:
        """Of everyone whose closure meets this one. `reviews`: who approved for whom, too, whoever it was."""

    async def note(
        self, acts: Collection[tuple[str, str]], *, connection: str, closure: Sequence[str], seen: int
    ) -> None:
        """Each (act, object), now done by this closure, where nothing was done since `seen`: else StateError
        HISTORY_CHANGED, and policy must be asked again."""

    async def policy_changed(self, closures: Sequence[Sequence[str]]) -> None:
        """These changed what is decided."""

    async def forget(self) -> int:
        """What was done in transactions (people.spell_transaction) that nobody has been in for thirty days; a part of
        it where there is much. How many facts."""


class DerivedLabel(NamedTuple):
    connection: str
    name: str  # as decision.columns spells a column
    label: str


class DerivedStore(Protocol):
    """Durable labels of columns that inherit them (ADR 23). May raise StoreError."""

    @property
    def shared(self) -> bool:
        """Whether other replicas may add some."""

    async def read(self) -> Mapping[str, Mapping[str, str]]:
        """connection -> column -> label."""

    async def count(self) -> int: ...

    async def add(self, labels: Sequence[DerivedLabel]) -> None:
        """All or none; one that is there already is no change. Raises StateError where a column has another label."""


class Recorder(Protocol):
    """The append-only log (docs/architecture.md, Records)."""

    async def append(self, kind: str, body: JSON) -> int:
        """Write and fsync (group commit); the index. Raises RecordError: then nothing may be allowed."""

    async def append_many(self, records: Sequence[tuple[str, JSON]]) -> int:
        """As append; the index of the last one."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, limit: int | None) -> AsyncIterator[tuple[int, bytes]]: ...


class Written(Awaitable[int], Protocol):
    """What asyncio's futures are: it ends with the record's index."""

    def done(self) -> bool: ...

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Promised:
    """A record whose place in the log is taken. `written` ends when it is durable; never before, and in order."""

    index: int
    written: Written


class WindowedRecorder(Recorder, Protocol):
    """A log that also takes records of `windowed` durability (ADR 35)."""

    async def promise(self, kind: str, body: JSON) -> Promised | None:
        """One record's index before it is durable. It is written at once, and again after a write that failed. None:
        not now, so append it. Raises RecordError."""


class Clock(Protocol):
    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a one-time password stands for. `address` "" where it isn't bound to one; `uses` 0: an SSH certificate."""

    token: VerifiedToken
    connection: str
    role: str
    address: str
    uses: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Tokens issued until `before` are revoked: kind token (value: SHA-256 of issuer and id, in hex), party or role."""

    kind: str
    value: str
    before: datetime
    reason: str


class TokenStore(Protocol):
    """What is remembered of tokens, shared by every replica. Every method may raise StoreError, also when full."""

    async def spend(self, key: bytes, *, seconds: float) -> bool:
        """Remember a proof for that long; False when it is remembered already."""

    async def grant(self, key: bytes, grant: Grant, *, seconds: float) -> None:
        """Take a one-time password, by the hash of it."""

    async def redeem(self, key: bytes, *, connection: str, role: str, address: str) -> VerifiedToken:
        """Use it once. Raises TokenError TOKEN_USED: unknown, used up, too old, for something or somebody else."""

    async def certified(self) -> Sequence[Grant]:
        """The SSH certificates that haven't run out, whatever was revoked since."""

    async def cut(self, kind: str, values: Sequence[str], reason: str) -> Sequence[str]:
        """Revoke what was issued until now; the values that were cut: with tokens also those exchanged for them."""

    async def cuts(self, values: Mapping[str, Collection[str]]) -> Sequence[Cut]:
        """The cuts that name any of these values, by kind."""

    async def descend(self, child: str, parents: Collection[str], *, seconds: float) -> None:
        """Remember that `child` was exchanged for `parents`; all as values of a cut of kind token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession:
    """A person at a browser. token: what the log-in said, as a token without a key. auth_time: when they last showed
    who they are; None where the issuer doesn't say. used: the last request but for minutes."""

    token: VerifiedToken
    auth_time: datetime | None
    acr: str
    used: datetime


class WebStore(Protocol):
    """Durable browser sessions and log-ins under way, by a hash of what the browser holds. All may raise StoreError."""

    async def begin(self, key: bytes, facts: Mapping[str, str], *, seconds: float) -> None:
        """Remember a log-in. Raises StateError LOGIN_LIMIT when too many are under way."""

    async def finish(self, key: bytes) -> Mapping[str, str] | None:
        """What was remembered, once; None: unknown, used, or too old."""

    async def open(self, key: bytes, session: WebSession) -> None: ...

    async def get(self, key: bytes, *, idle_s: float) -> WebSession | None:
        """None: unknown, closed, expired, or not used for `idle_s`."""

    async def touch(self, key: bytes) -> None:
        """It is used now."""

    async def close(self, key: bytes) -> None: ...
