"""Expressions: every column, function, operator, cast and subquery that evaluating one touches.

A bare column reference is the only thing that may stay a copy; everything that is walked here counts as `other`.
Node kinds that are neither listed as plain nor handled make the statement opaque.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from pglast.parser import ParseError

from enforcers.postgres.catalog.objects import Relation
from enforcers.postgres.describe import functions, queries, references
from enforcers.postgres.describe.context import OPEN, Context, Node, OutColumn, Scope, Source, strings, unwrap
from enforcers.postgres.describe.foreign import stored_tree
from enforcers.postgres.describe.labels import label

# Kinds whose meaning is only that of their parts.
PLAIN = frozenset(
    [
        "A_ArrayExpr",
        "A_Indices",
        "A_Star",
        "BoolExpr",
        "Boolean",
        "BooleanTest",
        "CaseWhen",
        "CoalesceExpr",
        "CollateClause",
        "Float",
        "BitString",
        "GroupingFunc",
        "GroupingSet",
        "Integer",
        "List",
        "MinMaxExpr",
        "MultiAssignRef",
        "NamedArgExpr",
        "NullTest",
        "RowExpr",
        "SetToDefault",
        "String",
        "XmlExpr",
        "XmlSerialize",
        "JsonAggConstructor",
        "JsonArgument",
        "JsonArrayAgg",
        "JsonArrayConstructor",
        "JsonArrayQueryConstructor",
        "JsonBehavior",
        "JsonFormat",
        "JsonFuncExpr",
        "JsonIsPredicate",
        "JsonKeyValue",
        "JsonObjectAgg",
        "JsonObjectConstructor",
        "JsonOutput",
        "JsonParseExpr",
        "JsonReturning",
        "JsonScalarExpr",
        "JsonSerializeExpr",
        "JsonValueExpr",
        "MergeSupportFunc",
        "SQLValueFunction",
        "Alias",
        "WindowDef",
        "SortBy",
    ]
)
_COLLECTS = frozenset(["JsonArrayAgg", "JsonArrayQueryConstructor", "JsonObjectAgg"])
# Fields that hold a node without its kind.
_BARE = {
    "typeName": "TypeName",
    "over": "WindowDef",
    "output": "JsonOutput",
    "returning": "JsonReturning",
    "format": "JsonFormat",
    "constructor": "JsonAggConstructor",
    "value": "JsonValueExpr",
    "context_item": "JsonValueExpr",
    "on_empty": "JsonBehavior",
    "on_error": "JsonBehavior",
    "alias": "Alias",
    "ival": "Integer",
    "sval": "String",
    "arg": "JsonKeyValue",
    "expr": "JsonValueExpr",
    "query": "SelectStmt",
}


def walk(context: Context, node: Any, scope: Scope) -> None:
    """Touch everything in an expression (or a list of them). None is nothing."""
    if not node:
        return
    if isinstance(node, list):
        for item in node:
            walk(context, item, scope)
        return
    kind, body = unwrap(node)
    handler = _HANDLERS.get(kind)
    if handler is not None:
        handler(context, body, scope)
    elif kind in PLAIN:
        context.facts.collects = context.facts.collects or kind in _COLLECTS
        _parts(context, body, scope)
    else:
        context.facts.doubt("unknown-statement", f"{kind} in an expression")


def _parts(context: Context, body: Node, scope: Scope) -> None:
    for name, value in body.items():
        if isinstance(value, list):
            walk(context, value, scope)
        elif isinstance(value, dict) and value:
            kind = unwrap(value)[0]
            if len(value) == 1 and kind[:1].isupper():
                walk(context, value, scope)
            elif name in _BARE:
                walk(context, {_BARE[name]: value}, scope)
            else:
                context.facts.doubt("unknown-statement", f"field {name}")


def depends(node: Any) -> bool:
    """Does the expression depend on anything but constants? Calls and parameters do."""
    if isinstance(node, list):
        return any(depends(item) for item in node)
    if isinstance(node, dict):
        return any(
            key in {"ColumnRef", "SubLink", "ParamRef", "CurrentOfExpr"} or depends(value)
            for key, value in node.items()
        )
    return False


def restricts(node: Node | None) -> bool:
    """Is this a WHERE that isn't constant? One constant arm of an OR makes it one; an AND needs one that isn't."""
    if not node:
        return False
    kind, body = unwrap(node)
    if kind == "BoolExpr":
        arms = [restricts(arm) for arm in body.get("args", [])]
        return all(arms) if body.get("boolop") == "OR_EXPR" else any(arms)
    if kind == "A_Expr" and _same(body.get("lexpr"), body.get("rexpr")):
        return False
    return depends(node)


def _same(left: Any, right: Any) -> bool:
    """x = x, x <= x: restricts nothing but NULL."""
    if not left or not right or unwrap(left)[0] != "ColumnRef" or unwrap(right)[0] != "ColumnRef":
        return False
    return strings(unwrap(left)[1].get("fields")) == strings(unwrap(right)[1].get("fields"))


def target(context: Context, node: Node, scope: Scope) -> list[OutColumn]:
    """The columns an item of a target list makes. Bare references are left unmarked: who uses them says how."""
    body = node.get("ResTarget", {})
    value, name = body.get("val"), body.get("name", "")
    kind, inner = unwrap(value or {})
    if kind == "ColumnRef" and not body.get("indirection"):
        fields = inner.get("fields", [])
        if "A_Star" in fields[-1]:
            return references.star(context, strings(fields[:-1]), scope)
        found = references.bare(context, strings(fields), scope)
        if found is not None:
            return [OutColumn(name or strings(fields)[-1], found.base, found.wire, found.touched)]
    if kind == "A_Indirection" and "A_Star" in inner.get("indirection", [{}])[-1]:
        argument, ref = unwrap(inner.get("arg") or {})
        if argument == "ColumnRef" and len(inner["indirection"]) == 1:
            fields = strings(ref.get("fields"))
            if references.names_a_source(context, fields, scope):
                return references.star(context, fields, scope)
        walk(context, value, scope)
        return [OutColumn(OPEN)]  # as many columns as the row has
    if kind == "A_Indirection":
        found = references.field_of_row(context, inner, scope)
        if found is not None:
            return [OutColumn(name or found.name, found.base, found.wire, found.touched)]
    walk(context, value, scope)
    return [OutColumn(name or label(kind, inner))]


def _column_ref(context: Context, body: Node, scope: Scope) -> None:
    fields = body.get("fields", [])
    if "A_Star" in fields[-1]:
        for column in references.star(context, strings(fields[:-1]), scope):
            references.mark(context, column, "other")
        return
    references.resolve(context, strings(fields), scope)


def _constant(context: Context, body: Node, scope: Scope) -> None:
    """A constant touches nothing. Its place is remembered by those who know that its value doesn't matter."""


def free(context: Context, node: Any) -> None:
    """This operand's value matters to nothing that is described."""
    if context.top and isinstance(node, dict) and "A_Const" in node:
        context.facts.free.add(int(node["A_Const"].get("location", 0)))


def _operator(context: Context, body: Node, scope: Scope) -> None:
    names = strings(body.get("name"))
    kind = body.get("kind")
    schema = names[-2] if len(names) > 1 else ""
    if kind in {"AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM"}:
        used = [item for name in ("<", "<=", ">", ">=") for item in context.operator_functions(name)]
    else:
        used = context.operator_functions(names[-1], schema)
        if not schema and not context.catalog.operators_named(names[-1]):
            context.facts.doubt("unresolved", f"operator {names[-1]}")
    if kind == "AEXPR_SIMILAR":
        functions.use(context, context.candidates("similar_to_escape", "pg_catalog", -1), "operator")
    for function in used:
        functions.use(context, [function], "operator")
    for side in (body.get("lexpr"), body.get("rexpr")):
        free(context, side)
        if isinstance(side, dict) and "List" in side:
            for item in side["List"].get("items", []):
                free(context, item)
        walk(context, side, scope)


def _equals(context: Context) -> None:
    for function in context.operator_functions("="):
        functions.use(context, [function], "operator")


def _case(context: Context, body: Node, scope: Scope) -> None:
    if body.get("arg"):
        _equals(context)
    _parts(context, body, scope)


def _call(context: Context, body: Node, scope: Scope) -> None:
    found = functions.call(context, body, scope)
    for function in found:
        returned = context.catalog.type(function.return_type)
        if returned is not None and not function.builtin:
            functions.touch_type(context, returned, via="type")
    for name in ("args", "agg_order", "agg_filter"):
        walk(context, body.get(name), scope)
    if "over" in body:
        window(context, body["over"], scope)
    if body.get("agg_distinct"):
        _equals(context)


def window(context: Context, body: Node, scope: Scope) -> None:
    for name in ("partitionClause", "orderClause", "startOffset", "endOffset"):
        walk(context, body.get(name), scope)


def _sort(context: Context, body: Node, scope: Scope) -> None:
    if body.get("useOp"):
        for function in context.operator_functions(strings(body["useOp"])[-1]):
            functions.use(context, [function], "operator")
    walk(context, body.get("node"), scope)


def _cast(context: Context, body: Node, scope: Scope) -> None:
    walk(context, body.get("arg"), scope)
    type_name(context, body.get("typeName", {}), scope)


def type_name(context: Context, body: Node, scope: Scope) -> None:
    names = strings(body.get("names"))
    if not names:
        return
    walk(context, [item for item in body.get("typmods", []) if "A_Const" not in item], scope)
    found = context.find_type(names[-1], names[-2] if len(names) > 1 else "")
    if len(names) == 1 and context.temporary_unread:
        context.facts.doubt("unresolved", f"type {names[0]}: temporary objects were not read")
    if body.get("pct_type") or found is None:
        context.facts.doubt("unresolved", "type " + ".".join(names))
        return
    functions.touch_type(context, found, via="cast")
    functions.cast_to(context, found)


def _type(context: Context, body: Node, scope: Scope) -> None:
    type_name(context, body, scope)


def _indirection(context: Context, body: Node, scope: Scope) -> None:
    walk(context, body.get("arg"), scope)
    for item in body.get("indirection", []):
        if "A_Indices" in item:
            walk(context, item, scope)
        elif "String" in item:
            # (row).name may be a function of the row
            functions.use_own(context, item["String"].get("sval", ""))


def _sublink(context: Context, body: Node, scope: Scope) -> None:
    walk(context, body.get("testexpr"), scope)
    if body.get("subLinkType") in {"ANY_SUBLINK", "ALL_SUBLINK"}:
        names = strings(body.get("operName"))
        for function in context.operator_functions(names[-1] if names else "="):
            functions.use(context, [function], "operator")
    exists = body.get("subLinkType") == "EXISTS_SUBLINK"
    if body.get("subLinkType") == "ARRAY_SUBLINK":
        context.facts.collects = True
    columns = queries.query(context, body.get("subselect", {}), scope, may_be_open=exists)
    if not exists:
        for column in columns:
            references.mark(context, column, "other")


def _select(context: Context, body: Node, scope: Scope) -> None:
    for column in queries.query(context, {"SelectStmt": body}, scope):
        references.mark(context, column, "other")


def _param(context: Context, body: Node, scope: Scope) -> None:
    if context.top:
        context.facts.parameters = max(context.facts.parameters, int(body.get("number", 0)))


def _named(context: Context, body: Node, scope: Scope) -> None:
    """A named argument of XMLFOREST and the like."""
    walk(context, body.get("val"), scope)


def _current_of(context: Context, body: Node, scope: Scope) -> None:
    """WHERE CURRENT OF: which row it is, the cursor knows."""


_HANDLERS: dict[str, Callable[[Context, Node, Scope], None]] = {
    "A_Const": _constant,
    "A_Expr": _operator,
    "A_Indirection": _indirection,
    "CaseExpr": _case,
    "ColumnRef": _column_ref,
    "CurrentOfExpr": _current_of,
    "FuncCall": _call,
    "ParamRef": _param,
    "ResTarget": _named,
    "SelectStmt": _select,
    "SortBy": _sort,
    "SubLink": _sublink,
    "TypeCast": _cast,
    "TypeName": _type,
    "WindowDef": window,
}


def stored(context: Context, text: str, *, relation: Relation | None, shown: bool = False) -> None:
    """An expression that the catalog holds: default, check, policy, index. Its columns are the relation's own.

    shown: its value can be seen (a generated column that is read, a policy), so what it is made of counts as read.
    """
    key = ("expression", text, context.via, relation.oid if relation else 0, shown)
    if key in context.facts.expanded or context.too_deep:
        return
    context.facts.expanded.add(key)
    # What the server printed on the catalog connection, search_path empty: only pg_catalog needs no schema.
    inner = context.inner(context.via, path=context.catalog.printed_path)
    try:
        # several index expressions are printed as a list
        parsed = stored_tree(context, f"SELECT ROW({text})")
    except (ParseError, orjson.JSONDecodeError):
        context.facts.doubt(context.procedural(), "an expression that can't be parsed")
        return
    scope = Scope(columns=[OutColumn("value")])  # VALUE, in a domain's check
    if relation is not None:
        columns = [
            OutColumn(column.name, None, None, ((relation, column),) if shown else ()) for column in relation.columns
        ]
        scope = Scope(columns=columns, sources=[Source(relation.name, columns)])
    walk(inner, parsed["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"], scope)
