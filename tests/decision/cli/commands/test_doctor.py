"""`twokey doctor` about a classification, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from decision.cli.main import main
from tests.decision.cli.commands.conftest import Clinic


def found(clinic: Clinic, level: str) -> list[str]:
    result = CliRunner().invoke(main, ["doctor", "-c", str(clinic.config), "--json"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [
        f"{line['message']} | {line['fix']}" for line in lines if line["level"] == level and "clinic" in line["subject"]
    ]


def test_columns_that_are_not_there_have_line_key_and_fix(clinic: Clinic) -> None:
    clinic.classification.write_text(
        "public.patients.email: email\npublic.patients.e_mail: email\nPublic.Patients.SSN: national-id\n"
        "sales data.Customer List.e-mail: email\npublic.nothing.like_it: pan\n"
    )
    problems = found(clinic, "problem")
    assert [problem.partition("clinic.classification.yaml:")[2][:40] for problem in problems] == [
        "2: public.patients.e_mail: the target ha",
        "3: Public.Patients.SSN: the target has n",
        "4: sales data.Customer List.e-mail: the ",
        "5: public.nothing.like_it: the target ha",
    ]
    for problem, fix in zip(
        problems,
        ["did you mean public.patients.email?", "did you mean public.patients.ssn?", "List.E-Mail?", "remove the line"],
        strict=True,
    ):
        assert fix in problem


def test_nothing_is_wrong_with_what_is_right(clinic: Clinic) -> None:
    clinic.classification.write_text("public.patients.email: email\npublic.events.subject_email: email\n")
    assert found(clinic, "problem") == []
    assert any(
        "3 columns are classified, 0 of them by labels" in line for line in found(clinic, "ok")
    )  # and a partition's


@pytest.fixture
def blind(clinic: Clinic) -> Iterator[Clinic]:
    clinic.classification.write_text("public.patients.email: email\n")
    clinic.run(
        "CREATE TABLE copies (email text); CREATE FUNCTION spill() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO public.copies VALUES (NEW.email); RETURN NEW; END$$;"
        "CREATE TRIGGER spill BEFORE UPDATE ON patients FOR EACH ROW EXECUTE FUNCTION spill();"
        "CREATE TRIGGER harmless BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION spill();"
        "CREATE RULE also AS ON INSERT TO patients DO ALSO INSERT INTO public.copies VALUES (NEW.email);"
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;"
        "CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch();"
        "CREATE VIEW over_view AS SELECT email FROM patient_mails; CREATE VIEW wards AS SELECT ward FROM patients;"
        "CREATE MATERIALIZED VIEW kept AS SELECT left(email, 3) AS start FROM patients;"
        "COMMENT ON COLUMN staff.name IS 'twokey: name'"
    )
    yield clinic
    clinic.run(
        "COMMENT ON COLUMN staff.name IS NULL; DROP EVENT TRIGGER watching; DROP FUNCTION watch;"
        "DROP RULE also ON patients;"
        "DROP VIEW over_view, wards; DROP MATERIALIZED VIEW kept; DROP FUNCTION spill CASCADE; DROP TABLE copies"
    )


def test_what_nobody_sees_through_is_listed(blind: Clinic) -> None:
    warnings = "\n".join(found(blind, "warning"))
    assert "trigger spill of public.patients runs public.spill() (plpgsql)" in warnings
    assert "rule also of public.patients" in warnings
    assert "event trigger watching (ddl_command_end) runs public.watch()" in warnings
    assert "harmless" not in warnings
    assert "trigger harmless of public.products runs public.spill() (plpgsql): no column of that table" in "\n".join(
        found(blind, "ok")
    )
    assert "of public.staff.name begins with `twokey:` and can't be read" in warnings
    shown = "\n".join(found(blind, "ok"))
    assert "public.patient_mails reads public.patients.email" in shown
    assert "public.over_view reads public.patients.email" in shown
    assert "public.kept keeps values of public.patients.email" in shown
    assert "public.wards" not in shown


def test_every_trigger_is_listed_however_many_there_are(blind: Clinic) -> None:
    names = [f"spill_{number:02}" for number in range(60)]
    blind.run(
        "".join(
            f"CREATE TRIGGER {name} BEFORE UPDATE ON patients FOR EACH ROW EXECUTE FUNCTION spill();" for name in names
        )
        + "".join(f"CREATE VIEW mails_{number} AS SELECT email FROM patients;" for number in range(30))
    )
    try:
        warnings = "\n".join(found(blind, "warning"))
        assert [name for name in names if f"trigger {name} of public.patients" not in warnings] == []
        shown = "\n".join(found(blind, "ok"))
        assert [number for number in range(30) if f"public.mails_{number} reads" not in shown] == []
    finally:
        blind.run("".join(f"DROP VIEW mails_{number};" for number in range(30)))


def test_a_planner_that_can_write_is_still_warned_of(clinic: Clinic) -> None:
    clinic.run("GRANT INSERT ON staff TO clinic_ro")
    try:
        assert any("can write: it may write public.staff" in line for line in found(clinic, "warning"))
    finally:
        clinic.run("REVOKE INSERT ON staff FROM clinic_ro")
