"""Which PostgreSQL is meant, and where its programs are."""

from __future__ import annotations

from pathlib import Path

import pytest

from decision.cli.demo import postgres
from decision.cli.demo.postgres import Choice, binaries, choose, clients
from decision.cli.errors import CliError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18", Choice("package", 18)),
        (16, Choice("package", 16)),
        ("17", Choice("maven", 17)),
        (14, Choice("maven", 14)),
        ("maven:18", Choice("maven", 18)),
        ("docker:15", Choice("docker", 15)),
        ("package:16", Choice("package", 16)),
    ],
)
def test_what_is_asked_for(text: str | int, expected: Choice) -> None:
    assert choose(text, {}) == expected
    assert choose(None, {"TWOKEY_POSTGRES": str(text)}) == expected


def test_what_is_said_counts_before_the_environment_and_that_before_the_default() -> None:
    assert choose("17", {"TWOKEY_POSTGRES": "14"}) == Choice("maven", 17)
    assert choose(None, {}) == Choice("package", 16)
    assert choose(None, {"TWOKEY_POSTGRES": ""}) == Choice("package", 16)
    assert choose(str(Choice("docker", 17)), {}) == Choice("docker", 17)


@pytest.mark.parametrize(
    "text", ["", "latest", "maven", "maven:", "podman:14", "13", "19", "package:14", "maven:9", "18.1", "1 8", "-14"]
)
def test_what_is_no_server_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(CliError) as caught:
        choose(text or " ", {})
    assert caught.value.next_step


def test_mavens_are_below_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path))
    monkeypatch.setattr(postgres, "PROJECT", tmp_path / "nothing")
    with pytest.raises(CliError, match="PostgreSQL 14 has not been obtained") as caught:
        binaries(Choice("maven", 14))
    assert "tools.postgres_binaries 14" in caught.value.next_step
    folder = tmp_path / "postgresql" / "14" / "bin"
    folder.mkdir(parents=True)
    (folder / "postgres").touch()
    assert binaries(Choice("maven", 14)) == folder


def test_the_package_holds_servers_and_clients() -> None:
    for version in (16, 18):
        assert (binaries(Choice("package", version)) / "postgres").exists()
    for program in ("psql", "pgbench", "pg_dump", "pg_restore"):
        assert (clients() / program).exists()
