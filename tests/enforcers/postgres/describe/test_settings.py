"""Settings: whose value is shown and tells one shape from another, what changes names, and what changes the grammar."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enforcers.postgres.describe.settings import normal, value_matters
from enforcers.postgres.description import Description

ON = ("on", "true", "yes", "1", "t", "y", "tr", "tru", "ye", "ON", " True ")
OFF = ("off", "false", "no", "0", "f", "n", "of", "fa", "fal", "fals")


@pytest.mark.parametrize(
    "name",
    [
        *("search_path", "role", "session_authorization", "row_security", "session_replication_role"),
        *("transaction_read_only", "default_transaction_read_only", "transaction_isolation"),
        "restrict_nonsystem_relation_kind",
    ],
)
def test_what_policy_looks_at_is_shown_and_part_of_the_shape(one: Callable[..., Description], name: str) -> None:
    (setting,) = one(f"SELECT set_config('{name.upper()}', 'Word', false)").template.settings
    assert (setting.name, setting.value.lower()) == (name, "word")
    assert value_matters(name)
    assert value_matters(name.upper())


def test_of_others_no_value_is_shown(one: Callable[..., Description]) -> None:
    (setting,) = one("SET work_mem TO '1GB'").template.settings
    assert (setting.name, setting.value) == ("work_mem", "")
    assert not value_matters("work_mem")
    (setting,) = one("SHOW search_path").template.settings
    assert (setting.action, setting.value) == ("show", "")


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("SET search_path TO a", True),
        ("SET ROLE a", True),
        ("SET SESSION AUTHORIZATION a", True),
        ("RESET ALL", True),
        ("SET work_mem TO 1", False),
        ("SHOW search_path", False),
    ],
)
def test_what_changes_whose_names_are_meant(one: Callable[..., Description], sql: str, changes: bool) -> None:
    assert one(sql).changes_names is changes


@pytest.mark.parametrize("name", ["row_security", "transaction_read_only", "default_transaction_read_only"])
def test_a_truth_has_one_spelling(name: str) -> None:
    assert {normal(name, value) for value in ON} == {"on"}
    assert {normal(name, value) for value in OFF} == {"off"}
    assert normal(name, "Nonsense") == "nonsense"
    assert normal("role", "On") == "On"


@pytest.mark.parametrize(
    ("name", "value", "pinned"),
    [
        *(("standard_conforming_strings", value, True) for value in ON),
        *(("standard_conforming_strings", value, False) for value in OFF),
        ("backslash_quote", "safe_encoding", True),
        ("backslash_quote", "on", False),
        *(("client_encoding", value, True) for value in ("utf8", "UTF8", "utf-8", "unicode")),
        ("client_encoding", "latin1", False),
    ],
)
def test_what_changes_how_text_is_read_is_opaque(
    one: Callable[..., Description], name: str, value: str, pinned: bool
) -> None:
    found = one(f"SET {name} TO '{value}'")
    assert found.changes_grammar is not pinned
    assert ({reason.code for reason in found.template.opaque_reasons} == {"dynamic-setting"}) is not pinned
    assert value_matters(name)


def test_the_gateways_own_settings_are_told_apart(one: Callable[..., Description]) -> None:
    assert one("SET twokey.reason TO 'x'").own_setting
    assert not one("SET towkey.reason TO 'x'").own_setting
