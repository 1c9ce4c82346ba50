"""What stands before the protocol on a client's connection: a balancer's header, and how it is to be encrypted.

Read from the bare socket, byte for byte and never beyond: whatever a client, or somebody between, sends in the clear
ahead of the TLS handshake stays in the kernel, where TLS finds it and fails. Nothing can be buffered here and later be
taken as having come encrypted (the class of CVE-2021-23214 and CVE-2021-23222). Sources: PostgreSQL documentation,
"SSL Session Encryption", "GSSAPI Session Encryption"; PROXY protocol v2.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import TYPE_CHECKING

import structlog

from enforcers.core.balancers import HEADER_BYTES, SIGNATURE, rest_length, source
from enforcers.core.errors import ProtocolError
from enforcers.postgres import deny
from enforcers.postgres.arrival import Arrival
from enforcers.postgres.startup import HEAD_BYTES, Encryption, encryption, is_direct_tls
from enforcers.settings import Address

if TYPE_CHECKING:
    from enforcers.postgres.gateway import PostgresGateway

log = structlog.get_logger(__name__)

_LEFT_BYTES = 64 << 10
GOODBYE_SECONDS = 5.0  # for the other end of TLS to say that it is closed, too
ENTRY_SECONDS = 10.0  # until the first packet of the protocol itself; clients do all this without a person


class Entry:
    """One accepted socket until it is a transport with an Arrival, or gone."""

    def __init__(self, gateway: PostgresGateway, connection: socket.socket, host: str, port: int) -> None:
        self._gateway = gateway
        self._socket = connection
        self._peer = host
        self._port = port
        self._client = _shown(host, port)
        self.since = time.monotonic()
        self.silent = True  # nothing came yet
        self._handed = False  # the socket is a transport's, which closes it

    async def run(self) -> None:
        """Ends with the socket handed on or closed. Raises nothing for what a client may do."""
        try:
            async with asyncio.timeout(ENTRY_SECONDS):
                await self._enter()
        except ProtocolError as error:
            log.info("connection refused", client=self._client, why=str(error))
            self._say(deny.error("08P01", f"protocol violation: {error}", severity="FATAL"))
        except ssl.SSLError as error:
            log.info("TLS failed", client=self._client, why=error.reason)
        except (OSError, EOFError, TimeoutError):
            pass  # gone, or silent: there is nobody to tell
        finally:
            if not self._handed:
                self._socket.close()

    def says_nothing(self) -> bool:
        """Nothing came, and nothing waits to be read."""
        return self.silent and not self._handed and not self._pending()

    async def _enter(self) -> None:
        await self._heed_balancer()
        tls = self._gateway.tls
        if tls is not None and is_direct_tls(await self._peek()):
            await self._secure(tls.context, direct=True)
            return
        asked: set[Encryption] = set()
        while True:
            head = await self._exactly(HEAD_BYTES)
            wanted = encryption(head)
            if wanted is None or wanted in asked:
                await self._plain(head)
                return
            asked.add(wanted)
            if self._pending():
                raise ProtocolError(f"bytes in the clear behind the request for {wanted.value}")
            if wanted is Encryption.TLS and tls is not None:
                await self._send(b"S")
                await self._secure(tls.context, direct=False)
                return
            await self._send(b"N")

    async def _heed_balancer(self) -> None:
        """The client's address from the header of a listed balancer. Raises ProtocolError: none, or a wrong one."""
        if not self._gateway.balancers.lists(self._peer):
            return
        header = await self._exactly(HEADER_BYTES)
        rest = await self._exactly(rest_length(header))
        client = source(header, rest)
        if client is not None:
            self._client = _shown(*client)

    async def _plain(self, head: bytes) -> None:
        if head == SIGNATURE[:HEAD_BYTES]:
            raise ProtocolError("a PROXY header from an address that is no listed balancer")
        tls = self._gateway.tls
        arrival = self._arrival(head, must_encrypt=tls is not None and tls.required)
        self._handed = True
        await asyncio.get_running_loop().connect_accepted_socket(lambda: arrival, self._socket)

    async def _secure(self, context: ssl.SSLContext, *, direct: bool) -> None:
        arrival = self._arrival(b"", direct=direct)
        self._handed = True
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: arrival,
            self._socket,
            ssl=context,
            ssl_handshake_timeout=ENTRY_SECONDS,
            ssl_shutdown_timeout=GOODBYE_SECONDS,
        )

    def _arrival(self, head: bytes, *, must_encrypt: bool = False, direct: bool = False) -> Arrival:
        return Arrival(self._gateway, self._client, head=head, must_encrypt=must_encrypt, direct=direct)

    # The bare socket

    async def _exactly(self, count: int) -> bytes:
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < count:
            more = await loop.sock_recv(self._socket, count - len(data))
            if not more:
                raise EOFError
            self.silent = False
            data += more
        return data

    async def _peek(self) -> int:
        """The first byte, left where it is."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._socket, _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(self._socket)
        data = self._socket.recv(1, socket.MSG_PEEK)
        if not data:
            raise EOFError
        self.silent = False
        return data[0]

    def _pending(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:  # nothing there, or nobody any more
            return False

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def _say(self, data: bytes) -> None:
        """A last word, where the socket takes it at once. What is unread would make closing a reset, and lose it."""
        try:
            self._socket.send(data)
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.recv(_LEFT_BYTES)
        except OSError:
            return


def _shown(host: str, port: int) -> str:
    return str(Address(host, port)) if port else host


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
