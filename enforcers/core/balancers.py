"""PROXY protocol v2: the client's address as a listed load balancer says it.

Source: "The PROXY protocol", version 2, section 2.2. A header is believed only from an address that the configuration
lists; there it is required, because a connection without one has a sender nobody knows. Sans-IO.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from enforcers.core.errors import ProtocolError, SettingsError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HEADER_BYTES = 16
MAX_REST_BYTES = 4096  # addresses and what may follow them (TLVs)
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNSPECIFIED = 0x11, 0x21, 0x00

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Balancers:
    """The addresses whose header is believed and required."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Raises SettingsError for what is no network (10.0.0.0/24, 10.0.0.7, fd00::/8)."""
        try:
            self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(item) for item in networks)
        except ValueError:
            raise SettingsError("balancers: not a network like 10.0.0.0/24") from None

    def __bool__(self) -> bool:
        return bool(self._networks)

    def lists(self, host: str) -> bool:
        """Is this peer's address (as getpeername() has it) one of them?"""
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(host.split("%", 1)[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return any(address in network for network in self._networks if network.version == address.version)


def rest_length(header: bytes) -> int:
    """How many bytes follow the first 16. Raises ProtocolError: not this protocol, or too long."""
    if len(header) != HEADER_BYTES or not header.startswith(SIGNATURE):
        raise ProtocolError("a PROXY protocol v2 header is required from this balancer")
    if header[12] not in {_LOCAL, _PROXY}:
        raise ProtocolError("unknown version or command in the PROXY header")
    length = int.from_bytes(header[14:16], "big")
    if length > MAX_REST_BYTES:
        raise ProtocolError("the PROXY header is too long")
    return length


def source(header: bytes, rest: bytes) -> tuple[str, int] | None:
    """The client's (address, port); None where the balancer speaks for itself (LOCAL, as health checks do) or names
    nobody: then its own address is the client's.

    Raises ProtocolError: another transport than TCP, or fewer bytes than its addresses need.
    """
    if header[12] == _LOCAL:
        return None
    family = header[13]
    if family == _TCP4 and len(rest) >= 12:
        return str(ipaddress.IPv4Address(rest[:4])), int.from_bytes(rest[8:10], "big")
    if family == _TCP6 and len(rest) >= 36:
        return str(ipaddress.IPv6Address(rest[:16])), int.from_bytes(rest[32:34], "big")
    if family == _UNSPECIFIED:
        return None
    raise ProtocolError("the PROXY header is of no TCP connection, or cut short")
