"""SELECT and what may stand in its place: FROM, joins, WITH, set operations; the columns a query yields.

A query's bare columns stay unmarked until someone uses them, so that `SELECT id FROM (SELECT * FROM t) x` reads id
only. Computed ones are marked when they are met.
"""

from __future__ import annotations

from typing import Any

from enforcers.postgres.describe import (
    calls,
    constants,
    expressions,
    functions,
    joins,
    literals,
    references,
    relations,
    resolution,
    rowsources,
    statements,
)
from enforcers.postgres.describe.context import OPEN, UNNAMED, Context, Node, OutColumn, Scope, Source, strings, unwrap
from enforcers.postgres.describe.labels import label
from enforcers.postgres.describe.lineage import GROWN, UNKNOWN, Sources, Value, computed, either, joined

_DATA = {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}


def query(context: Context, node: Node, outer: Scope, *, may_be_open: bool = False) -> list[OutColumn]:
    """Any statement that yields rows, a wrapped node. outer: the scope it stands in.

    may_be_open: the caller can do with an OPEN column; else columns that nobody can list make the statement opaque.
    """
    facts = context.facts
    kind, body = unwrap(node)
    if kind == "SelectStmt":
        columns = select(context, body, outer)
    elif kind in _DATA:
        facts.enter()
        columns = statements.data(context, kind, body, outer)
        facts.nested -= 1
    else:
        facts.doubt("unknown-statement", kind or "an empty query")
        return []
    if may_be_open or all(column.name != OPEN for column in columns):
        return columns
    facts.doubt("unresolved", "the columns of a row whose type isn't certain")
    return [column for column in columns if column.name != OPEN]


def with_clause(context: Context, body: Node, scope: Scope) -> None:
    """WITH: each name's columns go into scope.ctes."""
    clause = body.get("withClause")
    if not clause:
        return
    ctes = [item.get("CommonTableExpr", {}) for item in clause.get("ctes", [])]
    if not clause.get("recursive"):
        for cte in ctes:
            scope.ctes[cte.get("ctename", "")] = _cte(context, cte, scope)
        return
    # Forward references are legal: until a name is described its columns are computed ones of unknown origin. What each
    # depends on only ever grows, so it is described until nothing is added.
    for cte in ctes:
        scope.ctes[cte.get("ctename", "")] = _recursive_names(context, cte)
    for _ in range(MAX_PASSES):
        before = [_sources(scope.ctes[cte.get("ctename", "")]) for cte in ctes]
        for cte in ctes:
            columns = _cte(context, cte, scope)
            for column in columns:
                references.mark(context, column, "other")
            scope.ctes[cte.get("ctename", "")] = [_recurring(column) for column in columns]
        if [_sources(scope.ctes[cte.get("ctename", "")]) for cte in ctes] == before:
            return
    context.facts.doubt("too-complex", "WITH RECURSIVE")


MAX_PASSES = 40


def _sources(columns: list[OutColumn]) -> list[Sources]:
    return [column.value.sources for column in columns]


def _recurring(column: OutColumn) -> OutColumn:
    """A recursive term may add to its own value, as often as it runs."""
    value = column.value
    return OutColumn(column.name, value=Value(value.sources, value.type, value.quiet, GROWN))


def _cte(context: Context, cte: Node, scope: Scope) -> list[OutColumn]:
    columns = query(context, cte.get("ctequery", {}), scope)
    for column in columns:
        references.computes(context, column)  # all of it, where it is materialised
    columns = _renamed(columns, strings(cte.get("aliascolnames")))
    for clause_name in ("search_clause", "cycle_clause"):
        if cte.get(clause_name):
            columns = columns + _extra(cte[clause_name], columns)
            functions_equal(context)
    if cte.get("cycle_clause"):
        for part in ("cycle_mark_value", "cycle_mark_default"):
            expressions.walk(context, cte["cycle_clause"].get(part), scope)
        compared = strings(cte["cycle_clause"].get("cycle_col_list"))
        context.facts.infer(joined(column.value for column in columns if column.name in compared), "distinct")
    return columns


def _extra(clause: Node, columns: list[OutColumn]) -> list[OutColumn]:
    """What SEARCH and CYCLE add: rows, or arrays of rows, of the columns they name."""
    names = ("search_seq_column", "cycle_mark_column", "cycle_path_column")
    used = strings(clause.get("search_col_list") or clause.get("cycle_col_list"))
    value = computed([column.value for column in columns if column.name in used])
    return [OutColumn(str(clause[name]), value=value) for name in names if clause.get(name)]


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
    # Of no type of their own yet, so that the next pass takes what the first arm has.
    columns = [OutColumn(name, value=Value(type=UNKNOWN)) for name in [*aliases, *names[len(aliases) :]]]
    for extra in ("search_clause", "cycle_clause"):
        if cte.get(extra):
            columns += _extra(cte[extra], [])
    return columns


def _target_names(target: Node) -> list[str]:
    if target.get("name"):
        return [str(target["name"])]
    kind, body = unwrap(target.get("val") or {})
    last = (body.get("fields") or body.get("indirection") or [{}])[-1]
    return [OPEN if "A_Star" in last else label(kind, body)]


def functions_equal(context: Context) -> None:
    """Something is compared for equality: joins by USING, DISTINCT, set operations."""
    for function in context.operator_functions("="):
        functions.use(context, [function], "operator")


def _renamed(columns: list[OutColumn], names: list[str]) -> list[OutColumn]:
    renamed = [column.called(name) for name, column in zip(names, columns, strict=False)]
    return renamed + columns[len(renamed) :]


def select(context: Context, body: Node, outer: Scope) -> list[OutColumn]:
    if not context.top and context.too_deep:
        return []
    facts = context.facts
    facts.enter()
    scope = Scope(parent=outer)
    with_clause(context, body, scope)
    if body.get("larg"):
        columns = _set_operation(context, body, scope)
    elif body.get("valuesLists"):
        columns = _values(context, body, scope)
        _tail(context, body, scope, columns)
    else:
        columns = _plain(context, body, scope)
    facts.nested -= 1
    return columns


def _values(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    found: list[list[Value]] = []
    for row in body["valuesLists"]:
        items = row.get("List", {}).get("items", [])
        while len(found) < len(items):
            found.append([])
        for index, item in enumerate(items):
            constants.free(context, item)
            value = expressions.walk(context, item, scope)
            # Rows without end hold constants only: what adds nothing isn't kept.
            if value.sources or value.type not in {known.type for known in found[index][:4]}:
                found[index].append(value)
    return [OutColumn(f"column{index + 1}", value=_merged(context, values)) for index, values in enumerate(found)]


def _merged(context: Context, values: list[Value]) -> Value:
    """One column of several rows or arms. Types that differ are converted, which may fail."""
    value = either(values, loud=CONVERSION)
    if value.type == 0 and value.sources:
        for item in values:
            context.facts.told(item, CONVERSION)
    return value


CONVERSION = "a conversion between types"


def _set_operation(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    """Which arm a value came from is not known afterwards: no origin, everything below counts as read."""
    left = select(context, body["larg"], scope)
    right = select(context, body["rarg"], scope)
    for column in (*left, *right):
        references.mark(context, column, "other")
    if not body.get("all"):
        functions_equal(context)
    if not body.get("all") or body.get("op") != "SETOP_UNION":
        context.facts.infer(joined(column.value for column in (*left, *right)), "set-operation")
    columns = [
        OutColumn(column.name, value=_merged(context, [column.value, other.value]))
        for column, other in zip(left, right, strict=False)
    ]
    columns += [OutColumn(column.name, value=column.value) for column in left[len(columns) :]]
    _tail(context, body, scope, columns)
    return columns


def _plain(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    from_clause(context, body.get("fromClause"), scope)
    joins.condition(context, body.get("whereClause"), scope, "where")
    columns = [column for item in body.get("targetList", []) for column in expressions.target(context, item, scope)]
    _grouping(context, body.get("groupClause"), scope, columns, "group")
    context.facts.infer(expressions.walk(context, body.get("havingClause"), scope).sources, "having")
    for item in body.get("windowClause", []):
        expressions.window(context, item.get("WindowDef", {}), scope)
    if body.get("distinctClause"):
        functions_equal(context)
        given = [item for item in body["distinctClause"] if item]
        if given:
            _grouping(context, given, scope, columns, "distinct")
            for column in columns:
                references.computes(context, column)
        else:
            for column in columns:
                references.mark(context, column, "other")
            context.facts.infer(joined(column.value for column in columns), "distinct")
    _tail(context, body, scope, columns)
    if body.get("intoClause"):
        statements.into(context, body["intoClause"], columns)
        return []
    return columns


def _grouping(context: Context, items: Any, scope: Scope, columns: list[OutColumn], why: str) -> None:
    """GROUP BY, DISTINCT ON, ORDER BY: positions and output names reach the result's own columns."""
    for item in items or []:
        kind, body = unwrap(item)
        if kind == "GroupingSet":
            _grouping(context, body.get("content"), scope, columns, why)
            continue
        if kind == "RowExpr" and body.get("row_format") == "COERCE_IMPLICIT_CAST":
            _grouping(context, body.get("args"), scope, columns, why)  # GROUP BY (1, 2) are positions too
            continue
        if kind == "SortBy":
            expressions.sorts_by(context, body)
            _grouping(context, [body.get("node", {})], scope, columns, why)
            continue
        if kind == "A_Const" and "ival" in body:
            position = int(body["ival"].get("ival", 0))
            unsure = any(column.name == OPEN for column in columns)
            for column in columns if unsure else columns[max(position - 1, 0) : max(position, 0)]:
                references.mark(context, column, "other")
                context.facts.infer(column.value.sources, why)
            continue
        named = []
        if kind == "ColumnRef" and len(body.get("fields", [])) == 1:
            name = strings(body["fields"])[-1]
            named = [column for column in columns if name and column.name == name]
            for column in named:
                references.mark(context, column, "other")
                context.facts.infer(column.value.sources, why)
        if not named or any(column.name == name for column in scope.columns):
            context.facts.infer(expressions.walk(context, item, scope).sources, why)


def _tail(context: Context, body: Node, scope: Scope, columns: list[OutColumn]) -> None:
    """ORDER BY, LIMIT, OFFSET, FOR UPDATE."""
    inner = scope
    if body.get("larg") or body.get("valuesLists"):
        inner = Scope(parent=scope, columns=list(columns))
    _grouping(context, body.get("sortClause"), inner, columns, "order")
    for name in ("limitCount", "limitOffset"):
        limit = body.get(name)
        if limit and not limit.get("A_Const", {}).get("isnull"):
            constants.free(context, limit)
            literals.bounds(context, limit)
        context.facts.infer(expressions.walk(context, limit, inner).sources, "limit")
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
                references.computes(context, column)  # the whole row is kept
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
        source = rowsources.function(context, body, scope)
    elif kind == "JoinExpr":
        return _join(context, body, scope)
    elif kind == "RangeTableSample":
        columns, sources = _from_item(context, body.get("relation", {}), scope)
        for name in strings(body.get("method"))[-1:]:
            if name not in {"system", "bernoulli"}:
                context.facts.doubt("untrusted-function", f"sampling method {name}")
        for part in ("args", "repeatable"):
            context.facts.infer(expressions.walk(context, body.get(part), scope).sources, "where")
        return columns, sources
    elif kind in {"RangeTableFunc", "JsonTable"}:
        source = rowsources.table_function(context, kind, body, scope)
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
    return Source(str(alias.get("aliasname", "")), columns, "", source.open, source.value)


def table(context: Context, body: Node, scope: Scope) -> Source:
    """A RangeVar in FROM: a WITH name or a relation."""
    name = str(body.get("relname", ""))
    if not body.get("schemaname") and not body.get("catalogname"):
        columns = scope.cte(name)
        if columns is not None:
            known = [column for column in columns if column.name != OPEN]
            unknown = computed([column.value for column in columns if column.name == OPEN])
            return Source(name, known, open=len(known) < len(columns), value=unknown)
    relation = relations.lookup(context, body)
    if relation is None:
        return Source(name, [], str(body.get("schemaname", "")), open=True)
    columns = relations.read(context, relation, children=bool(body.get("inh")))
    return Source(name, columns, relation.schema)


def _join(context: Context, body: Node, scope: Scope) -> tuple[list[OutColumn], list[Source]]:
    context.facts.enter()
    left, left_sources = _from_item(context, body.get("larg", {}), scope)
    # One level, as the target has it: a LATERAL right side sees the left and what FROM names before it.
    seen = Scope(scope.parent, [*scope.columns, *left], [*scope.sources, *left_sources], scope.ctes)
    right, right_sources = _from_item(context, body.get("rarg", {}), seen)
    context.facts.nested -= 1
    sources = [*left_sources, *right_sources]
    using = strings(body.get("usingClause"))
    if body.get("isNatural"):
        if any(item.open for item in sources) or any(column.name == UNNAMED for column in (*left, *right)):
            context.facts.doubt("unresolved", "the columns that NATURAL JOIN compares")
        names = {column.name for column in right}
        using = [column.name for column in left if column.name in names]
    merged = _merge(context, using, left, right) if using else []
    # ON sees the two sides only, then the query around; no other item of this FROM.
    joined_scope = Scope(_above(scope), [*left, *right], sources)
    joins.condition(context, body.get("quals"), joined_scope, "join")
    rest = [column for column in (*left, *right) if column.name not in using]
    columns = [*merged, *rest]
    sources = [*sources]
    if body.get("join_using_alias"):
        sources.append(Source(str(body["join_using_alias"].get("aliasname", "")), merged))
    if body.get("alias"):
        unknown = computed([item.value for item in sources if item.open])
        source = _aliased(Source("", columns, "", any(item.open for item in sources), unknown), body["alias"])
        return source.columns, [source]
    return columns, sources


def _merge(context: Context, using: list[str], left: list[OutColumn], right: list[OutColumn]) -> list[OutColumn]:
    """USING and NATURAL: each name's columns of both sides are compared, and become one."""
    functions_equal(context)
    pairs = []
    merged = []
    for name in using:
        one = [column for column in left if column.name == name]
        other = [column for column in right if column.name == name]
        for column in (*one, *other):
            references.mark(context, column, "other")
        if len(one) == 1 and len(other) == 1:
            pairs.append(joins.Pair(one[0], other[0], 0, 1))
            _compared(context, one[0].value, other[0].value)
        else:
            context.facts.infer(joined(column.value for column in (*one, *other)), "join")
        merged.append(OutColumn(name, value=_merged(context, [column.value for column in (*one, *other)])))
    joins.judge(context, pairs)
    return merged


def _compared(context: Context, one: Value, other: Value) -> None:
    calls.applied(context, resolution.operator(context, "=", "", (one.type, other.type)), [one, other])
