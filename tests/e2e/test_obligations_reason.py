"""require-reason by real clients: `SET twokey.reason`, which the gateway keeps to itself."""

from __future__ import annotations

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.background import Background
from tests.e2e.clients import connect, pending, until
from tests.e2e.obliged import count, log, mark, reasons, run, state, statement_of


@pytest.mark.parametrize("prepare", [False, True])
def test_an_act_that_needs_a_reason_is_denied_without_one(obliged: Stack, *, prepare: bool) -> None:
    marker, before = mark(), state(obliged)
    with connect(obliged, "executor", connection="why") as client:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            client.execute(f"UPDATE many SET v = '{marker}' WHERE id = 1", prepare=prepare)
        assert refused.value.diag.message_hint == "SET twokey.reason = 'why'"
        assert "OBLIGATION-REASON" in str(refused.value)
        assert client.execute("SELECT id FROM many WHERE id = 1").fetchone() == (1,)
    assert state(obliged) == before


@pytest.mark.parametrize("how", ["simple", "extended", "in a transaction", "in a pipeline"])
def test_a_reason_is_kept_by_the_gateway_and_recorded(obliged: Stack, how: str) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="why") as client:
        assert client.execute(f"SET twokey.reason = 'ticket {marker}'").statusmessage == "SET"
        assert client.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        run(client, f"UPDATE many SET v = '{marker}' WHERE id = 1", how)
        with pytest.raises(psycopg.errors.UndefinedObject):
            client.execute("SHOW twokey.reason")  # the target has never heard of it
    assert count(obliged, f"v = '{marker}'") == (1 if how != "in a pipeline" else 0)
    decided = [r for r in log(obliged) if r["kind"] == "decision" and f"ticket {marker}" in str(r.get("input"))]
    assert decided


def test_audit_and_reviewers_see_the_reason(obliged: Stack) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="why") as client:
        client.execute("SET twokey.reason = 'because of \x1b[31mred'")
        client.execute(f"UPDATE many SET v = '{marker}' WHERE id = 2")
    operation = next(str(r["operation"]) for r in log(obliged) if marker.encode() in statement_of(r))
    told = obliged.twokey("audit", "show", operation, token=obliged.token("erin", "auditor"))
    assert told.returncode == 0, told.stderr
    assert "reason     because of " in told.stdout
    assert "\x1b" not in told.stdout


@pytest.mark.parametrize("prepare", [False, True])
def test_a_reason_follows_transactions(obliged: Stack, *, prepare: bool) -> None:
    markers = [mark() for _ in range(6)]

    def read(client: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        client.execute(f"SELECT '{markers[number]}'")

    with connect(obliged, "executor", connection="why", options="-c twokey.reason=from\\ the\\ start") as client:

        def change(statement: str) -> None:
            before = client.info.transaction_status
            assert client.execute(statement, prepare=prepare).statusmessage == statement.split(maxsplit=1)[0]
            assert client.info.transaction_status == before

        read(client, 0)
        change("SET twokey.reason = 'first'")
        read(client, 1)
        with client.transaction(force_rollback=True):
            change("SET twokey.reason = 'second'")
            read(client, 2)
        read(client, 3)
        with client.transaction():
            change("SET LOCAL twokey.reason = 'third'")
            read(client, 4)
        change("RESET twokey.reason")
        read(client, 5)
    told = [reasons(obliged, marker) for marker in markers]
    assert told == [["from the start"], ["first"], ["second"], ["first"], ["third"], ["from the start"]]


def test_a_reason_within_a_pipeline_counts_for_what_stands_behind_it(obliged: Stack) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="why") as client:
        with client.pipeline():
            first = client.execute("SELECT 1")
            given = client.execute("SET twokey.reason = 'in the pipeline'")
            second = client.execute(f"UPDATE many SET v = '{marker}' WHERE id = 3")
        assert (first.fetchone(), given.statusmessage, second.rowcount) == ((1,), "SET", 1)
        # The target skips what stands behind an error, so the reason is not given either.
        with client.pipeline() as pipeline:
            client.execute("SELECT 1 / count(*) FROM pg_sleep(0.5) AS s WHERE s IS NULL")  # is answered later
            client.execute("RESET twokey.reason")
            with pytest.raises(psycopg.errors.DivisionByZero):
                pipeline.sync()
        client.execute(f"UPDATE many SET v = '{marker}' WHERE id = 3")
    assert reasons(obliged, marker) == ["in the pipeline"] * 2


def test_a_reason_in_a_failed_transaction_is_refused_as_the_target_would(obliged: Stack) -> None:
    with connect(obliged, "executor", connection="why") as client:
        client.execute("BEGIN")
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.execute("SELECT 1 / 0")
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                client.execute("SET twokey.reason = 'x'", prepare=prepare)
        client.execute("ROLLBACK")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("UPDATE many SET v = 'x' WHERE id = 1")


OWN = [
    "SELECT set_config('twokey.reason', 'x', false)",
    "SELECT set_config('twokey.subject', 'x', false)",
    "SET twokey.subject = 'x'",
    "RESET twokey.subject",
    "SET LOCAL twokey.anything = 'x'",
    "SET twokey.reason = 'x'; SELECT 1",
    "SET twokey.reason = 1",
]


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("statement", OWN)
def test_other_ways_to_the_gateways_own_settings_are_refused(obliged: Stack, statement: str, *, prepare: bool) -> None:
    with connect(obliged, "executor", connection="why") as client:
        if prepare and ";" in statement:
            return
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
            client.execute(statement, prepare=prepare)
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_reviewer_sees_the_reason(stack: Stack) -> None:
    marker = mark()
    with connect(stack, "executor") as client, Background() as background:
        client.execute("SET twokey.reason = 'ticket 4711'")
        held = background.submit(client.execute, f"DELETE FROM orders WHERE id = 1 AND '{marker}' <> ''")
        approval = str(until(lambda: pending(stack, containing=marker), what="the approval"))
        told = stack.twokey("approvals", "show", approval, token=stack.token("bob", "reviewer"))
        assert "reason     ticket 4711" in told.stdout
        assert stack.review("deny", approval).returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            held.result(30)
    assert set(reasons(stack, marker)) == {"ticket 4711"}


def test_a_person_at_psql_is_told_what_to_do(obliged: Stack) -> None:
    marker = mark()
    write = f"UPDATE many SET v = '{marker}' WHERE id = 5"
    refused = obliged.psql("executor", write, "SET twokey.reason = 'ticket 12'", write, connection="why")
    assert "HINT:  SET twokey.reason = 'why'" in refused.stderr
    assert refused.stdout.splitlines() == ["SET", "UPDATE 1"]
    assert reasons(obliged, marker) == ["", "ticket 12"]
    cut = obliged.psql("executor", "SELECT id FROM many", "UPDATE many SET v = ''", connection="rows")
    assert "the result has more rows than policy allows: 5" in cut.stderr
    assert "it wrote 200 rows, more than policy allows: 5; it is rolled back" in cut.stderr
    copied_out = obliged.psql("executor", r"\copy many TO STDOUT", "SELECT 'still here'", connection="rows")
    assert "more rows than policy allows" in copied_out.stderr
    assert copied_out.stdout.splitlines()[-1] == "still here"
