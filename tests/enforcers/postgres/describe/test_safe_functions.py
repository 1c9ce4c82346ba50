"""The safe list on real servers, and the closed lists: what the describer says is what docs/operation.md lists."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from enforcers.postgres.catalog.objects import Function
from enforcers.postgres.describe import Describer
from enforcers.postgres.describe.safe_functions import builtin_effect, is_safe
from tests.enforcers.postgres.describe.conftest import Server, names
from tests.enforcers.postgres.describe.corpus import CASES

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    "name",
    [
        "lower",
        "upper",
        "substr",
        "length",
        "concat",
        "count",
        "sum",
        "max",
        "now",
        "date_trunc",
        "to_char",
        "coalesce_not_a_function",
        "generate_series",
        "int4eq",
        "texteq",
        "json_agg",
        "row_to_json",
        "array_agg",
        "random",
        "gen_random_uuid",
    ],
)
def test_functions_that_only_compute_are_safe(server: Server, name: str) -> None:
    found = [item for item in server.catalog.functions_named(name) if item.builtin]
    if name == "coalesce_not_a_function":
        assert not found
        return
    assert found
    assert all(is_safe(item) for item in found)


@pytest.mark.parametrize(
    "name",
    [
        "pg_read_file",
        "pg_read_binary_file",
        "pg_stat_file",
        "pg_ls_dir",
        "pg_sleep",
        "lo_import",
        "lo_export",
        "lo_unlink",
        "loread",
        "set_config",
        "current_setting",
        "query_to_xml",
        "table_to_xml",
        "cursor_to_xml",
        "schema_to_xml",
        "database_to_xml",
        "ts_stat",
        "nextval",
        "setval",
        "currval",
        "lastval",
        "pg_terminate_backend",
        "pg_cancel_backend",
        "pg_advisory_lock",
        "pg_try_advisory_lock",
        "txid_current",
        "pg_reload_conf",
        "pg_notify",
        "pg_get_viewdef",
        "has_table_privilege",
        "current_query",
        "pg_logical_emit_message",
        "pg_switch_wal",
        "to_regclass",
        "pg_stat_get_activity",
        "obj_description",
        "inet_server_addr",
        "pg_create_restore_point",
        "setseed",
    ],
)
def test_functions_that_look_further_are_not_safe(server: Server, name: str) -> None:
    found = [item for item in server.catalog.functions_named(name) if item.builtin]
    assert found
    assert not any(is_safe(item) for item in found)


# Reviewed by name: what a server declares of them (a superuser may ALTER FUNCTION, a new version may) changes nothing.
LOOKS_FURTHER = (
    "col_description obj_description shobj_description current_query current_setting currval lastval nextval setval"
    " row_security_active set_config loread lowrite makeaclitem version icu_unicode_version unicode_version"
    " event_trigger_in trigger_in suppress_redundant_updates_trigger tsvector_update_trigger"
    " tsvector_update_trigger_column amvalidate satisfies_hash_partition pg_backend_pid has_any_column_privilege"
    " txid_current_snapshot lo_get binary_upgrade_anything inet_client_addr inet_server_port table_to_xmlschema"
    " schema_to_xml database_to_xml query_to_xml cursor_to_xml to_regclass ts_stat ts_rewrite brin_summarize_range"
    " gin_cmp_prefix dblink"
)
CHANGES_NOTHING = "random random_normal gen_random_uuid uuidv4 uuidv7 clock_timestamp timeofday timezone"
LOOKS_AT_ITS_ARGUMENT = "pg_typeof pg_size_pretty pg_size_bytes pg_column_size pg_client_encoding"
IN_SQL = (
    "lpad rpad age bit_length log log10 round substring overlaps date_part timestamptz int8pl_inet path_contain_pt"
    " polygon numeric_pl_pg_lsn"
)


def test_each_reviewed_name_is_judged_by_its_name(server: Server) -> None:
    plain = next(item for item in server.catalog.functions_named("lower") if item.language == "internal")
    in_sql = dataclasses.replace(plain, language="sql")
    volatile = dataclasses.replace(plain, volatility="volatile")

    def safe(template: Function, names: str) -> set[str]:
        return {name for name in names.split() if is_safe(dataclasses.replace(template, name=name))}

    assert is_safe(plain)
    assert safe(plain, LOOKS_FURTHER) == safe(in_sql, LOOKS_FURTHER) == set()
    assert safe(volatile, f"{CHANGES_NOTHING} lower") == set(CHANGES_NOTHING.split())
    assert safe(plain, LOOKS_AT_ITS_ARGUMENT) == set(LOOKS_AT_ITS_ARGUMENT.split())
    assert safe(in_sql, f"{IN_SQL} lower ts_debug xpath quote_literal") == set(IN_SQL.split())
    for other in ({"oid": 16384}, {"schema": "public"}, {"language": "c"}):
        assert safe(dataclasses.replace(plain, **other), f"lower {CHANGES_NOTHING}") <= (  # type: ignore[arg-type]  # of each field its own type
            set(CHANGES_NOTHING.split()) if "language" in other else set()
        )


def test_a_users_function_is_never_safe(server: Server) -> None:
    assert not any(is_safe(item) for item in server.catalog.own.functions.values())


def test_every_volatile_server_function_without_a_known_effect_was_looked_at(server: Server) -> None:
    """What acts on the server and no list names is sql.system; this list is what was found harmless."""
    harmless = {
        item.name
        for item in server.catalog.builtins.objects.functions.values()
        if item.volatility == "volatile" and item.name.startswith("pg_") and builtin_effect(item) == ("", "")
    }
    acting = re.compile(
        "reset|terminate|cancel|switch|promote|create|drop|pause|resume|rotate|reload|write|log_|advisory"
    )
    assert not {name for name in harmless if acting.search(name) and "pg_get_wal_replay_pause_state" not in name} - {
        *("pg_advisory_unlock", "pg_advisory_unlock_all", "pg_advisory_unlock_shared"),  # what the session itself holds
        "pg_is_wal_replay_paused",
    }


def test_the_words_used_are_the_words_listed(server: Server) -> None:
    listed = set(re.findall(r"`([a-z*][a-z0-9.*_-]*)`", (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")))
    text = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
    for path in (ROOT / "enforcers" / "postgres" / "describe").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        for verb in re.findall(r'"(sql\.[a-z-]+)"', source):
            assert verb in listed, verb
        for code in re.findall(r'doubt\(\s*"([a-z-]+)"', source):
            assert code in listed, code
    for case in CASES:
        found = Describer(2).describe_message(case.sql.encode(), catalog=server.catalog, names=names())
        for item in found if isinstance(found, list) else []:
            template = item.template
            assert set(template.verbs) <= listed
            assert {reason.code for reason in template.opaque_reasons} <= listed
            words = {word for use in template.relations for word in (*use.access, use.via, use.kind)}
            words |= {use.via for use in template.functions} | {use.action for use in template.settings}
            assert not {word for word in words if not re.search(rf"\b{word}\b", text)}
