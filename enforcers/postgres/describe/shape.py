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
    """skeleton: the text with its free constants as their classes. parts: what stands before a constant, and the
    pattern of its class. The whole pattern is made when a second text asks: escaping a long one takes its time."""

    skeleton: bytes
    parts: tuple[tuple[bytes, bytes], ...]
    _pattern: re.Pattern[bytes] | None = None

    def matches(self, text: bytes) -> bool:
        """Has this text the same shape?"""
        pattern = self._pattern
        if pattern is None:
            source = b"".join([re.escape(before) + lexeme for before, lexeme in self.parts])
            self._pattern = pattern = re.compile(source, re.DOTALL)
        return pattern.fullmatch(text) is not None


def shape_of(text: bytes, free: Iterable[int]) -> Shape:
    """free: byte offsets of the constants that don't matter."""
    skeleton: list[bytes] = []
    parts: list[tuple[bytes, bytes]] = []
    position = 0
    for offset in sorted(free):
        if offset < position:
            continue
        for letter, lexeme, matcher in _AT:
            found = matcher.match(text, offset)
            if found is None:
                continue
            piece = text[position:offset]
            minus = b"-" if text[offset : offset + 1] == b"-" else b""
            skeleton += [piece, minus, b"\x00", letter.encode(), b"\x00"]
            parts.append((piece + minus, lexeme))
            position = found.end()
            break
    skeleton.append(text[position:])
    parts.append((text[position:], b""))
    return Shape(b"".join(skeleton), tuple(parts))
