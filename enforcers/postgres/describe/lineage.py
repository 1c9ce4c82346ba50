"""What an expression's value can depend on, and what it costs to compute it: the arithmetic of lineage.

A Value says which stored columns decide it, and of each the first function on the way that can tell (ADR 0018). It also
says whether computing it can be noticed at all (`quiet`), what type it has where that is certain, and how much
longer than one stored value it can be (`size`), since a value that outgrows a gigabyte fails.

Values are never changed once made; merging makes new ones, or returns one of its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from enforcers.postgres.catalog.objects import Relation

COPY = "="  # the value itself; "" is: through functions that tell nothing; else the name of one that tells
Key = tuple[int, int]  # relation oid, attribute number
Sources = dict[Key, str]
Mark = tuple[tuple[int, int, str], tuple[Relation, str]]  # an entry of context.Facts.columns

UNKNOWN = 705  # the type of a string constant or NULL that nothing has named yet
BOOL, INT2, INT4, INT8, TEXT, NUMERIC, RECORD = 16, 21, 23, 20, 25, 1700, 2249
LONGEST = 256  # times a stored value or a constant: beyond that an ordinary value could fail for its length
GROWN = 1 << 30


@dataclass(slots=True, eq=False)
class Value:
    """Of one expression. type 0: it can't be told."""

    sources: Sources = field(default_factory=dict)
    type: int = 0
    quiet: bool = True  # computing it neither fails nor takes time nor changes state, whatever the rows hold
    size: int = 1
    # Of a column that nobody may ever ask a subquery for: what computing it tells (column, kind, function) and reads.
    pending: tuple[tuple[Key, str, str], ...] = ()
    marks: tuple[Mark, ...] = ()


NOTHING = Value()
ANYTHING = Value(quiet=False, size=GROWN)  # depends on nothing stored, and may do anything


def worse(one: str, other: str) -> str:
    """Of two ways from one column: what tells outweighs what was computed, which outweighs a copy."""
    if other in {one, COPY}:
        return one
    if one == COPY or not one:
        return other
    return one


def joined(values: Iterable[Value]) -> Sources:
    """The sources of all, each by the worse way. May be one of the arguments' own."""
    found: Sources = {}
    own = False
    for value in values:
        more = value.sources
        if not more or more is found:
            continue
        if not found:
            found = more
            continue
        if not own:
            found, own = dict(found), True
        for key, way in more.items():
            known = found.get(key)
            found[key] = way if known is None else worse(known, way)
    return found


def through(sources: Sources, function: str = "") -> Sources:
    """What was a copy is computed with; by a function that can tell, when one is named."""
    if not sources:
        return sources
    return {key: function if way == COPY or not way else way for key, way in sources.items()}


def same_type(values: Sequence[Value]) -> int:
    """The type that all have, constants without one aside; 0 when they differ or one isn't certain."""
    found = UNKNOWN
    for value in values:
        if value.type == UNKNOWN:
            continue
        if value.type == 0 or found not in {UNKNOWN, value.type}:
            return 0
        found = value.type
    return found


def either(values: Sequence[Value], *, loud: str = "") -> Value:
    """One of these, as it is: the arms of UNION, a merged column. loud: names what converts arms of several types."""
    kind = same_type(values)
    sources = joined(values)
    if kind == 0 and loud:
        sources = through(sources, loud)
    return Value(
        sources,
        kind,
        all(value.quiet for value in values) and (kind != 0 or not loud),
        max((value.size for value in values), default=1),
    )


def computed(values: Sequence[Value], kind: int = 0) -> Value:
    """Made of these by what tells nothing."""
    return Value(
        through(joined(values)),
        kind,
        all(value.quiet for value in values),
        sum(value.size for value in values) or 1,
    )


def loud(values: Sequence[Value], function: str, kind: int = 0) -> Value:
    """Made of these by something that can tell."""
    return Value(through(joined(values), function), kind, quiet=False, size=GROWN)
