"""kill -9 of a gateway worker in each state of the protocol, with another one beside it.

The target rolls back what was open, the client sees its connection end and nothing else, the records that are missing
are no more than the window, and the other worker serves the retry and finds the approval.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from enforcers.postgres import wire
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until
from tests.e2e.processes import gateways, listening
from tests.faults.bench import Client

WORKERS = "enforcers: {{postgres: {{workers: 2}}}}\n"
WINDOW = 256  # records of a session that a killed gateway may lose (rego: window)
INSERT = b"INSERT INTO marks VALUES ('killed')"
ENDLESS = b"SELECT a.id FROM orders a CROSS JOIN orders b"


@pytest.fixture(scope="module")
def two() -> Iterator[Stack]:
    with Stack(config=CONFIG + WORKERS) as running:
        admin(running, "CREATE TABLE marks (what text NOT NULL); ALTER TABLE marks OWNER TO company_rw")
        yield running


@contextmanager
def raw(stack: Stack, name: str, connection: str = "sandbox") -> Iterator[Client]:
    host, port = stack.address(connection)
    assert host == "127.0.0.1"
    client = Client(port, user="executor", database=connection, application=name)
    try:
        assert client.log_in(stack.token("executor-7", "executor")), client.seen
        yield client
    finally:
        client.close()


def kill(stack: Stack) -> None:
    """Every worker, whoever it serves."""
    for pid in gateways(stack):
        os.kill(pid, signal.SIGKILL)


def served(stack: Stack) -> tuple[object, ...] | None:
    """What a new session sees. None where the connection still met the worker that is dying: its queue dies with it."""
    try:
        with connect(stack, "executor", connection="sandbox") as again:
            return again.execute("SELECT count(*) FROM marks").fetchone()
    except psycopg.OperationalError:
        return None


def both_ready(stack: Stack) -> None:
    until(lambda: listening(stack.address()[1]) == 2, timeout_s=40, what="the worker's successor")


def extended(text: bytes) -> bytes:
    return wire.parse(b"", text) + wire.bind(b"", b"")


# How each state is reached: what is sent, and the messages after which it is reached.
STATES = {
    "idle": (wire.query(b"SELECT 1"), "Z"),
    "in a transaction": (wire.query(b"BEGIN") + wire.query(INSERT), "ZZ"),
    "in a failed transaction": (wire.query(b"BEGIN") + wire.query(INSERT) + wire.query(b"SELECT 1/0"), "ZEZ"),
    "mid-result": (wire.query(ENDLESS), "DDD"),
    "mid-result, extended": (extended(ENDLESS) + wire.execute(b"") + wire.SYNC, "DDD"),
    "mid-COPY out": (wire.query(b"COPY (" + ENDLESS + b") TO STDOUT"), "ddd"),
    "mid-COPY in": (wire.query(b"COPY marks FROM STDIN") + wire.message(b"d", b"killed\n"), "G"),
    "between Bind and Execute": (extended(INSERT) + wire.FLUSH, "2"),
    "between Execute and Sync": (extended(INSERT) + wire.execute(b"") + wire.FLUSH, "C"),
    "with a suspended portal": (extended(ENDLESS) + wire.execute(b"", 5) + wire.FLUSH, "s"),
}


def backends(stack: Stack, name: str, *, state: str = "%") -> int:
    where = f"application_name = '{name}' AND state LIKE '{state}'"
    return int(admin(stack, f"SELECT count(*) FROM pg_stat_activity WHERE {where}"))


def reach(client: Client, state: str) -> None:
    messages, awaited = STATES[state]
    client.send(messages)
    for kind in awaited:
        while (frame := client.read()) is not None and frame[0] != kind:
            pass
        assert frame is not None, (state, client.seen)


def the_end(client: Client) -> None:
    """It sees its connection end, after what was on its way, and no word more."""
    before = len(client.seen)
    while client.read() is not None:
        pass
    assert {kind for kind, _ in client.seen[before:]} <= {"D", "d"}, client.seen[before:]


def test_workers_are_killed_with_sessions_in_every_state(two: Stack) -> None:
    admin(two, "DELETE FROM marks")
    with ExitStack() as stack:
        clients = {state: stack.enter_context(raw(two, "killed")) for state in STATES}
        for state, client in clients.items():
            reach(client, state)
        assert backends(two, "killed") == len(STATES)
        for pid in gateways(two):
            os.kill(pid, signal.SIGKILL)
            assert until(lambda: served(two), what="somebody else who serves") == (0,)
            both_ready(two)
        for client in clients.values():
            the_end(client)
    until(lambda: backends(two, "killed") == 0, what="the end of the backends at the target")
    assert admin(two, "SELECT count(*) FROM marks") == "0"  # all rolled back


def test_what_the_target_was_doing_when_the_worker_was_killed_is_not_said_to_be_done(two: Stack) -> None:
    mark = "nobody_knows"
    admin(two, f"CREATE TABLE {mark} (n int); ALTER TABLE {mark} OWNER TO company_rw")
    with raw(two, mark) as client:
        client.send(wire.query(f"INSERT INTO {mark} SELECT 1 FROM pg_sleep(2)".encode()))
        until(lambda: backends(two, mark, state="active") == 1, what="the statement's start")
        kill(two)
        the_end(client)
    until(lambda: backends(two, mark) == 0, what="the end of its backend at the target")
    found = [record for record in two.records() if mark in str(record)]
    assert found, "its intent was durable before it ran"
    operation = str(found[0]["operation"])
    outcomes = [record.get("outcome") for record in two.records(operation)]
    assert not any(isinstance(outcome, dict) and outcome["status"] == "completed" for outcome in outcomes)
    both_ready(two)


def test_a_worker_is_killed_while_it_holds_and_another_finds_the_approval(two: Stack) -> None:
    statement = "DELETE FROM orders WHERE id = 4711"
    with raw(two, "held", connection="company") as client:
        client.send(wire.query(statement.encode()))
        approval = str(until(lambda: pending(two, containing="4711"), what="the hold"))
        kill(two)
        while client.read() is not None:
            pass
        assert client.seen == []  # but for the notice that it waits
    assert admin(two, "SELECT count(*) FROM orders WHERE id = 4711") == "1"
    assert pending(two, containing="4711") == approval
    # While the asking session lives, the approval is for that one only; its worker is missed after 10 s of silence.
    until(lambda: ended_silently(two, approval), timeout_s=25, what="the end of the asking session")
    assert two.review("approve", approval).returncode == 0
    with connect(two, "executor") as again:
        assert again.execute(statement).rowcount == 1
    assert admin(two, "SELECT count(*) FROM orders WHERE id = 4711") == "0"
    both_ready(two)


def test_a16_a_worker_is_killed_while_an_approved_statement_runs_and_nothing_arms_it_again(two: Stack) -> None:
    mark = "killed_in_the_act"
    statement = f"DELETE FROM orders WHERE id = 4712 AND pg_sleep(3) IS NOT NULL /* {mark} */"
    with raw(two, mark, connection="company") as client:
        client.send(wire.query(statement.encode()))
        approval = str(until(lambda: pending(two, containing=mark), what="the hold"))
        assert two.review("approve", approval).returncode == 0
        until(lambda: backends(two, mark, state="active") == 1, what="the statement's start")
        kill(two)
        while client.read() is not None:
            pass
    until(lambda: backends(two, mark) == 0, what="the end of its backend at the target")
    until(lambda: state_of(two, approval) == "outcome-unknown", timeout_s=60, what="what is known of it")
    both_ready(two)
    with connect(two, "executor") as again, Background() as pool:
        waiting = pool.submit(again.execute, statement)
        other = str(until(lambda: pending(two, containing=mark), what="a request of its own"))
        assert other != approval
        assert two.review("deny", other).returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            waiting.result(20)


def state_of(stack: Stack, approval: str) -> str:
    shown = stack.twokey("approvals", "show", approval, token=stack.token("bob", "reviewer")).stdout
    return shown.split()[2] if shown else ""


def ended_silently(stack: Stack, approval: str) -> bool:
    records = stack.records()
    asked = next(
        str(record["session"]) for record in records if record["kind"] == "decision" and approval in str(record)
    )
    return any(record["kind"] == "session-closed" and record["session"] == asked for record in records)


def test_the_records_that_a_killed_worker_takes_along_are_no_more_than_the_window(two: Stack) -> None:
    mark, count = "the_window_of_a_killed_worker", WINDOW * 3
    text = f"SELECT id AS {mark} FROM orders WHERE id = 1".encode()
    with raw(two, "window") as client:
        for _ in range(count):
            client.send(wire.query(text))
            assert client.until_ready(1)
        kill(two)
        while client.read() is not None:
            pass
    records = two.records()
    session = next(str(record["session"]) for record in records if mark in str(record))
    numbers = [
        int(str(record["sequence"])) for record in records if record.get("session") == session if "sequence" in record
    ]
    assert count - WINDOW <= len(numbers) <= 2 * count
    assert numbers == list(range(1, len(numbers) + 1))  # what is missing is missing at the end, and nowhere else
    both_ready(two)
