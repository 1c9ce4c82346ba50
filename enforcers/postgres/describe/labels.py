"""The name that the target gives to a result column without AS: FigureColname of its parser, exactly.

A wrong guess would let a name that we take for a subquery's own column mean a table's column further out.
"""

from __future__ import annotations

from enforcers.postgres.describe.context import UNNAMED, Node, strings, unwrap

NONE = "?column?"
_FIXED = {
    "A_ArrayExpr": "array",
    "CoalesceExpr": "coalesce",
    "GroupingFunc": "grouping",
    "JsonArrayAgg": "json_arrayagg",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonObjectConstructor": "json_object",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "MergeSupportFunc": "merge_action",
    "RowExpr": "row",
    "XmlSerialize": "xmlserialize",
}
_BY_OP = {
    "MinMaxExpr": {"IS_GREATEST": "greatest", "IS_LEAST": "least"},
    "XmlExpr": {
        "IS_XMLCONCAT": "xmlconcat",
        "IS_XMLELEMENT": "xmlelement",
        "IS_XMLFOREST": "xmlforest",
        "IS_XMLPARSE": "xmlparse",
        "IS_XMLPI": "xmlpi",
        "IS_XMLROOT": "xmlroot",
    },
    "JsonFuncExpr": {
        "JSON_EXISTS_OP": "json_exists",
        "JSON_QUERY_OP": "json_query",
        "JSON_VALUE_OP": "json_value",
    },
}


def label(kind: str, body: Node) -> str:
    """UNNAMED where only the target knows."""
    return _figure(kind, body)[0]


def _figure(kind: str, body: Node) -> tuple[str, int]:
    """(name, how good it is): 2 a good one, 1 that of a type or CASE, 0 none."""
    if kind in _FIXED:
        return _FIXED[kind], 2
    if kind in _BY_OP:
        name = _BY_OP[kind].get(str(body.get("op", "")))
        return (name, 2) if name else (NONE, 0)
    special = {
        "A_Expr": _operator,
        "A_Indirection": _field,
        "CaseExpr": _case,
        "CollateClause": _argument,
        "ColumnRef": _column,
        "FuncCall": _call,
        "SQLValueFunction": _value_function,
        "SubLink": _sublink,
        "TypeCast": _cast,
    }
    return special[kind](body) if kind in special else (NONE, 0)


def _argument(body: Node) -> tuple[str, int]:
    return _figure(*unwrap(body.get("arg") or {}))


def _operator(body: Node) -> tuple[str, int]:
    return ("nullif", 2) if body.get("kind") == "AEXPR_NULLIF" else (NONE, 0)


def _field(body: Node) -> tuple[str, int]:
    names = [item for item in strings(body.get("indirection")) if item]
    return (names[-1], 2) if names else _argument(body)


def _column(body: Node) -> tuple[str, int]:
    names = [item for item in strings(body.get("fields")) if item]
    return (names[-1], 2) if names else (NONE, 0)


def _call(body: Node) -> tuple[str, int]:
    return strings(body.get("funcname"))[-1], 2


def _value_function(body: Node) -> tuple[str, int]:
    return str(body.get("op", "")).removeprefix("SVFOP_").removesuffix("_N").lower(), 2


def _case(body: Node) -> tuple[str, int]:
    name, strength = _figure(*unwrap(body.get("defresult") or {}))
    return (name, strength) if strength > 1 else ("case", 1)


def _cast(body: Node) -> tuple[str, int]:
    name, strength = _argument(body)
    if strength > 1:
        return name, strength
    names = strings((body.get("typeName") or {}).get("names"))
    return (names[-1], 1) if names else (name, strength)


def _sublink(body: Node) -> tuple[str, int]:
    kind = body.get("subLinkType")
    if kind in {"EXISTS_SUBLINK", "ARRAY_SUBLINK"}:
        return str(kind).removesuffix("_SUBLINK").lower(), 2
    if kind != "EXPR_SUBLINK":
        return NONE, 0
    targets = unwrap(body.get("subselect") or {})[1].get("targetList") or [{}]
    first = targets[0].get("ResTarget", {})
    value, inner = unwrap(first.get("val") or {})
    if first.get("name"):
        return str(first["name"]), 2
    if not value or (value == "ColumnRef" and "A_Star" in (inner.get("fields") or [{}])[-1]):
        return UNNAMED, 2  # a set operation, VALUES, *: the first column's name
    if value == "A_Indirection" and "A_Star" in (inner.get("indirection") or [{}])[-1]:
        return UNNAMED, 2
    return label(value, inner), 2
