"""Credential sources: what they give, what they refuse and where they say it, and that no refusal holds a secret."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enforcers.core import sources
from enforcers.core.errors import CredentialError
from enforcers.core.sources import fetch, fetch_credential, lies_in_memory
from enforcers.secret import Secret
from enforcers.settings import EnvSource, ExecSource, FileSource, Source

CANARY = "s3cret-canary"
VARIABLES = {"CRM_PASSWORD": Secret(CANARY)}


async def given(source: Source, *, user: str = "") -> str:
    return (await fetch_credential(source, VARIABLES, "credential of crm", user=user)).secret.reveal()


async def refused(source: Source) -> str:
    with pytest.raises(CredentialError) as caught:
        await fetch_credential(source, VARIABLES, "credential of crm, role planner", user="crm")
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def program(code: str) -> ExecSource:
    return ExecSource((sys.executable, "-I", "-c", code), at="twokey.yaml:14")


def document(**status: object) -> ExecSource:
    text = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})
    return ExecSource(("/bin/echo", text), at="twokey.yaml:14")


async def test_a_variable_is_what_was_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_NONE", "of the process's own environment, where no secret is")
    assert await given(EnvSource("CRM_PASSWORD")) == CANARY
    said = await refused(EnvSource("CRM_NONE", "twokey.yaml:12"))
    assert said.startswith("twokey.yaml:12: credential of crm, role planner: the variable CRM_NONE is not set; export")


async def test_a_variable_is_copied_because_what_is_fetched_is_wiped() -> None:
    (await fetch_credential(EnvSource("CRM_PASSWORD"), VARIABLES, "x")).secret.wipe()
    assert await given(EnvSource("CRM_PASSWORD")) == CANARY


async def test_a_file_in_memory(memory: Path) -> None:
    path = memory / "secret"
    path.write_text(CANARY + "\nmore")
    path.chmod(0o600)
    source = FileSource(str(path), at="twokey.yaml:13")
    assert await given(source) == CANARY
    for mode in (0o604, 0o620, 0o602, 0o610):
        path.chmod(mode)
        said = await refused(source)
        assert said.startswith("twokey.yaml:13: ")
        assert "chmod 600" in said
    path.chmod(0o600)
    path.write_bytes(b"")
    assert "empty" in await refused(source)
    path.write_bytes(b"\xff" + CANARY.encode())
    assert "UTF-8" in await refused(source)
    path.write_bytes(CANARY.encode() * 10_000)
    assert "64 KiB" in await refused(source)
    assert "opened" in await refused(FileSource(str(memory / "none")))
    os.mkfifo(memory / "fifo", 0o600)
    assert "regular" in await refused(FileSource(str(memory / "fifo")))


async def test_a_file_on_a_disk_only_where_it_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(CANARY)
    path.chmod(0o600)
    if lies_in_memory(path.stat().st_dev):  # then there is no disk to try it on but the root's
        path = Path(__file__)
    assert "lies on a disk; put it on a tmpfs" in await refused(FileSource(str(path)))
    assert await fetch(FileSource(str(path)), {}, "tls.key", lines=True)  # not a target's credential
    if path.parent == tmp_path:
        assert await given(FileSource(str(path), on_disk=True)) == CANARY


def test_what_lies_in_memory() -> None:
    assert lies_in_memory(os.stat("/dev/shm").st_dev)
    assert not lies_in_memory(os.stat("/proc").st_dev)
    assert not lies_in_memory(os.makedev(4095, 1))


async def test_a_helper_s_credential_and_its_end() -> None:
    end = datetime.now(UTC) + timedelta(seconds=100)
    found = await fetch_credential(document(token=CANARY, expirationTimestamp=end.isoformat()), {}, "x", user="crm")
    assert found.secret.reveal() == CANARY
    assert found.lifetime is not None
    assert 90 < found.lifetime <= 100
    assert (await fetch_credential(document(token=CANARY), {}, "x")).lifetime is None
    assert await given(program(f"print({CANARY!r})")) == CANARY


async def test_a_helper_that_lies() -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    said = await refused(document(token=CANARY, expirationTimestamp=past))
    assert "expired already" in said
    assert said.startswith("twokey.yaml:14: credential of crm, role planner: the program /bin/echo gave")
    assert "another user's credential; that of crm was asked for" in await refused(document(token=CANARY, user="root"))


async def test_a_helper_that_fails_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    said = await refused(program(f"print({CANARY!r}); raise SystemExit({CANARY!r})"))
    assert "status 1" in said
    assert "redacted" in said
    monkeypatch.setattr(sources, "FETCH_SECONDS", 0.5)
    async with asyncio.timeout(10):
        said = await refused(ExecSource(("/bin/sh", "-c", "sleep 60 & sleep 60"), at="twokey.yaml:14"))
    assert said == "twokey.yaml:14: credential of crm, role planner: no answer in 0.5 s from the program; it was killed"
