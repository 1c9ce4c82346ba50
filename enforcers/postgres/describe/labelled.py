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
    carry(template, catalog)
    if not (catalog.labels or catalog.origin_labels):
        return
    given = (*catalog.labels.values(), *catalog.origin_labels.values())
    template.target_labels.extend(sorted(frozenset().union(*given)))
    for schema, name, column in sorted(set(_every(catalog) if refers else named(template))):
        labels = _labels(catalog, (schema, name, column))
        if labels:
            template.column_labels.add(schema=schema, relation=name, column=column, labels=sorted(labels))
    for (schema, name, column), key in (renamed or {}).items():
        kept = catalog.labels_of(*key)
        if kept:
            template.column_labels.add(schema=schema, relation=name, column=column, labels=sorted(kept))


def carry(template: operation_pb2.SqlOperation, catalog: Catalog) -> None:
    """Say of each classified value that goes into a temporary table that the session keeps in mind where it came from.
    Of what can't be seen through, or of a column without a name, nobody could."""
    if template.opaque or not catalog.carries:
        return
    for flow in template.flows:
        if flow.temporary and flow.target.column:
            source = (flow.source.schema, flow.source.relation, flow.source.column)
            flow.carried = source in catalog.classified or bool(_labels(catalog, source))


def _labels(catalog: Catalog, name: Named) -> frozenset[str]:
    """What the target's catalog says of a column, or said when values of it were stored."""
    relation = catalog.find_relation(name[0], name[1])
    found = relation.by_name.get(name[2]) if relation is not None else None
    own = catalog.labels_of(relation.oid, found.attnum) if relation is not None and found is not None else frozenset()
    return own | catalog.origin_labels.get(name, frozenset())


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
    yield from catalog.origin_labels
