"""Definitions after which values stay where they are and are no longer known by what gives them their label.

A label goes by the name of a column, of its parents and partitions, or by a comment. Who renames a column or its table,
moves it to another schema, takes a child from its parent or a comment away, leaves the label behind: a flow from the
column as it is known now to the column as it will be. So does what stores a column's values in another one: ALTER …
TYPE … USING, DROP EXPRESSION.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from enforcers.postgres.catalog.labels import PROVIDER, directed, listed
from enforcers.postgres.catalog.objects import Column, Relation
from enforcers.postgres.describe import expressions, flows, relations
from enforcers.postgres.describe.context import Context, Node, Scope, quoted, strings, unwrap
from enforcers.postgres.describe.lineage import COPY

_NOT_COLUMNS = frozenset(["OBJECT_TABCONSTRAINT", "OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE"])  # beside a table
_NOWHERE = ("", "", "")


def renamed(context: Context, body: Node, scope: Scope) -> None:
    """ALTER … RENAME."""
    kind, old, new = str(body.get("renameType", "")), str(body.get("subname", "")), str(body.get("newname", ""))
    if kind == "OBJECT_SCHEMA":
        _schema(context, old, new)
        return
    relation = _find(context, body.get("relation") or {})
    if relation is None or kind in _NOT_COLUMNS:
        return
    for column in relation.columns:
        if not old:
            _becomes(context, relation, column, (relation.schema, new, column.name))
        elif column.name == old:
            _becomes(context, relation, column, (relation.schema, relation.name, new))


def moved(context: Context, body: Node, scope: Scope) -> None:
    """ALTER … SET SCHEMA."""
    relation = _find(context, body.get("relation") or {})
    if relation is None:
        return
    for column in relation.columns:
        _becomes(context, relation, column, (str(body.get("newschema", "")), relation.name, column.name))


def _becomes(context: Context, relation: Relation, column: Column, target: tuple[str, str, str]) -> None:
    key = (relation.oid, column.attnum)
    context.facts.flow({key: COPY}, target, "rename", temporary=relation.temporary)
    context.facts.renamed[target] = key


def _schema(context: Context, old: str, new: str) -> None:
    """Of all that moves with a schema, the columns that the file or a comment labels."""
    catalog = context.catalog
    marked = {oid for oid, _ in catalog.labels}
    named = {(schema, name) for schema, name, _ in catalog.classified}
    for relation in catalog.own.relations.values():
        if relation.schema == old and (relation.oid in marked or (old, relation.name) in named):
            for column in relation.columns:
                _becomes(context, relation, column, (new, relation.name, column.name))


def altered(context: Context, body: Node, scope: Scope) -> None:
    """ALTER TABLE."""
    table = _find(context, body.get("relation") or {})
    for item in body.get("cmds", []):
        command = item.get("AlterTableCmd", {})
        kind = str(command.get("subtype", ""))
        given = unwrap(command.get("def") or {})[1]
        if kind.startswith("AT_DetachPartition"):
            _leaves(context, _find(context, given.get("name") or {}))
        elif table is None:
            continue
        elif kind == "AT_DropInherit":
            _leaves(context, table)
        elif kind == "AT_AlterColumnType" and given.get("raw_default"):
            _retyped(context, table, str(command.get("name", "")), given["raw_default"], scope)
        elif kind == "AT_DropExpression":
            _fixed(context, table, str(command.get("name", "")))


def _leaves(context: Context, relation: Relation | None) -> None:
    """It, and what is below it, will be known by their own names only."""
    if relation is None:
        return
    below = [context.catalog.relation(oid) for oid in relations.descendants(context, relation.oid)]
    for child in [relation, *(item for item in below if item is not None)]:
        for column in child.columns:
            target = (child.schema, child.name, column.name)
            context.facts.flow({(child.oid, column.attnum): COPY}, target, "detach", temporary=child.temporary)


def _retyped(context: Context, table: Relation, name: str, using: Any, scope: Scope) -> None:
    columns = relations.read(context, table, access="")
    inner = context.inner("check") if context.via == "direct" else context
    value = expressions.walk(inner, using, Scope(scope, columns))
    flows.report(context, table, columns, [(name, value, "update")])


def _fixed(context: Context, table: Relation, name: str) -> None:
    """A generated column keeps its values, and nobody can say any more what they came from."""
    column = table.by_name.get(name)
    if column is not None and column.generated:
        made = relations.generated_from(context, table, column)
        context.facts.flow(made, (table.schema, table.name, name), "update", temporary=table.temporary)


def commented(context: Context, body: Node, text: str | None, provider: str | None) -> None:
    """COMMENT ON, SECURITY LABEL ON: of a column, or of a relation, whose label all its columns have."""
    kind, given = unwrap(body.get("object") or {})
    names = strings(given.get("items")) if kind == "List" else []
    column = names.pop() if body.get("objtype") == "OBJECT_COLUMN" and names else ""
    if not names:
        return
    schema = names[-2] if len(names) > 1 else ""
    relation = context.find_relation(names[-1], schema)
    if relation is None or (column and column not in relation.by_name):
        return
    if context.top:
        context.facts.names[quoted(schema, names[-1])] = relation.oid
    place = (relation.oid, relation.by_name[column].attnum if column else 0)
    said = listed(text or "") if provider == PROVIDER and text else directed(text or "")
    if context.catalog.labels.get(place, frozenset()) <= said:
        return
    touched: Iterable[Column] = [relation.by_name[column]] if column else relation.columns
    for item in touched:
        context.facts.flow({(relation.oid, item.attnum): COPY}, _NOWHERE, "comment", temporary=relation.temporary)


def _find(context: Context, table: Node) -> Relation | None:
    return context.find_relation(str(table.get("relname", "")), str(table.get("schemaname", "")))
