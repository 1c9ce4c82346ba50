"""Bound sockets for the configured addresses, one for each distinct address; and taking connections off them.

Connections are taken as bare sockets, not by asyncio's servers, because what stands before a protocol (a balancer's
header, a request for TLS) must be read byte for byte: what nobody read yet can't be mistaken for what came encrypted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from enforcers.core.errors import SettingsError
from enforcers.settings import Address

BACKLOG = 4096  # the kernel's own limit (somaxconn) is smaller or the same
_AT_ONCE = 64  # connections taken before others get the loop
_EXHAUSTED_SECONDS = 0.5

log = structlog.get_logger("twokey.enforcers.listeners")


@dataclass(frozen=True, slots=True)
class Listeners:
    sockets: tuple[socket.socket, ...]
    addresses: Mapping[str, Address]  # by connection, with the ports really bound

    def close(self) -> None:
        for item in self.sockets:
            item.close()


def bind(listen: Mapping[str, Address], *, shared: bool) -> Listeners:
    """Bound, not listening. shared: SO_REUSEPORT, so that several workers serve one port. Raises SettingsError."""
    bound: dict[Address, socket.socket] = {}
    try:
        for address in listen.values():
            if address not in bound:
                bound[address] = _bind(address, shared=shared)
    except OSError as error:
        for item in bound.values():
            item.close()
        raise SettingsError(f"listen: {address} can't be bound ({error.strerror or error})") from None
    addresses = {
        name: Address(address.host, bound[address].getsockname()[1]) for name, address in sorted(listen.items())
    }
    return Listeners(tuple(bound.values()), addresses)


def _bind(address: Address, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    item = socket.socket(family, kind, protocol)
    try:
        item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        item.settimeout(0)
        item.bind(place)
    except OSError:
        item.close()
        raise
    return item


class Acceptor:
    """Takes connections off listening sockets while it isn't paused; the rest wait in the kernel's queue."""

    def __init__(self, sockets: Sequence[socket.socket], take: Callable[[socket.socket, str, int], None]) -> None:
        """take(connection, host, port): a non-blocking socket and its peer's address; must not raise."""
        self._sockets = tuple(sockets)
        self._take = take
        self._paused = False
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False
        loop = asyncio.get_running_loop()
        for item in self._sockets:
            item.settimeout(0)
            item.listen(BACKLOG)
            loop.add_reader(item, self._accept, item)

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._stop_reading()

    def resume(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            if self._resting is None:
                self._start_reading()

    def close(self) -> None:
        """No more; what waits in the kernel's queue is refused by it."""
        if self._closed:
            return
        self._closed = True
        self._stop_reading()
        if self._resting is not None:
            self._resting.cancel()
        for item in self._sockets:
            item.close()

    def _accept(self, item: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if self._paused or self._closed:
                return
            try:
                connection, address = item.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # Out of descriptors or memory: trying again at once would only spin. Who waits, waits on.
                log.error("connections can't be taken", error=error.strerror)  # noqa: TRY400 - no traceback needed
                self._rest()
                return
            connection.settimeout(0)
            host, port = (address[0], address[1]) if isinstance(address, tuple) else ("unix", 0)
            self._take(connection, host, port)

    def _rest(self) -> None:
        self._stop_reading()
        if self._resting is None:
            self._resting = asyncio.get_running_loop().call_later(_EXHAUSTED_SECONDS, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if not self._paused and not self._closed:
            self._start_reading()

    def _stop_reading(self) -> None:
        loop = asyncio.get_running_loop()
        for item in self._sockets:
            loop.remove_reader(item)

    def _start_reading(self) -> None:
        loop = asyncio.get_running_loop()
        for item in self._sockets:
            loop.add_reader(item, self._accept, item)
