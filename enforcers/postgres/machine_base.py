"""The session machine's ground: what it holds, how it sends, injects its own messages, refuses and accounts.

Sans-IO: bytes for either side are appended to `to_client` and `to_target`; questions for the world to `commands`.
A *segment* is what lies between two ReadyForQuery. A new one starts only when the last is answered, so at its start
the transaction's status is the target's own word; within it, it is followed by the statements that were sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from enum import Enum
from functools import lru_cache

from enforcers.core.ports import Duties, Gate, Outcome
from enforcers.postgres import deny, wire
from enforcers.postgres.commands import CancelTarget, Close, Command
from enforcers.postgres.describing import Describer, View
from enforcers.postgres.description import NO_CONTROL, Control, Description, SessionNames
from enforcers.postgres.limits import affected
from enforcers.postgres.machine_follower import Follower
from enforcers.postgres.machine_replies import Replies
from enforcers.postgres.machine_state import (
    POISON,
    QUESTION,
    SYNC,
    Capture,
    Expect,
    Kind,
    Portal,
    Refused,
    Running,
    Statement,
    Transaction,
)
from enforcers.postgres.operations import Digests, LeaseKeys
from enforcers.postgres.taint import Taint

MAX_QUIET = 4096
MAX_SAVEPOINTS = 256  # of a transaction, the latest; what is forgotten counts as before its rollback


class Internal(Enum):
    """What a flow may wait for that the machine answers itself."""

    CAPTURE = "capture"


Flow = Generator[Command | Internal, object, None]
Step = Generator[Command | Internal, object, None]


class MachineBase(Follower):
    """State and primitives. See SessionMachine for the public surface."""

    def __init__(self, gate: Gate, describer: Describer) -> None:
        self.gate = gate
        self.describer = describer
        self.masking_key: bytes | None = None  # of the connection; set by the shell where there is one
        self.replies = Replies(self)
        self.to_client = self.replies.out
        self.to_target: list[bytes] = []
        self.commands: list[Command] = []
        self.statements: dict[bytes, Statement] = {}
        self.portals: dict[bytes, Portal] = {}
        self.transaction = Transaction()
        self.names: SessionNames | None = None
        self.names_stale = True
        self.names_version = 0
        self.keys = LeaseKeys(read_only=gate.session_duties.read_only)
        self.digests = Digests(gate.connection)
        self.quiet: set[bytes] = set()  # shapes that leave transaction, names and objects as they are
        self.queue: deque[wire.Frame] = deque()
        self.queued_bytes = 0
        self.flow: Flow | None = None
        self.waiting = False  # the flow waits for a verdict
        self.wanted: Capture | None = None  # what the flow waits for, of the gateway's own questions
        self.error_told = False  # the client has its one error of this pipeline
        self.boundary = False  # a Query or Sync is unanswered: the segment is complete
        self.segment_open = False  # extended messages were sent since the last boundary
        self.skipping = False  # the target (or we) discard everything up to the client's Sync
        self.copy_in = False
        self.await_copy = False  # a COPY FROM STDIN was sent; whether the target takes data isn't known yet
        self.limit_flushed = False  # the target was told to answer it at once
        self.limited_execute = False  # an Execute under a limit is unanswered
        self.copied: Running | None = None  # the act of the COPY FROM that the client is sending
        self.cancelling = False
        self.ddl_seen = False
        self.unsettled: list[tuple[Running, str]] = []  # ran to their end in an implicit transaction that goes on
        self.temporary = False  # the session has, or may have, temporary objects of its own
        self.taint = Taint()  # what those hold
        self.uncommitted = False  # its transaction has, or may have, defined objects that others don't see yet
        self.view: View | None = None  # the catalog as this session sees it (machine_private)
        self.view_stale = True
        self.view_base = 0  # version of the shared catalog when it was asked for
        self.kept: dict[str, bytes] = {}  # own questions that the target has prepared: text, name
        self.met_duties: Duties | None = None
        self.met_names: tuple[str, ...] = ()
        self.turn = 0
        self.deciding: list[Running] = []  # granted for a message that is still being decided
        self.halted: list[Running] = []  # gave some rows in an implicit transaction that goes on, and may give more
        # An explicit transaction is open as far as the target has answered; `transaction` is ahead of its answers.
        self.block = False
        self.pipeline_flushed = False  # a Query waits for the answers to what stands before it
        self.settled_status = ord("I")  # of the last ReadyForQuery
        self.closed = False
        self.gone = False

    # What this session alone sees

    @property
    def private(self) -> str:
        """Why the shared catalog doesn't tell what names mean here; empty when it does."""
        if self.temporary:
            return "the session has temporary objects of its own"
        return "the session has uncommitted DDL" if self.uncommitted else ""

    @property
    def view_ready(self) -> bool:
        """The session has no objects of its own, or they were read and nothing changed since."""
        if not (self.temporary or self.uncommitted):
            return True
        return not self.view_stale and self.view_base == self.describer.version

    @property
    def catalog_version(self) -> int:
        """Of the catalog that statements are described under now."""
        if self.view is not None and (self.temporary or self.uncommitted):
            return self.view.version
        return self.describer.version

    def objects_changed(self) -> None:
        """What this session sees may have changed: everything described before must be described again."""
        self.view_stale = True
        self.names_version += 1

    # Sending

    def send(self, data: bytes, expect: Expect | None = None) -> None:
        if expect is not None:
            if self.skipping and expect.kind is not SYNC:
                self._unsent(expect)
                return
            self.replies.expects.append(expect)
        self.to_target.append(data)

    def _unsent(self, expect: Expect) -> None:
        """The target's error came while this waited for a decision: it would be skipped, and never answered."""
        if expect.capture is not None and expect.capture.error is None:
            expect.capture.error = b""
        self.failed([expect], until_sync=True, told=True)

    def end_segment(self, *, relay: bool = True) -> None:
        """Sync, of the client's or the gateway's own."""
        self.send(wire.SYNC, Expect(SYNC, relay=relay))
        self.boundary = True
        self.skipping = self.error_told = False
        self.segment_open = False

    def poison(self, error: bytes) -> None:
        """Make the target itself fail here, skip to Sync and roll back; its one error becomes `error`."""
        self.send(POISON, Expect(Kind.POISON, error=error))
        self.skipping = True
        self.segment_open = True

    def reject(self, text: bytes, error: bytes) -> None:
        """What can't be described because the target won't parse it either: it says so in its own words, to a Parse by
        a reserved name that nobody binds. Should it parse it after all, `error` it is."""
        self.send(wire.close(b"S", QUESTION), Expect(Kind.CLOSE, relay=False, tell=False))
        self.send(wire.parse(QUESTION, text), Expect(Kind.PARSE, relay=False))
        self.poison(error)

    @property
    def aborted(self) -> bool:
        """The target's own word: its transaction has failed, and it takes nothing but the end of it."""
        return self.settled_status == ord("E") and self.transaction.failed

    def tell(self, data: bytes) -> None:
        if not self.replies.mid_message:
            self.to_client.append(data)

    def tell_once(self, error: bytes) -> None:
        """The error of a pipeline that the target already skips: one, whoever speaks first."""
        if not self.error_told:
            self.error_told = True
            self.tell(error)

    def flushed(self, capture: Capture) -> Generator[Command | Internal, object, Capture]:
        """Send what is pending, wait until the capture is complete or failed."""
        self.send(wire.FLUSH)
        self.segment_open = True
        if not capture.done and capture.error is None:
            self.wanted = capture
            yield Internal.CAPTURE
        return capture

    # Ending

    def close(self, reason: str) -> None:
        """The session is over; nothing more goes upstream."""
        if not self.closed:
            self.closed = True
            self.commands.append(Close(reason))

    def fatal(self, sqlstate: str, text: str, *, hint: str = "", reason: str) -> None:
        if not self.closed:
            self.tell(deny.error(sqlstate, text, hint=hint, severity="FATAL"))
        self.close(reason)

    @property
    def running(self) -> bool:
        """The target is working on something of the client's (machine.py)."""
        raise NotImplementedError

    def cancel(self) -> None:
        """A CancelRequest for this session while nothing is held: passed on only while an act is running."""
        if not self.closed and any(expect.acts for expect in self.replies.expects):
            self.cancel_target()

    def refuse_session(self, error: bytes) -> None:
        """The session may do nothing more (its token expired, it was revoked, it drains): what runs is cancelled."""
        self.tell(error)
        self.end_all("unknown", error="refused")
        self.close("refused")

    # Accounting

    def ended(self, running: Running, status: str, *, tag: str = "", sqlstate: str = "", error: str = "") -> None:
        """gate.end, once per act."""
        if running.ended:
            return
        running.ended = True
        self.gate.end(
            running.act,
            Outcome(
                status=status,
                command_tag=tag,
                rows=running.rows or affected(tag),
                bytes=running.bytes,
                masked_fields=running.masker.fields if running.masker is not None else 0,
                sqlstate=sqlstate,
                error=error[:500],
                obligations_met=self._met(running.act.ruling.duties) if status == "completed" else (),
            ),
        )
        if status == "completed" and (running.description.ddl or running.description.opaque):
            self.saw_ddl(visible=not self.block)

    def _met(self, duties: Duties) -> tuple[str, ...]:
        if duties is not self.met_duties:  # usually those of the act before
            self.met_duties = duties
            self.met_names = obligations(duties)
        return self.met_names

    def completed(self, running: Running, tag: str, *, alone: bool) -> None:
        """The target ran it to its end. Where its transaction is an implicit one (a pipeline, a message of several
        statements) what it did stands only once that ends, so its outcome waits for it."""
        description = running.description
        control = description.control
        if description.cursor or description.prepared or description.utility:
            self.confirmed(description)
        if control is not NO_CONTROL and control in {Control.COMMIT, Control.PREPARED}:
            self.block = self.block and description.chain
            self.settle_acts("completed")
            if self.ddl_seen:
                self.saw_ddl()  # now others see it
        elif control is not NO_CONTROL and control is Control.ROLLBACK:
            self.block = self.block and description.chain
            self.settle_acts("failed", error="rolled back")
        elif not (alone or self.block or description.single_transaction):
            running.settling = True
            self.unsettled.append((running, tag))
            if description.ddl or description.opaque:
                self.saw_ddl()
            if control is not NO_CONTROL and control is Control.BEGIN:
                self.block = True
            return
        self.ended(running, "completed", tag=tag)

    def settle_acts(self, status: str, *, error: str = "") -> None:
        """The implicit transaction is over."""
        if self.unsettled:
            acts, self.unsettled = self.unsettled, []
            for running, tag in acts:
                self.ended(running, status, tag=tag, error=error)
        if self.halted:
            halted, self.halted = self.halted, []
            for running in halted:
                if status != "completed":  # else its portal is, or goes on
                    self.ended(running, status, error=error)

    def drop_portal(self, portal: Portal, *, status: str = "") -> None:
        """The portal is gone: its act ends with what it did. status: of what was executed, where its transaction is
        over; else it stands once that is."""
        running = portal.running
        if running is None or running.ended or running.settling:
            return
        if any(running in expect.acts for expect in self.replies.expects):
            running.orphan = True  # its last answer is still to come
        elif not portal.executed:
            self.ended(running, "not-executed")
        elif status or self.block:
            self.ended(running, status or "completed")
        else:
            running.settling = True
            self.unsettled.append((running, ""))

    def end_all(self, status_running: str, *, error: str) -> None:
        """Every act that is still open: those sent for execution with this status, the others never ran."""
        if self.ddl_seen:
            self.describer.invalidate()  # a COMMIT may be among them
        self.settle_acts(status_running, error=error)
        for expect in self.replies.expects:
            for index, running in enumerate(expect.acts):
                if expect.kind is Kind.EXECUTE or (expect.kind is Kind.QUERY and index >= expect.index):
                    self.ended(running, status_running, error=error)
        for running in self.deciding:
            self.ended(running, status_running if running.begun else "not-executed", error=error)
        for portal in self.portals.values():
            self.drop_portal(portal, status="completed" if self.block else status_running)
        self.portals.clear()

    def saw_ddl(self, *, visible: bool = True) -> None:
        """visible: to others too; what an open transaction did is so only when that has ended."""
        self.ddl_seen = True
        if visible:
            self.describer.invalidate()
        self.gate.drop_leases("a DDL was executed")

    # Following the transaction

    def follow(self, description: Description) -> None:
        """The statement is being sent: what later ones must know of it."""
        if description.shape_digest in self.quiet:
            return
        if is_quiet(description):
            if len(self.quiet) >= MAX_QUIET:
                self.quiet.clear()
            self.quiet.add(description.shape_digest)
            return
        transaction = self.transaction
        self.heed(description)
        apply_effects(transaction, description)
        if description.changes_names or description.opaque or description.ddl:
            self.names_stale = True
        if description.control in {Control.ROLLBACK, Control.ROLLBACK_TO, Control.COMMIT, Control.PREPARED} and (
            transaction.touched_names
        ):
            self.names_stale = True
        if description.makes_temporary:
            self.temporary = True
            self.taint.note(description.template)
        if description.ddl or description.opaque:
            self.uncommitted = True
        if description.ddl or description.makes_temporary or description.opaque:
            self.objects_changed()
        elif description.control in {Control.ROLLBACK, Control.ROLLBACK_TO, Control.COMMIT, Control.PREPARED}:
            self.view_stale = True
        self.follow_names(description)

    def follow_names(self, description: Description) -> None:
        """What later statements may name (machine_lineage)."""
        raise NotImplementedError

    def confirmed(self, description: Description) -> None:
        """CommandComplete of a statement that may have made or forgotten names (machine_lineage)."""
        raise NotImplementedError

    def cancel_target(self) -> None:
        if not self.cancelling:
            self.cancelling = True
            self.commands.append(CancelTarget())

    # Follower (see machine_replies): the parts that need no dispatching are here

    def suspended(self, running: Running) -> None:
        if running.orphan and not (running.ended or running.settling):
            running.settling = True
            self.unsettled.append((running, ""))
        elif not self.block:
            self.halted.append(running)

    def parameters(self, expect: Expect, types: tuple[int, ...]) -> None:
        statement = expect.value
        if isinstance(statement, Statement):
            statement.types = types

    def setting(self, name: bytes) -> None:
        if name in {b"search_path", b"session_authorization", b"role", b"is_superuser"}:
            self.names_stale = True

    def heed(self, description: Description) -> None:
        raise NotImplementedError

    def refuse_query(self, refused: Refused) -> None:
        """A Query or FunctionCall that can't be described, or may not run (machine.py)."""
        raise NotImplementedError

    def answer(self, expect: Expect) -> bytes | None:
        raise NotImplementedError

    def settled(self, status: int) -> None:
        raise NotImplementedError

    def failed(self, dropped: list[Expect], *, until_sync: bool, told: bool) -> None:
        raise NotImplementedError

    def captured(self, capture: Capture) -> None:
        raise NotImplementedError

    def copying(self) -> None:
        raise NotImplementedError

    def over_limit(self, running: Running) -> None:
        del running
        self.cancel_target()

    def undo(self, running: Running) -> None:
        del running
        if not self.skipping:
            self.poison(b"")

    def undo_block(self) -> None:
        self.poison(b"")
        self.end_segment()


def is_quiet(description: Description) -> bool:
    """Nothing that later statements must know of: a plain read."""
    return description.control is Control.NONE and not (
        description.writes_or_locks
        or description.changes_names
        or description.ddl
        or description.makes_temporary
        or description.cursor
        or description.prepared
        or description.utility
        or description.opaque
        or any(setting.action != "show" for setting in description.template.settings)
    )


def apply_effects(transaction: Transaction, description: Description) -> None:
    """How a statement that succeeds changes the transaction it runs in."""
    control = description.control
    if control in {Control.BEGIN, Control.SET_TRANSACTION}:
        transaction.active = transaction.active or control is Control.BEGIN
        for setting in description.template.settings:
            if setting.name == "transaction_isolation" and setting.value:
                transaction.isolation = setting.value
    elif control in {Control.COMMIT, Control.ROLLBACK, Control.PREPARED}:
        # AND CHAIN opens the next one at once, with this one's isolation.
        transaction.active = transaction.active and description.chain
        if not transaction.active:
            transaction.isolation = ""
        transaction.failed = transaction.written = False
        transaction.savepoints = ()
    elif control is Control.ROLLBACK_TO or control is Control.SAVEPOINT:
        _apply_savepoint(transaction, description)
    if description.writes_or_locks:
        transaction.written = True
    if description.changes_names or description.opaque:
        transaction.touched_names = True
    if description.ddl:
        transaction.ddl = transaction.touched_names = True


def _apply_savepoint(transaction: Transaction, description: Description) -> None:
    """Locks taken and rows written behind a savepoint are gone with ROLLBACK TO it. The parser folds and cuts names as
    the target does; one that isn't known here leaves everything as it is, until the target has answered."""
    name, known = description.savepoint, transaction.savepoints
    if description.template.command == "SAVEPOINT":
        transaction.savepoints = (*known, (name, transaction.written))[-MAX_SAVEPOINTS:]
        return
    if description.control is Control.ROLLBACK_TO:
        transaction.failed = False
    for place in range(len(known) - 1, -1, -1):
        if known[place][0] == name:
            if description.control is Control.ROLLBACK_TO:
                transaction.written = known[place][1]
                transaction.savepoints = known[: place + 1]
            else:
                transaction.savepoints = known[:place]
            return


@lru_cache(256)
def obligations(duties: Duties) -> tuple[str, ...]:
    """The names of those that a completed act has met."""
    there = {
        "mask-columns": bool(duties.mask),
        "max-rows": duties.max_rows is not None,
        "max-bytes": duties.max_bytes is not None,
        "max-duration": duties.max_duration_ms is not None,
        "read-only": duties.read_only,
        "statement-timeout": duties.statement_timeout_ms is not None,
        "require-reason": duties.require_reason,
    }
    return tuple(name for name, wanted in there.items() if wanted)
