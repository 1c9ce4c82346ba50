"""The example of docs/policy.md is data that loads, and attaches what the document says."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from decision.policy.bundle import load_policy, shipped_rego
from tests.decision.policy.support import make_sources
from tests.rego import harness

Json = dict[str, Any]


def example() -> str:
    section = (harness.ROOT / "docs" / "policy.md").read_text().partition("## Obligations")[2]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_the_example_loads(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(shipped_rego() / "data" / "budgets.yaml", data)
    (data / "obligations.yaml").write_text(example())
    load_policy(replace(make_sources(tmp_path, data=data), rego=None), engine_version="1.0")


def attached(decision: Json) -> set[tuple[object, ...]]:
    return {(item["type"], *item["parameters"].values()) for item in decision["obligations"]}


def test_the_example_attaches_what_it_says(tmp_path: Path) -> None:
    fixtures = harness.questions(harness.stage(tmp_path / "fixtures", tests=True))
    data = harness.config(obligations=YAML(typ="safe").load(example()))
    policy = harness.stage(tmp_path / "policy", data=data)
    reads, writes = (
        harness.ask(fixtures, subject, statement)
        for subject, statement in (("planner", "select_orders"), ("executor", "update_orders"))
    )
    values = {"present": True, "statement": "…", "bound": [], "named": []}
    writes["values"] = {**writes["values"], **values, "estimate": {"state": "known", "rows": 1, "cost": 1, "why": ""}}
    said = {**writes, "context": {**writes["context"], "reason": "ticket 4711"}}
    staging = {**writes, "resource": {**writes["resource"], "environment": "staging"}}
    session, read, unsaid, reasoned, staged = harness.decide_all(
        policy, [fixtures["session"], reads, writes, said, staging]
    )
    assert ("max-duration", 28_800_000) in attached(session)
    assert ("statement-timeout", 5000) in attached(read)
    assert (unsaid["outcome"], unsaid["reasons"][0]["next"]) == ("deny", "SET twokey.reason = 'why'")
    assert reasoned["outcome"] == "allow"
    assert ("require-reason",) in attached(reasoned)
    assert ("max-rows", 100) in attached(staged)
