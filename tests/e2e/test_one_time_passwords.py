"""psql with the one-time password of `twokey login`, through the gateway: once, and for what it was given."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from decision.cli.demo.database import scratch_folder
from decision.cli.demo.stack import CONFIG, DATABASE, Stack
from tests.e2e import clients

SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'"


def login(stack: Stack, role: str, *more: str, subject: str = "executor-7") -> str:
    done = stack.twokey("login", "--connection", DATABASE, "--role", role, *more, token=stack.token(subject, role))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def psql(stack: Stack, role: str, password: str, *, database: str = DATABASE) -> subprocess.CompletedProcess[str]:
    host, port = stack.address(DATABASE)
    return subprocess.run(
        [str(stack.database.psql), "-XAtw", "-h", host, "-p", str(port), "-U", role, database, "-c", "SELECT 41 + 1"],
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_psql_with_a_one_time_password(stack: Stack) -> None:
    password = login(stack, "executor")
    assert password.startswith("tkp_")
    first = psql(stack, "executor", password)
    assert first.stdout == "42\n", first.stderr
    second = psql(stack, "executor", password)
    assert second.returncode == 2
    assert "one-time password is used up" in second.stderr


def test_t28_a_password_for_another_connection_or_role_reaches_no_target(stack: Stack) -> None:
    """The target's own count of the sessions it has had says that nothing but the good log-in came as far."""
    password = login(stack, "executor")
    direct = psycopg.connect(
        host="127.0.0.1",
        port=stack.database.port,
        user="postgres",
        password=stack.database.admin_password,
        dbname=DATABASE,
        autocommit=True,
    )

    def sessions() -> int:
        found = direct.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert found is not None
        return int(found[0])

    # While a session is open, the catalog is read by a connection that is there already.
    with direct, clients.connect(stack, "executor") as other:
        other.execute("SELECT 1")
        time.sleep(1.2)  # a server tells of a session's beginning at most once a second
        before = sessions()
        assert "one-time password" in psql(stack, "planner", password).stderr
        assert "one-time password" in psql(stack, "executor", password, database="sandbox").stderr
        assert "password" in psql(stack, "executor", "tkp_" + "x" * 43).stderr
        time.sleep(1.2)
        assert sessions() == before
        assert psql(stack, "executor", password).stdout == "42\n"
        clients.until(lambda: sessions() > before, what="the good log-in's session")
    token = stack.token("executor-7", "executor")
    refused = stack.twokey("login", "--connection", DATABASE, "--role", "executor", "--uses", "3", token=token)
    assert refused.returncode == 1
    assert "DUTY-CREDENTIAL-USES" in refused.stderr


def test_pg_dump_in_parallel_with_one_password_of_as_many_uses(tmp_path: Path) -> None:
    """Each of its workers logs in by itself, with the same password; policy says how often that may be."""
    folder = scratch_folder("twokey-uses-")
    stack = Stack(folder, config=CONFIG.replace("store:", "policy: {{data: policy-data}}\nstore:"))
    (folder / "policy-data").mkdir()
    uses = "uses: {sandbox: {executor: 4}}\nssh: {proof: [], commands: {}}\n"
    (folder / "policy-data" / "credentials.yaml").write_text(uses)
    try:
        stack.start()
        token = stack.token("executor-7", "executor")
        asked = ("login", "--connection", "sandbox", "--role", "executor", "--uses")
        assert "DUTY-CREDENTIAL-USES" in stack.twokey(*asked, "5", token=token).stderr
        done = stack.twokey(*asked, "4", token=token)
        assert done.returncode == 0, done.stderr
        password = done.stdout.strip()
        host, port = stack.address("sandbox")
        program = str(stack.database.psql.with_name("pg_dump"))
        what = ["-Fd", "-j", "2", "-t", "orders", "-f", str(tmp_path / "dump")]
        dump = subprocess.run(
            [program, *what, "-h", host, "-p", str(port), "-U", "executor", "sandbox"],
            env={**os.environ, "PGPASSWORD": password},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert dump.returncode == 0, dump.stderr
        assert len(list((tmp_path / "dump").glob("[0-9]*.dat*"))) == 1
        assert psql(stack, "executor", password, database="sandbox").stdout == "42\n"  # the fourth
        assert "one-time password is used up" in psql(stack, "executor", password, database="sandbox").stderr
    finally:
        stack.stop()


def test_t20_a_revoked_agent_is_cut_in_the_middle_of_a_statement(own_stack: Stack) -> None:
    """Its statement ends with the reason, its token and a later password of it open nothing."""
    token = own_stack.token("executor-7", "executor")
    with clients.connect(own_stack, "executor", token=token) as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.execute, "SELECT pg_sleep(60)")
        clients.until(lambda: clients.admin(own_stack, SLEEPING) == "1", what="the statement")
        began = time.monotonic()
        killed = own_stack.twokey(
            "sessions",
            "kill",
            "--party",
            "executor-7",
            "--reason",
            "key stolen",
            token=own_stack.token("frank", "admin"),
        )
        assert killed.stdout == "revoked; 1 session ended\n", killed.stderr
        with pytest.raises(psycopg.Error, match="key stolen") as caught:
            running.result(30)
        assert caught.value.sqlstate == "57P01"
        assert time.monotonic() - began < 10  # the command line's own start included
    clients.until(lambda: clients.admin(own_stack, SLEEPING) == "0", what="the cancel at the target")
    with pytest.raises(psycopg.OperationalError, match="revoked"), clients.connect(own_stack, "executor", token=token):
        pass
    refused = own_stack.twokey("login", "--connection", DATABASE, "--role", "executor", token=token)
    assert "TOKEN_REVOKED" in refused.stderr


def test_one_token_and_then_a_whole_role_is_ended_at_the_command_line(own_stack: Stack) -> None:
    """Of one agent's two tokens the revoked one goes, with its session; and with the role all that is left of it."""
    admin = own_stack.token("frank", "admin")
    lost, kept = (own_stack.token("executor-7", "executor", ttl_s=seconds) for seconds in (1800, 1700))
    kill = ("sessions", "kill", "--reason", "found in a log")
    with (
        clients.connect(own_stack, "executor", token=lost) as first,
        clients.connect(own_stack, "executor", token=kept) as second,
        clients.connect(own_stack, "planner") as planner,
    ):
        wrong = own_stack.twokey(*kill, "--token-id", "x", "--role", "executor", token=admin)
        assert wrong.returncode == 2, wrong.stderr
        named = ("--token-id", token_id(lost), "--issuer", "urn:twokey:dev")
        killed = own_stack.twokey(*kill, *named, token=admin)
        assert killed.stdout == "revoked; 1 session ended\n", killed.stderr
        with pytest.raises(psycopg.errors.AdminShutdown, match="found in a log"):
            first.execute("SELECT 1")
        assert second.execute("SELECT 1").fetchone() == (1,)
        killed = own_stack.twokey(*kill, "--role", "executor", token=admin)
        assert killed.stdout == "revoked; 1 session ended\n", killed.stderr
        with pytest.raises(psycopg.errors.AdminShutdown, match="found in a log"):
            second.execute("SELECT 1")
        assert planner.execute("SELECT 1").fetchone() == (1,)
    for token in (lost, kept):
        with (
            pytest.raises(psycopg.OperationalError, match="revoked"),
            clients.connect(own_stack, "executor", token=token),
        ):
            pass


def token_id(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])
