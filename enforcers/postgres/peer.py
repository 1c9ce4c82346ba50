"""Finding out that a peer vanished without a word: no close, no reset, only silence (tcp(7)).

Keepalives find it within 30 s where nothing is under way, a held statement or a long one included. Data that nobody
acknowledges is for the kernel to give up on (tcp_retries2, about 15 minutes). TCP_USER_TIMEOUT would be quicker, and is
left alone: Linux counts a peer that answers and has no room for more as silent too, so that a client which leaves a
result unread for that long, or a target which waits for a lock during a COPY, would lose its session.
"""

from __future__ import annotations

import asyncio
import socket

_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))


def watch_peer(transport: asyncio.Transport) -> None:
    """Keepalives; and small messages go out at once."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            found.setsockopt(socket.IPPROTO_TCP, option, value)
