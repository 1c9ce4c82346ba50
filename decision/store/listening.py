"""LISTEN and NOTIFY between replicas on one PostgreSQL (PostgreSQL, NOTIFY: delivered when the transaction commits).

The listening connection is one of its own, asked every second whether it still lives; while it does not, what others
tell is lost, so when it is back everybody who waits is told that something may have been missed.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StoreError
from decision.identity.tasks import Tasks
from decision.store.bus import Heard

CHANNEL: Final = "twokey"
ASK_S: Final = 1.0
RETRY_S: Final = 0.25
_MAX_BYTES: Final = 7000  # of one message; PostgreSQL takes 7999
_TELL: Final = text("SELECT pg_notify(:channel, told) FROM unnest(CAST(:told AS text[])) AS told")
_FAULTS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_log = structlog.get_logger(__name__)

Listener: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class PostgresBus:
    """A Bus over one channel of one database. `listen` before the first `hear` counts."""

    shared = True

    def __init__(self, connect: Callable[[], Awaitable[Listener]]) -> None:
        self._connect = connect
        self._id = secrets.token_hex(8)
        self._hearers: dict[str, list[tuple[Heard, Callable[[], None]]]] = {}
        self._tasks = Tasks()
        self._lost = asyncio.Event()

    async def listen(self) -> None:
        """Begin. Raises StoreError."""
        connection = await self._open()
        self._tasks.spawn(self._keep(connection), name="store-listen", failed=self._failed)

    def hear(self, topic: str, heard: Heard, missed: Callable[[], None]) -> None:
        self._hearers.setdefault(topic, []).append((heard, missed))

    async def tell(self, connection: AsyncConnection, topic: str, items: Sequence[str]) -> None:
        told = list(_messages(self._id, topic, items))
        if told:
            await connection.execute(_TELL, {"channel": CHANNEL, "told": told})

    async def close(self) -> None:
        await self._tasks.close()

    async def _open(self) -> Listener:
        connection = await self._connect()
        self._lost = lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            async with asyncio.timeout(ASK_S * 5):
                await connection.add_listener(CHANNEL, self._heard)
        except _FAULTS as error:
            connection.terminate()
            raise StoreError("The store's changes can't be listened to") from error
        return connection

    async def _keep(self, connection: Listener) -> None:
        while True:
            try:
                await self._while_alive(connection)
            finally:
                connection.terminate()
            _log.warning("store.listening-lost")
            connection = await self._again()
            for hearers in self._hearers.values():
                for _, missed in hearers:
                    missed()

    async def _while_alive(self, connection: Listener) -> None:
        """Until it is found dead."""
        while True:
            try:
                async with asyncio.timeout(ASK_S):
                    await self._lost.wait()
                return
            except TimeoutError:
                pass
            try:
                async with asyncio.timeout(ASK_S * 5):
                    await connection.execute("SELECT 1")
            except _FAULTS:
                return

    async def _again(self) -> Listener:
        while True:
            try:
                return await self._open()
            except StoreError:
                await asyncio.sleep(RETRY_S)

    def _failed(self) -> None:
        _log.error("store.listening-ended")

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        """Called by the driver. What can't be read is from a stranger on the channel, and nothing to act on."""
        try:
            sender, topic, items = json.loads(str(payload))
            known = self._hearers.get(topic, ())
            told = [str(item) for item in items]
        except (ValueError, TypeError):
            _log.warning("store.unreadable-message")
            return
        if sender == self._id:
            return
        for heard, _ in known:
            heard(told)


def _messages(sender: str, topic: str, items: Sequence[str]) -> Iterator[str]:
    """As few as hold all items, each within the limit."""
    batch: list[str] = []
    size = 0
    for item in items:
        length = len(json.dumps(item)) + 2
        if batch and size + length > _MAX_BYTES:
            yield json.dumps([sender, topic, batch])
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield json.dumps([sender, topic, batch])
