"""Expressions: every column, function, operator, cast and subquery that evaluating one touches.

A bare column reference is the only thing that may stay a copy; everything that is walked here counts as `other`.
Node kinds that are neither listed as plain nor handled make the statement opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import orjson
from pglast.parser import ParseError

from enforcers.postgres.catalog.objects import Relation
from enforcers.postgres.describe import (
    calls,
    casts,
    conditionals,
    constants,
    functions,
    operators,
    queries,
    references,
    resolution,
)
from enforcers.postgres.describe.context import OPEN, Context, Node, OutColumn, Scope, Source, strings, unwrap
from enforcers.postgres.describe.foreign import stored_tree
from enforcers.postgres.describe.labels import NONE, label
from enforcers.postgres.describe.lineage import (
    ANYTHING,
    BOOL,
    COPY,
    GROWN,
    INT2,
    INT4,
    NOTHING,
    RECORD,
    TEXT,
    UNKNOWN,
    Sources,
    Value,
    computed,
    joined,
    loud,
)

# Kinds whose meaning is only that of their parts.
PLAIN = frozenset(
    [
        "A_Indices",
        "A_Star",
        "Boolean",
        "BooleanTest",
        "CaseWhen",
        "Float",
        "BitString",
        "GroupingFunc",
        "GroupingSet",
        "Integer",
        "List",
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
    "val": "JsonValueExpr",  # of JsonArgument: PASSING
}


# Those of them that tell nothing, and the type of what they make (0: that of a part, or none).
_QUIET = {
    "BooleanTest": BOOL,
    "GroupingFunc": INT4,
    "List": 0,
    "MergeSupportFunc": TEXT,
    "MultiAssignRef": 0,
    "NamedArgExpr": 0,
    "NullTest": BOOL,
    "RowExpr": RECORD,
    "SetToDefault": UNKNOWN,
    "SQLValueFunction": 0,
    "A_Indices": 0,
}


def walk(context: Context, node: Any, scope: Scope) -> Value:
    """Touch everything in an expression (or a list of them), and say what its value depends on. None is nothing."""
    if not node:
        return NOTHING
    if isinstance(node, list):
        return (
            computed([walk(context, item, scope) for item in node]) if len(node) > 1 else walk(context, node[0], scope)
        )
    facts = context.facts
    facts.enter()
    kind, body = unwrap(node)
    handler = _HANDLERS.get(kind)
    if handler is not None:
        value = handler(context, body, scope)
    elif kind in PLAIN:
        value = _made(context, kind, body, parts(context, body, scope))
    else:
        facts.doubt("unknown-statement", f"{kind} in an expression")
        value = ANYTHING
    facts.nested -= 1
    return value


def _made(context: Context, kind: str, body: Node, values: list[Value]) -> Value:
    """Of its parts, by a node whose meaning is only theirs."""
    context.facts.collects = context.facts.collects or kind in _COLLECTS
    result = _QUIET.get(kind)
    if result is None:
        value = told(context, values, _spoken(kind, body)) if kind in _LOUD else computed(values)
        if kind in _AGGREGATES:
            context.facts.infer(value.sources, "aggregate")
        return value
    if result == 0 and len(values) == 1:
        return values[0]
    return computed(values, result)


_AGGREGATES = frozenset(["JsonArrayAgg", "JsonObjectAgg"])
_LOUD = frozenset(
    ["JsonArrayAgg", "JsonArrayConstructor", "JsonArrayQueryConstructor", "JsonFuncExpr", "JsonIsPredicate",
     "JsonObjectAgg", "JsonObjectConstructor", "JsonParseExpr", "JsonScalarExpr", "JsonSerializeExpr", "XmlExpr",
     "XmlSerialize"]
)  # fmt: skip


def _spoken(kind: str, body: Node) -> str:
    """The constructor as its author wrote it, about: `xmlelement`, `json_object`."""
    name = label(kind, body)
    return kind if name == NONE else name


def told(context: Context, values: Sequence[Value], function: str, kind: int = 0) -> Value:
    """Something that can tell is applied to these."""
    for value in values:
        context.facts.told(value, function)
    return loud(values, function, kind)


def parts(context: Context, body: Node, scope: Scope) -> list[Value]:
    values: list[Value] = []
    for name, value in body.items():
        if isinstance(value, list):
            for item in value:
                if item:
                    values.append(walk(context, item, scope))
        elif isinstance(value, dict) and value:
            kind = unwrap(value)[0]
            if len(value) == 1 and kind[:1].isupper():
                values.append(walk(context, value, scope))
            elif name in _BARE:
                values.append(walk(context, {_BARE[name]: value}, scope))
            else:
                context.facts.doubt("unknown-statement", f"field {name}")
    return values


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
            return [found.called(name or strings(fields)[-1])]
    if kind == "A_Indirection" and "A_Star" in inner.get("indirection", [{}])[-1]:
        argument, ref = unwrap(inner.get("arg") or {})
        if argument == "ColumnRef" and len(inner["indirection"]) == 1:
            fields = strings(ref.get("fields"))
            if references.names_a_source(context, fields, scope):
                return references.star(context, fields, scope)
        return [OutColumn(OPEN, value=computed([walk(context, value, scope)]))]  # as many columns as the row has
    if kind == "A_Indirection":
        found = references.field_of_row(context, inner, scope)
        if found is not None:
            return [found.called(name or found.name)]
    return [OutColumn(name or label(kind, inner), value=_deferred(context, value, scope))]


_DEFERRED = frozenset(["expression", "case", "aggregate"])


def _deferred(context: Context, node: Any, scope: Scope) -> Value:
    """An item of a target list. What computing it reads and tells is told when it is asked for: what a query does not
    use of a subquery or view, the target leaves out, unless it is volatile or makes rows
    (remove_unused_subquery_outputs)."""
    facts = context.facts
    before, volatile, read, frames = facts.inferences, facts.volatile, len(facts.columns), facts.deciding
    facts.inferences, facts.volatile, facts.deciding = {}, False, []
    value = walk(context, node, scope)
    found, facts.inferences, facts.deciding = facts.inferences, before, frames
    at_once = facts.volatile or any(item[1] not in _DEFERRED for item in found)
    facts.volatile = facts.volatile or volatile
    if at_once:
        facts.inferred(found)
        return value
    marks = tuple(islice(facts.columns.items(), read, None))
    for key, _ in marks:
        del facts.columns[key]
    if not found and not marks:
        return value
    return Value(value.sources, value.type, value.quiet, value.size, tuple(found), marks)


def _column_ref(context: Context, body: Node, scope: Scope) -> Value:
    fields = body.get("fields", [])
    if "A_Star" in fields[-1]:
        columns = references.star(context, strings(fields[:-1]), scope)
        for column in columns:
            references.mark(context, column, "other")
        return computed([column.value for column in columns], RECORD)
    return references.resolve(context, strings(fields), scope)


def _call(context: Context, body: Node, scope: Scope) -> Value:
    found = functions.call(context, body, scope)
    for function in found:
        returned = context.catalog.type(function.return_type)
        if returned is not None and not function.builtin:
            functions.touch_type(context, returned, via="type")
    arguments = [walk(context, item, scope) for item in body.get("args", [])]
    ordered = [walk(context, item, scope) for item in body.get("agg_order", [])]
    chosen = walk(context, body.get("agg_filter"), scope)
    if "over" in body:
        window(context, body["over"], scope)
    if body.get("agg_distinct"):
        operators.equals(context)
    return calls.value(context, body, found, calls.Given(arguments, ordered, chosen))


def window(context: Context, body: Node, scope: Scope) -> Value:
    for name in ("partitionClause", "orderClause", "startOffset", "endOffset"):
        context.facts.infer(walk(context, body.get(name), scope).sources, "window")
    return NOTHING


def sorts_by(context: Context, body: Node) -> None:
    """ORDER BY … USING an operator."""
    if body.get("useOp"):
        for function in context.operator_functions(strings(body["useOp"])[-1]):
            functions.use(context, [function], "operator")


def _sort(context: Context, body: Node, scope: Scope) -> Value:
    sorts_by(context, body)
    return walk(context, body.get("node"), scope)


def _indirection(context: Context, body: Node, scope: Scope) -> Value:
    """Elements and fields. The whole is judged: which part it is isn't followed."""
    values = [walk(context, body.get("arg"), scope)]
    kind = values[0].type
    called = ""
    for item in body.get("indirection", []):
        if "A_Indices" in item:
            bounds = item["A_Indices"]
            values += [_subscript(context, bounds[part], scope) for part in ("lidx", "uidx") if bounds.get(part)]
            element = resolution.element_of(context.catalog, kind)
            kind = kind if item["A_Indices"].get("is_slice") else element
        elif "String" in item:
            # (row).name may be a function of the row
            name = item["String"].get("sval", "")
            functions.use_own(context, name)
            kind = 0
            if any(not function.builtin for function in context.candidates(name, "", 1)):
                called = name
    return told(context, values, called) if called else computed(values, kind)


def _subscript(context: Context, node: Any, scope: Scope) -> Value:
    """What is no integer yet becomes one, by a cast that fails beyond its range (array_subscript_transform)."""
    value = walk(context, node, scope)
    return value if value.type in {INT2, INT4, UNKNOWN} else told(context, [value], "a subscript")


def _collate(context: Context, body: Node, scope: Scope) -> Value:
    """Two collations that meet in a subquery's columns leave none, and what compares by it fails, but not on NULL."""
    context.facts.collates = True
    return computed([walk(context, body.get("arg"), scope)])


def _sublink(context: Context, body: Node, scope: Scope) -> Value:
    """Never quiet: more than one row is an error, and what finds the rows may fail or take long."""
    tested = walk(context, body.get("testexpr"), scope)
    link = body.get("subLinkType")
    names = strings(body.get("operName"))
    if link in {"ANY_SUBLINK", "ALL_SUBLINK"}:
        for function in context.operator_functions(names[-1] if names else "="):
            functions.use(context, [function], "operator")
    exists = link == "EXISTS_SUBLINK"
    if link == "ARRAY_SUBLINK":
        context.facts.collects = True
    deciding: Sources = {}
    context.facts.deciding.append(deciding)
    columns = queries.query(context, body.get("subselect", {}), scope, may_be_open=exists)
    context.facts.deciding.pop()
    if not exists:
        for column in columns:
            references.mark(context, column, "other")
    for column in columns:
        references.computes(context, column)  # EXISTS too, where it has OFFSET, HAVING, FOR UPDATE …
    rows = Value(deciding)
    values = [column.value for column in columns]
    if exists:
        context.facts.infer(deciding, "exists")
        return Value(deciding, BOOL, quiet=False)
    if link in {"ANY_SUBLINK", "ALL_SUBLINK"}:
        operator = names[-1] if names else "="
        schema = names[-2] if len(names) > 1 else ""
        value = operators.applied(context, operator, schema, tested, values) if values else tested
        context.facts.infer(joined([value, rows]), "exists")
        return Value(computed([value, rows]).sources, BOOL, quiet=False)
    if link == "ARRAY_SUBLINK":
        context.facts.infer(deciding, "exists")
        kind = resolution.array_of(context.catalog, values[0].type) if values else 0
        return Value(computed([*values, rows]).sources, kind, quiet=False, size=GROWN)
    if len(values) != 1:  # a row of them, for SET (a, b) = (…)
        return Value(computed([*values, rows]).sources, RECORD, quiet=False)
    return Value(joined([values[0], rows]), values[0].type, quiet=False, size=values[0].size)


def _select(context: Context, body: Node, scope: Scope) -> Value:
    columns = queries.query(context, {"SelectStmt": body}, scope)
    for column in columns:
        references.mark(context, column, "other")
    return computed([column.value for column in columns])


def _param(context: Context, body: Node, scope: Scope) -> Value:
    number = int(body.get("number", 0))
    if context.top:
        context.facts.parameters = max(context.facts.parameters, number)
        context.facts.parameter_uses[number] = context.facts.parameter_uses.get(number, 0) + 1
        return NOTHING
    found = scope.parameter(f"${number}")
    return NOTHING if found is None else found


def _named(context: Context, body: Node, scope: Scope) -> Value:
    """A named argument of XMLFOREST and the like."""
    return walk(context, body.get("val"), scope)


def _current_of(context: Context, body: Node, scope: Scope) -> Value:
    """WHERE CURRENT OF: which row it is, the cursor knows."""
    return NOTHING


_HANDLERS: dict[str, Callable[[Context, Node, Scope], Value]] = {
    "A_ArrayExpr": conditionals.array,
    "A_Const": constants.constant,
    "A_Expr": operators.operator,
    "A_Indirection": _indirection,
    "BoolExpr": conditionals.logic,
    "CaseExpr": conditionals.case,
    "CoalesceExpr": conditionals.coalesce,
    "CollateClause": _collate,
    "ColumnRef": _column_ref,
    "CurrentOfExpr": _current_of,
    "FuncCall": _call,
    "MinMaxExpr": conditionals.min_max,
    "ParamRef": _param,
    "ResTarget": _named,
    "SelectStmt": _select,
    "SortBy": _sort,
    "SubLink": _sublink,
    "TypeCast": casts.written,
    "TypeName": casts.named,
    "WindowDef": window,
}


def stored(context: Context, text: str, *, relation: Relation | None, shown: bool = False) -> Value:
    """An expression that the catalog holds: default, check, policy, index. Its columns are the relation's own.

    shown: its value can be seen (a generated column that is read, a policy), so what it is made of counts as read.
    """
    key = ("expression", text, context.via, relation.oid if relation else 0, shown)
    known = context.facts.stored.get(key)
    if known is not None:
        return known
    context.facts.stored[key] = NOTHING
    if context.too_deep:
        return NOTHING
    # What the server printed on the catalog connection, search_path empty: only pg_catalog needs no schema.
    inner = context.inner(context.via, path=context.catalog.printed_path)
    try:
        # several index expressions are printed as a list
        parsed = stored_tree(context, f"SELECT ROW({text})")
    except (ParseError, orjson.JSONDecodeError):
        context.facts.doubt(context.procedural(), "an expression that can't be parsed")
        return ANYTHING
    scope = Scope(columns=[OutColumn("value")])  # VALUE, in a domain's check
    if relation is not None:
        columns = [
            OutColumn(
                column.name,
                None,
                None,
                ((relation, column),) if shown else (),
                Value({(relation.oid, column.attnum): COPY}, column.type_oid),
            )
            for column in relation.columns
        ]
        scope = Scope(columns=columns, sources=[Source(relation.name, columns)])
    row = parsed["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    inferred = dict(context.facts.inferences)
    value = walk(inner, row, scope)
    if not shown:
        context.facts.inferences = inferred  # the row that is written is its writer's; what is probed, effects.py says
    context.facts.stored[key] = value
    return value
