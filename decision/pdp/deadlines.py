"""The store's deadline, in one place: nothing waits on it for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from decision.errors import StoreError

STORE_DEADLINE_S: Final = 3.0
T = TypeVar("T")


async def stored(work: Awaitable[T]) -> T:
    """A store's answer within the deadline. Raises StoreError, as the store itself may."""
    try:
        async with asyncio.timeout(STORE_DEADLINE_S):
            return await work
    except TimeoutError:
        raise StoreError("the store did not answer in time") from None
