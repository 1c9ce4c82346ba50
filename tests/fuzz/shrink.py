"""Makes a conversation that found something smaller while it still finds the same."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.conversation import Operation


def shrink(
    operations: list[Operation], fails: Callable[[list[Operation]], bool], *, rounds: int = 20
) -> list[Operation]:
    """Leave out operations, in ever smaller runs, while `fails` holds."""
    best = operations
    for _ in range(rounds):
        before = len(best)
        size = max(1, len(best) // 2)
        while size:
            place = 0
            while place < len(best):
                shorter = best[:place] + best[place + size :]
                if fails(shorter):
                    best = shorter
                else:
                    place += size
            size //= 2
        if len(best) == before:
            break
    return best
