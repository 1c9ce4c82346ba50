"""What a description rests on, and the question that finds out whether it still holds.

Each dependency is a row of one UNION ALL: a name as it was written, resolved again under the session's own
search_path, or the definition hash of an object. Unchanged means equal, row for row.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def _hashes(table: str, row: str, column: str, oid: int, digest: str, order: str, where: str = "") -> str:
    return (
        f"SELECT pg_catalog.coalesce_text FROM (SELECT pg_catalog.string_agg({digest},',' ORDER BY {order})"  # noqa: S608 - numbers and constants
        f" AS coalesce_text FROM pg_catalog.{table} {row} WHERE {row}.{column} {_EQ} {oid}::pg_catalog.oid{where}) z"
    ).replace("pg_catalog.coalesce_text", "COALESCE(z.coalesce_text,'')")


def dependencies(facts: Facts, catalog: Catalog) -> tuple[Dependency, ...]:
    found: list[Dependency] = []
    for name, oid in sorted(facts.names.items()):
        sql = f"SELECT COALESCE(pg_catalog.to_regclass({_literal(name)})::pg_catalog.oid::pg_catalog.text,'')"
        found.append(Dependency("name", name, str(oid), sql))
    for oid, relation in sorted(facts.seen_relations.items()):
        if oid < FIRST_USER_OID:
            continue
        found.append(
            Dependency(
                "object",
                f"relation {oid}",
                relation.hash,
                _hashes("pg_class", "c", "oid", oid, q.RELATION_HASH, "c.oid"),
            )
        )
        columns = ",".join(column.hash for column in relation.columns)
        alive = " AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"
        found.append(
            Dependency(
                "object",
                f"columns {oid}",
                columns,
                _hashes("pg_attribute", "a", "attrelid", oid, q.COLUMN_HASH, "a.attnum", alive),
            )
        )
        found.extend(_attached(catalog, oid))
    for oid, function in sorted(facts.functions_used.items()):
        if oid >= FIRST_USER_OID:
            found.append(
                Dependency(
                    "function",
                    f"function {oid}",
                    function.hash,
                    _hashes("pg_proc", "p", "oid", oid, q.FUNCTION_HASH, "p.oid"),
                )
            )
    return tuple(found)


def _attached(catalog: Catalog, oid: int) -> list[Dependency]:
    """Rules, triggers, foreign keys both ways, policies, defaults, checks, children of one relation."""
    rules = ",".join(rule.hash for rule in sorted(catalog.rules.get(oid, ()), key=lambda item: item.oid))
    triggers = ",".join(item.hash for item in sorted(catalog.triggers.get(oid, ()), key=lambda item: item.oid))
    incoming = ",".join(item.hash for item in sorted(catalog.foreign_keys_to.get(oid, ()), key=lambda item: item.oid))
    outgoing = ",".join(item.hash for item in sorted(catalog.foreign_keys_of.get(oid, ()), key=lambda item: item.oid))
    children = ",".join(str(item) for item in sorted(catalog.children.get(oid, ())))
    foreign = " AND k.contype OPERATOR(pg_catalog.=) 'f'::pg_catalog.\"char\""
    rows = [
        ("rules", rules, _hashes("pg_rewrite", "r", "ev_class", oid, q.RULE_HASH, "r.oid")),
        (
            "triggers",
            triggers,
            _hashes("pg_trigger", "t", "tgrelid", oid, q.TRIGGER_HASH, "t.oid", " AND NOT t.tgisinternal"),
        ),
        (
            "incoming keys",
            incoming,
            _hashes("pg_constraint", "k", "confrelid", oid, q.CONSTRAINT_HASH, "k.oid", foreign),
        ),
        (
            "outgoing keys",
            outgoing,
            _hashes("pg_constraint", "k", "conrelid", oid, q.CONSTRAINT_HASH, "k.oid", foreign),
        ),
        (
            "children",
            children,
            _hashes("pg_inherits", "i", "inhparent", oid, "i.inhrelid::pg_catalog.text", "i.inhrelid"),
        ),
    ]
    by_kind = {"check": "", "default": "", "policy": ""}
    del by_kind
    return [Dependency("object", f"{name} {oid}", expected, sql) for name, expected, sql in rows]


def verification(facts: Facts, needed: tuple[Dependency, ...]) -> Verification | None:
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
