"""Maskers of character types, whose text and binary forms are both the bytes of the string (UTF-8 here).

`width` is n of character(n), whose values are padded with blanks; 0 for every other type.
"""

from __future__ import annotations

from typing import Final

from enforcers.postgres.maskers.base import Masker, UnmaskableError

_AT: Final = 64
_HIDDEN = b"***"
# Kept of an address, besides a country's two letters. A closed list: what stands behind a value's last dot can be
# anything at all.
_GENERIC = frozenset({b"com", b"org", b"net", b"edu", b"gov", b"mil", b"int", b"info", b"biz", b"name"})
_BLANK: Final = 32
_DOT: Final = 46
EMAIL_LENGTH = 13  # of the longest masked address, in characters


def padded(value: bytes, width: int) -> bytes:
    """Filled with blanks up to so many characters."""
    missing = width - (len(value) if value.isascii() else len(value.decode("utf-8", "replace")))
    return value + b" " * missing if missing > 0 else value


class Fixed(Masker):
    """The same text for every value."""

    def __init__(self, text: bytes, width: int = 0) -> None:
        self.text = padded(text, width)
        self.constant = True
        self.always = self.text

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:  # noqa: ARG002 - the same for every value
        return self.text


class KeepLast(Masker):
    """Characters, not bytes; the length is kept. A value no longer than `keep` is wholly filled: else it would pass."""

    def __init__(self, keep: int, fill: str, width: int = 0) -> None:
        if keep < 0 or len(fill) != 1:
            raise UnmaskableError("keep-last needs a number of characters and one filling character")
        self.keep = keep
        self.fill = fill
        self.filling = fill.encode()
        self.width = width

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        value = data[start:end]
        if self.width:
            value = value.rstrip(b" ")
        keep = self.keep
        if value.isascii():
            size = len(value)
            hidden = size - keep
            masked = self.filling * hidden + value[hidden:] if hidden > 0 else self.filling * size
        else:
            text = value.decode("utf-8", "replace")
            hidden = len(text) - keep
            masked = (self.fill * hidden + text[hidden:]).encode() if hidden > 0 else self.filling * len(text)
        return padded(masked, self.width) if self.width else masked


class Email(Masker):
    """`a***@***.org` of anna@example.org: the first character where the name has more, and the top-level domain where
    it is a country's or one of a few. Lengths don't show. Of what is no address nothing is kept: `***`."""

    def __init__(self, width: int = 0) -> None:
        self.width = width

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        while end > start and data[end - 1] == _BLANK:
            end -= 1
        masked = self._masked(data, start, end)
        return padded(masked, self.width) if self.width else masked

    def _masked(self, data: bytes, start: int, end: int) -> bytes:
        # By hand: compiled, a byte looked at costs a twentieth of a call of find.
        at = dot = -1
        for index in range(start, end):
            byte = data[index]
            if byte == _AT:
                if at >= 0:
                    return _HIDDEN
                at = index
            elif byte == _DOT:
                dot = index
        if at <= start or dot <= at + 1:
            return _HIDDEN
        top = data[dot + 1 : end]
        shown = _SHOWN.get(top)
        if shown is None:
            shown = _shown(top.lower())
        # One character of several, and ASCII: never half of one.
        return shown[data[start] if at - start > 1 else 0]


def _shown(top: bytes) -> list[bytes]:
    """As `_spelt`, of what of this top-level domain is kept; made once for each that can be."""
    kept = top if top in _GENERIC or (len(top) == 2 and top.isalpha()) else _HIDDEN
    shown = _SHOWN.get(kept)
    if shown is None:
        shown = _SHOWN[kept] = _spelt(kept)
    return shown


def _spelt(kept: bytes) -> list[bytes]:
    """By the byte that the value begins with: what stands for addresses of this top-level domain."""
    masked = b"***@***." + kept
    return [bytes((first,)) + masked if bytes((first,)).isalnum() else masked for first in range(256)]


_SHOWN: Final[dict[bytes, list[bytes]]] = {top: _spelt(top) for top in _GENERIC}
