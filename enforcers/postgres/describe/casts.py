"""Casts and the names of types."""

from __future__ import annotations

from enforcers.postgres.describe import expressions, functions, resolution
from enforcers.postgres.describe.context import Context, Node, Scope, strings
from enforcers.postgres.describe.lineage import NOTHING, Value, through


def written(context: Context, body: Node, scope: Scope) -> Value:
    value = expressions.walk(context, body.get("arg"), scope)
    name = body.get("typeName", {})
    type_name(context, name, scope)
    return cast(context, value, named_type(context, name), modified=bool(name.get("typmods")))


def cast(context: Context, value: Value, target: int, *, modified: bool) -> Value:
    """target: 0 for a type that isn't certain."""
    if target == 0:
        return expressions.told(context, [value], "a cast")
    if target == value.type and not modified:
        return value
    by = resolution.cast_tells(context.catalog, value.type, target, modified=modified)
    if by and value.sources:
        return expressions.told(context, [value], by, target)
    # A constant is converted before anything runs.
    return Value(
        through(value.sources), target, value.quiet and not by, value.size * 4 if value.sources else value.size
    )


def named_type(context: Context, body: Node) -> int:
    names = strings(body.get("names"))
    found = context.find_type(names[-1], names[-2] if len(names) > 1 else "") if names else None
    if found is None or body.get("pct_type") or body.get("setof"):
        return 0
    return resolution.array_of(context.catalog, found.oid) if body.get("arrayBounds") else found.oid


def type_name(context: Context, body: Node, scope: Scope) -> None:
    names = strings(body.get("names"))
    if not names:
        return
    expressions.walk(context, [item for item in body.get("typmods", []) if "A_Const" not in item], scope)
    found = context.find_type(names[-1], names[-2] if len(names) > 1 else "")
    if len(names) == 1 and context.temporary_unread:
        context.facts.doubt("unresolved", f"type {names[0]}: temporary objects were not read")
    if body.get("pct_type") or found is None:
        context.facts.doubt("unresolved", "type " + ".".join(names))
        return
    functions.touch_type(context, found, via="cast")
    functions.cast_to(context, found)


def named(context: Context, body: Node, scope: Scope) -> Value:
    type_name(context, body, scope)
    return NOTHING
