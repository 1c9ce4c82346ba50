"""What a protocol's gateway may ask of the core, for one session. The core never speaks a protocol.

A gateway does, for every operation:

    verdict = gate.leased(key)                       # hot path, no await; None on a miss
    if verdict is None:
        verdict = await gate.ask(question)           # one Decide; needs: ["estimate"] comes back as verdict.needs
    ...                                              # HELD: wait, then `await gate.redeem(...)`
    await gate.begin(act)      # leased acts only: waits when the window is full; Decide recorded the others' intent
    ... forward ...
    gate.end(act, outcome)     # every act exactly once, also those never executed
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import operation_pb2

from enforcers.core.credentials import ClientCertificate
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.records import ActRecord
from enforcers.core.siblings import Siblings
from enforcers.settings import Settings


class Answer(enum.Enum):
    """What the core made of a decision. Anything it does not fully understand is DENIED."""

    ALLOWED = "allowed"
    DENIED = "denied"
    HELD = "held"
    NEEDS_ESTIMATE = "needs-estimate"


@dataclass(frozen=True, kw_only=True)
class MaskedColumn:
    """What must be masked, and how: a column of the target by its name, or (position) one of the result's columns."""

    schema: str = ""
    relation: str = ""
    column: str = ""
    label: str
    masker: str  # null, fixed, keep-last, hash, email, truncate-date, bucket, json
    text: str = ""  # of fixed
    keep: int = 0  # of keep-last
    fill: str = "*"
    unit: str = ""  # of truncate-date: year, quarter, month, day, hour
    size: int = 0  # of bucket
    paths: tuple[tuple[str, ...], ...] = ()  # of json
    position: int = 0  # of the result's column, from 1; 0: by name


@dataclass(frozen=True, kw_only=True)
class Duties:
    """The obligations of a decision that this protocol must meet, typed. All understood, or the answer is DENIED."""

    mask: tuple[MaskedColumn, ...] = ()
    max_rows: int | None = None
    least_rows: int = 0
    max_bytes: int | None = None
    max_duration_ms: int | None = None
    read_only: bool = False
    statement_timeout_ms: int | None = None
    require_reason: bool = False


@dataclass(frozen=True, kw_only=True)
class Hold:
    approval: str
    groups: tuple[str, ...]
    quorum: int
    expires: str  # RFC 3339


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A decision as the gateway carries it out."""

    answer: Answer
    decision: str  # dec_…
    code: str = ""  # of a denial: a key of errors.CODES
    message: str = ""  # of a denial: for people, one paragraph: reason and rule id
    hint: str = ""  # what to do next
    rules: tuple[str, ...] = ()
    duties: Duties = field(default_factory=Duties)
    hold: Hold | None = None
    execution: str = ""  # exe_…, of a redeemed approval
    leased: bool = False
    window: tuple[int, float] | None = None  # of a leased ruling: W records, T seconds


class HoldEnd(enum.Enum):
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    LOST = "lost"  # the decision service can't be reached any more: fail closed


@dataclass(frozen=True)
class HoldResult:
    end: HoldEnd
    reason: str = ""  # a reviewer's words, for the client


@dataclass(kw_only=True)
class Question:
    operation: operation_pb2.Operation  # id, connection, digests, sql with values
    lease_key: bytes | None  # None: never lease this
    can_hold: bool
    hold_hint: str = ""


class Bound:
    """A value bound to a statement's parameter, as the client sent it. type_oid 0: it named none."""

    __slots__ = ("binary", "is_null", "type_oid", "value")

    def __init__(self, type_oid: int, value: bytes, *, is_null: bool, binary: bool) -> None:
        self.type_oid: int = type_oid
        self.value: bytes = value
        self.is_null: bool = is_null
        self.binary: bool = binary

    def message(self) -> operation_pb2.BoundValue:
        return operation_pb2.BoundValue(
            type_oid=self.type_oid, is_null=self.is_null, binary=self.binary, value=self.value
        )


class Act:
    """One act under way, from intent to outcome."""

    __slots__ = (
        *("bound", "digest", "ended", "operation", "record"),
        *("ruling", "sequence", "shape_digest", "started", "statement"),
    )

    def __init__(
        self,
        *,
        operation: str,
        ruling: Ruling,
        digest: bytes,
        shape_digest: bytes,
        statement: bytes,
        bound: tuple[Bound, ...] = (),
    ) -> None:
        self.operation: str = operation  # op_…
        self.ruling: Ruling = ruling
        self.digest: bytes = digest
        self.shape_digest: bytes = shape_digest
        self.statement: bytes = statement
        self.bound: tuple[Bound, ...] = bound
        # The gate's:
        self.sequence: int = 0
        self.started: float = 0.0  # seconds, monotonic; set by ready() and begin()
        self.record: ActRecord | None = None  # of a leased act
        self.ended: bool = False  # its outcome is recorded


class Outcome:
    """How an act ended. status: completed, failed, refused, not-executed, unknown."""

    __slots__ = ("bytes", "command_tag", "error", "masked_fields", "obligations_met", "rows", "sqlstate", "status")

    def __init__(
        self,
        status: str,
        *,
        command_tag: str = "",
        rows: int = 0,
        bytes: int = 0,  # noqa: A002 - the record's own word
        masked_fields: int = 0,
        sqlstate: str = "",
        error: str = "",
        obligations_met: tuple[str, ...] = (),
    ) -> None:
        self.status: str = status
        self.command_tag: str = command_tag
        self.rows: int = rows
        self.bytes: int = bytes
        self.masked_fields: int = masked_fields
        self.sqlstate: str = sqlstate
        self.error: str = error
        self.obligations_met: tuple[str, ...] = obligations_met


Begun = Callable[[DecisionUnavailableError | None], None]
Decided = Callable[[Callable[[], Ruling]], None]


class Gate(Protocol):
    """One open session as the core keeps it."""

    @property
    def session(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def connection(self) -> str: ...

    @property
    def subject(self) -> str:
        """Who is logged in, as the target is told: its name in people.yaml, else the compact JSON of [iss, sub], which
        no name can imitate."""

    @property
    def session_duties(self) -> Duties:
        """Obligations for the whole session, from OpenSession."""

    @property
    def revision(self) -> str:
        """The policy revision that was heard of last; it may have changed since an act was decided."""

    def refusal(self) -> Ruling | None:
        """A ruling when this session may do nothing more (expired token, revoked, draining); checked per operation."""

    def leased(self, key: bytes) -> Ruling | None:
        """The live lease for this session's subject, chain, role, connection, the revision, and `key`; else None."""

    def drop_leases(self, reason: str) -> None:
        """A DDL was seen: every lease on this connection ends, in this worker."""

    async def ask(self, question: Question) -> Ruling:
        """Decide. Never raises for policy or transport: those are DENIED rulings."""

    def ask_soon(self, question: Question, done: Decided) -> bool:
        """As ask(), where that can begin now: `done` is called once, later, with what makes the ruling, for its owner
        to call; or never, once the session was closed. False: await ask()."""

    async def wait(self, hold: Hold) -> HoldResult:
        """Until the approval leaves `pending`. Cancel the task to stop waiting (it withdraws nothing)."""

    async def withdraw(self, hold: Hold, reason: str) -> None: ...

    async def redeem(self, question: Question, hold: Hold) -> Ruling:
        """Decide again with the approval. ALLOWED at most once per approval, anywhere."""

    def ready(self, act: Act) -> bool:
        """Hot path: record the leased intent without waiting, when the window has room. False: begin_soon()."""

    def begin_soon(self, act: Act, done: Begun) -> bool:
        """For an act whose intent must be durable first, when there is room: `done` is called once, later, with None
        when it is, or why it can't be. False: await begin()."""

    async def begin(self, act: Act) -> None:
        """As ready(), waiting for room. Raises DecisionUnavailableError when records can't be written."""

    def end(self, act: Act, outcome: Outcome) -> None: ...

    async def close(self, reason: str) -> None:
        """CloseSession, after the last record was acknowledged (bounded wait)."""


class Core(Protocol):
    """One worker's core: the connection to the decision service and everything shared between sessions."""

    async def open_session(
        self,
        *,
        token: str,
        connection: str,
        role: str,
        client_address: str,
        on_revoked: Callable[[str], None],
        client_certificate: str = "",
        plan: str = "",
    ) -> Gate | Ruling:
        """A gate, or the DENIED ruling to show. on_revoked(reason: str) is called when the session is cut.
        client_certificate: the thumbprint (RFC 8705, x5t#S256) of what the client showed in TLS and TLS checked.
        plan: whose steps it is to do."""

    async def credential(self, connection: str, role: str) -> tuple[str, str]:
        """(user, password) of the target account for the active role. Raises CredentialError."""

    def credential_refused(self, connection: str, role: str) -> None:
        """The target did not take it: it is fetched anew for the next session, unless it was fetched just now."""

    async def certificate(self, connection: str, role: str) -> ClientCertificate | None:
        """What that account shows the target in TLS, where it has something to show. Raises CredentialError."""

    def on_classified(self, callback: Callable[[str, frozenset[tuple[str, str, str]]], None]) -> None:
        """Called with a connection and the columns (schema, relation, column) that its classification names, as far as
        they are known by now, and each time they change."""

    def on_reload(self, callback: Callable[[], object]) -> None:
        """Called at each SIGHUP."""

    @property
    def draining(self) -> bool: ...

    async def drained(self) -> None:
        """Returns when the worker was told to drain (SIGTERM). A gateway's serve() then stops accepting, lets running
        statements finish (at most 30 s), ends held ones with their approval's reference, and returns."""


class Describer(Protocol):
    """A protocol's answers to DescribeService, from its own catalog. DescribeError holds a sentence for people."""

    async def describe(self, question: describe_pb2.DescribeQuestion) -> operation_pb2.Operation: ...

    async def estimate(self, question: describe_pb2.EstimateQuestion) -> describe_pb2.EstimateAnswer: ...

    async def catalog_dump(self, question: describe_pb2.CatalogDumpQuestion) -> bytes: ...

    async def maskers(self, question: describe_pb2.MaskersQuestion) -> describe_pb2.MaskersAnswer:
        """Which of these maskers can't be applied to their columns."""


class Serve(Protocol):
    """What a protocol's package offers to `python -m enforcers`: serve until `core.drained()`, then drain and return.

    sockets: bound, not yet listening, one per distinct listen address; each serves every connection.
    ready() is to be called once when all listen. attach(describer), at most once, answers DescribeService's questions.
    siblings: the other workers behind the same sockets' addresses, where there are any.
    """

    async def __call__(
        self,
        core: Core,
        settings: Settings,
        sockets: Sequence[socket.socket],
        *,
        ready: Callable[[], None],
        attach: Callable[[Describer], None],
        siblings: Siblings | None = None,
    ) -> None: ...
