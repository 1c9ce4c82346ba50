"""What reading a relation means: the view behind a name, partitions and children, policies, column types."""

from __future__ import annotations

import orjson
from pglast.parser import ParseError

from enforcers.postgres.catalog.objects import Column, Relation
from enforcers.postgres.describe import expressions, functions, queries
from enforcers.postgres.describe.context import Context, Node, OutColumn, Scope, quoted
from enforcers.postgres.describe.foreign import stored_tree

# System views and tables that show values of any table's rows.
_HOLDS_VALUES = frozenset(
    {"pg_statistic", "pg_stats", "pg_statistic_ext_data", "pg_stats_ext", "pg_stats_ext_exprs", "pg_largeobject"}
)


def lookup(context: Context, body: Node) -> Relation | None:
    """The relation that a RangeVar names; opaque when the catalog has none."""
    name, schema = body.get("relname", ""), body.get("schemaname", "")
    facts = context.facts
    if body.get("catalogname") not in (None, "", context.catalog.database):
        facts.doubt("unresolved", f"relation {quoted(body['catalogname'], schema, name)}")
        return None
    if context.temporary_unread and (not schema or schema.startswith("pg_temp")):
        facts.doubt("unresolved", f"relation {quoted(schema, name)}: temporary objects were not read")
    relation = context.find_relation(name, schema)
    if relation is None:
        facts.doubt("unresolved", f"relation {quoted(schema, name)}")
        return None
    if context.top:
        facts.names[quoted(schema, name)] = relation.oid
    return relation


def descendants(context: Context, oid: int) -> list[int]:
    found: list[int] = []
    todo = list(context.catalog.children.get(oid, ()))
    while todo:
        child = todo.pop()
        if child not in found:
            found.append(child)
            todo.extend(context.catalog.children.get(child, ()))
    return found


def _ancestors(context: Context, oid: int) -> list[Relation]:
    found: list[int] = []
    todo = list(context.catalog.parents.get(oid, ()))
    while todo:
        parent = todo.pop()
        if parent not in found:
            found.append(parent)
            todo.extend(context.catalog.parents.get(parent, ()))
    return [relation for item in found if (relation := context.catalog.relation(item)) is not None]


def _kin(context: Context, oid: int) -> list[Relation]:
    """Every ancestor and descendant: a column is known under each of their names."""
    below = [context.catalog.relation(item) for item in descendants(context, oid)]
    return [relation for relation in below if relation is not None] + _ancestors(context, oid)


def which_partition(context: Context, relation: Relation) -> None:
    """Which partition a row is in tells something of the key: its columns count as read."""
    key = context.catalog.partition_keys.get(relation.oid, ())
    for column in relation.columns:
        if column.attnum in key or 0 in key:
            mark(context, relation, column, "other")


def mark(context: Context, relation: Relation, column: Column, use: str) -> None:
    """A column is read (output, other) or written; what comes with that."""
    facts = context.facts
    if (relation.oid, column.attnum, use) in facts.columns:
        return
    facts.columns[(relation.oid, column.attnum, use)] = (relation, column.name)
    for other in _kin(context, relation.oid):
        same = other.by_name.get(column.name)
        if same is not None:
            facts.columns.setdefault((other.oid, same.attnum, use), (other, same.name))
    found = context.catalog.type(column.type_oid)
    if found is not None:
        functions.touch_type(context, found, via="type")
    if column.generated and use != "write":
        for expression in context.catalog.expressions.get(relation.oid, ()):
            if expression.kind == "generated" and expression.attnum == column.attnum:
                expressions.stored(context.inner("generated"), expression.text, relation=relation, shown=True)


def read(context: Context, relation: Relation, *, children: bool = True, access: str = "read") -> list[OutColumn]:
    """A relation in FROM (or as a target, access ""): its columns, and all that reading it sets off."""
    facts = context.facts
    if access:
        facts.access(relation, access, context.via)
        if not relation.catalog and access == "read":
            facts.verb("sql.select")
    if children:
        family(context, relation, access)
    if access == "read":
        for ancestor in _ancestors(context, relation.oid):
            which_partition(context, ancestor)
    if relation.kind == "foreign-table":
        facts.doubt("remote", f"foreign table {relation.schema}.{relation.name}")
    if relation.catalog and relation.name in _HOLDS_VALUES:
        facts.doubt("unresolved", f"{relation.schema}.{relation.name} shows values of any table")
    if relation.row_security:
        policies(context, relation)
    # What a materialised view stores came from the columns of its query, and says as much about them as a view does.
    if relation.kind in {"view", "materialized-view"} and not relation.catalog:
        return view(context, relation)
    return [
        OutColumn(column.name, (relation, column), (relation.oid, column.attnum), ((relation, column),))
        for column in relation.columns
    ]


def family(context: Context, relation: Relation, access: str) -> None:
    """Partitions and inheritance children are read and written through their parent."""
    for oid in descendants(context, relation.oid):
        child = context.catalog.relation(oid)
        if child is None:
            continue
        if access:
            via = "partition" if relation.kind == "partitioned-table" else "inheritance"
            context.facts.access(child, access, via)
        if child.kind == "foreign-table":
            context.facts.doubt("remote", f"foreign table {child.schema}.{child.name}")


def policies(context: Context, relation: Relation) -> None:
    """Whatever policy may apply: which one does depends on rights that change at any time.

    Which rows come depends on the columns it looks at: they count as read.
    """
    for expression in context.catalog.expressions.get(relation.oid, ()):
        if expression.kind == "policy":
            expressions.stored(context.inner("policy"), expression.text, relation=relation, shown=True)


def view(context: Context, relation: Relation) -> list[OutColumn]:
    """A view's columns, each with the table column it only copies, if any."""
    inner = context.inner("view" if context.via == "direct" else context.via, path=context.catalog.printed_path)
    text = next((rule.text for rule in context.catalog.rules.get(relation.oid, ()) if rule.name == "_RETURN"), "")
    if context.too_deep:
        return [_opaque_column(relation, column) for column in relation.columns]
    try:
        parsed = stored_tree(context, text)
        found = queries.query(inner, parsed["stmts"][0]["stmt"], Scope())
    except (ParseError, orjson.JSONDecodeError, IndexError, KeyError):
        context.facts.doubt("unresolved", f"view {relation.schema}.{relation.name}")
        found = []
    if len(found) != len(relation.columns):
        context.facts.doubt("unresolved", f"view {relation.schema}.{relation.name}")
        return [_opaque_column(relation, column) for column in relation.columns]
    return [
        OutColumn(column.name, below.base, (relation.oid, column.attnum), ((relation, column), *below.touched))
        for column, below in zip(relation.columns, found, strict=True)
    ]


def _opaque_column(relation: Relation, column: Column) -> OutColumn:
    return OutColumn(column.name, None, (relation.oid, column.attnum), ((relation, column),))
