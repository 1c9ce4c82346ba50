"""Maskers of character types, whose text and binary forms are both the bytes of the string (UTF-8 here).

`width` is n of character(n), whose values are padded with blanks; 0 for every other type.
"""

from __future__ import annotations

from enforcers.postgres.maskers.base import Masker, UnmaskableError

_AT = b"@"
_HIDDEN = b"***"
# Kept of an address, besides a country's two letters. A closed list: what stands behind a value's last dot can be
# anything at all.
_GENERIC = frozenset({b"com", b"org", b"net", b"edu", b"gov", b"mil", b"int", b"info", b"biz", b"name"})
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
        masked = self._masked(data[start:end].rstrip(b" "))
        return padded(masked, self.width) if self.width else masked

    def _masked(self, value: bytes) -> bytes:
        if value.count(_AT) != 1:
            return _HIDDEN
        local, _, domain = value.partition(_AT)
        host, dot, top = domain.rpartition(b".")
        if not local or not host or not dot:
            return _HIDDEN
        first = b""
        if len(local) > 1 and local[:1].isalnum():  # one of several, and ASCII: never half a character
            first = local[:1]
        top = top.lower()
        if not (top in _GENERIC or (len(top) == 2 and top.isalpha())):
            top = _HIDDEN
        return first + b"***@***." + top
