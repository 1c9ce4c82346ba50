"""What an operation says of labels: those that the target's catalog gives to the columns that it names, and columns of
the classification that the target doesn't have."""

from __future__ import annotations

from collections.abc import Iterator

from twokey.type.v1 import operation_pb2

from enforcers.postgres.catalog.snapshot import Catalog

MOST_MISSING = 20  # one would do: nothing passes until it is put right
_Named = tuple[str, str, str]  # schema, relation, column


def label(template: operation_pb2.SqlOperation, catalog: Catalog) -> None:
    """Fill in column_labels, target_labels and missing_columns; every list that names columns is filled already."""
    for schema, name, column in catalog.missing[:MOST_MISSING]:
        template.missing_columns.add(schema=schema, relation=name, column=column)
    if not catalog.labels:
        return
    template.target_labels.extend(sorted(frozenset().union(*catalog.labels.values())))
    for schema, name, column in sorted(set(_named(template))):
        relation = catalog.find_relation(schema, name)
        found = relation.by_name.get(column) if relation is not None else None
        labels = catalog.labels_of(relation.oid, found.attnum) if relation is not None and found is not None else None
        if labels:
            template.column_labels.add(schema=schema, relation=name, column=column, labels=sorted(labels))


def _named(template: operation_pb2.SqlOperation) -> Iterator[_Named]:
    for use in template.columns:
        yield use.schema, use.relation, use.column
    for output in template.output:
        if output.HasField("origin"):
            yield output.origin.schema, output.origin.relation, output.origin.column
        for source in output.sources:
            yield source.schema, source.relation, source.column
    for inference in template.inferences:
        yield inference.schema, inference.relation, inference.column
    for flow in template.flows:
        yield flow.source.schema, flow.source.relation, flow.source.column
        yield flow.target.schema, flow.target.relation, flow.target.column
