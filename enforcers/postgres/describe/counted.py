"""How many rows are changed or returned at most, where the shape alone tells: VALUES, or a row found by its key.

Such a number needs no estimate, and an answer that rests on it may be leased. It is only ever given with certainty: the
table is a plain one, named directly, without rules, triggers, cascades or anything else of the user's own that could
touch further rows or bend what `=` means, and nothing that makes several rows of one; the key is a valid, immediate,
unconditional unique index over plain columns with their types' own notion of equality; and each of its columns is
compared with one value, in a way that no conversion can make two keys equal (a bigint converted to double precision
can).

Source: PostgreSQL documentation, "Unique Indexes", "Operator Type Resolution".
"""

from __future__ import annotations

from typing import Any

from enforcers.postgres.catalog.objects import Relation
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe.context import Facts, Node, strings, unwrap
from enforcers.postgres.description import Control

MAX_ROWS = 1_000_000
_INT2, _INT4, _INT8, _UUID = 21, 23, 20, 2950
# Whatever builtin type the other side has, no two keys of these can equal one value of it.
_EXACT = frozenset({_INT2, _INT4, _UUID})
# Of this, only beside a constant, or what is cast to an integer.
_WIDE = frozenset({_INT8})
_INTEGERS = frozenset({"int2", "int4", "int8"})  # what the parser makes of smallint, integer, int and bigint, too
_CHANGES = frozenset({"insert", "update", "delete", "truncate"})
_EVENTS = {"InsertStmt": "3", "UpdateStmt": "2", "DeleteStmt": "4"}


def most_rows(facts: Facts, catalog: Catalog, kind: str, body: Node) -> int | None:
    """At most so many rows are changed, or returned where nothing is changed; None when the shape does not tell."""
    if kind == "SelectStmt":
        return _read(facts, catalog, body)
    if kind not in _EVENTS or facts.opaque or body.get("withClause") or facts.control is not Control.NONE:
        return None
    relation = _only_target(facts, catalog, _EVENTS[kind])
    if relation is None:
        return None
    if kind == "InsertStmt":
        return _listed(body)
    if body.get("fromClause") or body.get("usingClause"):
        return None
    return _by_key(catalog, relation, body.get("whereClause"))


def _by_key(catalog: Catalog, relation: Relation, where: Node | None) -> int | None:
    if catalog.children.get(relation.oid):
        return None
    found = _compared(where, relation)
    return 1 if any(set(key) <= found for key in catalog.keys.get(relation.oid, ())) else None


_PLAIN = frozenset({"targetList", "fromClause", "whereClause", "sortClause", "limitOption", "op"})


def _read(facts: Facts, catalog: Catalog, body: Node) -> int | None:
    """A SELECT of the plainest form from one table: nothing in it makes several rows of one, or one of many."""
    if facts.opaque or facts.collects or facts.writes or set(body) - _PLAIN or body.get("op") != "SETOP_NONE":
        return None
    items = body.get("fromClause") or []
    kind, source = unwrap(items[0]) if len(items) == 1 else ("", {})
    direct = [oid for oid, via in facts.relations if via == "direct"]
    relation = facts.seen_relations.get(direct[0]) if kind == "RangeVar" and len(direct) == 1 else None
    if relation is None or relation.kind != "table" or relation.name != source.get("relname"):
        return None
    if any(function.returns_set or not function.builtin for function in facts.functions_used.values()):
        return None
    return _by_key(catalog, relation, body.get("whereClause"))


def _only_target(facts: Facts, catalog: Catalog, event: str) -> Relation | None:
    """The table that is written, when nothing else is and nothing of the user's own runs."""
    written = {(oid, via) for (oid, via), access in facts.relations.items() if access & _CHANGES}
    if len(written) != 1:
        return None
    ((oid, via),) = written
    relation = facts.seen_relations.get(oid)
    if relation is None or via != "direct" or relation.kind != "table" or relation.catalog:
        return None
    if any(rule.event == event for rule in catalog.rules.get(oid, ())):
        return None
    if any(used == "trigger" for _, _, _, used in facts.functions):
        return None
    return relation if all(function.builtin for function in facts.functions_used.values()) else None


def _listed(body: Node) -> int | None:
    """Of an INSERT: the rows of VALUES, or the one of DEFAULT VALUES."""
    query = body.get("selectStmt")
    if not query:
        return 1
    kind, inner = unwrap(query)
    lists = inner.get("valuesLists")
    if kind != "SelectStmt" or not lists or inner.get("withClause") or len(lists) > MAX_ROWS:
        return None
    return len(lists)


def _compared(where: Node | None, relation: Relation) -> set[int]:
    """The columns (attribute numbers) that every row of the result has one given value in."""
    if not where:
        return set()
    kind, body = unwrap(where)
    if kind == "BoolExpr" and body.get("boolop") == "AND_EXPR":
        found: set[int] = set()
        for arm in body.get("args", []):
            found |= _compared(arm, relation)
        return found
    if (
        kind != "A_Expr"
        or body.get("kind") != "AEXPR_OP"
        or strings(body.get("name")) not in (["="], ["pg_catalog", "="])
    ):
        return set()
    for one, other in ((body.get("lexpr"), body.get("rexpr")), (body.get("rexpr"), body.get("lexpr"))):
        attnum = _key_column(one, other, relation)
        if attnum:
            return {attnum}
    return set()


def _key_column(one: Any, other: Any, relation: Relation) -> int:
    """The attribute number of the column `one`, when `other` is a value that compares with it exactly; else 0."""
    kind, body = unwrap(one or {})
    if kind != "ColumnRef" or any("String" not in field for field in body.get("fields", [])):
        return 0
    column = relation.by_name.get(strings(body.get("fields"))[-1])
    if column is None or column.type_oid not in _EXACT | _WIDE:
        return 0
    value, inner = unwrap(other or {})
    if value == "A_Const" or (value == "ParamRef" and column.type_oid in _EXACT):
        return column.attnum
    if value != "TypeCast" or unwrap(inner.get("arg", {}))[0] not in {"A_Const", "ParamRef"}:
        return 0
    name = inner.get("typeName", {})
    if name.get("arrayBounds") or name.get("setof"):
        return 0
    names = strings(name.get("names"))
    if column.type_oid in _WIDE:
        # By its bare name it may be a user's domain over double precision.
        return column.attnum if names[:1] == ["pg_catalog"] and names[-1] in _INTEGERS else 0
    plain = names[-1] if len(names) == 1 or names[:1] == ["pg_catalog"] else ""
    return column.attnum if plain in _INTEGERS or (plain == "uuid" and column.type_oid == _UUID) else 0
