"""The store's clock: it never goes back, also not across a restart or a wall clock set back.

Store time is the wall clock, or the highest time ever persisted plus what has passed since on the monotonic
clock, whichever is later. The second part matters: were time to stand still at the high-water mark while the
wall clock catches up, an approval made then would not expire.
Times are integer microseconds since 1970-01-01 UTC: exact, ordered, the same in every database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from decision.ports import Clock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """Exact: no float on the way. A naive datetime raises TypeError."""
    return (moment - EPOCH) // MICROSECOND


def from_us(microseconds: int) -> datetime:
    return EPOCH + microseconds * MICROSECOND


class StoreClock:
    """Wall time with a high-water mark; see above."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mark = 0
        self._at = clock.monotonic()

    def now(self) -> datetime:
        """As now_us. With `monotonic` this makes it a ports.Clock, for whoever needs the store's time."""
        return from_us(self.now_us())

    def now_us(self) -> int:
        at = self._clock.monotonic()
        running = self._mark + max(0, int((at - self._at) * 1_000_000))
        now = max(to_us(self._clock.now()), running)
        self._mark, self._at = now, at
        return now

    def raise_to(self, high_water: int) -> int:
        """Take over a mark that somebody else persisted; the time it is then."""
        self._mark = max(self.now_us(), high_water)
        return self._mark

    def monotonic(self) -> float:
        return self._clock.monotonic()
