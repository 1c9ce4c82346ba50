"""Held operations: who may approve, what an approval covers, and every way a hold can end."""

from __future__ import annotations

import signal
import threading

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.background import Background
from tests.e2e.clients import APPROVAL, admin, connect, pending, until


def held(stack: Stack, text: str) -> str:
    return str(until(lambda: pending(stack, containing=text), what=f"a pending approval for {text}"))


def rows(stack: Stack, condition: str) -> str:
    return admin(stack, f"SELECT count(*) FROM orders WHERE {condition}")


def insert(stack: Stack, *numbers: int) -> None:
    for number in numbers:
        admin(stack, f"INSERT INTO orders VALUES ({number}, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")


def test_the_same_session_goes_on_when_a_reviewer_approves(stack: Stack) -> None:
    insert(stack, 50001)
    terminal = stack.terminal("executor")
    terminal.run("SET application_name = 'same-session';")
    terminal.start("DELETE FROM orders WHERE id = 50001 RETURNING id;")
    notice = terminal.wait_for(APPROVAL.pattern)
    approval = APPROVAL.search(notice)
    assert approval
    assert rows(stack, "id = 50001") == "1"
    done = stack.review("approve", approval.group(), reason="seen")
    assert done.returncode == 0, done.stderr
    assert "50001" in terminal.finish()
    assert "same-session" in terminal.run("SHOW application_name;")
    assert terminal.close() == 0
    assert rows(stack, "id = 50001") == "0"


def test_one_approval_is_one_redemption(stack: Stack) -> None:
    insert(stack, 50002)
    with connect(stack, "executor") as client, Background() as pool:
        statement = "DELETE FROM orders WHERE id = 50002"
        first = pool.submit(client.execute, statement)
        approval = held(stack, "50002")
        assert stack.review("approve", approval).returncode == 0
        assert first.result(20).rowcount == 1
        again = pool.submit(client.execute, statement)
        second = held(stack, "50002")
        assert second != approval
        assert stack.review("deny", second, reason="once is enough").returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="once is enough"):
            again.result(20)
        assert client.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("subject", "roles", "rule"),
    [
        ("executor-7", ("executor",), ""),
        ("executor-7", ("reviewer",), "DUTY-"),
        ("alice", ("reviewer",), "DUTY-REVIEW-SELF"),
        ("carol", ("reviewer",), "DUTY-REVIEW-GROUP"),
        ("erin", ("auditor",), ""),
    ],
)
def test_requester_owner_and_strangers_may_not_approve(
    stack: Stack, subject: str, roles: tuple[str, ...], rule: str
) -> None:
    insert(stack, 50003)
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = 50003")
        approval = held(stack, "50003")
        done = stack.review("approve", approval, subject=subject, roles=roles)
        assert done.returncode != 0
        assert rule in done.stderr + done.stdout
        assert rows(stack, "id = 50003") == "1"
        assert stack.review("deny", approval).returncode == 0
        with pytest.raises(psycopg.Error):
            running.result(20)


def test_a_denial_in_a_transaction_leaves_it_failed(stack: Stack) -> None:
    insert(stack, 50004)
    with connect(stack, "executor", autocommit=False) as client, Background() as pool:
        client.execute("SELECT 1")
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = 50004")
        assert stack.review("deny", held(stack, "50004"), reason="no").returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            running.result(20)
        assert client.info.transaction_status is psycopg.pq.TransactionStatus.INERROR
        client.rollback()
    assert rows(stack, "id = 50004") == "1"


def test_a_transaction_that_has_written_cannot_be_held(stack: Stack) -> None:
    insert(stack, 50005)
    with connect(stack, "executor", autocommit=False) as client:
        client.execute("UPDATE orders SET status = 'paid' WHERE id = 50005")
        with pytest.raises(psycopg.Error) as refused:
            client.execute("DELETE FROM orders WHERE id = 50005")
        assert refused.value.diag.message_hint
        client.rollback()
    assert pending(stack, containing="50005") is not None  # and a retry may find it approved: test_unheld.py


def test_ctrl_c_withdraws(stack: Stack) -> None:
    insert(stack, 50006)
    terminal = stack.terminal("executor")
    terminal.start("DELETE FROM orders WHERE id = 50006;")
    approval = APPROVAL.search(terminal.wait_for(APPROVAL.pattern))
    assert approval
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("withdrawn")  # and then a psql that reads no terminal ends
    assert stack.review("approve", approval.group()).returncode != 0
    terminal.close()
    assert rows(stack, "id = 50006") == "1"


def test_an_approval_covers_these_bound_values_only(stack: Stack) -> None:
    insert(stack, 50007, 50008)
    statement = "DELETE FROM orders WHERE id = %s"
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, statement, [50007])
        approval = held(stack, "50007")
        assert stack.review("approve", approval).returncode == 0
        assert running.result(20).rowcount == 1
        other = pool.submit(client.execute, statement, [50008])
        second = held(stack, "50008")
        assert rows(stack, "id = 50008") == "1"
        assert stack.review("deny", second).returncode == 0
        with pytest.raises(psycopg.Error):
            other.result(20)


def test_a_client_that_has_gone_never_executes_and_its_retry_finds_the_approval(stack: Stack) -> None:
    insert(stack, 50009)
    statement = "DELETE FROM orders WHERE id = 50009;"  # the digest covers every byte, psql's semicolon too
    terminal = stack.terminal("executor")
    terminal.start(statement)
    terminal.wait_for(APPROVAL.pattern)
    approval = held(stack, "50009")
    terminal.process.kill()
    terminal.process.wait()
    terminal.close()
    assert stack.review("approve", approval).returncode == 0
    assert rows(stack, "id = 50009") == "1"
    with connect(stack, "executor") as client:
        assert until(lambda: client.execute(statement).rowcount == 1, what="the retry")
    assert rows(stack, "id = 50009") == "0"
    with connect(stack, "executor") as client, Background() as pool:
        insert(stack, 50009)
        running = pool.submit(client.execute, statement)
        assert held(stack, "50009") != approval
        client.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            running.result(20)
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_the_reviewer_sees_statement_values_effects_and_requester(stack: Stack) -> None:
    insert(stack, 50010)
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DELETE FROM customers WHERE id = %s AND name = %s", [50010, "x\u202ey"])
        approval = held(stack, "50010")
        shown = stack.twokey("approvals", "show", approval, token=stack.token("bob", "reviewer")).stdout
        for expected in ("DELETE FROM customers", "50010", "customers", "executor-7", "alice", "SQL-DELETE", "\\u202e"):
            assert expected.lower() in shown.lower(), expected
        assert "\u202e" not in shown
        assert stack.review("deny", approval).returncode == 0
        with pytest.raises(psycopg.Error):
            running.result(20)


def test_exports_above_the_budget_are_held_and_below_it_run(stack: Stack) -> None:
    with connect(stack, "executor") as client, Background() as pool:
        assert len(client.execute("SELECT id FROM orders WHERE id <= 50").fetchall()) == 50
        running = pool.submit(lambda: client.execute("SELECT * FROM orders WHERE id <= 10000").fetchall())
        approval = held(stack, "10000")
        assert stack.review("approve", approval).returncode == 0
        assert len(running.result(30)) == 10000


def test_opaque_work_of_an_executor_is_held_and_the_reviewer_told_so(stack: Stack) -> None:
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DO $$ BEGIN PERFORM 50011; END $$")
        approval = held(stack, "50011")
        shown = stack.twokey("approvals", "show", approval, token=stack.token("bob", "reviewer")).stdout
        assert "do-block" in shown or "opaque" in shown.lower()
        assert stack.review("approve", approval).returncode == 0
        running.result(20)
        calling = pool.submit(client.execute, "SELECT tidy_up() -- 50012")
        assert stack.review("deny", held(stack, "50012")).returncode == 0
        with pytest.raises(psycopg.Error):
            calling.result(20)
    assert rows(stack, "true") != "0"


def test_what_is_pipelined_behind_a_held_operation_does_not_overtake_it(stack: Stack) -> None:
    insert(stack, 50013)
    with connect(stack, "executor") as client:
        done = threading.Event()

        def run() -> None:
            try:
                with client.pipeline():
                    client.execute("DELETE FROM orders WHERE id = 50013")
                    client.execute("UPDATE orders SET status = 'overtaken' WHERE id = 4")
            except psycopg.Error:
                pass
            finally:
                done.set()

        worker = threading.Thread(target=run)
        worker.start()
        approval = held(stack, "50013")
        assert admin(stack, "SELECT status FROM orders WHERE id = 4") != "overtaken"
        assert stack.review("deny", approval).returncode == 0
        assert done.wait(20)
        worker.join()
    assert rows(stack, "id = 50013") == "1"
    assert admin(stack, "SELECT status FROM orders WHERE id = 4") != "overtaken"


def test_definition_changed_while_held_voids_the_approval(stack: Stack) -> None:
    admin(
        stack,
        "CREATE TABLE held_a (id int); INSERT INTO held_a VALUES (1); ALTER TABLE held_a OWNER TO company_rw",
    )
    try:
        with connect(stack, "executor") as client, Background() as pool:
            running = pool.submit(client.execute, "DELETE FROM held_a WHERE id = 1 /* 50014 */")
            approval = held(stack, "50014")
            admin(
                stack,
                "ALTER TABLE held_a RENAME TO held_b; CREATE TABLE held_a (id int); INSERT INTO held_a VALUES (1);"
                "ALTER TABLE held_a OWNER TO company_rw",
            )
            stack.review("approve", approval)
            with pytest.raises(psycopg.Error):
                running.result(20)
        assert admin(stack, "SELECT count(*) FROM held_a") == "1"
        assert admin(stack, "SELECT count(*) FROM held_b") == "1"
    finally:
        admin(stack, "DROP TABLE IF EXISTS held_a, held_b")


def test_the_trail_of_a_held_act_is_whole(stack: Stack) -> None:
    insert(stack, 50015)
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = %s", [50015])
        approval = held(stack, "50015")
        assert stack.review("approve", approval, reason="checked").returncode == 0
        running.result(20)

    def story() -> str | None:
        records = [record for record in stack.records() if record.get("approval") == approval]
        operation = next((str(record["operation"]) for record in records if record.get("operation")), None)
        if operation is None:
            return None
        shown = stack.twokey("audit", "show", operation, token=stack.token("erin", "auditor")).stdout
        return shown if "completed" in shown else None

    text = str(until(story, what="the records of the act"))
    for expected in ("executor-7 (agent of alice)", "bob says yes", "checked", "$1 = 50015", "redeemed as exe_"):
        assert expected in text, expected
