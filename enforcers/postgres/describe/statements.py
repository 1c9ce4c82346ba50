"""INSERT, UPDATE, DELETE, MERGE; and the way from any statement's kind to the code that describes it."""

from __future__ import annotations

from typing import Any

from enforcers.postgres.catalog.objects import Relation
from enforcers.postgres.describe import definitions, effects, expressions, queries, references, relations, utility
from enforcers.postgres.describe.context import OPEN, Context, Node, OutColumn, Scope, Source

DATA = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def describe(context: Context, kind: str, body: Node) -> list[OutColumn]:
    """A client's statement. The columns it returns are marked as output."""
    scope = Scope()
    if kind in DATA:
        columns = queries.query(context, {kind: body}, scope, may_be_open=True)
        if any(column.name == OPEN for column in columns):
            context.facts.output_open = True
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


def nested(context: Context, kind: str, body: Node, scope: Scope) -> None:
    """A statement inside a function or rule: what it returns is computed with, not shown as it is."""
    if kind in DATA:
        columns = queries.query(context, {kind: body}, scope)
    else:
        columns = utility.describe(context, kind, body, scope)
    for column in columns:
        references.mark(context, column, "other")


def data(context: Context, kind: str, body: Node, outer: Scope) -> list[OutColumn]:
    """A statement that changes rows, anywhere. The columns are those of RETURNING."""
    scope = Scope(parent=outer)
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
    handler(context, body, scope, source, relation)
    return _returning(context, body.get("returningClause"), scope, source)


def _assigned(items: Any) -> list[str]:
    return [str(item.get("ResTarget", {}).get("name", "")) for item in items or []]


def _write(context: Context, relation: Relation | None, event: str, names: list[str] | None) -> None:
    if relation is None:
        context.facts.verb(f"sql.{event}")
        return
    if names is not None:
        for name in names:
            if name not in relation.by_name:
                context.facts.doubt("unresolved", f"column {relation.name}.{name}")
    effects.write(context, relation, event, names)


def _targets(context: Context, items: Any, scope: Scope) -> None:
    """The right sides of SET, and subscripts on the left."""
    seen: list[Any] = []
    for item in items or []:
        body = item.get("ResTarget", {})
        expressions.walk(context, [part for part in body.get("indirection", []) if "A_Indices" in part], scope)
        value = body.get("val")
        expressions.free(context, value)
        if isinstance(value, dict) and "MultiAssignRef" in value:
            source = value["MultiAssignRef"].get("source")
            if source in seen:
                continue
            seen.append(source)
        expressions.walk(context, value, scope)


def _insert(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> None:
    cols = body.get("cols")
    if body.get("selectStmt"):
        for column in queries.query(context, body["selectStmt"], scope):
            references.mark(context, column, "other")
    for item in cols or []:
        expressions.walk(
            context, [part for part in item.get("ResTarget", {}).get("indirection", []) if "A_Indices" in part], scope
        )
    _write(context, relation, "insert", _assigned(cols) if cols else None)
    conflict = body.get("onConflictClause")
    if not conflict:
        return
    excluded = [OutColumn(column.name) for column in source.columns]
    inner = Scope(scope, list(source.columns), [source, Source("excluded", excluded, open=source.open)])
    infer = conflict.get("infer") or {}
    for item in infer.get("indexElems", []):
        element = item.get("IndexElem", {})
        if element.get("name"):
            references.resolve(context, [str(element["name"])], inner)
        expressions.walk(context, element.get("expr"), inner)
    expressions.walk(context, infer.get("whereClause"), inner)
    if conflict.get("action") == "ONCONFLICT_UPDATE":
        _targets(context, conflict.get("targetList"), inner)
        expressions.walk(context, conflict.get("whereClause"), inner)
        _write(context, relation, "update", _assigned(conflict.get("targetList")))


def _update(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> None:
    _fill(context, scope, source, body.get("fromClause"))
    _targets(context, body.get("targetList"), scope)
    expressions.walk(context, body.get("whereClause"), scope)
    context.facts.wheres.append(expressions.restricts(body.get("whereClause")))
    _write(context, relation, "update", _assigned(body.get("targetList")))


def _delete(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> None:
    _fill(context, scope, source, body.get("usingClause"))
    expressions.walk(context, body.get("whereClause"), scope)
    context.facts.wheres.append(expressions.restricts(body.get("whereClause")))
    _write(context, relation, "delete", None)


def _fill(context: Context, scope: Scope, source: Source, items: Any) -> None:
    scope.columns.extend(source.columns)
    scope.sources.append(source)
    queries.from_clause(context, items, scope)


def _merge(context: Context, body: Node, scope: Scope, source: Source, relation: Relation | None) -> None:
    context.facts.verb("sql.merge")
    _fill(context, scope, source, [body.get("sourceRelation", {})])
    expressions.walk(context, body.get("joinCondition"), scope)
    for item in body.get("mergeWhenClauses", []):
        clause = item.get("MergeWhenClause", {})
        expressions.walk(context, clause.get("condition"), scope)
        command = clause.get("commandType")
        names = _assigned(clause.get("targetList"))
        if command == "CMD_INSERT":
            expressions.walk(context, clause.get("values"), scope)
            _write(context, relation, "insert", names or None)
        elif command == "CMD_UPDATE":
            _targets(context, clause.get("targetList"), scope)
            _write(context, relation, "update", names)
        elif command == "CMD_DELETE":
            _write(context, relation, "delete", None)
        elif command not in {"CMD_NOTHING", None}:
            context.facts.doubt("unknown-statement", f"MERGE with {command}")


def _returning(context: Context, clause: Node | None, scope: Scope, source: Source) -> list[OutColumn]:
    if not clause:
        return []
    inner = Scope(scope.parent, list(scope.columns), list(scope.sources), scope.ctes)
    if source not in inner.sources:
        inner.columns = [*source.columns, *inner.columns]
        inner.sources.insert(0, source)
    renamed = {"RETURNING_OPTION_OLD": "old", "RETURNING_OPTION_NEW": "new"}
    # In the action of a rule OLD and NEW are the rule's own rows, on every version.
    names = {"old", "new"} if context.via != "rule" else set()
    for option in clause.get("options", []):
        given = option.get("ReturningOption", {})
        names.discard(renamed.get(str(given.get("option")), ""))
        names.add(str(given.get("value", "")))
    for name in names:
        if all(item.name != name for item in inner.sources):
            inner.sources.append(Source(name, source.columns, open=source.open))
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
    definitions.event_triggers(context)
