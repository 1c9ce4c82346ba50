"""From rows to the objects of one half of a catalog: the server's own, or those that users made.

Rows come in groups (parts.py). A build starts from what was there before and replaces what the groups that were read
say anew, so that one changed table costs one table; a whole snapshot is a build that starts from nothing. Either way
every mapping is in the order of its keys: what is described from it comes in one order, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from enforcers.postgres.catalog.labels import Labels, labels_of
from enforcers.postgres.catalog.objects import (
    KINDS,
    Cast,
    Column,
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
from enforcers.postgres.catalog.parts import PARTS, RELATION_PARTS

Row = Sequence[str | None]
Rows = Mapping[str, Iterable[Row]]
Groups = Mapping[int, Sequence[Row]]  # by key
Read = Mapping[str, Groups]  # by part; of each key all its rows, none where it is gone

K = TypeVar("K", int, str, tuple[str, str], tuple[int, int])
V = TypeVar("V")


def grouped(part: str, rows: Iterable[Row]) -> dict[int, list[Row]]:
    place = PARTS[part].place
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(int(text(row[place])), []).append(row)
    return groups


def text(value: str | None) -> str:
    return "" if value is None else value


def array(printed: str | None) -> tuple[int, ...]:
    return tuple(int(item) for item in (printed or "").strip("{}").replace(",", " ").split())


def names(printed: str | None) -> tuple[str, ...]:
    """A text[] of plain names, as printed. Quoted elements may hold commas."""
    if not printed or printed == "{}":
        return ()
    items: list[str] = []
    current: list[str] = []
    quoted = escaped = False
    for char in printed[1:-1]:
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


# None, the database's own, and "C": whichever of them meet, it is clear by which to compare.
_PLAIN_COLLATIONS = frozenset(["0", "100", "950"])
_VOLATILITY = {"i": "immutable", "s": "stable", "v": "volatile"}


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
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
    event_triggers: Mapping[int, int]  # the function of each that is enabled
    roles: Mapping[int, str]
    members: Mapping[int, frozenset[int]]  # role -> those that it is a member of, directly
    servers: Mapping[int, Server]
    wrappers: Mapping[int, Wrapper]


NOTHING = Objects({}, {}, {}, {}, {}, {}, {}, (), {}, {}, {}, {}, {}, {}, {}, {}, {})


def patched(old: Mapping[K, V], changes: Mapping[K, V | None]) -> Mapping[K, V]:
    """`old` with these values, in the order of the keys; None takes a key away."""
    if not changes:
        return old
    new = dict(old)
    last = next(reversed(new), None)
    ordered = True
    for key, value in changes.items():
        if value is None:
            new.pop(key, None)
        else:
            if key not in new:
                ordered = ordered and (last is None or key > last)
                last = key
            new[key] = value
    return new if ordered else dict(sorted(new.items()))


def relations_read(read: Read) -> set[int]:
    """The relations that something was read of."""
    return {key for part in RELATION_PARTS for key in read.get(part, ())}


def rebuilt(old: Objects, read: Read) -> Objects:
    """`old` with what was read. Objects whose namespace nobody knows are left out."""
    spaces = patched(old.namespaces, {key: text(rows[0][1]) if rows else None for key, rows in _of(read, "namespaces")})
    relations = {key: _relation(key, read, spaces) for key in sorted(relations_read(read))}
    functions = {key: _function(rows[0], spaces) if rows else None for key, rows in _of(read, "functions")}
    types = {key: _type(rows[0], spaces) if rows else None for key, rows in _of(read, "types")}
    checks = {
        key: tuple(Expression("check", text(row[10]), text(row[9])) for row in rows) or None
        for key, rows in _of(read, "domain_constraints")
    }
    aggregates = {
        key: tuple(int(text(item)) for item in rows[0][1:] if item != "0") if rows else None
        for key, rows in _of(read, "aggregates")
    }
    casts = _casts(old, read)
    members = {
        key: frozenset(int(text(row[0])) for row in rows) if rows else None for key, rows in _of(read, "members")
    }
    return Objects(
        spaces,
        patched(old.relations, relations),
        _renamed(old.relation_names, old.relations, relations),
        patched(old.functions, functions),
        _by_name(old, functions),
        patched(old.aggregates, aggregates),
        _operators(old, read, spaces),
        casts,
        old.cast_index if casts is old.casts else {(item.source, item.target): item for item in casts},
        patched(old.types, types),
        _renamed(old.type_names, old.types, types),
        patched(old.domain_checks, checks),
        patched(old.event_triggers, {key: _fired(rows) for key, rows in _of(read, "event_triggers")}),
        patched(old.roles, {key: text(rows[0][1]) if rows else None for key, rows in _of(read, "roles")}),
        patched(old.members, members),
        patched(old.servers, {key: _server(rows[0]) if rows else None for key, rows in _of(read, "servers")}),
        patched(old.wrappers, {key: _wrapper(rows[0]) if rows else None for key, rows in _of(read, "wrappers")}),
    )


def _server(row: Row) -> Server:
    oid, name, wrapper, digest = map(text, row)
    return Server(int(oid), name, int(wrapper), digest)


def _wrapper(row: Row) -> Wrapper:
    oid, name, digest = map(text, row)
    return Wrapper(int(oid), name, digest)


def _fired(rows: Sequence[Row]) -> int | None:
    """What fires on log-in (17 and newer) fires before any statement."""
    return next((int(text(row[3])) for row in rows if row[4] != "D" and row[2] != "login"), None)


def _of(read: Read, part: str) -> list[tuple[int, Sequence[Row]]]:
    return sorted(read.get(part, {}).items())


T = TypeVar("T", Relation, Type)


def _renamed(
    by_name: Mapping[tuple[str, str], T], old: Mapping[int, T], changes: Mapping[int, T | None]
) -> Mapping[tuple[str, str], T]:
    """Names are unique, and may have been exchanged: first all go, then all come."""
    if not changes:
        return by_name
    gone: dict[tuple[str, str], T | None] = {(old[oid].schema, old[oid].name): None for oid in changes if oid in old}
    come = {(item.schema, item.name): item for item in changes.values() if item is not None}
    return patched(by_name, gone | come)


def _by_name(old: Objects, changes: Mapping[int, Function | None]) -> Mapping[str, tuple[Function, ...]]:
    touched = {old.functions[oid].name for oid in changes if oid in old.functions}
    come: dict[str, list[Function]] = {}
    for item in changes.values():
        if item is not None:
            come.setdefault(item.name, []).append(item)
    found: dict[str, tuple[Function, ...] | None] = {}
    for name in sorted(touched | come.keys()):
        kept = [item for item in old.function_names.get(name, ()) if item.oid not in changes]
        found[name] = tuple(sorted([*kept, *come.get(name, ())], key=lambda item: item.oid)) or None
    return patched(old.function_names, found)


def _relation(oid: int, read: Read, namespaces: Mapping[int, str]) -> Relation | None:
    rows = read["relations"].get(oid, ())
    if not rows:
        return None
    _, name, namespace, kind, persistence, rls, force, owner, row_type, digest = map(text, rows[0])
    schema = namespaces.get(int(namespace))
    if schema is None:
        return None
    columns = [
        Column(
            int(text(attnum)),
            text(column),
            int(text(type_oid)),
            bool(text(generated)),
            text(hashed),
            not_null == "true",
            modifier != "-1",
            generated == "v",
            collation not in _PLAIN_COLLATIONS,
        )
        for _, attnum, column, type_oid, generated, not_null, modifier, collation, hashed in read.get(
            "columns", {}
        ).get(oid, ())
    ]
    own = tuple(sorted(columns, key=lambda column: column.attnum))
    return Relation(
        oid, schema, name, KINDS.get(kind, kind), persistence == "t", rls == "true", force == "true",
        int(owner), int(row_type), digest, own, {column.name: column for column in own},
    )  # fmt: skip


def _function(row: Row, namespaces: Mapping[int, str]) -> Function | None:
    (oid, name, namespace, nargs, ndefaults, variadic, kind, volatility, definer, leakproof, language, retset,
     return_type, types, argument_names, config, digest, source, default_text) = map(text, row)  # fmt: skip
    schema = namespaces.get(int(namespace))
    if schema is None:
        return None
    settings = names(config)
    return Function(
        int(oid), schema, name, int(nargs), int(ndefaults), variadic != "0", kind, _VOLATILITY[volatility],
        definer == "true", leakproof == "true", language, retset == "true", int(return_type), array(types),
        names(argument_names), _search_path(settings), _more_set(settings), digest, source, default_text,
    )  # fmt: skip


def _type(row: Row, namespaces: Mapping[int, str]) -> Type | None:
    oid, name, namespace, kind, *rest = map(text, row)
    schema = namespaces.get(int(namespace))
    if schema is None:
        return None
    inputs, base, relation, element = tuple(map(int, rest[:4])), int(rest[4]), int(rest[5]), int(rest[6])
    return Type(int(oid), schema, name, kind, inputs, base, relation, element)


def _operators(old: Objects, read: Read, namespaces: Mapping[int, str]) -> Mapping[str, tuple[Operator, ...]]:
    changes = read.get("operators", {})
    if not changes:
        return old.operators
    kept = [item for group in old.operators.values() for item in group if item.oid not in changes]
    come = []
    for rows in changes.values():
        for row in rows:
            oid, name, namespace, left, right, code = map(text, row)
            schema = namespaces.get(int(namespace), "")
            come.append(Operator(int(oid), schema, name, int(left), int(right), int(code)))
    found: dict[str, list[Operator]] = {}
    for item in sorted(kept + come, key=lambda item: (item.name, item.oid)):
        found.setdefault(item.name, []).append(item)
    return {name: tuple(group) for name, group in found.items()}


def _casts(old: Objects, read: Read) -> tuple[Cast, ...]:
    changes = read.get("casts", {})
    if not changes:
        return old.casts
    kept = [item for item in old.casts if item.oid not in changes]
    come = [
        Cast(int(text(oid)), int(text(source)), int(text(target)), int(text(function)), text(context), text(method))
        for rows in changes.values()
        for oid, source, target, function, context, method in rows
    ]
    return tuple(sorted(kept + come, key=lambda item: item.oid))


# What a relation brings along


@dataclass(frozen=True, slots=True, eq=False)
class Attached:
    """By relation, without those that have none."""

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
    labels: Labels  # by (relation, attnum); attnum 0: of all its columns
    foreign: Mapping[int, Foreign]  # of foreign tables


NOTHING_ATTACHED = Attached({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})


def reattached(old: Attached, read: Read) -> Attached:
    """`old` with what was read of relations."""
    changed = sorted(relations_read(read))
    if not changed:
        return old

    def rows(part: str, key: int) -> Sequence[Row]:
        return read.get(part, {}).get(key, ())

    keys_of = {key: tuple(_foreign_key(row) for row in rows("constraints", key) if row[3] == "f") for key in changed}
    parents = {key: tuple(int(text(row[1])) for row in rows("inherits", key)) for key in changed}
    return Attached(
        rules=patched(old.rules, {key: tuple(map(_rule, rows("rules", key))) or None for key in changed}),
        foreign_keys_of=patched(old.foreign_keys_of, {key: found or None for key, found in keys_of.items()}),
        foreign_keys_to=_keys_to(old, keys_of),
        expressions=patched(old.expressions, {key: tuple(_expressions(read, key)) or None for key in changed}),
        triggers=patched(old.triggers, {key: tuple(map(_trigger, rows("triggers", key))) or None for key in changed}),
        children=_children(old, parents),
        parents=patched(old.parents, {key: found or None for key, found in parents.items()}),
        keys=patched(old.keys, {key: _unique(rows("indexes", key)) or None for key in changed}),
        partition_keys=patched(
            old.partition_keys,
            {key: next((array(row[1]) for row in rows("partition_keys", key)), None) for key in changed},
        ),
        probes=patched(
            old.probes,
            {key: tuple(array(row[7]) for row in rows("indexes", key) if row[6] == "true") or None for key in changed},
        ),
        labels=_labels(old.labels, read, changed),
        foreign=patched(
            old.foreign,
            {
                key: next((Foreign(int(text(row[1])), text(row[2])) for row in rows("foreign_tables", key)), None)
                for key in changed
            },
        ),
    )


def _labels(old: Labels, read: Read, changed: Collection[int]) -> Labels:
    """Of these relations as read, of others as before."""
    touched = set(changed)
    changes: dict[tuple[int, int], frozenset[str] | None] = {place: None for place in old if place[0] in touched}
    changes |= labels_of(
        [row for key in changed for row in read.get("comments", {}).get(key, ())],
        [row for key in changed for row in read.get("security_labels", {}).get(key, ())],
    )
    return patched(old, changes)


def _keys_to(old: Attached, keys_of: Mapping[int, tuple[ForeignKey, ...]]) -> Mapping[int, tuple[ForeignKey, ...]]:
    touched = {key.parent for child in keys_of for key in old.foreign_keys_of.get(child, ())}
    come: dict[int, list[ForeignKey]] = {}
    for found in keys_of.values():
        for key in found:
            come.setdefault(key.parent, []).append(key)
    changes: dict[int, tuple[ForeignKey, ...] | None] = {}
    for parent in sorted(touched | come.keys()):
        kept = [key for key in old.foreign_keys_to.get(parent, ()) if key.child not in keys_of]
        changes[parent] = tuple(sorted([*kept, *come.get(parent, ())], key=lambda key: key.oid)) or None
    return patched(old.foreign_keys_to, changes)


def _children(old: Attached, parents: Mapping[int, tuple[int, ...]]) -> Mapping[int, tuple[int, ...]]:
    touched = {parent for child in parents for parent in old.parents.get(child, ())}
    come: dict[int, list[int]] = {}
    for child, found in parents.items():
        for parent in found:
            come.setdefault(parent, []).append(child)
    changes: dict[int, tuple[int, ...] | None] = {}
    for parent in sorted(touched | come.keys()):
        kept = [child for child in old.children.get(parent, ()) if child not in parents]
        changes[parent] = tuple(sorted([*kept, *come.get(parent, ())])) or None
    return patched(old.children, changes)


def _rule(row: Row) -> Rule:
    oid, _, name, event, instead, enabled, digest, definition = map(text, row)
    return Rule(int(oid), name, event, instead == "true", enabled, digest, definition)


def _trigger(row: Row) -> Trigger:
    oid, _, name, function, kind, enabled, conditional, digest = map(text, row)
    return Trigger(int(oid), name, int(function), int(kind), enabled, conditional == "true", digest)


def _foreign_key(row: Row) -> ForeignKey:
    oid, child, _, _, parent, on_update, on_delete, conkey, confkey, digest = map(text, row[:10])
    return ForeignKey(
        int(oid),
        int(child),
        int(parent),
        on_update,
        on_delete,
        array(conkey),
        array(confkey),
        digest,
        set_columns=array(row[11]),
        enforced=row[12] != "false",
    )


def _unique(rows: Collection[Row]) -> tuple[tuple[int, ...], ...]:
    found = (array(row[5]) for row in rows)
    return tuple(key for key in found if key and 0 not in key)


def _expressions(read: Read, relation: int) -> Iterable[Expression]:
    def rows(part: str) -> Sequence[Row]:
        return read.get(part, {}).get(relation, ())

    generated = {row[1] for row in rows("columns") if row[4]}
    for row in rows("constraints"):
        if row[3] == "c":
            yield Expression("check", text(row[10]), text(row[9]))
    for row in rows("defaults"):
        kind = "generated" if row[1] in generated else "default"
        yield Expression(kind, text(row[3]), text(row[2]), attnum=int(text(row[1])))
    for row in rows("indexes"):
        for printed in (row[2], row[3]):
            if printed:
                yield Expression("index", printed, text(row[4]))
    for row in rows("policies"):
        for printed in (row[5], row[6]):
            if printed:
                yield Expression("policy", printed, text(row[7]), command=text(row[3]))
