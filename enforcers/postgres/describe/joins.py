"""What conditions decide: joins told apart from other conditions, and joins along a foreign key from other joins.

`a.x = b.y` between two items of FROM is a join wherever it stands. It runs along a foreign key when the equalities
between the two items hold the whole of one key that the catalog has, column for column, between tables neither of which
the effective role owns: then the target itself made sure that the values meet, and whoever asks could not have
arranged it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from enforcers.postgres.describe import expressions, references
from enforcers.postgres.describe.context import Context, OutColumn, Scope, Source, strings, unwrap

_EQUAL = (["="], ["pg_catalog", "="])


@dataclass(slots=True)
class Pair:
    """left = right, columns of two items of FROM."""

    left: OutColumn
    right: OutColumn
    one: int  # which item each is of
    other: int


def condition(context: Context, node: Any, scope: Scope, kind: str) -> None:
    """Walk a WHERE or ON. kind: of what is no join."""
    if not node:
        return
    pairs: list[Pair] = []
    for part in conjuncts(node):
        pair = _pair(context, part, scope)
        value = expressions.walk(context, part, scope)
        if pair is not None:
            pairs.append(pair)
        else:
            context.facts.infer(value.sources, kind)
    if pairs:
        judge(context, pairs)


def conjuncts(node: Any) -> list[Any]:
    kind, body = unwrap(node)
    if kind == "BoolExpr" and body.get("boolop") == "AND_EXPR":
        return [part for arm in body.get("args", []) for part in conjuncts(arm)]
    return [node]


def _pair(context: Context, node: Any, scope: Scope) -> Pair | None:
    kind, body = unwrap(node)
    if kind != "A_Expr" or body.get("kind") != "AEXPR_OP" or strings(body.get("name")) not in _EQUAL:
        return None
    found: list[tuple[OutColumn, int]] = []
    for side in (body.get("lexpr"), body.get("rexpr")):
        side_kind, reference = unwrap(side or {})
        if side_kind != "ColumnRef" or "A_Star" in reference.get("fields", [{}])[-1]:
            return None
        fields = strings(reference.get("fields"))
        column = references.bare(context, fields, scope)
        item = _item(fields, column, scope)
        if column is None or item is None:
            return None
        found.append((column, id(item)))
    (left, one), (right, other) = found
    return None if one == other else Pair(left, right, one, other)


def _item(fields: list[str], column: OutColumn | None, scope: Scope) -> Source | None:
    """The item of FROM that a reference is to; none for a merged column, which is of two."""
    if len(fields) > 1:
        return references.find_source(fields[:-1], scope)
    current: Scope | None = scope
    while current is not None:
        for source in current.sources:
            if any(item is column for item in source.columns):
                return source
        current = current.parent
    return None


def judge(context: Context, pairs: Sequence[Pair]) -> None:
    """Report each pair as a join along a foreign key, or as any other."""
    along = _along(context, pairs)
    for pair in pairs:
        kind = "join-foreign-key" if id(pair) in along else "join"
        context.facts.infer(pair.left.value.sources, kind)
        context.facts.infer(pair.right.value.sources, kind)


def _along(context: Context, pairs: Sequence[Pair]) -> set[int]:
    found: set[int] = set()
    for pair in pairs:
        if id(pair) in found:
            continue
        for child, parent, turned in ((pair.left, pair.right, False), (pair.right, pair.left, True)):
            if child.base is None or parent.base is None:
                continue
            for key in context.catalog.foreign_keys_of.get(child.base[0].oid, ()):
                if key.parent != parent.base[0].oid or not key.enforced or _owned(context, child, parent):
                    continue
                needed = set(zip(key.child_columns, key.parent_columns, strict=True))
                held = _held(pairs, pair, turned)
                if needed <= held.keys():
                    found.update(held[item] for item in needed)
    return found


def _held(pairs: Sequence[Pair], like: Pair, turned: bool) -> dict[tuple[int, int], int]:
    """Between the same two items: (child's attribute, parent's) -> the pair that equates them."""
    held: dict[tuple[int, int], int] = {}
    for pair in pairs:
        straight = (pair.one, pair.other) == (like.one, like.other)
        if not straight and (pair.other, pair.one) != (like.one, like.other):
            continue
        left, right = (pair.left, pair.right) if straight else (pair.right, pair.left)
        child, parent = (right, left) if turned else (left, right)
        if child.base is not None and parent.base is not None:
            held[(child.base[1].attnum, parent.base[1].attnum)] = id(pair)
    return held


def _owned(context: Context, child: OutColumn, parent: OutColumn) -> bool:
    role = context.facts.effective_role
    return any(context.catalog.owned_by(relation, role) for column in (child, parent) for relation, _ in column.touched)
