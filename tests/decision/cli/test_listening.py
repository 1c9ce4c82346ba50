"""Who listens where: nothing in the clear beyond loopback unless the configuration names it, with file and line."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from decision.cli import certificates, config, documents
from decision.cli.config import Loaded, check_run, variables
from decision.cli.errors import ConfigError, Problem
from decision.settings import Settings
from enforcers.settings import DecisionTls, FileSource, read_settings
from tests.decision.cli.test_config import PEOPLE
from tests.pki import Authority, host, uri

BASE = """people: people.yaml
connections:
  - name: crm
    kind: postgres
    environment: production
    upstream: postgresql://127.0.0.1:5432/crm
    credentials:
      default: {user: crm_ro}
"""
TLS = "{certificate: a.pem, key: {file: a.key}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.yaml").write_text(PEOPLE)
    authority = Authority()
    authority.leaf(uri("spiffe://td/decision"), host("decision.example.org")).write(tmp_path, "a")
    (tmp_path / "bundle.pem").write_bytes(authority.pem)
    (tmp_path / "enforcers.yaml").write_text("enforcers: []\n")
    return tmp_path


def loaded(folder: Path, text: str) -> Loaded:
    (folder / "twokey.yaml").write_text(BASE + text)
    return config.load(folder / "twokey.yaml")


def refused(folder: Path, text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        check_run(loaded(folder, text), dev=True, environ={})
    (problem,) = caught.value.problems
    return problem


PRIVATE = "plaintext: allow-on-private-network"


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("decision:\n  http: 10.0.0.5:7080\n", "decision.http", "beyond loopback without TLS"),
        ("decision:\n  http: 0.0.0.0:7080\n", "decision.http", "beyond loopback without TLS"),
        ("decision:\n  http: '[2001:db8::1]:7080'\n", "decision.http", "beyond loopback without TLS"),
        ("decision:\n  http: twokey.internal:7080\n", "decision.http", "beyond loopback without TLS"),
        (f"decision:\n  {PRIVATE}\n  http: 0.0.0.0:7080\n", "decision.http", "no address of a private network"),
        (f"decision:\n  {PRIVATE}\n  http: '[::]:7080'\n", "decision.http", "no address of a private network"),
        (f"decision:\n  {PRIVATE}\n  http: 8.8.8.8:7080\n", "decision.http", "no address of a private network"),
        (f"decision:\n  {PRIVATE}\n  http: twokey.internal:7080\n", "decision.http", "no address of a private network"),
        ("decision:\n  grpc: 10.0.0.5:7443\n", "decision.grpc", "beyond loopback without TLS"),
        (f"decision:\n  {PRIVATE}\n  grpc: 10.0.0.5:7443\n", "decision.grpc", "beyond loopback without TLS"),
        ("enforcers:\n  postgres:\n    listen: 10.0.0.5:5432\n", "enforcers.postgres.listen", "without TLS"),
        (
            "enforcers:\n  postgres:\n    tls: {certificate: a.pem, key: {file: a.key}, required: false}\n"
            "    listen: 10.0.0.5:5432\n",
            "enforcers.postgres.listen",
            "without TLS",
        ),
        (
            f"enforcers:\n  postgres:\n    {PRIVATE}\n    listen: 0.0.0.0:5432\n",
            "enforcers.postgres.listen",
            "no address of a private network",
        ),
        ("policy:\n  opa:\n    url: http://10.0.0.7:8181\n", "policy.opa.url", "leaves this machine in the clear"),
        ("policy:\n  opa:\n    url: ftp://127.0.0.1/x\n", "policy.opa.url", "leaves this machine in the clear"),
        ("decision:\n  plaintext: yes please\n", "decision.plaintext", "allow-on-private-network"),
        ("decision:\n  tls: {certificate: a.pem, key: {env: KEY}}\n", "decision.tls.key", "read again when it changes"),
        ("decision:\n  tls: {certificate: no.pem, key: {file: a.key}}\n", "decision.tls.certificate", "no such file"),
        (
            "decision:\n  mutual: {listen: '127.0.0.1:0', certificate: a.pem, key: {file: a.key}, clients: b.pem}\n",
            "decision.mutual.enforcers",
            "is missing",
        ),
    ],
)
def test_what_is_refused_at_start_with_file_and_line(folder: Path, text: str, key: str, says: str) -> None:
    problem = refused(folder, text)
    assert problem.key == key
    assert says in f"{problem.message}; {problem.fix}"
    assert problem.file.endswith("twokey.yaml")
    last = key.rpartition(".")[2]
    lines = (BASE + text).splitlines()
    expected = {number for number, line in enumerate(lines, 1) if f"{last}:" in line} or {
        number for number, line in enumerate(lines, 1) if "mutual:" in line
    }
    assert problem.line in expected


@pytest.mark.parametrize(
    "text",
    [
        "decision: {http: 127.0.0.1:7080, grpc: 'localhost:7443'}\n",
        "decision: {http: '[::1]:7080'}\n",
        f"decision:\n  {PRIVATE}\n  http: 10.0.0.5:7080\n",
        f"decision:\n  {PRIVATE}\n  http: '[fd00::5]:7080'\n",
        f"decision: {{tls: {TLS}, grpc: 0.0.0.0:7443, http: 0.0.0.0:7080}}\n",
        f"enforcers:\n  postgres:\n    {PRIVATE}\n    listen: 192.168.1.5:5432\n",
        f"enforcers:\n  postgres:\n    tls: {TLS}\n    listen: 0.0.0.0:5432\n",
        "policy: {opa: {url: 'https://opa.internal:8181'}}\n",
        "policy: {opa: {url: 'http://127.0.0.1:8181'}}\n",
    ],
)
def test_what_is_encrypted_local_or_named(folder: Path, text: str) -> None:
    check_run(loaded(folder, text), dev=True, environ={})


MUTUAL = """decision:
  mutual:
    listen: 10.0.0.5:7444
    certificate: a.pem
    key: {file: a.key}
    clients: bundle.pem
    enforcers: enforcers.yaml
"""
PEER = """enforcers:
  decision: {ca: bundle.pem, name: 'spiffe://td/decision', certificate: a.pem, key: {file: a.key}}
"""


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        (MUTUAL, "decision.mutual", "no certificate to show"),
        (
            MUTUAL + "enforcers:\n  decision: {ca: bundle.pem, name: decision.org}\n",
            "decision.mutual",
            "no certificate to",
        ),
        (PEER, "enforcers.decision.certificate", "nobody asks for it"),
        (
            "enforcers:\n  decision: {ca: bundle.pem, name: decision.org}\n",
            "enforcers.decision",
            "no certificate of yours",
        ),
        (MUTUAL + PEER.replace("spiffe://td/decision", "spiffe://td/../x"), "enforcers.decision.name", "SPIFFE ID"),
        (MUTUAL + PEER.replace("spiffe://td/decision", "*.example.org"), "enforcers.decision.name", "SPIFFE ID"),
        (MUTUAL + PEER.replace(", key: {file: a.key}", ""), "enforcers.decision", "needs its key"),
        (MUTUAL + PEER.replace("ca: bundle.pem", "ca: none.pem"), "enforcers.decision.ca", "no such file"),
    ],
)
def test_both_sides_must_know_each_other_in_one_way(folder: Path, text: str, key: str, says: str) -> None:
    problem = refused(folder, text)
    assert (problem.key, says in f"{problem.message}; {problem.fix}") == (key, True)


def run() -> documents.Run:
    return documents.Run(
        instance="run-1", dev=False, enforcer_secret="s" * 43, tls=certificates.make("t"), opa="/opt/opa"
    )


def test_what_both_processes_are_told(folder: Path) -> None:
    found = loaded(folder, f"{MUTUAL}  tls: {TLS.replace('}}', '}, clients: bundle.pem}')}\n{PEER}")
    check_run(found, dev=True, environ={})
    document = documents.decision(found, run(), grpc="127.0.0.1:1", http="127.0.0.1:2", mutual="127.0.0.1:3")
    settings = Settings.model_validate(document)
    assert settings.mutual is not None
    assert (settings.mutual.listen, settings.mutual.tls.enforcers) == ("127.0.0.1:3", str(folder / "enforcers.yaml"))
    assert settings.tls is not None
    assert (settings.tls.clients, settings.tls.enforcers) == (str(folder / "bundle.pem"), None)
    assert "PRIVATE KEY" not in str({**document, "run": None})
    told = documents.enforcer(found, run(), grpc="127.0.0.1:3", listen={"crm": "127.0.0.1:0"}, instance="enf")
    trust = read_settings(orjson.dumps(told)).decision_tls
    assert trust is not None
    assert (trust.ca, trust.name, trust.certificate) == (
        str(folder / "bundle.pem"),
        "spiffe://td/decision",
        str(folder / "a.pem"),
    )
    assert isinstance(trust.key, FileSource)
    assert trust.key.path == str(folder / "a.key")


def test_gateways_know_the_service_by_the_certificate_it_shows(folder: Path) -> None:
    """Without `enforcers.decision`: by its host name, and the file itself where nobody says who signed it."""
    found = loaded(folder, f"decision: {{tls: {TLS}}}\n")
    name = certificates.host_of(folder / "a.pem")
    assert name == "decision.example.org"
    told = documents.enforcer(found, run(), grpc="h:1", listen={"crm": "127.0.0.1:0"}, instance="enf", name=name)
    assert read_settings(orjson.dumps(told)).decision_tls == DecisionTls(ca=str(folder / "a.pem"), name=name)
    plain = documents.enforcer(loaded(folder, ""), run(), grpc="h:1", listen={"crm": "127.0.0.1:0"}, instance="enf")
    assert read_settings(orjson.dumps(plain)).decision_tls is None


def test_the_variable_of_a_gateways_key_is_handed_on(folder: Path) -> None:
    found = loaded(folder, MUTUAL + PEER.replace("{file: a.key}", "{env: GW_KEY}"))
    assert variables(found.config) == {"GW_KEY"}
