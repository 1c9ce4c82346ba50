"""decision.settings: checked whole, names keys and never values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from decision import settings
from tests.decision.running import document_of

SECRET = "s" * 43


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return document_of(tmp_path, SECRET)


def test_reads_a_document(document: dict[str, Any]) -> None:
    read, raw = settings.read(json.dumps(document).encode())
    assert read.run.enforcer_secret.get_secret_value() == SECRET
    assert raw == document
    assert SECRET not in repr(read)
    assert document["run"]["tls"]["key"] not in repr(read)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("run", "enforcer_secret"), "short-secret", "run.enforcer_secret"),
        (("run", "enforcer_secret"), None, "run.enforcer_secret"),
        (("run", "dev"), "yes", "run.dev"),
        (("run", "extra"), 1, "run.extra"),
        (("grpc",), "nowhere", "grpc"),
        (("http",), "127.0.0.1:99999", "http"),
        (("store",), 7, "store"),
        (("connections", 0, "kind"), "mysql", "connections.0.kind"),
        (("opa", "token"), {"oh": "canary-value"}, "opa.token"),
    ],
)
def test_names_the_key_and_never_the_value(
    document: dict[str, Any], path: tuple[Any, ...], value: Any, named: str
) -> None:
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(settings.SettingsError, match=named) as caught:
        settings.read(json.dumps(document).encode())
    for hidden in (SECRET, "short-secret", "canary-value", "PRIVATE KEY"):
        assert hidden not in str(caught.value)
    assert caught.value.__cause__ is None


def test_two_connections_of_one_name(document: dict[str, Any]) -> None:
    document["connections"] *= 2
    with pytest.raises(settings.SettingsError, match="one name"):
        settings.read(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(settings.SettingsError):
        settings.read(data)


def test_from_a_descriptor(document: dict[str, Any]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        json.dump(document, file)
    assert settings.read_descriptor(reading)[1] == document
    with pytest.raises(settings.SettingsError):
        settings.read_descriptor(reading)  # it is closed
