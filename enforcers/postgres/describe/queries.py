"""SELECT and what may stand in its place: FROM, joins, WITH, set operations; the columns a query yields.

A query's bare columns stay unmarked until someone uses them, so that `SELECT id FROM (SELECT * FROM t) x` reads id
only. Computed ones are marked when they are met.
"""

from __future__ import annotations

from typing import Any

from enforcers.postgres.describe import expressions, functions, references, relations, statements
from enforcers.postgres.describe.context import Context, Node, OutColumn, Scope, Source, strings, unwrap

_DATA = {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}


def query(context: Context, node: Node, outer: Scope) -> list[OutColumn]:
    """Any statement that yields rows, a wrapped node. outer: the scope it stands in."""
    kind, body = unwrap(node)
    if kind == "SelectStmt":
        return select(context, body, outer)
    if kind in _DATA:
        return statements.data(context, kind, body, outer)
    context.facts.doubt("unknown-statement", kind or "an empty query")
    return []


def with_clause(context: Context, body: Node, scope: Scope) -> None:
    """WITH: each name's columns go into scope.ctes."""
    clause = body.get("withClause")
    if not clause:
        return
    ctes = [item.get("CommonTableExpr", {}) for item in clause.get("ctes", [])]
    recursive = bool(clause.get("recursive"))
    if recursive:
        # Forward references are legal: until a name is described its columns are computed ones of unknown origin.
        for cte in ctes:
            scope.ctes[cte.get("ctename", "")] = _recursive_names(context, cte)
    for cte in ctes:
        name = cte.get("ctename", "")
        columns = query(context, cte.get("ctequery", {}), scope)
        if recursive:
            for column in columns:
                references.mark(context, column, "other")
            columns = [OutColumn(column.name) for column in columns]
        aliases = strings(cte.get("aliascolnames"))
        columns = _renamed(columns, aliases)
        for clause_name in ("search_clause", "cycle_clause"):
            if cte.get(clause_name):
                columns = columns + _extra(cte[clause_name])
                functions_equal(context)
        scope.ctes[name] = columns
        if cte.get("cycle_clause"):
            for part in ("cycle_mark_value", "cycle_mark_default"):
                expressions.walk(context, cte["cycle_clause"].get(part), scope)


def _extra(clause: Node) -> list[OutColumn]:
    names = ("search_seq_column", "cycle_mark_column", "cycle_path_column")
    return [OutColumn(str(clause[name])) for name in names if clause.get(name)]


def _recursive_names(context: Context, cte: Node) -> list[OutColumn]:
    """The column names of a WITH RECURSIVE item, from its first arm, without marking anything."""
    aliases = strings(cte.get("aliascolnames"))
    kind, body = unwrap(cte.get("ctequery", {}))
    while kind == "SelectStmt" and body.get("larg"):
        body = body["larg"]
    names = []
    targets = body.get("targetList", []) if kind == "SelectStmt" else []
    for item in targets:
        names.extend(_target_names(item.get("ResTarget", {})))
    width = len(body["valuesLists"][0]["List"].get("items", [])) if body.get("valuesLists") else 0
    names.extend(f"column{index + 1}" for index in range(width))
    columns = [OutColumn(name) for name in [*aliases, *names[len(aliases) :]]]
    for extra in ("search_clause", "cycle_clause"):
        if cte.get(extra):
            columns += _extra(cte[extra])
    return columns


def _target_names(target: Node) -> list[str]:
    if target.get("name"):
        return [str(target["name"])]
    kind, body = unwrap(target.get("val") or {})
    if kind == "ColumnRef" and "String" in body.get("fields", [{}])[-1]:
        return [strings(body["fields"])[-1]]
    return [references.default_name(kind, body)]


def functions_equal(context: Context) -> None:
    """Something is compared for equality: joins by USING, DISTINCT, set operations."""
    for function in context.operator_functions("="):
        functions.use(context, [function], "operator")


def _renamed(columns: list[OutColumn], names: list[str]) -> list[OutColumn]:
    renamed = [
        OutColumn(name, column.base, column.wire, column.touched) for name, column in zip(names, columns, strict=False)
    ]
    return renamed + columns[len(renamed) :]


def select(context: Context, body: Node, outer: Scope) -> list[OutColumn]:
    if context.top or not context.too_deep:
        scope = Scope(parent=outer, parameters=frozenset())
        with_clause(context, body, scope)
        if body.get("larg"):
            return _set_operation(context, body, scope)
        if body.get("valuesLists"):
            columns = _values(context, body, scope)
            _tail(context, body, scope, columns)
            return columns
        return _plain(context, body, scope)
    return []


def _values(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    width = 0
    for row in body["valuesLists"]:
        items = row.get("List", {}).get("items", [])
        width = max(width, len(items))
        for item in items:
            expressions.free(context, item)
            expressions.walk(context, item, scope)
    return [OutColumn(f"column{index + 1}") for index in range(width)]


def _set_operation(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    """Which arm a value came from is not known afterwards: no origin, everything below counts as read."""
    left = select(context, body["larg"], scope)
    right = select(context, body["rarg"], scope)
    for column in (*left, *right):
        references.mark(context, column, "other")
    if not body.get("all"):
        functions_equal(context)
    columns = [OutColumn(column.name) for column in left]
    _tail(context, body, scope, columns)
    return columns


def _plain(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    from_clause(context, body.get("fromClause"), scope)
    expressions.walk(context, body.get("whereClause"), scope)
    columns = [column for item in body.get("targetList", []) for column in expressions.target(context, item, scope)]
    _grouping(context, body.get("groupClause"), scope, columns)
    expressions.walk(context, body.get("havingClause"), scope)
    for item in body.get("windowClause", []):
        expressions.window(context, item.get("WindowDef", {}), scope)
    if body.get("distinctClause"):
        functions_equal(context)
        given = [item for item in body["distinctClause"] if item]
        if given:
            _grouping(context, given, scope, columns)
        else:
            for column in columns:
                references.mark(context, column, "other")
    _tail(context, body, scope, columns)
    if body.get("intoClause"):
        statements.into(context, body["intoClause"], columns)
        return []
    return columns


def _grouping(context: Context, items: Any, scope: Scope, columns: list[OutColumn]) -> None:
    """GROUP BY, DISTINCT ON, ORDER BY: positions and output names reach the result's own columns."""
    for item in items or []:
        kind, body = unwrap(item)
        if kind == "GroupingSet":
            _grouping(context, body.get("content"), scope, columns)
            continue
        if kind == "SortBy":
            if body.get("useOp"):
                expressions.walk(context, item, scope)
            _grouping(context, [body.get("node", {})], scope, columns)
            continue
        if kind == "A_Const" and "ival" in body:
            position = int(body["ival"].get("ival", 0))
            if 1 <= position <= len(columns):
                references.mark(context, columns[position - 1], "other")
            continue
        named = []
        if kind == "ColumnRef" and len(body.get("fields", [])) == 1:
            name = strings(body["fields"])[-1]
            named = [column for column in columns if name and column.name == name]
            for column in named:
                references.mark(context, column, "other")
        if not named or any(column.name == name for column in scope.columns):
            expressions.walk(context, item, scope)


def _tail(context: Context, body: Node, scope: Scope, columns: list[OutColumn]) -> None:
    """ORDER BY, LIMIT, OFFSET, FOR UPDATE."""
    inner = scope
    if body.get("larg") or body.get("valuesLists"):
        inner = Scope(parent=scope, columns=list(columns))
    _grouping(context, body.get("sortClause"), inner, columns)
    for name in ("limitCount", "limitOffset"):
        limit = body.get(name)
        if limit and not limit.get("A_Const", {}).get("isnull"):
            expressions.free(context, limit)
        expressions.walk(context, limit, inner)
    for item in body.get("lockingClause", []):
        _lock(context, item.get("LockingClause", {}), scope)


def _lock(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.lock")
    facts.writes = True
    wanted = {item.get("RangeVar", {}).get("relname", "") for item in body.get("lockedRels", [])}
    for source in scope.sources:
        if not wanted or source.name in wanted:
            for column in source.columns:
                for relation, _ in column.touched:
                    facts.access(relation, "lock", context.via)


def from_clause(context: Context, items: Any, scope: Scope) -> None:
    """Fill a scope with the items of FROM. Each may see the earlier ones where LATERAL lets it."""
    for item in items or []:
        columns, sources = _from_item(context, item, scope)
        scope.columns.extend(columns)
        scope.sources.extend(sources)


def _from_item(context: Context, node: Node, scope: Scope) -> tuple[list[OutColumn], list[Source]]:
    kind, body = unwrap(node)
    if kind == "RangeVar":
        source = table(context, body, scope)
    elif kind == "RangeSubselect":
        lateral = scope if body.get("lateral") else _above(scope)
        source = Source("", query(context, body.get("subquery", {}), lateral))
    elif kind == "RangeFunction":
        source = _function(context, body, scope)
    elif kind == "JoinExpr":
        return _join(context, body, scope)
    elif kind == "RangeTableSample":
        columns, sources = _from_item(context, body.get("relation", {}), scope)
        for name in strings(body.get("method"))[-1:]:
            if name not in {"system", "bernoulli"}:
                context.facts.doubt("untrusted-function", f"sampling method {name}")
        expressions.walk(context, body.get("args"), scope)
        expressions.walk(context, body.get("repeatable"), scope)
        return columns, sources
    elif kind in {"RangeTableFunc", "JsonTable"}:
        source = _table_function(context, body, scope)
    else:
        context.facts.doubt("unknown-statement", f"{kind} in FROM")
        source = Source("", [], open=True)
    source = _aliased(source, body.get("alias"))
    return source.columns, [source]


def _above(scope: Scope) -> Scope:
    """The scope without the items of this FROM, but with its WITH names."""
    return Scope(parent=scope.parent, ctes=scope.ctes, parameters=scope.parameters)


def _aliased(source: Source, alias: Node | None) -> Source:
    if not alias:
        return source
    columns = _renamed(source.columns, strings(alias.get("colnames")))
    return Source(str(alias.get("aliasname", "")), columns, "", source.open)


def table(context: Context, body: Node, scope: Scope) -> Source:
    """A RangeVar in FROM: a WITH name or a relation."""
    name = str(body.get("relname", ""))
    if not body.get("schemaname") and not body.get("catalogname"):
        columns = scope.cte(name)
        if columns is not None:
            return Source(name, columns)
    relation = relations.lookup(context, body)
    if relation is None:
        return Source(name, [], str(body.get("schemaname", "")), open=True)
    columns = relations.read(context, relation, children=bool(body.get("inh")))
    return Source(name, columns, relation.schema)


def _join(context: Context, body: Node, scope: Scope) -> tuple[list[OutColumn], list[Source]]:
    left, left_sources = _from_item(context, body.get("larg", {}), scope)
    seen = Scope(scope, [*left], [*left_sources])
    seen = Scope(Scope(scope.parent, scope.columns, scope.sources, scope.ctes), seen.columns, seen.sources)
    right, right_sources = _from_item(context, body.get("rarg", {}), seen)
    using = strings(body.get("usingClause"))
    if body.get("isNatural"):
        names = {column.name for column in right}
        using = [column.name for column in left if column.name in names]
    if using:
        functions_equal(context)
        for column in (*left, *right):
            if column.name in using:
                references.mark(context, column, "other")
    joined = Scope(seen.parent, [*left, *right], [*left_sources, *right_sources])
    expressions.walk(context, body.get("quals"), joined)
    merged = [OutColumn(name) for name in using]
    rest = [column for column in (*left, *right) if column.name not in using]
    columns = [*merged, *rest]
    sources = [*left_sources, *right_sources]
    if body.get("join_using_alias"):
        sources.append(Source(str(body["join_using_alias"].get("aliasname", "")), merged))
    if body.get("alias"):
        source = _aliased(Source("", columns, "", any(item.open for item in sources)), body["alias"])
        return source.columns, [source]
    return columns, sources


def _function(context: Context, body: Node, scope: Scope) -> Source:
    """A function in FROM. Its columns are computed ones; where their names are unknown the source stays open."""
    columns: list[OutColumn] = []
    name = ""
    open_source = False
    for item in body.get("functions", []):
        parts = item.get("List", {}).get("items", [])
        for part in parts[:1]:
            found, name, is_open = _function_columns(context, part, scope)
            columns.extend(found)
            open_source = open_source or is_open
        for definition in parts[1:]:
            listed = definition.get("List", {}).get("items", []) if definition else []
            columns = columns if not listed else [*_definitions(context, listed, scope)]
            open_source = open_source and not listed
    if body.get("coldeflist"):
        columns, open_source = _definitions(context, body["coldeflist"], scope), False
    alias = body.get("alias") or {}
    if alias.get("aliasname") and len(columns) == 1 and not open_source and not body.get("coldeflist"):
        columns = [OutColumn(str(alias["aliasname"]))]
    named = strings(alias.get("colnames"))
    if open_source and named:
        columns = [OutColumn(item) for item in named]
    if body.get("ordinality"):
        columns = [*columns, OutColumn("ordinality")]
    return Source(name, columns, open=open_source)


def _definitions(context: Context, items: Any, scope: Scope) -> list[OutColumn]:
    columns = []
    for item in items:
        definition = item.get("ColumnDef", {})
        expressions.type_name(context, definition.get("typeName", {}), scope)
        columns.append(OutColumn(str(definition.get("colname", ""))))
    return columns


def _function_columns(context: Context, node: Node, scope: Scope) -> tuple[list[OutColumn], str, bool]:
    expressions.walk(context, node, scope)
    kind, body = unwrap(node)
    name = references.default_name(kind, body)
    if kind != "FuncCall":
        return [OutColumn(name)], name, False
    parts = strings(body.get("funcname"))
    count = -1 if body.get("func_variadic") else len(body.get("args", []))
    found = context.candidates(parts[-1], parts[-2] if len(parts) > 1 else "", count)
    shapes = set()
    for candidate in found:
        shapes.add(_shape(context, candidate.return_type, candidate.argument_names[candidate.arguments :], name))
    if len(shapes) == 1:
        shape = shapes.pop()
        if shape is not None:
            return [OutColumn(item) for item in shape], name, False
    return [], name, True


def _shape(context: Context, return_type: int, out: tuple[str, ...], name: str) -> tuple[str, ...] | None:
    returned = context.catalog.type(return_type)
    if returned is None:
        return None
    if returned.kind == "c":
        relation = context.catalog.relation(returned.relation)
        return tuple(column.name for column in relation.columns) if relation else None
    if returned.kind == "p":  # record and the polymorphic ones
        return out if out and all(out) else ((name,) if returned.name != "record" and not out else None)
    return (out[0],) if len(out) == 1 and out[0] else (name,)


def _table_function(context: Context, body: Node, scope: Scope) -> Source:
    """XMLTABLE and JSON_TABLE."""
    for part in ("docexpr", "rowexpr", "namespaces", "context_item", "pathspec", "passing", "on_error"):
        value = body.get(part)
        if isinstance(value, dict) and part == "context_item":
            value = {"JsonValueExpr": value}
        elif isinstance(value, dict) and part in {"pathspec", "on_error"}:
            value = value.get("string") if part == "pathspec" else value.get("expr")
        expressions.walk(context, value, scope)
    return Source("xmltable", _table_columns(context, body.get("columns"), scope))


def _table_columns(context: Context, items: Any, scope: Scope) -> list[OutColumn]:
    columns = []
    for item in items or []:
        _, column = unwrap(item)
        if column.get("columns"):
            columns.extend(_table_columns(context, column["columns"], scope))
            continue
        expressions.type_name(context, column.get("typeName", {}), scope)
        for part in ("colexpr", "coldefexpr"):
            expressions.walk(context, column.get(part), scope)
        for part in ("on_empty", "on_error"):
            expressions.walk(context, (column.get(part) or {}).get("expr"), scope)
        columns.append(OutColumn(str(column.get("colname") or column.get("name") or "")))
    return columns
