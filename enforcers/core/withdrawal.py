"""Waiting for something that can be withdrawn.

Not compiled: a task group waits inside its own handling of an exception, and while compiled code does that, the whole
thread takes the exception for the one being handled (tests/tools/test_compile.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def unless(withdrawn: asyncio.Event, awaited: Coroutine[None, None, T]) -> T | None:
    """The result, or None where it was withdrawn first; then, as where the caller is cancelled, it is cancelled.

    Raises an ExceptionGroup of what `awaited` raises.
    """
    async with asyncio.TaskGroup() as group:
        held, cancelled = group.create_task(awaited), group.create_task(withdrawn.wait())
        await asyncio.wait({held, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        came = held.done() and not held.cancelled() and not withdrawn.is_set()
        held.cancel()
        cancelled.cancel()
    return held.result() if came else None
