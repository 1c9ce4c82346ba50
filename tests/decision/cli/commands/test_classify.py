"""`twokey classify suggest` on a real PostgreSQL: what it finds, what it prints, what it never does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from decision.cli import located
from decision.cli.main import main
from tests.decision.cli.commands.conftest import Clinic
from tests.decision.cli.suggest.clinic import TRUTH


def suggest(clinic: Clinic, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["classify", "suggest", "clinic", "-c", str(clinic.config), *arguments])


def proposed(clinic: Clinic, *arguments: str) -> dict[str, str]:
    result = suggest(clinic, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {item["column"]: item["label"] for item in json.loads(result.stdout)["proposals"]}


def test_precision_and_recall_on_the_labelled_schema(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    found = proposed(clinic)
    right = {column for column, label in found.items() if TRUTH.get(column) == label}
    precision, recall = len(right) / len(found), len(right) / len(TRUTH)
    with capsys.disabled():
        sys.stdout.write(f"\nclassify suggest: {len(found)} proposed, {len(TRUTH)} true, ")
        sys.stdout.write(f"precision {precision:.2f}, recall {recall:.2f}\n")
    wrong = {column: label for column, label in found.items() if column not in right}
    missed = {column: label for column, label in TRUTH.items() if column not in right}
    assert precision >= 0.95, wrong
    assert recall >= 0.95, missed


def test_by_names_alone_less_is_found_and_it_says_so(clinic: Clinic) -> None:
    result = suggest(clinic, "--json", "--rows", "0")
    answer = json.loads(result.stdout)
    assert {item["confidence"] for item in answer["proposals"] if item["type"] != "inet"} == {"low"}
    assert "public.payments.c1" not in {item["column"] for item in answer["proposals"]}
    assert answer["not_sampled"]["public.patients.email"] == "not sampled"


def test_it_prints_a_diff_that_patch_takes(clinic: Clinic) -> None:
    before = "# labels of the clinic\npublic.staff.name: name"  # no end of line
    clinic.classification.write_text(before)
    result = suggest(clinic)
    assert result.exit_code == 0
    assert "+public.staff.name: name  # suggested" not in result.stdout
    done = subprocess.run(
        ["patch", "-p1"], input=result.stdout, cwd=clinic.folder, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = located.load(clinic.classification, "clinic").data
    assert isinstance(after, dict)
    assert after["sales data.Customer List.E-Mail"] == "email"
    assert {column for column in TRUTH if column in after} == set(TRUTH)
    again = suggest(clinic)
    assert again.stdout == ""
    assert "nothing to propose" in again.stderr


def test_a_new_file_is_a_diff_against_nothing(clinic: Clinic) -> None:
    clinic.classification.unlink()
    config = clinic.config.read_text()
    try:
        clinic.config.write_text(config.replace("    classification: clinic.classification.yaml\n", ""))
        result = suggest(clinic)
    finally:
        clinic.config.write_text(config)
    assert result.stdout.startswith("--- /dev/null\n+++ b/clinic.classification.yaml\n@@ -0,0 +1,")
    assert "add `classification: clinic.classification.yaml`" in result.stderr


def test_no_value_is_ever_printed(clinic: Clinic) -> None:
    columns = ("patients.email", "patients.ssn", "payments.c1", "accounts.password_hash", "notes.body")
    values = {
        value
        for column in columns
        for value in clinic.run(f"SELECT {column} FROM {column.partition('.')[0]}").splitlines()
    }
    assert len(values) > 300
    for arguments in ((), ("--json",)):
        result = suggest(clinic, *arguments)
        shown = result.stdout + result.stderr
        assert [value for value in values if value in shown] == []


def test_what_has_a_label_in_the_catalog_is_not_proposed(clinic: Clinic) -> None:
    clinic.run("COMMENT ON COLUMN patients.email IS 'where to write; twokey: label=contact'")
    try:
        assert "public.patients.email" not in proposed(clinic)
    finally:
        clinic.run("COMMENT ON COLUMN patients.email IS NULL")


def test_check_is_for_a_pipeline(clinic: Clinic) -> None:
    result = suggest(clinic, "--check")
    assert result.exit_code == 1
    assert "columns without a label look as if they needed one" in result.stderr


def test_a_file_that_takes_no_lines_is_refused(clinic: Clinic) -> None:
    clinic.classification.write_text("{public.staff.name: name}\n")
    result = suggest(clinic)
    assert result.exit_code == 1
    assert "lines can't be added to clinic.classification.yaml" in result.stderr


def test_it_runs_nobodys_functions(clinic: Clinic) -> None:
    """A view would run its owner's function, a type of one's own its output function: neither is read."""
    clinic.run(
        "CREATE SEQUENCE ran; GRANT USAGE ON ran TO PUBLIC;"
        "CREATE FUNCTION trap(text) RETURNS text LANGUAGE sql AS $$SELECT nextval('ran')::text || $1$$;"
        "CREATE VIEW trapped AS SELECT public.trap(email) AS email FROM patients; GRANT SELECT ON trapped TO clinic_ro"
    )
    try:
        answer = json.loads(suggest(clinic, "--json").stdout)
        assert clinic.run("SELECT is_called FROM ran") == "f"
    finally:
        clinic.run("DROP VIEW trapped; DROP FUNCTION trap; DROP SEQUENCE ran")
    assert answer["not_sampled"]["public.secret_box.email"] == "the account may not read it"
    assert "values of type public.pair are not read" in answer["not_sampled"]["public.odd.p"]


def test_wrong_names_end_with_a_next_step(clinic: Clinic) -> None:
    result = CliRunner().invoke(main, ["classify", "suggest", "clinik", "-c", str(clinic.config)])
    assert result.exit_code == 1
    assert "did you mean 'clinic'?" in result.stderr
    result = suggest(clinic, "--role", "auditor")
    assert result.exit_code == 1
    assert "has no account for auditor" in result.stderr


def test_without_its_libraries_it_says_what_to_install(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("decision.cli.suggest.") and name.rpartition(".")[2] in {"values", "propose", "diff"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    result = suggest(clinic)
    assert result.exit_code == 1
    assert "pip install 'twokey[classify]'" in result.stderr
