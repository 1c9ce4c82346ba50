"""The settings document: exactly these keys, these types; no message ever shows a value."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from enforcers.core.errors import SettingsError
from enforcers.settings import Address, EnvSource, ExecSource, FileSource, Tls, read_settings

SECRET = "canary" * 8
DOCUMENT: dict[str, Any] = {
    "run": {
        "instance": "enf-1",
        "dev": True,
        "enforcer_secret": SECRET,
        "tls": {"ca": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"},
    },
    "decision": {"grpc": "127.0.0.1:4242"},
    "listen": {"crm": "127.0.0.1:0"},
    "workers": 1,
    "tls": {"certificate": "/run/gate.crt", "key": {"env": "GATE_KEY"}, "required": True},
    "balancers": ["10.0.0.0/24"],
    "max_connections": 20,
    "masking": {"key": {"file": "/run/masking.key"}},
    "variables": {"CRM_RO_PASSWORD": "s3cret-canary"},
    "connections": [
        {
            "name": "crm",
            "environment": "production",
            "upstream": "postgresql://127.0.0.1:5432/crm",
            "credentials": {
                "planner": {"user": "crm_ro", "password": {"env": "CRM_RO_PASSWORD"}},
                "executor": {"user": "crm_app", "password": {"exec": ["./get", "crm"], "environment": ["VAULT"]}},
                "auditor": {"user": "crm_au", "password": {"file": "/run/secret", "on_disk": True, "at": "t.yaml:3"}},
                "default": {"user": "nobody"},
                "certified": {"user": "crm_ce", "certificate": "/run/crm.crt", "key": {"file": "/run/crm.key"}},
            },
        }
    ],
}


def test_the_documented_form() -> None:
    settings = read_settings(orjson.dumps(DOCUMENT))
    assert settings.decision == Address("127.0.0.1", 4242)
    assert settings.listen == {"crm": Address("127.0.0.1", 0)}
    accounts = settings.connections["crm"].credentials
    assert accounts["planner"].password == EnvSource("CRM_RO_PASSWORD")
    assert accounts["executor"].password == ExecSource(("./get", "crm"), ("VAULT",))
    assert accounts["auditor"].password == FileSource("/run/secret", on_disk=True)
    assert accounts["auditor"].password.at == "t.yaml:3"
    assert accounts["default"].password is None
    assert accounts["certified"].certificate == "/run/crm.crt"
    assert accounts["certified"].key == FileSource("/run/crm.key")
    assert settings.tls == Tls(certificate="/run/gate.crt", key=EnvSource("GATE_KEY"), required=True)
    assert settings.balancers == ("10.0.0.0/24",)
    assert settings.max_connections == 20
    assert settings.masking_key == FileSource("/run/masking.key")
    assert settings.variables["CRM_RO_PASSWORD"].reveal() == "s3cret-canary"
    assert "s3cret-canary" not in repr(settings) + str(settings)


def test_what_may_be_absent() -> None:
    document = {
        key: value
        for key, value in DOCUMENT.items()
        if key not in {"tls", "balancers", "max_connections", "masking", "variables"}
    }
    settings = read_settings(orjson.dumps(document))
    assert settings.tls is None
    assert settings.balancers == ()
    assert settings.max_connections == 500
    assert settings.masking_key is None
    assert SECRET not in repr(settings)


def paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*path, key))
    return found


OPTIONAL = {
    *("planner", "executor", "auditor", "default", "certified", "password"),
    *("tls", "balancers", "max_connections", "masking"),
    *("variables", "CRM_RO_PASSWORD", "environment", "on_disk", "at"),
}


@pytest.mark.parametrize("path", paths(DOCUMENT), ids=str)
def test_each_key_is_needed_and_typed(path: tuple[Any, ...]) -> None:
    for value in ({"x": 1}, 1.5, None, *([[]] if path[-1] not in {"balancers", "environment"} else []), ""):
        changed = copy.deepcopy(DOCUMENT)
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        with pytest.raises(SettingsError) as caught:
            read_settings(orjson.dumps(changed))
        assert SECRET not in str(caught.value)
    del parent[path[-1]]
    if path[-1] not in OPTIONAL and not (len(path) > 1 and path[-2] in {"exec", "balancers", "environment"}):
        with pytest.raises(SettingsError):
            read_settings(orjson.dumps(changed))


@pytest.mark.parametrize("path", [(), ("run",), ("run", "tls"), ("decision",), ("connections", 0)], ids=str)
def test_an_unknown_key_is_refused(path: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(DOCUMENT)
    target = changed
    for key in path:
        target = target[key]
    target["surprise"] = 1
    with pytest.raises(SettingsError, match="surprise: unknown key"):
        read_settings(orjson.dumps(changed))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
        ({"decision": {"grpc": "127.0.0.1:0"}}, "port"),
        ({"decision": {"grpc": "127.0.0.1"}}, "host:port"),
        ({"decision": {"grpc": "127.0.0.1:70000"}}, "port"),
        ({"listen": {}}, "listen"),
        ({"listen": {"crm": "127.0.0.1:0", "erp": "127.0.0.1:0"}}, "listen"),
        ({"connections": DOCUMENT["connections"] * 2}, "twice"),
    ],
)
def test_what_does_not_fit(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read_settings(orjson.dumps(DOCUMENT | change))


@pytest.mark.parametrize("upstream", ["postgresql://u:canary@h/db", "postgresql://h/db?password=canary", "h:5432"])
def test_no_password_in_the_upstream(upstream: str) -> None:
    changed = copy.deepcopy(DOCUMENT)
    changed["connections"][0]["upstream"] = upstream
    with pytest.raises(SettingsError) as caught:
        read_settings(orjson.dumps(changed))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b" " * (5 << 20)])
def test_not_a_document(raw: bytes) -> None:
    with pytest.raises(SettingsError):
        read_settings(raw)


def test_addresses() -> None:
    changed = DOCUMENT | {"listen": {"crm": "[::1]:5432"}}
    assert read_settings(orjson.dumps(changed)).listen["crm"] == Address("::1", 5432)
    assert str(Address("::1", 5432)) == "[::1]:5432"
