"""The shell of a session at its end: what a client that does not read may keep."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
import uvloop

from enforcers.postgres import session, wire
from tests.enforcers.postgres.conftest import Postgres, start_gateway
from tests.enforcers.postgres.raw import eventually


def sockets() -> int:
    """Open in this process."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link).startswith("socket:") for link in links if os.path.lexists(link))


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_client_that_does_not_read_keeps_no_descriptor(
    postgres: Postgres, factory: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for much, reads nothing and says goodbye: the session ends, and a little later its socket too."""
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.3)

    async def main() -> None:
        one = await start_gateway(postgres.port)
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0)
            before = sockets()
            await loop.sock_connect(client, ("127.0.0.1", one.port))
            start = wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")])
            await loop.sock_sendall(client, start)
            await loop.sock_recv(client, 9)
            await loop.sock_sendall(client, wire.password(b"good"))
            received = b""
            while not received.endswith(wire.ready(b"I")):
                received += await loop.sock_recv(client, 4096)
            await loop.sock_sendall(client, wire.query(b"SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
            (running,) = one.gateway._sessions
            await eventually(lambda: running._transport.get_write_buffer_size() > 0)
            running.drain(now=True)
            assert one.gateway.sessions == 0
            await eventually(lambda: sockets() <= before)
        await one.gateway.stop()

    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]  # one of two callables
        runner.run(main())
