"""What the session machine needs from describing: the port, so that the machine knows neither catalog nor parser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from enforcers.postgres.description import Description, SessionNames, SyntaxProblem


class View(Protocol):
    """A catalog at one moment."""

    @property
    def version(self) -> int:
        """No two views of a process have the same."""

    def describe(self, message: bytes, names: SessionNames) -> Sequence[Description] | SyntaxProblem:
        """See Describer."""


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

    @property
    def private_queries(self) -> tuple[tuple[str, str], ...]:
        """The questions, by name, whose answers from a session's own connection make its `private` view."""

    def private(self, rows: Mapping[str, Sequence[Sequence[str | None]]], names: SessionNames) -> View:
        """The catalog as that session sees it, temporary and uncommitted objects included."""

    def invalidate(self) -> None:
        """A DDL was seen: not fresh any more."""
