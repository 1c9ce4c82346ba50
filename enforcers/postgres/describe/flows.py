"""What moves from stored columns into stored columns, and what a write probes on the way.

A value is stored in the table below, whatever view it was written through. What a unique index, a foreign key, an
exclusion constraint or a check would refuse tells the writer of rows it never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enforcers.postgres.catalog.objects import Column, Relation
from enforcers.postgres.describe import expressions, relations, resolution
from enforcers.postgres.describe.context import Context, Node, OutColumn, strings
from enforcers.postgres.describe.lineage import COPY, Sources, Value, joined
from enforcers.postgres.describe.relations import kin

Assigned = list[tuple[str, Value, str]]  # column, what it is set to, kind of flow


def report(context: Context, relation: Relation, columns: Sequence[OutColumn], assigned: Assigned) -> None:
    """Each assigned value flows into the column that stores it, and from there into generated ones."""
    by_name = {column.name: column for column in columns}
    for name, value, kind in assigned:
        column = by_name.get(name)
        if column is None or not value.sources or not column.touched:
            continue
        target, stored = column.touched[-1]
        own = (target.oid, stored.attnum)
        _refused(context, value, target, stored)
        sources = {key: way for key, way in value.sources.items() if key != own}
        context.facts.flow(sources, _name(target, stored), kind, temporary=target.temporary)
        for derived in target.columns:
            made = relations.generated_from(context, target, derived) if derived.generated else {}
            if own in made:
                context.facts.flow(sources, _name(target, derived), "generated", temporary=target.temporary)
                if made[own] not in {COPY, ""}:
                    context.facts.told(value, made[own])


def kept(context: Context, column: OutColumn | None) -> Sources:
    """The columns in which what is assigned to this one is stored: that of a table, and the generated ones made of it.
    Views, and tables with rules, may store it elsewhere: none."""
    if column is None or len(column.touched) != 1:
        return {}
    relation, stored = column.touched[0]
    if relation.kind == "view" or context.catalog.rules.get(relation.oid):
        return {}
    own = (relation.oid, stored.attnum)
    found: Sources = {own: ""}
    for derived in relation.columns:
        if derived.generated and own in relations.generated_from(context, relation, derived):
            found[(relation.oid, derived.attnum)] = ""
    return found


def _refused(context: Context, value: Value, relation: Relation, column: Column) -> None:
    """A value that the column can't hold tells of itself: by its type or length, by NULL, by fitting no partition."""
    catalog = context.catalog
    by = resolution.assignment_tells(catalog, value.type, column.type_oid, modified=column.modified)
    if by:
        context.facts.told(value, by)
    routed = {name for table in (relation, *kin(catalog, relation.oid)) for name in _routed_by(context, table)}
    if column.not_null or column.name in routed:
        context.facts.infer(value.sources, "constraint")


def _routed_by(context: Context, relation: Relation) -> set[str]:
    key = context.catalog.partition_keys.get(relation.oid, ())
    return {column.name for column in relation.columns if column.attnum in key or 0 in key}


def generated(context: Context, relation: Relation, written: set[str] | None) -> None:
    """Of the columns written (None: all), into the generated columns that are made of them."""
    for column in relation.columns:
        if not column.generated:
            continue
        made = relations.generated_from(context, relation, column)
        names = {item.attnum: item.name for item in relation.columns}
        used = {key: way for key, way in made.items() if written is None or names.get(key[1], "") in written}
        context.facts.flow(used, _name(relation, column), "generated", temporary=relation.temporary)


def _name(relation: Relation, column: Column) -> tuple[str, str, str]:
    return relation.schema, relation.name, column.name


def stored(context: Context, columns: Sequence[OutColumn], assigned: Assigned) -> list[OutColumn]:
    """The columns of a row as RETURNING shows it: each also depends on what it was set to."""
    values: dict[str, list[Value]] = {}
    for name, value, _ in assigned:
        if value.sources:
            values.setdefault(name, []).append(value)
    if not values:
        return list(columns)
    made = []
    for column in columns:
        more = values.get(column.name)
        if more:
            value = Value(joined([column.value, *more]), column.value.type)
            made.append(OutColumn(column.name, column.base, column.wire, column.touched, value))
        else:
            made.append(column)
    return made


def created(
    context: Context, target: Node, aliases: Any, columns: Sequence[OutColumn], kind: str, *, temporary: bool
) -> None:
    """Into a table or view that is made: named as it will be."""
    schema = str(target.get("schemaname", ""))
    if temporary:
        schema = "pg_temp"
    elif not schema:
        schema = next((item for item in context.path if not item.startswith("pg_")), "")
    names = strings(aliases)
    for index, column in enumerate(columns):
        name = names[index] if index < len(names) else column.name
        whole = (schema, str(target.get("relname", "")), name)
        context.facts.flow(column.value.sources, whole, kind, temporary=temporary)


def probed(context: Context, relation: Relation, event: str, assigned: Assigned, written: set[str] | None) -> None:
    """What a write of these columns (None: any) would find out by being refused."""
    family = [relation]
    if relation.kind == "view":
        family, assigned, written = _below(context, relation, assigned, written)
    family += [
        child
        for oid in relations.descendants(context, relation.oid)
        if (child := context.catalog.relation(oid)) is not None
    ]
    for table in {item.oid: item for item in family}.values():
        if event != "delete":
            generated(context, table, written)
            _indexes(context, table, written)
            _checks(context, table, event, assigned, written)
        _foreign_keys(context, table, event, written)


def _below(
    context: Context, view: Relation, assigned: Assigned, written: set[str] | None
) -> tuple[list[Relation], Assigned, set[str] | None]:
    """What is written through a view, by the names of the tables below. A column that is none of theirs: any (None)."""
    columns = {column.name: column.touched[-1] for column in relations.view(context, view) if column.touched}
    renamed = [(columns[name][1].name if name in columns else name, value, kind) for name, value, kind in assigned]
    if written is not None and all(name in columns and columns[name][0].kind != "view" for name in written):
        written = {columns[name][1].name for name in written}
    else:
        written = None
    return [table for table, _ in columns.values()], renamed, written


def _keys(relation: Relation, attnums: Sequence[int]) -> Sources:
    """0 stands for an expression: any column may be in it."""
    if 0 in attnums:
        return {(relation.oid, column.attnum): "" for column in relation.columns}
    return {(relation.oid, attnum): "" for attnum in attnums}


def _touches(relation: Relation, attnums: Sequence[int], written: set[str] | None) -> bool:
    if written is None or 0 in attnums:
        return True
    return any(column.attnum in attnums and column.name in written for column in relation.columns)


def _indexes(context: Context, relation: Relation, written: set[str] | None) -> None:
    for attnums in context.catalog.probes.get(relation.oid, ()):
        if _touches(relation, attnums, written):
            context.facts.infer(_keys(relation, attnums), "constraint")


def _checks(context: Context, relation: Relation, event: str, assigned: Assigned, written: set[str] | None) -> None:
    """A check sees the row as it will be: of an update what stays in it too, of an insert what was read for it."""
    names = {column.attnum: column.name for column in relation.columns}
    for expression in context.catalog.expressions.get(relation.oid, ()):
        if expression.kind != "check":
            continue
        used = expressions.stored(context.inner("check"), expression.text, relation=relation).sources
        named = {names.get(attnum, "") for _, attnum in used}
        if written is not None and not named & written:
            continue
        kept = {key: way for key, way in used.items() if event == "update"}
        given = [value for name, value, _ in assigned if name in named]
        only_new = written is not None and named <= written
        context.facts.infer(joined(given) if only_new else joined([Value(kept), *given]), "constraint")


def _foreign_keys(context: Context, relation: Relation, event: str, written: set[str] | None) -> None:
    catalog = context.catalog
    if event in {"insert", "update"}:
        for key in catalog.foreign_keys_of.get(relation.oid, ()):
            parent = catalog.relation(key.parent)
            if parent is not None and key.enforced and _touches(relation, key.child_columns, written):
                context.facts.infer(_keys(parent, key.parent_columns), "constraint")
    if event == "insert":
        return
    for key in catalog.foreign_keys_to.get(relation.oid, ()):
        child = catalog.relation(key.child)
        if child is None or not key.enforced:
            continue
        if event == "update" and not _touches(relation, key.parent_columns, written):
            continue
        action = key.on_delete if event == "delete" else key.on_update
        if action in {"a", "r"}:
            context.facts.infer(_keys(child, key.child_columns), "constraint")
        elif action == "c" and event == "update":
            columns = {column.attnum: column for column in child.columns}
            for mine, theirs in zip(key.parent_columns, key.child_columns, strict=True):
                stored_in = columns.get(theirs)
                if stored_in is not None:
                    source = {(relation.oid, mine): COPY}
                    context.facts.flow(source, _name(child, stored_in), "cascade", temporary=child.temporary)
