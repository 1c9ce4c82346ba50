"""Background work whose failure is always seen, for objects that outlive the call that made them."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine

import structlog

_log = structlog.get_logger("decision.tasks")


class Tasks:
    """A set of running tasks. A task that fails is logged and reported to its `failed` callback."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None], *, name: str, failed: Callable[[], None]) -> None:
        """Run `work`; `failed` is called when it ends with an exception."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                # Not exc_info: renderers that show the locals of a frame would show tokens.
                trace = "".join(traceback.format_exception(error))
                _log.error("task-failed", task=name, error=type(error).__name__, trace=trace)
                failed()

        task.add_done_callback(ended)

    async def join(self) -> None:
        """Wait for the end of what runs now, without cancelling it: the work must be bounded by itself."""
        if self._running:
            await asyncio.wait(set(self._running))

    async def close(self) -> None:
        """Cancel what runs and wait for its end."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=10)
