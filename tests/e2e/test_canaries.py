"""R7, L7: after a session with everything that can go wrong, no secret is anywhere, and no client wrote our log."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from decision.cli.demo.stack import SUBJECTS, Stack
from tests.e2e.clients import connect, until
from tests.e2e.processes import processes
from tests.e2e.test_faults import answers

FORGED = 'x\r\n{"v":1,"kind":"decision","outcome":"allow"}\x1b[2J\u202e\\","outcome":"allow'


def tree(stack: Stack) -> Iterator[int]:
    yield stack.pid
    yield from processes(stack, "")


def places(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Everything the stack holds outside the target: its folder, and the command lines of its processes."""
    for path in stack.folder.rglob("*"):
        if path.is_file() and stack.folder / "postgresql" not in path.parents:
            yield str(path), path.read_bytes()
    for pid in tree(stack):
        yield f"cmdline of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()


def errors(stack: Stack, tokens: dict[str, str]) -> Iterator[str]:
    """What clients were told: at log-in and in sessions, with good and bad tokens."""
    planner, executor = tokens["planner"], tokens["executor"]
    for role, token in (("planner", planner + "x"), ("executor", planner), (executor[:60], executor)):
        with pytest.raises(psycopg.OperationalError) as refused, connect(stack, role, token=token):
            pass
        yield str(refused.value)
    with connect(stack, "planner", token=planner) as client:
        for statement in ("SELECT count(*) FROM nowhere", "DELETE FROM orders", "SELECT 1/0", "DROP TABLE orders"):
            with pytest.raises(psycopg.Error) as denied:
                client.execute(statement.encode())
            yield str(denied.value)


def test_no_secret_is_anywhere_after_a_session_with_failures(own_stack: Stack) -> None:
    stack = own_stack
    tokens = {role: stack.token(SUBJECTS[role], role) for role in ("planner", "executor", "reviewer", "auditor")}
    said = list(errors(stack, tokens))
    stack.twokey("explain", "--connection", "company", "--role", "planner", "SELECT 1", token=tokens["planner"])
    stack.twokey("approvals", "list", token=tokens["reviewer"] + "x")
    (opa,) = processes(stack, "run --server")
    os.kill(opa, signal.SIGKILL)
    until(lambda: answers(stack, "executor"), timeout_s=30, what="OPA's return")
    (enforcer,) = processes(stack, "-m enforcers")
    os.kill(enforcer, signal.SIGKILL)
    until(lambda: answers(stack, "executor"), timeout_s=30, what="the gateway's return")
    assert stack.records()
    secrets = {f"the {role}'s token": token.split(".")[2] for role, token in tokens.items()}
    secrets |= {f"the password of {user}": password for user, password in stack.passwords.items()}
    where = [*places(stack), *(("an error", text.encode()) for text in said)]
    assert len(where) > 12
    found = [(what, name) for what, secret in secrets.items() for name, held in where if secret.encode() in held]
    assert not found
    run = json.loads(next(stack.folder.rglob("run.json")).read_text())
    assert "enforcer_secret" not in json.dumps(run)


def test_a_clients_words_never_become_a_record_or_a_line_of_the_log(own_stack: Stack) -> None:
    stack = own_stack
    token = stack.token("executor-7", "executor")
    with pytest.raises(psycopg.OperationalError), connect(stack, FORGED, token=token):
        pass
    with connect(stack, "executor", options="-c application_name=forged") as client:
        client.execute(f"SELECT count(*) AS {psycopg.sql.Identifier(FORGED).as_string()} FROM orders WHERE id < 3")
        with pytest.raises(psycopg.Error):
            client.execute(f"DROP TABLE {psycopg.sql.Identifier(FORGED).as_string()}".encode())
    before = len(stack.records())
    for record in stack.records():
        assert record["kind"] != "decision" or str(record["decision"]).startswith("dec_")
    assert [record["index"] for record in stack.records()][:before] == list(range(before))
    for segment in stack.folder.rglob("*.seg"):
        for line in segment.read_bytes().split(b"\n")[:-1]:
            assert json.loads(line[9:])["v"] == 1
            assert b"\x1b" not in line
            assert b"\r" not in line
    for line in stack.log.read_bytes().split(b"\n"):
        assert b"\x1b" not in line
        assert not line or line.startswith(b"{"), line
    shown = stack.twokey("audit", "tail", "-n", "0", token=stack.token("erin", "auditor"))
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout
