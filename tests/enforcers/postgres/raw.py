"""A client that speaks the bare protocol, and a proxy that cuts the line: what ordinary drivers can't do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from enforcers.postgres import wire
from tests.enforcers.postgres.conftest import Gatewayed


async def eventually(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to offer
            await asyncio.sleep(0.01)


class Raw:
    """Messages out, (type, frame) pairs in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.process = 0
        self.secret = b""

    @classmethod
    async def connect(cls, one: Gatewayed) -> Raw:
        return await cls.connect_to(one.port, user="executor", database="crm")

    @classmethod
    async def connect_to(cls, port: int, *, user: str, database: str, password: str = "good") -> Raw:
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        raw.writer.write(wire.startup_packet([(b"user", user.encode()), (b"database", database.encode())]))
        while True:
            kind, frame = await raw.message()
            if kind == "R" and frame[5:9] == b"\0\0\0\x03":
                raw.writer.write(wire.password(password.encode()))
            elif kind == "K":
                raw.process, raw.secret = wire.parse_key_data(frame)
            elif kind == "Z":
                return raw
            elif kind == "E":
                raw.close()
                raise ConnectionError(repr(wire.parse_fields(frame)))

    async def send(self, *messages: bytes) -> None:
        self.writer.write(b"".join(messages))
        await self.writer.drain()

    async def message(self) -> tuple[str, bytes]:
        async with asyncio.timeout(20):
            header = await self.reader.readexactly(5)
            body = await self.reader.readexactly(int.from_bytes(header[1:], "big") - 4)
        return chr(header[0]), header + body

    async def until_ready(self) -> list[tuple[str, bytes]]:
        """Everything up to ReadyForQuery; raises EOFError (IncompleteReadError) when the connection ends before."""
        found = []
        while True:
            kind, frame = await self.message()
            if kind not in "S":
                found.append((kind, frame))
            if kind == "Z":
                return found

    def close(self) -> None:
        self.writer.close()


class CuttingProxy:
    """Passes bytes on, and cuts both sides after so many bytes of answers."""

    def __init__(self, target: int, after: int) -> None:
        self._target = target
        self._after = after
        self.port = 0
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, target: int, *, after: int) -> CuttingProxy:
        proxy = cls(target, after)
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = proxy._server.sockets[0].getsockname()[1]
        return proxy

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)

        async def upwards() -> None:
            while data := await reader.read(65536):
                up_writer.write(data)

        async def downwards() -> None:
            passed = 0
            while (data := await up_reader.read(65536)) and passed < self._after:
                passed += len(data)
                writer.write(data)
                await writer.drain()
            writer.transport.abort()
            up_writer.transport.abort()

        await asyncio.gather(upwards(), downwards(), return_exceptions=True)
        writer.close()
        up_writer.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
