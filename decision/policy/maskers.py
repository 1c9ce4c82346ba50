"""What a masker is, in policy data and in a decision: its type and parameters, checked in one place.

Whether a masker fits a column's type is the gateway's to say, which knows the catalog (ADR 19).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

MAX_KEEP: Final = 1000
MAX_TEXT: Final = 1024
MAX_SIZE: Final = 2**31 - 1
MAX_PATHS: Final = 64
MAX_STEPS: Final = 16
UNITS: Final = ("year", "quarter", "month", "day", "hour")


def fault(masker: object) -> str:
    """What is wrong with it, as the end of a sentence that begins with its place; empty when nothing is."""
    if not isinstance(masker, Mapping):
        return "is not an object with a type"
    kind = masker.get("type")
    known = _PARAMETERS.get(kind) if isinstance(kind, str) else None
    if known is None:
        return f"has a type that is none of {', '.join(_PARAMETERS)}"
    if masker.keys() != {"type", *known}:
        wanted = f"type and {', '.join(known)}" if known else "type alone"
        return f"({kind}) must have {wanted}"
    for name, check in known.items():
        wrong = check(masker[name])
        if wrong:
            return f"({kind}): {name} {wrong}"
    return ""


def _text(value: object) -> str:
    if isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value:
        return ""
    return f"is not a text of at most {MAX_TEXT} characters"


def _character(value: object) -> str:
    return "" if isinstance(value, str) and len(value) == 1 and value.isprintable() else "is not one character"


def _whole(least: int, most: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        return "" if type(value) is int and least <= value <= most else f"is not a whole number, {least} to {most}"

    return check


def _unit(value: object) -> str:
    return "" if value in UNITS else f"is not one of {', '.join(UNITS)}"


def _paths(value: object) -> str:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_PATHS:
        return f"is not a list of 1 to {MAX_PATHS} paths"
    for path in value:
        if not isinstance(path, list) or not 0 < len(path) <= MAX_STEPS:
            return f"holds a path that is not a list of 1 to {MAX_STEPS} steps"
        if any(not isinstance(step, str) or not step or _text(step) for step in path):
            return "holds a step that is not a member's name or *"
    return ""


_PARAMETERS: Final[Mapping[str, Mapping[str, Callable[[object], str]]]] = {
    "null": {},
    "fixed": {"text": _text},
    "keep-last": {"n": _whole(0, MAX_KEEP), "fill": _character},
    "hash": {},
    "email": {},
    "truncate-date": {"to": _unit},
    "bucket": {"size": _whole(2, MAX_SIZE)},
    "json": {"paths": _paths},
}
