"""The extended protocol: Parse is described, Bind is decided (its values are known), Execute is checked once more.

A prepared statement resolves its names again at every Bind, so does its description. A refused message is replaced by
one that can't parse: the target fails, skips to Sync and rolls back by itself, and what the client had prepared or
bound before can't run in its place. A statement or portal that this machine does not know is refused.
"""

from __future__ import annotations

from collections.abc import Generator

from enforcers.core.ports import Answer
from enforcers.postgres import deny, wire
from enforcers.postgres.bounds import Writes
from enforcers.postgres.catalog.queries import FIRST_USER_OID
from enforcers.postgres.commands import Command
from enforcers.postgres.description import Control, Description, SyntaxProblem
from enforcers.postgres.limits import limit_error
from enforcers.postgres.machine_base import Flow, Internal
from enforcers.postgres.machine_decide import ABORTED, Asked
from enforcers.postgres.machine_guard import Guarding, row_count
from enforcers.postgres.machine_lineage import declared_with
from enforcers.postgres.machine_state import (
    RESERVED,
    SPENT,
    Expect,
    Granted,
    Kind,
    Portal,
    Refused,
    Running,
    Statement,
)

MAX_STATEMENTS = 10_000


class Extended(Guarding):
    """Adds Parse, Bind, Describe, Execute, Close, Flush and Sync of the client's."""

    def start(self, flow: Flow) -> None:
        raise NotImplementedError

    # Parse

    def on_parse(self, raw: bytes) -> None:
        name, text, types = wire.parse_parse(raw)
        if name.startswith(RESERVED):
            return self.poison(deny.coded("NOT_SUPPORTED", "statement names that begin with __twokey are reserved"))
        known = self.statements.get(name) if name else None
        if known is not None and not known.suspect:
            return self.reject(text, deny.error("42P05", f'prepared statement "{shown(name)}" already exists'))
        if len(self.statements) >= MAX_STATEMENTS:
            return self.poison(deny.coded("TOO_LARGE", "too many prepared statements in this session"))
        # Whatever comes of this Parse, the unnamed statement that was is gone.
        self.statements.pop(name, None)
        if self.ready_to_describe():
            described = self.describe(text)
            return self._parsed(raw, name, text, types, described)
        return self.start(self._parse_flow(raw, name, text, types))

    def _parse_flow(self, raw: bytes, name: bytes, text: bytes, types: tuple[int, ...]) -> Flow:
        described = yield from self.described(text)
        if isinstance(described, Refused):
            if described.aborted:
                self.reject(text, described.error)
            else:
                self.refuse_extended(described)
        else:
            self._parsed(raw, name, text, types, described)

    def _parsed(self, raw: bytes, name: bytes, text: bytes, types: tuple[int, ...], described: object) -> None:
        if isinstance(described, SyntaxProblem):
            return self.reject(text, syntax_error(described))
        if not isinstance(described, list | tuple) or len(described) > 1:
            error = deny.error("42601", "cannot insert multiple commands into a prepared statement")
            return self.reject(text, error)
        description: Description | None = described[0] if described else None
        if description is not None and description.own_setting:
            return self._parsed_own(name, text)
        statement = Statement(name, text, types, description, self.names_version, self.catalog_version)
        statement.own_types = max(types, default=0) >= FIRST_USER_OID
        self.statements[name] = statement
        self.segment_open = True
        return self.send(raw, Expect(Kind.PARSE, value=statement))

    def _parsed_own(self, name: bytes, text: bytes) -> None:
        """SET twokey.reason: the target prepares the empty statement in its place."""
        change = self.own_setting(text)
        if isinstance(change, bytes):
            return self.poison(change)
        statement = Statement(name, text, (), None, self.names_version, self.catalog_version, reason=change)
        self.statements[name] = statement
        self.segment_open = True
        return self.send(wire.parse(name, b""), Expect(Kind.PARSE, value=statement))

    # Bind

    def on_bind(self, raw: bytes) -> None:
        bind = wire.parse_bind(raw)
        statement = self.statements.get(bind.statement)
        if statement is None:
            self.start(self._unknown_bind(raw, bind))
            return
        if bind.portal.startswith(RESERVED):
            self.poison(deny.coded("NOT_SUPPORTED", "portal names that begin with __twokey are reserved"))
            return
        if statement.description is None:
            self._bound(self._portal(bind, statement, None), raw)
            return
        asks = statement.suspect or statement.own_types
        if not self.ready_to_describe() or asks or not self._redescribe(statement):
            self.start(self._bind_flow(raw, bind, statement))
            return
        asked = self._asked(statement, bind)
        _, ruling = self.lease(asked)
        # Anything but a plain lease takes the flow, which checks everything once more.
        plain = not (asked.description.prepared or asked.description.cursor or asked.description.changes_grammar)
        if plain and ruling is not None and ruling.answer is Answer.ALLOWED and self.gate.refusal() is None:
            running = Running(self.act(asked, ruling), statement.description)
            # Rows are counted at Execute, where they can be; what can't be bounded is refused where it is decided.
            guarded = running.writes is Writes.UNKNOWN or self.verifies(running)
            if not guarded and self.gate.ready(running.act):
                self._bound(self._portal(bind, statement, running), raw)
                return
        self.start(self._bind_flow(raw, bind, statement))

    def _asked(self, statement: Statement, bind: wire.Bind) -> Asked:
        if statement.description is None:
            raise RuntimeError("the empty statement is not decided")
        return Asked(
            description=statement.description,
            transaction=self.transaction,
            values=bind.values,
            formats=bind.formats,
            types=statement.types,
        )

    def _redescribe(self, statement: Statement) -> bool:
        """Bring the description up to the present names and catalog. False when that takes more than memory."""
        versions = (self.names_version, self.catalog_version)
        if (statement.names_version, statement.catalog_version) == versions:
            return True
        described = self.describe(statement.text)
        if isinstance(described, SyntaxProblem) or len(described) != 1:
            return False
        statement.description = described[0]
        statement.names_version, statement.catalog_version = versions
        return True

    def _portal(self, bind: wire.Bind, statement: Statement, running: Running | None) -> Portal:
        return Portal(
            bind.portal,
            statement,
            bind,
            running,
            names_version=self.names_version,
            catalog_version=self.catalog_version,
            revision=self.gate.revision,
            turn=self.turn,
        )

    def _bound(self, portal: Portal, raw: bytes) -> None:
        self._keep(portal)
        self.segment_open = True
        self.send(raw, Expect(Kind.BIND, name=portal.name, value=portal))

    def _keep(self, portal: Portal) -> None:
        old = self.portals.get(portal.name)
        if old is not None:
            self.drop_portal(old)
        self.portals[portal.name] = portal

    def _bind_flow(self, raw: bytes, bind: wire.Bind, statement: Statement) -> Flow:
        described = yield from self.described_statement(statement)
        if statement.suspect and self.transaction.failed:
            # Which text it has now can't be asked. Where the transaction has failed by the target's own word, nothing
            # but its end can run, whatever the text: what was described as one (a driver's ROLLBACK) goes on.
            before = statement.description
            if not self.aborted or before is None or before.control is Control.NONE:
                described = Refused(deny.error("25P02", ABORTED), aborted=True)
        elif not isinstance(described, Refused) and statement.suspect:
            found = yield from self.look_up(statement.name.decode("utf-8", "replace"))
            if found is None:
                self.statements.pop(statement.name, None)
                if not self.skipping:
                    self.poison(no_statement(statement.name))
                return
            self.statements[statement.name] = found
            if found.text != statement.text:  # something else has that name by now
                yield from self._bind_flow(raw, bind, found)
                return
            statement = found
        if isinstance(described, Refused):
            before = statement.description
            if described.aborted and self.aborted and before is not None and before.control is Control.NONE:
                self.send(raw, Expect(Kind.BIND, relay=False))  # the target refuses it before it plans anything
                self.poison(described.error)
            else:
                self.refuse_extended(described)
            return
        if isinstance(described, SyntaxProblem) or len(described) != 1:
            self.poison(deny.coded("SYNTAX", "the statement can't be described any more"))
            return
        statement.description = described[0]
        statement.names_version, statement.catalog_version = self.names_version, self.catalog_version
        granted = yield from self.decide(self._asked(statement, bind))
        if isinstance(granted, Refused):
            self.refuse_extended(granted)
            return
        running = Running(granted.act, declared_with(statement.description, bind.values, bind.formats))
        portal = self._portal(bind, statement, running)
        if not self.verifies(running):
            self._bound(portal, raw)
            return
        self.withhold(running)
        self._keep(portal)
        yield from self.guarded_bind(portal, raw)

    def _unknown_bind(self, raw: bytes, bind: wire.Bind) -> Flow:
        """The statement may be one that SQL PREPARE made (libpq's PQexecPrepared runs those as well)."""
        name = bind.statement
        statement: Statement | None = None
        reserved = name.startswith(RESERVED) or bind.portal.startswith(RESERVED)
        if name and not reserved and not self.transaction.failed and not self.skipping:
            if self.names is None or self.names_stale:
                yield from self.read_names()
            if self.names is not None and not self.skipping:
                statement = yield from self.look_up(name.decode("utf-8", "replace"))
        if statement is None or len(self.statements) >= MAX_STATEMENTS:
            if not self.skipping:
                self.poison(no_statement(name))
            return
        self.statements[name] = statement
        yield from self._bind_flow(raw, bind, statement)

    def _cursor_flow(self, name: bytes, raw: bytes, max_rows: int) -> Flow:
        """Execute of a portal that Bind did not make: an SQL cursor's, decided as the FETCH that it is."""
        cursor = name.decode("utf-8", "replace")
        if not self.is_cursor(cursor):
            self.poison(deny.error("34000", f'portal "{shown(name)}" does not exist'))
            return
        quoted = cursor.replace('"', '""')
        text = f'FETCH FORWARD {max_rows if max_rows > 0 else "ALL"} FROM "{quoted}"'
        described = yield from self.described(text.encode())
        if isinstance(described, Refused):
            self.refuse_extended(described)
            return
        if isinstance(described, SyntaxProblem) or len(described) != 1:
            self.poison(deny.error("34000", f'portal "{shown(name)}" does not exist'))
            return
        granted = yield from self.decide(Asked(description=described[0], transaction=self.transaction))
        if isinstance(granted, Refused):
            self.refuse_extended(granted)
            return
        running = Running(granted.act, described[0])
        running.orphan = True  # no portal here: the act ends with this answer
        if self.needs_guard(running):
            self.ended(running, "refused", error="not run: Execute of a cursor can't meet the decision")
            self.poison(deny.coded("OBLIGATION_UNMET", "this can't be masked or verified here", hint="Use FETCH."))
            return
        if running.duration is not None:
            self.give_time(running, running.duration)
        if running.bounded:
            if running.limit is not None and (max_rows <= 0 or max_rows > running.limit):
                raw = wire.execute(name, running.limit + 1)
            self.limited_execute = True
            self.limit_flushed = False
        self.segment_open = running.begun = True
        self.follow(described[0])
        self.send(raw, Expect(Kind.EXECUTE, acts=(running,)))

    def withhold(self, running: Running) -> None:
        """While a masked act's transaction lasts, the target's texts stay here: they can quote what is masked."""
        if running.act.ruling.duties.mask:
            self.replies.withhold = True

    def refuse_extended(self, refused: Refused) -> None:
        if refused.fatal:
            self.refuse_session(refused.error)
        elif self.skipping:
            self.tell_once(refused.error)
        else:
            self.poison(refused.error)

    # Describe, Execute, Close, Sync, Flush

    def on_describe(self, raw: bytes) -> None:
        target = wire.parse_target(raw)
        if target.name.startswith(RESERVED):
            return self.poison(deny.error("26000", f'"{shown(target.name)}" does not exist'))
        if target.kind == b"S" and not target.name and b"" not in self.statements:
            return self.poison(no_statement(b""))  # the target may still have one that a refused message should replace
        # What is unknown here may be an SQL cursor (psycopg asks about those), or the target says that it isn't there.
        statement = self.statements.get(target.name) if target.kind == b"S" else None
        self.segment_open = True
        return self.send(raw, Expect(Kind.DESCRIBE, value=statement))

    def on_execute(self, raw: bytes) -> None:
        name, max_rows = wire.parse_execute(raw)
        portal = self.portals.get(name)
        if portal is None:
            return self.start(self._cursor_flow(name, raw, max_rows))
        running = portal.running
        if running is None:
            self.segment_open = True
            change = portal.statement.reason
            value = None if change is None else self.change_reason(change)
            return self.send(raw, Expect(Kind.EXECUTE, value=value))
        if running.ended or running.settling:
            if portal.executed and not (running.limited or running.cut) and running.description.template.returns_rows:
                self.segment_open = True  # it has run out: the target says SELECT 0, and a row would end the session
                return self.send(raw, Expect(Kind.EXECUTE, name=SPENT))
            error = deny.error("55000", f'portal "{shown(name)}" cannot be run')
            return self.poison(limit_error(running) if running.cut else error)
        if portal.turn == self.turn and not self.names_stale and self.view_ready:
            return self._execute(portal, running, raw, max_rows)
        refused = self.session_refusal()
        if refused is not None:
            return self.refuse_extended(refused)
        if portal.executed and not (self._same_rules(portal) or self.transaction.failed):
            return self.start(self._continue_flow(portal, running, raw, max_rows))
        if portal.executed or self._unchanged(portal, running):
            return self._execute(portal, running, raw, max_rows)
        return self.start(self._execute_flow(portal, running, raw, max_rows))

    def _unchanged(self, portal: Portal, running: Running) -> bool:
        if not self.ready_to_describe() or portal.revision != self.gate.revision:
            return False
        if (portal.names_version, portal.catalog_version) != (self.names_version, self.catalog_version):
            return False
        return not running.act.ruling.leased or self.lease(self._asked(portal.statement, portal.bind))[1] is not None

    def _same_rules(self, portal: Portal) -> bool:
        same = portal.catalog_version == self.catalog_version and portal.revision == self.gate.revision
        return same and self.ready_to_describe()

    def _continue_flow(self, portal: Portal, running: Running, raw: bytes, max_rows: int) -> Flow:
        """More rows of a result that is being read, under another catalog: not where labels came to its columns, or
        went. What else it means can't change any more, its plan being made."""
        described = yield from self.described_statement(portal.statement)
        if isinstance(described, Refused):
            self.refuse_extended(described)
            return
        before = running.description
        if (
            isinstance(described, SyntaxProblem)
            or len(described) != 1
            or not self._labelled_alike(portal, before, described[0])
        ):
            self.ended(running, "failed", error="the labels of its columns changed while it was read")
            self.poison(
                deny.coded(
                    "POLICY_DENIED", "the labels of its columns changed while this was read", hint="Bind it again."
                )
            )
            return
        if portal.revision != self.gate.revision and not running.act.ruling.execution:
            refused = yield from self._overtaken(portal, running)
            if refused is not None:
                self.ended(running, "failed", error="policy changed while it was read")
                self.refuse_extended(refused)
                return
        portal.names_version, portal.catalog_version = self.names_version, self.catalog_version
        self._execute(portal, running, raw, max_rows)

    def _overtaken(self, portal: Portal, running: Running) -> Generator[Command | Internal, object, Refused | None]:
        """Another policy revision is in force: what is left of a result comes only where that decides alike."""
        revision = self.gate.revision
        granted = yield from self.decide(self._asked(portal.statement, portal.bind))
        if isinstance(granted, Refused):
            return granted
        self.ended(Running(granted.act, running.description), "not-executed", error="asked of a result that is read")
        if granted.act.ruling.execution or granted.act.ruling.duties != running.act.ruling.duties:
            text = "policy changed while this was read"
            return Refused(deny.coded("POLICY_DENIED", text, hint="Bind it again."))
        portal.revision = revision
        return None

    def _labelled_alike(self, portal: Portal, before: Description, now: Description) -> bool:
        if before.static_digest == now.static_digest:
            return True
        was, there = before.template, now.template
        return (
            portal.names_version == self.names_version
            and was.column_labels == there.column_labels
            and was.missing_columns == there.missing_columns
        )

    def _execute_flow(self, portal: Portal, running: Running, raw: bytes, max_rows: int) -> Flow:
        """Something changed since Bind: it must still mean the same, and where a lease ended policy is asked again."""
        described = yield from self.described_statement(portal.statement)
        if isinstance(described, Refused):
            self.ended(running, "not-executed", error="refused")
            self.refuse_extended(described)
            return
        if (
            isinstance(described, SyntaxProblem)
            or len(described) != 1
            or described[0].static_digest != running.description.static_digest
        ):
            self.ended(running, "not-executed", error="its meaning changed since Bind")
            self.poison(
                deny.coded(
                    "POLICY_DENIED", "what the statement means changed since it was bound", hint="Bind it again."
                )
            )
            return
        changed = portal.revision != self.gate.revision
        if running.act.ruling.leased or (changed and not running.act.ruling.execution):
            self.ended(running, "not-executed", error="decided again")
            portal.revision = self.gate.revision
            granted = yield from self.decide(self._asked(portal.statement, portal.bind))
            if isinstance(granted, Refused):
                self.refuse_extended(granted)
                return
            running = self._decided_again(portal, granted)
            if self.needs_guard(running) and running.act.ruling.duties.mask:
                self.ended(running, "refused", error="policy masks it now")
                self.poison(
                    deny.coded("POLICY_DENIED", "policy changed since the statement was bound", hint="Bind it again.")
                )
                return
        portal.names_version, portal.catalog_version = self.names_version, self.catalog_version
        self._execute(portal, running, raw, max_rows)

    def _decided_again(self, portal: Portal, granted: Granted) -> Running:
        description = portal.statement.description
        if description is None:
            raise RuntimeError("the empty statement is not decided")
        portal.running = Running(granted.act, description)
        return portal.running

    def _execute(self, portal: Portal, running: Running, raw: bytes, max_rows: int) -> None:
        if not portal.executed:
            self.follow(running.description)
        portal.executed = running.begun = True
        if running.duration is not None:
            self.give_time(running, running.duration)
        if running.bounded:
            left = row_count(running)
            if left and (not max_rows or max_rows > left):
                raw = wire.execute(portal.name, left)
            self.limited_execute = True
            self.limit_flushed = False
            if max_rows and running.writes is Writes.TAGGED and running.description.template.returns_rows:
                running.writes = Writes.COUNTED  # its tag comes with its last row, which the client may never ask for
        self.segment_open = True
        if self.must_watch(running):
            self.start(self._watched_execute(running, raw))
            return
        self.send(raw, Expect(Kind.EXECUTE, acts=(running,)))
        if running.description.copy_in:
            self.send(wire.FLUSH)
            self.await_copy = True
        elif running.duration is not None:
            self.send(wire.FLUSH)  # that it has ended must be known in time

    def _watched_execute(self, running: Running, raw: bytes) -> Flow:
        refusal = yield from self.watched(running, raw)
        if refusal:
            self.ended(running, "refused", error="the gateway could not meet the decision")
            self.refuse_extended(Refused(refusal))

    def on_close(self, raw: bytes) -> None:
        target = wire.parse_target(raw)
        if target.name.startswith(RESERVED):
            return self.poison(deny.error("26000", f'"{shown(target.name)}" does not exist'))
        if target.kind == b"S":
            self.statements.pop(target.name, None)
            self.forget_prepared(target.name)
        else:
            portal = self.portals.pop(target.name, None)
            if portal is not None:
                self.drop_portal(portal)
        self.segment_open = True
        return self.send(raw, Expect(Kind.CLOSE))

    def on_flush(self, raw: bytes) -> None:
        self.send(raw)

    def on_sync(self, raw: bytes) -> None:
        del raw
        self.end_segment()


def shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")[:64]


def no_statement(name: bytes) -> bytes:
    known = f'prepared statement "{shown(name)}"' if name else "unnamed prepared statement"
    return deny.error("26000", f"{known} does not exist")


def syntax_error(problem: SyntaxProblem) -> bytes:
    position = str(problem.position) if problem.position else ""
    return wire.fields(b"E", [("S", "ERROR"), ("V", "ERROR"), ("C", "42601"), ("M", problem.message), ("P", position)])
