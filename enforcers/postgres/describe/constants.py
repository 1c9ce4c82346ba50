"""Constants: their types, and which of them nothing that is described depends on."""

from __future__ import annotations

from typing import Any

from enforcers.postgres.describe.context import Context, Node, Scope
from enforcers.postgres.describe.lineage import BOOL, INT4, INT8, NOTHING, NUMERIC, UNKNOWN, Value

_OF_TYPE = {kind: Value(type=kind) for kind in (INT4, INT8, NUMERIC, UNKNOWN, BOOL, 1560)}
_CONSTANTS = {"ival": INT4, "fval": 0, "sval": UNKNOWN, "boolval": BOOL, "bsval": 1560, "isnull": UNKNOWN}


def constant(context: Context, body: Node, scope: Scope) -> Value:
    """A constant touches nothing. Its place is remembered by those who know that its value doesn't matter."""
    for name in body:
        if name in _CONSTANTS:
            return _OF_TYPE.get(_CONSTANTS[name], NOTHING) if name != "fval" else _number(body)
    return _OF_TYPE[UNKNOWN]


def _number(body: Node) -> Value:
    """What is too long for an integer is a bigint, as long as it surely is one (shape.py), else it may be either."""
    text = str(body["fval"].get("fval", ""))
    if "." in text:
        return _OF_TYPE[NUMERIC]
    return _OF_TYPE[INT8] if text.isdigit() and len(text) <= 18 else NOTHING


def free(context: Context, node: Any) -> None:
    """This operand's value matters to nothing that is described."""
    if context.top and isinstance(node, dict) and "A_Const" in node:
        context.facts.free.add(int(node["A_Const"].get("location", 0)))
