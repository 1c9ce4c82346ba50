"""The one place that reads the system's clocks, so that everything else can be given a time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """decision.ports.Clock over the real clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
