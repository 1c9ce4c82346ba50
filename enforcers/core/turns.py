"""A few at a time, in the order of asking; a turn can also be taken at once, without a task that waits for it."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """As asyncio.Semaphore, of which take_now() is the part that does not wait. Nobody overtakes who waits."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take_now(self) -> bool:
        """True: the turn is the caller's, who gives it back."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        if self.take_now():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:
                self.give_back()  # it came in the same moment
            raise

    def give_back(self) -> None:
        """The first who waits has it now; it is free only where nobody does."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
