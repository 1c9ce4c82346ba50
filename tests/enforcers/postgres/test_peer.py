"""A peer's socket is watched: what the kernel was told is read back from it. (Who vanishes: tests/faults.)"""

from __future__ import annotations

import asyncio
import socket

from enforcers.postgres.peer import watch_peer


async def test_the_kernel_looks_for_silent_clients() -> None:
    seen: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            watch_peer(transport)
            found = transport.get_extra_info("socket")
            asked = [
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            ]
            seen.set_result([found.getsockopt(*option) for option in asked])
            transport.close()

    server = await asyncio.get_running_loop().create_server(Accepted, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await seen == [1, 10, 0]
        writer.close()
