"""One client from its start-up packet to a session: who it is, and the target's connection opened for it.

What may be asked at start-up is in startup.py; the token is the password, asked for in the clear (over TLS, or on
loopback), so there is no channel binding to offer: a client that demands one is right to leave. Refusals say one of a
few fixed sentences. The running session is another protocol object (session.py), put in this one's place.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

import structlog

from enforcers.core.errors import CredentialError, ProtocolError, UpstreamError
from enforcers.core.ports import Answer, Gate, Ruling
from enforcers.core.tls import client_thumbprint
from enforcers.postgres import deny, oauthbearer, wire
from enforcers.postgres.operations import new_operation_id
from enforcers.postgres.peer import watch_peer
from enforcers.postgres.session import Session, Source
from enforcers.postgres.startup import CancelRequested, RefusedStartupError, StartupFramer, StartupRequested
from enforcers.postgres.upstream import Account, LoginRefusedError, connect

if TYPE_CHECKING:
    from enforcers.postgres.gateway import PostgresGateway

log = structlog.get_logger(__name__)

PACKET_SECONDS = 10.0  # until the start-up packet and the token are there; clients send both at once
HANDSHAKE_SECONDS = 30.0  # until the session is open
ALPN = "postgresql"
# Errors of the target's that are the client's to know, as they would be without a gateway: its own parameters, and
# that the target is full, starting or stopping.
_PASSED_ON = {"22023", "42704", "53300", "57P03"}
_NOT_TAKEN = {"28P01", "28000"}  # the credential was not


class Arrival(asyncio.Protocol):
    """client: its address, for the log and the decision service. head: bytes already read of its start-up packet."""

    __slots__ = (
        "_certificate",
        "_client",
        "_connecting",
        "_direct",
        "_ended",
        "_gate",
        "_gateway",
        "_head",
        "_must_encrypt",
        "_password",
        "_refusal",
        "_request",
        "_session",
        "_startup",
        "_timer",
        "_transport",
        "_work",
        "since",
    )

    def __init__(
        self, gateway: PostgresGateway, client: str, *, head: bytes, must_encrypt: bool = False, direct: bool = False
    ) -> None:
        """must_encrypt: it is in the clear where it may not be. direct: TLS came without being asked for."""
        self._gateway = gateway
        self._client = client
        self._certificate = ""  # what the client showed in TLS, by its thumbprint
        self._head = head
        self._must_encrypt = must_encrypt
        self._direct = direct
        self._transport: asyncio.Transport | None = None
        self._startup: StartupFramer | None = StartupFramer()
        self._password: bytearray | None = None
        self._refusal: bytes | None = None  # what OAUTHBEARER says once the client has taken the status
        self._request: StartupRequested | None = None
        self._gate: Gate | None = None
        self._session: Session | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self.since = time.monotonic()
        self._connecting = False  # to the target: to be given up when the client goes
        self._ended = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not hasattr(transport, "pause_reading"):  # uvloop's transports are not asyncio.Transport instances
            raise TypeError("a stream transport is needed")
        stream = cast("asyncio.Transport", transport)
        self._transport = stream
        self._gateway.arrived(self)
        watch_peer(stream)
        self._timer = asyncio.get_running_loop().call_later(PACKET_SECONDS, self._too_slow)
        secured = stream.get_extra_info("ssl_object")
        self._certificate = client_thumbprint(secured)
        if self._direct and secured.selected_alpn_protocol() != ALPN:
            # Who comes with TLS at once must mean this protocol, or a browser's request could be led here.
            log.info("direct TLS without ALPN", client=self._client)
            stream.abort()
        elif self._head:
            head, self._head = self._head, b""
            self.data_received(head)

    def data_received(self, data: bytes) -> None:
        if self._startup is not None:
            self._receive_startup(self._startup, data)
        elif self._password is not None:
            self._receive_password(self._password, data)
        elif not self._ended:
            self._fail("08P01", "protocol violation: bytes before the log-in was answered")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a reset and a close are the same
        self._end("client gone")

    # The start-up packet

    def _receive_startup(self, framer: StartupFramer, data: bytes) -> None:
        try:
            event = framer.feed(data)
        except RefusedStartupError as error:
            self._fail(error.sqlstate, str(error))
            return
        except ProtocolError as error:
            self._fail("08P01", f"protocol violation: {error}")
            return
        if isinstance(event, CancelRequested):
            # In the clear too, where TLS is required: clients before libpq 17 know no other way.
            self._startup = None
            self._work = self._gateway.tasks.spawn(self._cancel(event), name="cancel request", failed=self._shut)
        elif event is not None:
            self._startup = None
            self._requested(event)

    async def _cancel(self, request: CancelRequested) -> None:
        """The connection is closed once it is done: clients wait for that before they send the next statement."""
        await self._gateway.cancel(request)
        self._shut()
        self._end("cancel request")

    def _requested(self, request: StartupRequested) -> None:
        if self._must_encrypt:
            self._fail(
                "28000", "this gateway takes encrypted connections only", hint="Connect with sslmode=verify-full."
            )
        else:
            self._request = request
            self._password = bytearray()
            asked = oauthbearer.OFFER if request.oauth else wire.AUTHENTICATION_CLEARTEXT
            self._write(request.negotiation + asked)

    # The token

    def _receive_password(self, buffer: bytearray, data: bytes) -> None:
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
            if self._refusal is not None:
                self._acknowledged(raw, self._refusal)
                return
            self._password = None
            try:
                token = self._token(raw)
            except ProtocolError as error:
                self._fail("08P01", f"malformed OAUTHBEARER message: {error}")
                return
            if not self._gateway.occupy(self):
                # Only now: slots are for who has shown a token, and a client asking for TLS couldn't read it.
                self._fail("53300", "too many connections to this gateway")
                return
            self._again(HANDSHAKE_SECONDS)
            self._work = self._gateway.tasks.spawn(self._open(token), name="open session", failed=self._broken)

    def _token(self, raw: bytes) -> str:
        """What the client shows: "" for nothing that could be one. Raises ProtocolError, for OAUTHBEARER alone."""
        if self._request is not None and self._request.oauth:
            return oauthbearer.first(raw).token
        try:
            return wire.parse_password(raw).decode("ascii")
        except (ProtocolError, UnicodeDecodeError):
            return ""

    def _acknowledged(self, raw: bytes, refusal: bytes) -> None:
        """The client has taken the refusal's first half; whatever it says to it, the second is the error."""
        self._password = self._refusal = None
        if not oauthbearer.is_acknowledged(raw):
            log.info("OAUTHBEARER refusal not acknowledged as it is to be", client=self._client)
        self._write(refusal)
        self._shut()
        self._end("denied")

    async def _open(self, token: str) -> None:
        request, gateway = self._request, self._gateway
        if request is None:
            return
        source = gateway.sources.get(request.database)
        if source is None:
            self._deny(Ruling(answer=Answer.DENIED, decision="", code="UNKNOWN_CONNECTION"), request)
            return
        async with gateway.opening:
            if self._ended:
                return
            opened = await gateway.core.open_session(
                token=token,
                connection=request.database,
                role=request.user,
                client_address=self._client,
                on_revoked=self._revoked,
                client_certificate=self._certificate,
                plan=request.plan,
            )
        if isinstance(opened, Ruling):
            self._deny(opened, request)
            return
        if self._ended:
            await opened.close("client gone")
            return
        self._gate = opened
        self._connecting = True
        try:
            await self._open_target(request, source, opened)
        except LoginRefusedError as error:
            self._refused_by_target(request, error)
        except CredentialError as error:
            log.warning("no credential", connection=request.database, error=str(error))
            self._fail("08006", "the gateway has no credential for this role at the target", hint="Run twokey doctor.")
        except UpstreamError as error:
            self._fail("08006", str(error), hint="Is the target running and reachable? twokey doctor checks it.")
        except ProtocolError:
            self._fail("08006", "the target broke the protocol during log-in", hint="Run twokey doctor.")

    def _refused_by_target(self, request: StartupRequested, error: LoginRefusedError) -> None:
        log.warning("target refused the log-in", connection=request.database, sqlstate=error.sqlstate)
        if error.sqlstate in _NOT_TAKEN:
            self._gateway.core.credential_refused(request.database, request.user)
        if error.sqlstate in _PASSED_ON:
            self._fail(error.sqlstate, str(error))
        else:
            self._fail(
                "08006", f"the target refused the gateway's log-in ({error.sqlstate})", hint="twokey doctor says why."
            )

    async def _open_target(self, request: StartupRequested, source: Source, gate: Gate) -> None:
        core = self._gateway.core
        user, password = await core.credential(gate.connection, gate.role)
        account = Account(user=user, password=password, certificate=await core.certificate(gate.connection, gate.role))
        upstream = await connect(
            source.target,
            account,
            request.settings,
            gate.session_duties,
            subject=gate.subject,
            contexts=source.contexts,
        )
        del password, account
        try:
            describer = await source.describer()
        except BaseException:
            upstream.abort()
            raise
        transport = self._transport
        if self._ended or transport is None:
            upstream.abort()
            return
        self._gate = None
        self._session = session = Session(self._gateway, transport, upstream, source, gate=gate, describer=describer)
        session.machine.give_reason(request.reason)
        self._gateway.opened(self, session)
        self._end("open")
        transport.set_protocol(session)
        session.begin(long_key=request.long_key)

    # Ends

    def _revoked(self, reason: str) -> None:
        if self._session is not None:
            self._session.revoked(reason)
        else:
            self._fail("57P01", f"the session was revoked: {reason}")

    def drain(self) -> None:
        """Also for who was refused and doesn't take the hint."""
        self._fail("57P01", "this gateway is shutting down", hint="Connect again.")

    def evict(self) -> None:
        """Others wait, and this one has not shown a token for too long."""
        self._fail("53300", "too many connections to this gateway wait for a token")

    def _too_slow(self) -> None:
        seconds = PACKET_SECONDS if self._work is None else HANDSHAKE_SECONDS
        self._fail("08006", f"log-in took more than {seconds:g} s")

    def _broken(self) -> None:
        if self._session is not None:
            self._session.broken()
        self._fail("XX000", "internal error of the gateway")

    def _deny(self, ruling: Ruling, request: StartupRequested) -> None:
        reference = ruling.decision or new_operation_id()
        log.warning(
            "log-in refused",
            reference=reference,
            code=ruling.code,
            reason=ruling.message,
            connection=request.database[:64],
            client=self._client,
        )
        refusal = deny.login(ruling, connection=request.database, reference=reference)
        if request.oauth and (ruling.code or "").startswith("TOKEN_") and not self._ended:
            self._write(oauthbearer.challenge(configuration=self._gateway.oauth))
            self._refusal, self._password, self._work = refusal, bytearray(), None
            self._again(PACKET_SECONDS)
            return
        self._write(refusal)
        self._shut()
        self._end("denied")

    def _fail(self, sqlstate: str, text: str, *, hint: str = "") -> None:
        if self._ended:
            return
        self._write(deny.error(sqlstate, text, hint=hint, severity="FATAL"))
        self._shut()
        self._end(text)

    def _shut(self) -> None:
        self._startup = self._password = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def _end(self, reason: str) -> None:
        """Once: free the slot, and what a session that came to nothing holds."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        work, self._work = self._work, None
        if work is not None and self._connecting and self._session is None and work is not asyncio.current_task():
            # An OpenSession under way is not given up: what it opens must be closed again.
            work.cancel()
        self._timer = self._transport = None
        gate, self._gate = self._gate, None
        if gate is not None:
            self._gateway.tasks.spawn(gate.close(reason), name="close session")
        self._gateway.left(self)

    def _again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_slow)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
