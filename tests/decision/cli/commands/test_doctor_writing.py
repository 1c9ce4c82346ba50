"""`twokey doctor` warns when the planner's target account can write, in whatever way; on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from decision.cli.main import main
from tests.decision.cli.commands.conftest import Clinic


def about_writing(clinic: Clinic) -> tuple[str, str]:
    """Level and message."""
    result = CliRunner().invoke(main, ["doctor", "-c", str(clinic.config), "--json"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    (found,) = [line for line in lines if "planner's account clinic_ro can " in line["message"]]
    return found["level"], found["message"]


def test_an_account_that_can_only_read(clinic: Clinic) -> None:
    assert about_writing(clinic) == ("ok", "the planner's account clinic_ro can only read")


WAYS = {
    "superuser": ("ALTER ROLE clinic_ro SUPERUSER", "ALTER ROLE clinic_ro NOSUPERUSER", "is a superuser"),
    "createrole": ("ALTER ROLE clinic_ro CREATEROLE", "ALTER ROLE clinic_ro NOCREATEROLE", "may create roles"),
    "createdb": ("ALTER ROLE clinic_ro CREATEDB", "ALTER ROLE clinic_ro NOCREATEDB", "may create databases"),
    "table": (
        "GRANT DELETE ON patients TO clinic_ro",
        "REVOKE DELETE ON patients FROM clinic_ro",
        "may write public.patients",
    ),
    "public": (
        "GRANT TRUNCATE ON patients TO PUBLIC",
        "REVOKE TRUNCATE ON patients FROM PUBLIC",
        "may write public.patients",
    ),
    "column": (
        "GRANT UPDATE (email) ON patients TO clinic_ro",
        "REVOKE UPDATE (email) ON patients FROM clinic_ro",
        "may write public.patients",
    ),
    "owner without privileges": (
        "CREATE TABLE mine (id int); ALTER TABLE mine OWNER TO clinic_ro; REVOKE ALL ON mine FROM clinic_ro",
        "DROP TABLE mine",
        "owns public.mine",
    ),
    "member": (
        "CREATE ROLE writers; GRANT INSERT ON patients TO writers; GRANT writers TO clinic_ro",
        "DROP OWNED BY writers; DROP ROLE writers",
        "may write public.patients",
    ),
    "member that must change to it": (
        "CREATE ROLE writers; GRANT INSERT ON patients TO writers; CREATE ROLE between NOINHERIT;"
        "GRANT writers TO between; GRANT between TO clinic_ro; ALTER ROLE clinic_ro NOINHERIT",
        "ALTER ROLE clinic_ro INHERIT; DROP OWNED BY writers; DROP ROLE writers, between",
        "may write public.patients",
    ),
    "predefined role": (
        "GRANT pg_write_all_data TO clinic_ro",
        "REVOKE pg_write_all_data FROM clinic_ro",
        "is a member of pg_write_all_data",
    ),
    "role of a superuser": (
        "CREATE ROLE boss SUPERUSER; GRANT boss TO clinic_ro",
        "DROP ROLE boss",
        "may become boss, a superuser",
    ),
    "schema": (
        "GRANT CREATE ON SCHEMA public TO clinic_ro",
        "REVOKE CREATE ON SCHEMA public FROM clinic_ro",
        "may create in schema public",
    ),
    "database": (
        "GRANT CREATE ON DATABASE clinic TO clinic_ro",
        "REVOKE CREATE ON DATABASE clinic FROM clinic_ro",
        "may create schemas",
    ),
    "sequence": (
        "CREATE SEQUENCE numbers; GRANT USAGE ON SEQUENCE numbers TO clinic_ro",
        "DROP SEQUENCE numbers",
        "may change the sequence public.numbers",
    ),
    "a function that acts as its owner": (
        "CREATE FUNCTION tidy() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM patients'",
        "DROP FUNCTION tidy()",
        "may run public.tidy, which acts as ",
    ),
}


@pytest.fixture(params=WAYS, ids=str)
def way(clinic: Clinic, request: pytest.FixtureRequest) -> Iterator[str]:
    begin, end, says = WAYS[request.param]
    clinic.run(begin)
    try:
        yield says
    finally:
        clinic.run(end)


def test_every_way_of_writing_is_warned_of(clinic: Clinic, way: str) -> None:
    level, message = about_writing(clinic)
    assert level == "warning"
    assert f"can write: it {way}" in message.replace("owns public.mine; may write public.mine", "owns public.mine")


HARMLESS = {
    "a function that can not write": (
        "CREATE FUNCTION look() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT count(*) FROM patients'",
        "DROP FUNCTION look()",
    ),
    "a function that it may not run": (
        "CREATE FUNCTION tidy() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM patients';"
        "REVOKE EXECUTE ON FUNCTION tidy() FROM PUBLIC",
        "DROP FUNCTION tidy()",
    ),
    "a trigger's function": (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END'",
        "DROP FUNCTION note()",
    ),
    "a role that only reads": (
        "CREATE ROLE readers; GRANT SELECT ON patients TO readers; GRANT readers TO clinic_ro;"
        "GRANT pg_read_all_data TO clinic_ro",
        "REVOKE pg_read_all_data FROM clinic_ro; DROP OWNED BY readers; DROP ROLE readers",
    ),
}


@pytest.fixture(params=HARMLESS, ids=str)
def harmless(clinic: Clinic, request: pytest.FixtureRequest) -> Iterator[None]:
    begin, end = HARMLESS[request.param]
    clinic.run(begin)
    try:
        yield
    finally:
        clinic.run(end)


@pytest.mark.usefixtures("harmless")
def test_what_can_not_write_is_not_warned_of(clinic: Clinic) -> None:
    assert about_writing(clinic)[0] == "ok"


def test_planners_and_executors_with_one_account_are_warned_of(clinic: Clinic) -> None:
    before = clinic.config.read_text()

    def told() -> list[str]:
        result = CliRunner().invoke(main, ["doctor", "-c", str(clinic.config), "--json"])
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return [line["message"] for line in lines if "share the target account" in line["message"]]

    assert told() == []
    try:
        clinic.config.write_text(before.replace("user: clinic_rw", "user: clinic_ro"))
        (message,) = told()
        assert "twokey.yaml:8: planners and executors share the target account clinic_ro" in message
    finally:
        clinic.config.write_text(before)
