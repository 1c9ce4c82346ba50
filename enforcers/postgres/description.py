"""What describing a PostgreSQL message yields: the seam between describing and the session machine."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from twokey.type.v1 import operation_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNames:
    """How names resolve in a session, as the target itself says (`current_schemas(true)`, `current_user`)."""

    database: str
    search_path: tuple[str, ...]  # real schemas in order, implicit ones included
    effective_role: str
    session_role: str


class Control(enum.Enum):
    """Transaction control, as the machine must follow it."""

    NONE = "none"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    ROLLBACK_TO = "rollback-to"
    SET_TRANSACTION = "set-transaction"
    PREPARED = "prepared"  # two-phase commands


NO_CONTROL: Final = Control.NONE  # asked for every act, and a member is looked up by its name each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A question for the session's own connection, in the transaction of the act, after Parse (design, section 5).

    sql is schema-qualified throughout and answers one text column. `expected` holds its rows, in order.
    """

    sql: str
    expected: tuple[str, ...]
    # Functions can change without a lock Parse would hold: asked again before the commit when not None.
    functions_sql: str | None = None
    functions_expected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyForm:
    """How COPY TO STDOUT spells its rows. The single bytes are bytes of length 1, unless `problem` says otherwise."""

    format: str  # text, csv, binary
    delimiter: bytes
    null: bytes
    quote: bytes
    escape: bytes
    force_quote: frozenset[str]  # columns
    force_all: bool
    problem: str = ""  # why a row can't be masked, as the end of a sentence; empty where it can


@dataclass(slots=True, kw_only=True)
class Description:
    """One statement, described under one catalog version and one SessionNames. Nobody changes one: `replace` makes
    another. (Not frozen, because with_text, which runs for every statement, fills what it makes.)

    template is the SqlOperation without values, transaction, position and statements (those are the session's).
    Everything here except `text` is the same for all statements of one shape.
    """

    text: bytes  # this statement's bytes within its message
    template: operation_pb2.SqlOperation
    shape_digest: bytes  # SHA-256; covers everything in template
    static_digest: bytes  # SHA-256 over connection-independent parts of the act: object ids, definitions, names, role
    control: Control
    parameters: int  # highest $n
    # The machine's own facts:
    writes_or_locks: bool  # writes, or locks beyond ACCESS SHARE
    changes_names: bool  # search_path, role, schemas, temp objects: SessionNames must be read again
    ddl: bool  # ends leases, makes the catalog be read again
    makes_temporary: bool
    copy_in: bool
    copy_out: bool
    utility: bool  # not SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE
    single_transaction: bool  # can't run inside a transaction or pipeline (VACUUM, CREATE DATABASE …)
    can_estimate: bool
    cannot_estimate_why: str
    verification: Verification | None
    cursor: str = ""  # DECLARE, FETCH, CLOSE name one
    prepared: str = ""  # PREPARE, EXECUTE, DEALLOCATE name one
    # (table oid, attnum) that RowDescription must show for each output column, (0, 0) for a computed one. A view's
    # column is the view's own here, while template.output names the table's (describe/output.py compares).
    wire: tuple[tuple[int, int], ...] = ()
    others: frozenset[tuple[int, int]] = frozenset()  # (table oid, attnum) of every column with use `other`
    # Sets client_encoding, standard_conforming_strings or backslash_quote to what can't be described: to be refused.
    changes_grammar: bool = False
    known_rows: int | None = None  # at most so many rows, as the statement itself says (FETCH 10): no need to estimate
    collects: bool = False  # gathers rows into one value (array_agg, ARRAY(…)): its rows are those that are gathered
    output_open: bool = False  # the result may have columns that are not in template.output
    copy_form: CopyForm | None = None  # of COPY TO STDOUT; template.output and wire are then the columns it sends
    copy_header: bool = False  # COPY TO STDOUT sends a line of column names first
    own_setting: bool = False  # sets or resets a setting below `twokey.`, which are the gateway's own
    cursor_options: int = 0  # of DECLARE, as the parser's bits (CURSOR_OPT_… of parsenodes.h)
    estimated_here: bool = False  # only the session's own connection can plan it: it names what that has prepared
    savepoint: str = ""  # SAVEPOINT, RELEASE and ROLLBACK TO name one
    named: bytes = b""  # text of the statement that this one names (EXECUTE, FETCH): reviewers are shown it
    quotes: bool = False  # the target's error may show a stored row that has a classified column
    chain: bool = False  # COMMIT or ROLLBACK AND CHAIN: the next transaction begins at once
    opaque: bool = field(init=False)  # as the template says: asked for every act, where a message's field takes longer

    def __post_init__(self) -> None:
        self.opaque = self.template.opaque

    def with_text(self, text: bytes) -> Description:
        """The description of another text of the same shape. (A tenth of what dataclasses.replace costs.)"""
        made = Description.__new__(Description)
        made.text = text
        made.template = self.template
        made.shape_digest = self.shape_digest
        made.static_digest = self.static_digest
        made.control = self.control
        made.parameters = self.parameters
        made.writes_or_locks = self.writes_or_locks
        made.changes_names = self.changes_names
        made.ddl = self.ddl
        made.makes_temporary = self.makes_temporary
        made.copy_in = self.copy_in
        made.copy_out = self.copy_out
        made.utility = self.utility
        made.single_transaction = self.single_transaction
        made.can_estimate = self.can_estimate
        made.cannot_estimate_why = self.cannot_estimate_why
        made.verification = self.verification
        made.cursor = self.cursor
        made.prepared = self.prepared
        made.wire = self.wire
        made.others = self.others
        made.changes_grammar = self.changes_grammar
        made.known_rows = self.known_rows
        made.collects = self.collects
        made.output_open = self.output_open
        made.copy_form = self.copy_form
        made.copy_header = self.copy_header
        made.own_setting = self.own_setting
        made.cursor_options = self.cursor_options
        made.estimated_here = self.estimated_here
        made.savepoint = self.savepoint
        made.named = self.named
        made.chain = self.chain
        made.quotes = self.quotes
        made.opaque = self.opaque
        return made


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """The parser refused the message. position is 1-based, in characters, as PostgreSQL reports it; 0 unknown."""

    message: str
    position: int
