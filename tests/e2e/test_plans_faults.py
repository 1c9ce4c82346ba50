"""What becomes of a plan's execution when something dies, and who says what nobody knows."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.clients import admin, until
from tests.e2e.plans import Planned, approve, propose, state
from tests.e2e.processes import gateways, processes

SLOW = "UPDATE orders SET status = 'slow' WHERE id = {id} AND pg_sleep(3) IS NOT NULL"
STEPS = "  - sql: " + SLOW + "\n  - sql: DELETE FROM orders WHERE id = 109\n"
ACTIVE = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() "
    "AND query LIKE '%id = {id} AND pg_sleep%'"
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(config=CONFIG) as running:
        yield running


def begun(plan: Planned, order: int) -> threading.Thread:
    """The first step, under way at the target."""

    def run() -> None:
        with pytest.raises(psycopg.Error), plan.connect() as client:
            client.execute(SLOW.format(id=order).encode())

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: admin(plan.stack, ACTIVE.format(id=order)) == "1", what="the step's start")
    return thread


def serves(plan: Planned) -> bool:
    try:
        with plan.connect():
            return True
    except psycopg.Error:
        return False


def test_a_step_of_which_nobody_knows_waits_for_somebody_who_is_neither(stack: Stack) -> None:
    plan = propose(stack, STEPS.format(id=101))
    approve(plan)
    execution = plan.start()
    thread = begun(plan, 101)
    for pid in gateways(stack):
        os.kill(pid, signal.SIGKILL)
    thread.join()
    until(lambda: state(plan)[0] == "unknown", timeout_s=60, what="what is known of it")
    assert state(plan)[2] == "nobody knows what became of step 1"
    for behind in ("alice", "carol"):
        told = plan.run("resolve", execution, "not-done", by=behind, role="admin")
        assert "DUTY-PLAN-RESOLVE" in told
    assert "may not call" in plan.run("resolve", execution, "done")
    assert "running" in plan.run("resolve", execution, "done", "--reason", "it is there", by="frank", role="admin")
    assert "nothing is unknown" in plan.run("resolve", execution, "done", by="frank", role="admin")
    until(lambda: serves(plan), timeout_s=40, what="the gateway's return")
    with plan.connect() as client:
        with pytest.raises(psycopg.Error, match="step 2 of 2 expects"):
            client.execute(SLOW.format(id=101).encode())
        client.execute("DELETE FROM orders WHERE id = 109")
    assert state(plan)[0] == "completed"
    said = [record for record in stack.records() if record.get("event") == "resolved"]
    assert [(record["execution"], record["why"]) for record in said] == [(execution, "done: it is there")]


def test_an_execution_outlives_the_decision_service(stack: Stack) -> None:
    plan = propose(stack, STEPS.format(id=102).replace("109", "110"))
    approve(plan)
    plan.start()
    with plan.connect() as client:
        client.execute(SLOW.format(id=102).encode())
    until(lambda: state(plan)[1] == 2, what="the outcome")
    (service,) = processes(stack, "-m decision --")
    os.kill(service, signal.SIGKILL)
    until(lambda: serves(plan), timeout_s=40, what="the service's return")
    with plan.connect() as client:
        with pytest.raises(psycopg.Error, match="step 2 of 2 expects"):
            client.execute(SLOW.format(id=102).encode())
        client.execute("DELETE FROM orders WHERE id = 110")
    until(lambda: state(plan)[0] == "completed", what="the end")
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 110") == "0"
