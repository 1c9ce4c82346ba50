"""Whether the columns that a classification names are there, and still the ones that they were.

A label in a file goes by name. A column that is renamed leaves its name, and a decoy can be added under it, so each
name is pinned to the column that it meant first (relation oid and attribute number). A name is missing when no column
has it, and when the column that it meant is still there under a name that is not classified. Naming that one in the
file too puts it right. Pins last as long as the gateway and the server run: nothing is kept on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from enforcers.postgres.catalog.objects import Relation

Name = tuple[str, str, str]  # schema, relation, column
Pins = Mapping[Name, tuple[int, int]]  # (relation oid, attnum)


class Relations(Protocol):
    def relation(self, oid: int) -> Relation | None: ...

    def find_relation(self, schema: str, name: str) -> Relation | None: ...


def settle(catalog: Relations, classified: frozenset[Name], pins: Pins) -> tuple[tuple[Name, ...], Pins]:
    """The names that are missing, sorted; and what each name is pinned to from now on."""
    missing: list[Name] = []
    pinned: dict[Name, tuple[int, int]] = {}
    for name in sorted(classified):
        pin = pins.get(name)
        now = _now(catalog, pin) if pin is not None else None
        moved = now is not None and now != name and now not in classified
        meant = _place(catalog, name)
        if meant is None or moved:
            missing.append(name)
            meant = pin
        if meant is not None:
            pinned[name] = meant
    return tuple(missing), pinned


def _place(catalog: Relations, name: Name) -> tuple[int, int] | None:
    relation = catalog.find_relation(name[0], name[1])
    column = relation.by_name.get(name[2]) if relation is not None else None
    return (relation.oid, column.attnum) if relation is not None and column is not None else None


def _now(catalog: Relations, pin: tuple[int, int]) -> Name | None:
    """What the pinned column is called now; None when it is gone."""
    relation = catalog.relation(pin[0])
    names: Iterable[Name] = (
        ((relation.schema, relation.name, column.name) for column in relation.columns if column.attnum == pin[1])
        if relation is not None
        else ()
    )
    return next(iter(names), None)
