"""What the session machine needs from describing: the port, so that the machine knows neither catalog nor parser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from enforcers.postgres.description import Description, SessionNames, SyntaxProblem


class Describer(Protocol):
    """Describes messages under the catalog of one connection. All calls are in memory and return at once."""

    @property
    def version(self) -> int:
        """Changes whenever an answer of `describe` could have changed."""

    @property
    def fresh(self) -> bool:
        """The catalog was confirmed at most a second ago; when not, the machine asks its shell to refresh it."""

    def describe(self, message: bytes, names: SessionNames) -> Sequence[Description] | SyntaxProblem:
        """Every statement of the message in order; empty when there is none."""

    def invalidate(self) -> None:
        """A DDL was seen: not fresh any more."""
