"""What one description is made of while it is being made: the facts found, and where names are looked up.

A Context says under which search_path the text at hand is read and how it was reached (`via`); Facts are shared by all
contexts of one statement, so that what a view or trigger does counts for the statement that set it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from enforcers.postgres.catalog.objects import Column, Function, Relation, Type
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe.lineage import COPY, NOTHING, Key, Mark, Sources, Value
from enforcers.postgres.description import Control, CopyForm

Node = Mapping[str, Any]  # a node of pg_query's JSON
MAX_DEPTH = 24  # views in functions in views …
MAX_OBJECTS = 2000
MAX_NESTED = 500  # expressions in queries in expressions …, definitions that the catalog holds included
OPEN = "\x00"  # in place of a column's name: here stand columns whose number and names are unknown
UNNAMED = "\x01"  # a column whose name can't be told

_PROCEDURAL = {
    "trigger": "procedural-trigger",
    "rule": "procedural-rule",
    "policy": "procedural-rule",
    "default": "procedural-default",
    "check": "procedural-default",
    "generated": "procedural-default",
    "index": "procedural-default",
}


class NestsTooDeeplyError(Exception):
    """The statement, with all that it sets off, nests deeper than MAX_NESTED."""


@dataclass(slots=True)
class Inlined:
    """What reading an SQL function's body with certain arguments found."""

    columns: list[OutColumn]
    inferences: tuple[tuple[Key, str, str], ...]
    volatile: bool
    marks: tuple[Mark, ...]


@dataclass(slots=True)
class Facts:
    """Everything found about one statement. Mutable; lives for one description."""

    verbs: dict[str, None] = field(default_factory=dict)  # ordered set
    opaque: dict[tuple[str, str], None] = field(default_factory=dict)
    relations: dict[tuple[int, str], set[str]] = field(default_factory=dict)  # (oid, via) -> access
    seen_relations: dict[int, Relation] = field(default_factory=dict)
    columns: dict[tuple[int, int, str], tuple[Relation, str]] = field(default_factory=dict)
    functions: dict[tuple[str, str, int, str], tuple[Function, bool]] = field(default_factory=dict)
    servers: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # (foreign server, its wrapper) -> access
    settings: dict[tuple[str, str, str], None] = field(default_factory=dict)
    not_covered: dict[str, None] = field(default_factory=dict)
    expanded: set[tuple[object, ...]] = field(default_factory=set)
    stored: dict[tuple[object, ...], Value] = field(default_factory=dict)  # expressions of the catalog, once read
    functions_used: dict[int, Function] = field(default_factory=dict)  # every one that may run; for digests
    types: set[int] = field(default_factory=set)
    casts: set[int] = field(default_factory=set)  # types that something is cast to explicitly
    called: set[tuple[str, str]] = field(default_factory=set)  # (function or operator, name), however it resolved
    names: dict[str, int] = field(default_factory=dict)  # relation names as written, quoted -> oid
    free: set[int] = field(default_factory=set)  # byte offsets of constants that nothing here depends on
    literals: dict[int, set[Key]] = field(
        default_factory=dict
    )  # byte offset of a constant -> what it met (literals.py)
    known_literals: tuple[dict[int, set[Key]], dict[int, frozenset[Key]]] = ({}, {})  # by place; parameters by number
    stored_literals: set[int] = field(default_factory=set)  # of them, those that were assigned to a column
    stored_parameters: set[int] = field(default_factory=set)
    data_statements: int = 0  # INSERT, UPDATE, DELETE, MERGE, those of WITH included
    met_parameters: dict[int, tuple[int, frozenset[Key]]] = field(
        default_factory=dict
    )  # by number: uses, what they met
    parameter_uses: dict[int, int] = field(default_factory=dict)  # by number, all of them
    wheres: list[bool] = field(default_factory=list)
    inferences: dict[tuple[Key, str, str], None] = field(default_factory=dict)  # column, kind, function
    flows: dict[tuple[Key, tuple[str, str, str], str, bool], str] = field(default_factory=dict)  # -> the way
    renamed: dict[tuple[str, str, str], Key] = field(default_factory=dict)  # what a column will be called -> the column
    # Of each subquery that is being described: what decides which rows it has.
    deciding: list[Sources] = field(default_factory=list)
    setting_found: str | None = None  # name of the one row of pg_settings that the statement reads (pg_settings.py)
    shown: list[OutColumn] | None = None  # columns that reach the client otherwise than as a result (COPY TO)
    inlining: set[int] = field(default_factory=set)  # SQL functions whose bodies are being read
    inlined: dict[tuple[object, ...], Inlined] = field(default_factory=dict)
    effective_role: str = ""
    nested: int = 0  # how deep in it we are now
    volatile: bool = False  # something volatile was called
    parameters: int = 0
    unsafe: str = ""  # why EXPLAIN can't be asked: the first function not on the safe list
    known_rows: int | None = None
    most_rows: int | None = None  # that a write changes, where its shape tells
    collects: bool = False  # many rows become one value
    # COLLATE was met, or a column with a collation of its own: what compares text may find none to do it by.
    collates: bool = False
    output_open: bool = False  # the columns of the result are not all known
    writes: bool = False
    changes_names: bool = False
    changes_grammar: bool = False
    ddl: bool = False
    makes_temporary: bool = False
    control: Control = Control.NONE
    cursor: str = ""
    prepared: str = ""
    cursor_options: int = 0
    savepoint: str = ""
    chain: bool = False
    copy_in: bool = False
    copy_out: bool = False
    copy_header: bool = False
    copy_form: CopyForm | None = None
    own_setting: bool = False
    single_transaction: bool = False
    returns_rows: bool | None = None  # None: when it has output columns

    def enter(self) -> None:
        """One level down; `nested` is taken back by one on the way up. Raises NestsTooDeeplyError.

        Every way in which describing calls itself passes here, or follows one parse tree, whose levels the reader of
        JSON counts (test_context_nesting.py): compiled, these calls are C's, which nobody counts and which end
        the process.
        """
        self.nested += 1
        if self.nested > MAX_NESTED:
            raise NestsTooDeeplyError

    def verb(self, *verbs: str) -> None:
        for verb in verbs:
            self.verbs[verb] = None

    def doubt(self, code: str, detail: str) -> None:
        self.opaque[(code, detail)] = None

    def access(self, relation: Relation, access: str, via: str) -> None:
        via = "check" if via == "index" else via
        self.seen_relations[relation.oid] = relation
        self.relations.setdefault((relation.oid, via), set()).add(access)
        if access in {"insert", "update", "delete"}:  # who truncates or locks says so where it does
            self.writes = True
        if len(self.seen_relations) > MAX_OBJECTS:
            self.doubt("too-complex", "more objects than can be described")

    def reach(self, server: str, wrapper: str, access: str) -> None:
        self.servers.setdefault((server, wrapper), set()).add(access)

    def infer(self, sources: Sources, kind: str, function: str = "") -> None:
        """These columns decide something that can be seen."""
        for key in sources:
            self.inferences[(key, kind, function)] = None
        for frame in self.deciding:
            for key in sources:
                frame.setdefault(key, "")

    def inferred(self, found: Iterable[tuple[Key, str, str]]) -> None:
        """What was inferred when nobody had asked for it yet."""
        for item in found:
            self.inferences[item] = None
            for frame in self.deciding:
                frame.setdefault(item[0], "")

    def told(self, value: Value, function: str) -> None:
        """A function that can tell is applied to this value. The first on the way from a column is enough."""
        self.infer({key: way for key, way in value.sources.items() if way in {COPY, ""}}, "expression", function)

    def flow(self, sources: Sources, target: tuple[str, str, str], kind: str, *, temporary: bool = False) -> None:
        for key, way in sources.items():
            self.flows.setdefault((key, target, kind, temporary), way)

    def setting(self, name: str, action: str, value: str = "") -> None:
        self.settings[(name, action, value)] = None


@dataclass(frozen=True, slots=True)
class OutColumn:
    """A column of a FROM item or of a result.

    base: the table column whose bare copy it is. wire: what RowDescription will say (a view's own column, for a view).
    touched: every column, of views and tables, that copying it reads; empty when it was computed (then those are
    marked already). value: what it can depend on, computed or not.
    """

    name: str
    base: tuple[Relation, Column] | None = None
    wire: tuple[int, int] | None = None
    touched: tuple[tuple[Relation, Column], ...] = ()
    value: Value = NOTHING

    def called(self, name: str) -> OutColumn:
        return self if name == self.name else OutColumn(name, self.base, self.wire, self.touched, self.value)


@dataclass(slots=True)
class Source:
    """One name that a qualified reference can use. open: it may have columns that are not listed; value: what those can
    depend on."""

    name: str
    columns: list[OutColumn]
    schema: str = ""
    open: bool = False
    value: Value = NOTHING


@dataclass(slots=True)
class Scope:
    """The names that an expression sees, innermost first."""

    parent: Scope | None = None
    columns: list[OutColumn] = field(default_factory=list)  # unqualified
    sources: list[Source] = field(default_factory=list)  # qualified
    ctes: dict[str, list[OutColumn]] = field(default_factory=dict)
    parameters: Mapping[str, Value] = field(default_factory=dict)  # of an SQL function's body, `$1` too

    def parameter(self, name: str) -> Value | None:
        scope: Scope | None = self
        while scope is not None:
            found = scope.parameters.get(name)
            if found is not None:
                return found
            scope = scope.parent
        return None

    def cte(self, name: str) -> list[OutColumn] | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.parent
        return None


@dataclass(frozen=True, slots=True)
class Context:
    catalog: Catalog
    path: tuple[str, ...]
    facts: Facts
    via: str = "direct"
    depth: int = 0
    top: bool = True  # this text is the client's own: positions in it mean something

    def inner(self, via: str, *, path: tuple[str, ...] | None = None) -> Context:
        """A context for text that the catalog holds. How it was first reached is what a reader wants to know."""
        return replace(
            self,
            via=via,
            depth=self.depth + 1,
            top=False,
            path=self.path if path is None else path,
        )

    @property
    def too_deep(self) -> bool:
        if self.depth < MAX_DEPTH:
            return False
        self.facts.doubt("too-complex", "definitions nest too deeply")
        return True

    @property
    def temporary_unread(self) -> bool:
        """The session has a temporary schema whose objects this catalog doesn't show."""
        temporary = next((item for item in self.path if item.startswith("pg_temp_")), "")
        return bool(temporary) and temporary != self.catalog.temporary_schema

    def procedural(self) -> str:
        return _PROCEDURAL.get(self.via, "procedural-function")

    def find_relation(self, name: str, schema: str = "") -> Relation | None:
        if schema:
            return self.catalog.find_relation(self.schema_name(schema), name)
        for candidate in self.path:
            relation = self.catalog.find_relation(candidate, name)
            if relation is not None:
                return relation
        return None

    def schema_name(self, schema: str) -> str:
        """pg_temp is the session's own temporary schema."""
        if schema == "pg_temp":
            return next((item for item in self.path if item.startswith("pg_temp_")), self.catalog.temporary_schema)
        return schema

    def find_type(self, name: str, schema: str = "") -> Type | None:
        if schema:
            return self.catalog.find_type(self.schema_name(schema), name)
        for candidate in self.path:
            found = self.catalog.find_type(candidate, name)
            if found is not None:
                return found
        return None

    def candidates(self, name: str, schema: str, count: int, *, procedures: bool = False) -> list[Function]:
        """Functions that a call could mean: of that name, visible, taking so many arguments. count -1: any."""
        self.facts.called.add(("function", name))
        return [
            function
            for function in self.catalog.functions_named(name)
            if (function.kind == "p") == procedures
            and (function.schema == self.schema_name(schema) if schema else self._sees(function.schema))
            and (count < 0 or function.accepts(count))
        ]

    def _sees(self, schema: str) -> bool:
        # functions and operators are never looked up in the temporary schema
        return schema in self.path and not schema.startswith("pg_temp_")

    def operator_functions(self, name: str, schema: str = "") -> list[Function]:
        """The functions behind the operators of that name, built-in ones left out."""
        self.facts.called.add(("operator", name))
        found = []
        for operator in self.catalog.own.operators.get(name, ()):
            if operator.schema == schema if schema else self._sees(operator.schema):
                function = self.catalog.function(operator.function)
                if function is not None:
                    found.append(function)
        return found


def unwrap(node: Node) -> tuple[str, Node]:
    """{"SelectStmt": {…}} -> ("SelectStmt", {…})"""
    for kind, body in node.items():
        return kind, body
    return "", {}


def strings(items: Any) -> list[str]:
    """The values of a list of String nodes; others count as ""."""
    return [item.get("String", {}).get("sval", "") for item in items or ()]


def quoted(*parts: str) -> str:
    """A name as an identifier that only means itself."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)
