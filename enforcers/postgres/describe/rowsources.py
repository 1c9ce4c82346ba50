"""What stands in FROM and is no relation: functions, XMLTABLE, JSON_TABLE. Their columns, by exact name and number.

Where number or names depend on a type that isn't certain here (a polymorphic result, several candidates), the source is
open: it may have any column. A wrong guess would let a name mean a table's column further out unseen.
"""

from __future__ import annotations

from typing import Any

from enforcers.postgres.catalog.objects import Function
from enforcers.postgres.describe import calls, casts, expressions, references
from enforcers.postgres.describe.context import Context, Node, OutColumn, Scope, Source, strings, unwrap
from enforcers.postgres.describe.labels import label
from enforcers.postgres.describe.lineage import GROWN, Value, computed, joined

_SCALAR_PSEUDO = frozenset(
    ["anyarray", "anycompatiblearray", "anyenum", "anyrange", "anycompatiblerange", "anymultirange",
     "anycompatiblemultirange", "cstring", "void"]
)  # fmt: skip
_DECORATIONS = ("agg_order", "agg_filter", "over", "agg_within_group", "agg_star", "agg_distinct", "func_variadic")
_SCALAR_NODES = frozenset(["A_Const", "BoolExpr", "NullTest", "SQLValueFunction"])
_SCALAR_OPERATORS = frozenset(["+", "-", "*", "/", "%", "=", "<>", "<", ">", "<=", ">="])


def function(context: Context, body: Node, scope: Scope) -> Source:
    """A function in FROM, or several with ROWS FROM. Its columns are computed ones."""
    columns: list[OutColumn] = []
    names: list[str] = []
    values: list[Value] = []
    open_source = takes_alias = False
    items = [part for item in body.get("functions", []) for part in _apart(item)]
    for item in items:
        parts = item.get("List", {}).get("items", [])
        listed = [] if len(parts) < 2 or not parts[1] else parts[1].get("List", {}).get("items", [])
        found, name, opened, scalar, value = _columns(context, parts[0] if parts else {}, scope)
        names.append(name)
        values.append(value)
        if listed or body.get("coldeflist"):
            found, opened, scalar = _definitions(context, listed or body["coldeflist"], scope, value), False, False
        columns.extend(found)
        open_source = open_source or opened
        takes_alias = scalar
    alias = body.get("alias") or {}
    if alias.get("aliasname") and takes_alias and len(items) == 1 and not open_source:
        columns = [column.called(str(alias["aliasname"])) for column in columns]
    if open_source and alias.get("colnames"):
        columns = [OutColumn(item, value=computed(values)) for item in strings(alias["colnames"])]
    elif body.get("ordinality"):
        columns = [*columns, OutColumn("ordinality")]
    return Source(names[0] if names else "", columns, open=open_source, value=computed(values))


def _apart(item: Node) -> list[Node]:
    """unnest(a, b) in FROM, undecorated, is ROWS FROM (pg_catalog.unnest(a), pg_catalog.unnest(b)) to PostgreSQL
    (transformRangeFunction)."""
    parts = item.get("List", {}).get("items", [])
    kind, body = unwrap(parts[0]) if parts else ("", {})
    if kind != "FuncCall" or strings(body.get("funcname")) != ["unnest"] or len(body.get("args", [])) < 2:
        return [item]
    if any(body.get(key) for key in _DECORATIONS) or (len(parts) > 1 and parts[1]):
        return [item]
    name = [{"String": {"sval": part}} for part in ("pg_catalog", "unnest")]
    return [
        {"List": {"items": [{"FuncCall": {**body, "funcname": name, "args": [argument]}}]}} for argument in body["args"]
    ]


def _definitions(context: Context, items: Any, scope: Scope, value: Value) -> list[OutColumn]:
    columns = []
    for item in items:
        definition = item.get("ColumnDef", {})
        name = definition.get("typeName", {})
        casts.type_name(context, name, scope)
        kind = casts.named_type(context, name)
        columns.append(
            OutColumn(str(definition.get("colname", "")), value=Value(value.sources, kind, quiet=False, size=GROWN))
        )
    return columns


def _columns(context: Context, node: Node, scope: Scope) -> tuple[list[OutColumn], str, bool, bool, Value]:
    """(columns, name, open, is it one scalar that an alias renames, what they depend on)"""
    value = expressions.walk(context, node, scope)
    kind, body = unwrap(node)
    name = label(kind, body)
    shapes = set()
    if kind == "FuncCall":
        parts = strings(body.get("funcname"))
        count = -1 if body.get("func_variadic") else len(body.get("args", []))
        for candidate in context.candidates(parts[-1], parts[-2] if len(parts) > 1 else "", count):
            shapes.add(_result(context, candidate, body, scope))
        if shapes >= {("",)} and _only_array(context, body, scope):
            shapes = {("",)}  # unnest of an array, not of a tsvector or multirange
    else:
        shapes.add(("",) if _scalar(context, node, scope) else None)
    if len(shapes) != 1:
        return [], name, True, False, value
    shape = shapes.pop()
    if shape is None:
        return [], name, True, False, value
    if shape == ("",):
        return [OutColumn(name, value=value)], name, False, True, value
    return _of_body(context, node, scope, shape, value), name, False, False, value


def _of_body(context: Context, node: Node, scope: Scope, names: tuple[str, ...], value: Value) -> list[OutColumn]:
    """The columns of a function's rows: of one that is written in SQL, each what its query makes it."""
    kind, body = unwrap(node)
    parts = strings(body.get("funcname"))
    found = context.candidates(parts[-1], parts[-2] if len(parts) > 1 else "", len(body.get("args", [])))
    if kind == "FuncCall" and len(found) == 1 and found[0].language == "sql" and not found[0].builtin:
        given = [expressions.walk(context, item, scope) for item in body.get("args", [])]
        columns = calls.inlined(context, body, found[0], given)
        if len(columns) == len(names):
            return [column.called(name) for column, name in zip(columns, names, strict=True)]
    part = computed([value])
    return [OutColumn(item, value=part) for item in names]


def _result(context: Context, candidate: Function, body: Node, scope: Scope) -> tuple[str, ...] | None:
    """The names of a function's result columns; ("",): one, called like the function or its alias; None: unknown."""
    out = candidate.argument_names[candidate.arguments :]
    returned = context.catalog.type(candidate.return_type)
    if returned is None:
        return None
    if returned.kind == "p" and returned.name == "record":
        return out if out and all(out) else None
    composite = _composite(context, candidate.return_type)
    if composite is not None:
        return composite
    if returned.kind == "p" and returned.name not in _SCALAR_PSEUDO:
        polymorphic = candidate.builtin and candidate.name == "unnest" and _only_array(context, body, scope)
        return ("",) if polymorphic else None
    return (out[0],) if len(out) == 1 and out[0] else ("",)


def _composite(context: Context, type_oid: int) -> tuple[str, ...] | None:
    """The column names of a composite type, through domains; None for any other."""
    found = context.catalog.type(type_oid)
    while found is not None and found.kind == "d":
        found = context.catalog.type(found.base)
    if found is None or found.kind != "c":
        return None
    relation = context.catalog.relation(found.relation)
    return tuple(column.name for column in relation.columns) if relation is not None else ()


def _plain(context: Context, type_oid: int) -> bool:
    """Surely no row and no array of rows: neither composite nor record nor polymorphic."""
    while True:
        found = context.catalog.type(type_oid)
        while found is not None and found.kind == "d":
            found = context.catalog.type(found.base)
        if found is None or found.kind not in {"b", "e", "r", "m"}:
            return False
        if not found.element:
            return True
        type_oid = found.element


def _scalar(context: Context, node: Node, scope: Scope) -> bool:
    """Is this expression's value surely no row?"""
    kind, body = unwrap(node)
    if kind == "TypeCast":
        named = body.get("typeName") or {}
        names = strings(named.get("names"))
        found = context.find_type(names[-1], names[-2] if len(names) > 1 else "") if names else None
        return found is not None and _plain(context, found.oid)
    if kind == "A_Expr":
        name = strings(body.get("name"))[-1]
        return name in _SCALAR_OPERATORS and not context.operator_functions(name)
    if kind == "ColumnRef":
        column = references.bare(context, strings(body.get("fields")), scope)
        return column is not None and column.base is not None and _plain(context, column.base[1].type_oid)
    if kind == "FuncCall":
        returned = _returned(context, body)
        return bool(returned) and all(_plain(context, oid) for oid in returned)
    return kind in _SCALAR_NODES


def _returned(context: Context, body: Node) -> list[int]:
    parts = strings(body.get("funcname"))
    count = -1 if body.get("func_variadic") else len(body.get("args", []))
    found = context.candidates(parts[-1], parts[-2] if len(parts) > 1 else "", count)
    return [candidate.return_type for candidate in found]


def _only_array(context: Context, body: Node, scope: Scope) -> bool:
    """Is this unnest(x) of the server's own, x surely an array whose elements are no rows?"""
    parts, arguments = strings(body.get("funcname")), body.get("args", [])
    if parts[-1] != "unnest" or len(arguments) != 1:
        return False
    kind, argument = unwrap(arguments[0])
    if kind == "A_ArrayExpr":
        items = argument.get("elements", [])
        return bool(items) and all(_scalar(context, item, scope) for item in items)
    if kind == "TypeCast":
        named = argument.get("typeName") or {}
        names = strings(named.get("names"))
        found = context.find_type(names[-1], names[-2] if len(names) > 1 else "") if names else None
        if found is None:
            return False
        return _plain(context, found.oid if named.get("arrayBounds") else found.element)
    if kind == "ColumnRef":
        column = references.bare(context, strings(argument.get("fields")), scope)
        oids = [column.base[1].type_oid] if column is not None and column.base is not None else []
    elif kind == "FuncCall":
        oids = _returned(context, argument)
    else:
        return False
    types = [context.catalog.type(oid) for oid in oids]
    return bool(types) and all(item is not None and item.element and _plain(context, item.element) for item in types)


def table_function(context: Context, kind: str, body: Node, scope: Scope) -> Source:
    """XMLTABLE and JSON_TABLE: what they are given decides how many rows there are, and every column."""
    given = []
    for part in ("docexpr", "rowexpr", "namespaces", "context_item", "pathspec", "passing", "on_error"):
        value = body.get(part)
        if isinstance(value, dict) and part == "context_item":
            value = {"JsonValueExpr": value}
        elif isinstance(value, dict) and part in {"pathspec", "on_error"}:
            value = value.get("string") if part == "pathspec" else value.get("expr")
        given.append(expressions.walk(context, value, scope))
    name = "json_table" if kind == "JsonTable" else "xmltable"
    context.facts.infer(joined(given), "set-returning")
    value = expressions.told(context, given, name)
    return Source(name, _table_columns(context, body.get("columns"), scope, value))


def _table_columns(context: Context, items: Any, scope: Scope, given: Value) -> list[OutColumn]:
    columns = []
    for item in items or []:
        _, column = unwrap(item)
        if column.get("columns"):
            columns.extend(_table_columns(context, column["columns"], scope, given))
            continue
        casts.type_name(context, column.get("typeName", {}), scope)
        made = [given]
        for part in ("colexpr", "coldefexpr"):
            made.append(expressions.walk(context, column.get(part), scope))
        for part in ("on_empty", "on_error"):
            made.append(expressions.walk(context, (column.get(part) or {}).get("expr"), scope))
        value = expressions.told(context, made[1:], "a column of a table function")
        columns.append(
            OutColumn(str(column.get("colname") or column.get("name") or ""), value=computed([given, value]))
        )
    return columns
