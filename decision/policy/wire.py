"""HTTP/1.1 as the local OPA speaks it, and nothing more: what a session of opa-python-client asks through.

aiohttp serves all that HTTP may be, which costs a tenth of a question. Here one known server answers on a Unix socket
in a folder of ours, over kept connections, one question at a time on each. Whatever is not plainly such an answer
(RFC 9112) is an error, and its connection is never used again. A remote OPA, behind who knows what, is still asked
through aiohttp.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp

from decision.errors import PolicyError

BASE: Final = "http://localhost"  # of the URLs asked: the socket's name has no place in one
MAX_ANSWER: Final = 4 << 20  # bytes
MAX_CONNECTIONS: Final = 64
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_MAX_HEAD: Final = 16 << 10
_PIECE: Final = 256 << 10  # bytes written at a time, so that a large question doesn't keep others waiting
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e]*)?\Z")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e]*?)[ \t]*\Z")
_LENGTH: Final = re.compile(rb"[0-9]{1,9}\Z")
_CHUNK: Final = re.compile(rb"[0-9A-Fa-f]{1,7}\Z")


class BadAnswerError(aiohttp.ClientPayloadError):
    """Not an answer of OPA's, or not a whole one."""


class Response:
    """Whole: nothing of it is still on its way. As much of aiohttp's interface as the library's loop uses."""

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    async def release(self) -> None:
        """Nothing is held."""


class ResponseReader:
    """Bytes in, at most one answer out. Sans-IO."""

    __slots__ = ("_at", "_body", "_buffer", "_left", "_status", "closing", "response")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # read so far, of a chunked body's buffer
        self._status = 0
        self._left = -1  # bytes of body to come; -1: the head isn't read, -2: chunks
        self._body: list[bytes] = []
        self.closing = False  # the server said that it closes
        self.response: Response | None = None

    @property
    def begun(self) -> bool:
        return bool(self._status or self._buffer)

    def feed(self, data: bytes) -> Response | None:
        """The answer, once it is whole. Raises BadAnswerError, PolicyError when it is longer than MAX_ANSWER."""
        if self.response is not None:
            raise BadAnswerError("bytes behind the answer")
        buffer = self._buffer
        buffer += data
        if self._left == -1 and not self._head():
            return None
        if self._left >= 0:
            if len(buffer) > self._left:
                raise BadAnswerError("bytes behind the answer")
            if len(buffer) == self._left:
                self.response = Response(self._status, bytes(buffer))
        elif self._chunks():
            self.response = Response(self._status, b"".join(self._body))
        return self.response

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > _MAX_HEAD:
            if len(self._buffer) > _MAX_HEAD:
                raise BadAnswerError("the head of the answer is too long")
            return False
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        status = _STATUS.match(first)
        if status is None:
            raise BadAnswerError("not a status line")
        self._status = int(status[1])
        self._left = self._length(lines)
        if self._left > MAX_ANSWER:
            raise PolicyError("OPA answered more than 4 MiB")
        return True

    def _length(self, lines: list[bytes]) -> int:
        """The body's length by the fields, -2 where it comes in chunks."""
        found: list[int] = []
        for line in lines:
            field = _FIELD.match(line)
            if field is None:
                raise BadAnswerError("not a header field")
            name, value = field[1].lower(), field[2]
            if name == b"content-length":
                if not _LENGTH.match(value):
                    raise BadAnswerError("not a length")
                found.append(int(value))
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise BadAnswerError("an encoding that nobody asked for")
                found.append(-2)
            elif name == b"content-encoding":
                raise BadAnswerError("an encoding that nobody asked for")
            elif name == b"connection" and value.lower() != b"keep-alive":
                self.closing = True
        if len(found) != 1:
            raise BadAnswerError("the answer's length is not given once")
        return found[0]

    def _chunks(self) -> bool:
        """Take what chunks are there; True behind the last one."""
        buffer = self._buffer
        while (end := buffer.find(b"\r\n", self._at, self._at + 16)) >= 0:
            size = bytes(buffer[self._at : end])
            if not _CHUNK.match(size):
                raise BadAnswerError("not a chunk")
            length, begin = int(size, 16), end + 2
            if begin + length > MAX_ANSWER:
                raise PolicyError("OPA answered more than 4 MiB")
            if len(buffer) < begin + length + 2:
                return False
            if buffer[begin + length : begin + length + 2] != b"\r\n":
                raise BadAnswerError("not the end of a chunk")
            self._at = begin + length + 2
            if length == 0:
                if len(buffer) > self._at:
                    raise BadAnswerError("bytes behind the answer")
                return True
            self._body.append(bytes(buffer[begin : begin + length]))
        if len(buffer) - self._at >= 16:
            raise BadAnswerError("not a chunk")
        return False


class _Connection(asyncio.Protocol):
    """One kept connection: asked, answered, asked again."""

    def __init__(self, idle: list[_Connection], connected: set[_Connection]) -> None:
        """`idle`: where it puts itself to be asked again; `connected`: where it is while its socket is."""
        self._idle = idle
        self._connected = connected
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()
        self._answer: asyncio.Future[Response] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # of a stream connection; uvloop's isn't an asyncio class
        self._connected.add(self)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.abort()  # unasked
            return
        try:
            response = self._reader.feed(data)
        except (BadAnswerError, PolicyError) as error:
            answer.set_exception(error)
            self.abort()
            return
        if response is not None:
            answer.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a reset and a close are the same to a question
        self._transport = None
        self._connected.discard(self)
        if self in self._idle:
            self._idle.remove(self)
        answer = self._answer
        if answer is not None and not answer.done():
            begun = self._reader.begun
            answer.set_exception(BadAnswerError("cut short") if begun else aiohttp.ServerDisconnectedError())

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def ask(self, head: bytes, body: bytes) -> Response:
        """One answer. Raises aiohttp.ClientError, PolicyError. Whatever goes wrong, the connection is over."""
        transport = self._transport
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        self._reader = reader = ResponseReader()
        self._answer = answer = self._loop.create_future()
        kept = False
        try:
            if len(body) <= _PIECE:
                transport.write(head + body)
            else:
                transport.write(head)
                for start in range(0, len(body), _PIECE):
                    transport.write(body[start : start + _PIECE])
                    await asyncio.sleep(0)
            response: Response = await answer
            kept = not reader.closing
        finally:
            self._answer = None
            if not kept:
                self.abort()
        if kept and self._transport is not None:
            self._idle.append(self)
        return response


class Session:
    """Stands where opa-python-client keeps its aiohttp session."""

    def __init__(self, path: Path, headers: Mapping[str, str], *, server: int | None) -> None:
        """`path`: the server's socket; `headers` go with every question; `server`: the process that must be listening
        there, where the system tells."""
        self._path = path
        self._server = server
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._fixed = f" HTTP/1.1\r\nHost: localhost\r\n{self._fixed}"
        self._heads: dict[tuple[str, str], bytes] = {}
        self._idle: list[_Connection] = []
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._connected: set[_Connection] = set()
        self.closed = False

    async def request(self, method: str, url: str, *, data: bytes = b"", allow_redirects: bool = False) -> Response:
        """One question to `url`, which begins with BASE. Raises OSError, aiohttp.ClientError, PolicyError.

        Redirects are never followed: they come back as they are.
        """
        if self.closed or allow_redirects or not url.startswith(f"{BASE}/"):
            raise aiohttp.ClientConnectionError("not a question for this session")
        head = self._heads.get((method, url))
        if head is None:
            target = url[len(BASE) :]
            head = self._heads[method, url] = f"{method} {target}{self._fixed}Content-Length: ".encode("ascii")
        async with self._room:
            connection = self._idle.pop() if self._idle else await self._connect()
            return await connection.ask(b"%b%d\r\n\r\n" % (head, len(data)), data)

    async def close(self) -> None:
        self.closed = True
        for connection in tuple(self._connected):
            connection.abort()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_unix_connection(
            lambda: _Connection(self._idle, self._connected), str(self._path)
        )
        if self._server is not None and _listener(transport) not in {None, self._server}:
            transport.abort()
            raise aiohttp.ClientConnectionError("somebody else listens there")
        return connection


def _listener(transport: asyncio.Transport) -> int | None:
    """Who called listen(2) on the socket that this connection goes to: unix(7), SO_PEERCRED. None where not told."""
    peer = transport.get_extra_info("socket")
    if peer is None or not hasattr(socket, "SO_PEERCRED"):
        return None
    pid: int = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
    return pid
