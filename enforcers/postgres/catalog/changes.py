"""The questions that say what has changed since a snapshot was read: cheap, and exact.

A row that is new or was written again has an xmin that the snapshot could not see, so one at or above the horizon, the
oldest transaction that was still running then: `marks` names those. A row that is gone shows in the count alone: as
everything new is read, a count that is what we hold means that nothing else is gone. Rows below the horizon that come
again with every look, because some transaction goes on for hours, are told apart by where they are (ctid).
The age of xids counts modulo 2^32, so a horizon must not be older than half of that (MAX_AGE leaves a margin).
"""

from __future__ import annotations

from functools import cache

from enforcers.postgres.catalog.parts import PARTS, Part
from enforcers.postgres.catalog.queries import FIRST_USER_OID

MAX_AGE = 1_000_000_000
HORIZON = "horizon"  # the name of the row that says the next horizon, and the age of the one that was given
_HORIZON = "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.xid::pg_catalog.text"
HORIZON_QUERY = f"SELECT {_HORIZON}"
_GIVEN = "pg_catalog.age(($1::pg_catalog.text)::pg_catalog.xid)"


def _marks(name: str, part: Part) -> str:
    """Name; users' rows; which of them are new; the server's own rows; which of those are new.

    New rows are written `key xmin ctid`, with semicolons between them. The server's own are compared with nothing but
    themselves at another time, so they are counted without the part's conditions, and without what those join.
    """
    new, place = "true", part.mark
    if not place:
        new = f"pg_catalog.age({part.row}.xmin) OPERATOR(pg_catalog.<=) (SELECT {_GIVEN})"
        place = f"{part.row}.xmin::pg_catalog.text,{part.row}.ctid::pg_catalog.text"
    mark = (
        f"pg_catalog.string_agg(pg_catalog.concat_ws(' '::pg_catalog.text,({part.key})::pg_catalog.text,"
        f"{place}),';'::pg_catalog.text)"
    )
    own = f"{part.oid} OPERATOR(pg_catalog.{{}}) {FIRST_USER_OID}::pg_catalog.oid"
    where = [condition for condition in (part.condition, own.format(">=") if part.oid else "") if condition]
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    alive = f" FILTER (WHERE {part.alive})" if part.alive else ""
    users = (
        f"SELECT pg_catalog.count(*){alive}::pg_catalog.text,"  # noqa: S608 - constants
        f"{mark} FILTER (WHERE {f'({new}) OR {part.temporary}' if part.temporary else new})"
        f" FROM {part.source}{condition}"
    )
    servers = "SELECT '0'::pg_catalog.text,NULL::pg_catalog.text"
    if part.builtin:
        servers = (
            f"SELECT pg_catalog.count(*)::pg_catalog.text,{mark} FILTER (WHERE {new})"  # noqa: S608 - constants
            f" FROM {part.table} WHERE {own.format('<')}"
        )
    return f"SELECT '{name}'::pg_catalog.text,v.n,v.m,w.n,w.m FROM ({users}) v(n,m),({servers}) w(n,m)"  # noqa: S608 - constants


@cache
def marks_query() -> str:
    """$1: the horizon, a text. A row for each part, and one named HORIZON."""
    horizon = (
        f"SELECT '{HORIZON}'::pg_catalog.text,{_HORIZON},{_GIVEN}::pg_catalog.text,"
        "NULL::pg_catalog.text,NULL::pg_catalog.text"
    )
    return " UNION ALL ".join([*(_marks(name, part) for name, part in PARTS.items()), horizon])


@cache
def sizes_query(name: str) -> str:
    """How many rows each group of users' rows has, as `key count` with semicolons between them."""
    part = PARTS[name]
    conditions = [condition for condition in (part.condition, part.alive) if condition]
    if part.oid:
        conditions.append(f"{part.oid} OPERATOR(pg_catalog.>=) {FIRST_USER_OID}::pg_catalog.oid")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        "SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' '::pg_catalog.text,w.k::pg_catalog.text,"  # noqa: S608 - constants
        "w.n::pg_catalog.text),';'::pg_catalog.text)"
        f" FROM (SELECT {part.key} AS k, pg_catalog.count(*) AS n FROM {part.source}{where} GROUP BY 1) w"
    )


def _dependents(name: str, key: str, source: str, catalog: str, oid: str) -> str:
    return (
        f"SELECT '{name}'::pg_catalog.text, ({key})::pg_catalog.text FROM used u JOIN {source}"  # noqa: S608 - constants
        f" ON {oid} OPERATOR(pg_catalog.=) u.objid"
        f" WHERE u.classid OPERATOR(pg_catalog.=) 'pg_catalog.{catalog}'::pg_catalog.regclass"
    )


# What is printed with the columns of the relations in $1 (a text of the form {1,2}), as (part, key). Through their row
# types too: a function that returns one, and what calls that.
DEPENDENTS_QUERY = (
    "WITH RECURSIVE used(classid, objid) AS (SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, g.oid"  # noqa: S608 - constants
    " FROM pg_catalog.unnest(($1::pg_catalog.text)::pg_catalog.oid[]) g(oid)"
    " UNION SELECT p.classid, p.objid FROM used u JOIN pg_catalog.pg_depend p"
    " ON p.refclassid OPERATOR(pg_catalog.=) u.classid AND p.refobjid OPERATOR(pg_catalog.=) u.objid) "
    + " UNION ".join(
        [
            _dependents("rules", "r.ev_class", "pg_catalog.pg_rewrite r", "pg_rewrite", "r.oid"),
            _dependents("constraints", "k.conrelid", "pg_catalog.pg_constraint k", "pg_constraint", "k.oid")
            + " AND k.conrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid",
            _dependents("domain_constraints", "k.contypid", "pg_catalog.pg_constraint k", "pg_constraint", "k.oid")
            + " AND k.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid",
            _dependents("defaults", "d.adrelid", "pg_catalog.pg_attrdef d", "pg_attrdef", "d.oid"),
            _dependents("indexes", "x.indrelid", "pg_catalog.pg_index x", "pg_class", "x.indexrelid"),
            _dependents("policies", "y.polrelid", "pg_catalog.pg_policy y", "pg_policy", "y.oid"),
            _dependents("functions", "p.oid", "pg_catalog.pg_proc p", "pg_proc", "p.oid"),
        ]
    )
)
