"""Runs the shipped policy on the real OPA: the folder, its data under data.twokey.config.policy, its capabilities."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from decision.cli.opa import find

ROOT = Path(__file__).resolve().parents[2]
REGO = ROOT / "rego"
Json = dict[str, Any]


@cache
def opa() -> str:
    """The OPA that set-up obtained. Raises CliError when there is none."""
    return str(find(os.environ))


@cache
def shipped_data() -> Json:
    """rego/data as the bundle code merges it: file name without ending -> content."""
    return {path.stem: YAML(typ="safe").load(path.read_text()) for path in sorted((REGO / "data").glob("*.yaml"))}


def config(**policy: object) -> Json:
    """data.twokey.config with the shipped policy data; keywords replace whole files."""
    return {
        "people": {"principals": [], "agents": []},
        "roles": {},
        "connections": {"crm": {"kind": "postgres", "environment": "production"}},
        "classification": {"crm": {"public.customers.email": "email", "public.cards.pan": "pan"}},
        "policy": {**shipped_data(), **policy},
    }


def stage(folder: Path, *, tests: bool = False, data: Mapping[str, object] | None = None) -> Path:
    """A copy of the Rego with its data as one data.json, which OPA loads as a bundle."""
    target = folder / "policy"
    for path in sorted(REGO.rglob("*.rego")):
        if tests or not path.name.endswith("_test.rego"):
            copy = target / path.relative_to(REGO)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    (target / "data.json").write_text(json.dumps({"twokey": {"config": data or config()}}))
    (target / ".manifest").write_text(json.dumps({"roots": ["twokey"]}))
    return target


def run(arguments: Sequence[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [opa(), *arguments], input=stdin, capture_output=True, text=True, timeout=90, check=False, env=dict(os.environ)
    )


def decide_all(policy: Path, questions: Sequence[object]) -> list[Json]:
    """Every question's decision in one evaluation. An undefined one is an error."""
    document = json.dumps(list(questions))
    answer = run(
        [
            "eval",
            "--strict-builtin-errors",
            "--capabilities",
            str(REGO / "capabilities.json"),
            "--bundle",
            str(policy),
            "--stdin-input",
            "--format",
            "json",
            "[d | some q in input; d := data.twokey.main.decision with input as q]",
        ],
        stdin=document,
    )
    if answer.returncode != 0:
        raise AssertionError(answer.stdout + answer.stderr)
    value: list[Json] = json.loads(answer.stdout)["result"][0]["expressions"][0]["value"]
    if len(value) != len(questions):
        raise AssertionError(f"{len(questions) - len(value)} questions were left undefined")
    return value


_SAMPLES = """{
    "subjects": {"planner": t.planner, "executor": t.executor, "stranger": t.stranger, "carol": t.carol,
        "alice": t.person("alice", ["executor"], "executor", []),
        "reader": t.person("dora", ["planner"], "planner", [])},
    "statements": {"begin": t.begin, "select_orders": t.select_orders, "select_email": t.select_email,
        "update_orders": t.update_orders, "delete_orders": t.delete_orders, "drop_orders": t.drop_orders,
        "do_block": t.do_block, "set_role": t.set_to("role", "postgres")},
    "operation": t.operation(t.planner, t.select_orders), "session": t.session(t.executor),
    "review": t.review(t.carol, t.pending), "call": t.call(t.carol, "twokey.approval.v1.ApprovalService/Approve"),
    "no_sql": t.no_sql, "pending": t.pending, "approved": t.approved,
}"""


def questions(policy_with_tests: Path) -> Json:
    """The fixtures of rego/testing as JSON, so that Python asks the same questions."""
    answer = run(
        [
            "eval",
            "--format",
            "json",
            "--bundle",
            str(policy_with_tests),
            "--import",
            "data.twokey.testing as t",
            _SAMPLES,
        ]
    )
    if answer.returncode != 0:
        raise AssertionError(answer.stdout + answer.stderr)
    value: Json = json.loads(answer.stdout)["result"][0]["expressions"][0]["value"]
    return value


def ask(samples: Json, subject: str, statement: str) -> Json:
    """A question on the shape for one sample subject and statement."""
    asked: Json = copy.deepcopy(samples["operation"])
    sql = {**samples["no_sql"], **samples["statements"][statement]}
    asked["subject"] = copy.deepcopy(samples["subjects"][subject])
    asked["operation"]["sql"] = copy.deepcopy(sql)
    asked["action"] = {"name": sql["verbs"][0], "verbs": list(sql["verbs"])}
    return asked
