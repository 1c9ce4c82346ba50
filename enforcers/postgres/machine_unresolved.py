"""Statements that name what the catalog doesn't have: the target refuses them, so it is asked to, in its own words.

Clients look for a table by such an error (42P01), so it must be PostgreSQL's own, where it stands in the text too. What
a Query holds is prepared under a reserved name that nobody binds, as a client's own Parse would be, which is forwarded
undecided: that looks names up and types constants, and runs nothing. Where the target finds what isn't known here (it
was made a moment ago, or the describer can't see it) the Query goes on to its decision, described anew: an object that
appears between the two questions is never used undecided.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from enforcers.postgres import deny, wire
from enforcers.postgres.commands import Command
from enforcers.postgres.copy_probe import copied_query, copied_table
from enforcers.postgres.description import Control, Description, SyntaxProblem
from enforcers.postgres.machine_base import Internal
from enforcers.postgres.machine_decide import Deciding, is_unresolved
from enforcers.postgres.machine_lineage import prepared_body
from enforcers.postgres.machine_private import unplaced
from enforcers.postgres.machine_state import QUESTION, Capture, Expect, Kind, Refused


class Unresolved(Deciding):
    """Adds asking the target about names that nothing here resolves."""

    def asked_there(
        self, text: bytes, described: Sequence[Description]
    ) -> Generator[Command | Internal, object, Sequence[Description] | None]:
        """The statements of a Query as they are to be decided; None where it is over and the client knows why."""
        missing = any(is_unresolved(description) for description in described)
        asked = unresolved_text(text, described) if missing else None
        if asked is None or self.transaction.failed or self.skipping or self.gate.refusal() is not None:
            return described
        inside = self.segment_open
        capture = Capture()
        self.send(wire.close(b"S", QUESTION), Expect(Kind.CLOSE, relay=False, tell=False))
        expect = Expect(Kind.PARSE, relay=False, tell=asked.placed, capture=capture, final=True)
        self.send(wire.parse(QUESTION, asked.text), expect)
        yield from self.flushed(capture)
        if capture.error is not None:
            if capture.error and not asked.placed:
                self.tell_once(deny.withheld(capture.error) if self.replies.withhold else unplaced(capture.error))
            self.end_segment()
            return None
        if not inside:
            yield from self.synced()
            self.segment_open = False
        self.describer.invalidate()
        again = yield from self.described(text)
        if isinstance(again, SyntaxProblem):
            again = Refused(deny.coded("SYNTAX", "the statement can't be described any more"))
        if isinstance(again, Refused):
            self.refuse_query(again)
            return None
        return again

    def names_nothing(self, described: Sequence[Description]) -> Generator[Command | Internal, object, bool]:
        """A Query of one EXECUTE, FETCH or MOVE whose name the target doesn't have: only to be refused there (26000,
        34000), since nothing of this session comes between this question and the Query."""
        if len(described) != 1 or self.transaction.failed or self.skipping or self.segment_open:
            return False
        one = described[0]
        named = _NAMED.get(one.template.command)
        name = one.prepared or one.cursor
        if named is None or not name or {reason.code for reason in one.template.opaque_reasons} != {named.code}:
            return False
        if self.gate.refusal() is not None:
            return False
        capture = self.question(named.sql, (name.encode(),))
        yield from self.answered(capture)
        return capture.error is None and capture.rows == [[b"0"]]


class Named(NamedTuple):
    code: str  # the one reason for which it is opaque
    sql: str  # how many of that name there are


_PREPARED = Named(
    "prepared-unknown",
    "SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_catalog.pg_prepared_statements p"
    " WHERE p.name OPERATOR(pg_catalog.=) $1::pg_catalog.text",
)
_CURSOR = Named(
    "cursor-unknown",
    "SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_catalog.pg_cursors c"
    " WHERE c.name OPERATOR(pg_catalog.=) $1::pg_catalog.text",
)
_NAMED = {"EXECUTE": _PREPARED, "FETCH": _CURSOR, "MOVE": _CURSOR}


class Missing(NamedTuple):
    text: bytes  # to prepare
    placed: bool  # each character stands where it does in the message


def unresolved_text(message: bytes, described: Sequence[Description]) -> Missing | None:
    """What to prepare in place of the first statement that misses a name. None where Parse looks nothing up, or where
    what stands before would decide whether the name is missed (transaction control, something opaque)."""
    end = 0
    for description in described:
        start = message.find(description.text, end)
        if start < 0:
            return None
        if is_unresolved(description):
            return _part(message, start, description)
        if not _leaves_names(description):
            return None
        end = start + len(description.text)
    return None


def _leaves_names(description: Description) -> bool:
    """What stands behind it finds the names that are there now."""
    changes = description.opaque or description.changes_names or description.ddl or description.makes_temporary
    return not changes and description.control is Control.NONE


def _part(message: bytes, start: int, description: Description) -> Missing | None:
    """Parse looks up all of a query, and nothing of most utility statements, but for a part of COPY and PREPARE."""
    text, command = description.text, description.template.command
    if description.parameters:
        return None  # a Query has none, and says so
    part: bytes | None = text
    if command == "COPY":
        part = copied_query(text)
        if part is None:
            table = copied_table(text)
            return None if table is None else Missing(b"TABLE " + table, placed=False)
    elif command == "PREPARE":
        part = prepared_body(text)
    if part is None:
        return None
    before = message[: start + text.find(part)].decode("utf-8", "replace")
    return Missing(b" " * len(before) + part, placed=True)
