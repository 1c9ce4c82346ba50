"""TLS to a target as doctor does it: what the connection says, and nothing less."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from decision.cli import config
from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.targets import tls_context
from tests.enforcers.postgres.certificates import certificate


def loaded(folder: Path, options: str, account: str = "") -> Loaded:
    (folder / "people.yaml").write_text("principals: []\n")
    (folder / "twokey.yaml").write_text(
        "people: people.yaml\n"
        "connections:\n"
        f"  - {{name: crm, kind: postgres, environment: production, upstream: 'postgresql://db.example/crm?{options}',\n"
        f"     credentials: {{default: {{user: x{account}}}}}}}\n"
    )
    return config.load(folder / "twokey.yaml")


def context(found: Loaded) -> ssl.SSLContext | None:
    connection = found.config.connections[0]
    return tls_context(found, connection, connection.credentials["default"], {"KEY": "no key"})


@pytest.mark.parametrize(
    ("options", "mode", "named"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-full", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-ca", ssl.CERT_REQUIRED, False),
        ("sslmode=require", ssl.CERT_NONE, False),
    ],
)
def test_each_mode(tmp_path: Path, options: str, mode: ssl.VerifyMode, named: bool) -> None:
    found = context(loaded(tmp_path, options))
    assert found is not None
    assert (found.verify_mode, found.check_hostname) == (mode, named)


def test_without_tls(tmp_path: Path) -> None:
    assert context(loaded(tmp_path, "sslmode=disable")) is None


def test_own_roots_and_an_accounts_certificate(tmp_path: Path) -> None:
    certificate(tmp_path, "x")
    options = "sslmode=verify-full&sslrootcert=x.crt"
    found = context(loaded(tmp_path, options, ", certificate: x.crt, key: {file: x.key}"))
    assert found is not None
    assert len(found.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("options", "account"),
    [
        ("sslrootcert=none.crt", ""),
        ("sslrootcert=people.yaml", ""),
        ("sslmode=require", ", certificate: x.crt, key: {env: KEY}"),
        ("sslmode=require", ", certificate: none.crt, key: {file: x.key}"),
    ],
)
def test_what_can_not_be_used_is_said(tmp_path: Path, options: str, account: str) -> None:
    certificate(tmp_path, "x")
    with pytest.raises(CliError) as raised:
        context(loaded(tmp_path, options, account))
    assert "no key" not in str(raised.value)
