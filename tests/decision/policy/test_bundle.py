"""Loading all or nothing, and the revision over it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import PolicyLoadError
from decision.policy.bundle import LoadedPolicy, PolicySources, load_policy, revision_of, shipped_rego
from tests.decision.policy.support import make_sources


def load(sources: PolicySources, version: str = "1.0") -> LoadedPolicy:
    return load_policy(sources, engine_version=version)


def config(policy: LoadedPolicy) -> dict[str, object]:
    return dict(orjson.loads(policy.data)["twokey"]["config"])


def test_the_config_document(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "duties.yaml").write_text("exclusive: [[planner, executor]]\n")
    (tmp_path / "data" / "limits.json").write_text('{"rows": 10}')
    found = config(load(make_sources(tmp_path, data=tmp_path / "data")))
    assert found["connections"] == {"crm": {"kind": "postgres", "environment": "production"}}
    assert found["classification"] == {"crm": {"public.customers.email": "email"}}
    assert found["roles"] == {"https://idp.example": {"claim": "g", "map": {"p": "planner"}}}
    policy = found["policy"]
    assert isinstance(policy, dict)
    assert policy["duties"] == {"exclusive": [["planner", "executor"]]}
    assert policy["limits"] == {"rows": 10}
    people = found["people"]
    assert isinstance(people, dict)
    assert [item["name"] for item in people["principals"]] == ["alice"]
    assert people["agents"][0]["owner"] == "alice"


def test_shipped_data_is_replaced_by_whole_files(tmp_path: Path) -> None:
    shipped = sorted(path.stem for path in (shipped_rego() / "data").glob("*.yaml"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"{shipped[0]}.yaml").write_text("own: true\n")
    sources = replace(make_sources(tmp_path, data=tmp_path / "data"), rego=None)
    policy = config(load(sources))["policy"]
    assert isinstance(policy, dict)
    assert sorted(policy) == shipped
    assert policy[shipped[0]] == {"own": True}


def test_a_data_file_that_no_shipped_policy_reads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dutis.yaml").write_text("own: true\n")
    with pytest.raises(PolicyLoadError, match=r"dutis\.yaml: no shipped policy reads this file; name it one of"):
        load(replace(make_sources(tmp_path, data=tmp_path / "data"), rego=None))


def test_tests_and_hidden_files_are_not_policy(tmp_path: Path) -> None:
    sources = make_sources(tmp_path)
    before = load(sources)
    (tmp_path / "rego" / "main_test.rego").write_text("package twokey.main_test\n")
    (tmp_path / "rego" / ".hidden.rego").write_text("package twokey.hidden\n")
    (tmp_path / "rego" / "data.yaml").write_text("x: 1\n")
    after = load(sources)
    assert after.modules.keys() == {"main.rego"}
    assert after.revision == before.revision


def test_everything_that_can_change_a_decision_changes_the_revision(tmp_path: Path) -> None:
    sources = make_sources(tmp_path, data=tmp_path)
    (tmp_path / "duties.yaml").write_text("a: 1\n")
    crm = sources.connections[0]
    seen = {load(sources).revision}

    def moved(revision: str) -> None:
        assert revision not in seen
        seen.add(revision)

    moved(load(sources, "1.1").revision)
    moved(load(replace(sources, dev=True)).revision)
    moved(load(replace(sources, issuers=())).revision)
    moved(load(replace(sources, issuers=({**sources.issuers[0], "roles": {"claim": "h", "map": {}}},))).revision)
    moved(load(replace(sources, connections=(replace(crm, environment="staging"),))).revision)
    moved(load(replace(sources, connections=(replace(crm, kind="ssh", classification=None),))).revision)
    (tmp_path / "crm.yaml").write_text("public.customers.email: pii\n")
    moved(load(sources).revision)
    (tmp_path / "duties.yaml").write_text("a: 2\n")
    moved(load(sources).revision)
    (tmp_path / "rego" / "main.rego").write_text("package twokey.main\n")
    moved(load(sources).revision)
    (tmp_path / "rego" / "main.rego").rename(tmp_path / "rego" / "other.rego")
    moved(load(sources).revision)
    (tmp_path / "people.yaml").write_text("principals: []\n")
    moved(load(sources).revision)


def test_the_revision_is_the_same_for_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert load(make_sources(tmp_path / "a")).revision == load(make_sources(tmp_path / "b")).revision


names = st.text(max_size=4)
parts = st.dictionaries(names, st.binary(max_size=4), max_size=4)


@given(parts, parts)
def test_different_parts_have_different_revisions(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (revision_of(one) == revision_of(other)) == (one == other)


def test_lengths_keep_neighbours_apart() -> None:
    assert revision_of({"ab": b"c"}) != revision_of({"a": b"bc"})
    assert revision_of({"a": b"", "b": b""}) != revision_of({"a": b"b"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b.c: email\na.b.c: pan\n", r"crm\.yaml:2: a\.b\.c: is given twice; keep one"),
        ("a.b: email\n", r"crm\.yaml:1: a\.b: is not schema\.table\.column"),
        ("a..c: email\n", r"is not schema\.table\.column"),
        ("a.b.c:\n", "has no label"),
        ("a.b.c: [email]\n", "has no label"),
        ("a.b.c: Bad Label\n", "has no label"),
        ("- a.b.c\n", "is not a mapping"),
        ("a.b.c: &x email\na.b.d: *x\n", "anchors and aliases are not allowed"),
        ("a.b.c: !!python/none email\n", "is not allowed"),
    ],
)
def test_errors_in_classification_name_line_key_and_fix(tmp_path: Path, text: str, message: str) -> None:
    sources = make_sources(tmp_path)
    (tmp_path / "crm.yaml").write_text(text)
    with pytest.raises(PolicyLoadError, match=message) as caught:
        load(sources)
    assert caught.value.next_step


def test_missing_parts(tmp_path: Path) -> None:
    sources = make_sources(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = [
        (replace(sources, people=tmp_path / "nobody.yaml"), "there is no such file"),
        (replace(sources, rego=tmp_path / "norego"), "there is no such folder"),
        (replace(sources, rego=empty), "holds no Rego file"),
        (replace(sources, data=tmp_path / "nodata"), "there is no such folder"),
        (
            replace(sources, connections=(replace(sources.connections[0], classification=tmp_path / "no.yaml"),)),
            "there is no such file",
        ),
    ]
    for bad, message in broken:
        with pytest.raises(PolicyLoadError, match=message):
            load(bad)


def test_two_data_files_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.yaml", "a.json"):
        (tmp_path / "data" / name).write_text("{}")
    with pytest.raises(PolicyLoadError, match="stands beside"):
        load(make_sources(tmp_path, data=tmp_path / "data"))


def test_the_settings_document(tmp_path: Path) -> None:
    document = {
        "run": {"dev": True},
        "identity": {"issuers": [{"issuer": "https://i", "audience": "twokey"}]},
        "people": str(tmp_path / "people.yaml"),
        "policy": {"rego": None, "data": None},
        "connections": [{"name": "crm", "kind": "postgres", "environment": "production", "classification": None}],
    }
    sources = PolicySources.from_settings(json.loads(json.dumps(document)))
    assert sources.dev
    assert sources.rego_dir == shipped_rego()
    assert sources.connections[0].name == "crm"
    for missing in ("run", "identity", "people", "connections"):
        with pytest.raises(PolicyLoadError):
            PolicySources.from_settings({key: value for key, value in document.items() if key != missing})
