"""The ladder's rung "durable relay": the least that a durable intent before each write can cost with gRPC and Python.

The transparent relay (relay.py) with one thing more: an UPDATE, INSERT, DELETE or MERGE is passed on once its bytes
were written and synced by another process, asked over one open gRPC stream under TLS; those of all sessions that wait
share a message and a sync, as the gateway's do. Nothing is described, decided, leased or accounted for.

    python -m tests.bench.durable HOST:PORT FILE     prints the loopback port it listens on, and the other process's id
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import grpc
import grpc.aio
import uvloop

from decision.cli import certificates
from tests.bench import relay

METHOD = "/bench.Log/Write"
WRITES = (b"UPDATE", b"INSERT", b"DELETE", b"MERGE ")


class Log(grpc.GenericRpcHandler):
    """Answers a message once it is synced."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._writer = ThreadPoolExecutor(1)

    def service(self, handler_call_details: object) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._serve)

    async def _serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, request)
            await context.write(b"taken")

    def _write(self, data: bytes) -> None:
        os.write(self._file, data)
        os.fdatasync(self._file)


class Waiting(relay.FromClient):
    """A write waits; everything else passes. One client has one message under way, as pgbench does."""

    queue: ClassVar[deque[tuple[Waiting, bytes]]] = deque()
    wake: ClassVar[asyncio.Event] = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        passed = self.split(data)
        if passed[:1] == b"Q" and passed[5:11].upper() in WRITES:
            self.queue.append((self, passed))
            self.wake.set()
        else:
            self.pass_on(passed)


async def record(channel: grpc.aio.Channel) -> None:
    """One message under way at a time: what comes meanwhile is the next."""
    call = channel.stream_stream(METHOD)()
    while True:
        await Waiting.wake.wait()
        Waiting.wake.clear()
        batch = list(Waiting.queue)
        Waiting.queue.clear()
        await call.write(b"".join(passed for _, passed in batch))
        if await call.read() != b"taken":
            raise RuntimeError("the log went away")
        for client, passed in batch:
            client.pass_on(passed)


async def serve_log(path: str, certificate: bytes, key: bytes, ready: int) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Log(path),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    await server.start()
    os.write(ready, b"%d\n" % port)
    os.close(ready)
    await server.wait_for_termination()


async def serve_relay(host: str, port: int, log: int, ca: bytes) -> None:
    channel = grpc.aio.secure_channel(f"127.0.0.1:{log}", grpc.ssl_channel_credentials(ca))
    async with channel, asyncio.TaskGroup() as group:
        group.create_task(record(channel))
        await relay.serve(host, port, make=Waiting)


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    tls = certificates.make("bench")
    reading, writing = os.pipe()
    child = os.fork()  # before any thread or channel is made
    if child == 0:
        os.close(reading)
        uvloop.run(serve_log(sys.argv[2], tls.cert.encode(), tls.key.encode(), writing))
        return
    os.close(writing)
    with os.fdopen(reading) as ready:
        log = int(ready.readline())
    print(child, flush=True)  # noqa: T201 - whoever started it reads this
    uvloop.run(serve_relay(host, int(port), log, tls.ca.encode()))


if __name__ == "__main__":
    main()
