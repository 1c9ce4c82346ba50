"""What the session machine needs from describing: the port, so that the machine knows neither catalog nor parser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from enforcers.postgres.description import Description, SessionNames, SyntaxProblem
from enforcers.postgres.taint import Taint


class View(Protocol):
    """A catalog at one moment."""

    @property
    def version(self) -> int:
        """No two views of a process have the same."""

    def describe(self, message: bytes, names: SessionNames) -> Sequence[Description] | SyntaxProblem:
        """See Describer."""


class ViewReading(Protocol):
    """What a session's own connection is to be asked, a few questions at a time, and the view that its answers make."""

    @property
    def questions(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """SQL and parameters of the next ones; empty when the view is there."""

    def answered(self, answers: Sequence[Sequence[Sequence[str | None]]]) -> None:
        """The rows of each."""

    @property
    def view(self) -> View | None:
        """None until all was answered."""


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

    def private(self, names: SessionNames, taint: Taint, *, settled: bool) -> ViewReading:
        """Begin to read the catalog as a session sees it, temporary and uncommitted objects included, with what these
        hold (catalog/tainted.py).
        """

    def invalidate(self) -> None:
        """A DDL was seen: not fresh any more."""
