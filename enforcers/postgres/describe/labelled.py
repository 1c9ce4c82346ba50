"""What an operation says of labels: those that the target's catalog gives to the columns that it names, and columns of
the classification that the target doesn't have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twokey.type.v1 import operation_pb2

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe.lineage import Key
from enforcers.postgres.describe.relations import kin
from enforcers.postgres.named_columns import Named, named

MOST_MISSING = 20  # one would do: nothing passes until it is put right


def label(
    template: operation_pb2.SqlOperation, catalog: Catalog, *, refers: bool, renamed: Mapping[Named, Key] | None = None
) -> None:
    """Fill in column_labels, target_labels and missing_columns; every list that names columns is filled already.

    refers: the statement runs or shows another one (EXECUTE, FETCH …), whose columns are added later: it gets every
    label there is, and machine_lineage keeps what those columns have now, not what they had when it was described.
    renamed: what columns will be called; the catalog's labels go with them.
    """
    for schema, name, column in catalog.missing[:MOST_MISSING]:
        template.missing_columns.add(schema=schema, relation=name, column=column)
    if not catalog.labels:
        return
    template.target_labels.extend(sorted(frozenset().union(*catalog.labels.values())))
    for schema, name, column in sorted(set(_every(catalog) if refers else named(template))):
        relation = catalog.find_relation(schema, name)
        found = relation.by_name.get(column) if relation is not None else None
        labels = catalog.labels_of(relation.oid, found.attnum) if relation is not None and found is not None else None
        if labels:
            template.column_labels.add(schema=schema, relation=name, column=column, labels=sorted(labels))
    for (schema, name, column), key in (renamed or {}).items():
        kept = catalog.labels_of(*key)
        if kept:
            template.column_labels.add(schema=schema, relation=name, column=column, labels=sorted(kept))


def quotes(template: operation_pb2.SqlOperation, catalog: Catalog) -> bool:
    """Can an error about what is written show a stored row, columns that the statement doesn't name included? Those of
    NOT NULL and CHECK do, and of WITH CHECK OPTION (ExecBuildSlotValueDescription). Of an INSERT the row is the
    client's own unless it is read from somewhere."""
    if not (catalog.classified or catalog.labels):
        return False
    shown = {"update", "insert"} if template.flows else {"update"}
    written = [item.oid for item in template.relations if not shown.isdisjoint(item.access)]
    if not written:
        return False
    marked = {oid for oid, _ in catalog.labels}
    named = {(schema, relation) for schema, relation, _ in catalog.classified}
    for oid in written:
        own = catalog.relation(oid)
        for relation in [*kin(catalog, oid), *([own] if own is not None else [])]:
            if relation.oid in marked or (relation.schema, relation.name) in named:
                return True
    return False


def _every(catalog: Catalog) -> Iterator[Named]:
    for oid in {relation for relation, _ in catalog.labels}:
        relation = catalog.relation(oid)
        if relation is not None:
            yield from ((relation.schema, relation.name, column.name) for column in relation.columns)
