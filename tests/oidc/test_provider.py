"""Tokens of a real, certified provider at a real service; its keys rotated; it down, hung and lying."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
from twokey.decision.v1 import decision_pb2

from decision.errors import TokenError
from decision.identity.claims import ClaimRules
from decision.identity.keys import REFRESH_INTERVAL_S, DiscoveredKeys
from decision.identity.profiles import PROFILES, WORKLOADS, Profile
from decision.identity.tokens import TrustedIssuer, Verifier
from tests.decision.identity.holder import Holder
from tests.decision.rpc.test_exchange import ACCESS, GRANT
from tests.decision.running import running
from tests.oidc.rig import Rig

ROLES = {"agents-plan": "planner", "agents-exec": "executor"}
PEOPLE = """principals:
  - {{name: alice, identities: [{{iss: "{iss}", sub: alice}}], groups: [dba]}}
  - {{name: bob, identities: [{{iss: "{iss}", sub: bob}}]}}
agents:
  - name: executor-7
    identities: [{{iss: "{iss}", sub: executor-7}}, {{iss: "{iss}", sub: executor-bound}}]
    owner: alice
  - {{name: planner-3, identities: [{{iss: "{iss}", sub: planner-3}}], owner: bob}}
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig().running() as started:
        yield started


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verifier(rig: Rig, clock: Clock) -> AsyncIterator[Verifier]:
    rules = ClaimRules(issuer=rig.issuer, audience="twokey", roles_claim="groups", role_map=ROLES)
    made = Verifier([TrustedIssuer(rules, DiscoveredKeys(rig.issuer, loopback=True, monotonic=clock))])
    yield made
    await made.close()


async def refused(verifier: Verifier, token: str) -> str:
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token)
    return caught.value.code


async def test_its_tokens_open_sessions_of_its_subjects(rig: Rig, tmp_path: Path) -> None:
    """client_credentials, authorization code with PKCE, and DPoP; an ID token and a bound token alone open nothing."""
    issuer = {"issuer": rig.issuer, "audience": "twokey", "roles": {"claim": "groups", "map": ROLES}}
    holder = Holder()
    async with running(tmp_path, issuers=[issuer], people=PEOPLE.format(iss=rig.issuer)) as run:
        plain = await rig.client_credentials("executor-7")
        opened = await run.open("", "executor", token=plain)
        assert opened.session.subject.identity.name == "executor-7", opened
        scoped = await rig.client_credentials("planner-3", scope="twokey:crm:plan")
        assert (await run.open("", "planner", token=scoped)).session.subject.identity.sub == "planner-3"
        elsewhere = await rig.client_credentials("executor-7", scope="twokey:crm:plan")
        assert (await run.open("", "executor", token=elsewhere)).decision.reasons[0].rule == "DUTY-SCOPE"
        access, identity = await rig.authorization_code()
        assert (await run.open("", "executor", token=access)).session.subject.identity.name == "alice"
        assert (await run.open("", "executor", token=identity)).decision.reason_code == "TOKEN_TYPE"
        bound = await rig.client_credentials("executor-bound", holder=holder)
        assert (await run.open("", "executor", token=bound)).decision.reason_code == "TOKEN_PROOF"
        rpc = "/twokey.decision.v1.DecisionService/IssueSessionCredential"
        url = f"https://{run.service.server.address}{rpc}"
        request = decision_pb2.IssueSessionCredentialRequest(connection="crm", role="executor")
        proof = holder.proof(url, bound)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await run.decision.IssueSessionCredential(
                request, metadata=(("authorization", f"DPoP {bound}"), ("dpop", proof)), timeout=10
            )
        nonce = str(dict(caught.value.initial_metadata() or ())["dpop-nonce"])
        again = holder.proof(url, bound, nonce=nonce)
        answer = await run.decision.IssueSessionCredential(
            request, metadata=(("authorization", f"DPoP {bound}"), ("dpop", again)), timeout=10
        )
        assert (
            await run.open("", "executor", token=answer.credential)
        ).session.subject.identity.sub == "executor-bound"


async def test_t11_and_jk_3_a_new_key_is_used_at_once_and_t12_a_retired_one_stops(
    rig: Rig, verifier: Verifier, clock: Clock
) -> None:
    old = await rig.client_credentials("executor-7")
    assert (await verifier.verify(old)).roles == ("executor",)
    assert len(await rig.keys("rotate")) == 2
    clock.now += 11
    new = await rig.client_credentials("executor-7")
    assert await verifier.verify(new)
    assert await verifier.verify(old)
    fetched = rig.hits.count("/jwks")
    assert fetched == 2  # one refresh
    await rig.keys("retire")
    clock.now += 599
    assert await verifier.verify(old)
    clock.now += 2
    assert await refused(verifier, old) == "TOKEN_SIGNATURE"
    assert await verifier.verify(new)


@pytest.mark.parametrize("profile", [*PROFILES.values(), *WORKLOADS.values()], ids=[*PROFILES, *WORKLOADS])
async def test_t10_an_id_token_for_a_client_is_refused_in_every_profile(rig: Rig, profile: Profile) -> None:
    """alice's, made for her console by the provider itself; its access token of the same moment is good where the
    profile takes such tokens. The audience is the console's, so that nothing else than its kind refuses it."""
    access, identity = await rig.authorization_code()
    for audience in ("console", "twokey"):
        rules = ClaimRules(issuer=rig.issuer, audience=audience, roles_claim="groups", role_map=ROLES, profile=profile)
        made = Verifier([TrustedIssuer(rules, DiscoveredKeys(rig.issuer, loopback=True))])
        try:
            code = await refused(made, identity)
            wrong = {"TOKEN_TYPE"} if audience == "console" else {"TOKEN_TYPE", "TOKEN_AUDIENCE"}
            # The provider's live an hour, SPIFFE's at most as long as its profile says: that is looked at first.
            assert code in wrong | ({"TOKEN_CLAIMS"} if profile is WORKLOADS["spiffe"] else set())
            if audience == "twokey" and profile in PROFILES.values():
                assert (await made.verify(access)).identity.sub == "alice"
        finally:
            await made.close()


async def test_t11_keys_rotated_under_load_fail_nobody(rig: Rig, tmp_path: Path) -> None:
    """Twenty openings at once, three times, each with a token of that moment, while the provider's signing key
    changes; one second after publication the new key is used, and nobody was refused."""
    issuer = {"issuer": rig.issuer, "audience": "twokey", "roles": {"claim": "groups", "map": ROLES}}
    async with running(tmp_path, issuers=[issuer], people=PEOPLE.format(iss=rig.issuer)) as run:

        async def opens() -> str:
            token = await rig.client_credentials("executor-7")
            opened = await run.open("", "executor", token=token)
            if opened.session.id:
                await run.service.sessions.end(opened.session.id, "seen", kind="closed")
            return json.loads(_header(token))["kid"] + (f" {opened.decision}" if not opened.session.id else "")

        (first,) = set(await asyncio.gather(*(opens() for _ in range(20))))
        fetched = rig.hits.count("/jwks")
        await asyncio.sleep(REFRESH_INTERVAL_S)  # it asks no sooner: JK-2
        kids, *during = await asyncio.gather(rig.keys("rotate"), *(opens() for _ in range(20)))
        await asyncio.sleep(1)
        after = set(await asyncio.gather(*(opens() for _ in range(20))))
        assert set(during) <= set(kids)
        assert len(after) == 1
        assert after != {first}
        assert rig.hits.count("/jwks") == fetched + 1


def _header(token: str) -> bytes:
    head = token.split(".", maxsplit=1)[0]
    return base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))


@pytest.mark.parametrize("mode", ["down", "hang", "lie", "forge"])
async def test_t13_and_jk_4_an_unwell_provider(
    rig: Rig, verifier: Verifier, clock: Clock, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decision.identity.keys.FETCH_DEADLINE_S", 0.5)
    token = await rig.client_credentials("executor-7")
    rig.mode = mode
    first = "TOKEN_SIGNATURE" if mode == "forge" else "TOKEN_KEYS_UNAVAILABLE"
    assert await refused(verifier, token) == first
    rig.mode = "ok"
    clock.now += 11
    assert await verifier.verify(token)
    rig.mode = mode
    clock.now += 3599 if mode != "forge" else 599
    assert await verifier.verify(token)
    clock.now += 3
    assert await refused(verifier, token) == first
    rig.mode = "ok"
    clock.now += 11
    assert await verifier.verify(token)


async def test_its_tokens_are_exchanged_at_our_endpoint(rig: Rig, tmp_path: Path) -> None:
    """RFC 8693 with the provider's own tokens: a person's by authorization code, a planner's, and an executor's that is
    bound to a key. No client could exchange the last one anywhere else."""
    issuer = {"issuer": rig.issuer, "audience": "twokey", "roles": {"claim": "groups", "map": ROLES}}
    holder = Holder()
    async with running(tmp_path, issuers=[issuer], people=PEOPLE.format(iss=rig.issuer)) as run:
        address = f"http://{run.service.http.address}/token"
        executor = await rig.client_credentials("executor-bound", holder=holder)
        planner = await rig.client_credentials("planner-3")
        _, identity = await rig.authorization_code()

        async def exchange(subject: str, **headers: str) -> httpx.Response:
            form = {"grant_type": GRANT, "subject_token": subject, "subject_token_type": ACCESS}
            async with httpx.AsyncClient() as client:
                return await client.post(address, data=form, headers=headers)

        async def proved(subject: str) -> httpx.Response:
            first = await exchange(subject, Authorization=f"DPoP {executor}", DPoP=holder.proof(address, executor))
            proof = holder.proof(address, executor, nonce=first.headers["DPoP-Nonce"])
            return await exchange(subject, Authorization=f"DPoP {executor}", DPoP=proof)

        assert (await exchange(planner, Authorization=f"Bearer {executor}")).status_code == 401
        assert (await proved(identity)).json()["error"] == "invalid_token"  # an ID token speaks for nobody
        answer = await proved(planner)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert made["token_type"] == "DPoP"
        assert (await run.open("", "executor", token=made["access_token"])).decision.reason_code == "TOKEN_PROOF"
        rpc = "/twokey.decision.v1.DecisionService/IssueSessionCredential"
        proof = holder.proof(f"https://{run.service.server.address}{rpc}", made["access_token"], nonce=None)
        request = decision_pb2.IssueSessionCredentialRequest(connection="crm", role="executor")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await run.decision.IssueSessionCredential(
                request,
                metadata=(("authorization", f"DPoP {made['access_token']}"), ("dpop", proof)),
                timeout=10,
            )
        nonce = str(dict(caught.value.initial_metadata() or ())["dpop-nonce"])
        proof = holder.proof(f"https://{run.service.server.address}{rpc}", made["access_token"], nonce=nonce)
        issued = await run.decision.IssueSessionCredential(
            request, metadata=(("authorization", f"DPoP {made['access_token']}"), ("dpop", proof)), timeout=10
        )
        opened = await run.open("", "executor", token=issued.credential)
        subject = opened.session.subject
        assert subject.identity.sub == "planner-3"
        assert [actor.sub for actor in subject.actors] == ["executor-bound"], opened
