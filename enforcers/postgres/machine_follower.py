"""What the target's half of the session machine tells the other half.

A class of its own that the machine inherits: compiled, its methods are then called without looking them up.
"""

from __future__ import annotations

from typing import Protocol

from enforcers.postgres.machine_state import Capture, Expect, Running


class Follower(Protocol):
    """What the other half of the machine wants to know, each called in the order of the replies."""

    def ended(self, running: Running, status: str, *, tag: str = "", sqlstate: str = "", error: str = "") -> None: ...

    def completed(self, running: Running, tag: str, *, alone: bool) -> None:
        """CommandComplete. alone: it was a message of its own, so its transaction, if implicit, is over too."""

    def settled(self, status: int) -> None:
        """ReadyForQuery for the client: one of b"ITE"."""

    def failed(self, dropped: list[Expect], *, until_sync: bool, told: bool) -> None:
        """An error took these unanswered messages with it. until_sync: the target skips to a Sync that is not sent
        yet. told: the client got an error for it."""

    def captured(self, capture: Capture) -> None: ...

    def copying(self) -> None: ...

    def setting(self, name: bytes) -> None: ...

    def over_limit(self, running: Running) -> None:
        """Its result went beyond a limit, and the target goes on sending: stop it."""

    def answer(self, expect: Expect) -> bytes | None:
        """In place of an EmptyQueryResponse, to a message that stood for another; None: as it is."""

    def undo(self, running: Running) -> None:
        """The target executed it well; in its pipeline, nothing is sent behind it."""

    def undo_block(self) -> None:
        """A Query was refused that the target executed well in an explicit transaction. Its ReadyForQuery is held."""

    def suspended(self, running: Running) -> None: ...

    def parameters(self, expect: Expect, types: tuple[int, ...]) -> None: ...
