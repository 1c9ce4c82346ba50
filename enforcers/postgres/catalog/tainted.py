"""A session's catalog that says which columns of its temporary tables hold values of classified ones.

A column of a partition, a child or a parent is read under the others' names, and rows move between partitions: what one
of such a family holds, each of it may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from enforcers.postgres.catalog.objects import Relation
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.named_columns import Named
from enforcers.postgres.taint import Origin, Taint

Key = tuple[int, int]


def tainted(catalog: Catalog, taint: Taint, *, settled: bool) -> Catalog:
    """`catalog`, a session's own, with what `taint` knows of its temporary tables; names in `taint` are looked up.

    settled: no transaction is open, so that a table that isn't there won't be back.
    """
    _look_up(catalog, taint, settled=settled)
    if not taint.held and not taint.named:
        return catalog
    origins: dict[Key, dict[Named, None]] = {}
    labels: dict[Named, frozenset[str]] = {}
    for (oid, attnum), held in taint.held.items():
        names: dict[Named, None] = {}
        for origin in sorted(held, key=lambda item: item.name):
            for name in _called(catalog, origin):
                names[name] = None
                labels[name] = labels.get(name, frozenset()) | origin.labels
        for key in _family(catalog, oid, attnum):
            origins.setdefault(key, {}).update(names)
    return catalog.holding({key: tuple(names) for key, names in origins.items()}, labels, carries=not taint.full)


def _look_up(catalog: Catalog, taint: Taint, *, settled: bool) -> None:
    for target in list(taint.named):
        if taint.blurred:
            columns = list(_all(own for own in catalog.own.relations.values() if own.temporary))
        else:
            columns = list(_meant(catalog, target))
        if columns or settled:
            found = {origin._replace(key=_key(catalog, origin.name)) for origin in taint.named.pop(target)}
            for key in columns:
                taint.held.setdefault(key, set()).update(found)
    if settled:
        taint.blurred = False
        for key in [key for key in taint.held if catalog.relation(key[0]) is None]:
            del taint.held[key]


def _meant(catalog: Catalog, target: Named) -> Iterator[Key]:
    """The column of this name; every column of the table where it has none of it (any more)."""
    schema, name, column = target
    relation = catalog.find_relation(catalog.temporary_schema if schema == "pg_temp" else schema, name)
    if relation is not None:
        found = relation.by_name.get(column)
        yield from _all([relation]) if found is None else [(relation.oid, found.attnum)]


def _all(relations: Iterable[Relation]) -> Iterator[Key]:
    return ((relation.oid, column.attnum) for relation in relations for column in relation.columns)


def _key(catalog: Catalog, name: Named) -> Key | None:
    relation = catalog.find_relation(name[0], name[1])
    column = relation.by_name.get(name[2]) if relation is not None else None
    return (relation.oid, column.attnum) if relation is not None and column is not None else None


def _called(catalog: Catalog, origin: Origin) -> Iterator[Named]:
    """As it was called then, and as it is called now."""
    yield origin.name
    relation = catalog.relation(origin.key[0]) if origin.key is not None else None
    if relation is not None:
        yield from (
            (relation.schema, relation.name, column.name)
            for column in relation.columns
            if origin.key == (relation.oid, column.attnum)
        )


def _family(catalog: Catalog, oid: int, attnum: int) -> Iterator[Key]:
    """The column, and those of its name in all tables that inherit from each other, however far."""
    relation = catalog.relation(oid)
    own = next((column for column in relation.columns if column.attnum == attnum), None) if relation else None
    if own is None:
        return
    waiting, seen = [oid], {oid}
    while waiting:
        current = waiting.pop()
        member = catalog.relation(current)
        same = member.by_name.get(own.name) if member is not None else None
        if same is not None:
            yield current, same.attnum
        for other in (*catalog.children.get(current, ()), *catalog.parents.get(current, ())):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
