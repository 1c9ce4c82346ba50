"""The ladder's rung "transparent": our own I/O (uvloop, one callback a read), messages split, no policy at all.

A bench's tool and nothing else: it is no part of any package, believes everybody, and lets log-ins pass as they come.
What the gateway costs above this is what describing, deciding, recording and accounting cost.

    python -m tests.bench.relay HOST:PORT      prints the loopback port it listens on
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from enforcers.postgres import wire
from enforcers.postgres.rows import run


class Pipe(asyncio.Protocol):
    """One direction: what is read is split, and written to the other side in one piece."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Pipe | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.pass_on(self.split(data))

    def pass_on(self, passed: bytes) -> None:
        other = self.other
        if other is None or other.transport is None:
            self.early.append(passed)
        elif passed:
            other.transport.write(passed)

    def split(self, data: bytes) -> bytes:
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class FromTarget(Pipe):
    """Headers are read; what they head passes as it comes. Only a header that is cut in two waits."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""
        self._passing = 0  # bytes of a message whose header was read

    def split(self, data: bytes) -> bytes:
        if self._rest:
            data, self._rest = self._rest + data, b""
        size, position = len(data), self._passing
        while position + 5 <= size:
            end, count = run(data, position, data[position], 1 << 40, 1 << 40)
            position = end if count else position + 1 + int.from_bytes(data[position + 1 : position + 5], "big")
        self._passing = max(0, position - size)
        if position < size:
            self._rest = data[position:]
            return data[:position]
        return data


class FromClient(Pipe):
    """A start-up packet, then frames."""

    def __init__(self, connect: Callable[[FromClient], None]) -> None:
        super().__init__()
        self._connect = connect
        self._framer = wire.ClientFramer()
        self._begin = b""
        self._started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connect(self)

    def split(self, data: bytes) -> bytes:
        if not self._started:
            self._begin += data
            if len(self._begin) < 4 or len(self._begin) < int.from_bytes(self._begin[:4], "big"):
                return b""
            self._started = True
            return self._begin
        frames = self._framer.feed(data)
        return frames[0].raw if len(frames) == 1 else b"".join(frame.raw for frame in frames)


async def serve(host: str, port: int, *, make: Callable[[Callable[[FromClient], None]], FromClient]) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def join(client: FromClient) -> None:
        _, target = await loop.create_connection(FromTarget, host, port)
        target.other, client.other = client, target
        if target.transport is not None:
            target.transport.write(b"".join(client.early))

    def connect(client: FromClient) -> None:
        task = loop.create_task(join(client))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await loop.create_server(lambda: make(connect), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - whoever started it reads this
    await server.serve_forever()


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    uvloop.run(serve(host, int(port), make=FromClient))


if __name__ == "__main__":
    main()
