"""Operators: what they set off, and what they make of their operands; IN, BETWEEN, ANY, LIKE are operators too."""

from __future__ import annotations

from typing import Any

from enforcers.postgres.describe import calls, expressions, functions, literals, resolution
from enforcers.postgres.describe.constants import free
from enforcers.postgres.describe.context import Context, Node, Scope, strings
from enforcers.postgres.describe.lineage import BOOL, RECORD, UNKNOWN, Value, computed, joined


def operator(context: Context, body: Node, scope: Scope) -> Value:
    names = strings(body.get("name"))
    kind = str(body.get("kind"))
    schema = names[-2] if len(names) > 1 else ""
    between = kind.endswith(("BETWEEN", "BETWEEN_SYM"))
    if between:
        used = [item for name in ("<", "<=", ">", ">=") for item in context.operator_functions(name)]
    else:
        used = context.operator_functions(names[-1], schema)
        if not schema and not context.catalog.operators_named(names[-1]):
            context.facts.doubt("unresolved", f"operator {names[-1]}")
    if kind == "AEXPR_SIMILAR":
        functions.use(context, context.candidates("similar_to_escape", "pg_catalog", -1), "operator")
    for function in used:
        functions.use(context, [function], "operator")
    left, right = body.get("lexpr"), body.get("rexpr")
    free(context, left)
    one = expressions.walk(context, left, scope) if left else None
    free(context, right)
    if isinstance(right, dict) and "List" in right:
        others = []
        for item in right["List"].get("items", []):
            free(context, item)
            others.append(expressions.walk(context, item, scope))
    else:
        others = [expressions.walk(context, right, scope)] if right else []
    operators = ["<="] if between else [names[-1]]
    if kind in {"AEXPR_OP_ANY", "AEXPR_OP_ALL"}:
        arrays = resolution.element_of(context.catalog, others[0].type) if others else 0
        others = [
            Value(item.sources, arrays or (UNKNOWN if item.type == UNKNOWN else 0), item.quiet) for item in others
        ]
    found = applied(context, operators[0], schema, one, others)
    if one is not None and found.type == BOOL:
        _met(context, left, right, one, others)
    if kind == "AEXPR_SIMILAR":
        return expressions.told(context, [found], "pg_catalog.similar_to_escape", BOOL)
    if kind == "AEXPR_NULLIF":
        context.facts.infer(found.sources, "case")
        return Value(found.sources, one.type if one else 0, found.quiet, one.size if one else 1)
    if kind not in {"AEXPR_OP"}:
        return Value(found.sources, BOOL, found.quiet)
    return found


def _met(context: Context, left: Any, right: Any, one: Value, others: list[Value]) -> None:
    literals.met(context, left, joined(others))
    for item in right["List"].get("items", []) if isinstance(right, dict) and "List" in right else [right]:
        literals.met(context, item, one.sources)


def applied(context: Context, name: str, schema: str, one: Value | None, others: list[Value]) -> Value:
    """An operator between one operand and each of the others; rows are compared field by field."""
    operands = [one, *others] if one is not None else others
    if any(value.type == RECORD for value in operands):
        return expressions.told(context, operands, "a comparison of rows", BOOL)
    parts = []
    for other in others:
        pair = [other] if one is None else [one, other]
        found = resolution.operator(context, name, schema, tuple([value.type for value in pair]))
        parts.append(calls.applied(context, found, pair))
    if len(parts) == 1:
        return parts[0]
    return computed(parts, parts[0].type if parts else 0)


def equals(context: Context) -> None:
    for function in context.operator_functions("="):
        functions.use(context, [function], "operator")
