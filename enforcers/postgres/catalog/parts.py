"""The parts that a snapshot is read in: which rows, what of each, and by what they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from enforcers.postgres.catalog.queries import (
    COLUMN_HASH,
    DEFAULT_HASH,
    ENFORCED,
    FIRST_USER_OID,
    FOREIGN_HASH,
    FUNCTION_HASH,
    INDEX_HASH,
    JOIN_CLASS,
    KEY,
    NOT_FOREIGN_TEMP,
    POLICY_HASH,
    RELATION_HASH,
    RULE_HASH,
    SERVER_HASH,
    SET_COLUMNS,
    SHOWN_TRIGGER,
    TRIGGER_HASH,
    WRAPPER_HASH,
    constraint_hash,
    depending,
    expression,
    of_class,
    since,
    text,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of row of a snapshot, all columns as text.

    Rows are kept, and read again, in groups of those that have the same key, the column at `place` of each.
    """

    columns: str
    source: str  # FROM
    row: str  # alias of the table whose rows they are: a changed row has a new xmin
    key: str  # an oid, of an object or of the one that it belongs to
    place: int = 0
    oid: str = ""  # tells the server's own from users'; where empty all count as users'
    condition: str = ""
    alive: str = ""  # what does not meet this belongs to no snapshot, and still shows that something changed
    temporary: str = ""  # of the session's own temporary objects, which nobody else sees
    builtin: bool = False  # the server's own are read as well
    mark: str = ""  # of a view, whose rows have no xmin: what tells that one has changed

    @property
    def table(self) -> str:
        """The one whose rows they are, without what is joined to it."""
        return self.source.partition(" JOIN ")[0]


def _mine(namespace: str) -> str:
    return f"{namespace} OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()"


_NAMESPACE_SEEN = f"(n.nspname OPERATOR(pg_catalog.!~~) 'pg\\_%temp\\_%'::pg_catalog.text OR {_mine('n.oid')})"
_TEMPORARY = _mine("c.relnamespace")
_NOT_TOAST = "c.relkind OPERATOR(pg_catalog.<>) 't'::pg_catalog.\"char\""
_CONSTRAINT = text(
    "k.oid",
    "k.conrelid",
    "k.contypid",
    "k.contype",
    "k.confrelid",
    "k.confupdtype",
    "k.confdeltype",
    "k.conkey",
    "k.confkey",
)
_SHOWN_CONSTRAINT = "k.contype OPERATOR(pg_catalog.=) ANY ('{f,c,x}'::pg_catalog.\"char\"[])"

PARTS: dict[str, Part] = {
    "namespaces": Part(
        text("n.oid", "n.nspname"),
        "pg_catalog.pg_namespace n",
        row="n",
        key="n.oid",
        condition=_NAMESPACE_SEEN,
        temporary=_mine("n.oid"),
    ),
    "relations": Part(
        text(
            "c.oid",
            "c.relname",
            "c.relnamespace",
            "c.relkind",
            "c.relpersistence",
            "c.relrowsecurity",
            "c.relforcerowsecurity",
            "c.relowner",
            "c.reltype",
        )
        + f",{RELATION_HASH}",
        "pg_catalog.pg_class c",
        row="c",
        key="c.oid",
        oid="c.oid",
        condition=f"{NOT_FOREIGN_TEMP} AND {_NOT_TOAST}",
        temporary=_TEMPORARY,
        builtin=True,
    ),
    "columns": Part(
        text("a.attrelid", "a.attnum", "a.attname", "a.atttypid", "a.attgenerated", "a.attnotnull", "a.atttypmod")
        + f",{text('a.attcollation')},{COLUMN_HASH}",
        f"pg_catalog.pg_attribute a {JOIN_CLASS}a.attrelid",
        row="a",
        key="a.attrelid",
        oid="a.attrelid",
        condition=f"{NOT_FOREIGN_TEMP} AND a.attnum OPERATOR(pg_catalog.>) 0"
        " AND c.relkind OPERATOR(pg_catalog.<>) ALL ('{t,i,I}'::pg_catalog.\"char\"[])",
        alive="NOT a.attisdropped",
        temporary=_TEMPORARY,
        builtin=True,
    ),
    "inherits": Part(
        text("i.inhrelid", "i.inhparent"),
        f"pg_catalog.pg_inherits i {JOIN_CLASS}i.inhrelid",
        row="i",
        key="i.inhrelid",
        oid="i.inhrelid",
        condition=f"{NOT_FOREIGN_TEMP} AND c.relkind OPERATOR(pg_catalog.<>) ALL ('{{i,I}}'::pg_catalog.\"char\"[])",
        temporary=_TEMPORARY,
    ),
    "partition_keys": Part(
        text("b.partrelid", "b.partattrs"),
        f"pg_catalog.pg_partitioned_table b {JOIN_CLASS}b.partrelid",
        row="b",
        key="b.partrelid",
        oid="b.partrelid",
        condition=NOT_FOREIGN_TEMP,
        temporary=_TEMPORARY,
    ),
    "foreign_tables": Part(
        text("f.ftrelid", "f.ftserver") + f",{FOREIGN_HASH}",
        f"pg_catalog.pg_foreign_table f {JOIN_CLASS}f.ftrelid",
        row="f",
        key="f.ftrelid",
        oid="f.ftrelid",
        condition=NOT_FOREIGN_TEMP,
        temporary=_TEMPORARY,
    ),
    "rules": Part(
        text("r.oid", "r.ev_class", "r.rulename", "r.ev_type", "r.is_instead", "r.ev_enabled")
        + f",{RULE_HASH},"
        + depending(
            "(CASE WHEN r.rulename OPERATOR(pg_catalog.=) '_RETURN'::pg_catalog.name"
            " THEN pg_catalog.pg_get_viewdef(r.ev_class) ELSE pg_catalog.pg_get_ruledef(r.oid) END)",
            "pg_rewrite",
            "r.oid",
        )
        + "::pg_catalog.text",
        f"pg_catalog.pg_rewrite r {JOIN_CLASS}r.ev_class",
        row="r",
        key="r.ev_class",
        place=1,
        oid="r.ev_class",
        condition=NOT_FOREIGN_TEMP,
        temporary=_TEMPORARY,
    ),
    "constraints": Part(
        _CONSTRAINT + ",{constraint_hash},{checked},{set_columns},{enforced}",
        f"pg_catalog.pg_constraint k {JOIN_CLASS}k.conrelid",
        row="k",
        key="k.conrelid",
        place=1,
        oid="k.oid",
        condition=f"{NOT_FOREIGN_TEMP} AND {_SHOWN_CONSTRAINT}",
        temporary=_TEMPORARY,
        builtin=True,
    ),
    "domain_constraints": Part(
        _CONSTRAINT + ",{constraint_hash},{checked}",
        "pg_catalog.pg_constraint k",
        row="k",
        key="k.contypid",
        place=2,
        oid="k.oid",
        condition=f"k.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND {_SHOWN_CONSTRAINT}",
        temporary=_mine("k.connamespace"),
        builtin=True,
    ),
    "defaults": Part(
        text("d.adrelid", "d.adnum") + f",{DEFAULT_HASH}," + expression("d.adbin", "d.adrelid"),
        f"pg_catalog.pg_attrdef d {JOIN_CLASS}d.adrelid",
        row="d",
        key="d.adrelid",
        oid="d.adrelid",
        condition=NOT_FOREIGN_TEMP,
        temporary=_TEMPORARY,
    ),
    "indexes": Part(
        text("x.indexrelid", "x.indrelid")
        + f",{expression('x.indexprs', 'x.indrelid')},{expression('x.indpred', 'x.indrelid')},{INDEX_HASH},{KEY},"
        + text("(x.indisunique OR x.indisexclusion)", "x.indkey"),
        f"pg_catalog.pg_index x {JOIN_CLASS}x.indrelid",
        row="x",
        key="x.indrelid",
        place=1,
        oid="x.indrelid",
        condition=f"{NOT_FOREIGN_TEMP} AND {_NOT_TOAST}",
        temporary=_TEMPORARY,
    ),
    "triggers": Part(
        text("t.oid", "t.tgrelid", "t.tgname", "t.tgfoid", "t.tgtype", "t.tgenabled")
        + f",(t.tgqual IS NOT NULL)::pg_catalog.text,{TRIGGER_HASH}",
        f"pg_catalog.pg_trigger t {JOIN_CLASS}t.tgrelid",
        row="t",
        key="t.tgrelid",
        place=1,
        oid="t.tgrelid",
        condition=f"{NOT_FOREIGN_TEMP} AND {SHOWN_TRIGGER}",
        temporary=_TEMPORARY,
    ),
    "policies": Part(
        text("y.oid", "y.polrelid", "y.polname", "y.polcmd", "y.polroles")
        + f",{expression('y.polqual', 'y.polrelid')},{expression('y.polwithcheck', 'y.polrelid')},{POLICY_HASH}",
        f"pg_catalog.pg_policy y {JOIN_CLASS}y.polrelid",
        row="y",
        key="y.polrelid",
        place=1,
        oid="y.polrelid",
        condition=NOT_FOREIGN_TEMP,
        temporary=_TEMPORARY,
    ),
    # Of columns and of whole relations (objsubid 0), and only what may hold a label (labels.py).
    "comments": Part(
        text("d.objoid", "d.objsubid", "d.description"),
        f"pg_catalog.pg_description d {JOIN_CLASS}d.objoid",
        row="d",
        key="d.objoid",
        oid="d.objoid",
        condition=f"{NOT_FOREIGN_TEMP} AND {of_class('d')}"
        " AND d.description OPERATOR(pg_catalog.~~) '%twokey:%'::pg_catalog.text",
        temporary=_TEMPORARY,
    ),
    "security_labels": Part(
        text("s.objoid", "s.objsubid", "s.provider", "s.label"),
        f"pg_catalog.pg_seclabel s {JOIN_CLASS}s.objoid",
        row="s",
        key="s.objoid",
        oid="s.objoid",
        condition=f"{NOT_FOREIGN_TEMP} AND {of_class('s')}"
        " AND (s.provider OPERATOR(pg_catalog.=) 'twokey'::pg_catalog.text"
        " OR s.label OPERATOR(pg_catalog.~~) '%twokey:%'::pg_catalog.text)",
        temporary=_TEMPORARY,
    ),
    "functions": Part(
        text(
            "p.oid",
            "p.proname",
            "p.pronamespace",
            "p.pronargs",
            "p.pronargdefaults",
            "p.provariadic",
            "p.prokind",
            "p.provolatile",
            "p.prosecdef",
            "p.proleakproof",
            "l.lanname",
            "p.proretset",
            "p.prorettype",
            "p.proargtypes",
            "p.proargnames",
            "p.proconfig",
        )
        + f",{FUNCTION_HASH},(CASE WHEN l.lanname OPERATOR(pg_catalog.=) 'sql'::pg_catalog.name"
        " THEN (CASE WHEN p.prosqlbody IS NULL THEN p.prosrc ELSE "
        + depending("pg_catalog.pg_get_function_sqlbody(p.oid)", "pg_proc", "p.oid")
        + " END)"
        " WHEN l.lanname OPERATOR(pg_catalog.=) 'internal'::pg_catalog.name THEN p.prosrc"
        " ELSE '' END)::pg_catalog.text,pg_catalog.pg_get_expr(p.proargdefaults,0::pg_catalog.oid)::pg_catalog.text",
        "pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang",
        row="p",
        key="p.oid",
        oid="p.oid",
        temporary=_mine("p.pronamespace"),
        builtin=True,
    ),
    "aggregates": Part(
        text(
            "g.aggfnoid::pg_catalog.oid",
            "g.aggtransfn::pg_catalog.oid",
            "g.aggfinalfn::pg_catalog.oid",
            "g.aggcombinefn::pg_catalog.oid",
            "g.aggserialfn::pg_catalog.oid",
            "g.aggdeserialfn::pg_catalog.oid",
            "g.aggmtransfn::pg_catalog.oid",
            "g.aggminvtransfn::pg_catalog.oid",
            "g.aggmfinalfn::pg_catalog.oid",
        ),
        "pg_catalog.pg_aggregate g",
        row="g",
        key="g.aggfnoid::pg_catalog.oid",
        oid="g.aggfnoid::pg_catalog.oid",
        builtin=True,
    ),
    "operators": Part(
        text("o.oid", "o.oprname", "o.oprnamespace", "o.oprleft", "o.oprright", "o.oprcode::pg_catalog.oid"),
        "pg_catalog.pg_operator o",
        row="o",
        key="o.oid",
        oid="o.oid",
        temporary=_mine("o.oprnamespace"),
        builtin=True,
    ),
    "casts": Part(
        text("q.oid", "q.castsource", "q.casttarget", "q.castfunc", "q.castcontext", "q.castmethod"),
        "pg_catalog.pg_cast q",
        row="q",
        key="q.oid",
        oid="q.oid",
        builtin=True,
    ),
    "types": Part(
        text(
            "e.oid",
            "e.typname",
            "e.typnamespace",
            "e.typtype",
            "e.typinput::pg_catalog.oid",
            "e.typoutput::pg_catalog.oid",
            "e.typreceive::pg_catalog.oid",
            "e.typsend::pg_catalog.oid",
            "e.typbasetype",
            "e.typrelid",
            "e.typelem",
        ),
        "pg_catalog.pg_type e JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.typnamespace",
        row="e",
        key="e.oid",
        oid="e.oid",
        condition=_NAMESPACE_SEEN,
        temporary=_mine("e.typnamespace"),
        builtin=True,
    ),
    "event_triggers": Part(
        text("v.oid", "v.evtname", "v.evtevent", "v.evtfoid", "v.evtenabled"),
        "pg_catalog.pg_event_trigger v",
        row="v",
        key="v.oid",
        oid="v.oid",
    ),
    "servers": Part(
        text("s.oid", "s.srvname", "s.srvfdw") + f",{SERVER_HASH}",
        "pg_catalog.pg_foreign_server s",
        row="s",
        key="s.oid",
        oid="s.oid",
    ),
    "wrappers": Part(
        text("w.oid", "w.fdwname") + f",{WRAPPER_HASH}",
        "pg_catalog.pg_foreign_data_wrapper w",
        row="w",
        key="w.oid",
        oid="w.oid",
    ),
    "roles": Part(
        text("s.oid", "s.rolname"),
        "pg_catalog.pg_roles s",
        row="s",
        key="s.oid",
        mark="pg_catalog.md5(s.rolname::pg_catalog.text)",
    ),
    "members": Part(text("m.roleid", "m.member"), "pg_catalog.pg_auth_members m", row="m", key="m.member", place=1),
    # Nothing looks these up; but printed forms name them.
    "languages": Part(
        text("l.oid", "l.lanname"), "pg_catalog.pg_language l", row="l", key="l.oid", oid="l.oid", builtin=True
    ),
    "labels": Part(text("m.oid", "m.enumlabel"), "pg_catalog.pg_enum m", row="m", key="m.oid", oid="m.oid"),
    "collations": Part(
        text("z.oid", "z.collname", "z.collnamespace"), "pg_catalog.pg_collation z", row="z", key="z.oid", oid="z.oid"
    ),
    "configurations": Part(
        text("f.oid", "f.cfgname", "f.cfgnamespace"), "pg_catalog.pg_ts_config f", row="f", key="f.oid", oid="f.oid"
    ),
    "dictionaries": Part(
        text("y.oid", "y.dictname", "y.dictnamespace"), "pg_catalog.pg_ts_dict y", row="y", key="y.oid", oid="y.oid"
    ),
}
# A relation is what these parts say of it: when one of them has changed, all are read again.
RELATION_PARTS = (
    "relations",
    "columns",
    "inherits",
    "partition_keys",
    "foreign_tables",
    "rules",
    "constraints",
    "defaults",
    "indexes",
    "triggers",
    "policies",
    "comments",
    "security_labels",
)
# What is printed, with the names that it then has; and whose second and third columns such a name is made of.
PRINTED = ("rules", "constraints", "domain_constraints", "defaults", "indexes", "policies", "functions")
NAMED = (
    *("namespaces", "relations", "functions", "types", "operators"),
    *("languages", "labels", "collations", "configurations", "dictionaries"),
)
# What a server's own objects need: not their rules, defaults and the like, which no user can reach by writing.
_BUILTIN = tuple(name for name, part in PARTS.items() if part.builtin)


def select(name: str, version: int, *, builtin: bool = False, keyed: bool = False) -> str:
    """The question for a part. keyed: of the groups only whose keys are in $1, a text of the form {1,2}."""
    part = PARTS[name]
    columns = part.columns
    if name in {"constraints", "domain_constraints"}:
        columns = columns.format(
            constraint_hash=constraint_hash(version),
            checked=expression("k.conbin", "k.conrelid"),
            set_columns=since(version, SET_COLUMNS),
            enforced=since(version, ENFORCED),
        )
    conditions = [condition for condition in (part.condition, part.alive) if condition]
    if part.oid:
        conditions.append(
            f"{part.oid} OPERATOR(pg_catalog.{'<' if builtin else '>='}) {FIRST_USER_OID}::pg_catalog.oid"
        )
    if keyed:
        conditions.append(f"{part.key} OPERATOR(pg_catalog.=) ANY (($1::pg_catalog.text)::pg_catalog.oid[])")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {columns} FROM {part.source}{where} ORDER BY 1, 2"  # noqa: S608 - constants of this module only


@cache
def catalog_queries(version: int) -> tuple[tuple[str, str], ...]:
    """(name, SQL) of everything that users made."""
    return tuple((name, select(name, version)) for name in PARTS)


@cache
def keyed_queries(version: int) -> dict[str, str]:
    """By name the SQL that asks for some groups only."""
    return {name: select(name, version, keyed=True) for name in PARTS}


@cache
def builtin_queries(version: int) -> tuple[tuple[str, str], ...]:
    """(name, SQL) of what initdb made."""
    return tuple((name, select(name, version, builtin=True)) for name in _BUILTIN)
