"""The shell of one session: sockets to the machine's events, the machine's commands to sockets and to the core.

Back-pressure: while the client's buffer is full the target isn't read; while the target's is full, or the machine's
queue, the client isn't read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from enforcers.core.errors import CredentialError, DecisionUnavailableError, EnforcerError, ProtocolError, UpstreamError
from enforcers.core.ports import Answer, Gate, Hold, HoldEnd, HoldResult, Ruling
from enforcers.postgres import deny, wire
from enforcers.postgres.commands import (
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
from enforcers.postgres.operations import new_operation_id
from enforcers.postgres.peer import watch_peer
from enforcers.postgres.startup import (
    CancelRequested,
    RefusedStartupError,
    SslRequested,
    StartupFramer,
    StartupRequested,
)
from enforcers.postgres.upstream import Account, LoginRefusedError, Target, Upstream, cancel, connect

if TYPE_CHECKING:
    from enforcers.postgres.gateway import PostgresGateway

log = structlog.get_logger(__name__)

HANDSHAKE_SECONDS = 30.0


class Source(Protocol):
    """One connection's catalog: where descriptions and estimates come from, shared by its sessions."""

    target: Target

    async def describer(self) -> Describer:
        """The live describer, loaded. Raises UpstreamError, CredentialError."""

    async def refresh(self) -> None:
        """Make it fresh. Raises UpstreamError."""

    async def estimate(self, wanted: EstimateRows, role: str) -> RowEstimate: ...

    async def close(self) -> None: ...


class Session(asyncio.Protocol):
    """One client connection, from accept to close."""

    def __init__(self, gateway: PostgresGateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._startup: StartupFramer | None = StartupFramer()
        self._password: bytearray | None = None
        self._request: StartupRequested | None = None
        self._upstream: Upstream | None = None
        self._source: Source | None = None
        self._gate: Gate | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._withdrawn: asyncio.Event | None = None
        self._cancelled_early = False  # a CancelRequest between the question and the hold it leads to
        self._target_full = False
        self._reading = True
        self._closed = False
        self.machine: SessionMachine | None = None
        self.key: tuple[int, bytes] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not hasattr(transport, "pause_reading"):  # uvloop's transports are not asyncio.Transport instances
            raise TypeError("a stream transport is needed")
        stream = cast("asyncio.Transport", transport)
        self._transport = stream
        watch_peer(stream)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_SECONDS, self._too_slow)
        if not self._gateway.admit(self):
            stream.abort()

    def data_received(self, data: bytes) -> None:
        machine = self.machine
        if machine is not None:
            machine.receive_client(data)
            self._carry_out()
        elif self._startup is not None:
            self._receive_startup(data)
        elif self._password is not None:
            self._receive_password(data)
        elif not self._closed:
            self._fail("08P01", "protocol violation: bytes before the log-in was answered")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a reset and a close are the same to a session
        if self.machine is not None and not self.machine.closed:
            self.machine.client_lost()
            self._carry_out()
        if self._work is not None:
            self._work.cancel()
        self._end("client gone")

    def pause_writing(self) -> None:
        if self._upstream is not None and self._upstream.transport is not None:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._upstream is not None and self._upstream.transport is not None:
            self._upstream.transport.resume_reading()

    # Start-up

    def _receive_startup(self, data: bytes) -> None:
        if self._startup is None:
            return
        try:
            event = self._startup.feed(data)
        except RefusedStartupError as error:
            self._fail(error.sqlstate, str(error))
            return
        except ProtocolError as error:
            self._fail("08P01", f"protocol violation: {error}")
            return
        if isinstance(event, SslRequested):
            self._write(b"N")
        elif isinstance(event, CancelRequested):
            self._gateway.cancel(event)
            self._shut()
        elif event is not None:
            self._startup = None
            if self._gateway.crowded:
                # Said only now: a client still at SSLRequest couldn't read it.
                self._fail("53300", "too many connections to this gateway")
                return
            self._request = event
            self._password = bytearray()
            self._write(event.negotiation + wire.AUTHENTICATION_CLEARTEXT)

    def _receive_password(self, data: bytes) -> None:
        buffer = self._password
        if buffer is None:
            return
        buffer += data
        if len(buffer) < 5:
            return
        length = int.from_bytes(buffer[1:5], "big")
        if buffer[0] != wire.PASSWORD or not 5 <= length <= wire.MAX_TOKEN_BYTES:
            self._fail("08P01", "protocol violation: a password message of at most 16 KiB is expected")
        elif len(buffer) > length + 1:
            self._fail("08P01", "protocol violation: bytes behind the password message")
        elif len(buffer) == length + 1:
            raw = bytes(buffer)
            self._password = None
            try:
                token = wire.parse_password(raw).decode("ascii")
            except (ProtocolError, UnicodeDecodeError):
                token = ""
            self._work = self._gateway.tasks.spawn(self._open(token), name="open session", failed=self._broken)

    async def _open(self, token: str) -> None:
        request, gateway = self._request, self._gateway
        if request is None:
            return
        source = gateway.sources.get(request.database)
        if source is None:
            self._deny(Ruling(answer=Answer.DENIED, decision="", code="UNKNOWN_CONNECTION"), request)
            return
        opened = await gateway.core.open_session(
            token=token,
            connection=request.database,
            role=request.user,
            client_address=self._peer(),
            on_revoked=self._revoked,
        )
        if isinstance(opened, Ruling):
            self._deny(opened, request)
            return
        self._gate = opened
        if self._closed:
            self._end("client gone")
            return
        try:
            await self._open_target(request, source, opened)
        except LoginRefusedError as error:
            log.warning("target refused the log-in", connection=request.database, sqlstate=error.sqlstate)
            self._fail(
                "08006", f"the target refused the gateway's log-in ({error.sqlstate})", hint="twokey doctor says why."
            )
        except CredentialError as error:
            log.warning("no credential", connection=request.database, error=str(error))
            self._fail("08006", "the gateway has no credential for this role at the target", hint="Run twokey doctor.")
        except UpstreamError as error:
            self._fail("08006", str(error), hint="Is the target running and reachable? twokey doctor checks it.")
        except ProtocolError:
            self._fail("08006", "the target broke the protocol during log-in", hint="Run twokey doctor.")

    async def _open_target(self, request: StartupRequested, source: Source, gate: Gate) -> None:
        user, password = await self._gateway.core.credential(gate.connection, gate.role)
        self._upstream = upstream = await connect(
            source.target, Account(user=user, password=password), request.settings, gate.session_duties
        )
        del password
        describer = await source.describer()
        if self._closed:
            upstream.abort()
            return
        self._source = source
        self.machine = machine = SessionMachine(gate, describer)
        machine.replies.flush = self._write_relayed
        self.key = self._gateway.register(self)
        if self._timer is not None:
            self._timer.cancel()
        parameters = b"".join(wire.parameter_status(name, value) for name, value in upstream.parameters.items())
        self._write(wire.AUTHENTICATION_OK + parameters + wire.key_data(*self.key) + wire.ready(b"I"))
        upstream.relay_to(self._from_target, self._target_lost, self._target_is_full)
        refusal = gate.refusal()
        if refusal is not None:
            self._revoked(refusal.message)

    # Events

    def _from_target(self, data: bytes) -> None:
        machine = self.machine
        if machine is None:
            return
        try:
            machine.receive_target(data)
        except EnforcerError as error:
            log.warning("the target broke the protocol", error=str(error))
            machine.target_lost("it broke the protocol")
        self._carry_out()

    def _target_lost(self, why: str) -> None:
        if self.machine is not None:
            self.machine.target_lost(why)
            self._carry_out()

    def _target_is_full(self, full: bool) -> None:
        self._target_full = full
        self._adjust_reading()

    def _revoked(self, reason: str) -> None:
        if self.machine is None:
            self._fail("57P01", f"the session was revoked: {reason}")
            return
        self.machine.revoked(reason)
        self._carry_out()

    def cancel(self) -> None:
        """A CancelRequest with this session's key."""
        if self._withdrawn is not None:
            self._withdrawn.set()
        elif self.machine is not None:
            self._cancelled_early = True
            self.machine.cancel()
            self._carry_out()

    def drain(self, *, now: bool) -> bool:
        """True once the session is over. Idle sessions end at once, busy ones when `now`."""
        if self._closed:
            return True
        machine = self.machine
        if machine is None:
            self._fail("57P01", "this gateway is shutting down", hint="Connect again.")
            return True
        if now or not machine.busy:
            machine.shut("this gateway is shutting down", hint="Connect again; an approval asked for is found again.")
            self._carry_out()
        return self._closed

    @property
    def holding(self) -> bool:
        return self._withdrawn is not None

    # Commands

    def _carry_out(self) -> None:
        machine, transport, upstream = self.machine, self._transport, self._upstream
        if machine is None or transport is None or upstream is None:
            return
        if machine.to_target:
            upstream.write(machine.to_target[0] if len(machine.to_target) == 1 else b"".join(machine.to_target))
            machine.to_target.clear()
        if machine.to_client:
            transport.write(machine.to_client[0] if len(machine.to_client) == 1 else b"".join(machine.to_client))
            machine.to_client.clear()
        if machine.commands:
            commands = machine.commands.copy()
            machine.commands.clear()
            for command in commands:
                self._start(command)
        if machine.overfull or not self._reading:
            self._adjust_reading()

    def _write_relayed(self) -> None:
        if self.machine is not None and self._transport is not None and self.machine.to_client:
            self._transport.write(b"".join(self.machine.to_client))
            self.machine.to_client.clear()

    def _start(self, command: Command) -> None:
        if isinstance(command, Close):
            self._close(command.reason)
        elif isinstance(command, StopWaiting):
            if self._withdrawn is not None:
                self._withdrawn.set()
        elif isinstance(command, CancelTarget):
            self._gateway.tasks.spawn(self._cancel_target(), name="cancel", failed=self._broken)
        else:
            self._work = self._gateway.tasks.spawn(self._perform(command), name="command", failed=self._broken)

    async def _perform(self, command: Command) -> None:
        reply = await self._reply(command)
        if self.machine is not None:
            self.machine.resume(reply)
            self._carry_out()

    async def _reply(self, command: Command) -> object:
        gate, source = self._gate, self._source
        if gate is None or source is None:
            raise RuntimeError("a command before the session is open")
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
            result: HoldResult | None = None
            async with asyncio.TaskGroup() as group:
                held = group.create_task(gate.wait(hold))
                cancelled = group.create_task(withdrawn.wait())
                await asyncio.wait({held, cancelled}, return_when=asyncio.FIRST_COMPLETED)
                if held.done() and not held.cancelled() and not withdrawn.is_set():
                    result = held.result()
                held.cancel()
                cancelled.cancel()
            return result or HoldResult(HoldEnd.WITHDRAWN, "the client cancelled the statement")
        finally:
            self._withdrawn = None

    async def _cancel_target(self) -> None:
        upstream, source = self._upstream, self._source
        if upstream is None or source is None:
            return
        try:
            await cancel(source.target, upstream.process, upstream.secret)
        except UpstreamError as error:
            log.warning("cancel failed", error=str(error))
        if self.machine is not None:
            self.machine.cancelled()
            self._carry_out()

    # Ends

    def _close(self, reason: str) -> None:
        machine, upstream, source = self.machine, self._upstream, self._source
        if upstream is not None:
            if machine is not None and machine.running and source is not None and not machine.gone:
                self._gateway.tasks.spawn(
                    _cancel_and_abort(source.target, upstream), name="cancel", failed=upstream.abort
                )
            elif reason == "client ended the session" and upstream.transport is not None:
                upstream.transport.close()
            else:
                upstream.abort()
        self._shut()
        self._end(reason)

    def _end(self, reason: str) -> None:
        """Once: unregister, and tell the core."""
        gate, self._gate = self._gate, None
        if gate is not None:
            self._gateway.tasks.spawn(gate.close(reason), name="close session")
            if self.machine is None and self._upstream is not None:
                self._upstream.abort()
        self._gateway.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        self._closed = True

    def _too_slow(self) -> None:
        self._fail("08006", f"log-in took more than {HANDSHAKE_SECONDS:g} s")

    def _broken(self) -> None:
        """A task of this session failed in a way nobody foresaw: the session ends, closed."""
        if self.machine is not None:
            self.machine.shut("internal error of the gateway")
            self._carry_out()
        self._fail("XX000", "internal error of the gateway")

    def _deny(self, ruling: Ruling, request: StartupRequested) -> None:
        reference = ruling.decision or new_operation_id()
        log.warning(
            "log-in refused",
            reference=reference,
            code=ruling.code,
            reason=ruling.message,
            connection=request.database[:64],
            client=self._peer(),
        )
        self._write(deny.login(ruling, connection=request.database, reference=reference))
        self._shut()
        self._end("denied")

    def _fail(self, sqlstate: str, text: str, *, hint: str = "") -> None:
        if self._closed:
            return
        self._write(deny.error(sqlstate, text, hint=hint, severity="FATAL"))
        self._shut()
        self._end(text)

    def _shut(self) -> None:
        self._startup = self._password = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _adjust_reading(self) -> None:
        wanted = not self._target_full and not (self.machine is not None and self.machine.overfull)
        if wanted != self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _peer(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"


async def _cancel_and_abort(target: Target, upstream: Upstream) -> None:
    try:
        await cancel(target, upstream.process, upstream.secret)
    except UpstreamError as error:
        log.warning("cancel failed", error=str(error))
    upstream.abort()
