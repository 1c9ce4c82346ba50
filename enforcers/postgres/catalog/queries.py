"""What the questions for a catalog snapshot (parts.py) are made of, in SQL that no search_path can bend.

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


def text(*fields: str) -> str:
    return ",".join(f"{field}::pg_catalog.text" for field in fields)


NOT_FOREIGN_TEMP = (
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


def expression(of: str, relation: str) -> str:
    return _printed(f"pg_catalog.pg_get_expr({of},{relation})", of, relation)


def depending(printed: str, catalog: str, oid: str) -> str:
    """What `printed` prints of the object, which locks every relation that it depends on."""
    return (
        f"(CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend u"
        f" WHERE u.classid OPERATOR(pg_catalog.=) 'pg_catalog.{catalog}'::pg_catalog.regclass"
        f" AND u.objid OPERATOR(pg_catalog.=) {oid}"
        f" AND u.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
        f" AND u.refobjid OPERATOR(pg_catalog.=) ANY ({_LOCKED})) THEN '{UNPRINTED}' ELSE {printed} END)"
    )


JOIN_CLASS = "JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) "


def of_class(row: str) -> str:
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
COLUMN_HASH = _hash(
    "a.attname", "a.atttypid", "a.attgenerated", "a.attidentity", "a.attnotnull", "a.atttypmod", "a.attcollation",
    "a.attfdwoptions",
)  # fmt: skip
FOREIGN_HASH = _hash("f.ftserver", "f.ftoptions")
SERVER_HASH = _hash("s.srvname", "s.srvfdw", "s.srvowner", "s.srvtype", "s.srvversion", "s.srvoptions")
WRAPPER_HASH = _hash("w.fdwname", "w.fdwhandler", "w.fdwvalidator", "w.fdwoptions")
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
SET_COLUMNS = (150000, "k.confdelsetcols::pg_catalog.text")  # ON DELETE SET NULL (columns)
ENFORCED = (180000, "k.conenforced::pg_catalog.text")


def since(version: int, column: tuple[int, str]) -> str:
    return column[1] if version >= column[0] else "NULL::pg_catalog.text"


SERVER_QUERY = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_database()::pg_catalog.text"
# Another answer: another server, another database of that name, or a server that was started anew.
IDENTITY_QUERY = (
    "SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text, b.oid::pg_catalog.text,"
    " pg_catalog.current_setting('server_version'), current_user::pg_catalog.text"
    " FROM pg_catalog.pg_database b WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
)
KEYWORDS_QUERY = "SELECT k.word::pg_catalog.text, k.catcode::pg_catalog.text FROM pg_catalog.pg_get_keywords() k"
