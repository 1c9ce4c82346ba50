"""gRPC's way out where the decision service is known by a certificate of the operator's own.

gRPC for Python can't check a SPIFFE ID, takes wildcards and common names for names, and keeps the certificate it was
given when it was made. So here it speaks in the clear to a socket that only this process may connect to, and each of
its connections goes on as one of TLS 1.3 with the certificates of its moment, once the other end was found to be the
service.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
import sys
import time
from typing import cast

import structlog

from enforcers.core.client_tls import ClientTls
from enforcers.core.errors import SettingsError
from enforcers.core.svid import StrangerError
from enforcers.settings import Address

DIAL_SECONDS = 5.0
AT_ONCE = 64
_MAX_EARLY = 64 << 10  # bytes
_TOLD_EVERY = 10.0  # seconds; gRPC tries again each second
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)

log = structlog.get_logger("twokey.enforcers.tunnel")


class Tunnel:
    """`target` is what gRPC dials. start() before that; close() when done."""

    def __init__(self, service: Address, tls: ClientTls) -> None:
        self._service = service
        self._tls = tls
        self._name = f"twokey-{secrets.token_hex(16)}"
        self._server: asyncio.Server | None = None
        self._dials: set[asyncio.Task[None]] = set()
        self._ends: set[_End] = set()
        self._made = 0
        self._told = ("", 0.0)

    @property
    def target(self) -> str:
        return f"unix-abstract:{self._name}"

    async def start(self) -> None:
        """Raises SettingsError where the system has no abstract sockets."""
        if sys.platform != "linux":
            raise SettingsError("decision.tls needs Linux")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(f"\0{self._name}")
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _End(self), sock=listening)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._dials):
            task.cancel()
        for end in tuple(self._ends):
            end.abort()
        if self._dials:
            await asyncio.wait(self._dials, timeout=1.0)

    def mark(self) -> int:
        """For `drop`: the connections of until now."""
        return self._made

    def drop(self, until: int) -> None:
        """Cut those connections."""
        for end in [one for one in self._ends if one.number <= until]:
            end.abort()

    # For the ends

    def came(self, near: _End) -> None:
        """A connection to the socket. Only this very process may have one, whoever its user is."""
        transport = near.transport
        peer = transport.get_extra_info("socket") if transport is not None else None
        facts = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size) if peer is not None else b""
        if transport is None or not facts or _CREDENTIALS.unpack(facts)[0] != os.getpid():
            log.error("another process connected to this one's own socket")
            near.abort()
            return
        if len(self._ends) > AT_ONCE:
            near.abort()
            return
        transport.pause_reading()  # uvloop reads on all the same, into `_early`
        task = asyncio.ensure_future(self._dial(near))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def track(self, end: _End) -> None:
        self._made += 1
        end.number = self._made
        self._ends.add(end)

    def forget(self, end: _End) -> None:
        self._ends.discard(end)

    async def _dial(self, near: _End) -> None:
        far = _End(None)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: far,
                    self._service.host,
                    self._service.port,
                    ssl=self._tls.context,
                    server_hostname=self._service.host,
                )
            self._tls.check(transport.get_extra_info("ssl_object"))
        except StrangerError as error:
            self._tell("whoever answers is not the decision service", str(error))
        except (OSError, TimeoutError) as error:  # ssl.SSLError among them
            self._tell("the decision service can't be reached", getattr(error, "reason", None) or type(error).__name__)
        else:
            near.join(far)
            return
        far.abort()
        near.abort()

    def _tell(self, event: str, why: str) -> None:
        last, moment = self._told
        now = time.monotonic()
        if last != why or now - moment >= _TOLD_EVERY:
            self._told = why, now
            log.warning(event, service=str(self._service), why=why)


class _End(asyncio.Protocol):
    """One end of a connection; what comes to it goes out of the other, no faster than that takes it."""

    def __init__(self, tunnel: Tunnel | None) -> None:
        """tunnel: of the near end, which gRPC made."""
        self._tunnel = tunnel
        self._other: _End | None = None
        self._early = b""
        self.number = 0  # among its tunnel's
        self.transport: asyncio.Transport | None = None

    def join(self, far: _End) -> None:
        """Both ends stand. What gRPC sent meanwhile was not read yet."""
        if self.transport is None or far.transport is None:
            far.abort()
            self.abort()
            return
        self._other, far._other = far, self
        far._take_early()
        self._take_early()
        self.transport.resume_reading()

    def _take_early(self) -> None:
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._tunnel is not None:
            self._tunnel.track(self)
            self._tunnel.came(self)

    def data_received(self, data: bytes) -> None:
        other = self._other
        if other is not None and other.transport is not None:
            other.transport.write(data)
        elif other is None and len(self._early) + len(data) <= _MAX_EARLY:
            self._early += data  # both sides speak at once; nothing goes on before the other was checked
        else:
            self.abort()

    def eof_received(self) -> bool:
        return False  # closes, and then the other

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a reset and a close are the same
        self.transport = None
        if self._tunnel is not None:
            self._tunnel.forget(self)
        other, self._other = self._other, None
        if other is not None and other.transport is not None:
            other.transport.close()

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.resume_reading()
