"""Who must hear at once that sessions ended or the policy changed: every enforcer with a watching stream.

Bounded: a watcher that doesn't keep up is ended and comes back; what it missed lately is told again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from decision.columns import ColumnName
from decision.errors import StateError

HEARTBEAT_S: Final = 1.0
QUEUE: Final = 256
RECENT: Final = 1024
RECALLED: Final = 1024  # endings told again after a restart, in one message
MAX_WATCHERS: Final = 256


@dataclass(frozen=True, slots=True)
class Classified:
    """The columns that one connection's classification names, under the live revision."""

    connection: str
    columns: tuple[ColumnName, ...]


@dataclass(frozen=True, slots=True)
class Revocation:
    """One message. `sessions` empty is a heartbeat or a new revision."""

    sequence: int
    revision: str
    sessions: tuple[str, ...] = ()
    reason: str = ""
    classified: Classified | None = None


class Revocations:
    """The hub. One event loop."""

    def __init__(self, revision: str, classified: Mapping[str, tuple[ColumnName, ...]] | None = None) -> None:
        self._revision = revision
        self._classified = classified or {}
        self._sequence = 0
        self._watchers: set[asyncio.Queue[Revocation | None]] = set()
        self._recent: deque[Revocation] = deque(maxlen=RECENT)
        self._closed = False

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def revised(self, revision: str, classified: Mapping[str, tuple[ColumnName, ...]] | None = None) -> None:
        self._revision = revision
        self._classified = classified or {}
        for message in self._classifications():
            self._send(message)
        self._send(self._next())

    def revoked(self, sessions: Sequence[str], reason: str) -> None:
        if sessions:
            message = self._next(tuple(sessions), reason)
            self._recent.append(message)
            self._send(message)

    def recall(self, sessions: Sequence[str]) -> None:
        """What ended before this process began: told to whoever watches from now on, who may not have heard of it."""
        if sessions:
            self._recent.append(self._next(tuple(sessions), "the session has ended"))

    def close(self) -> None:
        """End every watcher."""
        self._closed = True
        for queue in tuple(self._watchers):
            self._end(queue)

    async def watch(self) -> AsyncGenerator[Revocation, None]:
        """At once what is classified, the live revision and what was revoked lately, then each change; a heartbeat a
        second. Who has heard a message without `classified` knows every classification."""
        with self._watching() as queue:
            recent = tuple(self._recent)  # what comes after this is in the queue
            for message in (*self._classifications(), self._next()):
                yield message
            for message in recent:
                yield message
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        message_or_end = await queue.get()
                except TimeoutError:
                    yield self._next()
                    continue
                if message_or_end is None:
                    return
                yield message_or_end

    @contextmanager
    def _watching(self) -> Iterator[asyncio.Queue[Revocation | None]]:
        if self._closed or len(self._watchers) >= MAX_WATCHERS:
            raise StateError("no further watcher is taken", code="DECISION_UNAVAILABLE")
        queue: asyncio.Queue[Revocation | None] = asyncio.Queue(QUEUE)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    def _classifications(self) -> tuple[Revocation, ...]:
        return tuple(
            replace(self._next(), classified=Classified(connection, columns))
            for connection, columns in sorted(self._classified.items())
        )

    def _next(self, sessions: tuple[str, ...] = (), reason: str = "") -> Revocation:
        self._sequence += 1
        return Revocation(self._sequence, self._revision, sessions, reason)

    def _send(self, message: Revocation) -> None:
        for queue in tuple(self._watchers):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._end(queue)

    def _end(self, queue: asyncio.Queue[Revocation | None]) -> None:
        self._watchers.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)
