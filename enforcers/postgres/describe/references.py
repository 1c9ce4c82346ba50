"""What a column reference means: one column, several, a whole row, a function of the row, a system column.

Where it can't be told which, every candidate counts as read; where there is none, the statement is opaque.
"""

from __future__ import annotations

from enforcers.postgres.describe import functions, relations
from enforcers.postgres.describe.context import Context, Node, OutColumn, Scope, Source, strings, unwrap

_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"})


def mark(context: Context, column: OutColumn, use: str) -> None:
    for relation, touched in column.touched:
        relations.mark(context, relation, touched, use)


def default_name(kind: str, body: Node) -> str:
    """FigureColname, as far as it matters to later references."""
    if kind == "ColumnRef":
        return strings(body.get("fields"))[-1] or "?column?"
    if kind == "FuncCall":
        return strings(body.get("funcname"))[-1]
    if kind == "TypeCast":
        inner, inner_body = unwrap(body.get("arg") or {})
        name = default_name(inner, inner_body)
        return name if name != "?column?" else strings(body.get("typeName", {}).get("names"))[-1]
    if kind == "A_Indirection":
        names = [item for item in strings(body.get("indirection")) if item]
        return names[-1] if names else default_name(*unwrap(body.get("arg") or {}))
    if kind == "SubLink" and body.get("subLinkType") == "EXPR_SUBLINK":
        targets = unwrap(body.get("subselect") or {})[1].get("targetList") or [{}]
        first = targets[0].get("ResTarget", {})
        return str(first.get("name") or default_name(*unwrap(first.get("val") or {})))
    fixed = {
        "CaseExpr": "case", "CoalesceExpr": "coalesce", "A_ArrayExpr": "array", "RowExpr": "row", "XmlExpr": "xml",
        "GroupingFunc": "grouping",
    }  # fmt: skip
    if kind == "CollateClause":
        return default_name(*unwrap(body.get("arg") or {}))
    if kind == "MinMaxExpr":
        return "least" if body.get("op") == "IS_LEAST" else "greatest"
    if kind == "SubLink":
        return {"EXISTS_SUBLINK": "exists", "ARRAY_SUBLINK": "array"}.get(str(body.get("subLinkType")), "?column?")
    if kind == "SQLValueFunction":
        return str(body.get("op", "")).removeprefix("SVFOP_").removesuffix("_N").lower()
    return fixed.get(kind, "?column?")


def star(context: Context, qualifier: list[str], scope: Scope) -> list[OutColumn]:
    """t.* or *, expanded."""
    if not qualifier:
        if any(source.open for source in scope.sources):
            context.facts.output_open = True
        return list(scope.columns)
    source = _source(qualifier, scope)
    if source is None:
        # (x).* of a column of composite type, or nothing at all
        resolve(context, qualifier, scope)
        context.facts.output_open = True
        return []
    if source.open:
        context.facts.output_open = True
    return list(source.columns)


def _source(qualifier: list[str], scope: Scope | None) -> Source | None:
    name, schema = qualifier[-1], qualifier[-2] if len(qualifier) > 1 else ""
    while scope is not None:
        for source in scope.sources:
            if source.name == name and (not schema or schema == source.schema):
                return source
        scope = scope.parent
    return None


def bare(context: Context, fields: list[str], scope: Scope) -> OutColumn | None:
    """The one column that a reference means, when it is certain."""
    if len(fields) == 1:
        current: Scope | None = scope
        while current is not None:
            found = [column for column in current.columns if column.name == fields[0]]
            if len(found) == 1 and not any(source.open for source in current.sources):
                return found[0]
            if found or any(source.open for source in current.sources) or fields[0] in current.parameters:
                return None
            current = current.parent
        return None
    source = _source(fields[:-1], scope)
    if source is None:
        return None
    found = [column for column in source.columns if column.name == fields[-1]]
    return found[0] if len(found) == 1 else None


def field_of_row(context: Context, body: Node, scope: Scope) -> OutColumn | None:
    """(t).c where t is a FROM item and no column: the parser makes t.c of it."""
    kind, argument = unwrap(body.get("arg") or {})
    names = strings(body.get("indirection"))
    fields = strings(argument.get("fields")) if kind == "ColumnRef" else []
    if len(names) != 1 or not names[0] or not all(fields) or not fields:
        return None
    if bare(context, fields, scope) is not None or _source(fields, scope) is None:
        return None
    return bare(context, [*fields, names[0]], scope)


def resolve(context: Context, fields: list[str], scope: Scope) -> None:
    """Mark what a reference may mean as read. Nothing found, no open source: opaque."""
    certain = bare(context, fields, scope)
    if certain is not None:
        mark(context, certain, "other")
        return
    if _marked_many(context, fields, scope) or _whole_row(context, fields, scope):
        return
    if _system_column(context, fields, scope):
        return
    context.facts.doubt("unresolved", "column " + ".".join(fields))


def _marked_many(context: Context, fields: list[str], scope: Scope) -> bool:
    """An unqualified name that several items offer, an open source, or a function's parameter."""
    current: Scope | None = scope
    while current is not None:
        if len(fields) == 1:
            found = [column for column in current.columns if column.name == fields[0]]
            for column in found:
                mark(context, column, "other")
            if found or fields[0] in current.parameters:
                return True
        elif fields[0] in current.parameters:
            return True
        if any(source.open for source in current.sources) and len(fields) == 1:
            return True
        current = current.parent
    source = _source(fields[:-1], scope) if len(fields) > 1 else None
    if source is not None:
        found = [column for column in source.columns if column.name == fields[-1]]
        for column in found:
            mark(context, column, "other")
        return bool(found) or source.open
    return False


def _whole_row(context: Context, fields: list[str], scope: Scope) -> bool:
    """t, or t.f where f is a function of the row."""
    source = _source(fields, scope)
    if source is None and len(fields) > 1 and fields[-1] not in _SYSTEM_COLUMNS:
        source = _source(fields[:-1], scope)
        if source is not None:
            candidates = context.candidates(fields[-1], "", 1)
            if not candidates:
                return False
            functions.use(context, candidates, "direct")
    if source is None:
        return False
    for column in source.columns:
        mark(context, column, "other")
    return True


def _system_column(context: Context, fields: list[str], scope: Scope) -> bool:
    if fields[-1] not in _SYSTEM_COLUMNS:
        return False
    if len(fields) > 1:
        return _source(fields[:-1], scope) is not None
    return True
