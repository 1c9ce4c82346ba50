"""A client that keeps every byte it gets from a gateway (PostgreSQL's protocol 3.0, by hand)."""

from __future__ import annotations

import socket
import struct

PATIENCE_S = 30.0


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


class RawClient:
    """`received` holds everything, in order; also what came before the other side hung up."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.received = b""
        self._read = 0
        self._socket = socket.create_connection(address, timeout=PATIENCE_S)

    def close(self) -> None:
        self._socket.close()

    def log_in(self, role: str, connection: str, token: str) -> bool:
        """True when the session is open."""
        parameters = b"".join(
            part.encode() + b"\0" for part in ("user", role, "database", connection, "application_name", "raw")
        )
        body = struct.pack("!I", 196608) + parameters + b"\0"
        self._send(struct.pack("!I", len(body) + 4) + body)
        if self._next() != b"R":
            return False
        self._send(_message(b"p", token.encode() + b"\0"))
        return self.until_ready()

    def query(self, statement: str) -> bool:
        self._send(_message(b"Q", statement.encode() + b"\0"))
        return self.until_ready()

    def until_ready(self) -> bool:
        """False when it hung up first."""
        while True:
            kind = self._next()
            if kind in {b"Z", b""}:
                return kind == b"Z"

    def until_closed(self) -> None:
        while self._next():
            pass

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:  # it hung up: reading says so, too
            return

    def _next(self) -> bytes:
        """The next message's kind; b"" at the end."""
        while True:
            there = len(self.received) - self._read
            if there >= 5:
                length = struct.unpack("!I", self.received[self._read + 1 : self._read + 5])[0]
                if there > length:
                    kind = self.received[self._read : self._read + 1]
                    self._read += length + 1
                    return kind
            try:
                more = self._socket.recv(65536)
            except (ConnectionError, TimeoutError):
                more = b""
            if not more:
                return b""
            self.received += more
