"""Tasks whose failure is seen: kept alive until done, and reported when they end with an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class Supervisor:
    """Owns the tasks of one listener. `on_failure` gets every exception that a task did not handle."""

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_failure = on_failure

    def spawn(
        self, work: Coroutine[object, object, None], *, name: str, failed: Callable[[], None] | None = None
    ) -> asyncio.Task[None]:
        """Start it now. failed() is called when it ended by an exception of its own, after the report."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            exception = task.exception()
            if exception is not None:
                self._on_failure(name, exception)
                if failed is not None:
                    failed()

        task.add_done_callback(done)
        return task

    def call(self, work: Callable[[], None], *, name: str, failed: Callable[[], None]) -> None:
        """Do it now, for its owner: what it raises is reported as a task's would be, and never its caller's."""
        try:
            work()
        except Exception as exception:  # noqa: BLE001 - the outermost edge of one session, as the end of a task is
            self._on_failure(name, exception)
            failed()

    async def stop(self, *, grace: float) -> None:
        """Let what is under way end within `grace` seconds, then cancel it."""
        tasks = set(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
