"""Obtaining clients: once from the same sources, again from others, and a clear word where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import clients
from tools.setup import SetupError


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Builders that only say that they were called."""
    calls: list[str] = []
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path))

    def build(made: Path) -> None:
        calls.append(made.name)

    monkeypatch.setattr(clients, "CLIENTS", dict.fromkeys(clients.CLIENTS, build))
    return calls


def test_a_client_is_built_once_from_copies_of_its_sources(built: list[str], tmp_path: Path) -> None:
    made = clients.obtain("go")
    assert made == tmp_path / "clients" / "go"
    assert (made / "talk.go").read_bytes() == (clients.SOURCES / "go" / "talk.go").read_bytes()
    clients.obtain("go")
    assert built == ["go"]
    (made / "made-from").write_text("older sources", encoding="utf-8")
    clients.obtain("go")
    assert built == ["go", "go"]


def test_a_build_that_failed_is_tried_again(built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(made: Path) -> None:
        raise SetupError("no network", "connect")

    monkeypatch.setitem(clients.CLIENTS, "node", fail)
    with pytest.raises(SetupError):
        clients.obtain("node")
    assert not (clients.folder("node") / "made-from").exists()


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="cargo is needed"):
        clients.needed("cargo", "cargo")


def test_every_client_has_sources() -> None:
    for name in clients.CLIENTS:
        assert any((clients.SOURCES / name).iterdir()), name
