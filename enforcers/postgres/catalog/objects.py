"""The objects of a catalog, as frozen values: what a description may need to know of each.

Built by snapshot.py from rows; compared and hashed by identity where they are large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from enforcers.postgres.catalog.queries import FIRST_USER_OID

KINDS = {
    "r": "table",
    "v": "view",
    "m": "materialized-view",
    "p": "partitioned-table",
    "f": "foreign-table",
    "S": "sequence",
    "i": "index",
    "I": "index",
    "c": "composite",
    "t": "toast",
}
SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "pg_toast"})


@dataclass(frozen=True, slots=True)
class Column:
    attnum: int
    name: str
    type_oid: int
    generated: bool
    hash: str
    not_null: bool = False
    modified: bool = False  # has a length or precision
    virtual: bool = False  # generated, when it is read (18 and newer)
    collated: bool = False  # by another collation than the database's own or "C"


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    oid: int
    schema: str
    name: str
    kind: str  # a value of KINDS
    temporary: bool
    row_security: bool
    force_row_security: bool
    owner: int
    row_type: int
    hash: str
    columns: tuple[Column, ...]
    by_name: Mapping[str, Column] = field(repr=False)

    @property
    def catalog(self) -> bool:
        return self.schema in SYSTEM_SCHEMAS


@dataclass(frozen=True, slots=True)
class Server:
    """A foreign server."""

    oid: int
    name: str
    wrapper: int  # the foreign data wrapper
    hash: str


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A foreign data wrapper: the code that speaks to foreign servers."""

    oid: int
    name: str
    hash: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Where a foreign table's rows are."""

    server: int
    hash: str  # of its options, which say what is read there; a column's are in the column's


@dataclass(frozen=True, slots=True)
class Rule:
    oid: int
    name: str
    event: str  # 1 select, 2 update, 3 insert, 4 delete
    instead: bool
    enabled: str
    hash: str
    text: str  # of _RETURN the query, else the whole CREATE RULE


@dataclass(frozen=True, slots=True)
class ForeignKey:
    oid: int
    child: int
    parent: int
    on_update: str  # a no action, r restrict, c cascade, n set null, d set default
    on_delete: str
    child_columns: tuple[int, ...]
    parent_columns: tuple[int, ...]
    hash: str
    set_columns: tuple[int, ...] = ()  # ON DELETE SET NULL or DEFAULT of these only (15 and newer)
    enforced: bool = True  # NOT ENFORCED (18 and newer): nothing is checked, nothing cascades


@dataclass(frozen=True, slots=True)
class Expression:
    """Something computed on a relation's (or domain's) behalf: default, check, generated column, index, policy."""

    kind: str  # default, generated, check, index, policy
    text: str
    hash: str
    attnum: int = 0  # of a default or generated column
    command: str = ""  # of a policy: r a w d *


@dataclass(frozen=True, slots=True)
class Trigger:
    oid: int
    name: str
    function: int
    type: int
    enabled: str
    conditional: bool
    hash: str

    def fires(self, event: str) -> bool:
        """event: insert, update, delete, truncate."""
        return self.enabled != "D" and bool(self.type & {"insert": 4, "delete": 8, "update": 16, "truncate": 32}[event])


@dataclass(frozen=True, slots=True)
class Function:
    oid: int
    schema: str
    name: str
    arguments: int
    defaults: int
    variadic: bool
    kind: str  # f function, p procedure, a aggregate, w window
    volatility: str  # immutable, stable, volatile
    security_definer: bool
    leakproof: bool
    language: str
    returns_set: bool
    return_type: int
    argument_types: tuple[int, ...]
    argument_names: tuple[str, ...]
    search_path: tuple[str, ...] | None  # SET search_path of the function, when it has one
    configured: bool  # has a SET clause of anything else
    hash: str
    source: str  # SQL: the body; internal: the C symbol; else empty
    default_text: str = ""  # the expressions of default arguments, as one printed list

    def accepts(self, count: int) -> bool:
        if self.variadic:
            return count >= self.arguments - self.defaults - 1
        return self.arguments - self.defaults <= count <= self.arguments

    @property
    def builtin(self) -> bool:
        return self.oid < FIRST_USER_OID


@dataclass(frozen=True, slots=True)
class Operator:
    oid: int
    schema: str
    name: str
    left: int
    right: int
    function: int


@dataclass(frozen=True, slots=True)
class Cast:
    oid: int
    source: int
    target: int
    function: int
    context: str  # e explicit, a assignment, i implicit
    method: str  # f function, i in/out, b binary


@dataclass(frozen=True, slots=True)
class Type:
    oid: int
    schema: str
    name: str
    kind: str  # b base, c composite, d domain, e enum, p pseudo, r range, m multirange
    functions: tuple[int, ...]  # input, output, receive, send
    base: int
    relation: int
    element: int
