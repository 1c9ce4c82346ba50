"""What the value of a call depends on: by the function's kind, its argument types, or the SQL that it is made of.

What a call sets off (verbs, relations, opaque code) is functions.py; here only where its value comes from, and what its
arguments decide: an aggregate's, a window's or a set-returning function's do more than make a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enforcers.postgres.catalog.objects import Function
from enforcers.postgres.describe import casts, functions, resolution
from enforcers.postgres.describe.context import Context, Node, OutColumn, strings
from enforcers.postgres.describe.lineage import COPY, GROWN, LONGEST, RECORD, Sources, Value, computed, joined, worse
from enforcers.postgres.describe.resolution import Resolution


@dataclass(slots=True)
class Given:
    """What stands in a call. ordered: ORDER BY inside, or WITHIN GROUP. chosen: FILTER."""

    arguments: list[Value]
    ordered: list[Value]
    chosen: Value


def value(
    context: Context,
    body: Node,
    found: Sequence[Function],
    given: Given,
) -> Value:
    """Of a FuncCall whose arguments were walked."""
    arguments, ordered, chosen = given.arguments, given.ordered, given.chosen
    parts = strings(body.get("funcname"))
    name, schema = parts[-1], parts[-2] if len(parts) > 1 else ""
    if not found:
        return _no_function(context, name, schema, arguments)
    if body.get("agg_within_group"):
        arguments = [*arguments, *ordered]
    own = [item for item in found if item.language == "sql" and not item.builtin and item.kind == "f"]
    if own and len(own) == len(found):
        return _inlined(context, body, own, arguments)
    unordered = bool(body.get("func_variadic")) or any("NamedArgExpr" in item for item in body.get("args", []))
    resolved = resolution.call(context, name, schema, tuple([item.type for item in arguments]), unordered=unordered)
    facts = context.facts
    facts.infer(chosen.sources, "filter")
    taken = joined(arguments)
    if body.get("agg_distinct"):
        facts.infer(taken, "distinct")
    if "over" in body:
        facts.infer(taken, "window")
    elif any(item.kind in {"a", "w"} for item in found):
        facts.infer(taken, "aggregate")
    if any(item.kind in {"a", "w"} for item in found) or "over" in body:
        facts.infer(joined(ordered), "order")
        made = computed([*arguments, *ordered, chosen], resolved.type)
        return Value(made.sources, made.type, quiet=False, size=resolved.growth)
    if resolved.returns_set:
        facts.infer(taken, "set-returning")
    result = applied(context, resolved, arguments)
    if own:  # besides others
        result = computed([result, _inlined(context, body, own, arguments)], result.type)
    return result


def _no_function(context: Context, name: str, schema: str, arguments: list[Value]) -> Value:
    """A type's name used as a cast, or a column of the row that is the argument."""
    found = context.find_type(name, schema)
    if found is not None and len(arguments) == 1:
        return casts.cast(context, arguments[0], found.oid, modified=False)
    return computed(arguments)


def applied(context: Context, found: Resolution, values: Sequence[Value]) -> Value:
    """A function or operator of these operands, each judged by what is known to be told of it."""
    collates = context.facts.collates
    quiet, size = found.quiet and not collates, 0
    sources: Sources = {}
    for item in values:
        quiet = quiet and item.quiet
        size += item.size
        if item.sources:
            sources = item.sources
    size *= found.growth
    if not sources:
        return Value(sources, found.type, quiet, size or 1)
    outgrown = found.name if size > LONGEST and found.growth > 0 else ""
    merged: Sources = {}
    for item, told in zip(values, found.told, strict=True):
        if not item.sources:
            continue
        by = told or outgrown or (found.name if collates else "")
        if by:
            context.facts.told(item, by)
        for key, way in item.sources.items():
            now = by if way == COPY or not way else way
            known = merged.get(key)
            merged[key] = now if known is None else worse(known, now)
    return Value(merged, found.type, quiet, size or 1)


def _inlined(context: Context, body: Node, candidates: Sequence[Function], arguments: list[Value]) -> Value:
    """What SQL functions make of these arguments. Any of several candidates may be meant."""
    found: list[Value] = []
    for candidate in candidates:
        columns = inlined(context, body, candidate, arguments)
        if candidate.returns_set:
            context.facts.infer(joined(arguments), "set-returning")
        if len(columns) == 1:
            found.append(columns[0].value)
        else:
            found.append(computed([column.value for column in columns], RECORD))
    if len(found) == 1:
        made = found[0]
        return Value(made.sources, made.type, quiet=False, size=made.size)
    made = computed(found)
    return Value(made.sources, quiet=False, size=GROWN)


def inlined(context: Context, body: Node, function: Function, arguments: Sequence[Value]) -> list[OutColumn]:
    """The columns of the last statement of an SQL function, its parameters being these values."""
    by_place = not any("NamedArgExpr" in item for item in body.get("args", [])) and not function.variadic
    bound: dict[str, Value] = {}
    anything = computed(arguments) if not by_place else Value()
    for index in range(function.arguments):
        argument = (arguments[index] if index < len(arguments) else Value()) if by_place else anything
        bound[f"${index + 1}"] = argument
        if index < len(function.argument_names) and function.argument_names[index]:
            bound[function.argument_names[index]] = argument
    return functions.expand(context, function, bound)
