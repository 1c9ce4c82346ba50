"""What one replica of the decision service tells the others through the store: which approvals and sessions changed.

A message is told inside the transaction that made the change, and heard by the others once it has committed: nobody
hears of what was rolled back. It carries ids only, the state is read anew. On a store of one's own there is nobody to
tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

Heard = Callable[[Sequence[str]], None]

APPROVALS = "approvals"
SESSIONS = "sessions"


class Bus(Protocol):
    @property
    def shared(self) -> bool:
        """Whether other replicas may be on this store."""

    async def tell(self, connection: AsyncConnection, topic: str, items: Sequence[str]) -> None:
        """In the transaction of `connection`. Every other replica hears it, once it has committed."""

    def hear(self, topic: str, heard: Heard, missed: Callable[[], None]) -> None:
        """`heard` gets what others told; `missed` is called when something may have been told unheard."""

    async def close(self) -> None: ...


class QuietBus:
    """A Bus with nobody on it."""

    shared = False

    async def tell(self, connection: AsyncConnection, topic: str, items: Sequence[str]) -> None:
        """Nobody listens."""

    def hear(self, topic: str, heard: Heard, missed: Callable[[], None]) -> None:
        """Nobody speaks."""

    async def close(self) -> None:
        """Nothing is held."""
