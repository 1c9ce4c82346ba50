"""An act's record on its way to the log, and the window of its session: plain data that every act passes through."""

from __future__ import annotations

import asyncio
from collections import deque

from enforcers.core.errors import DecisionUnavailableError


class Window:
    """One session's unacknowledged records."""

    __slots__ = ("broken", "changed", "pending")

    def __init__(self) -> None:
        self.pending: deque[float] = deque()  # when each was queued, oldest first; seconds, monotonic
        self.changed: asyncio.Event | None = None
        self.broken: bool = False  # the service refused one of its records

    async def change(self) -> None:
        """Wait until something of it was acknowledged, or given up. The caller brings the deadline."""
        if self.changed is None:
            self.changed = asyncio.Event()
        self.changed.clear()
        await self.changed.wait()

    def room(self, records: int, delay: float, now: float) -> bool:
        """May one more be added: fewer than `records` unacknowledged, the oldest younger than `delay` seconds?"""
        if self.broken:
            return False
        pending = self.pending
        count = len(pending)
        return not count or (count < records and now - pending[0] < delay)


class Waiter:
    """Who must know when a record is durable. A class, not a function, so that compiled code calls it directly."""

    def settled(self, error: DecisionUnavailableError | None) -> None:
        """Once: None when the service has it, else why it never will, or not in time."""
        raise NotImplementedError


class ActRecord:
    """One `audit.v1.Act`, filled until it is sent: its parts are kept encoded (acts.py says how)."""

    __slots__ = ("durable", "head", "intent", "outcome", "queued", "sent", "session", "size", "waiter", "window")

    def __init__(self, session: str, head: bytes, intent: bytes, window: Window, *, queued: float, size: int) -> None:
        """head: the fields session, operation and sequence, encoded. size: about how many bytes it takes meanwhile."""
        self.session: str = session
        self.head: bytes = head
        self.intent: bytes = intent  # the field `intent`, encoded; empty: Decide recorded the intent
        self.outcome: bytes = b""  # the field `outcome`, encoded; empty until the act ended
        self.window: Window = window
        self.queued: float = queued
        self.size: int = size
        self.sent: bool = False
        self.durable: bool = False  # the service has acknowledged it
        self.waiter: Waiter | None = None
