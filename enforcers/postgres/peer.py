"""Finding out that a client vanished without a word: no close, no reset, only silence (tcp(7))."""

from __future__ import annotations

import asyncio
import socket

USER_TIMEOUT_MS = 30_000  # a peer silent that long, with data or keepalives unanswered, is gone
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))


def watch_peer(transport: asyncio.Transport) -> None:
    """Keepalives, and a bound on how long data may stay unanswered."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            found.setsockopt(socket.IPPROTO_TCP, option, value)
    timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
    if timeout is not None:
        found.setsockopt(socket.IPPROTO_TCP, timeout, USER_TIMEOUT_MS)
