"""A text that shows itself only to who asks for it by name, and that can be wiped.

`reveal` makes a text that Python frees when nobody holds it, but can't overwrite: hold a Secret, and reveal it late.
"""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Neither repr, str, format, nor pickle, copy and vars show it. Equal only to itself: comparing takes time."""

    __slots__ = ("_held",)

    def __init__(self, text: str) -> None:
        self._held = bytearray(text.encode())

    def reveal(self) -> str:
        """The text; "" once it was wiped."""
        return self._held.decode()

    def wipe(self) -> None:
        """Overwrite what is held here, and let go of it."""
        self._held[:] = bytes(len(self._held))  # of the same length: in its place
        self._held = bytearray()

    def __repr__(self) -> str:
        return "Secret(…)"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not written anywhere")
