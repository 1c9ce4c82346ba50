"""Bound sockets for the configured addresses, one for each distinct address."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from enforcers.core.errors import SettingsError
from enforcers.settings import Address


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
