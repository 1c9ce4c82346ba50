"""One session machine between a client's bytes and a model of the target, driven by a list of plain operations.

What may happen is an *operation* (a small JSON list), so that a conversation that found something can be kept as it
is. After each one, and at the end, the invariants are checked; a broken one is a `BrokenInvariantError`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable

from enforcers.core.errors import DecisionUnavailableError, EnforcerError
from enforcers.core.ports import Answer, HoldEnd, HoldResult, Ruling
from enforcers.postgres import wire
from enforcers.postgres.commands import (
    Alarm,
    Ask,
    Begin,
    CancelTarget,
    Close,
    Command,
    EstimateRows,
    Redeem,
    Refresh,
    RowEstimate,
    StopWaiting,
    Wait,
    Withdraw,
)
from enforcers.postgres.machine import MAX_QUEUED_BYTES, SessionMachine
from tests.fuzz.target import BrokenModelError, Execution, Key, ModelTarget
from tests.fuzz.world import CountingGate, WordDescriber, ruling_of, words

Operation = list[str | int]
_HOLD_ENDS = (HoldEnd.APPROVED, HoldEnd.DENIED, HoldEnd.EXPIRED, HoldEnd.WITHDRAWN, HoldEnd.LOST)
_CHUNK = 1 << 16
# Where both refuse a message, the gateway may have another reason: it looks at the name before the text, say.
_REFUSALS = {f"E {state}" for state in ("26000", "34000", "55000", "42501", "25P02", "42P05", "42601", "0A000")}
# Where the gateway alone refuses: an unnamed statement whose successor, or a portal whose Close, was skipped with its
# pipeline is not believed any more; names can't be resolved inside a failed transaction. Both are clear errors; nothing
# is compared after them.
_REFUSED_ALONE = {"E 26000", "E 34000", "E 25P02"}


class BrokenInvariantError(AssertionError):
    """An invariant does not hold."""


class Conversation:
    """Operations, each a list:

    ["c", hex]  the client sends these bytes        ["t", n]  n bytes of the target's answers arrive (0: all there are)
    ["r", n]    the outstanding command is answered, the n-th way (0: as policy says, and everything is well)
    ["y"]       the target goes on with what is slow ["f"]    the target's buffer goes out by itself
    ["x"]       the client cancels                   ["k"]    a cancel reached the target
    ["b", hex]  the target sends bytes of its own    ["u"]    the catalog is stale
    ["a"]       the alarm rings, an hour later
    ["w", n]    the window is full (0) or not (1)    ["e"]    the session's token expired
    ["v"] revoked  ["d"] drained  ["g"] the client is gone  ["l"] the target is gone
    """

    def __init__(self) -> None:
        self.gate = CountingGate()
        self.describer = WordDescriber()
        self.machine = SessionMachine(self.gate, self.describer)
        self.target = ModelTarget(gateway=True)
        self.client = bytearray()  # what it got
        self.sent = bytearray()  # what it sent and the machine took
        self.done: list[Operation] = []
        self.outstanding: Command | None = None
        self.cancels = 0
        self.alarmed = False  # an alarm is set
        self._unread = bytearray()  # what the shell has not read from the client yet
        self._seen = 0
        self.trusted = True  # the target said nothing of its own accord
        self.quiet = True  # nothing happened that a direct client could not have seen

    # Driving

    def run(self, operations: Iterable[Operation]) -> Conversation:
        for operation in operations:
            self.step(operation)
        return self

    def step(self, operation: Operation) -> None:
        """Raises BrokenInvariantError."""
        self.done.append(operation)
        closed = self.machine.closed
        try:
            self._act(str(operation[0]), operation[1] if len(operation) > 1 else 0)
            self._carry_out(was_closed=closed)
            self._check()
        except BrokenModelError as error:
            raise BrokenInvariantError(str(error)) from error

    def _act(self, name: str, value: str | int) -> None:
        machine = self.machine
        if name == "c":
            self._unread += bytes.fromhex(str(value))
            self._read()
        elif name == "t":
            self._deliver(int(value))
        elif name == "r":
            self._answer(int(value))
        elif name == "y":
            self.target.tick()
        elif name == "f":
            self.target.flush()
        elif name == "x":
            self.quiet = False
            if isinstance(self.outstanding, Wait):
                self.outstanding = None
                machine.resume(HoldResult(HoldEnd.WITHDRAWN, "cancelled"))
            else:
                machine.cancel()
        elif name == "k" and self.cancels:
            self.cancels -= 1
            self.target.cancel()
            machine.cancelled()
        elif name == "a" and self.alarmed:
            self.alarmed = self.quiet = False
            machine.alarm(time.monotonic() + 3600)
        elif name == "b":
            self.quiet = self.trusted = False
            self._from_target(bytes.fromhex(str(value)))
        elif name == "u":
            self.describer.fresh = False
        elif name == "w":
            self.quiet = False
            self.gate.room = bool(value)
        elif name == "e":
            self.quiet = False
            self.gate.refused = Ruling(answer=Answer.DENIED, decision="", code="SESSION_EXPIRED", message="over")
        elif name in {"v", "d", "g", "l"}:
            self.quiet = False
            self._end(name)

    def _end(self, name: str) -> None:
        if name == "v":
            self.machine.revoked("test")
        elif name == "d":
            self.machine.shut("draining")
        elif name == "g":
            self.machine.client_lost()
        else:
            self.machine.target_lost("test")

    def _read(self) -> None:
        """The shell reads the client while the machine's queue has room."""
        while self._unread and not self.machine.overfull and not self.machine.closed:
            data = bytes(self._unread[:_CHUNK])
            del self._unread[: len(data)]
            self.sent += data
            self.machine.receive_client(data)
            if len(self._unread) and self.machine.to_target:
                self._carry_out(was_closed=False)

    def _deliver(self, count: int) -> None:
        data = bytes(self.target.out[: count or None])
        del self.target.out[: len(data)]
        if data:
            self._from_target(data)

    def _from_target(self, data: bytes) -> None:
        try:
            self.machine.receive_target(data)
        except EnforcerError:
            self.quiet = False
            self.machine.target_lost("it broke the protocol")

    def _answer(self, choice: int) -> None:
        command, self.outstanding = self.outstanding, None
        if command is None:
            return
        self.quiet = self.quiet and not choice
        self.machine.resume(self._reply(command, choice))

    def _reply(self, command: Command, choice: int) -> object:
        if isinstance(command, Ask):
            if choice % 4 == 3:
                return Ruling(answer=Answer.DENIED, decision="", code="DECISION_UNAVAILABLE", message="away")
            return self.gate.granted_by(command.question, ruling_of(command.question))
        if isinstance(command, Redeem):
            if choice % 3 == 2:
                return Ruling(answer=Answer.DENIED, decision="dec_late", code="APPROVAL_EXPIRED", message="late")
            ruling = Ruling(answer=Answer.ALLOWED, decision="dec_redeemed", execution="exe_1")
            return self.gate.granted_by(command.question, ruling)
        if isinstance(command, Wait):
            return HoldResult(_HOLD_ENDS[choice % len(_HOLD_ENDS)])
        if isinstance(command, Begin):
            if choice % 2:
                return DecisionUnavailableError("the log takes nothing")
            self.gate.begin_now(command.act)
            return None
        if isinstance(command, EstimateRows):
            return RowEstimate(3.0, 1.5) if not choice % 2 else RowEstimate(None, why="no")
        if isinstance(command, Refresh):
            self.describer.fresh = True
        elif not isinstance(command, Withdraw):
            raise BrokenInvariantError(f"an unknown command: {command}")
        return None

    def _carry_out(self, *, was_closed: bool) -> None:
        """What the shell does after each event."""
        machine = self.machine
        if was_closed and (machine.to_target or machine.to_client):
            raise BrokenInvariantError("something was sent after the session had ended")
        if machine.to_target:
            data = b"".join(machine.to_target)
            machine.to_target.clear()
            self.target.feed(data)
        if machine.to_client:
            self.client += b"".join(machine.to_client)
            machine.to_client.clear()
        commands = machine.commands.copy()
        machine.commands.clear()
        for command in commands:
            if isinstance(command, CancelTarget):
                self.cancels += 1
            elif isinstance(command, StopWaiting):
                if isinstance(self.outstanding, Wait):
                    self.outstanding = None
                    machine.resume(HoldResult(HoldEnd.WITHDRAWN, "stopped"))
                    self._carry_out(was_closed=False)
            elif isinstance(command, Alarm):
                self.alarmed = True
            elif isinstance(command, Close):
                self.outstanding = None
            elif self.outstanding is not None:
                raise BrokenInvariantError("two commands are outstanding")
            else:
                self.outstanding = command

    def settle(self) -> None:
        """Everything that is under way comes to its end, as policy says."""
        for _ in range(10_000):
            if self.outstanding is not None:
                self.step(["r", 0])
            elif self.cancels:
                self.step(["k"])
            elif self.target.out:
                self.step(["t", 0])
            elif self.target.slow:
                self.step(["y"])
            elif self._unread and not self.machine.closed and not self.machine.overfull:
                self._read()
                self._carry_out(was_closed=False)
                self._check()
            else:
                return
        raise BrokenInvariantError("the conversation never comes to rest")

    def conclude(self) -> None:
        """Let it come to rest, end it, and check what it came to. Raises BrokenInvariantError."""
        self.settle()
        if not self.machine.closed and self.trusted:
            self._check_rest()
        if not self.machine.closed:
            self.step(["g"])
        self._check_end()

    # Invariants

    def _check(self) -> None:
        machine = self.machine
        executions = self.target.executions
        while self._seen < len(executions):
            key = executions[self._seen].key
            self._seen += 1
            if sum(execution.key == key for execution in executions[: self._seen]) > self.gate.granted[key]:
                raise BrokenInvariantError(f"{key} was executed without a decision")
            if "deny" in words(key[0]):
                raise BrokenInvariantError(f"{key} was denied and executed")
        if machine.queued_bytes > MAX_QUEUED_BYTES + _CHUNK + wire.MAX_MESSAGE_BYTES:
            raise BrokenInvariantError("the queue grows without a bound")
        if machine.queued_bytes != sum(len(frame[1]) for frame in machine.queue):
            raise BrokenInvariantError("the queue's bytes are not counted right")

    def _check_rest(self) -> None:
        """Nothing is under way: everything the client asked for has been answered, or it waits for COPY data."""
        machine = self.machine
        if self.target.waiting_for_data:
            return
        if machine.queue and not self._stuck_in_copy():
            raise BrokenInvariantError(
                f"messages wait and nothing will move them: {[bytes(f[1][:60]) for f in machine.queue]}"
            )
        if machine.flow is not None:
            raise BrokenInvariantError("a flow waits for what will never come")
        if machine.boundary:
            raise BrokenInvariantError("a ReadyForQuery is still expected")

    def _stuck_in_copy(self) -> bool:
        return self.machine.await_copy and self.target.waiting_for_data

    def _check_end(self) -> None:
        gate = self.gate
        with contextlib.suppress(StopIteration):
            operation = next(iter(gate.open))
            raise BrokenInvariantError(f"an act without an outcome: {gate.open[operation]}")
        said: dict[Key, Counter[str]] = {}
        for key, outcome in gate.outcomes:
            said.setdefault(key, Counter())[outcome.status] += 1
        ran: dict[Key, list[Execution]] = {}
        for execution in self.target.executions:
            ran.setdefault(execution.key, []).append(execution)
        for key in (said.keys() | ran.keys()) if self.trusted else ():
            self._check_honesty(key, said.get(key, Counter()), ran.get(key, []))
        frames(bytes(self.client), whole=False)

    def _check_honesty(self, key: Key, said: Counter[str], ran: list[Execution]) -> None:
        stands = sum((e.ended or e.suspended) and (e.explicit or e.committed is not False) for e in ran)
        if said["completed"] > stands:
            raise BrokenInvariantError(f"{key} is said to be completed {said['completed']} times, {stands} stand")
        admitted = said["completed"] + said["failed"] + said["unknown"]
        if len(ran) > admitted:
            raise BrokenInvariantError(f"{key} ran {len(ran)} times, {admitted} are admitted: {dict(said)}")
        committed = sum(e.ended and not e.explicit and e.committed is True for e in ran)
        said_of = words(key[0])
        # A result that is cut has nothing to take back; a write beyond its limit must be rolled back.
        cut = {"limited", "bytes"} & {*said_of} and said_of[0] in {"select", "copy"}
        if not cut and committed > said["completed"] + said["unknown"]:
            raise BrokenInvariantError(f"{key} was committed {committed} times, the log says {dict(said)}")


def frames(data: bytes, *, whole: bool = True) -> list[tuple[str, bytes]]:
    """What a client reads. whole: it ends with a message. Raises BrokenInvariantError where it
    is no sequence of messages."""
    found, position = [], 0
    while position < len(data):
        if position + 5 > len(data):
            if whole:
                raise BrokenInvariantError("the client is left with a part of a message")
            break
        end = position + 1 + int.from_bytes(data[position + 1 : position + 5], "big")
        if end > len(data) and not whole:
            break
        if end - position < 5 or end > len(data):
            raise BrokenInvariantError("the client was sent a broken message")
        found.append((chr(data[position]), data[position:end]))
        position = end
    return found


def view(data: bytes, *, whole: bool = True) -> list[str]:
    """The client's view, comparable: errors by their SQLSTATE; notices left out, which the gateway adds to."""
    seen = []
    for kind, raw in frames(data, whole=whole):
        if kind == "E":
            seen.append("E " + wire.parse_fields(raw)["C"].decode())
        elif kind != "N":
            seen.append(f"{kind} {raw[5:]!r}")
    return seen


def direct(data: bytes) -> list[str]:
    """The view of a client that sends the same bytes straight to the target."""
    target = ModelTarget(gateway=False, refuses=lambda text: "deny" in words(text))
    target.feed(data)
    while target.slow:
        target.tick()
    target.flush()
    return view(bytes(target.out))


def compare(conversation: Conversation) -> None:
    """Of a settled conversation in which nothing went wrong. Raises BrokenInvariantError."""
    expected = direct(bytes(conversation.sent))
    conversation.target.flush()
    seen = view(bytes(conversation.client + conversation.target.out))
    for place in range(max(len(seen), len(expected))):
        here, there = seen[place : place + 1], expected[place : place + 1]
        if here == there or (here and there and {*here, *there} <= _REFUSALS):
            continue
        if here and here[0] in _REFUSED_ALONE:
            return
        if there == ["E 26000"] and here and here[0].startswith("t "):
            return  # the target still describes the unnamed statement that the gateway will not bind any more
        raise BrokenInvariantError(f"the client sees {here}, directly {there} at {place}:\n  {seen}\n  {expected}")
