"""A model of a PostgreSQL backend, as far as a gateway can tell: what it executes, and what it answers when.

Sans-IO: `feed` takes what was sent to it, `out` holds what it let go. Like the real one it keeps answers in its buffer
until Flush, Sync, an error or the end of a simple Query, skips to Sync after an error of the extended protocol, drops
portals with their transaction, and takes back an implicit transaction that fails. A model and not a server, because a
million conversations must run, and because it remembers what each execution came to.

Source: PostgreSQL documentation, "Message Flow"; where that is silent, src/backend/tcop/postgres.c.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from enforcers.postgres import wire
from enforcers.postgres.machine_decide import NAMES_SQL
from enforcers.postgres.machine_state import RESERVED

ROW_TYPE = wire.message(b"T", struct.pack("!H", 1) + b"c\0" + struct.pack("!IhIhih", 1, 1, 25, -1, -1, 0))
NO_DATA = wire.message(b"n")
KNOWN = frozenset(b"QPBDECSHXdcfF")
VERIFY = "SELECT 'verify'"
VERIFY_FUNCTIONS = "SELECT 'verify functions'"

Key = tuple[bytes, tuple[bytes | None, ...]]  # a statement's text and its values: what a decision is about


class BrokenModelError(AssertionError):
    """The gateway sent the target what no gateway may send."""


@dataclass
class Execution:
    """One statement that the target began: whether it ended without an error, and what became of its transaction."""

    key: Key
    explicit: bool  # in an explicit transaction
    ended: bool = False
    suspended: bool = False  # it gave some rows, and its portal holds the others
    committed: bool | None = None  # None: still open


@dataclass
class _Portal:
    name: bytes
    text: bytes
    values: tuple[bytes | None, ...]
    execution: Execution | None = None
    rows: deque[bytes] = field(default_factory=deque)
    done: bool = False


class _SqlError(Exception):
    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


Main = Generator[None, bytes, None]


class ModelTarget:
    """gateway: its own questions are answered, and only then. refuses: texts that fail with 42501 (how a direct client
    sees what policy denies)."""

    def __init__(self, *, gateway: bool, refuses: Callable[[bytes], bool] | None = None) -> None:
        self.out = bytearray()
        self.executions: list[Execution] = []
        self.closed = False
        self.received = 0
        self.waiting_for_data = False
        self.slow = False  # a statement waits for tick() or cancel()
        self._gateway = gateway
        self._refuses = refuses or (lambda _text: False)
        self._buffer = bytearray()
        self._input = bytearray()
        self._block = "I"
        self._open: list[Execution] = []  # of the transaction that is open, implicit or explicit
        self._fails_at_commit = False
        self._statements: dict[bytes, bytes] = {}
        self._portals: dict[bytes, _Portal] = {}
        self._skip = False
        self._cancel = False
        self._main: Main = self._run()
        next(self._main)

    # Use

    def feed(self, data: bytes) -> None:
        self._input += data
        self._work()

    def _work(self) -> None:
        while not self.slow and len(self._input) >= 5:
            length = int.from_bytes(self._input[1:5], "big")
            if length < 4 or self._input[0] not in KNOWN:
                raise BrokenModelError(f"malformed bytes were sent to the target: {bytes(self._input[:20])!r}")
            if len(self._input) <= length:
                return
            raw = bytes(self._input[: length + 1])
            del self._input[: length + 1]
            self.received += 1
            if not self.closed:
                self._main.send(raw)

    def tick(self) -> None:
        """What was slow goes on."""
        if self.slow:
            self.slow = False
            self._main.send(b"")
            self._work()

    def cancel(self) -> None:
        """A CancelRequest: hits what is running, and nothing later."""
        if self.waiting_for_data or self.slow:
            self._cancel = True
            self.slow = False
            self._main.send(b"")
            self._work()

    def flush(self) -> None:
        """Its buffer went out by itself, as it does when it is full."""
        self.out += self._buffer
        self._buffer.clear()

    @property
    def status(self) -> str:
        return self._block

    # The backend's main loop

    def _say(self, data: bytes) -> None:
        self._buffer += data

    def _error(self, state: str) -> None:
        self._say(wire.fields(b"E", [("S", "ERROR"), ("V", "ERROR"), ("C", state), ("M", "the target says no")]))
        self.flush()

    def _run(self) -> Main:
        while True:
            raw = yield
            kind = raw[:1]
            if kind == b"X":
                self.closed = True
                self._abort()
                while True:
                    yield
            if kind == b"S":
                self._skip = False
                try:
                    self._commit_implicit()
                except _SqlError as error:
                    self._error(error.state)
                self._ready()
            elif self._skip or kind in b"dcf":
                continue
            elif kind == b"Q":
                yield from self._query(wire.parse_query(raw))
            elif kind == b"F":
                self._fail("25P02" if self._block == "E" else "42883")
                self._ready()
            elif kind == b"H":
                self.flush()
            else:
                try:
                    yield from self._extended(kind, raw)
                except _SqlError as error:
                    self._fail(error.state)
                    self._skip = True

    def _ready(self) -> None:
        self._say(wire.ready(self._block.encode()))
        self.flush()

    def _fail(self, state: str) -> None:
        self._error(state)
        if self._block == "I":
            self._abort()
        else:
            self._block = "E"

    def _abort(self) -> None:
        for execution in self._open:
            execution.committed = False
        self._open.clear()
        self._fails_at_commit = False
        self._portals.clear()

    def _commit(self) -> None:
        if self._fails_at_commit:
            self._abort()
            raise _SqlError("23503")
        for execution in self._open:
            execution.committed = True
        self._open.clear()
        self._portals.clear()

    def _commit_implicit(self) -> None:
        if self._block == "I":
            self._commit()

    # Simple query

    def _query(self, text: bytes) -> Main:
        self._statements.pop(b"", None)
        self._portals.pop(b"", None)
        parts = split(text)
        try:
            if any(broken(part) for part in parts):
                raise _SqlError("42601")
            if self._block == "E" and parts and not ends_transaction(parts[0]):
                raise _SqlError("25P02")
            if any(self._refuses(part) for part in parts):
                raise _SqlError("42501")
            if not parts:
                self._commit_implicit()
                self._say(wire.message(b"I"))
            for number, part in enumerate(parts):
                portal = _Portal(b"", part, ())
                tag = yield from self._execute(portal, 0, simple=True, alone=len(parts) == 1)
                if number == len(parts) - 1:
                    self._commit_implicit()
                self._say(tag)
        except _SqlError as error:
            self._fail(error.state)
        self._ready()

    # Extended query

    def _extended(self, kind: bytes, raw: bytes) -> Main:
        if kind == b"P":
            self._parse(wire.parse_parse(raw))
        elif kind == b"B":
            self._bind(wire.parse_bind(raw))
        elif kind == b"D":
            self._describe(wire.parse_target(raw))
        elif kind == b"C":
            target = wire.parse_target(raw)
            if target.kind == b"S":
                self._statements.pop(target.name, None)
            else:
                self._portals.pop(target.name, None)
            self._say(wire.message(b"3"))
        else:
            name, maximum = wire.parse_execute(raw)
            portal = self._portals.get(name)
            if portal is None:
                raise _SqlError("34000")
            if not portal.text:
                self._say(wire.message(b"I"))
                return
            if self._block == "E" and not ends_transaction(portal.text):
                raise _SqlError("25P02")
            if portal.done:
                raise _SqlError("55000")
            try:
                tag = yield from self._execute(portal, maximum, simple=False, alone=False)
            except _SqlError:
                portal.done = True
                raise
            self._say(tag)

    def _parse(self, message: wire.Parse) -> None:
        if not self._gateway and message.name.startswith(RESERVED):
            raise _SqlError("0A000")
        if not message.name:
            self._statements.pop(b"", None)
        parts = split(message.query)
        if any(broken(part) for part in parts) or len(parts) > 1:
            raise _SqlError("42601")
        if self._block == "E" and parts and not ends_transaction(parts[0]):
            raise _SqlError("25P02")
        if message.name and message.name in self._statements:
            raise _SqlError("42P05")
        self._statements[message.name] = parts[0] if parts else b""
        self._say(wire.message(b"1"))

    def _bind(self, message: wire.Bind) -> None:
        text = self._statements.get(message.statement)
        if text is None:
            raise _SqlError("26000")
        if not self._gateway and message.portal.startswith(RESERVED):
            raise _SqlError("0A000")
        if self._block == "E" and text and not ends_transaction(text):
            raise _SqlError("25P02")
        if self._refuses(text):
            raise _SqlError("42501")
        if message.portal and message.portal in self._portals:
            raise _SqlError("42P03")
        self._portals[message.portal] = _Portal(message.portal, text, message.values)
        self._say(wire.message(b"2"))

    def _describe(self, target: wire.Target) -> None:
        if target.kind == b"S":
            text = self._statements.get(target.name)
            if text is None:
                raise _SqlError("26000")
            self._say(wire.message(b"t", b"\0\0"))
        else:
            portal = self._portals.get(target.name)
            if portal is None:
                raise _SqlError("34000")
            text = portal.text
        if self._block == "E" and text and not ends_transaction(text):
            raise _SqlError("25P02")
        self._say(ROW_TYPE if rows_of(text) is not None else NO_DATA)

    # Statements

    def _own(self, portal: _Portal) -> list[list[bytes | None]] | None:
        """The rows of a question of the gateway's own; None when it is a statement of the client's."""
        if not self._gateway or not portal.name.startswith(RESERVED) or portal.name.endswith(b"_portal"):
            return None
        text = portal.text.decode()
        if text == NAMES_SQL:
            return [[b"db", b'["pg_catalog", "public"]', b"app", b"app"]]
        if "pg_prepared_statements" in text:
            name = portal.values[0] or b""
            return [[self._statements[name], b"false", b""]] if name in self._statements else []
        if "pg_proc" in text:
            return []  # no function has that oid
        if "transaction_isolation" in text:
            return [[b"read committed"]]
        if text == VERIFY:
            return [[b"as expected"]]
        if text == VERIFY_FUNCTIONS:
            return [[b"functions as expected"]]
        return [[b'[{"Plan": {"Plan Rows": 3, "Total Cost": 1.5}}]']]

    def _execute(self, portal: _Portal, maximum: int, *, simple: bool, alone: bool) -> Generator[None, bytes, bytes]:
        """Run it; its answers are said, its CommandComplete is returned. Raises _SqlError."""
        own = self._own(portal)
        if own is not None:
            if self._block == "E":
                raise _SqlError("25P02")
            for row in own:
                self._say(wire.data_row(row))
            portal.done = True
            return complete("SELECT")
        if self._block == "E" and not ends_transaction(portal.text):
            raise _SqlError("25P02")
        if portal.execution is None:
            self._begin(portal, alone=alone, simple=simple)
        execution = portal.execution
        if execution is None:
            raise BrokenModelError("a portal without an execution")
        words = portal.text.decode("utf-8", "replace").lower().split()
        verb = words[0].lower()
        if verb == "copy":
            yield from self._copy(words)
        elif rows_of(portal.text) is not None:
            execution.suspended = yield from self._rows(portal, words, maximum)
            if execution.suspended:
                return wire.message(b"s")
        elif "slow" in words:
            yield from self._pause()
        if "fail" in words:
            raise _SqlError("22012")
        if "deferred" in words:
            self._fails_at_commit = True
        if "notice" in words:
            self._say(wire.fields(b"N", [("S", "NOTICE"), ("C", "00000"), ("M", "mind")]))
        portal.done = True
        tag = self._control(verb, words, simple=simple) or verb.upper()
        execution.ended = True
        return complete(tag)

    def _begin(self, portal: _Portal, *, alone: bool, simple: bool) -> None:
        words = portal.text.decode("utf-8", "replace").lower().split()
        if words[0] == "vacuum" and (self._block != "I" or self._open or (simple and not alone)):
            raise _SqlError("25001")
        portal.execution = Execution((portal.text, portal.values), explicit=self._block != "I")
        self.executions.append(portal.execution)
        self._open.append(portal.execution)
        rows = rows_of(portal.text)
        portal.rows.extend(b"row %d" % number for number in range(rows or 0))
        if simple and rows is not None:
            self._say(ROW_TYPE)

    def _control(self, verb: str, words: Sequence[str], *, simple: bool) -> str:
        """Transaction control, once it ran. Gives its tag where that is another."""
        if verb in {"begin", "start"}:
            for execution in self._open:
                execution.explicit = True
            self._block = "T"
        elif verb in {"commit", "end"}:
            failed, self._block = self._block == "E", "I"
            if failed:
                self._abort()
                return "ROLLBACK"
            self._commit()
        elif verb == "rollback" and "to" not in words:
            self._block = "I"
            own = self._open[-1:]
            self._abort()
            for execution in own:
                execution.committed = True
        elif verb == "rollback":
            if self._block == "I":
                raise _SqlError("25P01")
            self._block = "T"
        elif verb == "savepoint" and self._block == "I":
            raise _SqlError("25P01")
        elif verb == "vacuum" and not simple:
            self._commit_implicit()
        elif verb == "deallocate":
            self._statements.pop(words[1].encode(), None)
        elif verb == "set" and words[1] == "search_path":
            self._say(wire.parameter_status(b"search_path", b"public"))
        return ""

    def _rows(self, portal: _Portal, words: Sequence[str], maximum: int) -> Generator[None, bytes, bool]:
        """True when it stopped at the portal's row limit."""
        sent = 0
        while portal.rows:
            if maximum and sent == maximum:
                return True
            self._say(wire.data_row([portal.rows.popleft()]))
            sent += 1
            if "slow" in words and len(portal.rows) == 2:
                yield from self._pause()
        # The real one finds out that there is no more only by asking for more.
        return bool(maximum) and sent == maximum

    def _pause(self) -> Generator[None, bytes, None]:
        self.flush()
        self.slow = True
        yield
        self._cancelled()

    def _cancelled(self) -> None:
        if self._cancel:
            self._cancel = False
            raise _SqlError("57014")

    def _copy(self, words: Sequence[str]) -> Generator[None, bytes, None]:
        if "stdin" not in words:
            self._say(wire.message(b"H", b"\0\0\1\0\0"))
            for number in range(3):
                self._say(wire.message(b"d", b"line %d\n" % number))
            self._say(wire.message(b"c"))
            return
        self._say(wire.message(b"G", b"\0\0\1\0\0"))
        self.flush()
        self.waiting_for_data = True
        try:
            while True:
                raw = yield
                self._cancelled()
                kind = raw[:1]
                if kind == b"c":
                    return
                if kind == b"f":
                    raise _SqlError("57014")
                if kind in b"HS" or kind == b"d":
                    continue
                if kind == b"X":
                    self.closed = True
                    raise _SqlError("57P01")
                raise _SqlError("57014")  # 08P01 in truth: the gateway ends the COPY itself, with CopyFail
        finally:
            self.waiting_for_data = False


def split(text: bytes) -> list[bytes]:
    """The model's statements hold no semicolon but between them."""
    return [part.strip() for part in text.split(b";") if part.strip()]


def broken(text: bytes) -> bool:
    """The model's syntax: one of a few first words, in ASCII."""
    words = text.split()
    return b"syntax" in words or words[0].lower() not in VERBS or not text.isascii()


VERBS = frozenset(
    b"select update insert delete create drop begin commit rollback savepoint set show do vacuum prepare execute "
    b"deallocate copy explain declare fetch".split()
)


def ends_transaction(text: bytes) -> bool:
    return text.split()[0].lower() in {b"commit", b"rollback"}


def rows_of(text: bytes) -> int | None:
    """How many rows the statement gives; None for one without a result."""
    words = text.split()
    if not words or words[0].lower() not in {b"select", b"show", b"explain", b"fetch", b"execute"}:
        return None
    return int(words[1]) % 50 if len(words) > 1 and words[1].isdigit() else 1


def complete(tag: str) -> bytes:
    return wire.message(b"C", tag.encode() + b"\0")
