"""`twokey doctor` about the classification of one target: what it names and isn't there, and what carries values on.

A statement's own lineage ends where code begins that nobody sees through: a trigger or rule on a table with classified
columns can copy them anywhere, an event trigger runs with every definition. All of those are listed, for a person to
read: one that a list leaves out is one that nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import asyncpg

from decision.cli import target_columns
from decision.cli.classification import Classification
from decision.cli.finding import Finding
from decision.cli.target_columns import MALFORMED, TargetColumn
from decision.cli.words import nearest
from decision.columns import ColumnName

_EQ = "OPERATOR(pg_catalog.=)"
_NAMED = "pg_catalog.format('%I.%I', n.nspname, c.relname)"
# Those of the tables in $1, and all others; what the server itself made (suppress_redundant_updates_trigger) is known.
TRIGGERS = f"""
SELECT {_NAMED}, t.tgname::pg_catalog.text, t.tgfoid::pg_catalog.regprocedure::pg_catalog.text,
       l.lanname::pg_catalog.text, c.oid {_EQ} ANY ($1::pg_catalog.oid[])
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid {_EQ} t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid {_EQ} c.relnamespace
JOIN pg_catalog.pg_proc p ON p.oid {_EQ} t.tgfoid
JOIN pg_catalog.pg_language l ON l.oid {_EQ} p.prolang
WHERE NOT t.tgisinternal AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'
  AND p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
ORDER BY 5 DESC, 1, 2
"""  # noqa: S608 - constants of this module only
RULES = f"""
SELECT {_NAMED}, r.rulename::pg_catalog.text
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_class c ON c.oid {_EQ} r.ev_class
JOIN pg_catalog.pg_namespace n ON n.oid {_EQ} c.relnamespace
WHERE c.oid {_EQ} ANY ($1::pg_catalog.oid[]) AND r.rulename OPERATOR(pg_catalog.<>) '_RETURN'::pg_catalog.name
  AND r.ev_enabled OPERATOR(pg_catalog.<>) 'D'
ORDER BY 1, 2
"""  # noqa: S608 - as above
EVENT_TRIGGERS = """
SELECT v.evtname::pg_catalog.text, v.evtevent::pg_catalog.text, v.evtfoid::pg_catalog.regprocedure::pg_catalog.text
FROM pg_catalog.pg_event_trigger v WHERE v.evtenabled OPERATOR(pg_catalog.<>) 'D' ORDER BY 1
"""
# Which columns each view's definition reads; attnum 0 stands for the whole row.
READS = f"""
SELECT DISTINCT r.ev_class::pg_catalog.int8, d.refobjid::pg_catalog.int8, d.refobjsubid
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_rewrite r ON r.oid {_EQ} d.objid
WHERE d.classid {_EQ} 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  AND d.refclassid {_EQ} 'pg_catalog.pg_class'::pg_catalog.regclass
  AND d.refobjid OPERATOR(pg_catalog.<>) r.ev_class AND r.rulename {_EQ} '_RETURN'::pg_catalog.name
"""  # noqa: S608 - as above


async def findings(link: asyncpg.Connection, name: str, file: Classification | None) -> list[Finding]:
    """name: whose findings they are. Raises reading.FAULTS."""
    columns = await target_columns.read(link)
    entries = {} if file is None else {column: entry.label for column, entry in file.entries.items()}
    found = list(missing(file, columns, name)) if file is not None else []
    found += _malformed(columns, name)
    labelled = target_columns.with_kin(entries, columns)
    if not labelled:
        return [*found, Finding("ok", name, "no column of the target is classified")]
    noted = sum(1 for column in columns if column.labels)
    found.append(
        Finding(
            "ok", name, f"{len(labelled)} columns are classified, {noted} of them by labels in the target's catalog"
        )
    )
    tables = sorted({column.oid for column in columns if column.name in labelled})
    found += await _blind(link, tables, name)
    reads = [(int(row[0]), int(row[1]), int(row[2])) for row in await link.fetch(READS)]
    return [*found, *derived(columns, labelled, reads, name)]


def missing(file: Classification, columns: Iterable[TargetColumn], name: str) -> Iterator[Finding]:
    """What the file names and the target doesn't have: masked roles are refused until that is right."""
    there = {str(column.name): column.name for column in columns}
    folded = {text.lower(): text for text in there}
    for column in file.entries:
        if str(column) in there:
            continue
        near = folded.get(str(column).lower()) or nearest(str(column), _neighbours(column, there.values()))
        fix = f"did you mean {near}? names are taken as they are written" if near else "correct it, or remove the line"
        problem = file.problem(column, "the target has no such column: statements of masked roles are refused", fix)
        yield Finding("problem", name, str(problem))


def _neighbours(column: ColumnName, there: Iterable[ColumnName]) -> list[str]:
    """Columns that could be meant: of the same table, or of the same name."""
    return [str(item) for item in there if item[:2] == column[:2] or item.column == column.column]


def _malformed(columns: Iterable[TargetColumn], name: str) -> Iterator[Finding]:
    for column in columns:
        if MALFORMED in column.labels:
            yield Finding(
                "warning",
                name,
                f"the comment or security label of {column.name} begins with `twokey:` and can't be read: it is masked",
                "write `twokey: label=email`",
            )


async def _blind(link: asyncpg.Connection, tables: list[int], name: str) -> list[Finding]:
    """Code that runs beside a write and can't be seen through."""
    what = "it can copy classified columns where nothing masks them"
    found = []
    for relation, trigger, function, language, holds in await link.fetch(TRIGGERS, tables):
        runs = f"trigger {trigger} of {relation} runs {function} ({language})"
        if holds:
            found.append(Finding("warning", name, f"{runs}: {what}", "read the function"))
        else:
            found.append(Finding("ok", name, f"{runs}: no column of that table is classified, what it reads may be"))
    found += [
        Finding("warning", name, f"rule {row[1]} of {row[0]} rewrites statements: {what}", "read the rule")
        for row in await link.fetch(RULES, tables)
    ]
    found += [
        Finding("warning", name, f"event trigger {row[0]} ({row[1]}) runs {row[2]} with definitions: {what}", "read it")
        for row in await link.fetch(EVENT_TRIGGERS)
    ]
    return found


def derived(
    columns: Iterable[TargetColumn],
    labelled: Mapping[ColumnName, frozenset[str]],
    reads: Iterable[tuple[int, int, int]],
    name: str,
) -> list[Finding]:
    """Views and materialised views whose definitions read classified columns, also by way of other views."""
    columns = list(columns)
    relations = {column.oid: column for column in columns}
    sources = {(column.oid, column.attnum): str(column.name) for column in columns if column.name in labelled}
    of: dict[int, set[str]] = {}
    reads = sorted(set(reads))
    grown = True
    while grown:
        grown = False
        for view, relation, attnum in reads:
            below = of.get(relation, set()) | {
                text for (oid, number), text in sources.items() if oid == relation and attnum in {0, number}
            }
            if below - of.get(view, set()):
                of[view] = of.get(view, set()) | below
                grown = True
    found = []
    for view, names in sorted(of.items(), key=lambda item: relations[item[0]].name if item[0] in relations else ""):
        if view not in relations:
            continue
        shown = relations[view].name
        text = ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        what = "keeps values of" if relations[view].kind == "m" else "reads"
        found.append(
            Finding("ok", name, f"{shown.schema}.{shown.relation} {what} {text}: masked by where its columns come from")
        )
    return found
