"""An immutable picture of one database's catalog: what names mean, and what objects bring along.

A description must come out the same as the target's own reading of a statement, so everything a statement can set in
motion is here: views and rules, foreign keys, triggers, policies, defaults, checks, index expressions, casts,
operators and types. Built from the rows of queries.py, without I/O. Objects of the server itself (made by initdb)
are kept apart in `Builtins`, read once per server.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from enforcers.postgres.catalog.labels import Labels, labels_of
from enforcers.postgres.catalog.objects import (
    KINDS,
    Cast,
    Column,
    Expression,
    ForeignKey,
    Function,
    Operator,
    Relation,
    Rule,
    Trigger,
    Type,
)

Row = Sequence[str | None]
Rows = Mapping[str, Iterable[Row]]

_versions = itertools.count(1)


def _array(text: str | None) -> tuple[int, ...]:
    return tuple(int(item) for item in (text or "").strip("{}").replace(",", " ").split())


def _names(text: str | None) -> tuple[str, ...]:
    """A text[] of plain names, as printed. Quoted elements may hold commas."""
    if not text or text == "{}":
        return ()
    items: list[str] = []
    current: list[str] = []
    quoted = escaped = False
    for char in text[1:-1]:
        if escaped:
            current.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            items.append("".join(current))
            current = []
        else:
            current.append(char)
    items.append("".join(current))
    return tuple(items)


def _search_path(config: tuple[str, ...]) -> tuple[str, ...] | None:
    for item in config:
        name, _, value = item.partition("=")
        if name.lower() == "search_path":
            return tuple(part.strip().strip('"') for part in value.split(",") if part.strip().strip('"'))
    return None


def _more_set(config: tuple[str, ...]) -> bool:
    return any(item.partition("=")[0].lower() != "search_path" for item in config)


_VOLATILITY = {"i": "immutable", "s": "stable", "v": "volatile"}


@dataclass(frozen=True, slots=True, eq=False)
class _Objects:
    """Objects by oid and by name; the shape that built-ins and a database's own share."""

    namespaces: Mapping[int, str]
    relations: Mapping[int, Relation]
    relation_names: Mapping[tuple[str, str], Relation]
    functions: Mapping[int, Function]
    function_names: Mapping[str, tuple[Function, ...]]
    aggregates: Mapping[int, tuple[int, ...]]
    operators: Mapping[str, tuple[Operator, ...]]
    casts: tuple[Cast, ...]
    cast_index: Mapping[tuple[int, int], Cast]  # by source and target
    types: Mapping[int, Type]
    type_names: Mapping[tuple[str, str], Type]
    domain_checks: Mapping[int, tuple[Expression, ...]]


def _text(value: str | None) -> str:
    return "" if value is None else value


def _relations(rows: Rows, namespaces: Mapping[int, str]) -> dict[int, Relation]:
    columns: dict[int, list[Column]] = defaultdict(list)
    for relid, attnum, name, type_oid, generated, digest in rows["columns"]:
        columns[int(_text(relid))].append(
            Column(int(_text(attnum)), _text(name), int(_text(type_oid)), bool(_text(generated)), _text(digest))
        )
    relations: dict[int, Relation] = {}
    for row in rows["relations"]:
        oid, name, namespace, kind, persistence, rls, force, owner, row_type, digest = map(_text, row)
        schema = namespaces.get(int(namespace))
        if schema is None:
            continue
        own = tuple(sorted(columns.get(int(oid), ()), key=lambda column: column.attnum))
        relations[int(oid)] = Relation(
            int(oid), schema, name, KINDS.get(kind, kind), persistence == "t", rls == "true", force == "true",
            int(owner), int(row_type), digest, own, {column.name: column for column in own},
        )  # fmt: skip
    return relations


def _functions(rows: Rows, namespaces: Mapping[int, str]) -> dict[int, Function]:
    functions: dict[int, Function] = {}
    for row in rows["functions"]:
        (oid, name, namespace, nargs, ndefaults, variadic, kind, volatility, definer, leakproof, language, retset,
         return_type, types, argument_names, config, digest, source, default_text) = map(_text, row)  # fmt: skip
        schema = namespaces.get(int(namespace))
        if schema is None:
            continue
        settings = _names(config)
        functions[int(oid)] = Function(
            int(oid), schema, name, int(nargs), int(ndefaults), variadic != "0", kind, _VOLATILITY[volatility],
            definer == "true", leakproof == "true", language, retset == "true", int(return_type), _array(types),
            _names(argument_names), _search_path(settings), _more_set(settings), digest, source, default_text,
        )  # fmt: skip
    return functions


def _grouped(items: Iterable[tuple[str, object]]) -> dict[str, tuple[object, ...]]:
    groups: dict[str, list[object]] = defaultdict(list)
    for key, item in items:
        groups[key].append(item)
    return {key: tuple(group) for key, group in groups.items()}


def _objects(rows: Rows, namespaces: Mapping[int, str]) -> _Objects:
    relations = _relations(rows, namespaces)
    functions = _functions(rows, namespaces)
    by_name: dict[str, list[Function]] = defaultdict(list)
    for function in functions.values():
        by_name[function.name].append(function)
    operators: dict[str, list[Operator]] = defaultdict(list)
    for row in rows["operators"]:
        oid, name, namespace, left, right, code = map(_text, row)
        operators[name].append(
            Operator(int(oid), namespaces.get(int(namespace), ""), name, int(left), int(right), int(code))
        )
    types: dict[int, Type] = {}
    for row in rows["types"]:
        oid, name, namespace, kind, *rest = map(_text, row)
        inputs, base, relation, element = tuple(map(int, rest[:4])), int(rest[4]), int(rest[5]), int(rest[6])
        if int(namespace) in namespaces:
            types[int(oid)] = Type(int(oid), namespaces[int(namespace)], name, kind, inputs, base, relation, element)
    checks: dict[int, list[Expression]] = defaultdict(list)
    for row in rows["constraints"]:
        if row[2] not in (None, "0"):
            checks[int(_text(row[2]))].append(Expression("check", _text(row[10]), _text(row[9])))
    casts = tuple(
        Cast(int(_text(source)), int(_text(target)), int(_text(function)), _text(context), _text(method))
        for _, source, target, function, context, method in rows["casts"]
    )
    return _Objects(
        namespaces,
        relations,
        {(item.schema, item.name): item for item in relations.values()},
        functions,
        {name: tuple(group) for name, group in by_name.items()},
        {int(_text(row[0])): tuple(int(_text(item)) for item in row[1:] if item != "0") for row in rows["aggregates"]},
        {name: tuple(group) for name, group in operators.items()},
        casts,
        {(item.source, item.target): item for item in casts},
        types,
        {(item.schema, item.name): item for item in types.values()},
        {oid: tuple(group) for oid, group in checks.items()},
    )


@dataclass(frozen=True, slots=True, eq=False)
class Builtins:
    """What initdb made: the same for all databases of a server."""

    objects: _Objects
    server_version: int  # server_version_num

    @classmethod
    def from_rows(cls, rows: Rows, *, server_version: int) -> Builtins:
        """rows: of builtin_queries, and `namespaces`."""
        namespaces = {int(_text(oid)): _text(name) for oid, name in rows["namespaces"]}
        return cls(_objects(rows, namespaces), server_version)


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """One database at one moment. `version` never repeats in a process and grows with every snapshot."""

    version: int
    database: str
    builtins: Builtins
    own: _Objects
    rules: Mapping[int, tuple[Rule, ...]]
    foreign_keys_of: Mapping[int, tuple[ForeignKey, ...]]  # by child
    foreign_keys_to: Mapping[int, tuple[ForeignKey, ...]]  # by parent
    expressions: Mapping[int, tuple[Expression, ...]]
    triggers: Mapping[int, tuple[Trigger, ...]]
    children: Mapping[int, tuple[int, ...]]  # inheritance and partitions
    parents: Mapping[int, tuple[int, ...]]
    keys: Mapping[int, tuple[tuple[int, ...], ...]]  # attribute numbers of each unique key that finds one row at most
    partition_keys: Mapping[int, tuple[int, ...]]  # attribute numbers; 0 stands for an expression
    probes: Mapping[int, tuple[tuple[int, ...], ...]]  # columns of each unique or exclusion index; 0: an expression
    roles: Mapping[str, int]
    memberships: Mapping[int, frozenset[int]]  # role -> every role that it is a member of, however indirectly
    event_triggers: tuple[int, ...]  # functions of the enabled ones
    foreign_words: frozenset[str]  # words whose keyword class differs from the parser's
    temporary_schema: str  # the session's own, when its objects are in here
    printed_path: tuple[str, ...]  # the search_path under which views, rules and expressions were printed
    labels: Labels  # by (relation, attnum); attnum 0: of all its columns
    classified: frozenset[tuple[str, str, str]] = frozenset()  # what the connection's classification names
    missing: tuple[tuple[str, str, str], ...] = ()  # what of that is not here

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
        namespaces = {int(_text(oid)): _text(name) for oid, name in rows["namespaces"]}
        by_relation: dict[str, dict[int, list[object]]] = defaultdict(lambda: defaultdict(list))
        _collect_rules(rows, by_relation)
        _collect_expressions(rows, by_relation)
        for row in rows["inherits"]:
            child, parent = int(_text(row[0])), int(_text(row[1]))
            by_relation["children"][parent].append(child)
            by_relation["parents"][child].append(parent)
        frozen = {kind: {oid: tuple(items) for oid, items in group.items()} for kind, group in by_relation.items()}
        return cls(
            version=next(_versions),
            database=database,
            builtins=builtins,
            own=_objects(rows, namespaces),
            rules=frozen.get("rules", {}),  # type: ignore[arg-type]  # one dict of lists of each kind, filled above
            foreign_keys_of=frozen.get("fk_of", {}),  # type: ignore[arg-type]  # as above
            foreign_keys_to=frozen.get("fk_to", {}),  # type: ignore[arg-type]  # as above
            expressions=frozen.get("expressions", {}),  # type: ignore[arg-type]  # as above
            triggers=frozen.get("triggers", {}),  # type: ignore[arg-type]  # as above
            children=frozen.get("children", {}),  # type: ignore[arg-type]  # as above
            parents=frozen.get("parents", {}),  # type: ignore[arg-type]  # as above
            keys=frozen.get("keys", {}),  # type: ignore[arg-type]  # as above
            probes=frozen.get("probes", {}),  # type: ignore[arg-type]  # as above
            roles={_text(row[1]): int(_text(row[0])) for row in rows["roles"]},
            memberships=_memberships(rows["members"]),
            partition_keys={int(_text(row[0])): _array(row[1]) for row in rows["partition_keys"]},
            event_triggers=tuple(
                # what fires on log-in (17 and newer) fires before any statement
                int(_text(row[3]))
                for row in rows["event_triggers"]
                if row[4] != "D" and row[2] != "login"
            ),
            foreign_words=foreign_words,
            temporary_schema=temporary_schema,
            printed_path=printed_path,
            labels=labels_of(rows.get("comments", ()), rows.get("security_labels", ())),
        )

    def with_rows(self, rows: Rows, *, search_path: tuple[str, ...]) -> Catalog:
        """The same server seen by a session's own connection: temporary objects, uncommitted DDL.

        search_path: the session's current_schemas(true), when it was asked.
        """
        return Catalog.from_rows(
            rows,
            builtins=self.builtins,
            database=self.database,
            foreign_words=self.foreign_words,
            temporary_schema=next((schema for schema in search_path if schema.startswith("pg_temp_")), ""),
            printed_path=search_path,
        ).checked(self.classified)

    def checked(self, classified: frozenset[tuple[str, str, str]]) -> Catalog:
        """This catalog, which says what it has not of the columns that the classification names."""
        return replace(
            self, classified=classified, missing=tuple(sorted(item for item in classified if not self._has(item)))
        )

    def _has(self, named: tuple[str, str, str]) -> bool:
        relation = self.find_relation(named[0], named[1])
        return relation is not None and named[2] in relation.by_name

    def as_new(self) -> Catalog:
        """The same content under a new version: ends everything cached under the old one."""
        return replace(self, version=next(_versions))

    def labels_of(self, relation: int, attnum: int) -> frozenset[str]:
        """What the target's own catalog says of the column."""
        return self.labels.get((relation, attnum), frozenset()) | self.labels.get((relation, 0), frozenset())

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


def _memberships(rows: Iterable[Row]) -> dict[int, frozenset[int]]:
    direct: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        direct[int(_text(row[1]))].add(int(_text(row[0])))
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


def _collect_rules(rows: Rows, into: dict[str, dict[int, list[object]]]) -> None:
    for row in rows["rules"]:
        oid, relation, name, event, instead, enabled, digest, text = map(_text, row)
        into["rules"][int(relation)].append(Rule(int(oid), name, event, instead == "true", enabled, digest, text))
    for row in rows["triggers"]:
        oid, relation, name, function, kind, enabled, conditional, digest = map(_text, row)
        into["triggers"][int(relation)].append(
            Trigger(int(oid), name, int(function), int(kind), enabled, conditional == "true", digest)
        )
    for row in rows["constraints"]:
        if row[3] != "f":
            continue
        oid, child, _, _, parent, on_update, on_delete, conkey, confkey, digest = map(_text, row[:10])
        key = ForeignKey(
            int(oid),
            int(child),
            int(parent),
            on_update,
            on_delete,
            _array(conkey),
            _array(confkey),
            digest,
            set_columns=_array(row[11]),
            enforced=row[12] != "false",
        )
        into["fk_of"][key.child].append(key)
        into["fk_to"][key.parent].append(key)


def _collect_expressions(rows: Rows, into: dict[str, dict[int, list[object]]]) -> None:
    expressions = into["expressions"]
    generated = {(row[0], row[1]) for row in rows["columns"] if row[4]}
    for row in rows["constraints"]:
        if row[3] == "c" and row[1] not in (None, "0"):
            expressions[int(_text(row[1]))].append(Expression("check", _text(row[10]), _text(row[9])))
    for row in rows["defaults"]:
        kind = "generated" if (row[0], row[1]) in generated else "default"
        expressions[int(_text(row[0]))].append(
            Expression(kind, _text(row[3]), _text(row[2]), attnum=int(_text(row[1])))
        )
    for row in rows["indexes"]:
        key = _array(row[5])
        if key and 0 not in key:
            into["keys"][int(_text(row[1]))].append(key)
        if row[6] == "true":
            into["probes"][int(_text(row[1]))].append(_array(row[7]))
        for text in (row[2], row[3]):
            if text:
                expressions[int(_text(row[1]))].append(Expression("index", text, _text(row[4])))
    for row in rows["policies"]:
        for text in (row[5], row[6]):
            if text:
                expressions[int(_text(row[1]))].append(Expression("policy", text, _text(row[7]), command=_text(row[3])))
