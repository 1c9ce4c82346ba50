"""`twokey up` with certificates on every listener: gateways known by their SVIDs, clients whose tokens are bound to
theirs (RFC 8705), and all of it rotated while a session runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from decision.cli.demo.database import scratch_folder
from decision.cli.demo.stack import CONFIG, DATABASE, Stack
from decision.identity.svid import thumbprint
from tests.decision.identity.support import Idp
from tests.pki import Authority, Pair, address, host, uri

DOMAIN = "spiffe://example.org"
LISTENERS = """
identity:
  issuers:
    - {{{{issuer: "{issuer}", audience: twokey, roles: {{{{claim: groups, map: {{{{agents-exec: executor}}}}}}}}}}}}
decision:
  tls: {{{{certificate: service.pem, key: {{{{file: service.key}}}}, ca: bundle.pem, clients: bundle.pem}}}}
  mutual:
    listen: 127.0.0.1:0
    certificate: service.pem
    key: {{{{file: service.key}}}}
    clients: bundle.pem
    enforcers: enforcers.yaml
enforcers:
  decision:
    ca: bundle.pem
    name: {domain}/decision
    certificate: gateway.pem
    key: {{{{file: gateway.key}}}}
  postgres:
    tls: {{{{certificate: gate.pem, key: {{{{file: gate.key}}}}, clients: bundle.pem}}}}
"""


class Issuer:
    """An identity provider in a thread of its own: the twokey processes fetch its keys while a test waits for them."""

    def __init__(self) -> None:
        idp = self._idp = Idp()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = idp.jwks if self.path == "/keys" else {"issuer": idp.url, "jwks_uri": f"{idp.url}/keys"}
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        idp.url = self.url = f"http://127.0.0.1:{self._server.server_port}"

    def token(self, pair: Pair) -> str:
        bound = {"x5t#S256": thumbprint(pair.certificate.public_bytes(Encoding.DER))}
        return self._idp.token(sub="executor-7", groups=["agents-exec"], jti=f"t{time.time_ns()}", cnf=bound)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class World:
    def __init__(self, folder: Path, issuer: Issuer) -> None:
        self.folder = folder
        self.issuer = issuer
        self.authority = Authority("spire")
        (folder / "bundle.pem").write_bytes(self.authority.pem)
        (folder / "enforcers.yaml").write_text(f'enforcers:\n  - {{name: gw-1, spiffe: "{DOMAIN}/gw-1"}}\n')
        self.renew()
        config = CONFIG + LISTENERS.format(issuer=issuer.url, domain=DOMAIN)
        people = f"""principals:
  - {{name: alice, groups: [dba]}}
  - {{name: frank, groups: [admins]}}
agents:
  - {{name: executor-7, owner: alice, identities: [{{iss: "{issuer.url}", sub: executor-7}}]}}
"""
        self.stack = Stack(folder, config=config, people=people)

    def renew(self) -> dict[str, Pair]:
        """New keys and certificates of everybody, put in place one file after the other."""
        made = {
            "service": self.authority.leaf(uri(f"{DOMAIN}/decision"), host("decision.example.org")),
            "gateway": self.authority.leaf(uri(f"{DOMAIN}/gw-1")),
            "gate": self.authority.leaf(host("localhost"), address("127.0.0.1")),
        }
        for name, pair in made.items():
            pair.write(self.folder, name)
        return made

    def client(self, name: str = "executor-7") -> Pair:
        return self.authority.leaf(uri(f"{DOMAIN}/{name}"))

    def connect(self, pair: Pair | None, token: str, **options: Any) -> psycopg.Connection[Any]:
        where, port = self.stack.address()
        shown: dict[str, str] = {"sslcert": "none", "sslkey": "none"}
        if pair is not None:
            shown = dict(zip(("sslcert", "sslkey"), pair.write(self.folder, "client"), strict=True))
        given: dict[str, Any] = {"host": where, "port": port, "sslmode": "verify-full", **shown, **options}
        return psycopg.connect(
            dbname=DATABASE,
            user="executor",
            password=token,
            sslrootcert=str(self.folder / "bundle.pem"),
            autocommit=True,
            connect_timeout=20,
            **given,
        )

    def shown(self) -> bytes:
        """What the gateway's listener shows."""
        where, port = self.stack.address()
        context = ssl.create_default_context(cafile=str(self.folder / "bundle.pem"))
        context.set_alpn_protocols(["postgresql"])
        with (
            socket.create_connection((where, port), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    issuer, folder = Issuer(), scratch_folder("twokey-certificates-")
    try:
        made = World(folder, issuer)
        with made.stack:
            yield made
    finally:
        issuer.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_statement_through_listeners_that_all_have_certificates(world: World) -> None:
    assert {"mutual", "decision", "http"} <= set(world.stack.ready)
    with world.connect(None, world.stack.token("executor-7", "executor")) as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
        listed = world.stack.twokey("sessions", "list", "--json", token=world.stack.token("frank", "admin"))
        assert listed.returncode == 0, listed.stderr
        assert '"gw-1/enf-' in listed.stdout
    context = ssl.create_default_context(cafile=str(world.folder / "bundle.pem"))
    context.check_hostname = False
    with urllib.request.urlopen(f"{world.stack.ready['http']}/metrics", context=context, timeout=10) as answer:
        assert 'twokey_certificate_expiry_timestamp_seconds{listener="mutual",part="clients"}' in answer.read().decode()


def test_a_bound_token_opens_a_session_with_its_certificate_alone(world: World) -> None:
    mine = world.client()
    token = world.issuer.token(mine)
    with world.connect(mine, token) as client:
        assert client.execute("SELECT current_setting('twokey.subject')").fetchone() == ("executor-7",)
    for pair in (None, world.client("mallory"), world.client()):
        with pytest.raises(psycopg.OperationalError, match="bound to a key"):
            world.connect(pair, token)


def test_a_strangers_certificate_is_refused_in_the_handshake(world: World) -> None:
    stranger = Authority("spire").leaf(uri(f"{DOMAIN}/executor-7"))
    with pytest.raises(psycopg.OperationalError, match=r"SSL error|unknown ca|closed|reset"):
        world.connect(stranger, world.issuer.token(stranger))


REMOTE = """people: people.yaml
connections:
  - name: company
    kind: postgres
    environment: production
    upstream: {upstream}
    credentials:
      executor: {{user: company_rw, password: {{env: COMPANY_RW_PASSWORD}}}}
enforcers:
  decision:
    address: {address}
    ca: {bundle}
    name: spiffe://example.org/decision
    certificate: gateway.pem
    key: {{file: gateway.key}}
  postgres:
    workers: 2
    tls: {{certificate: ../gate.pem, key: {{file: ../gate.key}}}}
"""


@contextmanager
def second_gateway(world: World, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """`twokey serve postgres` as on another machine: no run file, no secret; its certificate names `name`."""
    folder = world.folder / "remote"
    folder.mkdir(mode=0o700, exist_ok=True)
    world.authority.leaf(uri(f"{DOMAIN}/{name}")).write(folder, "gateway")
    (folder / "people.yaml").write_text("principals: []\n")
    (folder / "twokey.yaml").write_text(
        REMOTE.format(
            upstream=world.stack.database.url(DATABASE),
            address=world.stack.ready["mutual"],
            bundle=world.folder / "bundle.pem",
        )
    )
    command = [*world.stack.command(), "serve", "postgres", "-c", str(folder / "twokey.yaml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=world.stack.up_environment())
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def test_a_gateway_on_another_machine(world: World) -> None:
    (world.folder / "enforcers.yaml").write_text(
        f'enforcers:\n  - {{name: gw-1, spiffe: "{DOMAIN}/gw-1"}}\n  - {{name: gw-9, spiffe: "{DOMAIN}/gw-9"}}\n'
    )
    os.kill(world.stack.pid, signal.SIGHUP)
    with second_gateway(world, "gw-9") as process:
        ready = json.loads(process.stdout.readline() if process.stdout is not None else b"")
        port = ready["postgres"][DATABASE].rpartition(":")[2]
        token = world.stack.token("executor-7", "executor")
        with world.connect(None, token, port=port) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
            listed = world.stack.twokey("sessions", "list", "--json", token=world.stack.token("frank", "admin"))
            assert '"gw-9/enf-' in listed.stdout


def test_everything_is_rotated_under_a_session(world: World) -> None:
    before = world.shown()
    with world.connect(None, world.stack.token("executor-7", "executor")) as client:
        made = world.renew()
        os.kill(world.stack.pid, signal.SIGHUP)
        deadline = time.monotonic() + 20
        while world.shown() == before and time.monotonic() < deadline:
            pass  # each look is a log-in through the service
        assert world.shown() == made["gate"].certificate.public_bytes(Encoding.DER)
        assert client.execute("SELECT 2").fetchone() == (2,)
        with world.connect(None, world.stack.token("executor-7", "executor")) as another:
            assert another.execute("SELECT 3").fetchone() == (3,)


def test_a_gateway_that_is_taken_off_the_list_gets_no_session(world: World) -> None:
    (world.folder / "enforcers.yaml").write_text("enforcers: []\n")
    os.kill(world.stack.pid, signal.SIGHUP)
    token = world.stack.token("executor-7", "executor")

    def refused() -> bool:
        try:
            world.connect(None, token).close()
        except psycopg.OperationalError as error:
            return "decision service" in str(error)
        return False

    deadline = time.monotonic() + 20
    while not refused():
        assert time.monotonic() < deadline
