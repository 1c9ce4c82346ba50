"""The target's side: one connection per session, opened for it, logged in by the gateway, never reused.

Settings that descriptions rely on are pinned as start-up options, so that RESET and DISCARD keep them; the session's
duties (read-only, statement-timeout) too. Source: PostgreSQL documentation, "Start-up", "SSL Session Encryption",
"Canceling Requests in Progress".
"""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from enforcers.core.credentials import ClientCertificate
from enforcers.core.errors import EnforcerError, ProtocolError, UpstreamError
from enforcers.core.ports import Duties
from enforcers.postgres import deny, wire
from enforcers.postgres.peer import watch_peer
from enforcers.postgres.scram import Login
from enforcers.postgres.target import Contexts, Target, end_point, server_name

CONNECT_SECONDS = 10.0
CANCEL_SECONDS = 5.0
_MAX_LOGIN_BYTES = 256 * 1024
PINNED = (
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
)
SUBJECT = "twokey.subject"


class Upstream(asyncio.Protocol):
    """The connection. Until `relay_to` is called its bytes are kept for the log-in; then they go to the session."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.process = 0
        self.secret = b""
        self.parameters: dict[bytes, bytes] = {}
        self.lost: str | None = None
        self.binding = b""  # tls-server-end-point of the target's certificate
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._receive: Callable[[bytes], None] | None = None
        self._on_lost: Callable[[str], None] | None = None
        self._on_full: Callable[[bool], None] | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if hasattr(transport, "pause_reading"):
            self.transport = cast("asyncio.Transport", transport)
            watch_peer(self.transport)

    def data_received(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)
            return
        self._buffer += data
        self._wake()
        if len(self._buffer) > _MAX_LOGIN_BYTES and self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = str(exc) if exc is not None else "it was closed"
        self._wake()
        if self._on_lost is not None:
            self._on_lost(self.lost)

    def pause_writing(self) -> None:
        if self._on_full is not None:
            self._on_full(True)  # noqa: FBT003 - the callback's only argument

    def resume_writing(self) -> None:
        if self._on_full is not None:
            self._on_full(False)  # noqa: FBT003 - the callback's only argument

    # Use

    def relay_to(
        self, receive: Callable[[bytes], None], on_lost: Callable[[str], None], on_full: Callable[[bool], None]
    ) -> None:
        self._receive, self._on_lost, self._on_full = receive, on_lost, on_full
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            receive(data)
        if self.lost is not None:
            on_lost(self.lost)

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def encrypted(self, *, direct: bool) -> None:
        """After the handshake: remember whose certificate it was. Raises UpstreamError for direct TLS without ALPN."""
        found = self.transport.get_extra_info("ssl_object") if self.transport is not None else None
        if found is None:
            raise UpstreamError("the connection was lost during TLS")
        if direct and found.selected_alpn_protocol() != "postgresql":
            self.abort()
            raise UpstreamError("the target took TLS but does not say that it speaks PostgreSQL's protocol (ALPN)")
        certificate = found.getpeercert(binary_form=True)
        self.binding = end_point(certificate) if certificate else b""

    def abort(self) -> None:
        self._receive = self._on_lost = self._on_full = None
        if self.transport is not None:
            self.transport.abort()

    async def message(self) -> bytes:
        """The next whole message of the log-in. Raises UpstreamError."""
        while True:
            if len(self._buffer) >= 5:
                length = int.from_bytes(self._buffer[1:5], "big")
                if not 4 <= length <= _MAX_LOGIN_BYTES:
                    raise UpstreamError("the target does not speak PostgreSQL's protocol")
                if len(self._buffer) > length:
                    raw = bytes(self._buffer[: length + 1])
                    del self._buffer[: length + 1]
                    return raw
            await self._more()

    async def byte(self) -> bytes:
        """The answer to SSLRequest: one byte, and nothing behind it (it could not be believed)."""
        while not self._buffer:
            await self._more()
        if len(self._buffer) != 1:
            raise UpstreamError("the target sent bytes in the clear before TLS")
        answer = bytes(self._buffer)
        self._buffer.clear()
        return answer

    async def _more(self) -> None:
        if self.lost is not None:
            raise UpstreamError(f"the target ended the connection during log-in: {self.lost}")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class LoginRefusedError(UpstreamError):
    """The target answered the log-in with an error; `sqlstate` is its code."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    user: str
    password: str = field(repr=False)
    certificate: ClientCertificate | None = field(default=None, repr=False)


async def connect(
    target: Target,
    account: Account,
    settings: Sequence[tuple[str, str]] = (),
    duties: Duties | None = None,
    *,
    subject: str = "",
    contexts: Contexts | None = None,
) -> Upstream:
    """Open and log in. Raises UpstreamError; neither it nor anything it holds names the password.

    subject: what the session's setting `twokey.subject` says; empty for none. contexts: the target's, to be reused.
    """
    upstream: Upstream | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            upstream = await _open(target, contexts or Contexts(), account.certificate)
            await _log_in(upstream, target, account, _parameters(target, account, settings, duties, subject))
    except TimeoutError as error:
        _abandon(upstream)
        raise UpstreamError(f"the target {target} did not answer within {CONNECT_SECONDS:g} s") from error
    except OSError as error:
        _abandon(upstream)
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise LoginRefusedError("53300", "too many connections: this gateway has no descriptor left") from error
        raise UpstreamError(
            f"the target {target} can't be reached: {error.strerror or type(error).__name__}"
        ) from error
    except (EnforcerError, asyncio.CancelledError):
        _abandon(upstream)
        raise
    return upstream


def _abandon(upstream: Upstream | None) -> None:
    if upstream is not None:
        upstream.abort()


async def _open(target: Target, contexts: Contexts, certificate: ClientCertificate | None = None) -> Upstream:
    loop = asyncio.get_running_loop()
    if target.host.startswith("/"):
        _, upstream = await loop.create_unix_connection(Upstream, f"{target.host}/.s.PGSQL.{target.port}")
        return upstream
    if not target.encrypted:
        _, upstream = await loop.create_connection(Upstream, target.host, target.port)
        return upstream
    context = contexts.context(target, certificate)
    try:
        if target.direct:
            _, upstream = await loop.create_connection(
                Upstream, target.host, target.port, ssl=context, server_hostname=server_name(target) or ""
            )
        else:
            upstream = await _negotiated(target, context)
    except ssl.SSLError as error:
        raise UpstreamError(f"TLS with the target {target} failed: {error.reason}") from error
    upstream.encrypted(direct=target.direct)
    return upstream


async def _negotiated(target: Target, context: ssl.SSLContext) -> Upstream:
    """SSLRequest, and TLS on the same connection."""
    loop = asyncio.get_running_loop()
    _, upstream = await loop.create_connection(Upstream, target.host, target.port)
    try:
        upstream.write((8).to_bytes(4, "big") + wire.SSL_REQUEST.to_bytes(4, "big"))
        if await upstream.byte() != b"S":
            raise UpstreamError(f"the target {target} offers no TLS, and sslmode is {target.sslmode}")
        if upstream.transport is None:
            raise UpstreamError("the connection was lost before TLS")
        upstream.transport = await loop.start_tls(
            upstream.transport, upstream, context, server_hostname=server_name(target)
        )
    except BaseException:
        upstream.abort()
        raise
    return upstream


async def _log_in(
    upstream: Upstream, target: Target, account: Account, parameters: Sequence[tuple[bytes, bytes]]
) -> None:
    upstream.write(wire.startup_packet(parameters))
    login = Login(
        user=account.user,
        password=account.password,
        accepts=target.accepts,
        binding=upstream.binding if target.channel_binding != "disable" else b"",
        must_bind=target.channel_binding == "require",
    )
    while True:
        raw = await upstream.message()
        kind = raw[:1]
        if kind == b"R" and not login.done:
            upstream.write(login.respond(raw))
        elif kind == b"E":
            state, text = deny.sqlstate(raw)
            raise LoginRefusedError(state, text)
        elif kind == b"S":
            name, value = wire.parse_parameter_status(raw)
            upstream.parameters[name] = value
        elif kind == b"K":
            upstream.process, upstream.secret = wire.parse_key_data(raw)
        elif kind == b"Z" and login.done:
            return
        elif kind not in {b"N", b"v"}:
            raise ProtocolError("the target broke the protocol during log-in")


def _parameters(
    target: Target, account: Account, settings: Sequence[tuple[str, str]], duties: Duties | None, subject: str
) -> list[tuple[bytes, bytes]]:
    values = dict(settings)
    values.update(PINNED)
    if duties is not None and duties.read_only:
        values["default_transaction_read_only"] = "on"
    if duties is not None and duties.statement_timeout_ms is not None:
        values["statement_timeout"] = _shorter(values.get("statement_timeout", ""), duties.statement_timeout_ms)
    if subject:
        # A parameter of its own: nothing of it has to be escaped, as it would within `options`.
        values[SUBJECT] = subject
    parameters = [(b"user", account.user.encode()), (b"database", target.database.encode())]
    parameters.extend((name.encode(), value.encode()) for name, value in values.items())
    return parameters


_UNITS_MS = {"": 1.0, "us": 0.001, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6, "d": 8.64e7}
_DURATION = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([a-z]*)\s*", re.ASCII)


def _shorter(asked: str, limit_ms: int) -> str:
    """The client's own time limit where it is one and the shorter, else the duty's: in milliseconds."""
    found = _DURATION.fullmatch(asked)
    unit = _UNITS_MS.get(found[2]) if found is not None else None
    if found is None or unit is None:
        return str(limit_ms)
    wanted = round(float(found[1]) * unit)
    return str(wanted if 0 < wanted < limit_ms else limit_ms)


async def cancel(target: Target, process: int, secret: bytes, contexts: Contexts | None = None) -> None:
    """Send a CancelRequest and wait until the target closed that connection: then the signal is sent or never will be.

    Raises UpstreamError.
    """
    upstream: Upstream | None = None
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            upstream = await _open(target, contexts or Contexts())
            upstream.write(wire.cancel_request(process, secret))
            await upstream.message()
    except UpstreamError:
        pass  # it closes without an answer: that is the success
    except (TimeoutError, OSError) as error:
        raise UpstreamError(f"the cancel request did not reach the target: {type(error).__name__}") from error
    finally:
        _abandon(upstream)
