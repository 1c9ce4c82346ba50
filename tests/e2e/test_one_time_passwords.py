"""psql with the one-time password of `twokey login`, through the gateway: once, and for what it was given."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from decision.cli.demo.stack import DATABASE, Stack
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
    password = login(stack, "executor")
    assert "one-time password" in psql(stack, "planner", password).stderr
    assert "one-time password" in psql(stack, "executor", password, database="sandbox").stderr
    assert psql(stack, "executor", password).stdout == "42\n"
    token = stack.token("executor-7", "executor")
    refused = stack.twokey("login", "--connection", DATABASE, "--role", "executor", "--uses", "3", token=token)
    assert refused.returncode == 1
    assert "DUTY-CREDENTIAL-USES" in refused.stderr


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
