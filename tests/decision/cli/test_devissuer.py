"""The dev issuer is asked over a socket of its owner; what it refuses is said."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from decision.cli import devissuer
from decision.cli.errors import CliError, UnreachableError


class Issuer:
    """One connection, one answer."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        (folder / "dev").mkdir(parents=True)
        self.request: dict[str, object] = {}
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "dev" / "issuer.sock"))
        self._socket.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection, connection.makefile("rb") as reader:
            self.request = json.loads(reader.readline())
            connection.sendall(self._answer)

    def close(self) -> None:
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


def test_a_token(folder: Path) -> None:
    issuer = Issuer(folder, b'{"token": "abc"}\n')
    assert devissuer.mint(folder, subject="bob", roles=["reviewer"], actors=["x"], ttl_s=60) == "abc"
    issuer.close()
    assert issuer.request == {"subject": "bob", "roles": ["reviewer"], "actors": ["x"], "ttl_s": 60}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"error": "no such subject"}\n', "no such subject"),
        (b"", "can't be read"),
        (b"garbage\n", "can't be read"),
        (b'{"token": 1}\n', "no reason"),
        (b"[]\n", "no reason"),
    ],
)
def test_a_refusal(folder: Path, answer: bytes, message: str) -> None:
    issuer = Issuer(folder, answer)
    with pytest.raises(CliError, match=message):
        devissuer.mint(folder, subject="bob", roles=[])
    issuer.close()


def test_none_runs(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no development issuer"):
        devissuer.mint(tmp_path, subject="bob", roles=[])
