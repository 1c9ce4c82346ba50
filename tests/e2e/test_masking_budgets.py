"""Inference budgets and redacted values through real clients and the command line: own policy data, one stack."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from decision.policy.bundle import shipped_rego
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until

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


# How a value of a classified column comes into a session, each with a canary of its own; `{}` is where it stands.
TEXTS = {
    "execute": ("PREPARE given AS INSERT INTO customers VALUES (90004, 'n', $1, 'c')", "EXECUTE given('{}')"),
    "nowhere": ("EXECUTE nosuch('{}')",),
    "prepare": ("PREPARE own AS DELETE FROM customers WHERE email = '{}' AND id = 90002", "EXECUTE own"),
    "cursor": ("BEGIN", "DECLARE kept CURSOR FOR SELECT id FROM customers WHERE email = '{}'", "FETCH 1 FROM kept"),
    "argument": ("SELECT id FROM customers WHERE email = lower('{}')",),
    "comment": ("SELECT id FROM customers WHERE email = 'x' -- {}",),
    "no-sql": ("SELEC id FROM customers WHERE email = '{}'",),
    "unknown": ("SELECT nosuch FROM customers WHERE email = '{}'",),
    "refused": ("SELECT '{}' < email FROM customers; DROP TABLE nosuch",),
    "block": ("DO $$BEGIN PERFORM 1 FROM customers WHERE email = '{}'; END$$",),
    "taken": ("INSERT INTO customers VALUES (90003, 'n', '{}', 'c')", "CREATE UNIQUE INDEX ON customers (email)"),
    "twice": ("INSERT INTO customers VALUES (1, 'n', '{}', 'c')",),  # the error quotes the key
    "dollar": ("DELETE FROM customers WHERE email = $q${}$q$ AND id = 90002",),
    "copied": ("COPY (SELECT id FROM customers WHERE email = '{}') TO STDOUT",),
}
BOUND = "DELETE FROM customers WHERE email = %s AND id = 90002"


def play(client: psycopg.Connection[Any], way: str, canary: str) -> None:
    """Each statement, also where one before it was refused."""
    for text in TEXTS.get(way, ()):
        sent = text.format(canary).encode()
        with suppress(psycopg.Error):
            if text.startswith("COPY"):
                with client.cursor() as cursor, cursor.copy(sent) as copy:
                    copy.read()
            else:
                client.execute(sent)
    if way in {"text", "binary"}:
        with suppress(psycopg.Error):
            client.execute(BOUND, [canary], binary=way == "binary")


def given_up(client: psycopg.Connection[Any], running: Future[None]) -> bool:
    if not running.done():
        client.cancel_safe()
    return running.done()


@pytest.mark.parametrize("role", ["planner", "executor"])
def test_a_value_is_shown_by_no_way_it_came(counted: Stack, role: str) -> None:
    """Approvals as the reviewer sees them while all wait, the log as the auditor does."""
    canaries = {way: f"canary-{role}-{way}@x.example" for way in [*TEXTS, "text", "binary"]}
    bob, erin = counted.token("bob", "reviewer"), counted.token("erin", "auditor")
    told: dict[str, list[str]] = {way: [] for way in canaries}
    with ExitStack() as open_, Background() as pool:
        clients = {way: open_.enter_context(connect(counted, role, notices=told[way])) for way in canaries}
        for client in clients.values():
            open_.callback(client.close)  # whatever it waits for
        running = {way: pool.submit(play, clients[way], way, canary) for way, canary in canaries.items()}
        until(lambda: all(running[way].done() or told[way] for way in canaries), timeout_s=40, what="an answer to each")
        seen = [counted.twokey("approvals", "list", *flags, token=bob).stdout for flags in ([], ["--json"])]
        held = [json.loads(line)["id"] for line in seen[1].splitlines()]
        seen += [counted.twokey("approvals", "show", name, token=bob).stdout for name in held[:3]]
        assert (len(held) > 5) is (role == "executor"), seen
        until(lambda: all(given_up(clients[way], running[way]) for way in canaries), what="the end of each")
    seen.append(counted.log.read_text())
    for flags in ([], ["--json"]):
        tail = counted.twokey("audit", "tail", "-n", "0", *flags, token=erin)
        assert tail.returncode == 0, tail.stderr
        seen.append(tail.stdout)
    # Each was in fact sent, and is in the log as it lies there, which proves what was done. What is no SQL is no act,
    # nor is what runs nothing: a name that nobody prepared, as a planner may not prepare a write.
    no_act = {"no-sql", "unknown", "nowhere"} | ({"execute"} if role == "planner" else set())
    kept = b"".join(path.read_bytes() for path in counted.folder.rglob("*.seg"))
    for way, canary in canaries.items():
        assert any(form in kept for form in forms(canary)) is (way not in no_act), way
        assert not [text for text in seen for form in forms(canary) if form in text.encode()], way


def forms(canary: str) -> list[bytes]:
    """As it is, and as base64 has it at each place it may begin."""
    encoded = [base64.b64encode(b"x" * shift + canary.encode())[4 * bool(shift) : -8] for shift in range(3)]
    return [canary.encode(), *encoded]


def test_data_of_copy_is_recorded_nowhere(counted: Stack) -> None:
    """Neither the log nor any other file of the gateway and the service holds a row of COPY FROM STDIN."""
    canary = "canary-copied-in@x.example"
    with connect(counted, "executor") as client, Background() as pool:
        running = pool.submit(copied, client, f"90004,n,{canary},c\n90004,n,{canary},c\n")
        name = until(lambda: running.done() or pending(counted, containing="COPY customers"), what="the approval")
        if isinstance(name, str):
            assert counted.review("approve", name).returncode == 0
        with pytest.raises(psycopg.errors.UniqueViolation):  # it got to the target
            running.result(20)
    data = counted.folder / "postgresql"
    files = [path for path in counted.folder.rglob("*") if path.is_file() and data not in path.parents]
    assert len(files) > 5
    for path in files:
        held = path.read_bytes()
        assert not [form for form in forms(canary) if form in held], path


def copied(client: psycopg.Connection[Any], rows: str) -> None:
    with client.cursor() as cursor, cursor.copy("COPY customers FROM STDIN (FORMAT csv)") as copy:
        copy.write(rows)
