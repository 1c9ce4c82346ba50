"""Artifacts in each other's places, and refusals at each door: counted, recorded, and telling no more than needed.

The lines of attacks.md (T) and standards.md (DP, TX) that are about what is sent where; docs/identity-tests.md has all.
"""

from __future__ import annotations

import ast
import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from joserfc.jws import JWSRegistry, serialize_compact
from twokey.decision.v1 import decision_pb2

from decision.identity.dpop import NonceError
from decision.metrics import CODES
from tests.decision.identity.holder import Holder
from tests.decision.rpc.test_auth import bound, call, nonce, reason, signed, token, url
from tests.decision.rpc.test_exchange import ACCESS, GRANT, claims, exchange, exchanged
from tests.decision.running import ROOT, Running, operation, running


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


async def records(run: Running, kind: str) -> list[dict[str, Any]]:
    await run.service.authenticator.record_refusals()
    await run.service.sessions.record_failed_logins()
    found = [json.loads(line) async for _, line in run.service.log.read(0, None)]
    return [record for record in found if record["kind"] == kind]


def counted(run: Running, rpc: str, code: str) -> float:
    found = re.search(rf'twokey_rpc_total{{code="{code}",rpc="{rpc}"}} ([0-9.]+)', run.service.metrics.text().decode())
    return float(found[1]) if found else 0.0


async def credential(run: Running, access: str) -> str:
    answer = await run.decision.IssueSessionCredential(
        decision_pb2.IssueSessionCredentialRequest(connection="crm", role="executor"),
        metadata=(("authorization", f"Bearer {access}"),),
        timeout=10,
    )
    return str(answer.credential)


async def as_bearer(run: Running, text: str) -> bool:
    return await call(run, ("authorization", f"Bearer {text}")) == ""


async def as_session(run: Running, text: str) -> bool:
    return bool((await run.open("", "executor", token=text)).session.id)


async def as_proof(run: Running, text: str) -> bool:
    holder = Holder()
    access = bound(run, holder, "carol", "admin")
    return await call(run, ("authorization", f"DPoP {access}"), ("dpop", text)) == ""


async def as_subject(run: Running, text: str) -> bool:
    return (await exchange(run, token(run, "planner-3", "planner"), text)).status_code == 200


async def as_actor(run: Running, text: str) -> bool:
    answer = await exchange(
        run, token(run, "executor-7", "executor"), token(run, "planner-3", "planner"), actor_token=text
    )
    return answer.status_code == 200


async def as_approval(run: Running, text: str) -> bool:
    """In the place of an approval's id, which a decision would be redeemed by."""
    session = await run.session("executor-7", "executor")
    answer = await run.decide(session, operation("DELETE FROM orders", "delete", where=False), approval=text)
    return bool(answer.execution)


SLOTS = {
    "bearer": as_bearer,
    "session": as_session,
    "proof": as_proof,
    "subject": as_subject,
    "actor": as_actor,
    "approval": as_approval,
}


async def artifact(run: Running, name: str) -> str:
    who: tuple[str, ...] = ("executor-7", "executor", "auditor")
    kinds: dict[str, dict[str, object]] = {"id": {"nonce": "n"}, "log-out": {"events": {}}, "access": {}}
    if name in kinds:
        return token(run, *who, **kinds[name])
    if name in {"refresh", "txn", "approval"}:
        issuer = run.service.dev_issuer
        assert issuer is not None
        body = token(run, *who).split(".")[1]
        typ = {"refresh": "rt+jwt", "txn": "txntoken+jwt", "approval": "twokey-approval+jws"}[name]
        raw = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        header = {"alg": "Ed25519", "typ": typ, "kid": issuer._kid}
        return serialize_compact(header, raw, issuer._key, algorithms=list(JWSRegistry.algorithms))
    if name == "proof":
        holder = Holder()
        return holder.proof(url(run), "x", nonce=await nonce(run, holder, bound(run, holder, "carol", "admin")))
    return await credential(run, token(run, "executor-7", "executor"))


PASSES = {("access", "bearer"), ("access", "session"), ("access", "subject"), ("password", "session")}


async def test_t10_each_artifact_in_each_slot(run: Running) -> None:
    """A proof passes in its own slot only with its own token: test_auth.py."""
    for name in ("access", "id", "refresh", "txn", "proof", "approval", "log-out", "password"):
        for slot, tried in SLOTS.items():
            assert await tried(run, await artifact(run, name)) == ((name, slot) in PASSES), (name, slot)


async def test_dp_14_what_an_http_client_is_told(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "executor-7", "executor")
    address = f"http://{run.service.http.address}/token"
    form = {"grant_type": GRANT, "subject_token_type": ACCESS, "subject_token": token(run, "planner-3", "planner")}

    async def asked(proof: str) -> httpx.Response:
        headers = {"Authorization": f"DPoP {access}", "DPoP": proof}
        async with httpx.AsyncClient() as client:
            return await client.post(address, data=form, headers=headers)

    first = await asked(holder.proof(address, access))
    assert first.status_code == 401
    assert 'DPoP error="use_dpop_nonce"' in first.headers["WWW-Authenticate"]
    again = await asked(holder.proof(address, access, nonce=first.headers["DPoP-Nonce"]))
    assert again.status_code == 200, again.text
    wrong = await asked(holder.proof(f"{address}/x", access, nonce=first.headers["DPoP-Nonce"]))
    assert wrong.status_code == 401
    assert 'DPoP error="invalid_dpop_proof"' in wrong.headers["WWW-Authenticate"]
    assert access not in wrong.text


async def test_tx_3_what_else_an_actor_says_means_nothing(run: Running) -> None:
    act = {"iss": "urn:twokey:dev", "sub": "executor-7", "exp": 1, "nbf": 4_000_000_000, "aud": "x", "roles": ["admin"]}
    opened = await run.open("", "executor", token=token(run, "alice", "executor", act=act))
    assert opened.session.id
    assert list(opened.session.subject.roles) == ["executor"]
    assert opened.session.expires.seconds > time.time() + 500


async def test_tx_5_there_is_no_token_without_an_actor(run: Running) -> None:
    """Impersonation: nobody can be told apart from whom they act for."""
    made = await exchanged(run, token(run, "executor-7", "executor"), token(run, "planner-3", "planner"))
    assert claims(made)["act"]["sub"] == "executor-7"
    same = token(run, "executor-7", "executor")
    assert (await exchange(run, same, same)).status_code == 400


async def test_what_a_known_caller_may_not_have_is_recorded_with_who_asked(run: Running) -> None:
    """T22 to T24 at the token endpoint: refused, counted by code, and in the log with a reason."""
    executor = token(run, "executor-7", "executor", scope="twokey:crm:execute")
    once = await exchanged(run, executor, token(run, "planner-3", "planner"))
    tried = [
        (await exchange(run, executor, once), "INVALID_REQUEST", "twice"),
        (await exchange(run, executor, once, scope="twokey:erp:execute"), "INVALID_REQUEST", "twice"),
        (await exchange(run, executor, twokey_subagent="1", twokey_role="admin"), "INVALID_SCOPE", "role"),
        (await exchange(run, executor, twokey_subagent="1", scope="twokey:erp:execute"), "INVALID_SCOPE", "scope"),
        (await exchange(run, executor, "x.y.z"), "TOKEN_MALFORMED", ""),
        (await exchange(run, executor, once, audience="elsewhere"), "INVALID_TARGET", "this service"),
        (await exchange(run, executor, once, grant_type="password"), "UNSUPPORTED_GRANT", "exchange"),
    ]
    assert all(answer.status_code in {400, 401} for answer, _, _ in tried)
    found = [one for one in await records(run, "call-denied") if "code" in one]
    assert [one["code"] for one in found] == [code for _, code, _ in tried]
    for one, (_, code, words) in zip(found, tried, strict=True):
        assert one["subject"]["name"] == "executor-7"
        assert words in one["reason"]
        assert counted(run, "twokey.identity.v1.TokenExchange/Exchange", code) >= 1


async def test_a_call_refused_for_its_token_is_recorded_with_who_called(run: Running) -> None:
    request = decision_pb2.IssueSessionCredentialRequest(connection="crm", role="admin")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run.decision.IssueSessionCredential(request, metadata=run.bearer("executor-7", "executor"), timeout=10)
    assert reason(caught.value) == "TOKEN_ROLE"
    (record,) = await records(run, "call-denied")
    assert (record["subject"]["name"], record["code"]) == ("executor-7", "TOKEN_ROLE")


async def test_refusals_at_every_door_are_counted_and_recorded(run: Running) -> None:
    now = int(time.time())
    wrong: dict[str, dict[str, object]] = {
        "EXPIRED": {"exp": now - 60, "iat": now - 120},
        "AUDIENCE": {"aud": "elsewhere"},
        "TYPE": {"typ": "Refresh"},
        "PROOF": {"cnf": {"jkt": "A" * 43}},
        "ISSUER": {"iss": "https://elsewhere.example"},
    }
    for code, changes in wrong.items():
        await refused_everywhere(run, code, changes)
    kinds = [f"TOKEN_{code}" for code in wrong]
    told = [one.get("code") for one in await records(run, "call-denied")]
    counts = [one.get("codes", {}) for one in await records(run, "call-denied")]
    for kind in kinds:
        assert told.count(kind) + sum(one.get(kind, 0) for one in counts) == 2
    assert sum(one.get("count", 1) for one in await records(run, "session-denied")) == len(wrong)


async def refused_everywhere(run: Running, code: str, changes: dict[str, object]) -> None:
    text = token(run, "executor-7", "executor", **changes)
    assert (await run.open("", "executor", token=text)).decision.reason_code == f"TOKEN_{code}"
    assert await call(run, ("authorization", f"Bearer {text}")) == f"TOKEN_{code}"
    answer = await exchange(run, text, token(run, "planner-3", "planner"))
    assert answer.status_code == 401
    assert 'sessions_refused_total{code="TOKEN_' + code in run.service.metrics.text().decode()
    assert counted(run, "twokey.decision.v1.DecisionService/ListSessions", f"TOKEN_{code}") == 1
    assert counted(run, "twokey.identity.v1.TokenExchange/Exchange", f"TOKEN_{code}") == 1
    # What the client is told is one of a few sentences: nothing of what the token said, nor of what was expected.
    for hidden in (text, "elsewhere", "executor-7", "AAAA"):
        assert hidden not in answer.text


async def test_who_poses_as_a_gateway_is_counted_and_recorded(run: Running) -> None:
    """Without the secret, with a wrong one, with a token beside it: before anybody asks who it is."""
    request = decision_pb2.DecideRequest(session="ses_x")
    wrong = [(("x-twokey-enforcer", "x" * 43),), run.bearer("executor-7", "executor"), ()]
    for metadata in (*wrong, (*run.enforcer, *run.bearer("executor-7", "executor"))):
        with pytest.raises(grpc.aio.AioRpcError):
            await run.decision.Decide(request, metadata=metadata, timeout=10)
    found = await records(run, "call-denied")
    assert [one["rpc"] for one in found] == ["twokey.decision.v1.DecisionService/Decide"] * 4
    assert all(one["subject"] is None and one["code"] for one in found)
    assert sum(counted(run, found[0]["rpc"], code) for code in {one["code"] for one in found}) == 4
    with pytest.raises(grpc.aio.AioRpcError):  # what policy denies is recorded once, with its reasons
        await run.decision.Revoke(decision_pb2.RevokeRequest(), metadata=run.bearer("carol", "reviewer2"), timeout=10)
    assert len(await records(run, "call-denied")) == 5


async def test_a_nonce_that_is_asked_for_is_no_refusal(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "carol", "admin")
    assert await nonce(run, holder, access)
    assert await records(run, "call-denied") == []
    assert await call(run, *await signed(run, holder, access)) == ""
    assert NonceError("x").code in CODES


def test_each_code_of_the_service_is_a_label_of_its_metrics() -> None:
    """Else a refusal would be counted as `other`."""
    found: set[str] = set()
    other = {"cli", "authzen"}  # AuthZEN's codes are a closed set of their own
    for path in (ROOT / "decision").rglob("*.py"):
        if other & set(path.relative_to(ROOT / "decision").parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(one, ast.Name) and one.id == "code" for one in targets):
                    found.add(str(node.value.value))
    assert len(found) > 40
    assert found <= CODES, found - CODES


async def test_dp_9_and_t17_the_public_origin_is_the_one_that_is_configured(tmp_path: Path) -> None:
    """Behind a balancer: what is configured and what is listened on count, nothing that a call says of itself."""
    public = {"grpc": ["https://twokey.example.com:7443"], "http": ["https://twokey.example.com"]}
    async with running(tmp_path, document={"public": public}) as run:
        holder = Holder()
        access = bound(run, holder, "carol", "admin")
        path = "/twokey.decision.v1.DecisionService/ListSessions"
        good = ["https://twokey.example.com:7443", "https://TWOKEY.example.com:7443", url(run).removesuffix(path)]
        for origin in good:
            assert await call(run, *await signed(run, holder, access, url=f"{origin}{path}")) == "", origin
        wrong = ["https://twokey.example.com", "http://twokey.example.com:7443", "https://evil.example:7443"]
        for origin in wrong:
            assert await call(run, *await signed(run, holder, access, url=f"{origin}{path}")) == "TOKEN_PROOF", origin

        executor = bound(run, holder, "executor-7", "executor")
        form = {"grant_type": GRANT, "subject_token_type": ACCESS, "subject_token": token(run, "planner-3", "planner")}
        for origin, host, status in (
            ("https://twokey.example.com", "twokey.example.com", 200),
            ("https://evil.example", "evil.example", 401),
        ):
            headers = {"Host": host, "X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
            proof = holder.proof(f"{origin}/token", executor, nonce=await nonce(run, holder, access))
            async with httpx.AsyncClient() as client:
                answer = await client.post(
                    f"http://{run.service.http.address}/token",
                    data=form,
                    headers={**headers, "Authorization": f"DPoP {executor}", "DPoP": proof},
                )
            assert answer.status_code == status, answer.text
