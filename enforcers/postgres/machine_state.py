"""The session machine's nouns: what was sent upstream and is still unanswered, statements, portals, the transaction."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from enforcers.core.ports import Act, Ruling
from enforcers.postgres import wire
from enforcers.postgres.bounds import NOTHING, Writes, writes_of
from enforcers.postgres.description import Description
from enforcers.postgres.masking import RowMasker
from enforcers.postgres.reason import ReasonChange

RESERVED = b"__twokey"
STATEMENT = RESERVED + b"_statement"
PORTAL = RESERVED + b"_portal"
QUESTION = RESERVED + b"_question"
KEPT = RESERVED + b"_kept_"
MAX_KEPT = 64
PROBE = RESERVED + b"_probe"
POISON_NAME = RESERVED + b"_poison"
# Not SQL under any grammar or setting, so the raw parser fails before anything is looked up.
POISON = wire.parse(POISON_NAME, b")twokey refused this message(")


NO_CAP = 1 << 62


# Marks of an Expect, in place of a name.
FUNCTION_CALL = b"F"  # of a QUERY: it was a FunctionCall, which a FunctionCallResponse answers
SPENT = b"spent"  # of an EXECUTE: of a portal that has run out; nothing more can come of it


class Kind(enum.IntEnum):
    """Of a message sent upstream, named by what answers it."""

    PARSE = 0  # 1
    BIND = 1  # 2
    DESCRIBE = 2  # [t] T or n
    EXECUTE = 3  # rows or copy, then C, I or s
    CLOSE = 4  # 3
    SYNC = 5  # Z
    QUERY = 6  # any number of results, then Z
    POISON = 7  # E


# A member of an enum is looked up by its name, each time; these are there at once.
BIND: Final = Kind.BIND
DESCRIBE: Final = Kind.DESCRIBE
EXECUTE: Final = Kind.EXECUTE
SYNC: Final = Kind.SYNC
QUERY: Final = Kind.QUERY


class Capture:
    """The answer to messages of the gateway's own, collected instead of relayed."""

    __slots__ = ("done", "error", "fields", "parameters", "raw", "rows", "suspended")

    def __init__(self) -> None:
        self.rows: list[list[bytes | None]] = []
        self.fields: tuple[wire.FieldDescription, ...] = ()
        self.raw = b""  # the RowDescription as it came
        self.parameters: tuple[int, ...] = ()
        self.done = False
        self.suspended = False
        # The ErrorResponse that ended it, as it came; b"" when an earlier message failed (the client was told).
        self.error: bytes | None = None


class Running:
    """An act being executed: counts towards its Outcome."""

    __slots__ = (
        "act",
        "begun",
        "bounded",
        "bytes",
        "cap",
        "cut",
        "description",
        "duration",
        "ended",
        "header",
        "held",
        "hold",
        "least",
        "limit",
        "limited",
        "masker",
        "orphan",
        "restore",
        "rows",
        "settling",
        "writes",
        "wrote",
    )

    def __init__(self, act: Act, description: Description) -> None:
        self.act = act
        self.description = description
        duties = act.ruling.duties
        self.limit = duties.max_rows
        self.least = duties.least_rows
        self.cap = NO_CAP if duties.max_bytes is None else duties.max_bytes  # bytes, of the messages that carry them
        self.bounded = self.limit is not None or duties.max_bytes is not None
        self.duration = duties.max_duration_ms
        self.writes: Writes = writes_of(description) if self.bounded else NOTHING
        self.wrote = 0  # rows, where the target's statistics count them
        self.limited = False  # it went beyond a limit: nothing more of it passes
        self.cut = ""  # beyond which: a reason code
        self.header = description.copy_header  # the first CopyData is no row
        self.hold = False  # its CommandComplete waits here until its rows are counted
        self.held = b""
        self.restore: tuple[tuple[bytes, bytes], ...] = ()  # settings changed for it alone, and what they were
        self.masker: RowMasker | None = None
        self.rows = 0
        self.bytes = 0
        self.begun = False  # sent to the target for execution
        self.settling = False  # it ran to its end; its transaction has not
        self.ended = False
        self.orphan = False  # its portal is gone, its answer is still to come


class Expect:
    """One unanswered upstream message. relay False: its answer is the gateway's own and not for the client."""

    __slots__ = (
        "acts",
        "bare",
        "capture",
        "error",
        "final",
        "index",
        "kind",
        "muted",
        "name",
        "plain",
        "relay",
        "tell",
        "value",
    )

    def __init__(
        self,
        kind: Kind,
        *,
        acts: tuple[Running, ...] = (),
        relay: bool = True,
        tell: bool = True,
        capture: Capture | None = None,
        final: bool = False,
        error: bytes = b"",
        name: bytes = b"",
        value: object = None,
    ) -> None:
        self.kind = kind
        self.acts = acts
        self.index = 0  # the act now running, of a QUERY with several
        self.relay = relay
        self.tell = tell  # errors go to the client, also where the answer does not
        self.capture = capture
        self.muted = False  # of a QUERY: it got its error from the gateway; what else it answers is dropped
        self.final = final  # the capture is done when this one is answered
        self.error = error  # what the client is told instead of the answer: of a POISON's error, of a Bind of our own
        self.name = name
        self.value = value
        self.bare = relay and capture is None  # its answer is relayed, and that is all
        plain = relay  # its rows pass, up to the limit
        for running in acts:
            plain = plain and running.masker is None
        self.plain = plain

    @property
    def called(self) -> bool:
        """A FunctionCall that was not stopped. Its act has a row once it is answered, and is completed with its
        ReadyForQuery: its commit may still fail."""
        return self.name == FUNCTION_CALL and self.index == 0 and len(self.acts) == 1


@dataclass(eq=False)
class Statement:
    """A prepared statement as the client knows it. description is None for the empty statement."""

    name: bytes
    text: bytes
    types: tuple[int, ...]
    description: Description | None
    names_version: int
    catalog_version: int
    reason: ReasonChange | None = None  # it changes that, and the target knows the empty statement by its name
    suspect: bool = False  # something opaque ran since: the target may know another one by this name
    own_types: bool = False  # the client named parameter types that users made, whose input may run code

    @property
    def plain(self) -> bool:
        """Its executions leave no trace that later statements of the session must know of."""
        description = self.description
        return description is not None and not (
            description.prepared
            or description.cursor
            or description.changes_grammar
            or description.own_setting
            or self.own_types
            or description.copy_in
            or description.copy_header
        )


class Portal:
    """A bound statement: one act, from Bind to its last row."""

    __slots__ = (
        "bind",
        "catalog_version",
        "executed",
        "name",
        "names_version",
        "revision",
        "running",
        "statement",
        "turn",
    )

    def __init__(
        self,
        name: bytes,
        statement: Statement,
        bind: wire.Bind,
        running: Running | None,
        *,
        names_version: int,
        catalog_version: int,
        revision: str,
        turn: int,
    ) -> None:
        self.name = name
        self.statement = statement
        self.bind = bind
        self.running = running
        self.revision = revision  # of the policy that decided it
        self.names_version = names_version
        self.catalog_version = catalog_version
        self.turn = turn
        self.executed = False


class Transaction:
    """As it will be once everything sent upstream so far has succeeded."""

    __slots__ = ("active", "ddl", "failed", "isolation", "savepoints", "touched_names", "written")

    def __init__(
        self,
        *,
        active: bool = False,
        failed: bool = False,
        written: bool = False,
        touched_names: bool = False,
        ddl: bool = False,
        isolation: str = "",
        savepoints: tuple[tuple[str, bool], ...] = (),
    ) -> None:
        self.active = active
        self.failed = failed
        self.written = written
        self.touched_names = touched_names  # its end (ROLLBACK, or COMMIT after SET LOCAL) changes how names resolve
        self.ddl = ddl
        self.isolation = isolation  # where a statement of the client's set it for this transaction
        self.savepoints = savepoints  # (name, written when it was made), innermost last

    def copy(self) -> Transaction:
        return Transaction(
            active=self.active,
            failed=self.failed,
            written=self.written,
            touched_names=self.touched_names,
            ddl=self.ddl,
            isolation=self.isolation,
            savepoints=self.savepoints,
        )


@dataclass(frozen=True)
class Granted:
    """A decision that lets the act run."""

    ruling: Ruling
    act: Act


@dataclass
class Refused:
    """Why nothing of the message runs: the ErrorResponse for the client. fatal ends the session."""

    error: bytes
    fatal: bool = False
    aborted: bool = False  # because the transaction has failed: the target refuses it by itself
    notes: list[str] = field(default_factory=list)
