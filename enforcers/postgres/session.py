"""The shell of one open session: sockets to the machine's events, the machine's commands to sockets and to the core.

It takes the place of the Arrival (arrival.py) that logged the client in, on the same transport.

Back-pressure: while the client's buffer is full the target isn't read; while the target's is full, or the machine's
queue, the client isn't read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from enforcers.core.errors import DecisionUnavailableError, EnforcerError, UpstreamError
from enforcers.core.ports import Gate, Hold, HoldEnd, HoldResult, Ruling
from enforcers.core.withdrawal import unless
from enforcers.postgres import deny, wire
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
from enforcers.postgres.describing import Describer
from enforcers.postgres.machine import SessionMachine
from enforcers.postgres.target import Contexts, Target
from enforcers.postgres.upstream import Upstream, cancel

if TYPE_CHECKING:
    from enforcers.postgres.gateway import PostgresGateway

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 15.0  # with a client that reads the end of its session slowly
REST_SECONDS = 0.3  # for the rest of the row that a revoked session's client has a part of
LINGER_SECONDS = 1.0  # for a revoked session's client to take what was on its way


class Source(Protocol):
    """One connection's catalog: where descriptions and estimates come from, shared by its sessions."""

    target: Target
    contexts: Contexts
    masking_key: bytes | None  # the connection's, for masked values that are hashed

    def entered(self) -> None:
        """A session is open; `left` when it is over."""

    def left(self) -> None: ...

    async def describer(self) -> Describer:
        """The live describer, loaded. Raises UpstreamError, CredentialError."""

    async def refresh(self) -> None:
        """Make it fresh. Raises UpstreamError."""

    async def estimate(self, wanted: EstimateRows, role: str) -> RowEstimate: ...

    async def close(self) -> None: ...


class Session(asyncio.Protocol):
    """One open session, from log-in to close."""

    def __init__(
        self,
        gateway: PostgresGateway,
        transport: asyncio.Transport,
        upstream: Upstream,
        source: Source,
        *,
        gate: Gate,
        describer: Describer,
    ) -> None:
        self._gateway = gateway
        self._transport = transport
        self._upstream = upstream
        self._source = source
        self._gate: Gate | None = gate
        self._work: asyncio.Task[None] | None = None
        self._withdrawn: asyncio.Event | None = None
        self._cancelled_early = False  # a CancelRequest between the question and the hold it leads to
        self._target_full = False
        self._reading = True
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        self.machine = machine = SessionMachine(gate, describer)
        machine.masking_key = source.masking_key
        machine.replies.flush = self._write_relayed
        self.key: tuple[int, bytes] | None = None
        source.entered()

    def begin(self, *, long_key: bool) -> None:
        """Tell the client that it is in, and relay from now on. long_key: it takes cancel keys above 4 bytes."""
        upstream, gate = self._upstream, self._gate
        self.key = self._gateway.register(self, long_key=long_key)
        parameters = b"".join(wire.parameter_status(name, value) for name, value in upstream.parameters.items())
        self._write(wire.AUTHENTICATION_OK + parameters + wire.key_data(*self.key) + wire.ready(b"I"))
        upstream.relay_to(self._from_target, self._target_lost, self._target_is_full)
        refusal = gate.refusal() if gate is not None else None
        if refusal is not None:
            self.revoked(refusal.message)
        self._carry_out()  # an alarm, where the session may last only so long

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self.machine.receive_client(data)
        self._carry_out()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a reset and a close are the same to a session
        if not self.machine.closed:
            self.machine.client_lost()
            self._carry_out()
        if self._work is not None:
            self._work.cancel()
        self._end("client gone")

    def pause_writing(self) -> None:
        if self._upstream.transport is not None:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._upstream.transport is not None:
            self._upstream.transport.resume_reading()

    # Events

    def _from_target(self, data: bytes) -> None:
        try:
            self.machine.receive_target(data)
        except EnforcerError as error:
            log.warning("the target broke the protocol", error=str(error))
            self.machine.target_lost("it broke the protocol")
        self._carry_out()

    def _target_lost(self, why: str) -> None:
        self.machine.target_lost(why)
        self._carry_out()

    def _set_alarm(self, seconds: float) -> None:
        """A new alarm is earlier than the one that is set, and is set again for that."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, seconds), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if not self._closed:
            self.machine.alarm(time.monotonic())
            self._carry_out()

    def _target_is_full(self, full: bool) -> None:
        self._target_full = full
        self._adjust_reading()

    def revoked(self, reason: str) -> None:
        if not self.machine.revoked(reason):
            asyncio.get_running_loop().call_later(REST_SECONDS, self._revoked_by_now, reason)
        self._carry_out()

    def _revoked_by_now(self, reason: str) -> None:
        if not self._closed:
            self.machine.revoked(reason, now=True)
            self._carry_out()

    def cancel(self) -> None:
        """A CancelRequest with this session's key."""
        if self._withdrawn is not None:
            self._withdrawn.set()
        else:
            self._cancelled_early = True
            self.machine.cancel()
            self._carry_out()

    def drain(self, *, now: bool) -> bool:
        """True once the session is over. Idle sessions end at once, busy ones when `now`."""
        if self._closed:
            return True
        machine = self.machine
        if now or not machine.busy:
            machine.shut("this gateway is shutting down", hint="Connect again; an approval asked for is found again.")
            self._carry_out()
        return self._closed

    @property
    def holding(self) -> bool:
        return self._withdrawn is not None

    # Commands

    def _carry_out(self) -> None:
        machine = self.machine
        out = machine.to_target
        if out:
            self._upstream.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
        out = machine.to_client
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
        if machine.commands:
            commands = machine.commands.copy()
            machine.commands.clear()
            for command in commands:
                self._start(command)
        if machine.overfull or not self._reading:
            self._adjust_reading()

    def _write_relayed(self) -> None:
        out = self.machine.to_client
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def _start(self, command: Command) -> None:
        if isinstance(command, Close):
            self._close(command.reason)
        elif isinstance(command, Alarm):
            self._set_alarm(command.seconds)
        elif isinstance(command, StopWaiting):
            if self._withdrawn is not None:
                self._withdrawn.set()
        elif isinstance(command, CancelTarget):
            self._gateway.tasks.spawn(self._cancel_target(), name="cancel", failed=self.broken)
        elif isinstance(command, Begin) and self._gate is not None and self._gate.begin_soon(command.act, self._begun):
            pass  # _begun goes on
        elif isinstance(command, Ask) and self._gate is not None and self._ask_soon(self._gate, command):
            pass  # _decided goes on
        else:
            self._work = self._gateway.tasks.spawn(self._perform(command), name="command", failed=self.broken)

    def _begun(self, error: DecisionUnavailableError | None) -> None:
        self._gateway.tasks.call(partial(self._resume, error), name="command", failed=self.broken)

    def _ask_soon(self, gate: Gate, command: Ask) -> bool:
        self._cancelled_early = False
        return gate.ask_soon(command.question, self._decided)

    def _decided(self, ruling: Callable[[], Ruling]) -> None:
        self._gateway.tasks.call(partial(self._resume_with, ruling), name="command", failed=self.broken)

    def _resume_with(self, ruling: Callable[[], Ruling]) -> None:
        self._resume(ruling())

    def _resume(self, reply: object) -> None:
        if self._gate is None:
            return  # the session ended meanwhile
        self.machine.resume(reply)
        self._carry_out()

    async def _perform(self, command: Command) -> None:
        if self._gate is None:
            return  # the session ended (revoked, say) before this got its turn
        reply = await self._reply(command)
        self.machine.resume(reply)
        self._carry_out()

    async def _reply(self, command: Command) -> object:
        gate, source = self._gate, self._source
        if gate is None:
            raise RuntimeError("a command after the session's end")
        if isinstance(command, Ask):
            self._cancelled_early = False
            return await gate.ask(command.question)
        if isinstance(command, Redeem):
            return await gate.redeem(command.question, command.hold)
        if isinstance(command, Wait):
            return await self._wait(gate, command.hold)
        if isinstance(command, Withdraw):
            await gate.withdraw(command.hold, command.reason)
        if isinstance(command, EstimateRows):
            return await source.estimate(command, gate.role)
        if isinstance(command, Begin):
            try:
                await gate.begin(command.act)
            except DecisionUnavailableError as error:
                return error
        if isinstance(command, Refresh):
            await self._refresh(source)
        return None

    async def _refresh(self, source: Source) -> None:
        try:
            await source.refresh()
        except UpstreamError as error:
            # Without a fresh catalog nothing can be described with certainty: the session can't go on.
            log.warning("catalog can't be read", error=str(error))
            self._target_lost("its catalog can't be read")

    async def _wait(self, gate: Gate, hold: Hold) -> HoldResult:
        """The hold's end, or the client's own Ctrl-C, whichever comes first."""
        self._withdrawn = withdrawn = asyncio.Event()
        if self._cancelled_early:
            withdrawn.set()
        try:
            result = await unless(withdrawn, gate.wait(hold))
            return result or HoldResult(HoldEnd.WITHDRAWN, "the client cancelled the statement")
        finally:
            self._withdrawn = None

    async def _cancel_target(self) -> None:
        upstream, source = self._upstream, self._source
        try:
            await cancel(source.target, upstream.process, upstream.secret, source.contexts)
        except UpstreamError as error:
            log.warning("cancel failed", error=str(error))
        self.machine.cancelled()
        self._carry_out()

    # Ends

    def _close(self, reason: str) -> None:
        machine, upstream, source = self.machine, self._upstream, self._source
        if machine.running and not machine.gone:
            self._gateway.tasks.spawn(_cancel_and_abort(source, upstream), name="cancel", failed=upstream.abort)
        elif reason == "client ended the session" and upstream.transport is not None:
            upstream.transport.close()
        else:
            upstream.abort()
        self._shut()
        if reason == "revoked":
            # Closing waits until what is written was sent: a client that does not read would keep it all that long.
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)
        self._end(reason)

    def _end(self, reason: str) -> None:
        """Once: unregister, and tell the core."""
        gate, self._gate = self._gate, None
        if gate is not None:
            self._gateway.tasks.spawn(gate.close(reason), name="close session")
        if not self._closed:
            self._source.left()
        self._gateway.forget(self)
        if self._alarm is not None:
            self._alarm.cancel()
        self._closed = True

    def broken(self) -> None:
        """A task of this session failed in a way nobody foresaw: the session ends, closed."""
        self.machine.shut("internal error of the gateway")
        self._carry_out()
        self._fail("XX000", "internal error of the gateway")

    def _fail(self, sqlstate: str, text: str, *, hint: str = "") -> None:
        if self._closed:
            return
        self._write(deny.error(sqlstate, text, hint=hint, severity="FATAL"))
        self._shut()
        self._end(text)

    def _shut(self) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        unsent = transport.get_write_buffer_size()
        transport.close()
        if unsent:
            # The slot is free by now: who does not read what is left must not keep the descriptor for ever.
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, transport.abort)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _adjust_reading(self) -> None:
        wanted = not self._target_full and not self.machine.overfull
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()


async def _cancel_and_abort(source: Source, upstream: Upstream) -> None:
    try:
        await cancel(source.target, upstream.process, upstream.secret, source.contexts)
    except UpstreamError as error:
        log.warning("cancel failed", error=str(error))
    upstream.abort()
