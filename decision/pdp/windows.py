"""What sessions were answered before its record was durable: at most W records or T ms each (design, section 4)."""

from __future__ import annotations

from collections import deque
from functools import partial

from decision.ports import Clock, Written


class Windows:
    """Holds what is not durable yet and nothing else, so it is as small as the log's queue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, deque[float]] = {}

    def room(self, session: str, window: tuple[int, int]) -> bool:
        """May one more be added: fewer than W not durable yet, the oldest younger than T? window: W, T in ms."""
        waiting = self._sessions.get(session)
        if waiting is None:
            return window[0] > 0 and window[1] > 0
        return len(waiting) < window[0] and (self._clock.monotonic() - waiting[0]) * 1000 < window[1]

    def add(self, session: str, written: Written) -> None:
        """`written`: ends when the record is durable, those of one session in order."""
        self._sessions.setdefault(session, deque()).append(self._clock.monotonic())
        written.add_done_callback(partial(self._durable, session))

    def _durable(self, session: str, _written: Written) -> None:
        waiting = self._sessions[session]
        waiting.popleft()
        if not waiting:
            del self._sessions[session]
