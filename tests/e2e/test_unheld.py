"""What can't be held (behind a write of its transaction): refused with the reference of an
open request, and let through once approved, as exactly that act, exactly once."""

from __future__ import annotations

import json

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until
from tests.e2e.test_sessions import listed

DELETE = "DELETE FROM orders WHERE id = %s"


def left(stack: Stack, *numbers: int) -> int:
    return int(admin(stack, f"SELECT count(*) FROM orders WHERE id IN ({', '.join(map(str, numbers))})"))


def insert(stack: Stack, *numbers: int) -> None:
    for number in numbers:
        admin(stack, f"INSERT INTO orders VALUES ({number}, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")


def reference(error: psycopg.Error) -> dict[str, object]:
    """As docs/errors.md tells programs to read it."""
    assert error.sqlstate == "55000"
    (line,) = [one for one in (error.diag.message_detail or "").splitlines() if one.startswith("Pending: ")]
    found = json.loads(line.removeprefix("Pending: "))
    assert set(found) == {"approval", "groups", "quorum", "expires"}
    assert str(found["approval"]) in (error.diag.message_hint or "")
    return dict(found)


def job(stack: Stack, number: int, *, subject: str | None = None) -> int:
    """A pipeline's whole run: log in, write, delete, commit.

    A request belongs to its session while that lives (ADR 34), and runs follow each other more slowly than a session
    takes to close.
    """
    until(lambda: not listed(stack), what="the end of the run before")
    with connect(stack, "executor", subject=subject, autocommit=False) as client:
        client.execute("UPDATE orders SET status = 'paid' WHERE id = 1")
        deleted = client.execute(DELETE, [number]).rowcount
        client.commit()
        return deleted


def refused(stack: Stack, number: int, *, subject: str | None = None) -> str:
    with pytest.raises(psycopg.Error) as caught:
        job(stack, number, subject=subject)
    return str(reference(caught.value)["approval"])


def test_a_job_is_refused_with_a_reference_waits_and_goes_through_once(stack: Stack) -> None:
    insert(stack, 51001, 51002)
    agent = stack.token("executor-7", "executor")
    approval = refused(stack, 51001)
    assert refused(stack, 51001) == approval  # still pending: the same request, not another one
    late = stack.twokey("approvals", "wait", approval, "--timeout", "0.5", token=agent)
    assert late.returncode == 75
    assert f"{approval} waits: 0 of 1 of" in late.stderr
    with Background() as pool:
        waiting = pool.submit(stack.twokey, "approvals", "wait", approval, "--timeout", "30", "--json", token=agent)
        assert stack.review("approve", approval).returncode == 0
        done = waiting.result(40)
    assert done.returncode == 0
    assert json.loads(done.stdout)["id"] == approval
    assert refused(stack, 51002) != approval  # another value
    assert refused(stack, 51001, subject="dana") != approval  # another requester
    assert left(stack, 51001, 51002) == 2
    assert job(stack, 51001) == 1
    assert left(stack, 51001) == 0
    insert(stack, 51001)
    assert refused(stack, 51001) != approval  # it was good for one
    assert left(stack, 51001) == 1


def test_another_role_does_not_use_the_approval(stack: Stack) -> None:
    insert(stack, 51003)
    approval = refused(stack, 51003)
    assert stack.review("approve", approval).returncode == 0
    with connect(stack, "planner") as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(DELETE, [51003])
    assert left(stack, 51003) == 1
    assert job(stack, 51003) == 1


def test_nobody_is_asked_about_one_of_several_statements_of_a_message(stack: Stack) -> None:
    insert(stack, 51004)
    message = b"BEGIN; UPDATE orders SET status = 'sent' WHERE id = 1; DELETE FROM orders WHERE id = 51004; COMMIT"
    with connect(stack, "executor") as client:
        result = client.pgconn.exec_(message)
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42501"
        detail = (result.error_field(psycopg.pq.DiagnosticField.MESSAGE_DETAIL) or b"").decode()
        assert "Pending" not in detail
    assert left(stack, 51004) == 1
    assert pending(stack, containing="51004") is None


def test_a_refused_statement_fails_its_transaction_and_no_other_is_asked_for_behind_it(stack: Stack) -> None:
    insert(stack, 51005, 51006)
    with connect(stack, "executor", autocommit=False) as client:
        client.execute("UPDATE orders SET status = 'kept' WHERE id = 51006")
        with pytest.raises(psycopg.Error) as caught:
            client.execute(DELETE, [51005])
        reference(caught.value)
        assert client.info.transaction_status is psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.Error):
            client.execute(DELETE, [51006])
        client.commit()  # a rollback, as the server says
    assert admin(stack, "SELECT status FROM orders WHERE id = 51006") == "new"
    assert pending(stack, containing="51005") is not None
    assert pending(stack, containing="51006") is None


@pytest.mark.parametrize(("end", "code"), [("deny", 5), ("withdraw", 7)])
def test_a_pipeline_learns_why_it_may_not(stack: Stack, end: str, code: int) -> None:
    number = {"deny": 51007, "withdraw": 51008}[end]
    insert(stack, number)
    approval = refused(stack, number)
    agent = stack.token("executor-7", "executor")
    if end == "deny":
        assert stack.review("deny", approval, reason="not today").returncode == 0
    else:
        assert stack.twokey("approvals", "withdraw", approval, token=agent).returncode == 0
    done = stack.twokey("approvals", "wait", approval, token=agent)
    assert done.returncode == code
    assert ("not today" in done.stderr) == (end == "deny")
    assert stack.review("approve", approval).returncode != 0
    assert left(stack, number) == 1


def test_behind_a_savepoint_the_same_transaction_goes_on_once_it_is_approved(stack: Stack) -> None:
    insert(stack, 51009)
    with connect(stack, "executor", autocommit=False) as client:
        client.execute("UPDATE orders SET status = 'going-on' WHERE id = 51009")
        client.execute("SAVEPOINT before")
        with pytest.raises(psycopg.Error) as caught:
            client.execute(DELETE, [51009])
        approval = str(reference(caught.value)["approval"])
        client.execute("ROLLBACK TO SAVEPOINT before")
        with pytest.raises(psycopg.Error) as again:
            client.execute(DELETE, [51009])
        assert reference(again.value)["approval"] == approval
        client.execute("ROLLBACK TO SAVEPOINT before")
        assert stack.review("approve", approval).returncode == 0
        assert client.execute(DELETE, [51009]).rowcount == 1
        client.commit()
    assert left(stack, 51009) == 0
