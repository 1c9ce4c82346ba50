"""A line that can be bad: it delays, cuts, truncates and fragments, down to single bytes, and never reorders.

One runs in front of the gateway and one in front of the target. What each connection gets is chosen by the
`application_name` of its start-up packet, which the gateway hands on: only the connection under test has faults, the
gateway's own (its catalog, a CancelRequest) pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_READ = 1 << 16
_START_UP = 1 << 14
_MAX_PIECES = 3_000  # then whatever comes passes whole: a test must end
_GAP_SECONDS = 0.0005  # between two pieces: long enough to be two segments and two reads


class Cut(enum.Enum):
    """How the line ends, on both sides of the proxy."""

    CLOSE = "close"  # FIN: what was passed may stop within a message
    RESET = "reset"  # RST
    SILENCE = "silence"  # nothing more, either way, and no end either


@dataclass(frozen=True)
class Way:
    """One direction. pieces: sizes of the pieces in turn, () as they come; after: bytes until the cut, None never."""

    pieces: tuple[int, ...] = ()
    gap: float = _GAP_SECONDS
    first: float = 0.0  # seconds before anything passes
    after: int | None = None
    cut: Cut = Cut.CLOSE


@dataclass(frozen=True)
class Line:
    up: Way = field(default_factory=Way)  # towards the target
    down: Way = field(default_factory=Way)


GOOD = Line()


class Proxy:
    """`lines` by application_name; any other connection is good."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self.lines: dict[str, Line] = {}
        self.accepted: dict[str, int] = {}  # by application_name: the descriptor of the latest connection's near side
        self.port = 0
        self.cuts = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(client_writer)
        target_writer: asyncio.StreamWriter | None = None
        try:
            start_up, name = await _start_up(client)
            line = self.lines.get(name, GOOD)
            self.accepted[name] = client_writer.get_extra_info("socket").fileno()
            target, target_writer = await asyncio.open_connection(*self._address)
            self._writers.add(target_writer)
            target_writer.write(start_up)
            end = _End(client_writer, target_writer, self._count)
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(client, target_writer, line.up, end))
                group.create_task(_carry(target, client_writer, line.down, end))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            for writer in (client_writer, target_writer):
                if writer is not None:
                    self._writers.discard(writer)
                    writer.close()

    def _count(self) -> None:
        self.cuts += 1


class _End:
    """Of both directions of one connection, by whichever is cut first."""

    def __init__(self, client: asyncio.StreamWriter, target: asyncio.StreamWriter, count: Callable[[], None]) -> None:
        self._writers = (client, target)
        self._count = count
        self.silent = asyncio.Event()

    async def __call__(self, cut: Cut) -> None:
        self._count()
        if cut is Cut.SILENCE:
            self.silent.set()
            await asyncio.Event().wait()
        for writer in self._writers:
            if cut is Cut.RESET:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(_SOL_SOCKET, _SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                writer.close()
        raise ConnectionError("cut")


_SOL_SOCKET, _SO_LINGER = 1, 13


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, end: Callable[[Cut], Awaitable[None]]
) -> None:
    passed = turn = 0
    if way.first:
        await asyncio.sleep(way.first)
    while data := await reader.read(_READ):
        if way.after is not None:
            data = data[: way.after - passed]
        while data and not (isinstance(end, _End) and end.silent.is_set()):
            size = way.pieces[turn % len(way.pieces)] if way.pieces and turn < _MAX_PIECES else len(data)
            turn += 1
            writer.write(data[:size])
            passed += len(data[:size])
            data = data[size:]
            if way.pieces and turn < _MAX_PIECES:
                await writer.drain()
                await asyncio.sleep(way.gap)
        if way.after is not None and passed >= way.after:
            await end(way.cut)
        await writer.drain()
    with contextlib.suppress(RuntimeError):  # uvloop's word for a transport that is closed already
        writer.write_eof()


async def _start_up(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """The start-up packet as it came, and its application_name."""
    head = await reader.readexactly(4)
    body = await reader.readexactly(min(int.from_bytes(head, "big"), _START_UP) - 4)
    fields = body[4:].split(b"\0")
    names = dict(zip(fields[::2], fields[1::2], strict=False))
    return head + body, names.get(b"application_name", b"").decode()
