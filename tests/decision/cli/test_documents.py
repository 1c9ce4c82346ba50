"""Each process is told only what it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decision.cli import certificates, config, documents
from decision.cli.config import Loaded
from decision.cli.documents import Run
from decision.settings import Settings
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
        "      executor: {user: rw, password: {exec: [./get-secret, crm], environment: [VAULT_ADDR]}}\n"
        "      default: {user: x, password: {file: pw, on_disk: true}}\n"
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
    shown = loaded.document.file
    assert credentials["planner"]["password"] == {"env": "RO", "at": f"{shown}:8"}
    assert credentials["executor"]["password"] == {
        "exec": [str(loaded.root / "get-secret"), "crm"],
        "environment": ["VAULT_ADDR"],
        "at": f"{shown}:9",
    }
    assert credentials["default"]["password"] == {
        "file": str(loaded.root / "pw"),
        "on_disk": True,
        "at": f"{shown}:10",
    }


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
    assert config.variables(loaded.config) == {"RO", "VAULT_ADDR"}
    assert not {"HTTPS_PROXY", "https_proxy"} & set(
        documents.SERVICE
    )  # they may hold a password, and nobody reads them


def test_what_variables_hold_goes_by_the_document(loaded: Loaded, run: Run) -> None:
    given = {"RO": "hunter2", "VAULT_ADDR": "https://vault"}
    document = documents.enforcer(
        loaded, run, grpc="127.0.0.1:1", listen={"crm": "127.0.0.1:0"}, instance="enf-1", variables=given
    )
    settings = read_settings(json.dumps(document).encode())
    assert {name: secret.reveal() for name, secret in settings.variables.items()} == given
    assert "hunter2" not in repr(settings)


def test_secrets_are_not_in_repr(run: Run) -> None:
    assert "s" * 43 not in repr(run)
    assert "PRIVATE" not in repr(run)


def test_the_enforcer_reads_its_document(loaded: Loaded, run: Run) -> None:
    document = documents.enforcer(loaded, run, grpc="127.0.0.1:1", listen={"crm": "127.0.0.1:0"}, instance="enf-1")
    settings = read_settings(json.dumps(document).encode())
    assert settings.connections["crm"].credentials["planner"].user == "ro"


def test_public_origins_and_the_authoritys_key_reach_the_decision_service_alone(tmp_path: Path) -> None:
    (tmp_path / "people.yaml").write_text("principals: []\n")
    (tmp_path / "twokey.yaml").write_text(
        "people: people.yaml\n"
        "identity: {issuers: [{issuer: 'https://idp.example', audience: t, roles: {claim: g}, login: {client: cli}}]}\n"
        "decision:\n"
        "  public: {grpc: ['https://twokey.example.com:7443'], http: ['https://twokey.example.com']}\n"
        "  ssh: {key: {env: CA}}\n"
        "connections:\n"
        "  - name: crm\n    kind: postgres\n    environment: x\n    upstream: postgresql://127.0.0.1/c\n"
        "    credentials: {default: {user: u}}\n"
        "  - {name: bastion, kind: ssh, environment: x, upstream: 'ssh://127.0.0.1'}\n"
    )
    loaded = config.load(tmp_path / "twokey.yaml")
    run = Run(
        instance="r", dev=False, enforcer_secret="s" * 43, tls=certificates.make("t"), opa="/opa", ssh_key="hunter2"
    )
    document = documents.decision(loaded, run, grpc="127.0.0.1:0", http="127.0.0.1:0")
    read = Settings.model_validate(document)
    assert read.public.grpc == ["https://twokey.example.com:7443"]
    assert read.ssh is not None
    assert read.ssh.key.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(run) + repr(read)
    assert [one.kind for one in read.connections] == ["postgres", "ssh"]
    assert "login" not in read.identity.issuers[0]
    told = documents.enforcer(loaded, run, grpc="127.0.0.1:1", listen={"crm": "127.0.0.1:0"}, instance="e")
    assert "hunter2" not in json.dumps(told)
    assert "bastion" not in json.dumps(told)
