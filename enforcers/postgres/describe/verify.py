"""What a description rests on, and the question that finds out whether it still holds.

Each dependency is a row of one UNION ALL: a name as it was written, resolved again under the session's own
search_path, or the definition hash of an object. Unchanged means equal, row for row.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache

from enforcers.postgres.catalog import queries as q
from enforcers.postgres.catalog.queries import FIRST_USER_OID
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe.context import Facts
from enforcers.postgres.describe.digest import encode
from enforcers.postgres.description import Verification

_EQ = "OPERATOR(pg_catalog.=)"


@dataclass(frozen=True, slots=True)
class Dependency:
    kind: str  # name, object, function
    key: str
    expected: str
    sql: str

    @property
    def canonical(self) -> bytes:
        return encode((self.kind.encode(), self.key.encode(), self.expected.encode()))


def _literal(text: str) -> str:
    """A string constant that means itself whatever standard_conforming_strings is: no backslash is left in it."""
    if "\\" in text:
        return "pg_catalog.convert_from('\\x" + text.encode().hex() + "'::pg_catalog.bytea,'UTF8')"
    return "'" + text.replace("'", "''") + "'"


def _agg(source: str, where: str, value: str, *, order: str = "") -> str:
    """All values of one table's matching rows, joined; sorted as plain bytes where no order is given."""
    by = order or f'{value} COLLATE pg_catalog."C"'
    return (
        f"SELECT COALESCE(pg_catalog.string_agg({value},',' ORDER BY {by}),'')"  # noqa: S608 - numbers, constants, _literal
        f" FROM pg_catalog.{source} WHERE {where}"
    )


def _is(column: str, oid: int) -> str:
    return f"{column} {_EQ} {oid}::pg_catalog.oid"


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a description rests on: `canonical` for its digest, `verification` to ask whether it still holds."""

    canonical: bytes
    verification: Verification | None


_Key = tuple[int, frozenset[object], frozenset[object], frozenset[int], frozenset[int], frozenset[int]]
# Statements of other shapes on the same objects are the rule. A catalog's version never repeats in a process.
_known: LRUCache[_Key, Grounds] = LRUCache(1024)


def grounds(facts: Facts, catalog: Catalog) -> Grounds:
    """Of the names and objects in `facts`, as this catalog has them."""
    key = (
        catalog.version,
        frozenset(facts.names.items()),
        frozenset(facts.called),
        frozenset(facts.seen_relations),
        frozenset(facts.functions_used),
        frozenset(facts.types),
    )
    known = _known.get(key)
    if known is None:
        needed = dependencies(facts, catalog)
        known = _known[key] = Grounds(encode(item.canonical for item in needed), verification(needed))
    return known


def dependencies(facts: Facts, catalog: Catalog) -> tuple[Dependency, ...]:
    found: list[Dependency] = []
    for name, oid in sorted(facts.names.items()):
        sql = f"SELECT COALESCE(pg_catalog.to_regclass({_literal(name)})::pg_catalog.oid::pg_catalog.text,'')"
        found.append(Dependency("name", name, str(oid), sql))
    for kind, name in sorted(facts.called):
        found.append(_candidates(catalog, kind, name))
    for oid, relation in sorted(facts.seen_relations.items()):
        if oid < FIRST_USER_OID:
            continue
        sql = _agg("pg_class c", _is("c.oid", oid), q.RELATION_HASH)
        found.append(Dependency("object", f"relation {oid}", relation.hash, sql))
        columns = ",".join(column.hash for column in relation.columns)
        alive = f"{_is('a.attrelid', oid)} AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"
        sql = _agg("pg_attribute a", alive, q.COLUMN_HASH, order="a.attnum")
        found.append(Dependency("object", f"columns {oid}", columns, sql))
        found.extend(_attached(catalog, oid))
        found.extend(_foreign(catalog, oid))
    for oid, function in sorted(facts.functions_used.items()):
        if oid >= FIRST_USER_OID:
            sql = _agg("pg_proc p", _is("p.oid", oid), q.FUNCTION_HASH)
            found.append(Dependency("function", f"function {oid}", function.hash, sql))
    if found or facts.types:
        found.extend(_types(facts, catalog))
    return tuple(found)


def _foreign(catalog: Catalog, oid: int) -> list[Dependency]:
    """Of a foreign table where its rows are: its own options, the server's, the wrapper's."""
    foreign = catalog.foreign.get(oid)
    if foreign is None:
        return []
    sql = _agg("pg_foreign_table f", _is("f.ftrelid", oid), q.FOREIGN_HASH)
    found = [Dependency("object", f"foreign table {oid}", foreign.hash, sql)]
    server = catalog.server(foreign.server)
    if server is None:
        return found
    sql = _agg("pg_foreign_server s", _is("s.oid", server.oid), q.SERVER_HASH)
    found.append(Dependency("object", f"server {server.oid}", server.hash, sql))
    wrapper = catalog.wrapper(server.wrapper)
    if wrapper is not None:
        sql = _agg("pg_foreign_data_wrapper w", _is("w.oid", wrapper.oid), q.WRAPPER_HASH)
        found.append(Dependency("object", f"wrapper {wrapper.oid}", wrapper.hash, sql))
    return found


def _types(facts: Facts, catalog: Catalog) -> list[Dependency]:
    """The checks of domains, and which casts users have made: a new one may be applied without being written.

    What an operator calls, and a type's input and output functions, never change under one oid; the functions
    themselves are dependencies of their own.
    """
    kind = "k.contype OPERATOR(pg_catalog.=) 'c'::pg_catalog.\"char\""
    constraint = q.constraint_hash(catalog.builtins.server_version)
    found = []
    for oid in sorted(facts.types):
        domain = catalog.type(oid)
        if oid < FIRST_USER_OID or domain is None or domain.kind != "d":
            continue
        expected = ",".join(sorted(check.hash for check in catalog.domain_checks(oid)))
        sql = _agg("pg_constraint k", f"{_is('k.contypid', oid)} AND {kind}", constraint)
        found.append(Dependency("object", f"checks of domain {oid}", expected, sql))
    casts = sorted(f"{item.source} {item.target} {item.function} {item.context}" for item in catalog.own.casts)
    value = "pg_catalog.concat_ws(' ',q.castsource,q.casttarget,q.castfunc,q.castcontext)"
    where = f"q.oid OPERATOR(pg_catalog.>=) {FIRST_USER_OID}::pg_catalog.oid"
    found.append(Dependency("object", "casts", ",".join(casts), _agg("pg_cast q", where, value)))
    return found


def _candidates(catalog: Catalog, kind: str, name: str) -> Dependency:
    """What a call or operator may resolve to: every object of that name, in whatever schema."""
    if kind == "function":
        oids = [function.oid for function in catalog.functions_named(name)]
        sql = _agg("pg_proc p", f"p.proname {_EQ} {_literal(name)}::pg_catalog.name", "p.oid::pg_catalog.text")
    else:
        oids = [operator.oid for operator in catalog.operators_named(name)]
        sql = _agg("pg_operator o", f"o.oprname {_EQ} {_literal(name)}::pg_catalog.name", "o.oid::pg_catalog.text")
    return Dependency("object", f"{kind}s named {name}", ",".join(sorted(map(str, oids))), sql)


def _attached(catalog: Catalog, oid: int) -> list[Dependency]:
    """Rules, triggers, foreign keys both ways, policies, defaults, checks, indexes, children of one relation."""
    kind = "k.contype OPERATOR(pg_catalog.=) '{}'::pg_catalog.\"char\""
    foreign, check = kind.format("f"), kind.format("c")
    constraint = q.constraint_hash(catalog.builtins.server_version)
    expressions = catalog.expressions.get(oid, ())

    def hashes(*kinds: str) -> list[str]:
        return [item.hash for item in expressions if item.kind in kinds]

    computed = "(x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)"
    rows: list[tuple[str, list[str], str, str, str]] = [
        ("rules", [i.hash for i in catalog.rules.get(oid, ())], "pg_rewrite r", _is("r.ev_class", oid), q.RULE_HASH),
        (
            "triggers",
            [i.hash for i in catalog.triggers.get(oid, ())],
            "pg_trigger t",
            f"{_is('t.tgrelid', oid)} AND {q.SHOWN_TRIGGER}",
            q.TRIGGER_HASH,
        ),
        (
            "incoming keys",
            [i.hash for i in catalog.foreign_keys_to.get(oid, ())],
            "pg_constraint k",
            f"{_is('k.confrelid', oid)} AND {foreign}",
            constraint,
        ),
        (
            "outgoing keys",
            [i.hash for i in catalog.foreign_keys_of.get(oid, ())],
            "pg_constraint k",
            f"{_is('k.conrelid', oid)} AND {foreign}",
            constraint,
        ),
        ("checks", hashes("check"), "pg_constraint k", f"{_is('k.conrelid', oid)} AND {check}", constraint),
        ("defaults", hashes("default", "generated"), "pg_attrdef d", _is("d.adrelid", oid), q.DEFAULT_HASH),
        ("policies", sorted(set(hashes("policy"))), "pg_policy y", _is("y.polrelid", oid), q.POLICY_HASH),
        (
            "indexes",
            _per_index(hashes("index")),
            "pg_index x",
            f"{_is('x.indrelid', oid)} AND {computed}",
            q.INDEX_HASH,
        ),
        (
            "children",
            [str(child) for child in catalog.children.get(oid, ())],
            "pg_inherits i",
            _is("i.inhparent", oid),
            "i.inhrelid::pg_catalog.text",
        ),
    ]
    return [
        Dependency("object", f"{name} {oid}", ",".join(sorted(expected)), _agg(source, where, value))
        for name, expected, source, where, value in rows
    ]


def _per_index(hashes: list[str]) -> list[str]:
    """An index with both expressions and a predicate was taken apart; its hash counts once."""
    return sorted(set(hashes))


def verification(needed: tuple[Dependency, ...]) -> Verification | None:
    """None when the statement rests on nothing that can change."""
    if not needed:
        return None
    functions = tuple(item for item in needed if item.kind == "function")
    return Verification(
        sql=_union(needed),
        expected=tuple(item.expected for item in needed),
        functions_sql=_union(functions) if functions else None,
        functions_expected=tuple(item.expected for item in functions),
    )


def _union(items: tuple[Dependency, ...]) -> str:
    """One question, its rows in the order of the items."""
    rows = " UNION ALL ".join(f"SELECT {index}, ({item.sql})" for index, item in enumerate(items))
    return f"SELECT w.v FROM ({rows}) w(n,v) ORDER BY w.n"  # noqa: S608 - built of the above only
