"""JWT-SVIDs: which IDs are of the trust domain, and which tokens are SVIDs at all (SP-1, T27)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import TokenError
from decision.identity import spiffe
from decision.identity.tokens import build_verifier
from tests.decision.identity.support import EC, OKP, Idp, serving


@pytest.mark.parametrize("path", ["a", "ns/agents/sa/executor", "A-b_c.d", "...", "a/..b"])
def test_ids_of_the_trust_domain(path: str) -> None:
    assert spiffe.is_of(f"spiffe://example.org/{path}", "example.org")


WRONG = [
    "spiffe://other.org/executor",
    "spiffe://example.org.evil/executor",
    "spiffe://evil.example.org/executor",
    "spiffe://example.org",
    "spiffe://example.org/",
    "spiffe://example.org//executor",
    "spiffe://example.org/a/../admin",
    "spiffe://example.org/./admin",
    "spiffe://example.org/executor/",
    "spiffe://example.org/%65xecutor",
    "spiffe://example.org/a%2f..%2fadmin",
    "spiffe://example.org/executor?x=1",
    "spiffe://example.org/executor#x",
    "spiffe://example.org:443/executor",
    "spiffe://u@example.org/executor",
    "SPIFFE://example.org/executor",
    "spiffe://Example.org/executor",
    "spiffe://example.org/exécutor",
    "https://example.org/executor",
    "executor\n",
    "spiffe://example.org/executor\n",
]


@pytest.mark.parametrize("identity", WRONG)
def test_t27_ids_that_are_not(identity: str) -> None:
    assert not spiffe.is_of(identity, "example.org")


@given(st.text())
def test_any_text_is_one_or_not(text: str) -> None:
    found = spiffe.is_of(f"spiffe://example.org/{text}", "example.org")
    assert not found or not {"%", "?", "#", "\\", " "} & set(text)


@dataclass
class World:
    idp: Idp

    async def code(self, alg: str = "ES256", typ: str | None = "JWT", **changes: object) -> str:
        now = int(time.time())
        svid: dict[str, object] = {"sub": "spiffe://example.org/executor", "iat": now, "exp": now + 300}
        plain = {"client_id": None, "groups": None}
        key, kid = (EC, "ec") if alg == "ES256" else (OKP, "okp")
        token = self.idp.token({"alg": alg, "kid": kid, "typ": typ}, key, **{**svid, **plain, **changes})
        issuer = {
            "issuer": self.idp.issuer, "audience": "twokey", "profile": "workload", "platform": "spiffe",
            "trust_domain": "example.org",
            "roles": {"claim": "sub", "map": {"spiffe://example.org/executor": "executor"}},
        }  # fmt: skip
        verifier = build_verifier([issuer], dev=True)
        try:
            assert (await verifier.verify(token)).roles == ("executor",)
        except TokenError as error:
            return error.code
        finally:
            await verifier.close()
        return ""


async def test_sp_1_what_is_a_jwt_svid() -> None:
    async with serving(Idp()) as idp:
        world = World(idp)
        now = int(time.time())
        assert await world.code() == ""
        assert await world.code(typ="JOSE") == ""
        assert await world.code(typ="at+jwt") == "TOKEN_TYPE"
        assert await world.code("Ed25519") == "TOKEN_ALG"
        assert await world.code(exp=now + 400) == "TOKEN_CLAIMS"
        assert await world.code(exp=None) == "TOKEN_CLAIMS"
        assert await world.code(aud=["twokey", "other"]) == "TOKEN_AUDIENCE"
        assert await world.code(aud=None) == "TOKEN_AUDIENCE"
        assert await world.code(nonce="n") == "TOKEN_TYPE"


@pytest.mark.parametrize("identity", WRONG)
async def test_t27_a_token_with_such_an_id(identity: str) -> None:
    async with serving(Idp()) as idp:
        assert await World(idp).code(sub=identity) == "TOKEN_CLAIMS"
