"""A client that speaks the protocol in plain sight and keeps every byte that it was sent."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from types import TracebackType

from decision.cli.demo.stack import Stack
from enforcers.postgres import wire
from enforcers.postgres.scram import Login

_TIMEOUT_S = 40.0
_COPY_IN = {"G", "W"}
Frames = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect, and as whom."""

    port: int
    user: str
    password: str
    database: str

    def environment(self) -> dict[str, str]:
        """libpq's, of a process that connects here."""
        return {
            **Stack.base_environment(),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable",
        }


class Link:
    """One session. A context manager.

    `frames` are whole messages as (type, bytes); a session that the other side ended gives ("closed", b"").
    """

    def __init__(self, place: Place, *, parameters: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._socket = socket.create_connection(("127.0.0.1", place.port), timeout=_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.closed = False
        self.status = "I"
        self.opening = self._log_in(place, parameters)

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if not self.closed:
            try:
                self._socket.sendall(wire.TERMINATE)
            except OSError:
                self.closed = True  # the other side was first
        self._socket.close()

    def ask(self, data: bytes, readies: int = 1, *, copy: bytes | None = None) -> Frames:
        """Send, and read until so many ReadyForQuery came. A COPY FROM gets `copy`, or is called off."""
        if self.closed:
            return [("closed", b"")]
        try:
            self._socket.sendall(data)
        except OSError:
            self.closed = True
            return [("closed", b"")]
        return self._read(readies, copy)

    def _read(self, readies: int, copy: bytes | None) -> Frames:
        frames: Frames = []
        while readies:
            frame = self._frame()
            frames.append(frame)
            kind, raw = frame
            if kind == "closed":
                break
            if kind in _COPY_IN:
                given = (
                    wire.message(b"d", copy) + wire.message(b"c") if copy is not None else wire.message(b"f", b"no\0")
                )
                self._socket.sendall(given)
            elif kind == "Z":
                readies -= 1
                self.status = chr(raw[5])
        return frames

    def _frame(self) -> tuple[str, bytes]:
        while len(self._buffer) < 5 or len(self._buffer) <= struct.unpack_from("!I", self._buffer, 1)[0]:
            try:
                more = self._socket.recv(1 << 16)
            except ConnectionError:
                more = b""
            if not more:
                self.closed = True
                return "closed", b""
            self._buffer += more
        end = struct.unpack_from("!I", self._buffer, 1)[0] + 1
        raw = bytes(self._buffer[:end])
        del self._buffer[:end]
        return chr(raw[0]), raw

    def _log_in(self, place: Place, parameters: tuple[tuple[bytes, bytes], ...]) -> Frames:
        names = ((b"user", place.user.encode()), (b"database", place.database.encode()), *parameters)
        self._socket.sendall(wire.startup_packet(names))
        login = Login(user=place.user, password=place.password, accepts=lambda _method: True)
        while True:
            kind, raw = self._frame()
            if kind != "R":
                raise AssertionError(f"log-in answered by {kind}: {raw!r}")
            answer = login.respond(raw)
            if answer:
                self._socket.sendall(answer)
            if login.done:
                return self._read(1, None)
