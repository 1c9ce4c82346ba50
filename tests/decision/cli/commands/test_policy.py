"""`twokey policy` runs the real OPA on the policies with their data in place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from decision.cli import opa
from decision.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration whose policies are a copy of the shipped ones."""
    shutil.copytree(opa.shipped_rego(), tmp_path / "rego")
    (tmp_path / "people.yaml").write_text("principals: []\n")
    (tmp_path / "twokey.yaml").write_text(
        "people: people.yaml\npolicy: {rego: rego}\nconnections:\n"
        "  - {name: crm, kind: postgres, environment: production, upstream: 'postgresql://127.0.0.1/crm',"
        " credentials: {default: {user: u}}}\n"
    )
    return tmp_path


@pytest.fixture
def small(folder: Path) -> Path:
    """The same with one rule and its test: what is asked of the command needs no more."""
    shutil.rmtree(folder / "rego")
    (folder / "rego").mkdir()
    (folder / "rego" / "one.rego").write_text("package twokey.one\n\nright if input.question == `operation`\n")
    (folder / "rego" / "one_test.rego").write_text(
        "package twokey.one_test\n\nimport data.twokey.one\n\n"
        "test_right if one.right with input as {`question`: `operation`}\n"
    )
    return folder


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["policy", *arguments])
    return result.exit_code, result.output


def test_the_shipped_policies_pass_and_are_covered() -> None:
    code, output = run("test", "--json")
    assert code == 0, output
    assert json.loads(output)["coverage"] > 98
    assert run("check")[0] == 0


def test_a_failing_test_rule_is_named(small: Path) -> None:
    folder = small
    assert run("test", "-c", str(folder / "twokey.yaml"))[0] == 0
    (folder / "rego" / "more_test.rego").write_text("package twokey.more_test\n\ntest_wrong if 1 == 2\n")
    code, output = run("test", "-c", str(folder / "twokey.yaml"))
    assert code == 1
    assert "test_wrong: FAIL" in output


def test_rules_that_no_test_reaches_are_named(small: Path) -> None:
    folder = small
    lines = [f"rule_{number} if input.question == `{number}`" for number in range(40)]
    (folder / "rego" / "more.rego").write_text("package twokey.more\n\n" + "\n\n".join(lines) + "\n")
    code, output = run("test", "-c", str(folder / "twokey.yaml"))
    assert code == 1
    assert "below 95 %" in output
    assert "more.rego" in output


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("x if input.operation.sql.has_were", "undefined ref"),
        ('x := http.send({"url": "http://example.org"})', "undefined function http.send"),
        ("x := time.now_ns()", "undefined function time.now_ns"),
        ("x if", "rego_parse_error"),
    ],
)
def test_what_policies_may_not_do_is_a_compile_error(folder: Path, rule: str, complaint: str) -> None:
    (folder / "rego" / "more.rego").write_text(
        f"# METADATA\n# schemas:\n#   - input: schema.input\npackage twokey.more\n\n{rule}\n"
    )
    code, output = run("check", "-c", str(folder / "twokey.yaml"))
    assert code == 1
    assert complaint in output


def test_configured_data_replaces_a_shipped_file(folder: Path) -> None:
    for path in (folder / "rego").rglob("*_test.rego"):
        if path.parent.name not in {"duties", "testing"}:
            path.unlink()
    assert "FAIL" not in run("test", "-c", str(folder / "twokey.yaml"))[1]
    (folder / "data").mkdir()
    (folder / "data" / "duties.yaml").write_text("{}\n")
    text = (folder / "twokey.yaml").read_text().replace("{rego: rego}", "{rego: rego, data: data}")
    (folder / "twokey.yaml").write_text(text)
    assert "FAIL" in run("test", "-c", str(folder / "twokey.yaml"))[1]  # the duties' tests notice
