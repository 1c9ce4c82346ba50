"""INSERT, UPDATE, DELETE, MERGE; and the way from any statement's kind to the code that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enforcers.postgres.catalog.objects import Relation
from enforcers.postgres.describe import (
    constants,
    definitions,
    effects,
    expressions,
    flows,
    joins,
    literals,
    queries,
    references,
    relations,
    utility,
)
from enforcers.postgres.describe.context import OPEN, Context, Node, OutColumn, Scope, Source, unwrap
from enforcers.postgres.describe.flows import Assigned
from enforcers.postgres.describe.lineage import NOTHING, Value, computed
from enforcers.postgres.describe.pg_settings import setting_found

DATA = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
# What makes, takes away or uses what a session has by name. Who follows those names (the session machine) reads them
# off the client's own statements; inside a function they would change unseen.
_NAMING = frozenset(
    {
        *("PrepareStmt", "ExecuteStmt", "DeallocateStmt", "DiscardStmt"),
        *("DeclareCursorStmt", "FetchStmt", "ClosePortalStmt"),
    }
)


def describe(context: Context, kind: str, body: Node) -> list[OutColumn]:
    """A client's statement. The columns it returns are marked as output."""
    scope = Scope()
    if kind in DATA:
        if kind == "SelectStmt":
            context.facts.setting_found = setting_found(context, body)
        columns = queries.query(context, {kind: body}, scope, may_be_open=True)
        if any(column.name == OPEN for column in columns):
            context.facts.output_open = True
            for column in columns:
                context.facts.infer(column.value.sources, "unlisted")
            columns = [column for column in columns if column.name != OPEN]
        if kind == "SelectStmt" and "sql.create" not in context.facts.verbs:
            context.facts.verb("sql.select")
    else:
        columns = utility.describe(context, kind, body, scope)
    if context.facts.output_open:
        for column in columns:
            references.mark(context, column, "other")
    for column in columns:
        references.mark(context, column, "output")
    return columns


def nested(context: Context, kind: str, body: Node, scope: Scope) -> list[OutColumn]:
    """A statement inside a function or rule: what it returns is computed with, not shown as it is."""
    context.facts.enter()
    if kind in DATA:
        columns = queries.query(context, {kind: body}, scope)
    else:
        if kind in _NAMING and not context.top:  # EXPLAIN EXECUTE names its own, which the session knows
            context.facts.doubt(context.procedural(), "a function prepares, deallocates or uses what has a name here")
        columns = utility.describe(context, kind, body, scope)
    for column in columns:
        references.mark(context, column, "other")
    context.facts.nested -= 1
    return columns


def data(context: Context, kind: str, body: Node, outer: Scope) -> list[OutColumn]:
    """A statement that changes rows, anywhere. The columns are those of RETURNING."""
    scope = Scope(parent=outer)
    context.facts.data_statements += 1
    queries.with_clause(context, body, scope)
    target = body.get("relation", {})
    relation = relations.lookup(context, target)
    if relation is None:
        context.facts.verb(f"sql.{kind.removesuffix('Stmt').lower()}")
        context.facts.writes = True
        columns: list[OutColumn] = []
    else:
        columns = relations.read(context, relation, children=bool(target.get("inh")), access="")
    alias = target.get("alias") or {}
    source = Source(
        str(alias.get("aliasname") or target.get("relname", "")),
        columns,
        "" if alias or relation is None else relation.schema,
        open=relation is None,
    )
    handler = {"InsertStmt": _insert, "UpdateStmt": _update, "DeleteStmt": _delete, "MergeStmt": _merge}[kind]
    assigned = handler(context, body, scope, source, relation)
    if relation is not None:
        flows.report(context, relation, source.columns, assigned)
    return _returning(context, body.get("returningClause"), scope, source, assigned)


def _assigned(items: Any) -> list[str]:
    return [str(item.get("ResTarget", {}).get("name", "")) for item in items or []]


def _sets_default(items: Any) -> bool:
    """SET column = DEFAULT, or among others SET (…) = ROW(…, DEFAULT): the only places where the target takes it. What
    the default computes runs too."""
    for item in items or []:
        kind, value = unwrap(item.get("ResTarget", {}).get("val") or {})
        places = [{kind: value}]
        if kind == "MultiAssignRef":
            places = [value.get("source") or {}]
            places = places[0].get("RowExpr", {}).get("args", places)
        if any("SetToDefault" in place for place in places):
            return True
    return False


def _write(
    context: Context, relation: Relation | None, event: str, names: list[str] | None, *, defaults: bool = False
) -> None:
    if relation is None:
        context.facts.verb(f"sql.{event}")
        return
    if names is not None:
        for name in names:
            if name not in relation.by_name:
                context.facts.doubt("unresolved", f"column {relation.name}.{name}")
    effects.write(context, relation, event, names, defaults=defaults)


def _targets(context: Context, items: Any, scope: Scope, kind: str, columns: Sequence[OutColumn]) -> Assigned:
    """The right sides of SET, and subscripts on the left. columns: of what is assigned to."""
    by_name = {column.name: column for column in columns}
    seen: list[tuple[Any, list[Value]]] = []
    assigned: Assigned = []
    for item in items or []:
        body = item.get("ResTarget", {})
        places = _places(context, body, scope)
        value = body.get("val")
        constants.free(context, value)
        literals.assigned(context, value, flows.kept(context, by_name.get(str(body.get("name", "")))))
        if isinstance(value, dict) and "MultiAssignRef" in value:
            source, place = value["MultiAssignRef"].get("source"), int(value["MultiAssignRef"].get("colno", 0))
            values = next((known for node, known in seen if node == source), None)
            if values is None:
                values = _several(context, source, scope)
                seen.append((source, values))
            found = values[place - 1] if 0 < place <= len(values) else computed(values)
        else:
            found = expressions.walk(context, value, scope)
        assigned.append((str(body.get("name", "")), computed([found, places]) if places.sources else found, kind))
    return assigned


def _places(context: Context, target: Node, scope: Scope) -> Value:
    """The subscripts of a column that is set: which element it is tells of them, as the element's value does. Far from
    the others, or between the bounds of none, it is refused (array_set_element, array_set_slice)."""
    subscripts = [part for part in target.get("indirection", []) if "A_Indices" in part]
    if not subscripts:
        return NOTHING
    own = [
        column.value for source in scope.sources[:1] for column in source.columns if column.name == target.get("name")
    ]
    for value in own:
        context.facts.told(value, "an element that is set")
    return expressions.told(context, [expressions.walk(context, subscripts, scope)], "an element that is set")


def _several(context: Context, node: Any, scope: Scope) -> list[Value]:
    """The values of SET (a, b) = …: of a row, of a subquery, or the same for each where it can't be told."""
    whole = expressions.walk(context, node, scope)
    kind, body = unwrap(node or {})
    if kind == "RowExpr":
        return [expressions.walk(context, item, scope) for item in body.get("args", [])]
    if kind == "SubLink":
        return [column.value for column in queries.query(context, body.get("subselect", {}), scope)]
    return [whole]


def _insert(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> Assigned:
    cols = body.get("cols")
    given: list[Value] = []
    if body.get("selectStmt"):
        for column in queries.query(context, body["selectStmt"], scope):
            references.mark(context, column, "other")
            given.append(column.value)
    for number, item in enumerate(cols or []):
        places = _places(context, item.get("ResTarget", {}), scope)
        if places.sources and number < len(given):
            given[number] = computed([given[number], places])
    named = _assigned(cols) if cols else None
    _write(context, relation, "insert", named)
    names = [column.name for column in source.columns] if named is None else named
    if not body.get("onConflictClause"):  # `excluded` could carry it on
        _stored(context, body.get("selectStmt"), names, source.columns)
    assigned: Assigned = [(name, value, "insert") for name, value in zip(names, given, strict=False)]
    if relation is not None:
        flows.probed(context, relation, "insert", assigned, None if named is None else set(named))
    conflict = body.get("onConflictClause")
    if not conflict:
        return assigned
    values = {name: value for name, value, _ in assigned}
    excluded = [
        OutColumn(column.name, value=values.get(column.name, Value(type=column.value.type)))
        for column in source.columns
    ]
    inner = Scope(scope, list(source.columns), [source, Source("excluded", excluded, open=source.open)])
    infer = conflict.get("infer") or {}
    for item in infer.get("indexElems", []):
        element = item.get("IndexElem", {})
        if element.get("name"):
            found = references.resolve(context, [str(element["name"])], inner)
            context.facts.infer(found.sources, "on-conflict")
        context.facts.infer(expressions.walk(context, element.get("expr"), inner).sources, "on-conflict")
    context.facts.infer(expressions.walk(context, infer.get("whereClause"), inner).sources, "on-conflict")
    if conflict.get("action") == "ONCONFLICT_UPDATE":
        updated = _targets(context, conflict.get("targetList"), inner, "update", source.columns)
        joins.condition(context, conflict.get("whereClause"), inner, "where")
        changed = conflict.get("targetList")
        _write(context, relation, "update", _assigned(changed), defaults=_sets_default(changed))
        if relation is not None:
            flows.probed(context, relation, "update", updated, {name for name, _, _ in updated})
        assigned = [*assigned, *updated]
    return assigned


def _stored(context: Context, query: Any, names: Sequence[str], columns: Sequence[OutColumn]) -> None:
    """The constants of INSERT … VALUES, each with the column that stores it."""
    kind, body = unwrap(query or {})
    if "valuesLists" not in body:
        return
    stored = {column.name: flows.kept(context, column) for column in columns if column.name in names}
    for row in body.get("valuesLists", []) if kind == "SelectStmt" else []:
        for name, item in zip(names, row.get("List", {}).get("items", []), strict=False):
            literals.assigned(context, item, stored.get(name, {}))


def _update(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> Assigned:
    _fill(context, scope, source, body.get("fromClause"))
    assigned = _targets(context, body.get("targetList"), scope, "update", source.columns)
    joins.condition(context, body.get("whereClause"), scope, "where")
    context.facts.wheres.append(expressions.restricts(body.get("whereClause")))
    changed = body.get("targetList")
    _write(context, relation, "update", _assigned(changed), defaults=_sets_default(changed))
    if relation is not None:
        flows.probed(context, relation, "update", assigned, {name for name, _, _ in assigned})
    return assigned


def _delete(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> Assigned:
    _fill(context, scope, source, body.get("usingClause"))
    joins.condition(context, body.get("whereClause"), scope, "where")
    context.facts.wheres.append(expressions.restricts(body.get("whereClause")))
    _write(context, relation, "delete", None)
    if relation is not None:
        flows.probed(context, relation, "delete", [], None)
    return []


def _fill(context: Context, scope: Scope, source: Source, items: Any) -> None:
    scope.columns.extend(source.columns)
    scope.sources.append(source)
    queries.from_clause(context, items, scope)
    for column in scope.columns:
        references.computes(context, column)  # whole rows are kept, to look at them again under the lock


def _merge(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> Assigned:
    context.facts.verb("sql.merge")
    _fill(context, scope, source, [body.get("sourceRelation", {})])
    context.facts.infer(expressions.walk(context, body.get("joinCondition"), scope).sources, "merge")
    assigned: Assigned = []
    for item in body.get("mergeWhenClauses", []):
        clause = item.get("MergeWhenClause", {})
        context.facts.infer(expressions.walk(context, clause.get("condition"), scope).sources, "merge")
        command = clause.get("commandType")
        names = _assigned(clause.get("targetList"))
        made: Assigned = []
        if command == "CMD_INSERT":
            values = [expressions.walk(context, value, scope) for value in clause.get("values", [])]
            _write(context, relation, "insert", names or None)
            given = names or [column.name for column in source.columns]
            made = [(name, value, "merge") for name, value in zip(given, values, strict=False)]
        elif command == "CMD_UPDATE":
            made = _targets(context, clause.get("targetList"), scope, "merge", source.columns)
            _write(context, relation, "update", names, defaults=_sets_default(clause.get("targetList")))
        elif command == "CMD_DELETE":
            _write(context, relation, "delete", None)
        elif command not in {"CMD_NOTHING", None}:
            context.facts.doubt("unknown-statement", f"MERGE with {command}")
        if relation is not None and command in _PROBES:
            flows.probed(context, relation, _PROBES[command], made, set(names) or None)
        assigned.extend(made)
    return assigned


_PROBES = {"CMD_INSERT": "insert", "CMD_UPDATE": "update", "CMD_DELETE": "delete"}


def _returning(
    context: Context, clause: Node | None, scope: Scope, source: Source, assigned: Assigned
) -> list[OutColumn]:
    """What was just stored is what was assigned; OLD is what was there before."""
    if not clause:
        return []
    inner = Scope(scope.parent, list(scope.columns), list(scope.sources), scope.ctes)
    if source not in inner.sources:
        inner.columns = [*source.columns, *inner.columns]
        inner.sources.insert(0, source)
    written = Source(source.name, flows.stored(context, source.columns, assigned), source.schema, source.open)
    replaced = {id(before): after for before, after in zip(source.columns, written.columns, strict=True)}
    inner.columns = [replaced.get(id(column), column) for column in inner.columns]
    inner.sources = [written if item is source else item for item in inner.sources]
    renamed = {"RETURNING_OPTION_OLD": "old", "RETURNING_OPTION_NEW": "new"}
    # In the action of a rule OLD and NEW are the rule's own rows, on every version.
    names = {"old": source, "new": written} if context.via != "rule" else {}
    for option in clause.get("options", []):
        given = option.get("ReturningOption", {})
        kind = renamed.get(str(given.get("option")), "")
        names.pop(kind, None)
        names[str(given.get("value", ""))] = source if kind == "old" else written
    for name, row in names.items():
        if all(item.name != name for item in inner.sources):
            inner.sources.append(Source(name, row.columns, open=row.open))
    return [column for item in clause.get("exprs", []) for column in expressions.target(context, item, inner)]


def into(context: Context, body: Node, columns: list[OutColumn]) -> None:
    """SELECT INTO, CREATE TABLE AS: what was read goes into a new table."""
    facts = context.facts
    target = body.get("rel", {})
    temporary = target.get("relpersistence") == "t" or target.get("schemaname") == "pg_temp"
    facts.verb("sql.temporary" if temporary else "sql.create", "sql.select")
    facts.makes_temporary = facts.makes_temporary or temporary
    facts.changes_names = facts.changes_names or temporary
    facts.ddl = facts.writes = True
    for column in columns:
        references.mark(context, column, "other")
    flows.created(context, target, body.get("colNames"), columns, "create", temporary=temporary)
    definitions.event_triggers(context)
