"""Work that must come to its end although its caller has gone: between a compare-and-set and its record.

Bounded, and no failure goes unseen: what nobody waits for any more is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

from decision.errors import PolicyUnavailableError

LIMIT: Final = 2048
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Supervisor:
    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result. Cancelling the caller leaves the work running. Raises PolicyUnavailableError when full."""
        return await asyncio.shield(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that nobody may cancel but `drain`. Raises PolicyUnavailableError when full."""
        if len(self._running) >= self._limit:
            work.close()
            raise PolicyUnavailableError("too much is being decided; try again")
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("supervised work failed", error=type(error).__name__)

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, then cancel what still does."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=seconds)
        for task in tuple(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=1.0)
