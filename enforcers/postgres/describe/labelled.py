"""What an operation says of labels: those that the target's catalog gives to the columns that it names, and columns of
the classification that the target doesn't have."""

from __future__ import annotations

from collections.abc import Iterator

from twokey.type.v1 import operation_pb2

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.named_columns import Named, named

MOST_MISSING = 20  # one would do: nothing passes until it is put right


def label(template: operation_pb2.SqlOperation, catalog: Catalog, *, refers: bool) -> None:
    """Fill in column_labels, target_labels and missing_columns; every list that names columns is filled already.

    refers: the statement runs or shows another one (EXECUTE, FETCH …), whose columns are added later: it gets every
    label there is, and machine_lineage keeps what those columns have now, not what they had when it was described.
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


def _every(catalog: Catalog) -> Iterator[Named]:
    for oid in {relation for relation, _ in catalog.labels}:
        relation = catalog.relation(oid)
        if relation is not None:
            yield from ((relation.schema, relation.name, column.name) for column in relation.columns)
