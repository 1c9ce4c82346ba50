"""What the store may forget is forgotten: facts of transactions that nobody has been in for long."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from decision.errors import StoreError
from decision.ports import HistoryStore

EVERY_S: Final = 600.0
_log = structlog.get_logger(__name__)


async def run_forgetting(history: HistoryStore) -> None:
    """For ever. A store that can't be reached keeps what it has until the next time."""
    while True:
        try:
            if await history.forget():
                await asyncio.sleep(1)  # there may be more
                continue
        except StoreError as error:
            _log.warning("history.not-forgotten", error=str(error))
        await asyncio.sleep(EVERY_S)
