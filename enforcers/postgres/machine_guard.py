"""Masked and approved statements: verified on the session's own connection, in the act's own transaction.

Parse takes the locks, then the verification question compares object ids and definitions with those described, then
the RowDescription is checked, and only then does the statement run. A simple Query is turned into the extended
form for that and its replies are turned back (docs/transformations.md). read-only and statement-timeout duties that the
session doesn't have already are set, locally to the transaction, before it.
"""

from __future__ import annotations

from collections.abc import Generator

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import Duties, MaskedColumn
from enforcers.postgres import deny, wire
from enforcers.postgres.commands import Command
from enforcers.postgres.describe.output import check_row_description
from enforcers.postgres.description import Control, Description
from enforcers.postgres.machine_base import Internal
from enforcers.postgres.machine_decide import Deciding, met_by_session
from enforcers.postgres.machine_state import PORTAL, STATEMENT, Capture, Expect, Kind, Portal, Running
from enforcers.postgres.masking import RowMasker, UnmaskableError, row_masker

_SET = "SELECT pg_catalog.set_config($1::pg_catalog.text, $2::pg_catalog.text, true)"


class Guarding(Deciding):
    """Adds guarded execution. Every failure here refuses the act and leaves the target's transaction failed."""

    def needs_guard(self, running: Running) -> bool:
        duties, description = running.act.ruling.duties, running.description
        if duties.mask:
            return True
        if description.control is not Control.NONE:
            return False  # nothing to verify, and no rows to bound
        if not met_by_session(duties, self.gate.session_duties):
            return True
        return bool(running.act.ruling.execution) and description.verification is not None

    def guarded_query(self, running: Running) -> Generator[Command | Internal, object, None]:
        """A simple Query's single statement in extended form, from the first message to its Sync."""
        refusal = yield from self._guard_query(running)
        if refusal:
            self.ended(running, "refused", error="not run: the gateway could not meet the decision")
            if self.skipping:
                self.tell_once(refusal)
            else:
                self.poison(refusal)
        elif not running.ended and self.skipping:
            self.ended(running, "failed", error="the target refused it")
        self.end_segment()

    def _guard_query(self, running: Running) -> Generator[Command | Internal, object, bytes]:
        """The error when it may not run; empty when it ran or when the client was told the target's own error."""
        description = running.description
        refusal = yield from self.set_duties(running.act.ruling.duties)
        if refusal:
            return refusal
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
        if capture.raw:
            self.tell(capture.raw)
        self.follow(description)
        limit = running.limit
        self.send(wire.bind(PORTAL, STATEMENT), Expect(Kind.BIND, relay=False))
        done = Capture()
        running.begun = True
        self.send(
            wire.execute(PORTAL, 0 if limit is None else limit + 1),
            Expect(Kind.EXECUTE, acts=(running,), capture=done, final=True),
        )
        if self.must_watch(running) or limit is not None:
            yield from self.flushed(done)
            if done.error is None and not running.limited:
                return (yield from self.functions_unchanged(running))
        return b""

    def must_watch(self, running: Running) -> bool:
        """Is there something to ask between the statement and its commit?"""
        verification = running.description.verification
        return verification is not None and verification.functions_sql is not None

    def guarded_bind(self, portal: Portal, raw: bytes) -> Generator[Command | Internal, object, None]:
        """Forward a Bind whose act must be verified; the portal can be executed once this returns without refusal."""
        running = portal.running
        if running is None:
            raise ProtocolError("a portal without an act can't be guarded")
        refusal = yield from self.set_duties(running.act.ruling.duties)
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

    def set_duties(self, duties: Duties) -> Generator[Command | Internal, object, bytes]:
        settings: list[tuple[bytes, bytes]] = []
        session = self.gate.session_duties
        if duties.read_only and not session.read_only:
            settings.append((b"transaction_read_only", b"on"))
        wanted = duties.statement_timeout_ms
        if wanted is not None and (session.statement_timeout_ms is None or session.statement_timeout_ms > wanted):
            settings.append((b"statement_timeout", str(wanted).encode()))
        for name, value in settings:
            capture = self.question(_SET, (name, value))
            yield from self.flushed(capture)
            if capture.error is not None or not capture.rows:
                return unmet("the target did not accept a limit that the decision sets")
        return b""

    def verified(
        self, running: Running, fields: tuple[wire.FieldDescription, ...]
    ) -> Generator[Command | Internal, object, bytes]:
        """Compare the target with the description; build the masker. The error, or nothing."""
        verification = running.description.verification
        if verification is not None:
            capture = self.question(verification.sql)
            yield from self.flushed(capture)
            if answers(capture) != verification.expected:
                self.describer.invalidate()
                return coded_changed()
        if not running.act.ruling.duties.mask:
            return b""
        try:
            running.masker = build_masker(running.description, fields, running.act.ruling.duties.mask)
        except UnmaskableError as error:
            return unmet(str(error))
        return b""

    def functions_unchanged(self, running: Running) -> Generator[Command | Internal, object, bytes]:
        verification = running.description.verification
        if verification is None or verification.functions_sql is None:
            return b""
        capture = self.question(verification.functions_sql)
        yield from self.flushed(capture)
        if answers(capture) != verification.functions_expected:
            self.describer.invalidate()
            return coded_changed()
        return b""


def answers(capture: Capture) -> tuple[str, ...] | None:
    """The rows of a verification; None where it failed, which equals nothing that was expected."""
    if capture.error is not None or not capture.done:
        return None
    return tuple((row[0] or b"").decode("utf-8", "replace") for row in capture.rows if row)


def build_masker(
    description: Description, fields: tuple[wire.FieldDescription, ...], mask: tuple[MaskedColumn, ...]
) -> RowMasker:
    """Which result column gets which masker. Raises UnmaskableError where description and target disagree, or where
    a column that must be masked is not a result column."""
    if description.utility or not description.template.returns_rows:
        raise UnmaskableError("masked columns can't pass through this kind of statement")
    shown = [(field.name.decode("utf-8", "replace"), field.table, field.attribute) for field in fields]
    problem = check_row_description(description, shown)
    if problem is not None:
        raise UnmaskableError(problem)
    outputs = description.template.output
    if description.output_open or len(outputs) != len(fields):
        raise UnmaskableError("which columns the result has can't be said with certainty")
    by_name = {(c.schema, c.relation, c.column): c for c in mask}
    used: set[tuple[str, str, str]] = set()
    columns: list[tuple[MaskedColumn | None, int]] = []
    for output, field in zip(outputs, fields, strict=True):
        key = (output.origin.schema, output.origin.relation, output.origin.column)
        column = by_name.get(key) if output.HasField("origin") else None
        if column is not None:
            used.add(key)
        columns.append((column, field.type))
    if used != set(by_name):
        raise UnmaskableError("a column that must be masked is not a plain column of the result")
    return row_masker(columns)


def unmet(text: str) -> bytes:
    return deny.coded("OBLIGATION_UNMET", text, hint="Select the masked columns by name, without expressions.")


def coded_changed() -> bytes:
    return deny.coded(
        "OBLIGATION_UNMET",
        "what the statement means changed between the decision and its execution; it did not run",
        hint="Send it again.",
    )
