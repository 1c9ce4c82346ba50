"""A misspelt word in the policy data is refused at load, with file, line and key."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from decision.errors import PolicyLoadError
from decision.policy.bundle import load_policy, shipped_rego
from tests.decision.policy.support import make_sources

ALLOWED = "allow: [join-foreign-key]"

MISSPELT = [
    ("unseen", "\nservers: {}", "\nservers: {crm: {billing: [reed]}}", r"servers\.crm\.billing.*'reed' is no access"),
    ("unseen", "\nservers: {}", "\nservers: {crm: [billing]}", "is not a mapping"),
    ("unseen", "\nservers: {}", "\nserver: {}", "no key that policy reads"),
    ("unseen", "\nreasons: {}", "\nreasons: {crm: [total]}", "is no reason"),
    ("risks", "deny: [remove]", "deny: [remov]", r"risks\.yaml:4.*\*.*deny.*'remov' is no group of verbs\.yaml"),
    ("risks", "hold_delete: true", "hold_delet: true", r"risks\.yaml:6.*hold_delet.*no key that policy reads"),
    ("risks", "hold_delete: true", "hold_delete: 1", "neither true nor false"),
    ("risks", '"*":', "production:", r'has no entry "\*"'),
    ("roles", '{"*": [read, explain, export, control]}', '{"*": [red]}', "'red' is no group"),
    (
        "roles",
        "settings: [harmless, narrowing, protective, all]",
        "settings: [harmles]",
        "'harmles' is no class of settings.yaml",
    ),
    ("roles", "opaque: hold", "opaque: höld", "means nothing"),
    ("roles", "functions: careful", "functions: safe", "means nothing"),
    ("roles", "read_only: true", "readonly: true", "no key that policy reads"),
    ("roles", "reviewer: {connect: false}", "reviewer: []", "is not a mapping"),
    ("duties", "never_write: [planner]", "never_write: [planer]", "'planer' is no role of roles.yaml"),
    ("duties", "roles: [planner, executor]", "roles: [planner, executer]", "'executer' is no role"),
    ("duties", "review: {role: reviewer}", "review: {role: viewer}", "'viewer' is no role"),
    ("harmless", "groups: [control]", "groups: control", "is not a list"),
    ("leases", "groups: [read, control]", "groups: [reads]", "'reads' is no group"),
    ("masking", "executor:", "executr:", "'executr' is no role"),
    ("masking", "default: {", "defaults: {", "no key that policy reads"),
    (
        "masking",
        "type: keep-last",
        "type: keep-lost",
        r"masking\.yaml:10.*maskers\.pan: has a type that is none of null",
    ),
    ("masking", "allow: [join-foreign-key]", "allow: [join-foreign]", "'join-foreign' is no kind of inference"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budget: []", "is no key that policy reads"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: 3", "is not a list"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [3]", "is not a mapping"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{per_hour: 3}}]", "is no name"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{name: a, per_hour: 0}}]", "is no number of statements"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{name: a, per_hour: true}}]", "is no number of statements"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{name: a, per_hour: 1001}}]", "is no number of statements"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{name: a, per_day: 3}}]", "is no key that policy reads"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{name: a, per_hour: 3, kinds: [were]}}]", "'were' is no kind"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{name: a, per_hour: 3, roles: [x]}}]", "'x' is no role"),
    ("masking", ALLOWED, f"{ALLOWED}\n  budgets: [{{name: a, per_hour: 3, labels: pan}}]", "is not a list"),
    (
        "masking",
        ALLOWED,
        f"{ALLOWED}\n  budgets: [{{name: a, per_hour: 3}}, {{name: a, per_hour: 4}}]",
        "stands above already",
    ),
    ("masking", "allow: [join-foreign-key]", "permit: [order]", "no key that policy reads"),
    ("masking", "n: 4", "n: four", "n is not a whole number"),
    ("masking", "pan: {type: keep-last, n: 4,", "pan: {type: keep-last,", r"must have type and n, fill"),
    ("masking", 'type: "null"', "type: bucket, size: 1", r"default: .bucket.: size is not"),
    ("masking", "# roles:", "roles: {analist: {}}", "'analist' is no role"),
    ("masking", "# roles:", "roles: {planner: {pan: {type: hash, key: x}}}", r"roles.planner.pan: .hash. must have"),
    ("budgets", "write: 500", "writes: 500", "no key that policy reads"),
    ("budgets", "write: 500", "write: many", "no number of rows"),
    (
        "obligations",
        "type: max-bytes",
        "type: max-byte",
        r"obligations\.yaml:7.*act\[0\].*'max-byte' can't be attached",
    ),
    (
        "masking",
        "default:",
        "labels: [email, pin]\ndefault:",
        r"maskers\.pan.*'pan' is no label of `labels`; use one of email, pin",
    ),
    (
        "masking",
        "default:",
        "labels: [pan]\ndefault:",
        r"public\.customers\.email.*'email' is no label of .*use one of pan",
    ),
    ("masking", 'reviewer: ["*"]', "reviewer: [emial]\nlabels: [email, pan]", r"'emial' is no label of `labels`"),
    ("masking", "default:", "labels: email\ndefault:", "labels: is not a list of labels"),
    ("obligations", "type: max-duration", "type: max-rows", "'max-rows' can't be attached here"),
    ("obligations", "type: max-bytes", "type: mask-columns", "'mask-columns' can't be attached here"),
    ("obligations", "{bytes: 67108864}", "{rows: 67108864}", "are not those of max-bytes"),
    ("obligations", "{bytes: 67108864}", "{bytes: 0}", "is no limit"),
    ("obligations", "{bytes: 67108864}", "{bytes: many}", "is no limit"),
    ("obligations", "roles: [planner]", "roles: [planer]", "'planer' is no role"),
    ("obligations", "groups: ", "group: ", "no key that policy reads"),
    ("obligations", 'groups: ["*"]', "groups: [reads]", "'reads' is no group"),
    ("obligations", 'environments: ["*"], groups', "environments: production, groups", "is not a list"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "says"), MISSPELT, ids=[f"{m[0]}-{m[2]}" for m in MISSPELT])
def test_a_misspelt_word_is_refused(tmp_path: Path, name: str, right: str, wrong: str, says: str) -> None:
    text = (shipped_rego() / "data" / f"{name}.yaml").read_text()
    assert right in text
    data = tmp_path / "data"
    data.mkdir()
    (data / f"{name}.yaml").write_text(text.replace(right, wrong, 1))
    with pytest.raises(PolicyLoadError) as refused:
        load_policy(replace(make_sources(tmp_path, data=data), rego=None), engine_version="1.0")
    assert re.search(says, str(refused.value)), refused.value
    assert f"{name}.yaml" in str(refused.value)


def test_a_closed_list_of_labels_is_taken(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "masking.yaml").write_text(
        (shipped_rego() / "data" / "masking.yaml").read_text() + "labels: [email, pan]\n"
    )
    loaded = load_policy(replace(make_sources(tmp_path, data=data), rego=None), engine_version="1.0")
    assert loaded.classified == {"crm": (("public", "customers", "email"),)}


def test_the_shipped_words_are_right_and_a_copy_is_checked_too(tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(shipped_rego(), copy)
    sources = replace(make_sources(tmp_path), rego=copy)
    load_policy(sources, engine_version="1.0")
    (copy / "data" / "leases.yaml").write_text("groups: [reads]\n")
    with pytest.raises(PolicyLoadError, match="'reads' is no group"):
        load_policy(sources, engine_version="1.0")
