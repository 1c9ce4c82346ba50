"""Statements without their constants: what is left for readers who may not see what the constants tell.

Found by PostgreSQL's own scanner, not by a parser, so that a statement of any version and form can be redacted; what it
can't read is replaced as a whole. TRUE and FALSE count as constants, and comments go too: a client may have written
anything into them. Numbers of parameters ($1), names and key words stay, so that the act can still be judged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from pglast.parser import ParseError, scan

_CONSTANTS: Final = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST", "TRUE_P", "FALSE_P"})
_COMMENTS: Final = frozenset({"SQL_COMMENT", "C_COMMENT"})
_MAX: Final = 1 << 20  # bytes: above it nobody reads it, and the scanner takes its time


def mark(labels: Collection[str]) -> str:
    """‹email›: what stands in place of a value with these labels. Names of labels can hold nothing that deceives."""
    return f"‹{','.join(sorted(labels)) or 'hidden'}›"


def statement(text: bytes, hidden: Mapping[int, Collection[str]] | None, others: Collection[str]) -> bytes:
    """`text` with constants replaced by their labels.

    hidden: labels by the constant's place in the text, counted from 1; a constant that isn't there has the labels
    `others`. None: nothing can be said about any part, and all of it goes. Empty labels: the constant stays.
    """
    if hidden is None or len(text) > _MAX:
        return mark(others).encode()
    try:
        decoded = text.decode()
        tokens = scan(decoded)
    except (UnicodeDecodeError, ParseError):
        return mark(others).encode()
    parts: list[str] = []
    done = place = 0
    for token in tokens:
        if token.name in _CONSTANTS:
            place += 1
            labels = hidden.get(place, others)
        elif token.name in _COMMENTS:
            labels = others or {label for some in hidden.values() for label in some}
        else:
            continue
        if labels:
            parts += [decoded[done : token.start], mark(labels)]
            done = token.end + 1
    return "".join([*parts, decoded[done:]]).encode()


def constants(text: str) -> Sequence[int]:
    """Where each constant begins, in characters. Raises ParseError."""
    return [token.start for token in scan(text) if token.name in _CONSTANTS]
