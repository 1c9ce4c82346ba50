"""CREATE TABLE AS and SELECT INTO by a role that sees a label: the new columns have it before they exist (ADR 23)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from decision.cli.demo.database import scratch_folder
from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until

MASKING = """\
clear: {executor: ["*"], reviewer: ["*"]}
default: {type: "null"}
maskers: {pan: {type: keep-last, n: 4, fill: "*"}}
inference: {allow: [join-foreign-key]}
derive: {executor: [email, pan]}
"""
CONNECTION = "sandbox"  # where definitions need no reviewer

Client = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def deriving() -> Iterator[Stack]:
    folder = scratch_folder("twokey-")
    (folder / "policy-data").mkdir()
    (folder / "policy-data" / "masking.yaml").write_text(MASKING)
    with Stack(folder, config=CONFIG + "policy: {{data: policy-data}}\n") as running:
        admin(
            running,
            "GRANT CREATE ON SCHEMA public TO company_rw;"
            "ALTER DEFAULT PRIVILEGES FOR ROLE company_rw IN SCHEMA public GRANT SELECT ON TABLES TO company_ro",
        )
        yield running


def again(client: Client, sql: str) -> list[tuple[object, ...]]:
    """What was defined a moment ago may be answered with `send it again`."""
    for _ in range(5):
        try:
            found = client.execute(sql)
            return found.fetchall() if found.description else []
        except psycopg.Error as error:
            if "again" not in str(error):
                raise
            client.rollback() if not client.autocommit else None
    raise AssertionError(f"{sql!r} was never answered")


def events(stack: Stack) -> list[dict[str, object]]:
    return [dict(one) for one in stack.records() if one["kind"] == "policy" and one["event"] == "derived"]


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("recent", "CREATE TABLE recent AS SELECT id, email FROM customers"),
        ("into_it", "SELECT id, lower(email) AS email INTO into_it FROM customers"),
    ],
)
def test_the_new_table_is_masked_at_once_and_after_a_restart(deriving: Stack, name: str, sql: str) -> None:
    with (
        connect(deriving, "executor", connection=CONNECTION) as executor,
        connect(deriving, "planner", connection=CONNECTION) as planner,
        connect(deriving, "planner") as elsewhere,
    ):
        again(executor, sql)
        for client in (planner, elsewhere):  # the same database by its other name too
            rows = again(client, f"SELECT id, email FROM {name}")
            assert len(rows) > 1
            assert all(email is None for _, email in rows)
        assert all("@" in str(email) for _, email in again(executor, f"SELECT id, email FROM {name}"))
    columns = [column for event in events(deriving) for column in event["columns"]]  # type: ignore[attr-defined]  # JSON
    assert {"column": f"public.{name}.email", "label": "email"} in columns
    deriving.stop_twokey()
    deriving.start_twokey()
    with connect(deriving, "planner", connection=CONNECTION) as planner:
        assert all(email is None for _, email in again(planner, f"SELECT id, email FROM {name}"))


def test_what_is_rolled_back_leaves_a_label_and_no_table(deriving: Stack) -> None:
    with connect(deriving, "executor", connection=CONNECTION, autocommit=False) as executor:
        executor.execute("CREATE TABLE undone AS SELECT email FROM customers")
        executor.rollback()
    admin(
        deriving,
        "CREATE TABLE undone (email text); INSERT INTO undone VALUES ('x'); GRANT SELECT ON undone TO company_ro",
    )
    with connect(deriving, "planner", connection=CONNECTION) as planner:
        assert again(planner, "SELECT email FROM undone") == [(None,)]


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE kept RENAME TO bare",
        "ALTER TABLE kept RENAME COLUMN email TO bare",
        "ALTER TABLE kept SET SCHEMA other",
        "ALTER SCHEMA public RENAME TO bare",
    ],
)
def test_the_name_that_the_label_is_on_stays(deriving: Stack, sql: str) -> None:
    with connect(deriving, "executor", connection=CONNECTION) as executor:
        again(executor, "DROP TABLE IF EXISTS kept")
        again(executor, "CREATE TABLE kept AS SELECT email FROM customers")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="derived"):
            again(executor, sql)


def test_what_was_derived_is_shown_as_a_diff_until_it_is_committed(deriving: Stack) -> None:
    with connect(deriving, "executor", connection=CONNECTION) as executor:
        again(executor, "CREATE TABLE shown AS SELECT pan FROM cards")
    token = deriving.token("erin", "auditor")
    told = deriving.twokey("classify", "derived", CONNECTION, token=token)
    assert told.returncode == 0, told.stderr
    assert "+public.shown.pan: pan  # derived" in told.stdout
    file = deriving.folder / "company.classification.yaml"
    file.write_text(file.read_text() + "public.shown.pan: pan\n")
    told = deriving.twokey("classify", "derived", CONNECTION, "--json", token=token)
    assert "public.shown.pan" not in told.stdout, told.stderr


def test_a_masked_role_derives_nothing(deriving: Stack) -> None:
    with connect(deriving, "planner", connection=CONNECTION) as planner, pytest.raises(psycopg.Error):
        planner.execute("CREATE TABLE theirs AS SELECT email FROM customers")


def test_a_table_that_ends_with_the_session_needs_no_label(deriving: Stack) -> None:
    """It carries its sources instead (test_temporary_taint.py)."""
    with connect(deriving, "executor", connection=CONNECTION) as executor:
        executor.execute("CREATE TEMP TABLE passing AS SELECT email FROM customers")
    assert not any(".passing." in str(event["columns"]) for event in events(deriving))


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("payroll", "CREATE TABLE payroll AS SELECT id, salary FROM employees"),
        ("mixed", "CREATE TABLE mixed AS SELECT c.email || k.pan AS both FROM customers c JOIN cards k ON k.id = c.id"),
    ],
)
def test_what_may_not_be_derived_is_held(deriving: Stack, name: str, sql: str) -> None:
    """A label that `derive` doesn't list, two labels for one column."""
    with connect(deriving, "executor", connection=CONNECTION) as executor, Background() as beside:
        making = beside.submit(executor.execute, sql)
        approval = str(until(partial(pending, deriving, containing=name), what="the hold"))
        assert not any(f".{name}." in str(event["columns"]) for event in events(deriving))
        assert deriving.review("deny", approval, reason="not this one").returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not this one"):
            making.result(20)
