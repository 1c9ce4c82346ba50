"""A gateway's way to the decision service by certificates: a real gRPC server at the other end, and strangers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from structlog.testing import capture_logs
from twokey.decision.v1 import decision_pb2

from enforcers.core import tls as tls_module
from enforcers.core.client_tls import ClientTls
from enforcers.core.core import EnforcerCore, running_core
from enforcers.core.decision_client import DecisionClient
from enforcers.core.errors import DecisionUnavailableError, SettingsError
from enforcers.core.metrics import METRICS
from enforcers.core.tunnel import Tunnel
from enforcers.settings import Address, DecisionTls, FileSource
from tests.enforcers.core import service as scripted
from tests.enforcers.core.conftest import open_gate
from tests.enforcers.core.service import ScriptedService, settings_for
from tests.enforcers.postgres.raw import eventually
from tests.pki import HOUR, Authority, Pair, host, uri

NAME = "spiffe://example.org/decision"
RUN = scripted.Authority()  # the run's own, which is asked nothing here


class Certified(ScriptedService):
    """Knows its callers by their certificates, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: list[dict[str, str]] = []
        self.peers: set[str] = set()
        self.certificates: list[bytes] = []

    async def _known(self, context: Any) -> None:
        facts = context.auth_context()
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.peers.update(name.decode() for name in facts["x509_subject_alternative_name"])
        self.certificates += facts["x509_pem_cert"]


class Spire:
    """An authority, and the files that an agent of it would keep for the gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("spire")
        self.bundle(self.authority)
        self.renew()

    def bundle(self, *authorities: Authority) -> None:
        (self.folder / "bundle.pem").write_bytes(b"".join(one.pem for one in authorities))

    def renew(self, authority: Authority | None = None) -> Pair:
        pair = (authority or self.authority).leaf(uri("spiffe://example.org/gw-1"))
        pair.write(self.folder, "svid")
        return pair

    def settings(self, name: str = NAME) -> DecisionTls:
        return DecisionTls(
            ca=str(self.folder / "bundle.pem"),
            name=name,
            certificate=str(self.folder / "svid.pem"),
            key=FileSource(str(self.folder / "svid.key")),
        )


@pytest.fixture
def spire(tmp_path: Path) -> Spire:
    return Spire(tmp_path)


@asynccontextmanager
async def serving(spire: Spire, own: Pair, *, roots: bytes = b"") -> AsyncIterator[Certified]:
    """The scripted service, which demands certificates."""
    service = Certified()
    credentials = grpc.ssl_server_credentials([(own.key, own.chain)], roots or spire.authority.pem, True)  # noqa: FBT003 - require_client_auth
    server, port = await scripted.start_service(service, credentials=credentials)
    service.port, service.server = port, server
    try:
        yield service
    finally:
        await server.stop(None)


@asynccontextmanager
async def core_for(spire: Spire, port: int, name: str = NAME) -> AsyncIterator[EnforcerCore]:
    settings = replace(settings_for(RUN, port), decision_tls=spire.settings(name))
    async with running_core(settings, protocol="postgres") as core:
        yield core


def failed(result: str) -> float:
    labels = {"listener": "decision-client", "result": result}
    return METRICS.registry.get_sample_value("twokey_certificate_reloads_total", labels) or 0.0


@pytest.mark.parametrize("name", [NAME, "decision.example.org"])
async def test_both_sides_are_known_by_certificates(spire: Spire, name: str) -> None:
    own = spire.authority.leaf(uri(NAME), host("decision.example.org"))
    async with serving(spire, own) as service, core_for(spire, service.port, name) as core:
        assert await core.ready(5)
        gate = await open_gate(core)
        await gate.close("done")
        assert all("x-twokey-enforcer" not in one for one in service.metadata)
        assert service.peers == {"spiffe://example.org/gw-1"}


async def test_a_reload_that_fails_oddly_is_told_and_ends_nothing(spire: Spire) -> None:
    def odd() -> None:
        raise RuntimeError("odd")

    async with serving(spire, spire.authority.leaf(uri(NAME))) as service, core_for(spire, service.port) as core:
        assert await core.ready(5)
        assert core._tls is not None
        core._tls.on_change(odd)
        with capture_logs() as told:
            core.reload()
            await eventually(lambda: any(one["event"] == "a task of the core failed" for one in told))
        (failure,) = [one for one in told if one["event"] == "a task of the core failed"]
        assert (failure["task"], str(failure["exc_info"])) == ("reload", "odd")
        await (await open_gate(core)).close("done")


async def test_what_is_large_goes_through_whole(spire: Spire) -> None:
    async with serving(spire, spire.authority.leaf(uri(NAME))) as service:
        tls = ClientTls(spire.settings())
        await tls.load()
        tunnel = Tunnel(Address("127.0.0.1", service.port), tls)
        await tunnel.start()
        client = DecisionClient(target=tunnel.target, ca=None, secret="")
        question = decision_pb2.DecideRequest(session="ses_1", operation=scripted.operation())
        question.operation.sql.values.statement = b"x" * (16 << 20)
        assert (await client.decide(question)).record == 7
        assert len(service.decided[-1].operation.sql.values.statement) == 16 << 20
        await client.close()
        await tunnel.close()


def test_on_the_loop_that_gateways_run_on(spire: Spire) -> None:
    """It reads a connection that was told to wait from its first moment on."""

    async def through() -> None:
        async with serving(spire, spire.authority.leaf(uri(NAME))) as service, core_for(spire, service.port) as core:
            assert await core.ready(2)
            await (await open_gate(core)).close("done")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(through())


Makes = Callable[[Spire], tuple[Pair, bytes]]
STRANGERS: dict[str, Makes] = {
    "another name": lambda at: (at.authority.leaf(uri("spiffe://example.org/other")), b""),
    "another trust domain": lambda at: (at.authority.leaf(uri("spiffe://other.org/decision")), b""),
    "another authority": lambda _: (Authority("spire").leaf(uri(NAME)), b""),
    "two names": lambda at: (at.authority.leaf(uri(NAME), uri("spiffe://example.org/other")), b""),
    "the common name": lambda at: (at.authority.leaf(common_name=NAME), b""),
    "expired": lambda at: (at.authority.leaf(uri(NAME), begins=-2 * HOUR, ends=-HOUR), b""),
    "an authority's": lambda at: (at.authority.leaf(uri(NAME), ca=True), b""),
    "self-signed": lambda at: (at.authority.leaf(uri(NAME), self_signed=True), b""),
    "another gateway's": lambda at: (at.authority.leaf(uri("spiffe://example.org/gw-1")), b""),
    "who believes others": lambda at: (at.authority.leaf(uri(NAME)), Authority("spire").pem),
}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_whoever_else_answers_hears_nothing(spire: Spire, kind: str) -> None:
    own, roots = STRANGERS[kind](spire)
    async with serving(spire, own, roots=roots) as service:
        tls = ClientTls(spire.settings())
        await tls.load()
        tunnel = Tunnel(Address("127.0.0.1", service.port), tls)
        await tunnel.start()
        client = DecisionClient(target=tunnel.target, ca=None, secret="")
        with pytest.raises(DecisionUnavailableError, match="UNAVAILABLE"):
            await client.open_session(decision_pb2.OpenSessionRequest())
        assert service.metadata == []
        await client.close()
        await tunnel.close()


@asynccontextmanager
async def plain_tls(
    own: Pair, folder: Path, change: Callable[[ssl.SSLContext], object]
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A TLS server that isn't gRPC; what it heard."""
    heard: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own.write(folder, "server"))
    change(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        await server.wait_closed()


def _old(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])


def _without_alpn(context: ssl.SSLContext) -> None:
    """Says nothing of what it speaks."""


def _other_alpn(context: ssl.SSLContext) -> None:
    context.set_alpn_protocols(["http/1.1", "postgresql"])


@pytest.mark.parametrize("change", [_old, _without_alpn, _other_alpn])
async def test_downgraded_tls_and_other_protocols(spire: Spire, change: Callable[[ssl.SSLContext], object]) -> None:
    async with plain_tls(spire.authority.leaf(uri(NAME)), spire.folder, change) as (port, heard):
        tls = ClientTls(spire.settings())
        await tls.load()
        tunnel = Tunnel(Address("127.0.0.1", port), tls)
        await tunnel.start()
        client = DecisionClient(target=tunnel.target, ca=None, secret="")
        with pytest.raises(DecisionUnavailableError, match="UNAVAILABLE"):
            await client.open_session(decision_pb2.OpenSessionRequest())
        await client.close()
        await tunnel.close()
        assert not any(heard)


async def test_the_socket_is_this_process_own(spire: Spire) -> None:
    """Another process of the same user would be an enforcer by it."""
    async with serving(spire, spire.authority.leaf(uri(NAME))) as service:
        tls = ClientTls(spire.settings())
        await tls.load()
        tunnel = Tunnel(Address("127.0.0.1", service.port), tls)
        await tunnel.start()
        name = tunnel.target.removeprefix("unix-abstract:")
        stranger = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "s.settimeout(10)\n"
            "s.connect('\\0' + sys.argv[1])\n"
            "try: print(s.recv(1))\n"
            "except ConnectionResetError: print(b'')\n"
        )
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", stranger, name],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        assert done.stdout.strip() == "b''"
        own = socket.socket(socket.AF_UNIX)
        own.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(own, f"\0{name}")
        async with asyncio.timeout(5):
            assert await loop.sock_recv(own, 1)  # the service's settings
        own.close()
        await tunnel.close()


async def test_renewed_files_are_shown_at_the_next_connection_and_sessions_go_on(spire: Spire) -> None:
    async with serving(spire, spire.authority.leaf(uri(NAME))) as service, core_for(spire, service.port) as core:
        assert await core.ready(5)
        gate = await open_gate(core)
        before = set(service.certificates)
        spire.renew()
        core.reload()
        async with asyncio.timeout(10):
            while not set(service.certificates) - before:
                await (await open_gate(core)).close("done")
        assert gate.refusal() is None  # what was open is
        await gate.close("done")
        assert len(set(service.certificates)) == 2


async def test_what_is_under_way_is_answered_while_a_renewed_certificate_takes_over(
    spire: Spire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enforcers.core.decision_client.REDIAL_SECONDS", 0.5)
    async with serving(spire, spire.authority.leaf(uri(NAME))) as service:
        tls = ClientTls(spire.settings())
        await tls.load()
        tunnel = Tunnel(Address("127.0.0.1", service.port), tls)
        await tunnel.start()
        client = DecisionClient(target=tunnel.target, ca=None, secret="")
        running = asyncio.ensure_future(client.run())
        go, asked = asyncio.Event(), asyncio.Event()

        async def slow(request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
            if request.operation.id == "op_1":
                asked.set()
                await go.wait()
            return scripted.allow()

        service.decide = slow
        await eventually(lambda: service.streams == 1)
        first = asyncio.ensure_future(client.decide(decision_pb2.DecideRequest(operation=scripted.operation(1))))
        await asked.wait()
        assert len(service.streamed) == 1
        spire.renew()
        assert await tls.reload()
        until = tunnel.mark()
        client.redial(lambda: tunnel.drop(until))
        second = await client.decide(decision_pb2.DecideRequest(operation=scripted.operation(2)))
        assert second.record == 7  # by a call of its own, on the new connection
        assert len(set(service.certificates)) == 2
        go.set()
        assert (await first).record == 7  # on the old one
        await eventually(lambda: service.streams == 2)
        assert not running.done()
        running.cancel()
        await client.close()
        await tunnel.close()


async def test_everything_that_is_kept_open_is_opened_again(spire: Spire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch of revocations above all: without it nobody hears of them."""
    monkeypatch.setattr("enforcers.core.decision_client.REDIAL_SECONDS", 0.1)
    async with serving(spire, spire.authority.leaf(uri(NAME))) as service, core_for(spire, service.port) as core:
        assert await core.ready(5)
        await eventually(lambda: service.streams == 1)
        cut: list[str] = []
        gate = await open_gate(core, cut.append)
        for round_ in range(2, 4):
            service.watching.clear()
            spire.renew()
            core.reload()
            await asyncio.wait_for(service.watching.wait(), 10)
            await eventually(lambda expected=round_: service.streams == expected)
        await service.news.put(
            decision_pb2.WatchRevocationsResponse(
                sequence=1, revision=scripted.REVISION, revoked_sessions=["ses_1"], reason="enough"
            )
        )
        await eventually(lambda: cut == ["enough"])
        await gate.close("done")


async def test_a_service_that_comes_back_is_found(spire: Spire) -> None:
    own = spire.authority.leaf(uri(NAME))
    async with serving(spire, own) as service:
        port = service.port
        async with core_for(spire, port) as core:
            assert await core.ready(5)
            assert service.server is not None
            await service.server.stop(None)
            again = Certified()
            credentials = grpc.ssl_server_credentials(
                [(own.key, own.chain)], spire.authority.pem, require_client_auth=True
            )
            again.server, _ = await scripted.start_service(again, port=port, credentials=credentials)
            async with asyncio.timeout(15):
                await again.watching.wait()
            await (await open_gate(core)).close("done")
        await again.server.stop(None)


@pytest.mark.parametrize("broken", ["half", "text", "missing", "bundle", "key-in-bundle", "open"])
async def test_broken_files_leave_the_former_in_use(
    spire: Spire, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = ClientTls(spire.settings())
    await tls.load()
    before, count = tls.context, failed("failed")
    if broken == "half":
        (spire.folder / "svid.pem").write_bytes(spire.authority.leaf(uri("spiffe://example.org/gw-1")).chain)
    elif broken == "text":
        (spire.folder / "svid.key").write_text("canary")
    elif broken == "missing":
        (spire.folder / "svid.pem").unlink()
    elif broken == "bundle":
        (spire.folder / "bundle.pem").write_text("canary")
    elif broken == "key-in-bundle":
        (spire.folder / "bundle.pem").write_bytes(spire.authority.pem + spire.renew().key)
    else:
        (spire.folder / "svid.key").chmod(0o644)
    assert not await tls.reload()
    assert tls.context is before
    assert failed("failed") == count + 1
    said = capsys.readouterr()
    assert "the former stays" in said.out + said.err
    assert "canary" not in said.out + said.err
    spire.bundle(spire.authority)
    pair = spire.renew()
    assert await tls.reload()
    assert tls.context is not before
    labels = {"listener": "decision-client", "part": "certificate"}
    expiry = METRICS.registry.get_sample_value("twokey_certificate_expiry_timestamp_seconds", labels)
    assert expiry == pair.certificate.not_valid_after_utc.timestamp()


async def test_changed_files_are_noticed(spire: Spire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "WATCH_SECONDS", 0.02)
    tls = ClientTls(spire.settings())
    await tls.load()
    changed = asyncio.Event()
    tls.on_change(changed.set)
    watching = asyncio.ensure_future(tls.watch())
    spire.renew()
    async with asyncio.timeout(5):
        await changed.wait()
    watching.cancel()


def test_the_services_name_must_be_one(spire: Spire) -> None:
    for name in ("*.example.org", "spiffe://example.org", "spiffe://example.org/a/../b", "Decision", ""):
        with pytest.raises(SettingsError, match=r"decision\.tls\.name"):
            ClientTls(spire.settings(name))


async def test_a_certificate_is_used_before_it_was_loaded(spire: Spire) -> None:
    with pytest.raises(SettingsError, match="before it was loaded"):
        assert ClientTls(spire.settings()).context
