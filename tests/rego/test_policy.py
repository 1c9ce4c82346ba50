"""The shipped policy as code: formatted, strictly typed, tested, described, without impure built-ins."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from twokey.approval.v1 import approval_pb2
from twokey.audit.v1 import audit_pb2
from twokey.decision.v1 import decision_pb2
from twokey.enforcer.v1 import describe_pb2
from twokey.plan.v1 import plan_pb2

from tests.rego import harness
from tests.rego.harness import REGO, ROOT

CAPABILITIES = REGO / "capabilities.json"
CONTRIBUTIONS = {"allow", "deny", "require", "mask", "needs", "obligations", "leases", "satisfied"}


def check(folder: Path) -> tuple[int, str]:
    done = harness.run(
        ["check", "--strict", "--capabilities", str(CAPABILITIES), "--schema", str(REGO / "schemas"), str(folder)]
    )
    return done.returncode, done.stdout + done.stderr


def test_formatted() -> None:
    done = harness.run(["fmt", "--list", "--fail", str(REGO)])
    assert (done.returncode, done.stdout) == (0, "")


def test_compiles_strictly_against_schema_and_capabilities() -> None:
    assert check(REGO) == (0, "")


@pytest.mark.parametrize(
    ("path", "right", "wrong"),
    [
        ("sql/risks.rego", "input.operation.sql.has_where", "input.operation.sql.has_were"),
        ("duties/review.rego", "input.subject.closure", "input.subject.closures"),
        ("approval/approval.rego", "verdict.in_people", "verdict.in_peoples"),
        ("sql/grants.rego", "policy.duties.never_write", "policy.duties.never_writes"),
    ],
)
def test_a_misspelt_field_does_not_compile(tmp_path: Path, path: str, right: str, wrong: str) -> None:
    planted = shutil.copytree(REGO, tmp_path / "rego")
    text = (planted / path).read_text()
    assert right in text
    (planted / path).write_text(text.replace(right, wrong, 1))
    code, output = check(planted)
    assert code != 0
    assert "undefined ref" in output


@pytest.mark.parametrize(
    "call",
    [
        'http.send({"method": "get", "url": "http://127.0.0.1"})',
        'net.lookup_ip_addr("localhost")',
        "opa.runtime()",
        "time.now_ns()",
        'rand.intn("a", 2)',
        'uuid.rfc4122("a")',
    ],
)
def test_an_impure_builtin_does_not_compile(tmp_path: Path, call: str) -> None:
    (tmp_path / "x.rego").write_text(f"package twokey.x\n\nallow contains {call}\n")
    code, output = check(tmp_path)
    assert code != 0
    assert "undefined function" in output


def test_capabilities_hold_nothing_impure() -> None:
    names = {item["name"] for item in json.loads(CAPABILITIES.read_text())["builtins"]}
    assert not {n for n in names if n in {"http.send", "opa.runtime", "time.now_ns"}}
    assert not {n for n in names if n.startswith(("net.", "rand.", "uuid."))}
    assert "sprintf" in names


def annotations() -> list[dict[str, Any]]:
    done = harness.run(["inspect", "--annotations", "--format", "json", str(REGO)])
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["annotations"]
    return found


def described() -> dict[str, dict[str, Any]]:
    """Rule id -> annotation, for everything annotated with an id."""
    return {
        item["annotations"]["custom"]["id"]: item
        for item in annotations()
        if item["annotations"].get("custom", {}).get("id")
    }


def contributed() -> list[tuple[str, int, str]]:
    """File, line and head of each rule that contributes, by its text."""
    head = re.compile(r"^(allow|deny|require|mask|needs|obligations|leases) contains |^satisfied\(")
    return [
        (path.relative_to(REGO).as_posix(), number, line)
        for path in sorted(REGO.rglob("*.rego"))
        if not path.name.endswith("_test.rego") and path.parent.name not in {"main", "facts"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if head.match(line)
    ]


def test_every_contribution_is_described() -> None:
    places = {(Path(i["location"]["file"]).name, i["location"]["row"]): i for i in annotations()}
    rules = contributed()
    assert len(rules) > 25
    for path, number, line in rules:
        near = [
            item
            for (name, row), item in places.items()
            if name == Path(path).name and 0 <= number - row <= 5 and item["annotations"].get("custom")
        ]
        assert near, f"{path}:{number} has no METADATA with an id"
        one = near[-1]["annotations"]
        assert one["title"], path
        assert one["description"], path
        if '"rule": "' in line:
            assert f'"rule": "{one["custom"]["id"]}"' in line


def test_ids_are_unique() -> None:
    ids = re.findall(r"custom: \{id: ([A-Z-]+)\}", "".join(p.read_text() for p in REGO.rglob("*.rego")))
    assert len(ids) == len(set(ids))


def test_every_rule_has_an_allowing_and_a_denying_test() -> None:
    text = "".join(path.read_text() for path in REGO.rglob("*_test.rego"))
    for rule in described():
        if rule == "MAIN":
            continue
        name = rule.lower().replace("-", "_")
        for outcome in ("allows", "denies"):
            assert re.search(rf"^test_{name}_{outcome} if", text, re.MULTILINE), f"{rule}: no test that {outcome}"


def test_duties_document_lists_exactly_the_shipped_rules() -> None:
    text = (ROOT / "docs" / "duties.md").read_text()
    listed = set(re.findall(r"^\| `([A-Z][A-Z-]+)` \|", text, re.MULTILINE))
    fallbacks = {"MAIN-QUESTION", "MAIN-DATA", "MAIN-NO-RULE", "MAIN-GROUPS", "MAIN-NEEDS"}
    assert listed == (set(described()) - {"MAIN"}) | fallbacks


def test_verbs_are_those_of_the_document() -> None:
    text = (ROOT / "docs" / "operation.md").read_text()
    table = text[text.index("| verb |") : text.index("`has_where` is false")]
    first_cells = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    documented = set(re.findall(r"`(sql\.[a-z-]+)`", first_cells))
    ungranted = {"sql.role", "sql.system", "sql.two-phase", "sql.copy-server", "sql.large-object"}
    assert set(harness.shipped_data()["verbs"]) == documented - ungranted
    assert ungranted <= documented


def test_every_group_named_by_data_exists() -> None:
    data = harness.shipped_data()
    groups = set(data["verbs"].values())
    named = set(data["harmless"]["groups"]) | set(data["leases"]["groups"])
    for role in data["roles"].values():
        for granted in role.get("grants", {}).values():
            named |= set(granted)
    for risk in data["risks"].values():
        named |= set(risk["deny"]) | set(risk["hold"])
    assert named <= groups
    classes = set(data["settings"]["classes"]) | set(data["settings"]["values"])
    assert set(data["harmless"]["settings"]) <= classes
    assert {c for role in data["roles"].values() for c in role.get("settings", [])} <= classes


def test_calls_cover_every_rpc() -> None:
    rpcs = {
        f"{service.full_name}/{method.name}"
        for module in (approval_pb2, audit_pb2, decision_pb2, describe_pb2, plan_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    calls = harness.shipped_data()["calls"]
    by_role = {name for name in calls["roles"] if not name.startswith("grpc.reflection.")}
    assert set(calls["enforcer"]) | by_role == rpcs | {
        "twokey.identity.v1.TokenExchange/Exchange",  # POST /token
        "twokey.authzen.v1.Access/Evaluate",  # POST /access/v1/evaluation
        "twokey.authzen.v1.Access/Request",  # /access/v1/requests
    }
    assert not set(calls["enforcer"]) & by_role
    roles = set(harness.shipped_data()["roles"])
    assert {role for listed in calls["roles"].values() for role in listed} <= roles
