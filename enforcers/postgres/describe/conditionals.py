"""Expressions of which one of several parts is computed, or that put several values together.

Which part is computed can be noticed where another can tell: then what decides is an inference of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from enforcers.postgres.describe import calls, expressions, operators, resolution
from enforcers.postgres.describe.context import Context, Node, Scope
from enforcers.postgres.describe.lineage import BOOL, TEXT, UNKNOWN, Value, computed, either, joined


def case(context: Context, body: Node, scope: Scope) -> Value:
    """Which arm is computed, the conditions decide."""
    if body.get("arg"):
        operators.equals(context)
    tested = [expressions.walk(context, body.get("arg"), scope)] if body.get("arg") else []
    arms = []
    for item in body.get("args", []):
        clause = item.get("CaseWhen", {})
        condition = expressions.walk(context, clause.get("expr"), scope)
        if tested:
            found = resolution.operator(context, "=", "", (tested[0].type, condition.type))
            condition = calls.applied(context, found, [tested[0], condition])
        context.facts.infer(condition.sources, "case")
        tested.append(condition)
        arms.append(expressions.walk(context, clause.get("result"), scope))
    if body.get("defresult"):
        arms.append(expressions.walk(context, body["defresult"], scope))
    return _lazily(context, either(arms), tested)


def _lazily(context: Context, value: Value, deciding: Sequence[Value]) -> Value:
    """One of several arms, which others decide. Of arms of several types one is converted, which may fail."""
    if value.type == 0 and value.sources:
        value = expressions.told(context, [value], "a conversion between types")
    made = computed([value, *deciding], value.type)
    return Value(made.sources, made.type, made.quiet, value.size)


def coalesce(context: Context, body: Node, scope: Scope) -> Value:
    arms = expressions.parts(context, body, scope)
    if not all(value.quiet for value in arms):
        context.facts.infer(joined(arms), "case")
    return _lazily(context, either(arms), ())


def logic(context: Context, body: Node, scope: Scope) -> Value:
    """AND, OR, NOT: where one arm can tell, whether it is computed depends on the others."""
    arms = expressions.parts(context, body, scope)
    if len(arms) > 1 and not all(value.quiet for value in arms):
        context.facts.infer(joined(arms), "case")
    return computed(arms, BOOL)


def min_max(context: Context, body: Node, scope: Scope) -> Value:
    arms = expressions.parts(context, body, scope)
    value = either(arms)
    if context.facts.collates or not resolution.compares_quietly(context, value.type):
        return expressions.told(context, arms, "greatest or least", value.type)
    return computed(arms, value.type)


def array(context: Context, body: Node, scope: Scope) -> Value:
    items = expressions.parts(context, body, scope)
    value = either(items)
    kind = resolution.array_of(context.catalog, TEXT if value.type == UNKNOWN else value.type)
    if items and kind == 0 and value.sources:
        return expressions.told(context, items, "array", 0)
    return computed(items, kind)
