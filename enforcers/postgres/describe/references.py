"""What a column reference means: one column, several, a whole row, a function of the row, a system column.

Where it can't be told which, every candidate counts as read; where there is none, the statement is opaque.
"""

from __future__ import annotations

from enforcers.postgres.describe import expressions, functions, relations
from enforcers.postgres.describe.context import OPEN, Context, Node, OutColumn, Scope, Source, strings, unwrap
from enforcers.postgres.describe.lineage import NOTHING, RECORD, Value, computed

_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"})


def computes(context: Context, column: OutColumn) -> None:
    """The target computes this column, whether or not it is used."""
    context.facts.inferred(column.value.pending)
    for key, read in column.value.marks:
        context.facts.columns.setdefault(key, read)


def mark(context: Context, column: OutColumn, use: str) -> None:
    computes(context, column)
    for relation, touched in column.touched:
        relations.mark(context, relation, touched, use)


def star(context: Context, qualifier: list[str], scope: Scope) -> list[OutColumn]:
    """t.* or *, expanded; an OPEN column last where there may be more."""
    if not qualifier:
        opened = [source.value for source in scope.sources if source.open]
        return [*scope.columns, *([OutColumn(OPEN, value=computed(opened))] if opened else ())]
    source = find_source(qualifier, scope)
    if source is None:
        # (x).* of a column of composite type, or nothing at all
        return [OutColumn(OPEN, value=computed([resolve(context, qualifier, scope)]))]
    return [*source.columns, *([OutColumn(OPEN, value=computed([source.value]))] if source.open else ())]


def find_source(qualifier: list[str], scope: Scope | None) -> Source | None:
    name, schema = qualifier[-1], qualifier[-2] if len(qualifier) > 1 else ""
    while scope is not None:
        for source in scope.sources:
            if source.name == name and (not schema or schema == source.schema):
                return source
        scope = scope.parent
    return None


def bare(context: Context, fields: list[str], scope: Scope) -> OutColumn | None:
    """The one column that a reference means, when it is certain.

    One that is found beside an open source is certain: were it there too, the target would call it ambiguous.
    """
    if len(fields) == 1:
        current: Scope | None = scope
        while current is not None:
            found = [column for column in current.columns if column.name == fields[0]]
            if len(found) == 1:
                return found[0]
            if found or any(source.open for source in current.sources) or fields[0] in current.parameters:
                return None
            current = current.parent
        return None
    source = find_source(fields[:-1], scope)
    if source is None:
        return None
    found = [column for column in source.columns if column.name == fields[-1]]
    return found[0] if len(found) == 1 else None


def names_a_source(context: Context, fields: list[str], scope: Scope) -> bool:
    """Is this a FROM item, and no column?"""
    return (
        bool(fields) and all(fields) and bare(context, fields, scope) is None and find_source(fields, scope) is not None
    )


def field_of_row(context: Context, body: Node, scope: Scope) -> OutColumn | None:
    """(t).c where t is a FROM item and no column: the parser makes t.c of it."""
    kind, argument = unwrap(body.get("arg") or {})
    names = strings(body.get("indirection"))
    fields = strings(argument.get("fields")) if kind == "ColumnRef" else []
    if len(names) != 1 or not names[0] or not names_a_source(context, fields, scope):
        return None
    return bare(context, [*fields, names[0]], scope)


def resolve(context: Context, fields: list[str], scope: Scope) -> Value:
    """Mark what a reference may mean as read. Nothing found, no open source: opaque."""
    certain = bare(context, fields, scope)
    if certain is not None:
        mark(context, certain, "other")
        return certain.value
    found, opened = _marked_many(context, fields, scope)
    if found is not None:
        return found
    row = _whole_row(context, fields, scope)
    if row is not None:
        return computed([row, *opened]) if opened else row
    if not _system_column(context, fields, scope) and not opened:
        context.facts.doubt("unresolved", "column " + ".".join(fields))
    return computed(opened) if opened else NOTHING


def _marked_many(context: Context, fields: list[str], scope: Scope) -> tuple[Value | None, list[Value]]:
    """(found, opened) of a name that several items offer, of one that an open source may have, or of a parameter.

    A name that an open source may have is looked for further out all the same: it may not be the source's. opened: what
    it then depends on, of each such source.
    """
    opened: list[Value] = []
    current: Scope | None = scope
    while current is not None:
        if len(fields) == 1:
            found = [column for column in current.columns if column.name == fields[0]]
            for column in found:
                mark(context, column, "other")
            if found:
                return computed([*opened, *[column.value for column in found]]), opened
            opened.extend(source.value for source in current.sources if source.open)
        parameter = current.parameters.get(fields[0])
        if parameter is not None:
            return parameter if len(fields) == 1 and not opened else computed([*opened, parameter]), opened
        current = current.parent
    source = find_source(fields[:-1], scope) if len(fields) > 1 else None
    if source is None:
        return None, opened
    found = [column for column in source.columns if column.name == fields[-1]]
    for column in found:
        mark(context, column, "other")
    if source.open and not found:
        functions.use_own(context, fields[-1])  # t.f may be a function of the row
        opened.append(source.value)
    return computed([column.value for column in found]) if found else None, opened


def _whole_row(context: Context, fields: list[str], scope: Scope) -> Value | None:
    """t, or t.f where f is a function of the row."""
    called = ""
    source = find_source(fields, scope)
    if source is None and len(fields) > 1 and fields[-1] not in _SYSTEM_COLUMNS:
        source = find_source(fields[:-1], scope)
        if source is not None:
            candidates = context.candidates(fields[-1], "", 1)
            if not candidates:
                return None
            functions.use(context, candidates, "direct")
            called = f"{candidates[0].schema}.{candidates[0].name}"
    if source is None:
        return None
    for column in source.columns:
        mark(context, column, "other")
        for relation, _ in column.touched[:1]:
            row_type = context.catalog.type(relation.row_type)
            if row_type is not None:
                functions.touch_type(context, row_type, via="type")
    row = computed([column.value for column in source.columns], RECORD)
    return expressions.told(context, [row], called) if called else row


def _system_column(context: Context, fields: list[str], scope: Scope) -> bool:
    if fields[-1] not in _SYSTEM_COLUMNS:
        return False
    source = find_source(fields[:-1], scope) if len(fields) > 1 else None
    if len(fields) > 1 and source is None:
        return False
    if fields[-1] == "tableoid":
        sources = [source] if source is not None else _all_sources(scope)
        found = {below[0].oid: below[0] for item in sources for column in item.columns for below in column.touched}
        for relation in found.values():
            relations.which_partition(context, relation)
    return True


def _all_sources(scope: Scope | None) -> list[Source]:
    found: list[Source] = []
    while scope is not None:
        found.extend(scope.sources)
        scope = scope.parent
    return found
