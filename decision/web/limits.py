"""How often one address may begin a log-in: each beginning costs a row in the store and a question to the issuer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

BURST: Final = 20
PER_SECOND: Final = 0.5
_ADDRESSES: Final = 4096


class Attempts:
    """A bucket of tokens for each address; the addresses seen longest ago are forgotten."""

    def __init__(self, *, burst: int = BURST, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = float(burst)
        self._clock = clock
        self._left: LRUCache[str, tuple[float, float]] = LRUCache(_ADDRESSES)

    def allows(self, address: str) -> bool:
        now = self._clock()
        left, seen = self._left.get(address, (self._burst, now))
        left = min(self._burst, left + (now - seen) * PER_SECOND)
        self._left[address] = (left - 1.0 if left >= 1.0 else left, now)
        return left >= 1.0
