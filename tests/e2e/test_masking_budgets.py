"""Inference budgets and redacted values through real clients and the command line: own policy data, one stack."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from decision.policy.bundle import shipped_rego
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, until

BUDGETS = "[{name: lookups, kinds: [where], labels: [email], per_hour: 4}]"


@pytest.fixture(scope="module")
def counted() -> Iterator[Stack]:
    """Four look-ups by e-mail address an hour; reviewers see no label."""
    stack = Stack(config=CONFIG.replace("store:", "policy: {{data: policy-data}}\nstore:"))
    data = stack.folder / "policy-data"
    data.mkdir(parents=True)
    text = (shipped_rego() / "data" / "masking.yaml").read_text()
    allow = "  allow: [join-foreign-key]\n"
    text = text.replace(allow, f"{allow}  budgets: {BUDGETS}\n").replace('  reviewer: ["*"]\n', "")
    (data / "masking.yaml").write_text(text)
    with stack:
        yield stack


def test_each_execution_counts_whoever_of_the_closure_asks_and_explain_counts_nothing(counted: Stack) -> None:
    email = admin(counted, "SELECT email FROM customers WHERE id = 7")
    lookup = "SELECT id FROM customers WHERE email = %s"
    asked = f"SELECT id FROM customers WHERE email = '{email}'"
    explained = ("explain", "--connection", "company", "--role", "planner", asked)
    token = counted.token("planner-3", "planner")
    with connect(counted, "planner") as first, connect(counted, "planner") as second:
        for client, prepare in ((first, True), (first, True), (second, False)):
            assert client.execute(lookup, [email], prepare=prepare).fetchall() == [(7,)]
        told = counted.twokey(*explained, token=token)
        assert "lookups: 3 of 4 used, 1 left" in told.stdout, told.stdout + told.stderr
        # A message of two: the first has the last unit, and the second stops them both.
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            second.execute(f"{asked}; {asked} OR email = 'x'")
        assert "MASK-BUDGET" in str(refused.value)
        assert "the next is free at " in str(refused.value.diag.message_hint)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="MASK-BUDGET"):
            first.execute(lookup, [email], prepare=True)
        assert first.execute("SELECT id FROM customers WHERE id = 7").fetchall() == [(7,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="MASK-INFERENCE"):
            first.execute("SELECT id FROM customers ORDER BY email")
    told = counted.twokey(*explained, token=token)
    assert "MASK-BUDGET" in told.stdout
    assert "lookups: 4 of 4 used, 0 left" in told.stdout


def test_values_of_labels_are_hidden_from_reviewers_and_auditors(counted: Stack) -> None:
    secret = "canary.reader@example.com"
    statement = f"DELETE FROM customers WHERE email = '{secret}' AND id = 90001"
    bob = counted.token("bob", "reviewer")

    def waiting() -> str | None:
        listed = counted.twokey("approvals", "list", "--json", token=bob)
        assert secret not in listed.stdout
        lines = [line for line in listed.stdout.splitlines() if "90001" in line]
        return lines[0] if lines else None

    with connect(counted, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, statement)
        line = str(until(waiting, what="the approval"))
        name = str(json.loads(line)["id"])
        shown = counted.twokey("approvals", "show", name, token=bob)
        assert "email = ‹email› AND id = 90001" in shown.stdout
        assert "hidden from you: email" in shown.stdout
        assert secret not in shown.stdout
        assert counted.review("approve", name).returncode == 0
        assert running.result(20).rowcount == 0
    tail = counted.twokey("audit", "tail", "-n", "0", "--json", token=counted.token("erin", "auditor"))
    assert tail.returncode == 0, tail.stderr
    assert secret not in tail.stdout
    read = counted.twokey("audit", "tail", "-n", "50", token=counted.token("erin", "auditor"))
    assert "email = ‹email› AND id = 90001" in read.stdout
    assert secret not in read.stdout
