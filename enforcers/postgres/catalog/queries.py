"""The questions that make a catalog snapshot, in SQL that no search_path can bend.

Every name is schema-qualified, every operator is written OPERATOR(pg_catalog.…), nothing uses IN, CASE x WHEN, or
JOIN USING (which look up `=` by search_path). Each answers rows of text columns, so that a session's own connection
can be asked the same by the extended protocol. Definition hashes are taken over the fields of a row, never over
pg_get_*def (which prints relative to search_path); the printed forms serve expansion only. Printing locks the
relations printed, so what another session holds for itself alone (ALTER TABLE, TRUNCATE …) isn't printed now: UNPRINTED
stands there, which no parser accepts, so that whatever needs it can't be described until it is read again.
Temporary objects of other sessions are left out; on the catalog connection there are none of its own.
Servers of 14 and newer are asked; a version is server_version_num (140024), and says which columns there are.
"""

from __future__ import annotations

from functools import cache

OLDEST_SERVER = 140000
FIRST_USER_OID = 16384  # FirstNormalObjectId: everything below was made by initdb


def _hash(*fields: str) -> str:
    quoted = ",".join(fields)
    form = " ".join(["%L"] * len(fields))
    digest = f"pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.format('{form}',{quoted}),'UTF8'))"
    return f"pg_catalog.encode({digest},'hex')"


def _text(*fields: str) -> str:
    return ",".join(f"{field}::pg_catalog.text" for field in fields)


_NOT_FOREIGN_TEMP = (
    "(c.relpersistence OPERATOR(pg_catalog.<>) 't'::pg_catalog.\"char\""
    " OR c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
)
UNPRINTED = "(being changed by another transaction"
# Relations that another session locks, or waits to lock, so that not even reading them is let through.
_LOCKED = (
    "ARRAY(SELECT w.relation FROM pg_catalog.pg_locks w WHERE w.relation IS NOT NULL"
    " AND w.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock'::pg_catalog.text"
    " AND w.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"
    " AND w.database OPERATOR(pg_catalog.=) (SELECT b.oid FROM pg_catalog.pg_database b"
    " WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))"
)


def _printed(printed: str, of: str, relation: str) -> str:
    """What `printed` prints of the column `of`, which locks `relation`."""
    return (
        f"(CASE WHEN {of} IS NULL THEN NULL WHEN {relation} OPERATOR(pg_catalog.<>) ALL ({_LOCKED})"
        f" THEN {printed} ELSE '{UNPRINTED}' END)::pg_catalog.text"
    )


def _expression(of: str, relation: str) -> str:
    return _printed(f"pg_catalog.pg_get_expr({of},{relation})", of, relation)


def _depending(printed: str, catalog: str, oid: str) -> str:
    """What `printed` prints of the object, which locks every relation that it depends on."""
    return (
        f"(CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend u"
        f" WHERE u.classid OPERATOR(pg_catalog.=) 'pg_catalog.{catalog}'::pg_catalog.regclass"
        f" AND u.objid OPERATOR(pg_catalog.=) {oid}"
        f" AND u.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
        f" AND u.refobjid OPERATOR(pg_catalog.=) ANY ({_LOCKED})) THEN '{UNPRINTED}' ELSE {printed} END)"
    )


_JOIN_CLASS = "JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) "


def _of_class(row: str) -> str:
    """Rows of pg_description and pg_seclabel that are about a user's relation or its columns."""
    return (
        f"{row}.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid"
        f" AND {row}.objoid OPERATOR(pg_catalog.>=) {FIRST_USER_OID}::pg_catalog.oid"
    )


FUNCTION_HASH = _hash(
    "p.prosrc",
    "p.probin",
    "p.prosqlbody",
    "p.proconfig",
    "p.prosecdef",
    "p.proowner",
    "p.provolatile",
    "p.prolang",
    "p.proleakproof",
    "p.proisstrict",
    "p.proargtypes",
    "p.proargdefaults",
    "p.prorettype",
    "p.prosupport",
)
RULE_HASH = _hash("r.ev_action", "r.ev_qual", "r.ev_type", "r.is_instead", "r.ev_enabled")
RELATION_HASH = _hash(
    "c.relname",
    "c.relnamespace",
    "c.relkind",
    "c.relpersistence",
    "c.relrowsecurity",
    "c.relforcerowsecurity",
    "c.relowner",
    "c.relispartition",
)
COLUMN_HASH = _hash("a.attname", "a.atttypid", "a.attgenerated", "a.attidentity")
TRIGGER_HASH = _hash("t.tgfoid", "t.tgtype", "t.tgenabled", "t.tgqual", "t.tgargs", "t.tgattr")
DEFAULT_HASH = _hash("d.adbin", "d.adnum")
# The index's own number is in it, so that two indexes never hash alike.
INDEX_HASH = _hash("x.indexrelid", "x.indexprs", "x.indpred")
POLICY_HASH = _hash("y.polname", "y.polcmd", "y.polpermissive", "y.polroles", "y.polqual", "y.polwithcheck")
# The columns by which a row is found at most once, in any snapshot and by the types' own `=`; NULL without such a key.
KEY = (
    "(CASE WHEN x.indisunique AND x.indimmediate AND x.indisvalid AND x.indisready AND x.indislive"
    " AND x.indexprs IS NULL AND x.indpred IS NULL"
    " AND NOT EXISTS (SELECT FROM pg_catalog.unnest(x.indclass::pg_catalog.oid[]) AS u(class)"
    " LEFT JOIN pg_catalog.pg_opclass l ON l.oid OPERATOR(pg_catalog.=) u.class"
    " WHERE l.opcdefault IS NOT TRUE OR u.class OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)"  # a class of the user's
    " THEN (SELECT pg_catalog.string_agg(k.attnum::pg_catalog.text, ' '::pg_catalog.text)"
    " FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(attnum, place)"
    " WHERE k.place OPERATOR(pg_catalog.<=) x.indnkeyatts::pg_catalog.int8) END)"
)

# Not those that stand for a foreign key or a deferred unique constraint. Until 14 a partition's copy of its parent's
# trigger is marked internal as well, and runs all the same.
SHOWN_TRIGGER = (
    "(NOT t.tgisinternal OR t.tgconstraint OPERATOR(pg_catalog.=) 0::pg_catalog.oid"
    f" OR t.tgfoid OPERATOR(pg_catalog.>=) {FIRST_USER_OID}::pg_catalog.oid)"
)


@cache
def constraint_hash(version: int) -> str:
    fields = ["k.contype", "k.conbin", "k.conkey", "k.confrelid", "k.confkey", "k.confupdtype", "k.confdeltype"]
    if version >= 150000:
        fields.append("k.confdelsetcols")
    if version >= 180000:
        fields.extend(["k.conenforced", "k.conperiod"])
    return _hash(*fields)


# What is asked only of servers that have it, in place of NULL.
_SET_COLUMNS = (150000, "k.confdelsetcols::pg_catalog.text")  # ON DELETE SET NULL (columns)
_ENFORCED = (180000, "k.conenforced::pg_catalog.text")


def _since(version: int, column: tuple[int, str]) -> str:
    return column[1] if version >= column[0] else "NULL::pg_catalog.text"


# name -> (select list, from clause, oid that says built-in or not, extra condition)
_PARTS: dict[str, tuple[str, str, str, str]] = {
    "namespaces": (_text("n.oid", "n.nspname"), "pg_catalog.pg_namespace n", "", ""),
    "relations": (
        _text(
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
        "c.oid",
        f"{_NOT_FOREIGN_TEMP} AND c.relkind OPERATOR(pg_catalog.<>) 't'::pg_catalog.\"char\"",
    ),
    "columns": (
        _text("a.attrelid", "a.attnum", "a.attname", "a.atttypid", "a.attgenerated") + f",{COLUMN_HASH}",
        f"pg_catalog.pg_attribute a {_JOIN_CLASS}a.attrelid",
        "c.oid",
        f"{_NOT_FOREIGN_TEMP} AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"
        " AND c.relkind OPERATOR(pg_catalog.<>) ALL ('{t,i,I}'::pg_catalog.\"char\"[])",
    ),
    "inherits": (
        _text("i.inhrelid", "i.inhparent"),
        f"pg_catalog.pg_inherits i {_JOIN_CLASS}i.inhrelid",
        "c.oid",
        f"{_NOT_FOREIGN_TEMP} AND c.relkind OPERATOR(pg_catalog.<>) ALL ('{{i,I}}'::pg_catalog.\"char\"[])",
    ),
    "partition_keys": (
        _text("b.partrelid", "b.partattrs"),
        f"pg_catalog.pg_partitioned_table b {_JOIN_CLASS}b.partrelid",
        "c.oid",
        _NOT_FOREIGN_TEMP,
    ),
    "rules": (
        _text("r.oid", "r.ev_class", "r.rulename", "r.ev_type", "r.is_instead", "r.ev_enabled")
        + f",{RULE_HASH},"
        + _depending(
            "(CASE WHEN r.rulename OPERATOR(pg_catalog.=) '_RETURN'::pg_catalog.name"
            " THEN pg_catalog.pg_get_viewdef(r.ev_class) ELSE pg_catalog.pg_get_ruledef(r.oid) END)",
            "pg_rewrite",
            "r.oid",
        )
        + "::pg_catalog.text",
        f"pg_catalog.pg_rewrite r {_JOIN_CLASS}r.ev_class",
        "c.oid",
        _NOT_FOREIGN_TEMP,
    ),
    "constraints": (
        _text(
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
        + ",{constraint_hash},{checked},{set_columns},{enforced}",
        "pg_catalog.pg_constraint k LEFT " + _JOIN_CLASS + "k.conrelid",
        "k.oid",
        f"(c.oid IS NULL OR {_NOT_FOREIGN_TEMP})"
        " AND k.contype OPERATOR(pg_catalog.=) ANY ('{f,c,x}'::pg_catalog.\"char\"[])",
    ),
    "defaults": (
        _text("d.adrelid", "d.adnum") + f",{DEFAULT_HASH}," + _expression("d.adbin", "d.adrelid"),
        f"pg_catalog.pg_attrdef d {_JOIN_CLASS}d.adrelid",
        "c.oid",
        _NOT_FOREIGN_TEMP,
    ),
    "indexes": (
        _text("x.indexrelid", "x.indrelid")
        + f",{_expression('x.indexprs', 'x.indrelid')},{_expression('x.indpred', 'x.indrelid')},{INDEX_HASH},{KEY},"
        + _text("(x.indisunique OR x.indisexclusion)", "x.indkey"),
        f"pg_catalog.pg_index x {_JOIN_CLASS}x.indrelid",
        "c.oid",
        f"{_NOT_FOREIGN_TEMP} AND c.relkind OPERATOR(pg_catalog.<>) 't'::pg_catalog.\"char\"",
    ),
    "triggers": (
        _text("t.oid", "t.tgrelid", "t.tgname", "t.tgfoid", "t.tgtype", "t.tgenabled")
        + f",(t.tgqual IS NOT NULL)::pg_catalog.text,{TRIGGER_HASH}",
        f"pg_catalog.pg_trigger t {_JOIN_CLASS}t.tgrelid",
        "c.oid",
        f"{_NOT_FOREIGN_TEMP} AND {SHOWN_TRIGGER}",
    ),
    "policies": (
        _text("y.oid", "y.polrelid", "y.polname", "y.polcmd", "y.polroles")
        + f",{_expression('y.polqual', 'y.polrelid')},{_expression('y.polwithcheck', 'y.polrelid')},{POLICY_HASH}",
        f"pg_catalog.pg_policy y {_JOIN_CLASS}y.polrelid",
        "c.oid",
        _NOT_FOREIGN_TEMP,
    ),
    "functions": (
        _text(
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
        + _depending("pg_catalog.pg_get_function_sqlbody(p.oid)", "pg_proc", "p.oid")
        + " END)"
        " WHEN l.lanname OPERATOR(pg_catalog.=) 'internal'::pg_catalog.name THEN p.prosrc"
        " ELSE '' END)::pg_catalog.text,pg_catalog.pg_get_expr(p.proargdefaults,0::pg_catalog.oid)::pg_catalog.text",
        "pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang",
        "p.oid",
        "",
    ),
    "aggregates": (
        _text(
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
        "g.aggfnoid::pg_catalog.oid",
        "",
    ),
    "operators": (
        _text("o.oid", "o.oprname", "o.oprnamespace", "o.oprleft", "o.oprright", "o.oprcode::pg_catalog.oid"),
        "pg_catalog.pg_operator o",
        "o.oid",
        "",
    ),
    "casts": (
        _text("q.oid", "q.castsource", "q.casttarget", "q.castfunc", "q.castcontext", "q.castmethod"),
        "pg_catalog.pg_cast q",
        "q.oid",
        "",
    ),
    "types": (
        _text(
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
        "pg_catalog.pg_type e",
        "e.oid",
        "",
    ),
    # Of columns and of whole relations (objsubid 0), and only what may hold a label (labels.py).
    "comments": (
        _text("d.objoid", "d.objsubid", "d.description"),
        f"pg_catalog.pg_description d {_JOIN_CLASS}d.objoid",
        "c.oid",
        f"{_NOT_FOREIGN_TEMP} AND {_of_class('d')}"
        " AND d.description OPERATOR(pg_catalog.~~) '%twokey:%'::pg_catalog.text",
    ),
    "security_labels": (
        _text("s.objoid", "s.objsubid", "s.provider", "s.label"),
        f"pg_catalog.pg_seclabel s {_JOIN_CLASS}s.objoid",
        "c.oid",
        f"{_NOT_FOREIGN_TEMP} AND {_of_class('s')}"
        " AND (s.provider OPERATOR(pg_catalog.=) 'twokey'::pg_catalog.text"
        " OR s.label OPERATOR(pg_catalog.~~) '%twokey:%'::pg_catalog.text)",
    ),
    "roles": (_text("s.oid", "s.rolname"), "pg_catalog.pg_roles s", "", ""),
    "members": (_text("m.roleid", "m.member"), "pg_catalog.pg_auth_members m", "", ""),
    "event_triggers": (
        _text("v.oid", "v.evtname", "v.evtevent", "v.evtfoid", "v.evtenabled"),
        "pg_catalog.pg_event_trigger v",
        "v.oid",
        "",
    ),
}

# What a server's own objects need: not their rules, defaults and the like, which no user can reach by writing.
_BUILTIN = ("relations", "columns", "functions", "aggregates", "operators", "casts", "types", "constraints")


def _query(name: str, version: int, *, builtin: bool) -> str:
    columns, source, oid, condition = _PARTS[name]
    if name == "constraints":
        columns = columns.format(
            constraint_hash=constraint_hash(version),
            checked=_expression("k.conbin", "k.conrelid"),
            set_columns=_since(version, _SET_COLUMNS),
            enforced=_since(version, _ENFORCED),
        )
    conditions = [condition] if condition else []
    if oid:
        conditions.append(f"{oid} OPERATOR(pg_catalog.{'<' if builtin else '>='}) {FIRST_USER_OID}::pg_catalog.oid")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {columns} FROM {source}{where} ORDER BY 1, 2"  # noqa: S608 - constants of this module only


@cache
def catalog_queries(version: int) -> tuple[tuple[str, str], ...]:
    """(name, SQL) of everything that users made."""
    return tuple((name, _query(name, version, builtin=False)) for name in _PARTS)


@cache
def builtin_queries(version: int) -> tuple[tuple[str, str], ...]:
    """(name, SQL) of what initdb made."""
    return tuple((name, _query(name, version, builtin=True)) for name in _BUILTIN)


SERVER_QUERY = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_database()::pg_catalog.text"
# Another answer: another server, another database of that name, or a server that was started anew.
IDENTITY_QUERY = (
    "SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text, b.oid::pg_catalog.text,"
    " pg_catalog.current_setting('server_version'), current_user::pg_catalog.text"
    " FROM pg_catalog.pg_database b WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
)
KEYWORDS_QUERY = "SELECT k.word::pg_catalog.text, k.catcode::pg_catalog.text FROM pg_catalog.pg_get_keywords() k"


def _mark(table: str, row: str, *, join: str = "", where: str = "") -> str:
    item = f"pg_catalog.concat({row}.xmin::pg_catalog.text,{row}.ctid::pg_catalog.text)"
    return (
        f"SELECT '{table}'::pg_catalog.text, pg_catalog.count(*)::pg_catalog.text,"  # noqa: S608 - constants only
        f" pg_catalog.sum(pg_catalog.hashtext({item})::pg_catalog.int8)::pg_catalog.text"
        f" FROM pg_catalog.{table} {row}{join}{f' WHERE {where}' if where else ''}"
    )


_PERSISTENT = "c.relpersistence OPERATOR(pg_catalog.<>) 't'::pg_catalog.\"char\""
_NAMESPACE = " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) "
_NOT_TEMP_NAMESPACE = "n.nspname OPERATOR(pg_catalog.!~~) 'pg\\_%temp\\_%'::pg_catalog.text"

# One cheap question whose answer changes when any of the above may have. A detector only: nothing is proved by it.
FINGERPRINT_QUERY = " UNION ALL ".join(
    [
        _mark("pg_namespace", "n", where=_NOT_TEMP_NAMESPACE),
        _mark("pg_class", "c", where=_PERSISTENT),
        *(
            _mark(table, row, join=f" {_JOIN_CLASS}{column}", where=_PERSISTENT)
            for table, row, column in (
                ("pg_attribute", "a", "a.attrelid"),
                ("pg_inherits", "i", "i.inhrelid"),
                ("pg_rewrite", "r", "r.ev_class"),
                ("pg_attrdef", "d", "d.adrelid"),
                ("pg_index", "x", "x.indexrelid"),
                ("pg_trigger", "t", "t.tgrelid"),
                ("pg_policy", "y", "y.polrelid"),
            )
        ),
        *(
            _mark(table, row, join=f" {_JOIN_CLASS}{row}.objoid", where=f"{_PERSISTENT} AND {_of_class(row)}")
            for table, row in (("pg_description", "d"), ("pg_seclabel", "s"))
        ),
        _mark(
            "pg_constraint",
            "k",
            join=" LEFT " + _JOIN_CLASS + "k.conrelid",
            where=f"(c.oid IS NULL OR {_PERSISTENT})",
        ),
        _mark("pg_type", "e", join=_NAMESPACE + "e.typnamespace", where=_NOT_TEMP_NAMESPACE),
        *(
            _mark(table, "o")
            for table in (
                "pg_proc",
                "pg_aggregate",
                "pg_operator",
                "pg_cast",
                "pg_event_trigger",
                "pg_language",
                "pg_auth_members",
            )
        ),
    ]
)
