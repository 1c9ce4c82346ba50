"""Each process is told only what it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decision.cli import certificates, config, documents
from decision.cli.config import Loaded
from decision.cli.documents import Run
from enforcers.postgres.target import parse_target
from enforcers.settings import EnvSource, ExecSource, Tls, read_settings


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    (tmp_path / "people.yaml").write_text("principals: []\n")
    (tmp_path / "twokey.yaml").write_text(
        "people: people.yaml\n"
        "connections:\n"
        "  - name: crm\n"
        "    kind: postgres\n"
        "    environment: production\n"
        "    upstream: postgresql://127.0.0.1:5432/crm\n"
        "    credentials:\n"
        "      planner: {user: ro, password: {env: RO}}\n"
        "      executor: {user: rw, password: {exec: [./get-secret, crm]}}\n"
        "      default: {user: x, password: {file: pw}}\n"
        "store: sqlite:///var/twokey.db\n"
    )
    return config.load(tmp_path / "twokey.yaml")


@pytest.fixture
def run() -> Run:
    return Run(instance="run-1", dev=False, enforcer_secret="s" * 43, tls=certificates.make("t"), opa="/opt/opa")


def test_the_decision_service_gets_no_target_and_no_credential(loaded: Loaded, run: Run) -> None:
    document = documents.decision(loaded, run, grpc="127.0.0.1:0", http="127.0.0.1:0")
    text = json.dumps(document)
    assert "upstream" not in text
    assert "credentials" not in text
    assert "get-secret" not in text
    assert document["store"] == f"sqlite:///{loaded.root / 'var' / 'twokey.db'}"
    policy = document["policy"]
    assert isinstance(policy, dict)
    assert Path(policy["rego"]).is_absolute()


def test_the_enforcer_gets_no_server_key_no_people_and_no_store(loaded: Loaded, run: Run) -> None:
    document = documents.enforcer(loaded, run, grpc="127.0.0.1:1", listen={"crm": "127.0.0.1:0"}, instance="enf-1")
    text = json.dumps(document)
    assert "PRIVATE KEY" not in text
    assert not {"people", "store", "audit", "policy", "identity", "opa"} & set(document)


def test_sources_are_handed_on_unread_with_absolute_paths(loaded: Loaded, run: Run) -> None:
    document = documents.enforcer(loaded, run, grpc="127.0.0.1:1", listen={"crm": "127.0.0.1:0"}, instance="enf-1")
    connections = document["connections"]
    assert isinstance(connections, list)
    credentials = connections[0]["credentials"]
    assert credentials["planner"]["password"] == {"env": "RO"}
    assert credentials["executor"]["password"] == {"exec": [str(loaded.root / "get-secret"), "crm"]}
    assert credentials["default"]["password"] == {"file": str(loaded.root / "pw")}


def test_what_a_listener_and_a_target_show_each_other(tmp_path: Path, run: Run) -> None:
    (tmp_path / "people.yaml").write_text("principals: []\n")
    (tmp_path / "twokey.yaml").write_text(
        "people: people.yaml\n"
        "connections:\n"
        "  - name: crm\n"
        "    kind: postgres\n"
        "    environment: production\n"
        "    upstream: postgresql://db.example/crm?sslmode=verify-ca&sslrootcert=tls/a%26b.pem\n"
        "    credentials:\n"
        "      default: {user: x, certificate: x.crt, key: {env: X_KEY}}\n"
        "enforcers:\n"
        "  postgres:\n"
        "    listen: 0.0.0.0:0\n"
        "    tls: {certificate: gate.crt, key: {exec: [./key]}}\n"
        "    balancers: [10.0.0.0/24]\n"
        "    max_connections: 7\n"
        "masking: {key: {env: MASKING_KEY}}\n"
    )
    loaded = config.load(tmp_path / "twokey.yaml")
    document = documents.enforcer(loaded, run, grpc="127.0.0.1:1", listen={"crm": "127.0.0.1:0"}, instance="enf-1")
    settings = read_settings(json.dumps(document).encode())
    crm, root = settings.connections["crm"], loaded.root
    assert parse_target(crm.upstream).ca == str(root / "tls" / "a&b.pem")
    assert crm.credentials["default"].certificate == str(root / "x.crt")
    assert crm.credentials["default"].key == EnvSource("X_KEY")
    assert settings.tls == Tls(certificate=str(root / "gate.crt"), key=ExecSource((str(root / "key"),)), required=True)
    assert settings.balancers == ("10.0.0.0/24",)
    assert settings.max_connections == 7
    assert settings.masking_key == EnvSource("MASKING_KEY")
    assert config.variables(loaded.config) == {"X_KEY", "MASKING_KEY"}


def test_environments_are_lists_of_what_is_allowed(loaded: Loaded) -> None:
    environ = {"PATH": "p", "HOME": "h", "RO": "secret", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "evil"}
    assert documents.environment(documents.SERVICE, environ) == {"PATH": "p", "HOME": "h"}
    names = {*documents.PLAIN, *config.variables(loaded.config)}
    assert documents.environment(names, environ) == {"PATH": "p", "HOME": "h", "RO": "secret"}


def test_secrets_are_not_in_repr(run: Run) -> None:
    assert "s" * 43 not in repr(run)
    assert "PRIVATE" not in repr(run)


def test_the_enforcer_reads_its_document(loaded: Loaded, run: Run) -> None:
    document = documents.enforcer(loaded, run, grpc="127.0.0.1:1", listen={"crm": "127.0.0.1:0"}, instance="enf-1")
    settings = read_settings(json.dumps(document).encode())
    assert settings.connections["crm"].credentials["planner"].user == "ro"
