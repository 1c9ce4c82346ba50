"""An immutable picture of one database's catalog: what names mean, and what objects bring along.

A description must come out the same as the target's own reading of a statement, so everything a statement can set in
motion is here: views and rules, foreign keys, triggers, policies, defaults, checks, index expressions, casts,
operators and types. Built from the rows of parts.py (build.py), without I/O. Objects of the server itself (made by
initdb) are kept apart in `Builtins`, read once per server.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from enforcers.postgres.catalog.build import (
    NOTHING,
    NOTHING_ATTACHED,
    Attached,
    Objects,
    Read,
    Row,
    Rows,
    grouped,
    reattached,
    rebuilt,
)
from enforcers.postgres.catalog.labels import Labels
from enforcers.postgres.catalog.objects import (
    Cast,
    Expression,
    Foreign,
    ForeignKey,
    Function,
    Operator,
    Relation,
    Rule,
    Server,
    Trigger,
    Type,
    Wrapper,
)
from enforcers.postgres.catalog.parts import PARTS
from enforcers.postgres.catalog.pins import Pins, settle

__all__ = ["Builtins", "Catalog", "Row", "Rows"]

_versions = itertools.count(1)


@dataclass(frozen=True, slots=True, eq=False)
class Builtins:
    """What initdb made: the same for all databases of a server."""

    objects: Objects
    server_version: int  # server_version_num

    @classmethod
    def from_rows(cls, rows: Rows, *, server_version: int) -> Builtins:
        """rows: of builtin_queries, and `namespaces`."""
        return cls(rebuilt(NOTHING, {name: grouped(name, part) for name, part in rows.items()}), server_version)


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """One database at one moment. `version` never repeats in a process and grows with every snapshot."""

    version: int
    database: str
    builtins: Builtins
    own: Objects
    attached: Attached
    memberships: Mapping[int, frozenset[int]]  # role -> every role that it is a member of, however indirectly
    roles: Mapping[str, int]
    foreign_words: frozenset[str]  # words whose keyword class differs from the parser's
    temporary_schema: str  # the session's own, when its objects are in here
    printed_path: tuple[str, ...]  # the search_path under which views, rules and expressions were printed
    classified: frozenset[tuple[str, str, str]] = frozenset()  # what the connection's classification names
    missing: tuple[tuple[str, str, str], ...] = ()  # what of that is not here, or not the column that it was
    pins: Pins = field(default_factory=dict)
    # Of a session's own catalog (tainted.py): which columns' values each column holds besides, the labels that those
    # had when they were stored, and whether what a statement stores is kept in mind.
    origins: Mapping[tuple[int, int], tuple[tuple[str, str, str], ...]] = field(default_factory=dict)
    origin_labels: Mapping[tuple[str, str, str], frozenset[str]] = field(default_factory=dict)
    carries: bool = True

    @classmethod
    def from_rows(
        cls,
        rows: Rows,
        *,
        builtins: Builtins,
        database: str,
        foreign_words: frozenset[str] = frozenset(),
        temporary_schema: str = "",
        printed_path: tuple[str, ...] = ("pg_catalog",),
    ) -> Catalog:
        """rows: of every one of catalog_queries, by name. Rows that name no known object are left out."""
        read = {name: grouped(name, rows[name]) for name in PARTS}
        own = rebuilt(NOTHING, read)
        return cls(
            version=next(_versions),
            database=database,
            builtins=builtins,
            own=own,
            attached=reattached(NOTHING_ATTACHED, read),
            memberships=_memberships(own.members),
            roles={name: oid for oid, name in own.roles.items()},
            foreign_words=foreign_words,
            temporary_schema=temporary_schema,
            printed_path=printed_path,
        )

    def with_changes(self, read: Read) -> Catalog:
        """The same a moment later. read: of each group that may have changed all rows, and of a relation all groups."""
        own = rebuilt(self.own, read)
        same = own.members is self.own.members
        return replace(
            self,
            version=next(_versions),
            own=own,
            attached=reattached(self.attached, read),
            memberships=self.memberships if same else _memberships(own.members),
            roles=self.roles if own.roles is self.own.roles else {name: oid for oid, name in own.roles.items()},
        ).checked(self.classified, self.pins)

    def as_seen(self, *, search_path: tuple[str, ...]) -> Catalog:
        """What a session reads with this search_path, its current_schemas(true), temporary schema included."""
        return replace(
            self,
            version=next(_versions),
            temporary_schema=next((schema for schema in search_path if schema.startswith("pg_temp_")), ""),
            printed_path=search_path,
        )

    def with_rows(self, rows: Rows, *, search_path: tuple[str, ...]) -> Catalog:
        """The same server seen by a session's own connection: temporary objects, uncommitted DDL.

        search_path: the session's current_schemas(true), when it was asked.
        """
        return (
            Catalog.from_rows(rows, builtins=self.builtins, database=self.database, foreign_words=self.foreign_words)
            .checked(self.classified, self.pins)
            .as_seen(search_path=search_path)
        )

    def checked(self, classified: frozenset[tuple[str, str, str]], pins: Pins) -> Catalog:
        """This catalog, which says what it has not of the columns that the classification names (pins.py)."""
        if not classified:
            return replace(self, classified=classified, missing=(), pins={})
        missing, pinned = settle(self, classified, pins)
        return replace(self, classified=classified, missing=missing, pins=pinned)

    def holding(
        self,
        origins: Mapping[tuple[int, int], tuple[tuple[str, str, str], ...]],
        labels: Mapping[tuple[str, str, str], frozenset[str]],
        *,
        carries: bool,
    ) -> Catalog:
        """The same where temporary tables hold values of other columns (tainted.py)."""
        version = next(_versions)
        return replace(self, version=version, origins=origins, origin_labels=labels, carries=carries)

    def as_new(self) -> Catalog:
        """The same content under a new version: ends everything cached under the old one."""
        return replace(self, version=next(_versions))

    @property
    def rules(self) -> Mapping[int, tuple[Rule, ...]]:
        return self.attached.rules

    @property
    def foreign_keys_of(self) -> Mapping[int, tuple[ForeignKey, ...]]:
        """By child."""
        return self.attached.foreign_keys_of

    @property
    def foreign_keys_to(self) -> Mapping[int, tuple[ForeignKey, ...]]:
        """By parent."""
        return self.attached.foreign_keys_to

    @property
    def expressions(self) -> Mapping[int, tuple[Expression, ...]]:
        return self.attached.expressions

    @property
    def triggers(self) -> Mapping[int, tuple[Trigger, ...]]:
        return self.attached.triggers

    @property
    def children(self) -> Mapping[int, tuple[int, ...]]:
        return self.attached.children

    @property
    def parents(self) -> Mapping[int, tuple[int, ...]]:
        return self.attached.parents

    @property
    def keys(self) -> Mapping[int, tuple[tuple[int, ...], ...]]:
        return self.attached.keys

    @property
    def partition_keys(self) -> Mapping[int, tuple[int, ...]]:
        return self.attached.partition_keys

    @property
    def probes(self) -> Mapping[int, tuple[tuple[int, ...], ...]]:
        """The columns of each unique or exclusion index; 0 stands for an expression."""
        return self.attached.probes

    @property
    def foreign(self) -> Mapping[int, Foreign]:
        """Where the rows of foreign tables are."""
        return self.attached.foreign

    def server(self, oid: int) -> Server | None:
        return self.own.servers.get(oid)

    def find_server(self, name: str) -> Server | None:
        return next((server for server in self.own.servers.values() if server.name == name), None)

    def wrapper(self, oid: int) -> Wrapper | None:
        return self.own.wrappers.get(oid)

    @property
    def labels(self) -> Labels:
        """By (relation, attnum); attnum 0: of all its columns."""
        return self.attached.labels

    def labels_of(self, relation: int, attnum: int) -> frozenset[str]:
        """What the target's own catalog says of the column."""
        return self.labels.get((relation, attnum), frozenset()) | self.labels.get((relation, 0), frozenset())

    @property
    def event_triggers(self) -> tuple[int, ...]:
        """The functions of the enabled ones."""
        return tuple(self.own.event_triggers.values())

    def schemas(self) -> frozenset[str]:
        return frozenset(self.own.namespaces.values())

    def relation(self, oid: int) -> Relation | None:
        return self.own.relations.get(oid) or self.builtins.objects.relations.get(oid)

    def find_relation(self, schema: str, name: str) -> Relation | None:
        key = (schema, name)
        return self.own.relation_names.get(key) or self.builtins.objects.relation_names.get(key)

    def function(self, oid: int) -> Function | None:
        return self.own.functions.get(oid) or self.builtins.objects.functions.get(oid)

    def functions_named(self, name: str) -> tuple[Function, ...]:
        return self.own.function_names.get(name, ()) + self.builtins.objects.function_names.get(name, ())

    def aggregate_support(self, oid: int) -> tuple[int, ...]:
        return self.own.aggregates.get(oid) or self.builtins.objects.aggregates.get(oid, ())

    def operators_named(self, name: str) -> tuple[Operator, ...]:
        return self.own.operators.get(name, ()) + self.builtins.objects.operators.get(name, ())

    def type(self, oid: int) -> Type | None:
        return self.own.types.get(oid) or self.builtins.objects.types.get(oid)

    def cast(self, source: int, target: int) -> Cast | None:
        key = (source, target)
        return self.own.cast_index.get(key) or self.builtins.objects.cast_index.get(key)

    def owned_by(self, relation: Relation, role: str) -> bool:
        """Does the role own it, itself or as a member of its owner? One that isn't known might."""
        oid = self.roles.get(role)
        return oid is None or oid == relation.owner or relation.owner in self.memberships.get(oid, ())

    def find_type(self, schema: str, name: str) -> Type | None:
        key = (schema, name)
        return self.own.type_names.get(key) or self.builtins.objects.type_names.get(key)

    def domain_checks(self, oid: int) -> tuple[Expression, ...]:
        return self.own.domain_checks.get(oid, ()) + self.builtins.objects.domain_checks.get(oid, ())


def _memberships(direct: Mapping[int, frozenset[int]]) -> dict[int, frozenset[int]]:
    found: dict[int, frozenset[int]] = {}
    for member in direct:
        reached: set[int] = set()
        todo = [member]
        while todo:
            for role in direct.get(todo.pop(), ()):
                if role not in reached:
                    reached.add(role)
                    todo.append(role)
        found[member] = frozenset(reached)
    return found
