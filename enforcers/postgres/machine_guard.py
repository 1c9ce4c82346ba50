"""Masked and approved statements: verified on the session's own connection, in the act's own transaction.

Parse takes the locks, then the verification question compares object ids and definitions with those described, then
the RowDescription is checked, and only then does the statement run. A simple Query is turned into the extended
form for that and its replies are turned back (docs/transformations.md). read-only and statement-timeout duties that the
session doesn't have already are set, locally to the transaction, before it.

The same form bounds writes: what lies between two Syncs is one transaction of the target, so a single statement's rows
are counted before the Sync that commits them; too many, and the target is made to fail instead.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from twokey.type.v1 import operation_pb2

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres import deny, wire
from enforcers.postgres.bounds import COUNT_SQL, NOTHING, Writes, counted, written_tables
from enforcers.postgres.commands import Command
from enforcers.postgres.copy_masking import copy_masker
from enforcers.postgres.copy_probe import probe_of
from enforcers.postgres.describe.output import check_row_description
from enforcers.postgres.description import NO_CONTROL, Control, Description, Verification
from enforcers.postgres.limits import limit_error
from enforcers.postgres.machine_base import Internal
from enforcers.postgres.machine_decide import ABORTED
from enforcers.postgres.machine_state import PORTAL, PROBE, STATEMENT, Capture, Expect, Kind, Portal, Running
from enforcers.postgres.machine_unresolved import Unresolved
from enforcers.postgres.maskers.choose import reads_dates
from enforcers.postgres.masking import RowMasker, UnmaskableError, row_masker

_STYLE_SQL = "SELECT pg_catalog.current_setting('DateStyle'::pg_catalog.text)"
_MASK_HINT = "Select the masked columns by name, without expressions."
_COUNT_HINT = "Write to one table at a time, without WITH."
# The target calls what stands first between two Syncs a statement of its own: no LOCK, no DECLARE, a warning for SET
# LOCAL. In a Query of several none is. This takes the first place, and no snapshot: BEGIN may then name an isolation.
_BEHIND_SQL = "SHOW server_version_num"
_ENDS = frozenset({Control.COMMIT, Control.ROLLBACK, Control.ROLLBACK_TO, Control.PREPARED})  # of a failed transaction
_NAMING = frozenset({"DECLARE CURSOR", "PREPARE"})
_LIMIT_REFUSED = "the target did not accept a limit that the decision sets"


class Guarding(Unresolved):
    """Adds guarded execution. Every failure here refuses the act and leaves the target's transaction failed."""

    def needs_guard(self, running: Running) -> bool:
        """A Query that can't be sent as it came. In an explicit transaction what wrote too much is undone afterwards,
        because nothing is committed by it."""
        if self.verifies(running):
            return True
        if running.writes is NOTHING:
            return False
        return running.writes is not Writes.TAGGED or not self.transaction.active

    def verifies(self, running: Running) -> bool:
        """There is something to ask or to set before the statement."""
        duties, description = running.act.ruling.duties, running.description
        if duties.mask:
            return description.template.command != "PREPARE"  # it shows nothing; EXECUTE is verified by itself
        if self.loosens(description):
            return True  # refused where it is decided, also if its lease would let it pass
        if description.control is not NO_CONTROL:
            return False  # nothing to verify, and no rows to bound
        if not self.met(duties):
            return True
        return bool(running.act.ruling.execution) and description.verification is not None

    def guarded_query(self, acts: Sequence[Running]) -> Generator[Command | Internal, object, None]:
        """A Query's statements in extended form, from the first message to the Sync behind the last: one implicit
        transaction, as they were in the Query."""
        if len(acts) > 1 and not (self.transaction.active or self.transaction.failed):
            self.question(_BEHIND_SQL)
        for running in acts:
            if self.skipping:
                self.ended(running, "not-executed", error="an earlier statement of the message failed")
            else:
                yield from self._guarded(running)
        self.end_segment()

    def _guarded(self, running: Running) -> Generator[Command | Internal, object, None]:
        refusal = yield from self._guard_query(running)
        if refusal:
            self.ended(running, "refused", error="not run: the gateway could not meet the decision")
            if self.skipping:
                self.tell_once(refusal)
            else:
                self.poison(refusal)
        elif not running.ended and self.skipping:
            self.ended(running, "failed", error="the target refused it")
        if not self.skipping:
            self.send(wire.close(b"P", PORTAL), Expect(Kind.CLOSE, relay=False))

    def _guard_query(self, running: Running) -> Generator[Command | Internal, object, bytes]:
        """The error when it may not run; empty when it ran or when the client was told the target's own error."""
        description = running.description
        if self.transaction.failed and description.control not in _ENDS:
            return deny.error("25P02", ABORTED)
        done = yield from self.set_duties(running)
        if not done:
            return unmet(_LIMIT_REFUSED, hint="")
        capture = Capture()
        self.send(wire.close(b"S", STATEMENT), Expect(Kind.CLOSE, relay=False))
        self.send(wire.parse(STATEMENT, description.text), Expect(Kind.PARSE, relay=False, capture=capture))
        self.send(wire.describe(b"S", STATEMENT), Expect(Kind.DESCRIBE, relay=False, capture=capture, final=True))
        yield from self.flushed(capture)
        if capture.error is not None:
            return b""
        refusal = yield from self.verified(running, capture.fields)
        if refusal:
            return refusal
        self.follow(description)
        # In a transaction a portal outlives its message: the next of the name would fail, and its table stay in use.
        self.send(wire.close(b"P", PORTAL), Expect(Kind.CLOSE, relay=False))
        # Planning is over with BindComplete: what a Query shows then is the RowDescription.
        self.send(wire.bind(PORTAL, STATEMENT), Expect(Kind.BIND, relay=False, error=capture.raw))
        running.begun = True
        if running.duration is not None:
            self.give_time(running, running.duration)
        return (yield from self.watched(running, wire.execute(PORTAL, row_count(running))))

    def must_watch(self, running: Running) -> bool:
        """Is there something to ask between the statement and its commit?"""
        if running.writes is not NOTHING and running.writes is Writes.COUNTED:
            return True
        if not self.met(running.act.ruling.duties):
            return running.description.control is NO_CONTROL
        verification = verification_of(running)
        return verification is not None and verification.functions_sql is not None and self.verifies(running)

    def watched(self, running: Running, execute: bytes) -> Generator[Command | Internal, object, bytes]:
        """Execute, and see that what it did may stand: nothing is committed before this returns. The error if not."""
        if not running.restore:
            met = yield from self.set_duties(running)
            if not met:
                return unmet(_LIMIT_REFUSED, hint="")
        before = self.question(COUNT_SQL, (written_tables(running.description),)) if self._counts(running) else None
        done = Capture()
        self.send(execute, Expect(Kind.EXECUTE, acts=(running,), capture=done, final=True))
        takes_data = running.description.copy_in  # a Sync sent now would be lost among it
        if before is None and not running.bounded and not takes_data and not self.must_watch(running):
            return b""
        yield from self.flushed(done)
        if done.error is not None:
            return b""
        if running.limited:
            if not self.skipping:
                self.poison(b"")
            return b""
        if before is not None:
            refusal = yield from self._counted(running, before)
            if refusal:
                return refusal
        restored = yield from self.restore(running)
        return (yield from self.functions_unchanged(running)) if restored else unmet(_LIMIT_REFUSED, hint="")

    def _counts(self, running: Running) -> bool:
        """From here its CommandComplete is held back until its rows are counted."""
        running.hold = running.writes is Writes.COUNTED
        return running.hold

    def _counted(self, running: Running, before: Capture) -> Generator[Command | Internal, object, bytes]:
        after = self.question(COUNT_SQL, (written_tables(running.description),))
        yield from self.flushed(after)
        was, now = (counted(capture.rows[0]) if capture.rows else None for capture in (before, after))
        if was is None or now is None:
            return unmet("the target did not say how many rows it wrote", hint=_COUNT_HINT)
        running.wrote += now - was
        if (running.limit is not None and running.wrote > running.limit) or running.wrote < running.least:
            running.limited, running.cut, running.rows = True, "ROW_LIMIT", running.wrote
            self.replies.refuse(running)
            return limit_error(running)
        if running.held:
            tag = running.held[5:-1].decode("utf-8", "replace")
            self.tell(running.held)
            running.held = b""
            self.completed(running, tag, alone=False)
        return b""

    def guarded_bind(self, portal: Portal, raw: bytes) -> Generator[Command | Internal, object, None]:
        """Forward a Bind whose act must be verified; the portal can be executed once this returns without refusal."""
        running = portal.running
        if running is None:
            raise ProtocolError("a portal without an act can't be guarded")
        done = yield from self.set_duties(running)
        refusal = b"" if done else unmet(_LIMIT_REFUSED, hint="")
        if not refusal:
            capture = Capture()
            self.send(raw, Expect(Kind.BIND, name=portal.name, capture=None))
            self.send(wire.describe(b"P", portal.name), Expect(Kind.DESCRIBE, relay=False, capture=capture, final=True))
            yield from self.flushed(capture)
            if capture.error is not None:
                return
            refusal = yield from self.verified(running, capture.fields)
        if refusal:
            self.ended(running, "refused", error="not run: the gateway could not meet the decision")
            if self.skipping:
                self.tell_once(refusal)
            else:
                self.poison(refusal)

    def verified(
        self, running: Running, fields: tuple[wire.FieldDescription, ...]
    ) -> Generator[Command | Internal, object, bytes]:
        """Compare the target with the description; build the masker. The error, or nothing."""
        mask = running.act.ruling.duties.mask
        if mask and running.description.copy_form is not None:
            probe = yield from self._probed(running.description)
            if probe is None:
                return unmet("the columns that this COPY sends can't be told", hint=_MASK_HINT)
            fields = probe
        verification = verification_of(running)
        if verification is not None:
            capture = self.question(verification.sql)
            yield from self.flushed(capture)
            if answers(capture) != verification.expected:
                self.describer.invalidate()
                return coded_changed()
        if not mask or running.description.template.command in _NAMING:
            return b""  # the rows come with FETCH or EXECUTE, whose decision masks them
        if any(reads_dates(column) for column in mask) and any(not field.format for field in fields):
            style = self.question(_STYLE_SQL)
            yield from self.flushed(style)
            if not (answers(style) or ("",))[0].startswith("ISO"):
                return unmet("dates can only be masked in ISO form", hint="SET DateStyle = ISO, and send it again.")
        try:
            running.masker = build_masker(running.description, fields, mask, self.masking_key)
        except UnmaskableError as error:
            return unmet(str(error))
        return b""

    def _probed(
        self, description: Description
    ) -> Generator[Command | Internal, object, tuple[wire.FieldDescription, ...] | None]:
        """The columns of COPY TO STDOUT, its tables locked."""
        probe = probe_of(description)
        if probe is None:
            return None
        shown = Capture()
        self.send(wire.close(b"S", PROBE), Expect(Kind.CLOSE, relay=False))
        self.send(wire.parse(PROBE, probe), Expect(Kind.PARSE, relay=False, capture=shown))
        self.send(wire.describe(b"S", PROBE), Expect(Kind.DESCRIBE, relay=False, capture=shown, final=True))
        yield from self.flushed(shown)
        if shown.error is not None:
            return None
        self.send(wire.close(b"S", PROBE), Expect(Kind.CLOSE, relay=False))
        return shown.fields

    def functions_unchanged(self, running: Running) -> Generator[Command | Internal, object, bytes]:
        verification = verification_of(running)
        if verification is None or verification.functions_sql is None:
            return b""
        capture = self.question(verification.functions_sql)
        yield from self.flushed(capture)
        if answers(capture) != verification.functions_expected:
            self.describer.invalidate()
            return coded_changed()
        return b""


def verification_of(running: Running) -> Verification | None:
    """What must hold of the target for the decision to hold: of an act that is masked, approved, or counted by what
    its description says. Any other is decided for whatever it means (behind a change of names in a message: opaque)."""
    ruling = running.act.ruling
    if ruling.duties.mask or ruling.execution or running.writes is not Writes.NOTHING:
        return running.description.verification
    return None


def can_be_split(described: Sequence[Description], *, controls: bool) -> bool:
    """May the statements of one Query be sent one by one instead? Not where one of them can't run in a transaction with
    others. controls: those that begin and end transactions may be among them."""
    if any(d.single_transaction or d.own_setting for d in described):
        return False
    return controls or all(d.control is Control.NONE for d in described)


def row_count(running: Running) -> int:
    """For Execute: one row more than may pass; 0 (all) where there is no limit, or where the statement has run to its
    end before its first row comes, so that its tag tells the exact count."""
    if running.limit is None or running.writes is not Writes.NOTHING:
        return 0
    return running.limit - running.rows + 1


def answers(capture: Capture) -> tuple[str, ...] | None:
    """The rows of a verification; None where it failed, which equals nothing that was expected."""
    if capture.error is not None or not capture.done:
        return None
    return tuple((row[0] or b"").decode("utf-8", "replace") for row in capture.rows if row)


def build_masker(
    description: Description,
    fields: tuple[wire.FieldDescription, ...],
    mask: tuple[MaskedColumn, ...],
    masking_key: bytes | None,
) -> RowMasker:
    """Which result column gets which masker. masking_key: the connection's. Raises UnmaskableError where description
    and target disagree, or where a column that must be masked is not a result column."""
    form = description.copy_form
    if form is not None:
        if form.problem:
            raise UnmaskableError(f"COPY can't be masked {form.problem}: leave that out")
        description = as_query(description)
    if description.utility or not description.template.returns_rows:
        raise UnmaskableError("masked columns can't pass through this kind of statement")
    shown = [(field.name.decode("utf-8", "replace"), field.table, field.attribute) for field in fields]
    problem = check_row_description(description, shown)
    if problem is not None:
        raise UnmaskableError(problem)
    outputs = description.template.output
    if description.output_open or len(outputs) != len(fields):
        raise UnmaskableError("which columns the result has can't be said with certainty")
    by_name = {(c.schema, c.relation, c.column): c for c in mask if not c.position}
    by_place = {c.position: c for c in mask if c.position}
    used: set[tuple[str, str, str]] = set()
    columns: list[tuple[MaskedColumn | None, wire.FieldDescription]] = []
    for place, (output, field) in enumerate(zip(outputs, fields, strict=True), start=1):
        key = (output.origin.schema, output.origin.relation, output.origin.column)
        column = by_name.get(key) if output.HasField("origin") else None
        if column is not None:
            used.add(key)
        columns.append((agreed(column, by_place.pop(place, None)), field))
    if used != set(by_name):
        raise UnmaskableError("a column that must be masked is not a plain column of the result")
    if by_place:
        raise UnmaskableError(f"the result has no column {min(by_place)}, which must be masked")
    return row_masker(columns, key=masking_key) if form is None else copy_masker(columns, form, key=masking_key)


def as_query(description: Description) -> Description:
    """COPY TO STDOUT as the query whose rows it sends."""
    template = operation_pb2.SqlOperation()
    template.CopyFrom(description.template)
    template.returns_rows = True
    return replace(description, template=template, utility=False)


def agreed(named: MaskedColumn | None, placed: MaskedColumn | None) -> MaskedColumn | None:
    """Of a result's column that is to be masked by its origin's name, by its place, or by both in the same way."""
    if named is None or placed is None:
        return placed if named is None else named
    plain = replace(
        placed, schema=named.schema, relation=named.relation, column=named.column, label=named.label, position=0
    )
    if plain != named:
        raise UnmaskableError(f"column {placed.position} of the result has two different maskers")
    return named


def unmet(text: str, *, hint: str = _MASK_HINT) -> bytes:
    return deny.coded("OBLIGATION_UNMET", text, hint=hint)


def coded_changed() -> bytes:
    return deny.coded(
        "OBLIGATION_UNMET",
        "what the statement means changed between the decision and its execution; it did not run",
        hint="Send it again.",
    )
