"""The shape of a statement: its text without the constants that its description does not depend on.

A constant is free only where the description said so (an operand, an item of VALUES, a value of SET, a LIMIT), and only
when it is spelt in one of a few plain ways, each a class that stays in the shape. Another text has the same shape
when it differs in free constants of the same class only; then the target's parser makes the same tree of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Class letter -> lexemes. They may not run into what follows, nor be longer than their type surely holds.
_CLASSES = (
    ("n", rb"[0-9]{1,12}\.[0-9]{1,12}"),
    ("b", rb"[1-9][0-9]{10,17}"),
    ("i", rb"[0-9]{1,9}"),
    ("s", rb"'[^'\\]*(?:''[^'\\]*)*'"),
)
_END = rb"(?![0-9A-Za-z_.'$\x80-\xff])"
_AT = [
    (letter, pattern, re.compile(rb"-?" + pattern + _END if letter != "s" else pattern + rb"(?!')"))
    for letter, pattern in _CLASSES
]


@dataclass(slots=True)
class Shape:
    """skeleton: the text with its free constants as their classes. The pattern is compiled when a second text asks."""

    skeleton: bytes
    source: bytes
    _pattern: re.Pattern[bytes] | None = None

    def matches(self, text: bytes) -> bool:
        """Has this text the same shape?"""
        pattern = self._pattern
        if pattern is None:
            self._pattern = pattern = re.compile(self.source, re.DOTALL)
        return pattern.fullmatch(text) is not None


def shape_of(text: bytes, free: Iterable[int]) -> Shape:
    """free: byte offsets of the constants that don't matter."""
    skeleton: list[bytes] = []
    pattern: list[bytes] = []
    position = 0
    for offset in sorted(free):
        if offset < position:
            continue
        for letter, lexeme, matcher in _AT:
            found = matcher.match(text, offset)
            if found is None:
                continue
            piece = text[position:offset]
            minus = text[offset : offset + 1] == b"-"
            skeleton += [piece, b"-" if minus else b"", b"\x00", letter.encode(), b"\x00"]
            pattern += [re.escape(piece), b"-" if minus else b"", lexeme]
            position = found.end()
            break
    skeleton.append(text[position:])
    pattern.append(re.escape(text[position:]))
    return Shape(b"".join(skeleton), b"".join(pattern))
