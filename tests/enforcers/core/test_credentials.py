"""Credential sources: what they give, what they refuse, and that no refusal holds a secret."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from pathlib import Path

import pytest

from enforcers.core.credentials import Credentials, Secret
from enforcers.core.errors import CredentialError
from enforcers.settings import Account, Connection, EnvSource, ExecSource, FileSource, Source

CANARY = "s3cret-canary"


def credentials(source: Source | None, role: str = "planner") -> Credentials:
    connection = Connection(
        name="crm",
        environment="production",
        upstream="postgresql://127.0.0.1/crm",
        credentials={role: Account(user="u", password=source)},
    )
    return Credentials({"crm": connection})


async def get(held: Credentials, role: str = "planner") -> str:
    user, secret = await held.get("crm", role)
    assert user == "u"
    return secret.reveal()


async def refused(source: Source) -> str:
    with pytest.raises(CredentialError) as caught:
        await get(credentials(source))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


async def test_env_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PASSWORD", CANARY)
    held = credentials(EnvSource("CRM_PASSWORD"))
    assert "CRM_PASSWORD" not in os.environ
    assert await get(held) == CANARY
    assert "CRM_NONE" in await refused(EnvSource("CRM_NONE"))


async def test_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(CANARY + "\nmore")
    path.chmod(0o600)
    assert await get(credentials(FileSource(str(path)))) == CANARY
    for mode in (0o604, 0o620, 0o602, 0o610):
        path.chmod(mode)
        assert "chmod 600" in await refused(FileSource(str(path)))
    path.chmod(0o600)
    path.write_bytes(b"")
    assert "empty" in await refused(FileSource(str(path)))
    path.write_bytes(b"\xff" + CANARY.encode())
    assert "UTF-8" in await refused(FileSource(str(path)))
    path.write_bytes(CANARY.encode() * 10_000)
    assert "too long" in await refused(FileSource(str(path)))
    assert "opened" in await refused(FileSource(str(tmp_path / "none")))
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "regular" in await refused(FileSource(str(tmp_path / "fifo")))


def program(code: str) -> ExecSource:
    return ExecSource((sys.executable, "-I", "-c", code))


async def test_exec_sees_only_path_and_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", CANARY)
    assert await get(credentials(program(f"print('{CANARY}'); print('rest')"))) == CANARY
    names = await get(credentials(program("import os; print(','.join(sorted(os.environ)))")))
    assert set(names.split(",")) <= {"PATH", "HOME", "LC_CTYPE"}


async def test_exec_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enforcers.core.credentials.FETCH_SECONDS", 20.0)
    assert "status 3" in await refused(program(f"print('{CANARY}'); raise SystemExit(3)"))
    assert "started" in await refused(ExecSource(("/nonexistent/program",)))
    assert "too long" in await refused(program("import sys; sys.stdout.write('x' * 1_000_000)"))
    monkeypatch.setattr("enforcers.core.credentials.FETCH_SECONDS", 0.5)
    async with asyncio.timeout(5):
        # With a helper that keeps the pipe open: the whole group is killed.
        assert "no answer" in await refused(ExecSource(("/bin/sh", "-c", "sleep 60 & sleep 60")))


async def test_one_fetch_for_the_sessions_of_a_role_and_none_kept_after_the_last(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("one")
    path.chmod(0o600)
    held = credentials(FileSource(str(path)))
    held.opened("crm", "planner")
    held.opened("crm", "planner")
    assert await asyncio.gather(get(held), get(held)) == ["one", "one"]
    path.write_text("two")
    assert await get(held) == "one"
    held.closed("crm", "planner")
    assert await get(held) == "one"
    held.closed("crm", "planner")
    assert held._held == {}
    assert held._sessions == {}
    assert await get(held) == "two"
    assert held._held == {}


async def test_roles() -> None:
    with pytest.raises(CredentialError):
        await get(credentials(None), role="executor")
    assert await get(credentials(None, role="default"), role="executor") == ""
    with pytest.raises(CredentialError):
        await credentials(None).get("erp", "planner")


def test_a_secret_hides() -> None:
    secret = Secret(CANARY)
    assert CANARY not in repr(secret) + str(secret) + f"{secret}" + repr([secret])
    with pytest.raises(TypeError):
        pickle.dumps(secret)
