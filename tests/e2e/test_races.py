"""Two of everything at once, on two gateways and a real target: exactly one wins, counted in the target's own rows."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.clients import admin, connect, pending, until

Client = psycopg.Connection[tuple[object, ...]]

ACT = "UPDATE races SET n = n + 1"  # without WHERE: held in production
TERMS = """\
default: {groups: [dba], quorum: 1, expires_s: 3600}
rules:
  SQL-DELETE: {groups: [dba], quorum: 1, expires_s: 4}
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    made = Stack(config=CONFIG + "policy: {{data: policy-data}}\nenforcers: {{postgres: {{workers: 2}}}}\n")
    data = made.folder / "policy-data"
    data.mkdir(parents=True)
    (data / "approvals.yaml").write_text(TERMS)
    with made:
        admin(
            made,
            "CREATE TABLE races (n int NOT NULL); INSERT INTO races VALUES (0); GRANT ALL ON races TO company_rw;"
            "CREATE TABLE falls (id int); INSERT INTO falls SELECT * FROM generate_series(1, 9);"
            "GRANT ALL ON falls TO company_rw",
        )
        yield made


def ran(stack: Stack) -> int:
    return int(admin(stack, "SELECT n FROM races"))


def gateway_of(stack: Stack, client: Client) -> str:
    """The instance of the gateway that serves this client, as the decision service knows it."""
    with socket.socket(fileno=os.dup(client.fileno())) as twin:
        address = "{}:{}".format(*twin.getsockname()[:2])
    listed = stack.twokey("sessions", "list", "--json", token=stack.token("erin", "auditor"))
    for line in listed.stdout.splitlines():
        session = json.loads(line)
        found = session.get("client_address", session.get("clientAddress"))
        if found == address:
            return str(session["enforcer"])
    raise AssertionError(f"no session from {address}: {listed.stdout} {listed.stderr}")


def on_two_gateways(stack: Stack, parts: ExitStack) -> tuple[Client, Client]:
    """Two open clients, each on another gateway; those opened in vain are closed."""
    seen: dict[str, Client] = {}
    for _ in range(40):
        opened = ExitStack()
        client = opened.enter_context(connect(stack, "executor"))
        gateway = gateway_of(stack, client)
        if gateway in seen:
            opened.close()
            continue
        parts.enter_context(opened)
        seen[gateway] = client
        if len(seen) == 2:
            first, second = seen.values()
            return first, second
    raise AssertionError("all clients came to one gateway")


def hang_up(client: Client) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(client.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(*acts: tuple[Client, str]) -> Iterator[list[Future[object]]]:
    """Each client executes its statement; whoever still waits at the end (a failed test) is cut off."""
    with ThreadPoolExecutor(len(acts)) as pool:
        started: list[Future[object]] = [pool.submit(client.execute, statement) for client, statement in acts]
        try:
            yield started
        finally:
            for (client, _), one in zip(acts, started, strict=True):
                if not one.done():
                    hang_up(client)


def approved_without_its_session(stack: Stack) -> str:
    """An approval whose asking client has gone: whoever comes back with the same act may use it."""
    with connect(stack, "executor") as asker, running((asker, ACT)) as (waiting,):
        approval = str(until(lambda: pending(stack, containing="races"), what="the hold"))
        hang_up(asker)
        assert waiting.exception(20) is not None
    session = next(r["session"] for r in stack.records() if r.get("approval") == approval and r["kind"] == "approval")
    ended = ("session-closed", session)
    until(lambda: ended in [(r["kind"], r.get("session")) for r in stack.records()], what="the session's end")
    assert stack.review("approve", approval).returncode == 0
    return approval


def test_the_same_approval_redeemed_at_once_on_two_gateways_reaches_the_target_once(stack: Stack) -> None:
    for _ in range(3):
        before = ran(stack)
        approved_without_its_session(stack)
        with ExitStack() as parts:
            both = on_two_gateways(stack, parts)
            with running(*((client, ACT) for client in both)) as tries:
                wait(tries, timeout=20, return_when=FIRST_COMPLETED)
                (held,) = (one for one in tries if not one.done())
                own = str(until(lambda: pending(stack, containing="races"), what="the other one's own hold"))
                assert ran(stack) == before + 1
                # Not by a cancel request: that may reach the other worker, which doesn't know the session.
                assert stack.review("deny", own).returncode == 0
                assert isinstance(held.exception(20), psycopg.errors.InsufficientPrivilege)
                assert [one.exception() for one in tries].count(None) == 1
        assert ran(stack) == before + 1
        assert pending(stack, containing="races") is None


def test_two_reviewers_approve_at_once_and_it_runs_once(stack: Stack) -> None:
    for who in ("bob", "dana"):
        stack.token(who, "reviewer")
    before = ran(stack)
    with connect(stack, "executor") as client, ThreadPoolExecutor(2) as pool, running((client, ACT)) as (act,):
        approval = str(until(lambda: pending(stack, containing="races")))
        reviews = [pool.submit(stack.review, "approve", approval, subject=who) for who in ("bob", "dana")]
        assert any(review.result(30).returncode == 0 for review in reviews)
        assert act.exception(20) is None
    assert ran(stack) == before + 1
    moves = [r for r in stack.records() if r.get("approval") == approval and r.get("event") == "transition"]
    assert [move["state"] for move in moves].count("approved") == 1


def test_ctrl_c_and_approve_at_once_leave_nothing_usable(stack: Stack) -> None:
    stack.token("bob", "reviewer")
    for delay in (0.0, 0.3, 0.6):
        before = ran(stack)
        with connect(stack, "executor") as client, ThreadPoolExecutor(1) as pool, running((client, ACT)) as (act,):
            approval = str(until(lambda: pending(stack, containing="races")))
            review = pool.submit(stack.review, "approve", approval)
            time.sleep(delay)  # the race itself: anywhere in the reviewer's call
            client.cancel_safe()
            review.result(30)
            happened = 1 if act.exception(20) is None else 0
        assert ran(stack) == before + happened
        shown = stack.twokey("approvals", "show", approval, "--json", token=stack.token("bob", "reviewer"))
        state = json.loads(shown.stdout)["state"]
        assert state in ({"STATE_REDEEMED", "redeemed"} if happened else {"STATE_WITHDRAWN", "withdrawn"}), state


def test_approve_and_expire_at_once_is_one_of_the_two(stack: Stack) -> None:
    stack.token("bob", "reviewer")
    ends = set()
    for number, before_end in enumerate((1.6, 0.9, 0.6, 0.4, 0.2, 0.0), start=1):
        asked = time.monotonic()
        statement = f"DELETE FROM falls WHERE id = {number}"
        with connect(stack, "executor") as client, running((client, statement)) as (act,):
            approval = str(until(lambda: pending(stack, containing="falls")))
            time.sleep(max(0.0, asked + 4.0 - before_end - time.monotonic()))  # the race itself
            review = stack.review("approve", approval)
            error = act.exception(20)
        happened = int(admin(stack, f"SELECT count(*) FROM falls WHERE id = {number}")) == 0
        assert happened == (error is None)
        if happened:
            assert review.returncode == 0, review.stderr
        else:
            assert "in time" in str(error) or "expired" in str(error), error
            assert stack.review("approve", approval).returncode != 0
        ends.add(happened)
    assert ends == {True, False}
