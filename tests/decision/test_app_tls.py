"""Enforcers known by their certificates, over the wire: who gets in, who doesn't (attacks.md T27 and its neighbours),
what rotating certificates changes, and tokens bound to a certificate (RFC 8705)."""

from __future__ import annotations

import asyncio
import datetime
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from twokey.audit.v1 import audit_pb2
from twokey.decision.v1 import decision_pb2

from decision.identity.jose import segments
from decision.rpc import tls as module
from enforcers.core.client_tls import ClientTls
from enforcers.core.tunnel import Tunnel
from enforcers.settings import Address, DecisionTls, FileSource
from tests.decision.mutual import DOMAIN, Caller, Mutual, mutual, x5t
from tests.decision.rpc.test_auth import token
from tests.decision.rpc.test_exchange import ACCESS, GRANT
from tests.decision.running import ROOT, operation
from tests.pki import HOUR, Authority, Pair, host, uri

UNAVAILABLE, DENIED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Mutual]:
    async with mutual(tmp_path) as started:
        yield started


async def refused(at: Mutual, pair: Pair | None) -> grpc.StatusCode:
    async with at.calling(pair) as caller:
        return await caller.refused()


async def test_an_enforcer_is_known_by_its_svid_or_its_host_name(at: Mutual) -> None:
    nested = Authority("nested", under=at.authority)
    for pair, name in (
        (at.pair(), "gw-1"),
        (at.authority.leaf(host("gw-2.example.org")), "gw-2"),
        (nested.leaf(uri(f"{DOMAIN}/gw-1")), "gw-1"),
    ):
        async with at.calling(pair) as caller:
            opened = await caller.open()
            assert opened.session.enforcer == f"{name}/enf-1"
    log = [json.loads(line) async for _, line in at.run.service.log.read(0, None)]
    assert [one["input"]["context"]["enforcer"] for one in log if one["kind"] == "session-opened"] == [
        "gw-1",
        "gw-2",
        "gw-1",
    ]


async def test_t27_another_trust_domain(at: Mutual) -> None:
    other = Authority("spire")  # the same name, another authority
    assert await refused(at, other.leaf(uri(f"{DOMAIN}/gw-1"))) is UNAVAILABLE
    assert await refused(at, other.leaf(uri("spiffe://other.org/gw-1"))) is UNAVAILABLE
    assert await refused(at, at.pair("spiffe://other.org/gw-1")) is DENIED


async def test_t27_path_tricks(at: Mutual) -> None:
    for path in ("/a/../gw-1", "/./gw-1", "//gw-1", "/gw-1/", "/gw%2d1", "/GW-1", "/gw-1/x", ""):
        assert await refused(at, at.pair(DOMAIN + path)) is DENIED, path


async def test_expired_and_not_valid_yet(at: Mutual) -> None:
    assert await refused(at, at.pair(begins=-2 * HOUR, ends=-HOUR)) is UNAVAILABLE
    assert await refused(at, at.pair(begins=HOUR, ends=2 * HOUR)) is UNAVAILABLE


async def test_self_signed(at: Mutual) -> None:
    assert await refused(at, at.pair(common_name="spire", self_signed=True)) is UNAVAILABLE
    assert await refused(at, at.pair(common_name="spire", self_signed=True, ca=True)) is UNAVAILABLE


async def test_without_a_certificate(at: Mutual) -> None:
    assert await refused(at, None) is UNAVAILABLE


async def test_a_users_certificate(at: Mutual) -> None:
    for pair in (
        at.pair(f"{DOMAIN}/alice"),
        at.authority.leaf(host("alice.example.org")),
        at.authority.leaf(common_name="gw-2.example.org"),  # the common name is no name
        at.authority.leaf(host("*.example.org")),  # nor is a wildcard
        at.pair(ca=True),
        at.authority.leaf(uri(f"{DOMAIN}/gw-1"), uri(f"{DOMAIN}/alice")),
    ):
        assert await refused(at, pair) is DENIED
    log = [json.loads(line) async for _, line in at.run.service.log.read(0, None)]
    whys = [one["why"] for one in log if one["kind"] == "call-denied"]
    assert f"{DOMAIN}/alice: the certificate is no enforcer's" in whys
    assert len(whys) == 6


async def test_the_refusal_says_nothing_of_who_would_be_let_in(at: Mutual) -> None:
    async with at.calling(at.pair(f"{DOMAIN}/alice")) as caller:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await caller.open()
    assert raised.value.details() == "only an enforcer may call this, known by its certificate"
    assert "gw-1" not in str(raised.value)


async def test_the_runs_secret_opens_nothing_any_more(at: Mutual) -> None:
    request = decision_pb2.OpenSessionRequest(token="t", connection="crm", role="planner")
    with pytest.raises(grpc.aio.AioRpcError, match="PERMISSION_DENIED"):
        await at.run.decision.OpenSession(request, metadata=at.run.enforcer, timeout=5)
    async with at.calling(at.pair()) as caller:
        with pytest.raises(grpc.aio.AioRpcError, match="PERMISSION_DENIED"):
            await caller.decision.OpenSession(request, metadata=at.run.enforcer, timeout=5)
        with pytest.raises(grpc.aio.AioRpcError, match="nobody calls as two"):
            await caller.decision.OpenSession(request, metadata=at.run.bearer("carol", "auditor"), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError, match="an enforcer may not call this"):
            await caller.decision.ListSessions(decision_pb2.ListSessionsRequest(), timeout=5)


async def test_a_certificate_in_metadata_is_nobodys(at: Mutual) -> None:
    pem = at.pair().chain.decode().replace("\n", " ")
    extra = (("x509_pem_cert", pem), ("x-forwarded-client-cert", pem), ("x-twokey-enforcer", "gw-1"))
    request = decision_pb2.OpenSessionRequest(token="t", connection="crm", role="planner")
    async with at.calling(at.pair(f"{DOMAIN}/alice")) as caller:
        with pytest.raises(grpc.aio.AioRpcError, match="PERMISSION_DENIED"):
            await caller.decision.OpenSession(request, metadata=extra, timeout=5)


async def test_one_enforcer_has_nothing_to_do_with_anothers_sessions(at: Mutual) -> None:
    async with at.calling(at.pair()) as one, at.calling(at.authority.leaf(host("gw-2.example.org"))) as other:
        session = (await one.open()).session.id
        asked = decision_pb2.DecideRequest(session=session, operation=operation("SELECT 1", "select"), can_hold=True)
        assert (await one.decision.Decide(asked, timeout=20)).decision.outcome
        act = audit_pb2.RecordActsRequest(acts=[audit_pb2.Act(session=session)])
        close = decision_pb2.CloseSessionRequest(session=session)
        for call, request in (
            (other.decision.Decide, asked),
            (other.audit.RecordActs, act),
            (other.decision.CloseSession, close),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(request, timeout=20)
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        unknown = decision_pb2.CloseSessionRequest(session="ses_x")
        with pytest.raises(grpc.aio.AioRpcError, match="no such session"):
            await other.decision.CloseSession(unknown, timeout=20)
        await one.decision.CloseSession(close, timeout=20)


async def test_policy_says_which_connections_an_enforcer_serves(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(ROOT / "rego" / "data", data)
    (data / "enforcers.yaml").write_text("serve: {gw-1: [crm]}\n")
    async with mutual(tmp_path, data=data) as at:
        async with at.calling(at.pair()) as caller:
            assert (await caller.open()).session.id
        async with at.calling(at.authority.leaf(host("gw-2.example.org"))) as caller:
            opened = await caller.open()
            assert not opened.session.id
            assert [reason.rule for reason in opened.decision.reasons] == ["DUTY-ENFORCER"]


# What changes while it runs


async def ended(stream: Any) -> grpc.aio.AioRpcError:
    """How the stream ends."""

    async def drained() -> None:
        async with asyncio.timeout(10):
            while await stream.read() is not grpc.aio.EOF:
                pass

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await drained()
    return raised.value


async def test_who_is_taken_off_the_list_loses_its_open_streams(at: Mutual) -> None:
    async with at.calling(at.pair()) as caller, at.calling(at.authority.leaf(host("gw-2.example.org"))) as other:
        stream, kept = caller.watch(), other.watch()
        deciding = caller.decision.DecideStream()
        for one in (stream, kept):
            assert (await one.read()).revision
        session = (await other.open()).session.id
        at.enforcers(
            f"enforcers:\n  - {{name: gw-2, dns: gw-2.example.org}}\n  - {{name: gw-9, spiffe: '{DOMAIN}/gw-9'}}\n"
        )
        await at.run.service.reload()
        for one in (stream, deciding):
            gone = await ended(one)
            assert gone.code() is DENIED
            assert gone.details() == "the certificate of this enforcer is not accepted any more"
        assert await caller.refused() is DENIED  # on the connection that stood
        assert (await kept.read()).revision
        assert at.run.service.decision.watching == {"gw-2/enf-1"}
        asked = decision_pb2.DecideRequest(session=session, operation=operation("SELECT 1", "select"), can_hold=True)
        assert (await other.decision.Decide(asked, timeout=20)).decision.outcome  # sessions of others go on


async def test_a_call_begun_before_counts_for_nothing_after(at: Mutual) -> None:
    """A gateway could begin calls while it is one, and send their messages when it isn't any more."""
    async with at.calling(at.pair()) as caller:
        session = (await caller.open()).session.id
        asked = decision_pb2.DecideRequest(session=session, operation=operation("SELECT 1", "select"), can_hold=True)
        method = caller.channel.stream_stream(
            "/twokey.decision.v1.DecisionService/Decide",
            request_serializer=decision_pb2.DecideRequest.SerializeToString,
            response_deserializer=decision_pb2.DecideResponse.FromString,
        )
        kept = [method(timeout=30) for _ in range(3)]
        await asyncio.gather(*(one.wait_for_connection() for one in kept))
        await kept[0].write(asked)
        assert (await kept[0].read()).decision.outcome  # begun like this it works
        at.enforcers("enforcers: []\n")
        await at.run.service.reload()
        await kept[1].write(asked)
        assert (await ended(kept[1])).code() is DENIED
        await kept[2].done_writing()
        assert (await ended(kept[2])).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_enforcer_over_downgraded_tls(at: Mutual) -> None:
    """Whole HTTP/2 over TLS 1.2, which gRPC's server takes."""
    certificate, key = at.pair().write(at.folder, "gateway")
    trust = DecisionTls(
        ca=str(at.folder / "bundle.pem"), name=f"{DOMAIN}/decision", certificate=certificate, key=FileSource(key)
    )
    place, _, port = at.target.rpartition(":")
    for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        tls = ClientTls(trust)
        await tls.load()
        tls.context.minimum_version, tls.context.maximum_version = ssl.TLSVersion.TLSv1_2, newest
        tunnel = Tunnel(Address(place, int(port)), tls)
        await tunnel.start()
        async with grpc.aio.insecure_channel(tunnel.target) as channel:
            caller = Caller(at, channel)
            if newest is ssl.TLSVersion.TLSv1_2:
                assert await caller.refused() is DENIED
            else:
                assert (await caller.open()).session.id
        await tunnel.close()


async def test_the_mutual_listener_speaks_tls_alone(at: Mutual) -> None:
    async with grpc.aio.insecure_channel(at.target) as channel:
        assert await Caller(at, channel).refused() is UNAVAILABLE


async def test_a_name_given_to_another_certificate_ends_the_formers_streams(at: Mutual) -> None:
    async with at.calling(at.pair()) as caller:
        stream = caller.watch()
        assert (await stream.read()).revision
        at.enforcers(f"enforcers:\n  - {{name: gw-3, spiffe: '{DOMAIN}/gw-1'}}\n")
        await at.run.service.reload()
        assert (await ended(stream)).code() is DENIED
        assert (await caller.open()).session.enforcer == "gw-3/enf-1"


async def test_the_trust_bundle_is_swapped(at: Mutual) -> None:
    old, new = at.authority, Authority("spire")
    async with at.calling(at.pair()) as caller:
        stream = caller.watch()
        assert (await stream.read()).revision
        at.bundle(old, new)
        await at.run.service.reload()
        assert (await caller.open()).session.id  # both are believed: the ordinary case
        assert (await stream.read()).revision
        async with at.calling(new.leaf(uri(f"{DOMAIN}/gw-1"))) as fresh:
            assert (await fresh.open()).session.id
        at.bundle(new)
        await at.run.service.reload()
        assert (await ended(stream)).code() is DENIED
        assert await caller.refused() is DENIED  # its connection was made when its authority was believed
    assert await refused(at, at.pair()) is UNAVAILABLE


async def test_who_stands_behind_an_intermediate_ends_when_its_root_leaves(at: Mutual) -> None:
    """Not within the hour that a connection lives, but at once, as those that a root signed itself."""
    root, stays = Authority("root"), at.authority
    nested = Authority("nested", under=root)
    made = nested.leaf(uri(f"{DOMAIN}/gw-1"))
    pair = Pair(made.certificate, made.chain + nested.pem, made.key)
    at.bundle(stays, root)
    await at.run.service.reload()
    async with at.calling(pair) as caller, at.calling(at.pair()) as other:
        stream, going_on = caller.watch(), other.watch()
        assert (await stream.read()).revision
        assert (await going_on.read()).revision
        at.bundle(stays)
        await at.run.service.reload()
        assert (await ended(stream)).code() is DENIED
        assert await caller.refused() is DENIED
        assert (await other.open()).session.id
        going_on.cancel()


async def test_a_stream_does_not_outlive_the_certificate(at: Mutual) -> None:
    pair = at.pair(ends=datetime.timedelta(seconds=2))
    async with at.calling(pair) as caller:
        stream = caller.watch()
        assert (await stream.read()).revision
        gone = await ended(stream)
        assert gone.code() is DENIED
        assert await caller.refused() is DENIED
        assert datetime.datetime.now(datetime.UTC) >= pair.certificate.not_valid_after_utc


def certificate_shown(target: str) -> bytes:
    host_, _, port = target.rpartition(":")
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host_, int(port)), timeout=5))


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.chain.decode())


async def test_a_rotated_certificate_is_shown_to_new_connections_and_old_ones_go_on(at: Mutual) -> None:
    line = at.run.service.ready_line
    targets = [str(line["grpc"]), str(line["http"])]
    before = {await asyncio.to_thread(certificate_shown, target) for target in targets}
    fresh = at.authority.leaf(uri(f"{DOMAIN}/decision"), host("localhost"))
    async with at.calling(at.pair()) as caller:
        stream = caller.watch()
        assert (await stream.read()).revision
        fresh.write(at.folder, "service")
        await at.run.service.reload()
        for target in targets:
            assert await asyncio.to_thread(certificate_shown, target) == der(fresh)
        assert der(fresh) not in before
        assert (await stream.read()).revision
        assert (await caller.open()).session.id
    expiry = fresh.certificate.not_valid_after_utc.timestamp()
    for listener in ("decision", "mutual"):
        assert (
            sample(at, "twokey_certificate_expiry_timestamp_seconds", listener=listener, part="certificate") == expiry
        )
        assert sample(at, "twokey_certificate_reloads_total", listener=listener, result="ok") == 1


def sample(at: Mutual, name: str, **labels: str) -> float | None:
    return at.run.service.metrics.registry.get_sample_value(name, labels)


async def test_key_certificate_and_bundle_change_together(at: Mutual) -> None:
    """The mutual listener's own certificate by a new authority, which signs the enforcers from now on."""
    new = Authority("spire")
    new.leaf(uri(f"{DOMAIN}/decision"), host("localhost")).write(at.folder, "service")
    at.bundle(new)
    await at.run.service.reload()
    async with at.calling(
        new.leaf(uri(f"{DOMAIN}/gw-1")), target=at.target.replace("127.0.0.1", "localhost"), roots=new.pem
    ) as caller:
        assert (await caller.open()).session.id


@pytest.mark.parametrize("broken", ["half", "text", "missing", "expired", "bundle", "enforcers", "open"])
async def test_broken_files_leave_the_former_in_use_and_say_so(
    at: Mutual, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = at.authority.leaf(host("localhost"))
    if broken == "half":  # in the middle of a rotation
        (at.folder / "service.pem").write_bytes(other.chain)
    elif broken == "text":
        (at.folder / "service.key").write_text("canary")
    elif broken == "missing":
        (at.folder / "service.pem").unlink()
    elif broken == "expired":
        at.authority.leaf(host("localhost"), begins=-2 * HOUR, ends=-HOUR).write(at.folder, "service")
    elif broken == "bundle":
        (at.folder / "bundle.pem").write_bytes(other.chain)
    elif broken == "enforcers":
        at.enforcers("enforcers:\n  - {name: gw-1}\n")
    else:
        (at.folder / "service.key").chmod(0o644)
    before = await asyncio.to_thread(certificate_shown, str(at.run.service.ready_line["grpc"]))
    await at.run.service.reload()
    assert await asyncio.to_thread(certificate_shown, str(at.run.service.ready_line["grpc"])) == before
    async with at.calling(at.pair()) as caller:
        assert (await caller.open()).session.id
    assert sample(at, "twokey_certificate_reloads_total", listener="mutual", result="failed") == 1
    said = capsys.readouterr()
    assert "the former stays" in said.out + said.err
    assert "canary" not in said.out + said.err


async def test_changed_files_are_noticed(at: Mutual, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_S", 0.02)
    fresh = at.authority.leaf(host("localhost"))
    (listener,) = [one for one in at.run.service._listeners if one._name == "decision"]
    watching = asyncio.ensure_future(listener.watch())
    fresh.write(at.folder, "service")
    async with asyncio.timeout(5):
        while await asyncio.to_thread(certificate_shown, str(at.run.service.ready_line["http"])) != der(fresh):
            pass  # each look takes the time of a connection
    watching.cancel()


# Tokens bound to a certificate (RFC 8705)

ISSUE = decision_pb2.IssueSessionCredentialRequest(connection="crm", role="executor")


def bound(at: Mutual, pair: Pair, subject: str = "executor-7", *roles: str) -> str:
    return token(at.run, subject, *(roles or ("executor",)), cnf={"x5t#S256": x5t(pair)})


def bearer(text: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {text}")]


async def test_a_bound_token_counts_with_its_certificate_alone_over_grpc(at: Mutual) -> None:
    mine, other = at.pair(f"{DOMAIN}/executor-7"), at.pair(f"{DOMAIN}/mallory")
    held = bearer(bound(at, mine))
    async with at.calling(mine) as caller:
        issued = await caller.decision.IssueSessionCredential(ISSUE, metadata=held, timeout=20)
        assert issued.credential.startswith("tkp_")
    async with at.calling(other) as caller:
        with pytest.raises(grpc.aio.AioRpcError, match="no good proof of it came"):
            await caller.decision.IssueSessionCredential(ISSUE, metadata=held, timeout=20)
    with pytest.raises(grpc.aio.AioRpcError, match="no good proof of it came"):  # where no certificate is asked for
        await at.run.decision.IssueSessionCredential(ISSUE, metadata=held, timeout=20)
    plain = at.run.bearer("executor-7", "executor")
    async with at.calling(other) as caller:  # bound to nothing, it needs nothing
        assert (await caller.decision.IssueSessionCredential(ISSUE, metadata=plain, timeout=20)).credential


async def test_a_renewed_certificate_needs_a_new_token(at: Mutual) -> None:
    first, second = at.pair(f"{DOMAIN}/executor-7"), at.pair(f"{DOMAIN}/executor-7")
    async with at.calling(second) as caller:
        with pytest.raises(grpc.aio.AioRpcError, match="no good proof of it came"):
            await caller.decision.IssueSessionCredential(ISSUE, metadata=bearer(bound(at, first)), timeout=20)
        held = bearer(bound(at, second))
        assert (await caller.decision.IssueSessionCredential(ISSUE, metadata=held, timeout=20)).credential


async def test_a_gateway_tells_the_thumbprint_that_its_tls_checked(at: Mutual) -> None:
    mine, other = at.pair(f"{DOMAIN}/executor-7"), at.pair(f"{DOMAIN}/mallory")
    held = bound(at, mine)
    async with at.calling(at.pair()) as gateway:
        assert (await gateway.open(role="executor", token=held, client_certificate=x5t(mine))).session.id
        for said in ("", x5t(other), x5t(mine).lower()):
            opened = await gateway.open(role="executor", token=held, client_certificate=said)
            assert opened.decision.reason_code == "TOKEN_PROOF"


async def exchange(at: Mutual, shown: Pair | None, held: str) -> httpx.Response:
    context = ssl.create_default_context(cadata=at.authority.pem.decode())
    if shown is not None:
        context.load_cert_chain(*shown.write(at.folder, "client"))
    form = {"grant_type": GRANT, "twokey_subagent": "1"}
    assert ACCESS
    async with httpx.AsyncClient(verify=context) as client:
        url = f"https://{at.run.service.http.address}/token"
        return await client.post(url, data=form, headers={"Authorization": f"Bearer {held}"})


async def test_a_bound_token_counts_with_its_certificate_alone_over_http(at: Mutual) -> None:
    mine, other = at.pair(f"{DOMAIN}/executor-7"), at.pair(f"{DOMAIN}/mallory")
    held = bound(at, mine)
    for shown in (None, other):
        answer = await exchange(at, shown, held)
        assert answer.status_code == 401
        assert "no good proof of it came" in answer.json()["error_description"]
    answer = await exchange(at, mine, held)
    assert answer.status_code == 200, answer.text
    made = answer.json()["access_token"]
    assert segments(made)[1]["cnf"] == {"x5t#S256": x5t(mine)}  # what comes of it is bound as it is
    async with at.calling(at.pair()) as gateway:
        assert (await gateway.open(role="executor", token=made)).decision.reason_code == "TOKEN_PROOF"
    unbound = await exchange(at, None, at.run.token("executor-7", "executor"))
    assert "cnf" not in segments(unbound.json()["access_token"])[1]


async def test_http_takes_no_certificate_of_a_stranger(at: Mutual) -> None:
    stranger = Authority("spire").leaf(uri(f"{DOMAIN}/executor-7"))
    with pytest.raises(httpx.TransportError):
        await exchange(at, stranger, bound(at, stranger))


async def test_http_speaks_tls_alone(at: Mutual) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://{at.run.service.http.address}/healthz")
    context = ssl.create_default_context(cadata=at.authority.pem.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with httpx.AsyncClient(verify=context) as client:
        assert (await client.get(f"https://{at.run.service.http.address}/healthz")).status_code == 200
