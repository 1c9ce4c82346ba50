"""The loop that forgets: on while there is something, then at rest; a store that fails doesn't end it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from decision.errors import StoreError
from decision.pdp import forgetting


class Answers:
    """Of a store, in their order; after the last one nothing is left to forget."""

    def __init__(self, *given: int | StoreError) -> None:
        self.given = list(given)
        self.asked = asyncio.Event()

    async def forget(self) -> int:
        if not self.given:
            self.asked.set()
            return 0
        first = self.given.pop(0)
        if isinstance(first, StoreError):
            raise first
        return first


async def test_it_goes_on_until_nothing_is_left_and_past_a_store_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(forgetting.asyncio, "sleep", sleep)
    store: Any = Answers(1000, StoreError("away"), 3)
    running = asyncio.ensure_future(forgetting.run_forgetting(store))
    await asyncio.wait_for(store.asked.wait(), 5)
    await real(0.01)
    running.cancel()
    assert slept[:4] == [1, forgetting.EVERY_S, 1, forgetting.EVERY_S]
