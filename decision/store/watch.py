"""Who waits for a change of which approval. Carries ids only: a watcher reads the state anew from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from decision.errors import StateError

QUEUE = 256  # different approvals changed and not yet read, per watcher
MAX_WATCHERS = 4096


class Watcher:
    """One waiting reader. A second change of an approval it has not read yet takes no further place."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._only = frozenset(ids)
        self._queue: asyncio.Queue[str] = asyncio.Queue(QUEUE)
        self._queued: set[str] = set()
        self._slow = False

    def offer(self, approval: str) -> None:
        if approval in self._queued or (self._only and approval not in self._only):
            return
        try:
            self._queue.put_nowait(approval)
        except asyncio.QueueFull:
            self._slow = True
        else:
            self._queued.add(approval)

    def missed(self) -> None:
        """Something may have changed unheard: what it names is read again, and who watches all begins anew."""
        for approval in self._only:
            self.offer(approval)
        if not self._only:
            self._slow = True
            if self._queue.empty():
                self._queue.put_nowait("")

    async def next(self) -> str:
        """The next changed approval. Raises StateError SLOW_WATCHER once changes were lost."""
        if self._slow:
            raise StateError("Too many changes were not read in time; watch again", code="SLOW_WATCHER")
        approval = await self._queue.get()
        if self._slow:
            raise StateError("Some changes may have been missed; watch again", code="SLOW_WATCHER")
        self._queued.discard(approval)
        return approval


class Watchers:
    """All watchers of one store object."""

    def __init__(self) -> None:
        self._all: set[Watcher] = set()

    @contextmanager
    def watching(self, ids: Sequence[str]) -> Iterator[Watcher]:
        if len(self._all) >= MAX_WATCHERS:
            raise StateError("Too many watchers", code="SLOW_WATCHER")
        watcher = Watcher(ids)
        self._all.add(watcher)
        try:
            yield watcher
        finally:
            self._all.discard(watcher)

    def changed(self, approvals: Iterable[str]) -> None:
        for approval in approvals:
            for watcher in self._all:
                watcher.offer(approval)

    def missed(self) -> None:
        for watcher in self._all:
            watcher.missed()
