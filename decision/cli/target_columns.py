"""The columns of a target as its catalog has them: names, types, labels in the catalog, parents.

The gateway reads the same labels in the same form (enforcers/postgres/catalog/labels.py); the two never import each
other, and docs/policy.md says what the form is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import asyncpg

from decision.columns import ColumnName

_OP = "OPERATOR(pg_catalog.{})".format
_EQ = _OP("=")
# Of user schemas, other sessions' temporary ones left out. Names in SQL that no search_path can bend.
COLUMNS = f"""
SELECT c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
       a.attname::pg_catalog.text, a.attnum::pg_catalog.int4,
       pg_catalog.format_type(a.atttypid, NULL), c.reltuples::pg_catalog.float8,
       pg_catalog.col_description(c.oid, a.attnum),
       ARRAY(SELECT pg_catalog.format('%s %s', s.provider, s.label) FROM pg_catalog.pg_seclabel s
             WHERE s.objoid {_EQ} c.oid AND s.objsubid {_EQ} a.attnum
               AND s.classoid {_EQ} 'pg_catalog.pg_class'::pg_catalog.regclass),
       ARRAY(SELECT i.inhparent::pg_catalog.int8 FROM pg_catalog.pg_inherits i WHERE i.inhrelid {_EQ} c.oid),
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
       coalesce((SELECT e.typnamespace {_EQ} 'pg_catalog'::pg_catalog.regnamespace FROM pg_catalog.pg_type e
                 WHERE e.oid {_EQ} a.atttypid), false)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid {_EQ} c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid {_EQ} c.oid
WHERE c.relkind::pg_catalog.text {_EQ} ANY (ARRAY['r', 'p', 'v', 'm', 'f'])
  AND a.attnum {_OP(">")} 0 AND NOT a.attisdropped
  AND n.nspname::pg_catalog.text {_OP("<>")} ALL (ARRAY['pg_catalog', 'information_schema', 'pg_toast'])
  AND n.nspname::pg_catalog.text {_OP("!~~")} 'pg\\_%temp\\_%'
ORDER BY 2, 3, 6
"""  # noqa: S608 - constants of this module only

# A directive in a comment or security label: `twokey: label=email`, several with commas, up to the line's end or a `;`.
_DIRECTIVE = re.compile(r"\btwokey:([^;\n]*)")
_NAME = r"[a-z0-9][a-z0-9._-]{0,127}"
_LABELS = re.compile(rf"\s*(?:label\s*=\s*)?({_NAME}(?:\s*,\s*{_NAME})*)\s*")
PROVIDER = "twokey"
MALFORMED = "malformed"  # what a directive that says nothing readable stands for: a label that nobody is cleared for


@dataclass(frozen=True, slots=True)
class TargetColumn:
    name: ColumnName
    oid: int  # of the relation
    attnum: int
    kind: str  # pg_class.relkind
    type: str
    rows: float  # estimated, of the relation; negative where never analysed
    labels: frozenset[str]  # of the target's catalog
    parents: tuple[int, ...]
    readable: bool  # by who asked
    builtin_type: bool  # printing it runs nobody's function


def labels_in(comment: str | None, security: Iterable[str]) -> frozenset[str]:
    """The labels that a column's comment and security labels (`provider label`) give it."""
    found = _directed(comment or "")
    for item in security:
        provider, _, text = item.partition(" ")
        found |= _listed(text) if provider == PROVIDER else _directed(text)
    return found


def _directed(text: str) -> frozenset[str]:
    return frozenset().union(*(_listed(match[1], needed="label") for match in _DIRECTIVE.finditer(text)))


def _listed(text: str, *, needed: str = "") -> frozenset[str]:
    match = _LABELS.fullmatch(text)
    if match is None or not text.lstrip().startswith(needed):
        return frozenset({MALFORMED})
    return frozenset(label.strip() for label in match[1].split(","))


async def read(link: asyncpg.Connection) -> list[TargetColumn]:
    return [
        TargetColumn(
            ColumnName(str(row[1]), str(row[2]), str(row[4])),
            row[0],
            row[5],
            str(row[3]),
            str(row[6]),
            row[7],
            labels=labels_in(row[8], row[9]),
            parents=tuple(row[10]),
            readable=bool(row[11]),
            builtin_type=bool(row[12]),
        )
        for row in await link.fetch(COLUMNS)
    ]


def with_kin(classified: Mapping[ColumnName, str], columns: Iterable[TargetColumn]) -> dict[ColumnName, frozenset[str]]:
    """Labels by column: of the file, of the catalog, and of each ancestor and descendant with the column."""
    columns = list(columns)
    by_place = {(column.oid, column.name.column): column for column in columns}
    above: dict[int, set[int]] = {}
    below: dict[int, set[int]] = {}
    for column in columns:
        for parent in column.parents:
            above.setdefault(column.oid, set()).add(parent)
            below.setdefault(parent, set()).add(column.oid)
    found: dict[ColumnName, frozenset[str]] = {}
    for column in columns:
        own = column.labels | ({classified[column.name]} if column.name in classified else frozenset())
        for oid in _reached(column.oid, above) | _reached(column.oid, below) if own else ():
            kin = by_place.get((oid, column.name.column))
            if kin is not None:
                found[kin.name] = found.get(kin.name, frozenset()) | own
    return found


def _reached(oid: int, links: Mapping[int, set[int]]) -> set[int]:
    found, todo = {oid}, [oid]
    while todo:
        for other in links.get(todo.pop(), set()) - found:
            found.add(other)
            todo.append(other)
    return found
