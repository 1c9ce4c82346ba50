"""What reading a relation means: the view behind a name, partitions and children, policies, column types."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from cachetools import LRUCache
from pglast.parser import ParseError

from enforcers.postgres.catalog.objects import Column, Relation
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import expressions, functions, queries
from enforcers.postgres.describe.context import Context, Node, OutColumn, Scope, quoted
from enforcers.postgres.describe.foreign import stored_tree
from enforcers.postgres.describe.lineage import COPY, Sources, Value, joined, through

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


def _reached(steps: Mapping[int, tuple[int, ...]], oid: int) -> list[int]:
    found: dict[int, None] = {}
    todo = list(steps.get(oid, ()))
    while todo:
        item = todo.pop()
        if item not in found:
            found[item] = None
            todo.extend(steps.get(item, ()))
    return list(found)


def descendants(context: Context, oid: int) -> list[int]:
    return _reached(context.catalog.children, oid)


def _ancestors(context: Context, oid: int) -> list[Relation]:
    above = _reached(context.catalog.parents, oid)
    return [relation for item in above if (relation := context.catalog.relation(item)) is not None]


def kin(catalog: Catalog, oid: int) -> list[Relation]:
    """Every ancestor and descendant: a column is known under each of their names."""
    if oid not in catalog.children and oid not in catalog.parents:
        return []
    found = [*_reached(catalog.children, oid), *_reached(catalog.parents, oid)]
    return [relation for item in found if (relation := catalog.relation(item)) is not None]


def which_partition(context: Context, relation: Relation) -> None:
    """Which partition a row is in tells something of the key: its columns count as read."""
    key = context.catalog.partition_keys.get(relation.oid, ())
    for column in relation.columns:
        if column.attnum in key or 0 in key:
            mark(context, relation, column, "other")
            context.facts.infer({(relation.oid, column.attnum): ""}, "partition")


def mark(context: Context, relation: Relation, column: Column, use: str) -> None:
    """A column is read (output, other) or written; what comes with that."""
    facts = context.facts
    if (relation.oid, column.attnum, use) in facts.columns:
        return
    facts.columns[(relation.oid, column.attnum, use)] = (relation, column.name)
    for other in kin(context.catalog, relation.oid):
        same = other.by_name.get(column.name)
        if same is not None:
            facts.columns.setdefault((other.oid, same.attnum, use), (other, same.name))
    found = context.catalog.type(column.type_oid)
    if found is not None:
        functions.touch_type(context, found, via="type")
    if column.generated and use != "write":
        inferred = dict(facts.inferences)
        for expression in context.catalog.expressions.get(relation.oid, ()):
            if expression.kind == "generated" and expression.attnum == column.attnum:
                expressions.stored(context.inner("generated"), expression.text, relation=relation, shown=True)
        if not column.virtual:
            facts.inferences = inferred  # it was computed when it was written


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
        afar(context, relation, access or "read")
    if relation.catalog and relation.name in _HOLDS_VALUES:
        facts.doubt("unresolved", f"{relation.schema}.{relation.name} shows values of any table")
    if relation.row_security:
        policies(context, relation)
    facts.collates = facts.collates or any(column.collated for column in relation.columns)
    # What a materialised view stores came from the columns of its query, and says as much about them as a view does.
    if relation.kind in {"view", "materialized-view"} and not relation.catalog:
        return view(context, relation)
    key = (context.catalog.version, relation.oid)
    columns = _columns.get(key)
    if columns is None:
        columns = _columns[key] = [_column(relation, column) for column in relation.columns]
    if any(column.generated for column in relation.columns):
        return [_generated(context, relation, column) for column in columns]
    return list(columns)


_columns: LRUCache[tuple[int, int], list[OutColumn]] = LRUCache(4096)


def _column(relation: Relation, column: Column) -> OutColumn:
    key = (relation.oid, column.attnum)
    return OutColumn(column.name, (relation, column), key, ((relation, column),), Value({key: COPY}, column.type_oid))


def _generated(context: Context, relation: Relation, column: OutColumn) -> OutColumn:
    """A generated column tells of those it is made of."""
    if column.base is None or not column.base[1].generated:
        return column
    made = generated_from(context, relation, column.base[1])
    if not column.base[1].virtual:
        made = dict.fromkeys(made, "")
    value = Value(joined([column.value, Value(through(made))]), column.value.type)
    return OutColumn(column.name, column.base, column.wire, column.touched, value)


def generated_from(context: Context, relation: Relation, column: Column) -> Sources:
    for expression in context.catalog.expressions.get(relation.oid, ()):
        if expression.kind == "generated" and expression.attnum == column.attnum:
            inner = context.inner("generated")
            return expressions.stored(inner, expression.text, relation=relation).sources
    return {}


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
            afar(context, child, access or "read")


_AFAR = {"read": "read", "lock": "read", "ddl": "define"}  # whatever else is done to a foreign table writes there


def afar(context: Context, relation: Relation, access: str) -> None:
    """A foreign table is touched: what happens to its rows happens at its server, where nobody here sees it."""
    found = context.catalog.foreign.get(relation.oid)
    server = context.catalog.server(found.server) if found is not None else None
    wrapper = context.catalog.wrapper(server.wrapper) if server is not None else None
    if server is None or wrapper is None:
        context.facts.doubt("remote", f"foreign table {relation.schema}.{relation.name}")
        return
    context.facts.reach(server.name, wrapper.name, _AFAR.get(access, "write"))


def policies(context: Context, relation: Relation) -> None:
    """Whatever policy may apply: which one does depends on rights that change at any time.

    Which rows come depends on the columns it looks at: they count as read.
    """
    for expression in context.catalog.expressions.get(relation.oid, ()):
        if expression.kind == "policy":
            value = expressions.stored(context.inner("policy"), expression.text, relation=relation, shown=True)
            context.facts.infer(value.sources, "row-security")


def view(context: Context, relation: Relation) -> list[OutColumn]:
    """A view's columns, each with the table column it only copies, if any."""
    inner = context.inner("view" if context.via == "direct" else context.via, path=context.catalog.printed_path)
    text = next((rule.text for rule in context.catalog.rules.get(relation.oid, ()) if rule.name == "_RETURN"), "")
    if context.too_deep:
        return [_opaque_column(relation, column) for column in relation.columns]
    nested = context.facts.nested
    try:
        parsed = stored_tree(context, text)
        found = queries.query(inner, parsed["stmts"][0]["stmt"], Scope())
    except (ParseError, orjson.JSONDecodeError, IndexError, KeyError):
        context.facts.doubt("unresolved", f"view {relation.schema}.{relation.name}")
        context.facts.nested = nested
        found = []
    if len(found) != len(relation.columns):
        context.facts.doubt("unresolved", f"view {relation.schema}.{relation.name}")
        return [_opaque_column(relation, column) for column in relation.columns]
    return [
        OutColumn(
            column.name,
            below.base,
            (relation.oid, column.attnum),
            ((relation, column), *below.touched),
            _seen_as(relation, column, below.value),
        )
        for column, below in zip(relation.columns, found, strict=True)
    ]


def _seen_as(relation: Relation, column: Column, below: Value) -> Value:
    sources = {(relation.oid, column.attnum): COPY, **below.sources}
    return Value(sources, column.type_oid, below.quiet, below.size, below.pending, below.marks)


def _opaque_column(relation: Relation, column: Column) -> OutColumn:
    key = (relation.oid, column.attnum)
    return OutColumn(column.name, None, key, ((relation, column),), Value({key: COPY}, column.type_oid))
