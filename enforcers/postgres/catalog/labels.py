"""Labels that the target's own catalog gives to columns: in comments and security labels, of a column or its relation.

The form is `twokey: label=email` (several with commas), up to the end of the line or a semicolon, in a comment or in
a security label of any provider; a security label of the provider `twokey` may be the labels alone. On a relation they
hold for every column of it. What begins so and can't be read is the label `malformed`: a slip must not leave a column
bare. docs/policy.md is the reference; decision/cli/target_columns.py reads the same form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

PROVIDER = "twokey"
MALFORMED = "malformed"
_DIRECTIVE = re.compile(r"\btwokey:([^;\n]*)")
_NAME = r"[a-z0-9][a-z0-9._-]{0,127}"
_LABELS = re.compile(rf"\s*(?:label\s*=\s*)?({_NAME}(?:\s*,\s*{_NAME})*)\s*")

Labels = Mapping[tuple[int, int], frozenset[str]]  # by (relation, attnum); attnum 0: all of its columns


def labels_of(comments: Iterable[Sequence[str | None]], security: Iterable[Sequence[str | None]]) -> Labels:
    """comments: rows of (oid, attnum, text); security: of (oid, attnum, provider, text)."""
    found: dict[tuple[int, int], frozenset[str]] = {}
    for oid, attnum, text in comments:
        _add(found, oid, attnum, directed(text or ""))
    for oid, attnum, provider, text in security:
        _add(found, oid, attnum, listed(text or "") if provider == PROVIDER else directed(text or ""))
    return found


def _add(
    found: dict[tuple[int, int], frozenset[str]], oid: str | None, attnum: str | None, labels: frozenset[str]
) -> None:
    if labels:
        place = (int(oid or 0), int(attnum or 0))
        found[place] = found.get(place, frozenset()) | labels


def directed(text: str) -> frozenset[str]:
    """The labels of every directive in a text."""
    found: frozenset[str] = frozenset()
    for match in _DIRECTIVE.finditer(text):
        said = match[1]
        found |= listed(said) if said.lstrip().startswith("label") else frozenset({MALFORMED})
    return found


def listed(text: str) -> frozenset[str]:
    """`email, pan`, or the same behind `label=`."""
    match = _LABELS.fullmatch(text)
    if match is None:
        return frozenset({MALFORMED})
    return frozenset([label.strip() for label in match[1].split(",")])
