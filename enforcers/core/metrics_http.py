"""GET /metrics on loopback, for whoever gathers metrics on this machine. Just enough of HTTP (RFC 9112) for that.

One answer a connection, bounded in bytes, in time and in number; everything else is 400, 404 or 405. The numbers hold
no statement, no name and no secret: every label comes from a closed list (core/metrics.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry, generate_latest

HOST = "127.0.0.1"
MAX_HEAD = 8192
ANSWER_SECONDS = 5.0
AT_ONCE = 8

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry, *, port: int = 0) -> AsyncIterator[str]:
    """host:port that answers while the context lasts. A port that is taken is replaced by a free one."""
    connections: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        connections[task] = writer
        try:
            if len(connections) <= AT_ONCE:
                async with asyncio.timeout(ANSWER_SECONDS):
                    writer.write(_response(await _request_line(reader), registry))
                    await writer.drain()
        except (TimeoutError, OSError):
            pass  # whoever asked is gone, or too slow
        finally:
            del connections[task]
            writer.close()

    try:
        server = await asyncio.start_server(answer, HOST, port, limit=MAX_HEAD)
    except OSError:
        server = await asyncio.start_server(answer, HOST, 0, limit=MAX_HEAD)
    try:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in tuple(connections.values()):
            writer.close()  # which ends what it waits for
        if connections:
            await asyncio.wait([task for task in connections if task is not None], timeout=1.0)


async def _request_line(reader: asyncio.StreamReader) -> bytes:
    """The first line of a head that ended in time and within its bound; else b""."""
    with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0]
    return b""


def _response(line: bytes, registry: CollectorRegistry) -> bytes:
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
        return _message("400 Bad Request", b"bad request\n", _TEXT)
    method, target, _ = parts
    if target.partition(b"?")[0] != b"/metrics":
        return _message("404 Not Found", b"only /metrics is here\n", _TEXT)
    if method != b"GET":
        return _message("405 Method Not Allowed", b"only GET\n", _TEXT)
    return _message("200 OK", generate_latest(registry), _METRICS)


def _message(status: str, body: bytes, kind: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
