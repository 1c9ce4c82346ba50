"""The target's half of the session machine: scans its replies, relays what is the client's, counts, masks, rewrites.

Only headers are read of what passes unchanged, and a run of such messages goes out in one piece. Each upstream message
that waits for an answer has an `Expect`; the head of that queue says what the next reply may be. A reply that fits
nothing is a broken target: the session ends (UpstreamError), it is never guessed at.

Source: PostgreSQL documentation, "Message Flow" (simple and extended query, COPY operations, asynchronous operations).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from enforcers.core.errors import ProtocolError, UpstreamError, code_of
from enforcers.postgres import deny, rows, wire
from enforcers.postgres.bounds import NOTHING, Writes
from enforcers.postgres.copy_masking import announced
from enforcers.postgres.limits import affected, limit_error, limit_text
from enforcers.postgres.machine_follower import Follower
from enforcers.postgres.machine_state import (
    BIND,
    DESCRIBE,
    EXECUTE,
    NO_CAP,
    QUERY,
    SPENT,
    SYNC,
    Capture,
    Expect,
    Kind,
    Running,
)

_C: Final = ord("C")
_D: Final = ord("D")
_E: Final = ord("E")
_N: Final = ord("N")
_S: Final = ord("S")
_Z: Final = ord("Z")
_T: Final = ord("T")
_A: Final = ord("A")
_COPY_DATA: Final = ord("d")
_COPY_OUT: Final = ord("H")
_NO_DATA: Final = ord("n")
_CALLED: Final = ord("V")
_EMPTY: Final = ord("I")
_SUSPENDED: Final = ord("s")
_ROWS: Final = frozenset((_D, _COPY_DATA))
_COPY_END: Final = wire.message(b"d", b"\xff\xff")  # the trailer of the binary format: no row
_IN_BLOCK: Final = ord("T")
_BOUND: Final = ord("2")
_MAX_ROW_BYTES = 64 * 1024 * 1024  # of a row that must be rewritten, so held whole
_ANSWERS: Final = {ord("1"): Kind.PARSE, ord("2"): Kind.BIND, ord("3"): Kind.CLOSE}


class Replies:
    """Sans-IO: `feed` takes the target's bytes; what is for the client is appended to `out`."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.expects: deque[Expect] = deque()
        self.out: list[bytes] = []
        self.withhold = self.ending = False  # ending: what the client holds a part of is the last that it gets
        self._passing = 0  # bytes still to come of a message that is relayed as it arrives
        self._dropping = False  # they are not relayed: it is beyond a limit
        self._buffer = bytearray()
        self._need = 5
        self._after: list[int | Callable[[], None]] = []  # what is left to do; a number: `settled` with it
        # Set by the shell: writes `out`. The client need not wait while its act is accounted for.
        self.flush: Callable[[], None] | None = None

    @property
    def mid_message(self) -> bool:
        """The client holds a part of a message: nothing else may be put behind it."""
        return self._passing > 0 and not self._dropping

    def feed(self, data: bytes) -> None:
        """Raises UpstreamError, ProtocolError."""
        if self._passing:
            count = min(self._passing, len(data))
            self._passing -= count
            if not self._dropping:
                self.out.append(data[:count])
            if count == len(data) or self.ending:
                return
            data = data[count:]
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        self._scan(data)
        if self._after and self.flush is not None:
            self.flush()
        while self._after:
            after, self._after = self._after, []
            for call in after:
                if isinstance(call, int):
                    self._follower.settled(call)
                else:
                    call()

    def _scan(self, data: bytes) -> None:
        expects = self.expects
        position = run = 0
        size = len(data)
        self._need = 5
        while size - position >= 5:
            kind = data[position]
            length = data[position + 1] << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4]
            end = position + 1 + length
            if length < 5 and (length < 4 or kind == _C):  # a tag has at least its end
                raise UpstreamError("the target sent a message with an impossible length")
            if end > size:
                if self._partial(kind, length, end - size):
                    self._replace(data[run : position if self._dropping else size], b"")
                    return
                self._need = end - position
                break
            if kind in _ROWS and expects:
                stop, run = self._run(kind, data, run, position)
                if stop > position:
                    position = stop
                    continue
            if expects and self._bare(kind, expects[0], data, position, end):
                position = end
                continue
            replacement = self._message(kind, data[position:end])
            if replacement is not None:
                self._replace(data[run:position], replacement)
                run = end
            position = end
        if run < position:
            self.out.append(data if run == 0 and position == size else data[run:position])
        if position < size:
            self._buffer += data[position:]

    def _run(self, kind: int, data: bytes, run: int, position: int) -> tuple[int, int]:
        """Rows within their limits, as many as there are, whole. Where they end; and up to where `out` has `data`."""
        head = self.expects[0]
        if not head.relay or head.muted or head.index >= len(head.acts):
            return position, run
        running = head.acts[head.index]
        if running.limited or running.header:
            return position, run
        most = NO_CAP if running.limit is None else running.limit - running.rows
        room = running.cap - running.bytes
        masker = running.masker
        if masker is None:
            stop, count = rows.run(data, position, kind, most, room)
        elif kind == masker.kind:
            if run < position:
                self.out.append(data[run:position])
            stop, count = masker.run(data, position, most, room, self.out)
            run = stop
        else:
            return position, run
        running.bytes += stop - position - count
        if kind == _COPY_DATA and data.endswith(_COPY_END, position, stop):
            last, _ = rows.run(data, position, kind, count - 1, room)
            if stop - last == len(_COPY_END):  # it is that message, not the end of a longer one
                running.bytes -= len(_COPY_END) - 1
                count -= 1
        running.rows += count
        return stop, run

    def _bare(self, kind: int, head: Expect, data: bytes, position: int, end: int) -> bool:
        """Of what the answers usually are: True when this one was seen to, and is relayed as it is."""
        if not head.bare:
            return False
        wanted = head.kind
        if kind == _BOUND:
            if wanted is not BIND:
                return False
        elif kind in (_T, _NO_DATA):
            if wanted is not DESCRIBE:
                return False
        elif kind == _C:
            if wanted is not EXECUTE or not head.plain or len(head.acts) != 1:
                return False
            running = head.acts[0]
            if running.limited or running.hold or running.writes is not NOTHING:
                return False
            self.expects.popleft()
            self._follower.completed(running, data[position + 5 : end - 1].decode("utf-8", "replace"), alone=False)
            return True
        else:
            return False
        self.expects.popleft()
        return True

    def _replace(self, unchanged: bytes, replacement: bytes) -> None:
        """What passed unchanged so far, then the message in place of the one just read."""
        if unchanged:
            self.out.append(unchanged)
        if replacement:
            self.out.append(replacement)

    def _partial(self, kind: int, length: int, missing: int) -> bool:
        """A message that continues in the next bytes: True when it may pass as it comes."""
        head = self.expects[0] if self.expects else None
        if kind == _COPY_DATA and length == len(_COPY_END) - 1:
            return False  # whether it is a row or the trailer is seen when it is there
        if head is not None and head.relay and head.index < len(head.acts) and kind in {_COPY_DATA, _D}:
            running = head.acts[head.index]
            if running.limited or self._full(head, running, length, copied=kind == _COPY_DATA):
                self._passing, self._dropping = missing, True
                return True
            if head.plain:
                self._count(running, length)
                self._passing, self._dropping = missing, False
                return True
        masked = head is not None and not head.plain
        if length > (_MAX_ROW_BYTES if kind in _ROWS else wire.MAX_SERVER_CONTROL_BYTES) and (
            masked or kind != _COPY_DATA
        ):
            if kind == _CALLED and head is not None and head.called and not head.acts[0].rows:
                error = self._call_answered(head, length)  # one value, of any size: it passes as it comes
                self._passing, self._dropping = missing, error is not None
                self._after.append(lambda: self.out.append(error or b""))
                return True
            raise UpstreamError("the target sent a message too large to be checked")
        return False

    def _message(self, kind: int, raw: bytes) -> bytes | None:
        """None: relay as it is. Bytes: send these instead (none when empty)."""
        expects = self.expects
        if kind == _Z:
            return self._ready(raw)
        if kind == _E:
            return self._error(raw)
        if kind == _N:
            return deny.withheld(raw) if self.withhold else None
        if kind == _S:
            self._follower.setting(wire.parse_parameter_status(raw)[0].lower())
            return None
        if kind == _A:
            return None
        if not expects:
            raise UpstreamError(f"the target sent {chr(kind)!r} out of order")
        head = expects[0]
        if kind in _ANSWERS:
            if head.kind is not _ANSWERS[kind]:
                raise UpstreamError(f"the target sent {chr(kind)!r} out of order")
            expects.popleft()
            self._final(head)
            return None if head.relay else head.error
        if head.kind is DESCRIBE:
            return self._described(kind, head, raw)
        if head.kind is EXECUTE or head.kind is QUERY:
            muted = head.muted
            answer = self._result(kind, head, raw)
            return b"" if muted else answer
        raise UpstreamError(f"the target sent {chr(kind)!r} out of order")

    def _final(self, head: Expect) -> None:
        if head.final and head.capture is not None:
            capture = head.capture
            capture.done = True
            self._after.append(lambda: self._follower.captured(capture))

    def _described(self, kind: int, head: Expect, raw: bytes) -> bytes | None:
        if kind == ord("t"):
            types = wire.parse_parameter_description(raw)
            if head.capture is not None:
                head.capture.parameters = types
            self._follower.parameters(head, types)
        elif kind in {_T, ord("n")}:
            self.expects.popleft()
            if head.capture is not None and kind == _T:
                head.capture.fields = wire.parse_row_description(raw)
                head.capture.raw = raw
            self._final(head)
        else:
            raise UpstreamError(f"the target sent {chr(kind)!r} out of order")
        return None if head.relay else b""

    def _result(self, kind: int, head: Expect, raw: bytes) -> bytes | None:
        if kind == _D:
            return self._row(head, raw)
        running = head.acts[min(head.index, len(head.acts) - 1)] if head.acts else None
        if kind == _COPY_DATA:
            return self._copied(head, running, raw)
        if kind in (_C, _EMPTY):
            return self._complete(head, running, raw, empty=kind == _EMPTY)
        if kind == _T and head.kind is QUERY:
            return b"" if running is not None and running.limited else None
        if kind == _SUSPENDED and head.kind is EXECUTE:
            return self._suspended(head, running)
        if kind in b"GW":
            self._follower.copying()
            return None
        if kind == _CALLED and head.called and not head.acts[0].rows:
            return self._call_answered(head, len(raw) - 1)
        if kind == _COPY_OUT and running is not None and not announced(running.masker, raw):
            raise UpstreamError("the target sends COPY in another form than described")
        if kind in b"Hc":
            return b"" if running is not None and running.limited else None
        raise UpstreamError(f"the target sent {chr(kind)!r} out of order")

    def _row(self, head: Expect, raw: bytes) -> bytes | None:
        if head.capture is not None and not head.relay:
            head.capture.rows.append(wire.parse_data_row(raw))
            return b""
        if not head.acts:
            raise UpstreamError("the target sent a row that nobody asked for")
        running = head.acts[min(head.index, len(head.acts) - 1)]
        if running.limited or self._full(head, running, len(raw) - 1, copied=False):
            return b""
        running.rows += 1
        running.bytes += len(raw) - 1
        if running.masker is None:
            return None
        return running.masker.rewrite(raw)

    def _copied(self, head: Expect, running: Running | None, raw: bytes) -> bytes | None:
        if running is None or raw == _COPY_END:
            return None
        if running.limited or self._full(head, running, len(raw) - 1, copied=True):
            return b""
        names = running.header
        self._count(running, len(raw) - 1)
        return None if running.masker is None or names else running.masker.rewrite(raw)

    def _call_answered(self, head: Expect, size: int) -> bytes | None:
        running = head.acts[0]
        if self._full(head, running, size, copied=False):
            head.index, head.muted = 1, True
            return self._stopped(head, running, "")
        running.rows, running.bytes = 1, size
        return None

    def _count(self, running: Running, size: int) -> None:
        if running.header:
            running.header = False
        else:
            running.rows += 1
        running.bytes += size

    def _full(self, head: Expect, running: Running, size: int, *, copied: bool) -> bool:
        """Would one more, of this size, be beyond a limit? Then nothing more of the result passes, and the target is
        told to stop; not where it writes (its own count is wanted), nor where Execute's row count stops it."""
        if running.limit is not None and running.rows >= running.limit and not running.header:
            running.cut = "ROW_LIMIT"
        elif running.bytes + size > running.cap:
            running.cut = "BYTE_LIMIT"
        else:
            return False
        running.limited = True
        if running.writes is Writes.NOTHING and (head.kind is Kind.QUERY or copied or running.cut == "BYTE_LIMIT"):
            self._after.append(lambda: self._follower.over_limit(running))
        return True

    def _complete(self, head: Expect, running: Running | None, raw: bytes, *, empty: bool) -> bytes | None:
        if head.kind is EXECUTE:
            self.expects.popleft()
        if running is not None:
            if head.index >= len(head.acts):
                raise UpstreamError("the target answered more statements than were asked")
            head.index += 1
            tag = "" if empty else raw[5:-1].decode("utf-8", "replace")
            if running.limited or self._other_rows(running, tag):
                head.muted, head.plain = True, False
                return self._stopped(head, running, tag)
            if running.hold:
                running.held = raw
                self._final(head)
                return b""
            self._follower.completed(running, tag, alone=head.kind is QUERY and len(head.acts) == 1)
        elif not empty and head.relay and head.name != SPENT:
            # A statement that the description does not know of: an act without a decision.
            raise UpstreamError("the target executed a statement that was not described")
        if head.capture is not None:
            self._final(head)
        if not head.relay:
            return b""
        return self._follower.answer(head) if empty and running is None and head.value is not None else None

    def _other_rows(self, running: Running, tag: str) -> bool:
        """It wrote more or fewer rows than it may, or returned fewer; what the target's statistics count, later."""
        if not running.bounded or running.writes is Writes.COUNTED:
            return False
        rows = affected(tag) if running.writes is Writes.TAGGED else running.rows
        too_many = running.writes is Writes.TAGGED and running.limit is not None and rows > running.limit
        if not too_many and rows >= running.least:
            return False
        running.limited, running.cut = True, "ROW_LIMIT"
        return True

    def _stopped(self, head: Expect, running: Running, tag: str) -> bytes:
        """It ran to its end, and is refused all the same: its transaction must not stand."""
        if running.writes is not Writes.NOTHING:
            running.rows = max(affected(tag), running.rows)
        error = self._limited(running)
        if head.capture is not None:
            self._final(head)  # whoever waits for it sees to the rest
        elif head.kind is Kind.EXECUTE and not self.expects:
            self._after.append(lambda: self._follower.undo(running))
        return error

    def refuse(self, running: Running) -> None:
        """Record that it went beyond a limit."""
        self._limited(running)

    def _limited(self, running: Running) -> bytes:
        self._follower.ended(running, "failed", sqlstate=code_of(running.cut).sqlstate, error=limit_text(running))
        return limit_error(running)

    def _suspended(self, head: Expect, running: Running | None) -> bytes | None:
        self.expects.popleft()
        if head.capture is not None:
            head.capture.suspended = True
            self._final(head)
        if running is None:
            return None if head.relay else b""
        if running.limited:
            error = self._limited(running)
            if head.capture is None and not self.expects:
                self._after.append(lambda: self._follower.undo(running))
            return error
        self._follower.suspended(running)
        return None if head.relay else b""

    def _error(self, raw: bytes) -> bytes | None:
        expects = self.expects
        shown = deny.withheld(raw) if self.withhold else None
        if not expects:
            return shown  # the target ends the session: FATAL
        state, text = deny.sqlstate(raw)
        text = "withheld" if self.withhold else text
        head = expects[0]
        if shown is None and any(running.description.quotes for running in head.acts):
            shown = deny.without_row(raw)
        if head.kind is Kind.QUERY:
            shown = b"" if head.muted else shown
            if head.index < len(head.acts):
                running, later = head.acts[head.index], head.acts[head.index + 1 :]
                head.index = len(head.acts)
                for never in later:
                    self._follower.ended(never, "not-executed", error="an earlier statement of the message failed")
                shown = self._failed(running, state, text) or shown
            self._follower.failed([], until_sync=False, told=True)
            return shown
        if head.kind is Kind.SYNC:
            self._follower.failed([], until_sync=False, told=True)  # its commit failed
            return shown if head.relay else b""
        if head.kind is Kind.EXECUTE and head.acts:
            shown = self._failed(head.acts[0], state, text) or shown
        if head.kind is Kind.POISON:
            shown = head.error
        elif not head.tell:
            shown = b""
        self._drop(raw, told=shown != b"")
        return shown

    def _failed(self, running: Running, state: str, text: str) -> bytes:
        """The gateway's own error where it stopped the act; else empty."""
        if running.limited or (running.cut and state == "57014"):
            return self._limited(running)
        self._follower.ended(running, "failed", sqlstate=state, error=text)
        return b""

    def _drop(self, error: bytes, *, told: bool) -> None:
        """Everything up to the Sync that is already sent will stay unanswered."""
        expects = self.expects
        dropped: list[Expect] = []
        while expects and expects[0].kind is not Kind.SYNC:
            dropped.append(expects.popleft())
        captures: list[Capture] = []
        for expect in dropped:
            capture = expect.capture
            if capture is not None and capture.error is None:
                capture.error = error
                captures.append(capture)
            error = b""  # what stands behind the failed message has no error of its own
        self._follower.failed(dropped, until_sync=not expects, told=told)
        for capture in captures:
            self._after.append(lambda c=capture: self._follower.captured(c))  # type: ignore[misc]

    def _ready(self, raw: bytes) -> bytes | None:
        head = self.expects[0] if self.expects else None
        if len(raw) != 6 or head is None or not (head.kind is SYNC or head.kind is QUERY):
            raise UpstreamError("the target sent ReadyForQuery out of order")
        self.expects.popleft()
        status = raw[5]
        if status not in b"ITE":
            raise ProtocolError("the target reports an unknown transaction status")
        self._final(head)
        if head.called and head.acts[0].rows:
            self._follower.completed(head.acts[0], "", alone=True)
        if not head.relay:
            return b""
        if status == _IN_BLOCK and head.kind is QUERY and any(running.limited for running in head.acts):
            self._after.append(self._follower.undo_block)
            return b""
        self._after.append(status)
        return None
