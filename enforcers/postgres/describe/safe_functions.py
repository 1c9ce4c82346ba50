"""Which built-in functions can only compute on their arguments, and what the others do.

The safe list is derived from the catalog (built in, language internal, not volatile) minus the reviewed names here,
plus reviewed exceptions. tools/safe_functions.py prints the derivation for a server, for review of a new major
version. A function a user made is never on it, whatever it is called: `safe` looks at the object, not at the name.
"""

from __future__ import annotations

from enforcers.postgres.catalog.objects import Function

# Not volatile, yet they look beyond their arguments: catalogs, settings, sessions, files, or run SQL given as text.
_DENIED_PREFIXES = (
    "pg_", "has_", "txid_", "lo_", "binary_upgrade_", "inet_client_", "inet_server_", "table_to_xml", "schema_to_xml",
    "database_to_xml", "query_to_xml", "cursor_to_xml", "to_reg", "ts_stat", "ts_rewrite", "brin_", "gin_", "dblink",
)  # fmt: skip
_DENIED = frozenset(
    [
        "col_description",
        "obj_description",
        "shobj_description",
        "current_query",
        "current_setting",
        "currval",
        "lastval",
        "nextval",
        "setval",
        "row_security_active",
        "set_config",
        "loread",
        "lowrite",
        "makeaclitem",
        "version",
        "icu_unicode_version",
        "unicode_version",
        "event_trigger_in",
        "trigger_in",
        "suppress_redundant_updates_trigger",
        "tsvector_update_trigger",
        "tsvector_update_trigger_column",
        "amvalidate",
        "satisfies_hash_partition",
    ]
)
_ALLOWED_PG = frozenset(["pg_typeof", "pg_size_pretty", "pg_size_bytes", "pg_column_size", "pg_client_encoding"])
# timezone(text, timetz) is volatile until 14: it looks at the clock for what a zone's offset is today.
_ALLOWED_VOLATILE = frozenset(
    ["random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday", "timezone"]
)  # fmt: skip
# Written in SQL, which shows that they do no more than others here: none has a body that looks anything up.
_ALLOWED_SQL = frozenset(
    ["lpad", "rpad", "age", "bit_length", "log", "log10", "round", "substring", "overlaps", "date_part", "timestamptz",
     "int8pl_inet", "path_contain_pt", "polygon", "numeric_pl_pg_lsn"]
)  # fmt: skip


def is_safe(function: Function) -> bool:
    """True when the function can only compute on its arguments."""
    if not function.builtin or function.schema != "pg_catalog":
        return False
    name = function.name
    if name in _ALLOWED_PG or name in _ALLOWED_VOLATILE:
        return True
    if name in _DENIED or name.startswith(_DENIED_PREFIXES) or function.volatility == "volatile":
        return False
    return function.language == "internal" or (function.language == "sql" and name in _ALLOWED_SQL)


_XML = ("query_to_xml", "table_to_xml", "schema_to_xml", "database_to_xml", "cursor_to_xml", "ts_stat", "ts_rewrite")
_FILES = (
    "pg_read_file", "pg_read_binary_file", "pg_stat_file", "pg_ls_", "pg_file_", "pg_hba_file_rules",
    "pg_ident_file_mappings", "pg_show_all_file_settings", "lo_import", "lo_export", "pg_current_logfile",
)  # fmt: skip
_LARGE_OBJECT = ("lo_", "be_lo_")
_HARMLESS_VOLATILE = (
    "pg_sleep", "pg_stat_get_", "pg_stat_clear_snapshot", "pg_stat_have_stats", "pg_relation_size",
    "pg_total_relation_size", "pg_table_size", "pg_indexes_size", "pg_database_size", "pg_tablespace_size", "pg_is_",
    "pg_current_", "pg_lock_status",
    "pg_blocking_pids", "pg_last_", "pg_notification_queue_usage", "pg_get_", "pg_collation_actual_version",
    "pg_database_collation_actual_version", "pg_safe_snapshot_blocking_pids", "pg_isolation_test", "pg_xact_status",
    "pg_show_all_settings", "pg_timezone_", "pg_config", "pg_control_", "pg_backup_start_time", "pg_my_temp_schema",
    "pg_partition_", "pg_cursor", "pg_prepared_", "pg_relation_filenode", "pg_relation_filepath", "pg_tablespace_",
    "pg_snapshot_", "pg_visible_", "pg_describe_object", "pg_identify_object", "pg_extension_", "pg_available_",
    "pg_postmaster_start_time", "pg_conf_load_time", "pg_export_snapshot", "pg_wal_summary", "pg_available_wal",
)  # fmt: skip


def builtin_effect(function: Function) -> tuple[str, str]:
    """(verb, opaque code) of a built-in function beyond reading, each empty when there is none.

    A volatile pg_… function that no list names is taken to act on the server itself.
    """
    name = function.name
    if name.startswith(_XML):
        return "", "dynamic-sql"
    if name.startswith(_FILES):
        return ("sql.large-object" if name.startswith("lo_") else "sql.system"), "server-file"
    if name.startswith(_LARGE_OBJECT) or name in {"loread", "lowrite"}:
        return "sql.large-object", ""
    if name.startswith("pg_advisory_unlock"):
        return "", ""  # gives back what this very session holds
    if name.startswith(("pg_advisory_", "pg_try_advisory_")):
        return "sql.lock", ""
    if name == "pg_notify":
        return "sql.notify", ""
    if name.startswith(("pg_", "binary_upgrade_", "brin_", "gin_")) and function.volatility == "volatile":
        harmless = name.startswith(_HARMLESS_VOLATILE) and not name.startswith("pg_stat_reset")
        return ("", "") if harmless else ("sql.system", "")
    return "", ""
