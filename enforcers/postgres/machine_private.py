"""A session's own objects: temporary ones, and what its transaction has defined and not committed.

The shared catalog can't show them, and they may stand in front of what it shows. So the session's own connection is
asked how the catalog differs from it, by the extended protocol under reserved names, and statements are described
under that *view* until something could have changed it. Where it can't be had (another isolation level than READ
COMMITTED, whose catalog questions would see the past; too many objects) what resolves names is opaque and says why.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from hashlib import sha256

from twokey.type.v1 import operation_pb2

from enforcers.postgres import deny, wire
from enforcers.postgres.commands import Command, RowEstimate
from enforcers.postgres.description import Control, Description
from enforcers.postgres.estimate import read_plan
from enforcers.postgres.machine_base import Internal, MachineBase
from enforcers.postgres.machine_state import KEPT, MAX_KEPT, QUESTION, Capture, Expect, Kind, Refused, Transaction

MAX_ROWS = 200_000  # of a view: reading it blocks the loop
ISOLATION_SQL = "SELECT pg_catalog.current_setting('transaction_isolation')"


class Private(MachineBase):
    """Adds the session's own view of the catalog."""

    def read_view(self) -> Generator[Command | Internal, object, Refused | None]:
        """Ask the session's connection for its catalog; `view` stays None where that can't be relied on."""
        names = self.names
        if names is None:
            raise RuntimeError("the session's catalog was asked for before its names")
        base = self.describer.version  # before the questions: a later one makes the view old
        settled = not (self.transaction.active or self.segment_open)
        reading = self.describer.private(names, self.taint, settled=settled)
        captures = [self.question(ISOLATION_SQL, kept=True)]
        level: str | None = None
        rows = 0
        while reading.questions:
            captures += [
                self.question(sql, tuple([value.encode() for value in values]), kept=True)
                for sql, values in reading.questions
            ]
            yield from self.answered(captures[-1])
            for capture in captures:
                if capture.error is not None or not capture.done:
                    self.kept.clear()  # which of them the target has is not known now
                    return Refused(
                        deny.coded("UPSTREAM_UNAVAILABLE", "the target did not show this session's own objects")
                    )
                rows += len(capture.rows)
            if level is None:
                found = captures.pop(0).rows
                level = text(found[0][0]) if found else ""
            if level != "read committed" or rows > MAX_ROWS:
                self.taint.unseen()
                break
            reading.answered([[[text(cell) for cell in row] for row in capture.rows] for capture in captures])
            captures = []
        self.view, self.view_stale, self.view_base = reading.view, False, base
        return None

    def question(
        self, sql: str, values: tuple[bytes | None, ...] = (), *, tell: bool = False, kept: bool = False
    ) -> Capture:
        """A question of the gateway's own by extended protocol under reserved names; the caller flushes or syncs.

        tell False: should it fail, the client isn't shown the target's words. kept: it will be asked again, so it stays
        prepared, under a name of its own, until something may have deallocated it.
        """
        capture = Capture()
        name = self.kept.get(sql, b"") if kept else b""
        if not name:
            name = QUESTION
            if kept and len(self.kept) < MAX_KEPT:
                name = self.kept[sql] = KEPT + str(len(self.kept)).encode()
            self.send(wire.close(b"S", name), Expect(Kind.CLOSE, relay=False, tell=tell, capture=capture))
            self.send(wire.parse(name, sql.encode()), Expect(Kind.PARSE, relay=False, tell=tell, capture=capture))
        bind = wire.bind(QUESTION, name, values)
        self.send(bind, Expect(Kind.BIND, relay=False, tell=tell, capture=capture))
        self.send(wire.execute(QUESTION), Expect(Kind.EXECUTE, relay=False, tell=tell, capture=capture, final=True))
        self.send(wire.close(b"P", QUESTION), Expect(Kind.CLOSE, relay=False, tell=tell))
        return capture

    def answered(self, capture: Capture) -> Generator[Command | Internal, object, None]:
        """Wait for an own question: inside the client's pipeline by Flush, else in a transaction of its own."""
        if self.segment_open:
            yield from self.flushed(capture)
        else:
            yield from self._synced(capture)

    def _synced(self, capture: Capture) -> Generator[Command | Internal, object, None]:
        """As flushed(), outside any segment: ended by a Sync of the gateway's own, whose ReadyForQuery is swallowed."""
        synced = Capture()
        self.send(wire.SYNC, Expect(Kind.SYNC, relay=False, tell=False, capture=synced, final=True))
        if not capture.done and capture.error is None:
            self.wanted = capture
            yield Internal.CAPTURE
        if not synced.done:
            self.wanted = synced
            yield Internal.CAPTURE
        self.skipping = self.error_told = False

    def synced(self) -> Generator[Command | Internal, object, None]:
        """End a transaction of the gateway's own, all of whose messages are answered."""
        done = Capture()
        done.done = True
        yield from self._synced(done)

    def privately(self, description: Description) -> Description:
        """Described without the session's own objects, so not with certainty."""
        template = operation_pb2.SqlOperation()
        template.CopyFrom(description.template)
        template.opaque = True
        template.opaque_reasons.add(code="session-objects", detail=self.private)
        return replace(
            description,
            template=template,
            shape_digest=sha256(b"private" + description.shape_digest).digest(),
            static_digest=sha256(b"private" + description.static_digest).digest(),
            can_estimate=False,
            cannot_estimate_why=self.private,
            verification=None,
        )

    def estimate_here(
        self,
        description: Description,
        transaction: Transaction,
        *,
        values: tuple[bytes | None, ...],
        formats: tuple[int, ...],
        types: tuple[int, ...],
    ) -> Generator[Command | Internal, object, RowEstimate | Refused]:
        """EXPLAIN on the session's own connection, the only one that knows its objects. Only for what calls nothing
        but safe functions; never where the locks of a plan for a write would then wait for a reviewer. Refused, in the
        target's words, where its failure has taken the client's transaction or pipeline along."""
        together = transaction.active or self.segment_open
        if (self.private and self.view is None) or not description.can_estimate:
            return RowEstimate(None, why=description.cannot_estimate_why or self.private)
        if transaction.active and description.writes_or_locks and not transaction.written:
            return RowEstimate(None, why="planning it in this session would lock before a reviewer has seen it")
        capture = Capture()
        explained = b"EXPLAIN (FORMAT JSON) " + description.text.rstrip().rstrip(b";")
        for data, kind in (
            (wire.close(b"S", QUESTION), Kind.CLOSE),
            (wire.parse(QUESTION, explained, types), Kind.PARSE),
            (wire.bind(QUESTION, QUESTION, values, formats=formats), Kind.BIND),
        ):
            self.send(data, Expect(kind, relay=False, tell=False, capture=capture))
        self.send(wire.execute(QUESTION), Expect(Kind.EXECUTE, relay=False, tell=False, capture=capture, final=True))
        self.send(wire.close(b"P", QUESTION), Expect(Kind.CLOSE, relay=False, tell=False))
        yield from self.answered(capture)
        if capture.error and together:
            return Refused(unplaced(deny.withheld(capture.error) if self.replies.withhold else capture.error))
        if capture.error is not None or not capture.done or not capture.rows:
            return RowEstimate(None, why="the target refused to plan it in this session")
        try:
            found = read_plan(text(capture.rows[0][0]), description)
        except ValueError:
            return RowEstimate(None, why="the planner's answer could not be read")
        return RowEstimate(found.rows, found.cost, found.why)


def unplaced(raw: bytes) -> bytes:
    """An ErrorResponse without its position, which counts from the beginning of another text than the client's."""
    return wire.fields(
        b"E",
        [(code, value.decode("utf-8", "replace")) for code, value in wire.parse_fields(raw).items() if code != "P"],
    )


def needs_names(description: Description) -> bool:
    """Does it resolve any name? Transaction control and settings don't, and must not be preceded by a question."""
    if description.control is not Control.NONE:
        return False
    template = description.template
    if template.opaque or template.relations or template.columns or template.functions:
        return True
    return not (description.utility and template.settings)


def text(cell: bytes | None) -> str | None:
    return None if cell is None else cell.decode("utf-8", "replace")
