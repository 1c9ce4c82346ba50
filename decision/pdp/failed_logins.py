"""Logins by people who proved nothing: recorded one by one while they are few, counted together when they flood.

Whoever reaches a gateway's port can fail to log in as often as the network carries it. A record each would let them
fill the disk, and without records nothing is allowed to anyone. What the service decided about a *known* subject is
never counted together.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from decision.ports import Clock

ALONE: Final = 10  # records of their own in an interval
INTERVAL_S: Final = 1.0
CODES: Final = 64  # distinct reason codes counted; they are the service's own words


class FailedLogins:
    """One event loop. `alone` for each failure; `take` now and then for the record that tells of the others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._recorded = 0
        self._counts: Counter[str] = Counter()

    def alone(self, code: str) -> bool:
        """Whether this failure gets a record of its own; else it is counted."""
        now = self._clock.monotonic()
        if now - self._began >= INTERVAL_S:
            self._began, self._recorded = now, 0
        if self._recorded < ALONE:
            self._recorded += 1
            return True
        self.count(code if code in self._counts or len(self._counts) < CODES else "OTHER")
        return False

    def count(self, code: str, number: int = 1) -> None:
        self._counts[code] += number

    def take(self) -> dict[str, int]:
        """The counts since the last take, by reason code; empty when there are none."""
        counts, self._counts = dict(sorted(self._counts.items())), Counter()
        return counts
