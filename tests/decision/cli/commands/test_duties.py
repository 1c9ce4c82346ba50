from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from decision.cli.main import main
from decision.cli.opa import shipped_rego

CONFIG = """people: people.yaml
policy: {data: data/}
connections:
  - name: crm
    kind: postgres
    environment: production
    upstream: postgresql://127.0.0.1:5432/crm
    credentials: {default: {user: x, password: {file: secret}}}
"""
PEOPLE = """principals:
  - {name: alice, identities: [{iss: i, sub: a}], groups: [dba]}
  - {name: bob, identities: [{iss: i, sub: b}], groups: [dba]}
agents:
  - {name: executor-7, identities: [{iss: i, sub: e}], owner: alice}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "people.yaml").write_text(PEOPLE)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "twokey.yaml").write_text(CONFIG)
    return tmp_path / "twokey.yaml"


def demand(config: Path, least: int) -> None:
    text = (shipped_rego() / "data" / "duties.yaml").read_text()
    own = config.parent / "data" / "duties.yaml"
    own.write_text(f"{text}minimum: [{{groups: [delete, rights], least: {least}}}]\n")


def run(config: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["duties", "-c", str(config), *options])
    return result.exit_code, result.output


def test_the_table_says_who_could(config: Path) -> None:
    code, text = run(config)
    assert code == 0
    assert "bob and executor-7 can: 2" in text
    assert text.splitlines()[0].split() == ["connection", "environment", "duty", "principals"]


def test_check_fails_below_what_is_demanded(config: Path) -> None:
    demand(config, 2)
    assert run(config, "--check")[0] == 0
    demand(config, 3)
    code, text = run(config, "--check")
    assert code == 1
    assert "crm delete: bob and executor-7 can: 2, not 3" in text
    assert run(config)[0] == 0


def test_json_and_matrix(config: Path) -> None:
    demand(config, 3)
    code, text = run(config, "--json")
    document = json.loads(text)
    (delete,) = (row for row in document["duties"] if row["duty"] == "delete")
    assert (code, delete["least"], delete["demanded"]) == (0, 2, 3)
    assert delete["witness"][0] == {"phase": "execute", "party": "executor-7"}
    assert {row["role"] for row in document["matrix"]} >= {"planner", "executor", "reviewer"}
    code, text = run(config, "--matrix")
    assert code == 0
    assert "planner (dynamic and static)" in text


def test_data_that_can_not_be_counted_is_one_line(config: Path) -> None:
    (config.parent / "data" / "duties.yaml").write_text("static: 7\n")
    code, text = run(config)
    assert code == 1
    assert "can't be counted" in text
