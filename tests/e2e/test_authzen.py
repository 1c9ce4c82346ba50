"""docs/authzen.md against the running product: its files configure it, its commands are run, its answers compared."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from decision.cli.demo.stack import CONFIG, Stack
from decision.policy.bundle import shipped_rego

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "authzen.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def block(kind: str) -> str:
    (found,) = [text for name, text in BLOCKS if name == kind]
    return str(found)


@pytest.fixture
def documented() -> Iterator[Stack]:
    policy = "policy: {{rego: rego, data: policy-data}}\nstore:"
    stack = Stack(config=CONFIG.replace("store:", policy))
    shutil.copytree(shipped_rego(), stack.folder / "rego")
    (stack.folder / "rego" / "records.rego").write_text(block("rego"))
    for name in ("policy-data", "bin"):
        (stack.folder / name).mkdir()
    (stack.folder / "policy-data" / "authzen.yaml").write_text(block("yaml"))
    shim = stack.folder / "bin" / "twokey"
    shim.write_text(f'#!/bin/sh\nexec {" ".join(Stack.command())} "$@"\n')
    shim.chmod(0o755)
    with stack as running:
        yield running


def test_the_documented_commands_answer_as_documented(documented: Stack) -> None:
    environment = {
        **documented.base_environment(),
        "TOKEN": documented.token("executor-7", "application"),
        "URL": str(documented.ready["http"]),
    }
    environment["PATH"] = f"{documented.folder / 'bin'}:{environment['PATH']}"
    token = documented.folder / "bob.token"
    token.touch(mode=0o600)
    token.write_text(documented.token("bob", "reviewer"))
    commands = [number for number, (kind, _) in enumerate(BLOCKS) if kind == "sh"]
    script = "set -eu\n"
    for number in commands:
        script += BLOCKS[number][1]  # what a block sets, the ones after it use
        done = subprocess.run(
            ["sh", "-c", f"{script}\n"],
            cwd=documented.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        script = "set -eu\n" + "".join(line + "\n" for line in script.splitlines() if re.match(r"[A-Z]+=", line))
        expected = BLOCKS[number + 1]
        assert expected[0] == "json"
        found = json.loads(done.stdout.splitlines()[-1])
        assert same(found, json.loads(expected[1].replace("$URL", environment["URL"]))), (found, expected[1])
    assert len(commands) == 7
    task = json.loads((documented.folder / "task.json").read_text())["task"]["id"]
    shown = documented.twokey("approvals", "show", task, token=documented.token("bob", "reviewer"))
    assert shown.returncode == 0, shown.stderr
    for word in ("authzen", "carol", "executor-7", '"delete"', "ticket 4711", "approved"):
        assert word in shown.stdout, shown.stdout
    records = [one for one in documented.records() if one["kind"] == "evaluation"]
    assert [one["decision"] for one in records if one["approval"]] == [True]


def same(found: object, expected: object) -> bool:
    """Equal, where "…" stands for any text."""
    if expected == "…":
        return isinstance(found, str) and bool(found)
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[name], value) for name, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(same(one, two) for one, two in zip(found, expected, strict=True))
    return found == expected
