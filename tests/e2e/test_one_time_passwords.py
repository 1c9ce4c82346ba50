"""psql with the one-time password of `twokey login`, through the gateway: once, and for what it was given."""

from __future__ import annotations

import os
import subprocess

from decision.cli.demo.stack import DATABASE, Stack


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
