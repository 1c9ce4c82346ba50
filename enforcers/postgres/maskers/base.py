"""What a masker is: it rewrites one value that isn't NULL, in the format the value came in, and keeps its type.

A value whose bytes aren't what its type and format say becomes NULL: what isn't understood can't be masked halfway.
"""

from __future__ import annotations

from enforcers.core.errors import EnforcerError


class UnmaskableError(EnforcerError):
    """A masker can't be carried out on this column; nothing of the row was sent."""


class Masker:
    """Rewrites one non-NULL value. A class, not a function, so that compiled rows call it directly."""

    # The same bytes for every value, None for NULL; only where `constant` says so. Rows then needn't look at values.
    constant: bool = False
    always: bytes | None = None

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        """In place of data[start:end]; None is NULL."""
        raise NotImplementedError

    def __call__(self, value: bytes) -> bytes | None:
        return self.mask(value, 0, len(value))


class Null(Masker):
    """NULL, which every type has."""

    def __init__(self) -> None:
        self.constant = True
        self.always = None

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:  # noqa: ARG002 - the same for every value
        return None
