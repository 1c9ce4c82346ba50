"""Tokens bound to a key at the doors of a whole service, on gRPC and HTTP, and what revocation does to them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from joserfc.jws import JWSRegistry, serialize_compact
from twokey.decision.v1 import decision_pb2

from decision.rpc.auth import PROVED_FOR
from decision.rpc.callers import Door
from tests.decision.identity.holder import Holder
from tests.decision.running import Running, running

RPC = "/twokey.decision.v1.DecisionService/ListSessions"


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


def token(run: Running, subject: str, *roles: str, **claims: object) -> str:
    """Of the dev issuer's key, with any claim."""
    issuer = run.service.dev_issuer
    assert issuer is not None
    now = int(time.time())
    body = {
        "iss": "urn:twokey:dev",
        "aud": "twokey",
        "sub": subject,
        "client_id": "tests",
        "iat": now,
        "exp": now + 600,
        "jti": f"t-{time.monotonic_ns()}",
        "roles": list(roles),
        **claims,
    }
    header = {"alg": "Ed25519", "typ": "at+jwt", "kid": issuer._kid}
    return serialize_compact(header, json.dumps(body), issuer._key, algorithms=list(JWSRegistry.algorithms))


def bound(run: Running, holder: Holder, subject: str, *roles: str, **claims: object) -> str:
    return token(run, subject, *roles, cnf={"jkt": holder.jkt}, **claims)


def url(run: Running, rpc: str = RPC) -> str:
    return f"https://{run.service.server.address}{rpc}"


async def call(run: Running, *metadata: tuple[str, str]) -> str:
    """The reason of the refusal; "" when it was let in."""
    try:
        await run.decision.ListSessions(decision_pb2.ListSessionsRequest(), metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        return reason(error) if error.code() is grpc.StatusCode.UNAUTHENTICATED else str(error)
    return ""


def reason(error: grpc.aio.AioRpcError) -> str:
    status: Any = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


async def nonce(run: Running, holder: Holder, access: str) -> str:
    """Ours, by the challenge that a proof without one gets."""
    attempt = run.decision.ListSessions(
        decision_pb2.ListSessionsRequest(),
        metadata=(("authorization", f"DPoP {access}"), ("dpop", holder.proof(url(run), access))),
        timeout=10,
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await attempt
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    found = dict(caught.value.initial_metadata() or ())
    return str(found["dpop-nonce"])


async def signed(run: Running, holder: Holder, access: str, **changes: Any) -> tuple[tuple[str, str], ...]:
    proof = holder.proof(changes.pop("url", url(run)), access, nonce=await nonce(run, holder, access), **changes)
    return (("authorization", f"DPoP {access}"), ("dpop", proof))


async def test_a_bound_token_with_its_proof_is_let_in_once(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "carol", "admin")
    metadata = await signed(run, holder, access)
    assert await call(run, *metadata) == ""
    assert await call(run, *metadata) == "TOKEN_PROOF"
    again = await signed(run, holder, access)
    caller = await run.service.authenticator.authorize(RPC[1:], Door.BEARER, again)
    assert caller.expires is not None
    assert caller.expires <= run.service.authenticator.clock.now() + PROVED_FOR  # a stream's end
    log = [json.loads(line) async for _, line in run.service.log.read(0, None)]
    assert "USE_DPOP_NONCE" not in {record.get("code") for record in log}


async def test_dp_13_a_bound_token_as_a_bearer_token(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "carol", "admin")
    assert await call(run, ("authorization", f"Bearer {access}")) == "TOKEN_PROOF"
    opened = await run.open("carol", "executor", token=access)
    assert opened.decision.reason_code == "TOKEN_PROOF"


async def test_t16_a_bound_token_without_a_good_proof(run: Running) -> None:
    holder, thief = Holder(), Holder()
    access = bound(run, holder, "carol", "admin")
    assert await call(run, ("authorization", f"DPoP {access}")) == "TOKEN_PROOF"
    assert await call(run, *await signed(run, thief, access)) == "TOKEN_PROOF"
    assert await call(run, *await signed(run, holder, access, ath=None)) == "TOKEN_PROOF"
    assert await call(run, *await signed(run, holder, access, ath="x" * 43)) == "TOKEN_PROOF"
    unbound = token(run, "carol", "admin")
    assert await call(run, *await signed(run, holder, unbound)) == "TOKEN_PROOF"
    proof = holder.proof(url(run), access)
    assert await call(run, ("authorization", f"Bearer {unbound}"), ("dpop", proof)) == "TOKEN_PROOF"


async def test_t17_the_address_is_the_configured_one_not_what_the_call_says(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "carol", "admin")
    for wrong in (
        url(run, RPC.replace("ListSessions", "Revoke")),
        url(run).replace("https", "http"),
        "https://evil.example" + RPC,
    ):
        metadata = await signed(run, holder, access, url=wrong)
        spoofed = (("host", "evil.example"), ("x-forwarded-host", "evil.example"))
        assert await call(run, *metadata, *spoofed) == "TOKEN_PROOF"
    assert await call(run, *await signed(run, holder, access, method="GET")) == "TOKEN_PROOF"
    assert await call(run, *await signed(run, holder, access, url=url(run) + "?x=y")) == ""


async def test_dp_1_two_proofs(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "carol", "admin")
    metadata = await signed(run, holder, access)
    assert await call(run, *metadata, ("dpop", metadata[1][1])) == "TOKEN_MALFORMED"
    assert await call(run, *metadata, ("authorization", f"Bearer {access}")) == "TOKEN_MALFORMED"


async def test_a_strangers_proofs_do_not_fill_the_store(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "carol", "admin")[:-4] + "AAAA"
    proof = holder.proof(url(run), access, nonce=await nonce(run, holder, access))
    for _ in range(2):  # the second would be told of its second use
        assert await call(run, ("authorization", f"DPoP {access}"), ("dpop", proof)) == "TOKEN_SIGNATURE"


async def test_a_token_bound_to_a_certificate_needs_it(run: Running) -> None:
    access = token(run, "executor-7", "executor", cnf={"x5t#S256": "A" * 43})
    assert await call(run, ("authorization", f"Bearer {access}")) == "TOKEN_PROOF"
    assert (await run.open("executor-7", "executor", token=access)).decision.reason_code == "TOKEN_PROOF"
    other = await run.open("executor-7", "executor", token=access, client_certificate="B" * 43)
    assert other.decision.reason_code == "TOKEN_PROOF"
    opened = await run.open("executor-7", "executor", token=access, client_certificate="A" * 43)
    assert opened.session.id.startswith("ses_")


@pytest.mark.parametrize("cnf", [{"jwk": {}}, {"kid": "x"}, {}, "x", {"jkt": "A" * 43, "jku": "https://x"}])
async def test_a_binding_that_nobody_here_can_prove(run: Running, cnf: object) -> None:
    assert await call(run, ("authorization", f"Bearer {token(run, 'carol', 'admin', cnf=cnf)}")) == "TOKEN_PROOF"


async def credential(run: Running, access: str, **fields: Any) -> str:
    request = decision_pb2.IssueSessionCredentialRequest(**{"connection": "crm", "role": "executor", **fields})
    metadata = (("authorization", f"Bearer {access}"),)
    answer = await run.decision.IssueSessionCredential(request, metadata=metadata, timeout=10)
    assert 50 < answer.expires.seconds - time.time() <= 61
    return str(answer.credential)


async def test_a_one_time_password_opens_its_tokens_session_once(run: Running) -> None:
    password = await credential(run, token(run, "executor-7", "executor", "planner"))
    opened = await run.open("executor-7", "executor", token=password)
    assert opened.session.subject.identity.name == "executor-7"
    assert list(opened.session.subject.roles) == ["executor"]
    assert (await run.open("executor-7", "executor", token=password)).decision.reason_code == "TOKEN_USED"


async def test_t28_a_one_time_password_for_something_else(run: Running) -> None:
    access = token(run, "executor-7", "executor", "planner")
    password = await credential(run, access)
    assert (await run.open("executor-7", "planner", token=password)).decision.reason_code == "TOKEN_USED"
    assert (await run.open("executor-7", "executor", token=password[:-1])).decision.reason_code == "TOKEN_USED"
    assert (await run.open("executor-7", "executor", token="tkp_" + "x" * 500)).decision.reason_code == "TOKEN_USED"
    kinds = [json.loads(line)["kind"] async for _, line in run.service.log.read(0, None)]
    assert kinds.count("session-denied") == 3
    assert "credential-issued" in kinds


@pytest.mark.parametrize("elsewhere", ["10.0.0.2:5", "[2001:db8::2]:5", "127.0.0.1.example:5", ""])
async def test_t28_a_one_time_password_is_for_the_address_that_asked_for_it(run: Running, elsewhere: str) -> None:
    """Who has it elsewhere has taken it: from then on it is nobody's."""
    password = await credential(run, token(run, "executor-7", "executor"))
    opened = await run.open("executor-7", "executor", token=password, client_address=elsewhere)
    assert opened.decision.reason_code == "TOKEN_USED"
    assert (await run.open("executor-7", "executor", token=password)).decision.reason_code == "TOKEN_USED"


@pytest.mark.parametrize("here", ["127.0.0.2:5", "[::1]:5", "[::ffff:127.0.0.1]:5"])
async def test_every_loopback_address_is_this_machine(run: Running, here: str) -> None:
    password = await credential(run, token(run, "executor-7", "executor"))
    assert (await run.open("executor-7", "executor", token=password, client_address=here)).session.id


async def test_where_a_balancer_hides_addresses_a_one_time_password_is_for_any(tmp_path: Path) -> None:
    async with running(tmp_path, document={"identity": {"issuers": [], "bind_address": False}}) as run:
        password = await credential(run, token(run, "executor-7", "executor"))
        assert (await run.open("executor-7", "executor", token=password, client_address="10.0.0.2:5")).session.id


async def test_as_many_uses_as_policy_grants(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "credentials.yaml").write_text("uses: {crm: {executor: 3}}\nssh: {proof: [], commands: {}}\n")
    async with running(tmp_path, data=tmp_path / "data") as run:
        access = token(run, "executor-7", "executor")
        password = await credential(run, access, uses=3)
        for _ in range(3):
            assert (await run.open("executor-7", "executor", token=password)).session.id
        assert (await run.open("executor-7", "executor", token=password)).decision.reason_code == "TOKEN_USED"
        with pytest.raises(grpc.aio.AioRpcError, match="DUTY-CREDENTIAL-USES"):
            await credential(run, access, uses=4)


async def test_a_bound_token_is_spent_by_proof_for_a_password(run: Running) -> None:
    """The broker: who can sign asks, its client that can't logs in."""
    holder = Holder()
    access = bound(run, holder, "executor-7", "executor")
    rpc = "/twokey.decision.v1.DecisionService/IssueSessionCredential"
    proof = holder.proof(url(run, rpc), access, nonce=await nonce(run, holder, access))
    answer = await run.decision.IssueSessionCredential(
        decision_pb2.IssueSessionCredentialRequest(connection="crm", role="executor"),
        metadata=(("authorization", f"DPoP {access}"), ("dpop", proof)),
        timeout=10,
    )
    assert (await run.open("executor-7", "executor", token=answer.credential)).session.id.startswith("ses_")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"role": "reviewer"}, "TOKEN_ROLE"),
        ({"connection": "nowhere"}, "UNKNOWN_CONNECTION"),
        ({"uses": 2}, "CALL_DENIED"),
        ({"uses": 65}, "INVALID_REQUEST"),
        ({"uses": -1}, "INVALID_REQUEST"),
    ],
)
async def test_passwords_that_are_not_given(run: Running, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await credential(run, token(run, "executor-7", "executor"), **fields)
    assert reason(caught.value) == said


async def test_scopes_narrow_sessions_and_passwords(run: Running) -> None:
    scoped = token(run, "executor-7", "executor", scope="openid twokey:crm:execute")
    assert (await run.open("executor-7", "executor", token=scoped)).session.id
    other = token(run, "executor-7", "executor", scope="twokey:erp:execute")
    assert (await run.open("executor-7", "executor", token=other)).decision.reason_code == "POLICY_DENIED"
    with pytest.raises(grpc.aio.AioRpcError, match="DUTY-CREDENTIAL"):
        await credential(run, other)
    malformed = token(run, "executor-7", "executor", scope="twokey:crm")
    assert (await run.open("executor-7", "executor", token=malformed)).decision.reason_code == "TOKEN_CLAIMS"


async def revoke(run: Running, access: str, **fields: str) -> Any:
    request = decision_pb2.RevokeRequest(reason="stolen", **fields)
    return await run.decision.Revoke(request, metadata=(("authorization", f"Bearer {access}"),), timeout=10)


@pytest.mark.parametrize(
    "what",
    [
        {"token": "stolen-1", "issuer": "urn:twokey:dev"},
        {"party": "executor-7"},
        {"party": '["https://idp.example","r1"]'},  # another identity of the same agent
        {"party": "alice"},
        {"role": "executor"},
    ],
)
async def test_t20_revoked_in_the_middle(run: Running, what: dict[str, str]) -> None:
    """Sessions end, their watchers are told within a second, and the token opens and calls nothing any more."""
    past = int(time.time()) - 5
    access = token(run, "executor-7", "executor", jti="stolen-1", iat=past)
    password = await credential(run, access)
    opened = await run.open("executor-7", "executor", token=access)
    bystander = await run.session("planner-3", "planner")
    watch = run.decision.WatchRevocations(decision_pb2.WatchRevocationsRequest(enforcer="e"), metadata=run.enforcer)
    await watch.read()
    answer = await revoke(run, token(run, "carol", "admin"), **what)
    assert answer.sessions == 1
    began = time.monotonic()
    told: list[str] = []
    while opened.session.id not in told:
        message = await watch.read()
        told.extend(message.revoked_sessions)
    assert message.reason == "stolen"
    assert time.monotonic() - began < 1
    watch.cancel()
    assert bystander not in told
    for secret in (access, password):
        again = await run.open("executor-7", "executor", token=secret)
        assert again.decision.reason_code in {"TOKEN_REVOKED", "TOKEN_USED"}
    if "role" not in what:
        with pytest.raises(grpc.aio.AioRpcError, match="revoked"):
            await credential(run, access)
    log = [json.loads(line) async for _, line in run.service.log.read(0, None)]
    (cut,) = [record for record in log if record["kind"] == "revoked"]
    assert (cut["subject"]["name"], cut["reason"], cut["sessions"]) == ("carol", "stolen", 1)


async def test_who_may_revoke_whom(run: Running) -> None:
    """An owner her agent; an agent nobody; nobody but an administrator a role or a token."""
    alice, agent = token(run, "alice", "reviewer"), token(run, "executor-7", "executor")
    assert (await revoke(run, alice, party="executor-7")).sessions == 0
    for who, what in (
        (alice, {"party": "planner-3"}),
        (alice, {"role": "executor"}),
        (alice, {"token": "x", "issuer": "y"}),
        (agent, {"party": "planner-3"}),
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await revoke(run, who, **what)


@pytest.mark.parametrize(
    "what",
    [
        {"party": "alice", "role": "executor"},
        {"token": "x"},
        {"issuer": "x"},
        {"session": "ses_x", "role": "r"},
        {"party": "nobody"},
        {"party": '["a", "b"]'},
        {"party": "x" * 2000},
    ],
)
async def test_revocations_that_say_nothing_clear(run: Running, what: dict[str, str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await revoke(run, token(run, "carol", "admin"), **what)
    assert caught.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


async def test_who_logs_in_anew_after_a_revocation_is_let_in(run: Running) -> None:
    await revoke(run, token(run, "carol", "admin"), party="executor-7")
    later = token(run, "executor-7", "executor", iat=int(time.time()) + 2)
    assert (await run.open("executor-7", "executor", token=later)).session.id


async def test_refused_callers_are_recorded_and_floods_are_counted(run: Running) -> None:
    for _ in range(30):
        assert await call(run, ("authorization", "Bearer x.y.z")) == "TOKEN_MALFORMED"
    await run.service.authenticator.record_refusals()
    log = [json.loads(line) async for _, line in run.service.log.read(0, None)]
    found = [record for record in log if record["kind"] == "call-denied"]
    assert 1 <= len(found) <= 25
    assert found[0]["code"] == "TOKEN_MALFORMED"
    assert sum(record.get("count", 1) for record in found) == 30
