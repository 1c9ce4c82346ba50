"""What an upstream URL says, and the binding of a target's certificate."""

from __future__ import annotations

import pytest

from enforcers.core.errors import SettingsError
from enforcers.postgres.target import parse_target


def test_the_default_is_tls_wherever_the_network_is() -> None:
    assert parse_target("postgresql://db.example/crm").sslmode == "verify-full"
    assert parse_target("postgresql://10.0.0.5:5433/crm").sslmode == "verify-full"
    assert parse_target("postgresql://127.0.0.1/crm").sslmode == "disable"
    assert parse_target("postgresql://[::1]/crm").sslmode == "disable"
    assert parse_target("postgresql:///crm?host=/run/pg").host == "/run/pg"
    assert parse_target("postgresql://db.example/crm?sslmode=require&sslrootcert=/ca.pem").ca == "/ca.pem"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://db/crm",
        "postgresql://user:secret@db/crm",
        "postgresql://db",
        "postgresql://db:99999/crm",
        "postgresql://db/crm?sslmode=prefer",
        "postgresql://db/crm?sslmode=allow",
    ],
)
def test_what_is_no_upstream(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_target(url)
    assert "secret" not in str(refused.value)
