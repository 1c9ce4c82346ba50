"""The gateway's own connections (asyncpg's) and the passwords they would give for the asking.

asyncpg answers whichever password method a target asks for. Over an unencrypted link that somebody may sit on, that
would hand a password over in the clear, which a session's own log-in never does (scram.py). So there asyncpg gets a
loop whose connections are watched until the log-in is over: a method that the configuration doesn't accept ends them
before asyncpg sees the question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from enforcers.postgres.scram import CLEARTEXT, MD5, OK

_METHODS = {CLEARTEXT: "password", MD5: "md5"}
_MAX_BYTES = 64 << 10


class WatchedLogin(asyncio.Protocol):
    """In front of another protocol until the target accepted; then the transport is that one's alone."""

    def __init__(self, inner: asyncio.Protocol, accepts: Callable[[str], bool]) -> None:
        self._inner = inner
        self._accepts = accepts
        self._transport: asyncio.Transport | None = None
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        data = self._held + data
        position = 0
        while len(data) - position >= 9:
            end = position + 1 + int.from_bytes(data[position + 1 : position + 5], "big")
            if data[position : position + 1] == b"R":
                method = int.from_bytes(data[position + 5 : position + 9], "big")
                if method == OK:
                    transport.set_protocol(self._inner)
                    self._inner.data_received(data)
                    return
                if method in _METHODS and not self._accepts(_METHODS[method]):
                    transport.abort()
                    return
            if end <= position + 4 or end > len(data):
                break
            position = end
        if len(data) - position > _MAX_BYTES:
            transport.abort()
            return
        # What was judged goes on; a message that isn't whole waits for its rest.
        self._held = data[position:]
        if position:
            self._inner.data_received(data[:position])

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class WatchedLoop:
    """The running loop, except that its connections are watched. Given to asyncpg, which knows no other way."""

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._accepts = accepts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], *address: Any, **options: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        inner = factory()
        transport, _ = await self._loop.create_connection(
            lambda: WatchedLogin(inner, self._accepts), *address, **options
        )
        return transport, inner
