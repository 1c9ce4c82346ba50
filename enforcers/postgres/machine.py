"""The session machine: what the client and the target say goes in, what each is to be sent comes out. No I/O.

    machine.receive_client(data)      frames are described, decided, forwarded, or refused; queued while one waits
    machine.receive_target(data)      replies are relayed, masked, rewritten
    machine.resume(reply)             the answer to the command that is outstanding
    machine.cancel(), cancelled(), revoked(), client_lost(), target_lost()

After each call the shell writes `to_client` and `to_target` and carries out `commands`, each emptied by it.
The transitions of a segment, and why a later message never overtakes: docs/decisions/0008-postgres-session-machine.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import Answer, Gate
from enforcers.postgres import deny, wire
from enforcers.postgres.bounds import Writes
from enforcers.postgres.commands import StopWaiting
from enforcers.postgres.describing import Describer
from enforcers.postgres.description import Control, Description, SyntaxProblem
from enforcers.postgres.machine_base import Flow, Internal, apply_effects
from enforcers.postgres.machine_decide import ABORTED, ALONE_HINT, Asked, in_order
from enforcers.postgres.machine_fused import Fused
from enforcers.postgres.machine_guard import can_be_split
from enforcers.postgres.machine_portals import syntax_error
from enforcers.postgres.machine_state import (
    QUERY,
    Capture,
    Expect,
    Granted,
    Kind,
    Portal,
    Refused,
    Running,
    Statement,
    Transaction,
)

MAX_QUEUED_BYTES = 16 * 1024 * 1024
MAX_QUEUED_FRAMES = 10_000
_SYNC: Final = ord("S")
_TERMINATE: Final = ord("X")
_ERROR: Final = ord("E")
_IDLE: Final = ord("I")
_COPY: Final = frozenset(b"dcf")
_ALLOWED: Final = Answer.ALLOWED
_ALONE: Final = frozenset(b"QF")  # answered by a ReadyForQuery of their own, unless they are skipped


class SessionMachine(Fused):
    """One session after log-in. After `close` nothing more is sent upstream, whatever comes."""

    def __init__(self, gate: Gate, describer: Describer) -> None:
        super().__init__(gate, describer)
        self._framer = wire.ClientFramer()
        self._parting: str | None = None  # why it ends, once the client can be told
        self._handlers: dict[int, Callable[[bytes], None]] = {
            ord("Q"): self.on_query,
            ord("P"): self.on_parse,
            ord("B"): self.on_bind,
            ord("D"): self.on_describe,
            ord("E"): self.on_execute,
            ord("C"): self.on_close,
            ord("S"): self.on_sync,
            ord("H"): self.on_flush,
            ord("F"): self.on_function_call,
            ord("X"): self.on_terminate,
        }

    @property
    def overfull(self) -> bool:
        """The shell stops reading the client until the queue has drained."""
        return self.queued_bytes > MAX_QUEUED_BYTES or len(self.queue) > MAX_QUEUED_FRAMES

    @property
    def busy(self) -> bool:
        """An act or a decision is under way (a drain waits for it)."""
        return self.flow is not None or bool(self.replies.expects) or self.segment_open

    @property
    def running(self) -> bool:
        """The target is working on something of the client's."""
        return any(expect.acts for expect in self.replies.expects)

    # Events

    def receive_client(self, data: bytes) -> None:
        if self.closed:
            return
        self.turn += 1
        try:
            if data[:1] == b"B" and self.at_rest and not self._framer.buffered and self.fused(data):
                return
            frames = self._framer.feed(data)
            if self.queue:
                self._enqueue(frames)
                self._pump()
                return
            # The usual case, without the queue between: nothing waits.
            for position, frame in enumerate(frames):
                if self.closed:
                    return
                if self._blocked(frame[0]):
                    self._enqueue(frames[position:])
                    return
                self._dispatch(frame)
        except ProtocolError as error:
            self._broken_client(error)

    def receive_target(self, data: bytes) -> None:
        """Raises UpstreamError or ProtocolError: the target broke the protocol; then call target_lost()."""
        if self.gone or self.closed:
            return
        self.turn += 1
        self.replies.feed(data)
        if self._parting is not None and not self.replies.mid_message:
            self.revoked(self._parting)
            return
        self._pump_guarded()

    def resume(self, reply: object) -> None:
        if self.closed:
            return
        self.turn += 1
        self._advance(reply)
        self._pump_guarded()

    def cancelled(self) -> None:
        self.cancelling = False
        self.turn += 1
        self._pump_guarded()

    def revoked(self, reason: str, *, now: bool = False) -> bool:
        if self.replies.mid_message and not (now or self.closed):
            self._parting = reason  # told once the client has the rest of its row; `now`: it did not come
            self.replies.ending = True
            return False
        self._cut("57P01", f"the session was revoked: {reason}", reason="revoked", status="unknown")
        return True

    def shut(self, text: str, *, hint: str = "") -> None:
        """The gateway ends the session (drain)."""
        self._cut("57P01", text, reason="draining", status="unknown", hint=hint)

    def target_lost(self, why: str) -> None:
        self.gone = True
        if not self.closed:
            self._cut("08006", f"the target ended the connection: {why}", reason="target lost", status="unknown")

    def client_lost(self) -> None:
        """EOF or reset: what waits never runs; what runs is cancelled by the shell."""
        if not self.closed:
            self._stop("unknown", "the client is gone")
            self.close("client gone")

    # Dispatch

    def _pump_guarded(self) -> None:
        try:
            self._pump()
        except ProtocolError as error:
            self._broken_client(error)

    def _enqueue(self, frames: Sequence[wire.Frame]) -> None:
        self.queue.extend(frames)
        self.queued_bytes += sum(len(frame.raw) for frame in frames)

    def _pump(self) -> None:
        queue = self.queue
        while queue and not self.closed and not self._blocked(queue[0].kind):
            frame = queue.popleft()
            self.queued_bytes -= len(frame.raw)
            self._dispatch(frame)

    def _blocked(self, kind: int) -> bool:
        if self.copy_in:
            return False
        if self.flow is not None or self.boundary or self.cancelling:
            return True
        if not self.await_copy and not self.limited_execute:
            return self.segment_open and kind in _ALONE and self._unanswered()
        if kind == _SYNC and not self.await_copy and not self.transaction.active and not self.transaction.written:
            return False  # an implicit transaction: a result that turns out too large takes all of it back
        if not any(expect.kind is Kind.EXECUTE for expect in self.replies.expects):
            self.await_copy = self.limited_execute = False
            return False
        if self.await_copy:
            return True
        # The result may still turn out too large; nothing behind it may run before that is known.
        if not self.limit_flushed:
            self.limit_flushed = True
            self.send(wire.FLUSH)
        return True

    def _unanswered(self) -> bool:
        """A Query or a function call behind a pipeline without a Sync: whether the target will read it, or skips it
        because something before it failed, must be known first."""
        if not self.replies.expects:
            self.pipeline_flushed = False
            return False
        if not self.pipeline_flushed:
            self.pipeline_flushed = True
            self.send(wire.FLUSH)
        return True

    def _dispatch(self, frame: wire.Frame) -> None:
        kind, raw = frame
        handler = self._handlers.get(kind)
        if handler is not None and raw and not self.copy_in and not self.skipping:
            handler(raw)
        elif self.copy_in:
            self.copy_message(kind, raw)
        elif self.skipping and kind != _TERMINATE:
            if kind == _SYNC:
                self.end_segment()
        elif kind in _COPY:
            return  # the COPY it belonged to has failed; the target ignores it as well
        elif not raw:
            error = deny.coded("TOO_LARGE", f"the message is larger than {wire.MAX_MESSAGE_BYTES // 2**20} MiB")
            if kind in _ALONE:
                self.refuse_query(Refused(error))
            else:
                self.poison(error)
        elif handler is None:
            raise ProtocolError(f"message type {chr(kind)!r} is out of order")
        else:
            handler(raw)

    # Simple query

    def on_query(self, raw: bytes) -> None:
        text = wire.parse_query(raw)
        self.statements.pop(b"", None)  # as the target does
        if self.ready_to_describe() and not self.transaction.failed and self.gate.refusal() is None:
            described = self.describe(text)
            if not isinstance(described, SyntaxProblem) and len(described) == 1 and self._fast(raw, described[0]):
                return
        self.start(self._query_flow(raw, text))

    def _fast(self, raw: bytes, description: Description) -> bool:
        """One statement under a lease: no waiting. False when there is more to it."""
        if description.prepared or description.cursor or description.changes_grammar or description.own_setting:
            return False
        asked = Asked(description=description, transaction=self.transaction)
        _, ruling = self.lease(asked)
        if ruling is None or ruling.answer is not _ALLOWED:
            return False
        running = Running(self.act(asked, ruling), description)
        if self.needs_guard(running) or not self.gate.ready(running.act):
            return False
        self._forward(raw, (running,))
        return True

    def _forward(self, raw: bytes, acts: tuple[Running, ...]) -> None:
        if self.skipping:  # as the target does with a Query behind an error: it skips to Sync
            for running in acts:
                self.ended(running, "not-executed", error="an earlier message failed")
            return
        for running in acts:
            running.begun = True
            if running.duration is not None:
                self.give_time(running, running.duration)
            self.follow(running.description)
        self.send(raw, Expect(QUERY, acts=acts))
        self.boundary = True
        self.segment_open = False

    def _query_flow(self, raw: bytes, text: bytes) -> Flow:
        described = yield from self.described(text)
        if isinstance(described, SyntaxProblem | Refused) or self._fails_there(text):
            self._undescribed(raw, text, described)
            return
        if len(described) == 1 and described[0].own_setting and not self.skipping:
            self._own_query(text)
            return
        if (yield from self.names_nothing(described)):
            self._forward(raw, ())
            return
        asked = yield from self.asked_there(text, described)
        if asked is None:
            return
        described = asked
        acts: list[Running] = []
        self.deciding = acts
        transaction = self.transaction.copy()
        for position, description in enumerate(in_order(described)):
            granted = yield from self.decide(
                Asked(
                    description=description,
                    transaction=transaction,
                    position=position,
                    statements=len(described),
                )
            )
            refused = granted if isinstance(granted, Refused) else None
            if isinstance(granted, Granted):
                acts.append(Running(granted.act, description))
                refused = self._alone(acts[-1], described)
            if refused is not None:
                for running in acts:
                    self.ended(running, "not-executed", error="another statement of the message was refused")
                self.refuse_query(refused)
                return
            apply_effects(transaction, description)
        if any(self._guarded_among(running, len(acts)) for running in acts):
            for running in acts:
                self.withhold(running)
            yield from self.guarded_query(acts)
            return
        self._forward(raw, tuple(acts))

    def _undescribed(self, raw: bytes, text: bytes, described: Sequence[Description] | SyntaxProblem | Refused) -> None:
        if isinstance(described, SyntaxProblem):
            if not self.skipping:
                self.reject(text, syntax_error(described))
                self.end_segment()
        elif isinstance(described, Refused) and not (described.aborted and self._fails_there(text)):
            self.refuse_query(described)
        else:
            self._forward(raw, ())  # were it executed after all, the session would end: an act nobody knows

    def _fails_there(self, text: bytes) -> bool:
        """The target's transaction has failed, by its own last word, and nothing in the text ends it."""
        if not self.aborted or self.segment_open or self.names is None or self.gate.refusal() is not None:
            return False
        described = self.describe(text)
        return not isinstance(described, SyntaxProblem) and all(d.control is Control.NONE for d in described)

    def _own_query(self, text: bytes) -> None:
        """SET twokey.reason: the target gets an empty Query in its place, so that the status is the target's own."""
        change = self.own_setting(text)
        ruling = self.gate.refusal()
        if ruling is not None:
            self.refuse_query(Refused(deny.refusal(ruling, severity="FATAL"), fatal=True))
        elif self.transaction.failed:
            self.refuse_query(Refused(deny.error("25P02", ABORTED)))
        elif isinstance(change, bytes):
            self.refuse_query(Refused(change))
        else:
            self.send(wire.query(b""), Expect(Kind.QUERY, value=self.change_reason(change)))
            self.boundary = True
            self.segment_open = False

    def _guarded_among(self, running: Running, statements: int) -> bool:
        return self.needs_guard(running) or (statements > 1 and running.writes is not Writes.NOTHING)

    def _alone(self, running: Running, described: Sequence[Description]) -> Refused | None:
        if len(described) == 1 or not self._guarded_among(running, len(described)):
            return None
        # What a write may do is known before its Sync only if nothing of the message commits by itself.
        controls = running.writes is Writes.NOTHING
        if not running.act.ruling.execution and can_be_split(described, controls=controls):
            return None
        return Refused(
            deny.coded(
                "OBLIGATION_UNMET",
                "a statement that policy bounds or masks can't be part of this message of several",
                hint=ALONE_HINT,
            )
        )

    def refuse_query(self, refused: Refused) -> None:
        """Nothing of the message is sent. Where a transaction or pipeline is open, the target itself must fail."""
        if refused.fatal:
            self.refuse_session(refused.error)
        elif self.skipping and self.error_told:
            return  # it stands behind an error of the client's own: skipped, up to the client's Sync
        elif self.skipping:
            self.tell_once(refused.error)
            self.end_segment()
        elif self.transaction.active or self.transaction.failed or self.segment_open:
            self.poison(refused.error)
            self.end_segment()
        else:
            self.tell(refused.error)
            self.tell(wire.ready(b"I"))

    def on_terminate(self, raw: bytes) -> None:
        del raw
        self._stop("unknown", "the client ended the session")
        self.send(wire.TERMINATE)
        self.close("client ended the session")

    # Flows

    def start(self, flow: Flow) -> None:
        self.flow = flow
        self._advance(None)

    def _advance(self, reply: object) -> None:
        flow = self.flow
        if flow is None:
            return
        self.wanted = None
        try:
            wanted = flow.send(reply)
        except StopIteration:
            if self.flow is flow:  # else it ended by starting another
                self.flow = None
            return
        if not isinstance(wanted, Internal):
            self.commands.append(wanted)

    def _stop(self, status: str, why: str) -> None:
        """Nothing more is done for this session; every open act gets its outcome."""
        if self.flow is not None:
            self.flow.close()
            self.flow = None
        self.queue.clear()
        self.queued_bytes = 0
        self.end_all(status, error=why)

    def _cut(self, sqlstate: str, text: str, *, reason: str, status: str, hint: str = "") -> None:
        if self.closed:
            return
        self._stop(status, reason)
        self.fatal(sqlstate, text, hint=hint, reason=reason)

    def _broken_client(self, error: ProtocolError) -> None:
        self._cut("08P01", f"protocol violation: {error}", reason="protocol violation", status="unknown")

    # Follower

    def settled(self, status: int) -> None:
        self.boundary = False
        self.segment_open = False
        self.copy_in = self.await_copy = self.limited_execute = False
        self.settle_acts("failed" if status == _ERROR else "completed")
        self.settled_status = status
        transaction = self.transaction
        self.block = status != _IDLE
        self.pipeline_flushed = False
        if status != _IDLE:
            transaction.active = True
            transaction.failed = status == _ERROR
            return
        self.replies.withhold = False
        if self.portals:
            for portal in self.portals.values():
                self.drop_portal(portal, status="completed")
            self.portals.clear()
        self.forget_cursors()
        if transaction.touched_names:
            self.names_stale = True
        if self.ddl_seen:
            self.ddl_seen = False
            self.saw_ddl()
            self.ddl_seen = False
        if self.uncommitted or transaction.touched_names:
            self.uncommitted = False
            self.objects_changed()
        self.transaction = Transaction()

    def failed(self, dropped: list[Expect], *, until_sync: bool, told: bool) -> None:
        self.copy_in = self.await_copy = False
        self.unconfirmed()
        self.settle_acts("failed", error="rolled back with its pipeline")
        self.undo_reasons([expect.value for expect in dropped])
        if self.transaction.active:
            self.transaction.failed = True
        for expect in dropped:
            for running in expect.acts:
                status = "failed" if running.rows else "not-executed"  # a portal may have given some rows before
                self.ended(running, status, error="an earlier message failed")
        for expect in dropped:
            if isinstance(expect.value, Statement) and expect.kind is Kind.PARSE:
                if self.statements.get(expect.value.name) is expect.value:
                    del self.statements[expect.value.name]
            elif isinstance(expect.value, Portal) and self.portals.get(expect.name) is expect.value:
                self.drop_portal(expect.value)
                del self.portals[expect.name]
        if until_sync:
            self.boundary = False  # a Query among the dropped is skipped by the target like anything else
            if self.waiting and not self.skipping:
                self.commands.append(StopWaiting())
            self.skipping = True
            self.error_told = self.error_told or told

    def session_over(self) -> None:
        limit = self.gate.session_duties.max_duration_ms
        self._cut(
            "57P01",
            f"the session has lasted as long as policy allows: {limit} ms",
            reason="max-duration",
            status="unknown",
            hint="Connect again.",
        )

    def alarm(self, now: float) -> None:
        if not self.closed:
            self.turn += 1
            self.ring(now)
            self._pump_guarded()

    def captured(self, capture: Capture) -> None:
        if capture is self.wanted:
            self._advance(None)
