"""Which function a call or operator means, as far as the argument types tell; and what that function can tell.

PostgreSQL picks one candidate by rules that need every type exactly (documentation, chapter "Type Conversion"). Here a
type may be uncertain, so only the certain part of those rules is used: a candidate that fits exactly is the one; else
each that could be meant counts, and the worst is assumed. What is found is kept per catalog version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from enforcers.postgres.catalog.objects import Function, Type
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe.context import Context
from enforcers.postgres.describe.lineage import BOOL, GROWN, TEXT, UNKNOWN
from enforcers.postgres.describe.telling import FIXED, PRINTED, growth, tells

_STRINGS = frozenset({TEXT, 1043, 1042})  # text, varchar, character
# What each stands for: kinds of types (objects.Type), `[` an array, `]` anything but one; empty: any type.
_POLYMORPHIC = {
    "any": "",
    "anyelement": "",
    "anyarray": "[",
    "anynonarray": "]",
    "anyenum": "e",
    "anyrange": "r",
    "anymultirange": "m",
    "anycompatible": "",
    "anycompatiblearray": "[",
    "anycompatiblenonarray": "]",
    "anycompatiblerange": "r",
    "anycompatiblemultirange": "m",
    "record": "cp",
}
UNRESOLVED = "a function that isn't certain"


@dataclass(slots=True)
class Resolution:
    """told: for each argument the name of what can tell something of it, or ""."""

    told: tuple[str, ...]
    type: int
    quiet: bool
    growth: int  # how many times as long as its arguments the result may be
    name: str
    aggregate: bool = False
    returns_set: bool = False


_Key = tuple[int, tuple[str, ...], str, str, str, tuple[int, ...], bool]
_known: LRUCache[_Key, Resolution] = LRUCache(8192)


def operator(context: Context, name: str, schema: str, types: tuple[int, ...]) -> Resolution:
    """types: of the operands, one for a prefix operator."""
    key = (context.catalog.version, context.path, "operator", schema, name, types, False)
    found = _known.get(key)
    if found is None:
        found = _known[key] = _operator(context, name, schema, types)
    return found


def call(context: Context, name: str, schema: str, types: tuple[int, ...], *, unordered: bool = False) -> Resolution:
    """unordered: arguments are given by name, or as VARIADIC, so which is which isn't looked at."""
    key = (context.catalog.version, context.path, "function", schema, name, types, unordered)
    found = _known.get(key)
    if found is None:
        candidates = context.candidates(name, schema, -1 if unordered else len(types))
        found = _known[key] = _chosen(context.catalog, candidates, types, unordered=unordered)
    return found


def _operator(context: Context, name: str, schema: str, types: tuple[int, ...]) -> Resolution:
    catalog = context.catalog
    functions = []
    for item in catalog.operators_named(name):
        if not (item.schema == schema if schema else item.schema in context.path):
            continue
        function = catalog.function(item.function)
        # A prefix operator has no left operand.
        if function is not None and (item.left != 0) == (len(types) == 2):
            functions.append(function)
    return _chosen(catalog, functions, types, paired=len(types) == 2)


def _chosen(
    catalog: Catalog,
    candidates: Sequence[Function],
    types: tuple[int, ...],
    *,
    unordered: bool = False,
    paired: bool = False,
) -> Resolution:
    width = len(types)
    if unordered:
        return _worst(catalog, candidates, (0,) * width)
    fitting = _exact(catalog, candidates, types, paired=paired)
    if not fitting:
        fitting = [item for item in candidates if _fits(catalog, item, types)]
        if 0 not in types and fitting:
            # "Keep those with the most exact matches": only where every type is certain.
            best = [_matches(catalog, item, types) for item in fitting]
            fitting = [item for item, found in zip(fitting, best, strict=True) if found == max(best)]
    return _worst(catalog, fitting, types)


def _exact(catalog: Catalog, candidates: Sequence[Function], types: tuple[int, ...], *, paired: bool) -> list[Function]:
    """Those that take just these types. A constant of no type beside an operand has that operand's."""
    wanted = list(types)
    if paired and UNKNOWN in wanted and wanted[0] != wanted[1]:
        known = wanted[1] if wanted[0] == UNKNOWN else wanted[0]
        wanted = [_base(catalog, known)] * 2
    if 0 in wanted or UNKNOWN in wanted:
        return []
    signature = tuple(wanted)
    return [item for item in candidates if item.argument_types[: len(wanted)] == signature and not item.variadic]


def _matches(catalog: Catalog, function: Function, types: tuple[int, ...]) -> int:
    return sum(
        kind != UNKNOWN and _parameter(function, index) in {kind, _base(catalog, kind)}
        for index, kind in enumerate(types)
    )


def _base(catalog: Catalog, oid: int) -> int:
    """What a domain is over; any other type itself."""
    found = catalog.type(oid) if oid else None
    while found is not None and found.kind == "d":
        oid = found.base
        found = catalog.type(oid)
    return oid


def _fits(catalog: Catalog, function: Function, types: tuple[int, ...]) -> bool:
    return all(
        kind in {0, UNKNOWN} or _converts(catalog, kind, _parameter(function, index)) is not None
        for index, kind in enumerate(types)
    )


def _parameter(function: Function, index: int) -> int:
    """The declared type of an argument; of those that VARIADIC gathers it isn't said: 0."""
    last = function.arguments - 1
    if function.variadic and index >= last:
        return 0
    return function.argument_types[index] if index < len(function.argument_types) else 0


def _converts(catalog: Catalog, source: int, target: int) -> str | None:
    """None: not without being asked to. "": by what tells nothing. Else the name of what does it."""
    while target not in {0, source}:
        wanted = catalog.type(target)
        base = _base(catalog, source)
        if wanted is None or base == target:
            return ""
        if wanted.kind == "p" and wanted.name in _POLYMORPHIC:
            return "" if _is_one(catalog.type(base), _POLYMORPHIC[wanted.name]) else None
        cast = catalog.cast(base, target)
        if cast is not None and cast.context == "i":
            return cast_tells(catalog, base, target)
        mine = catalog.type(base)
        if mine is None or not mine.element or not wanted.element:
            row = mine is not None and (mine.kind == "c" or mine.name == "record") and wanted.kind in {"c", "p"}
            return "a row's conversion" if row else None
        source, target = mine.element, wanted.element
    return ""


def _is_one(found: Type | None, kinds: str) -> bool:
    if found is None or not kinds:
        return True
    array = bool(found.element) and found.name.startswith("_")
    return (array if kinds == "[" else not array) if kinds in {"[", "]"} else found.kind in kinds


def _worst(catalog: Catalog, candidates: Sequence[Function], types: tuple[int, ...]) -> Resolution:
    width = len(types)
    if not candidates:
        return Resolution((UNRESOLVED,) * width, 0, quiet=False, growth=GROWN, name=UNRESOLVED)
    told = [""] * width
    quiet = True
    for item in candidates:
        name = f"{item.schema}.{item.name}"
        for index, kind in enumerate(types):
            if not told[index] and tells(item, index):
                told[index] = name
            if not told[index] and kind not in {0, UNKNOWN}:
                told[index] = _converts(catalog, kind, _parameter(item, index)) or ""
        quiet = quiet and not item.returns_set and not any(told) and not tells(item, 0)
    results = {item.return_type for item in candidates}
    result = results.pop() if len(results) == 1 else 0
    returned = catalog.type(result) if result else None
    if returned is None or returned.kind == "p":
        result = 0
    return Resolution(
        tuple(told),
        result,
        quiet,
        0 if result in FIXED else max(growth(item) for item in candidates),
        f"{candidates[0].schema}.{candidates[0].name}",
        any(item.kind == "a" for item in candidates),
        any(item.returns_set for item in candidates),
    )


# Casts


def assignment_tells(catalog: Catalog, source: int, target: int, *, modified: bool) -> str:
    """What storing a value of one type in a column of another can tell by. modified: the column has a length."""
    wanted = catalog.type(target)
    if wanted is None or wanted.kind == "d" or modified:
        return "a conversion to what the column takes"
    return "" if source == target else cast_tells(catalog, source, target)


def cast_tells(catalog: Catalog, source: int, target: int, *, modified: bool = False) -> str:
    """What an explicit cast can tell by: "" when by nothing. modified: the target has a length or precision."""
    wanted = catalog.type(target)
    if wanted is None:
        return UNRESOLVED
    name = f"a cast to {wanted.schema}.{wanted.name}"
    if wanted.kind in {"d", "c"} or source == 0:
        return name
    if modified and target not in _STRINGS:
        return name
    base = _base(catalog, source)
    if base in {target, UNKNOWN}:
        return ""
    cast = catalog.cast(base, target)
    if cast is None:
        return "" if target in _STRINGS and _printable(catalog, base) else name
    if cast.method == "b":
        return ""
    if cast.method == "f":
        function = catalog.function(cast.function)
        return "" if function is not None and not tells(function, 0) else name
    return name


def _printable(catalog: Catalog, oid: int) -> bool:
    """Is the type's own text made without fail?"""
    found = catalog.type(oid)
    if found is None or len(found.functions) < 2:
        return False
    function = catalog.function(found.functions[1])
    return function is not None and function.builtin and function.source in PRINTED


def array_of(catalog: Catalog, element: int) -> int:
    found = catalog.type(element) if element else None
    if found is None:
        return 0
    array = catalog.find_type(found.schema, f"_{found.name}")
    return array.oid if array is not None and array.element == element else 0


def element_of(catalog: Catalog, array: int) -> int:
    found: Type | None = catalog.type(_base(catalog, array)) if array else None
    return found.element if found is not None and found.name.startswith("_") else 0


def compares_quietly(context: Context, kind: int) -> bool:
    """Can values of this type be compared without fail?"""
    return kind in {BOOL, UNKNOWN} or (kind != 0 and not any(operator(context, "<", "pg_catalog", (kind, kind)).told))
