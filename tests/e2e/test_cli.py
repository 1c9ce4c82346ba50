"""The command line against a whole twokey: what a person types, what comes back, and the exit code."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.background import Background
from tests.e2e.clients import APPROVAL, admin, connect, pending, until

OPERATION = re.compile(r"op_[a-z2-7]{26}")


def held(stack: Stack, containing: str) -> str:
    return str(until(lambda: pending(stack, containing=containing), what=f"an approval for {containing}"))


def explain(stack: Stack, role: str, statement: str, *options: str) -> str:
    token = stack.token({"planner": "planner-3", "executor": "executor-7"}[role], role)
    done = stack.twokey("explain", "--connection", "company", "--role", role, *options, statement, token=token)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- token ----------------------------------------------------------------------------------------------------------


def test_token_prints_the_token_and_nothing_else(stack: Stack) -> None:
    done = stack.twokey("token", "--subject", "planner-3", "--role", "planner")
    assert done.returncode == 0
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.stdout)
    assert done.stderr == ""


def test_no_token_for_strangers(stack: Stack) -> None:
    done = stack.twokey("token", "--subject", "mallory", "--role", "planner")
    assert (done.returncode, done.stdout) == (1, "")
    assert "mallory" in done.stderr


# -- explain --------------------------------------------------------------------------------------------------------


def test_explain_a_masked_read(stack: Stack) -> None:
    shown = explain(stack, "planner", "SELECT id, email FROM customers WHERE name = 'x'")
    for expected in (
        "table      public.customers: read",
        "email (shown)",
        "name (read)",
        "decision   mask-columns",
        "rule       MASK-OUTPUT",
        "obligation mask-columns: public.customers.email (email)",
        "obligation max-rows: rows",
    ):
        assert expected in shown, shown


def test_explain_a_denied_write(stack: Stack) -> None:
    shown = explain(stack, "planner", "UPDATE orders SET status = 'paid' WHERE id = 1")
    for expected in (
        "verbs      sql.update",
        "status (assigned)",
        "decision   deny (POLICY_DENIED)",
        "rule       SQL-PLANNER-WRITE\n  why      a planner may not write",
        "next     hand this statement to an executor",
    ):
        assert expected in shown, shown


def test_explain_an_allowed_read_leaves_no_trace_at_the_target(stack: Stack) -> None:
    shown = explain(stack, "planner", "SELECT lower(status) FROM orders LIMIT 1")
    assert "decision   allow" in shown
    assert "function   pg_catalog.lower" in shown


def test_explain_what_would_be_held_holds_nothing(stack: Stack) -> None:
    shown = explain(stack, "executor", "DELETE FROM orders WHERE id = 60001")
    assert "decision   require-approval" in shown
    assert "rule       SQL-DELETE\n  why      DELETE on public.orders in production needs an approval" in shown
    assert pending(stack, containing="60001") is None
    opaque = explain(stack, "executor", "DO $$ BEGIN PERFORM 1; END $$")
    assert "what can't be seen\n  not described (do-block)" in opaque


def test_explain_as_json(stack: Stack) -> None:
    answer = json.loads(explain(stack, "planner", "SELECT 1 AS one", "--json"))
    assert answer["decision"]["outcome"] == "OUTCOME_ALLOW"
    assert answer["act"] == {"statement": "SELECT 1 AS one", "bound": []}
    assert json.loads(answer["input"])["question"] == "operation"


def test_explain_says_what_it_needs(stack: Stack) -> None:
    token = stack.token("planner-3", "planner")
    several = stack.twokey("explain", "--role", "planner", "SELECT 1", token=token)
    assert several.returncode == 2
    assert "company, sandbox" in several.stderr
    unknown = stack.twokey("explain", "--connection", "crm", "--role", "planner", "SELECT 1", token=token)
    assert unknown.returncode == 1
    assert "UNKNOWN_CONNECTION" in unknown.stderr
    other = stack.twokey("explain", "--connection", "company", "--role", "executor", "SELECT 1", token=token)
    assert other.returncode == 1
    assert "TOKEN_ROLE" in other.stderr
    broken = stack.twokey("explain", "--connection", "company", "--role", "planner", "SELEC 1", token=token)
    assert broken.returncode == 1
    assert "syntax error" in broken.stderr


def test_the_only_connection_needs_no_naming(stack: Stack) -> None:
    one = stack.folder / "one.yaml"
    one.write_text(re.sub(r"(?s)  - name: sandbox.*?(?=store:)", "", stack.config.read_text()))
    token = stack.token("planner-3", "planner")
    done = stack.twokey("explain", "-c", str(one), "--role", "planner", "SELECT 1", token=token, config=False)
    assert done.returncode == 0, done.stderr
    assert "decision   allow" in done.stdout


def test_an_agent_explains_for_itself_only_and_a_person_for_others(stack: Stack) -> None:
    ask = ("explain", "--connection", "company", "--role", "executor", "--subject", "executor-7", "SELECT 1")
    agent = stack.twokey(*ask, token=stack.token("planner-3", "planner"))
    assert agent.returncode == 1
    assert "DUTY-CALL-ABOUT" in agent.stderr
    person = stack.twokey(*ask, token=stack.token("alice", "executor"))
    assert person.returncode == 0, person.stderr
    assert "decision   allow" in person.stdout


# -- approvals ------------------------------------------------------------------------------------------------------


def test_an_approval_from_list_to_redemption(stack: Stack) -> None:
    bob = stack.token("bob", "reviewer")
    admin(stack, "INSERT INTO orders SELECT 60010, customer_id, placed, total, status FROM orders WHERE id = 1")
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = %s", [60010])
        approval = held(stack, "60010")
        waiting = pool.submit(
            stack.twokey, "approvals", "wait", approval, "--timeout", "30", token=stack.token("executor-7", "executor")
        )
        listed = stack.twokey("approvals", "list", token=bob).stdout
        assert re.search(rf"{approval}\s+pending\s+executor-7 \(agent of alice\) in role executor", listed), listed
        shown = stack.twokey("approvals", "show", approval, token=bob).stdout
        for expected in ("asked by   executor-7 (agent of alice)", "$1 = 60010 (", "SQL-DELETE", "public.orders"):
            assert expected in shown, shown
        entry = json.loads(stack.twokey("approvals", "show", approval, "--json", token=bob).stdout)
        assert entry["act"] == {"statement": "DELETE FROM orders WHERE id = $1", "bound": ["60010"]}
        assert entry["requester"]["identity"]["owner"] == "alice"
        done = stack.twokey("approvals", "approve", approval, "--reason", "fine", token=bob)
        assert (done.returncode, done.stdout) == (0, f"{approval} approved\n")
        assert running.result(20).rowcount == 1
        assert waiting.result(40).returncode == 0
        again = stack.twokey("approvals", "approve", approval, token=bob)
        assert again.returncode == 1
        everything = stack.twokey("approvals", "list", "--all", token=bob).stdout
        assert re.search(rf"{approval}\s+redeemed", everything)
        assert approval not in stack.twokey("approvals", "list", token=bob).stdout


def test_denied_and_withdrawn_are_told_apart(stack: Stack) -> None:
    bob, agent = stack.token("bob", "reviewer"), stack.token("executor-7", "executor")
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = 60021")
        approval = held(stack, "60021")
        assert stack.twokey("approvals", "deny", approval, "--reason", "no\x1b[2J", token=bob).returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="denied"):
            running.result(20)
        failed = stack.twokey("approvals", "wait", approval, token=agent)
        assert failed.returncode == 5
        assert "denied" in failed.stdout
        shown = stack.twokey("approvals", "show", approval, token=bob).stdout
        assert "bob denied by cli: no\\x1b[2J" in shown
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = 60022")
        approval = held(stack, "60022")
        stranger = stack.twokey("approvals", "withdraw", approval, token=stack.token("planner-3", "planner"))
        assert stranger.returncode == 1
        done = stack.twokey("approvals", "withdraw", approval, token=agent)
        assert (done.returncode, done.stdout) == (0, f"{approval} withdrawn\n")
        with pytest.raises(psycopg.Error, match="withdrawn"):
            running.result(20)


def test_nothing_is_said_without_a_token(stack: Stack) -> None:
    done = stack.twokey("approvals", "list")
    assert done.returncode == 1
    assert "--token-file" in done.stderr
    forged = stack.twokey("approvals", "list", token="a.b.c")
    assert forged.returncode == 1
    assert "TOKEN_" in forged.stderr


# -- sessions -------------------------------------------------------------------------------------------------------


def test_a_killed_session_is_cut_in_the_middle_of_its_result(stack: Stack) -> None:
    frank, planner = stack.token("frank", "admin"), stack.token("planner-3", "planner")
    with connect(stack, "executor", connection="sandbox") as client, Background() as pool:
        client.execute("SELECT 1")
        listed = stack.twokey("sessions", "list", "--json", token=frank).stdout.splitlines()
        sessions = [json.loads(line) for line in listed]
        session = max(
            (found for found in sessions if found["connection"] == "sandbox"), key=lambda found: found["opened"]
        )
        assert session["subject"]["identity"]["owner"] == "alice"
        # 36 seconds of rows: two commands are two processes, which take seconds on a loaded machine.
        rows = client.cursor().stream("SELECT id, pg_sleep(0.4), repeat('x', 9000) FROM orders WHERE id <= 90")
        assert next(rows)[0] == 1
        rest = pool.submit(list, rows)
        denied = stack.twokey("sessions", "kill", session["id"], token=planner)
        assert denied.returncode == 1
        assert not rest.done()
        done = stack.twokey("sessions", "kill", session["id"], "--reason", "enough", token=frank)
        answered = time.monotonic()
        assert (done.returncode, done.stdout) == (0, "1 session ended\n")
        with pytest.raises(psycopg.OperationalError):
            rest.result(10)
        assert time.monotonic() - answered < 1.0
    assert session["id"] not in stack.twokey("sessions", "list", token=frank).stdout
    active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.4)%' AND pid <> pg_backend_pid()"
    until(lambda: admin(stack, active) == "0", what="the end of what ran")


def test_the_client_of_a_killed_session_is_told_why(stack: Stack) -> None:
    frank = stack.token("frank", "admin")
    terminal = stack.terminal("planner", connection="sandbox")
    try:
        terminal.run("SELECT 1;")
        listed = stack.twokey("sessions", "list", "--json", token=frank).stdout.splitlines()
        sessions = [found for found in map(json.loads, listed) if found["connection"] == "sandbox"]
        session = max(sessions, key=lambda found: str(found["opened"]))
        assert stack.twokey("sessions", "kill", session["id"], "--reason", "enough", token=frank).returncode == 0
        terminal.send("SELECT 1;")
        terminal.wait_for("the session was revoked: enough")
    finally:
        terminal.close()


# -- audit ----------------------------------------------------------------------------------------------------------


def test_the_log_tells_what_was_masked(stack: Stack) -> None:
    erin = stack.token("erin", "auditor")
    with connect(stack, "planner") as client:
        client.execute("SELECT email FROM customers WHERE id = %s", [7]).fetchall()

    def story() -> str | None:
        for record in reversed(stack.records()):
            if record["kind"] == "decision" and record["outcome"] == "mask-columns":
                shown = stack.twokey("audit", "show", str(record["operation"]), token=erin).stdout
                return shown if "ran: completed" in shown else None
        return None

    shown = str(until(story, what="the story"))
    for expected in (
        "asked by   planner-3 (agent of carol) in role planner",
        "SELECT email FROM customers WHERE id = $1",
        "$1 = 7 (",
        "decided mask-columns",
        "masks public.customers.email (email, null)",
        "1 masked fields",
    ):
        assert expected in shown, shown


def test_tail_follows(stack: Stack) -> None:
    command = [*stack.command(), "audit", "tail", "-n", "1", "-f", "--json", "-c", str(stack.config)]
    following = subprocess.Popen(
        [*command, "--token-file", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=stack.base_environment()
    )
    try:
        assert following.stdin is not None
        assert following.stdout is not None
        following.stdin.write(stack.token("erin", "auditor").encode())
        following.stdin.close()
        first = json.loads(following.stdout.readline())
        with connect(stack, "planner") as client:
            client.execute("SELECT 60030")
        assert select.select([following.stdout], [], [], 10)[0]
        assert json.loads(following.stdout.readline())["index"] == first["index"] + 1
    finally:
        following.send_signal(signal.SIGINT)
        following.wait(10)
        if following.stdout is not None:
            following.stdout.close()
    shown = stack.twokey("audit", "tail", "-n", "3", token=stack.token("erin", "auditor")).stdout
    assert len(shown.splitlines()) == 3


def test_the_log_is_for_auditors(stack: Stack) -> None:
    done = stack.twokey("audit", "tail", token=stack.token("executor-7", "executor"))
    assert done.returncode == 1
    assert done.stdout == ""
    missing = stack.twokey("audit", "show", "op_" + "a" * 26, token=stack.token("erin", "auditor"))
    assert missing.returncode == 1
    assert "knows no operation" in missing.stderr


# -- policy, doctor, completion ---------------------------------------------------------------------------------------


def test_policies_that_do_not_compile_are_shown_by_file_and_line(stack: Stack, tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "rego", tmp_path / "rego")
    broken = tmp_path / "rego" / "sql" / "broken.rego"
    broken.write_text("package sql.broken\n\nallow contains x if {\n\tinput.subject.nmae == 1\n")
    config = tmp_path / "twokey.yaml"
    text = stack.config.read_text().replace(
        "company.classification.yaml", str(stack.folder / "company.classification.yaml")
    )
    config.write_text(f"policy: {{rego: rego}}\n{text.replace('people.yaml', str(stack.folder / 'people.yaml'))}")
    done = stack.twokey("policy", "check", "-c", str(config), config=False)
    assert done.returncode == 1
    assert re.search(r"broken\.rego:\d+", done.stderr), done.stderr


def test_doctor_finds_nothing_wrong_with_what_runs_and_warns_of_a_planner_that_can_write(
    stack: Stack, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*stack.command(), "doctor", "-c", str(stack.config), "--json"],
        env=stack.up_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"level": "ok", "subject": "connection company"}.items() <= findings[-1].items() or any(
        "can only read" in finding["message"] for finding in findings
    )
    for name in ("people.yaml", "company.classification.yaml"):
        shutil.copy(stack.folder / name, tmp_path / name)
    config = tmp_path / "twokey.yaml"
    config.write_text(
        stack.config.read_text().replace(
            "planner: {user: company_ro, password: {env: COMPANY_RO_PASSWORD}}",
            "planner: {user: company_rw, password: {env: COMPANY_RW_PASSWORD}}",
        )
    )
    warned = subprocess.run(
        [*stack.command(), "doctor", "-c", str(config)],
        env=stack.up_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert warned.returncode == 0
    assert "the planner's account company_rw can write" in warned.stdout


def test_doctor_says_where_the_configuration_is_wrong(stack: Stack, tmp_path: Path) -> None:
    config = tmp_path / "twokey.yaml"
    config.write_text(stack.config.read_text().replace("kind: postgres", "kind: postgers", 1))
    done = stack.twokey("doctor", "-c", str(config), config=False)
    assert done.returncode == 1
    assert "twokey.yaml:4" in done.stdout


def test_completion(stack: Stack) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = stack.twokey("completion", shell, config=False)
        assert done.returncode == 0
        assert "_TWOKEY_COMPLETE" in done.stdout


# -- up -------------------------------------------------------------------------------------------------------------


def up(config: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*Stack.command(), "up", "-c", str(config), "--dev"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_up_names_file_line_key_and_fix(stack: Stack, tmp_path: Path) -> None:
    config = tmp_path / "twokey.yaml"
    config.write_text(stack.config.read_text().replace("environment: production", "enviroment: production", 1))
    done = up(config, stack.up_environment())
    assert (done.returncode, done.stdout) == (3, "")
    assert re.search(r"twokey\.yaml:\d+: connections\[0\]\.enviroment: .*'?environment", done.stderr), done.stderr
    config.write_text("people: [\n")
    done = up(config, stack.up_environment())
    assert done.returncode == 3
    assert re.search(r"twokey\.yaml:\d+", done.stderr)


def test_the_dev_issuer_is_refused_beyond_this_machine(stack: Stack, tmp_path: Path) -> None:
    for name in ("people.yaml", "company.classification.yaml"):
        shutil.copy(stack.folder / name, tmp_path / name)
    config = tmp_path / "twokey.yaml"
    config.write_text(re.sub(r"postgresql://[^/]*/", "postgresql://db.example.com:5432/", stack.config.read_text()))
    done = up(config, stack.up_environment())
    assert done.returncode != 0
    assert done.stdout == ""
    assert "loopback" in done.stderr


def test_the_ready_line_is_one_line_of_json_and_sigterm_drains(own_stack: Stack) -> None:
    assert own_stack.ready["ready"] is True
    assert set(own_stack.ready) == {"ready", "decision", "http", "postgres"}
    run = json.loads((own_stack.folder / "state" / "run.json").read_text())
    metrics = [httpx.get(f"http://{address}/metrics", trust_env=False) for address in run["metrics"]]
    assert ["twokey_sessions" in answer.text for answer in metrics] == [True]
    with connect(own_stack, "planner") as idle, connect(own_stack, "executor") as busy, Background() as pool:
        idle.execute("SELECT 1")
        running = pool.submit(busy.execute, "SELECT pg_sleep(1.5), 'finished'")
        until(
            lambda: admin(own_stack, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1.5)%'") != "1"
        )
        process = own_stack._process
        assert process is not None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(psycopg.OperationalError) as ended:
            until(lambda: idle.execute("SELECT 1") is None, timeout_s=5)
        assert ended.value.sqlstate in {"57P01", None}
        assert running.result(20).fetchone() == ("", "finished")
        assert process.wait(20) == 0
        assert time.monotonic() - began < 8.0
        assert process.stdout is not None
        assert process.stdout.read() == b""  # nothing after the ready line
    log = own_stack.log.read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in log)


def test_a_second_sigterm_stops_at_once(own_stack: Stack) -> None:
    with connect(own_stack, "executor") as busy, Background() as pool:
        running = pool.submit(busy.execute, "SELECT pg_sleep(20)")
        until(
            lambda: admin(own_stack, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%'") != "1"
        )
        began = time.monotonic()
        os.kill(own_stack.pid, signal.SIGTERM)
        until(lambda: '"draining"' in own_stack.log.read_text())
        own_stack.stop_twokey()
        assert time.monotonic() - began < 5.0
        with pytest.raises(psycopg.Error):
            running.result(10)


def test_sighup_reloads_people_and_the_gateway_lives_on(own_stack: Stack) -> None:
    assert own_stack.twokey("token", "--subject", "gina", "--role", "reviewer").returncode == 1
    with connect(own_stack, "planner") as client:
        client.execute("SELECT 1")
        people = own_stack.folder / "people.yaml"
        people.write_text(people.read_text().replace("agents:", "  - {name: gina, groups: [dba]}\nagents:"))
        os.kill(own_stack.pid, signal.SIGHUP)
        until(lambda: own_stack.twokey("token", "--subject", "gina", "--role", "reviewer").returncode == 0)
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert APPROVAL.search(people.read_text()) is None
