"""Whoever carries a plan out would like to leave a step out, do one twice, or have it done otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.clients import admin, until
from tests.e2e.plans import Planned, approve, propose, state

UPDATE, DELETE = "UPDATE orders SET status = 'taken' WHERE id = {id}", "DELETE FROM orders WHERE id = {other}"
STEPS = f"  - sql: {UPDATE}\n  - sql: {DELETE}\n"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(config=CONFIG) as running:
        yield running


def started(stack: Stack, order: int, steps: str = STEPS) -> Planned:
    plan = propose(stack, steps.format(id=order, other=order + 1))
    if plan.approval:
        approve(plan)
    plan.start()
    return plan


def open_(plan: Planned) -> bool:
    execution = plan.shown()["execution"]
    assert isinstance(execution, dict)
    return any(run["state"] == "started" for run in execution["steps"])


def consistent(plan: Planned, order: int) -> None:
    """What the execution says is done is done, and nothing else."""
    _, following, _ = state(plan)
    updated = admin(plan.stack, f"SELECT count(*) FROM orders WHERE id = {order} AND status = 'taken'") == "1"
    deleted = admin(plan.stack, f"SELECT count(*) FROM orders WHERE id = {order + 1}") == "0"
    assert (updated, deleted) == (int(str(following)) > 1, int(str(following)) > 2), (following, updated, deleted)


@pytest.mark.parametrize("then", ["ROLLBACK", "SELECT 1/0", "BEGIN", "COMMIT", "ABORT"])
def test_a_step_is_not_taken_back_by_what_is_pipelined_behind_it(stack: Stack, then: str) -> None:
    order = 201 + 10 * ["ROLLBACK", "SELECT 1/0", "BEGIN", "COMMIT", "ABORT"].index(then)
    plan = started(stack, order)
    with plan.connect() as client:
        with suppress(psycopg.Error), client.pipeline():
            client.execute(UPDATE.format(id=order).encode())
            client.execute(then.encode())
        client.pgconn.finish()
    until(lambda: not open_(plan), timeout_s=30, what="the outcome")
    consistent(plan, order)


def test_a_definition_is_not_taken_back_either(stack: Stack) -> None:
    plan = started(stack, 251, "  - sql: CREATE TABLE taken (id integer)\n  - sql: INSERT INTO taken VALUES (1)\n")
    with plan.connect() as client:
        with suppress(psycopg.Error), client.pipeline():
            client.execute(b"CREATE TABLE taken (id integer)")
            client.execute(b"ROLLBACK")
        client.pgconn.finish()
    until(lambda: not open_(plan), timeout_s=30, what="the outcome")
    there = admin(stack, "SELECT count(*) FROM pg_class WHERE relname = 'taken'") == "1"
    assert there == (state(plan)[1] == 2)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "END", "ABORT"])
def test_a_transaction_says_what_became_of_it(stack: Stack, end: str) -> None:
    order = 261 + 10 * ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "END", "ABORT"].index(end)
    plan = started(stack, order)
    with plan.connect() as client:
        client.execute("BEGIN")
        client.execute(UPDATE.format(id=order).encode())
        client.execute(end.encode())
        until(lambda: "not committed" not in plan.run("show", plan.id), what="the outcome")
        consistent(plan, order)


def test_a_commit_of_a_failed_transaction_is_none(stack: Stack) -> None:
    plan = started(stack, 311)
    with plan.connect() as client:
        client.execute("BEGIN")
        client.execute(UPDATE.format(id=311).encode())
        with pytest.raises(psycopg.Error):
            client.execute("SET statement_timeout = 'soon'")
        client.execute("COMMIT")
        until(lambda: state(plan)[1] == 1, what="the outcome")
        consistent(plan, 311)


def test_statements_of_one_message_are_no_steps(stack: Stack) -> None:
    plan = started(stack, 321)
    with plan.connect() as client:
        both = f"{UPDATE.format(id=321)}; {DELETE.format(other=322)}"
        for message in (both, f"BEGIN; {UPDATE.format(id=321)}; ROLLBACK", f"{UPDATE.format(id=321)}; ROLLBACK"):
            with pytest.raises(psycopg.Error):
                client.execute(message.encode())
            client.execute("ROLLBACK")
    consistent(plan, 321)
    assert state(plan)[1] == 1


def test_a_prepared_statement_is_the_step_once(stack: Stack) -> None:
    plan = started(stack, 331)
    with plan.connect() as client:
        for _ in range(2):
            client.prepare_threshold = 0
            with suppress(psycopg.errors.ObjectNotInPrerequisiteState):
                client.execute(UPDATE.format(id=331).encode(), prepare=True)
        with pytest.raises(psycopg.Error):
            client.execute(f"PREPARE again AS {DELETE.format(other=332)}".encode())
    consistent(plan, 331)
