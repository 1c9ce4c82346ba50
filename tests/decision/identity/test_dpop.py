"""RFC 9449, section 4.3, check by check (the numbers are its list's and standards.md's), and what comes after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from decision.errors import TokenError
from decision.identity.dpop import BUCKET_S, Call, NonceError, Nonces, Proof, Proofs, normal, read_proof
from tests.decision.identity.holder import Holder
from tests.decision.identity.support import EC, OKP, RSA, b64, glue, sign

URL = "https://pdp.example/twokey.decision.v1.DecisionService/Explain"
CALL = Call("POST", (URL,))
TOKEN = "a.b.c"
HOLDER = Holder()


def read(proof: str, call: Call = CALL, *, nonces: Nonces | None = None, token: str = TOKEN) -> Proof:
    return read_proof(proof, call, token, now=time.time(), nonces=nonces)


def code(proof: str, call: Call = CALL, *, nonces: Nonces | None = None, token: str = TOKEN) -> str:
    try:
        read(proof, call, nonces=nonces, token=token)
    except TokenError as error:
        return error.code
    return ""


def test_a_good_proof() -> None:
    proof = read(HOLDER.proof(URL, TOKEN))
    assert proof.jkt == HOLDER.jkt
    for key, alg in ((RSA, "RS256"), (RSA, "PS512"), (OKP, "Ed25519"), (EC, "ES256")):
        assert read(Holder(key, alg).proof(URL, TOKEN)).jkt == key.thumbprint()


@pytest.mark.parametrize(
    "proof",
    ["", "x", "a.b", "a.b.c.d.e", glue("{}", "{}", "s"), "%.%.%", "a" * 5000, glue('{"alg":"ES256"', "{}", "s")],
)
def test_dpop_2_one_well_formed_jwt(proof: str) -> None:
    assert code(proof) == "TOKEN_PROOF"


def test_dpop_1_a_list_in_one_header_is_no_jwt() -> None:
    one = HOLDER.proof(URL, TOKEN)
    assert code(f"{one}, {one}") == code(f"{one},{one}") == "TOKEN_PROOF"


@pytest.mark.parametrize("claim", ["jti", "htm", "htu", "iat"])
@pytest.mark.parametrize("value", [None, 7.5, "", [], {}])
def test_dpop_3_claims(claim: str, value: object) -> None:
    if (claim, value) == ("iat", 7.5):
        value = "7"
    assert code(HOLDER.proof(URL, TOKEN, **{claim: value})) == "TOKEN_PROOF"


@pytest.mark.parametrize("typ", [None, "JWT", "at+jwt", "DPOP+JWT", 1])
def test_dpop_4_type(typ: object) -> None:
    assert code(HOLDER.proof(URL, TOKEN, header={"typ": typ})) == "TOKEN_PROOF"


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "HS256", "", 7, None, "ES257"])
def test_dpop_5_algorithm(alg: object) -> None:
    header = json.dumps({"typ": "dpop+jwt", "alg": alg, "jwk": HOLDER.key.as_dict(private=False)})
    good = HOLDER.proof(URL, TOKEN).split(".")
    assert code(".".join((b64(header), *good[1:]))) == "TOKEN_PROOF"


def test_dpop_5_a_shared_secret_is_no_key() -> None:
    key = OctKey.generate_key(256)
    header = {"typ": "dpop+jwt", "alg": "HS256", "jwk": key.as_dict(private=True)}
    assert code(sign("{}", header, key)) == "TOKEN_PROOF"


def test_dpop_6_signature() -> None:
    head, body, _ = HOLDER.proof(URL, TOKEN).split(".")
    other = Holder()
    assert code(f"{head}.{body}.{b64(b'x' * 64)}") == "TOKEN_PROOF"
    assert code(f"{head}.{body}.") == "TOKEN_PROOF"
    stolen = other.proof(URL, TOKEN, header={"jwk": HOLDER.key.as_dict(private=False)})
    assert code(stolen) == "TOKEN_PROOF"
    with pytest.warns(match="2048"):
        weak = RSAKey.generate_key(1024).as_dict(private=False)
    for jwk in (None, [], "x", {}, {"kty": "EC"}, weak):
        assert code(HOLDER.proof(URL, TOKEN, header={"jwk": jwk})) == "TOKEN_PROOF"


@pytest.mark.parametrize("key", [ECKey.generate_key("P-256"), RSA, OKPKey.generate_key("Ed25519")])
def test_dpop_7_no_private_part(key: ECKey | RSAKey | OKPKey) -> None:
    alg = {"EC": "ES256", "RSA": "RS256", "OKP": "Ed25519"}[str(key.as_dict()["kty"])]
    assert code(Holder(key, alg).proof(URL, TOKEN, header={"jwk": key.as_dict(private=True)})) == "TOKEN_PROOF"


@pytest.mark.parametrize("method", ["GET", "post", "Post", "POST ", "PUT"])
def test_dpop_8_method(method: str) -> None:
    assert code(HOLDER.proof(URL, TOKEN, method=method)) == "TOKEN_PROOF"


@pytest.mark.parametrize(
    "url",
    [
        URL + "?a=b",
        URL + "#x",
        URL.replace("pdp.example", "PDP.Example"),
        URL.replace("pdp.example", "pdp.example:443"),
        URL.replace("https", "HTTPS"),
    ],
)
def test_dpop_9_spellings_of_one_address(url: str) -> None:
    """T17: query, host case and the default port don't matter."""
    assert code(HOLDER.proof(url, TOKEN)) == ""


@pytest.mark.parametrize(
    "url",
    [
        URL + "/",
        URL + "x",
        URL.replace("Explain", "Revoke"),
        URL.replace("Explain", "explain"),
        URL.replace("Explain", "%45xplain"),
        URL.replace("/twokey", "//twokey"),
        URL.replace("/twokey", "/x/../twokey"),
        URL.replace("https", "http"),
        URL.replace("pdp.example", "pdp.example:8443"),
        URL.replace("pdp.example", "pdp.example.evil"),
        URL.replace("pdp.example", "evil@pdp.example"),
        URL.replace("pdp.example", "pdp.example:x"),
        "twokey.decision.v1.DecisionService/Explain",
        "//pdp.example/twokey.decision.v1.DecisionService/Explain",
        "file:///etc/passwd",
        "https://[::1/x",
    ],
)
def test_dpop_9_another_address(url: str) -> None:
    assert code(HOLDER.proof(url, TOKEN)) == "TOKEN_PROOF"


def test_dpop_10_nonce_and_dp_16_two_buckets() -> None:
    nonces = Nonces(b"k" * 32)
    now = time.time()
    with pytest.raises(NonceError) as caught:
        read(HOLDER.proof(URL, TOKEN), nonces=nonces)
    assert caught.value.code == "USE_DPOP_NONCE"
    assert read(HOLDER.proof(URL, TOKEN, nonce=caught.value.nonce), nonces=nonces)
    made = nonces.make(HOLDER.jkt, now)
    assert nonces.good(made, HOLDER.jkt, now + BUCKET_S)
    assert not nonces.good(made, HOLDER.jkt, now + 2 * BUCKET_S)
    assert not nonces.good(made, HOLDER.jkt, now - BUCKET_S)
    assert Nonces(b"k" * 32).good(made, HOLDER.jkt, now)  # another replica with the same secret


def test_t19_nonces() -> None:
    """None where one is required, expired, of another server, of another client: a challenge each, nothing else."""
    nonces = Nonces(b"k" * 32)
    now = time.time()
    wrong = [
        None,
        nonces.make(HOLDER.jkt, now - 3 * BUCKET_S),
        Nonces(b"x" * 32).make(HOLDER.jkt, now),
        nonces.make(Holder().jkt, now),
        "",
        "ünï",
    ]
    for nonce in wrong:
        assert code(HOLDER.proof(URL, TOKEN, nonce=nonce), nonces=nonces) == "USE_DPOP_NONCE"
    assert code(HOLDER.proof(URL, TOKEN, header={"typ": "JWT"}), nonces=nonces) == "TOKEN_PROOF"


@pytest.mark.parametrize(
    ("age", "found"), [(0, ""), (58, ""), (-3, ""), (62, "x"), (-8, "x"), (3600, "x"), (-3600, "x")]
)
def test_dpop_11_and_t18_window(age: int, found: str) -> None:
    assert code(HOLDER.proof(URL, TOKEN, iat=time.time() - age)) == ("TOKEN_PROOF" if found else "")


@pytest.mark.parametrize("iat", [True, "now", 1e999, -1])
def test_dpop_11_a_time_that_is_none(iat: object) -> None:
    assert code(HOLDER.proof(URL, TOKEN, iat=iat)) == "TOKEN_PROOF"


def test_dpop_12_the_token_it_is_for() -> None:
    assert code(HOLDER.proof(URL, "another")) == "TOKEN_PROOF"
    assert code(HOLDER.proof(URL, TOKEN, ath=None)) == "TOKEN_PROOF"
    assert code(HOLDER.proof(URL, TOKEN, ath=1)) == "TOKEN_PROOF"


@pytest.mark.parametrize("header", [{"crit": ["x"]}, {"b64": True}, {"jku": "https://x"}, {"x5c": []}, {"x5u": "y"}])
def test_headers_that_would_mean_something_else(header: dict[str, object]) -> None:
    assert code(HOLDER.proof(URL, TOKEN, header=header)) == "TOKEN_PROOF"


class Once:
    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    async def spend(self, key: bytes, *, seconds: float) -> bool:
        assert 0 < seconds <= 66
        new = key not in self.seen
        self.seen.add(key)
        return new


async def test_dp_15_a_proof_is_spent_by_its_key_address_and_id() -> None:
    proofs = Proofs(Once(), None, time.time)
    proof = proofs.read(HOLDER.proof(URL, TOKEN, jti="12345678"), CALL, TOKEN)
    await proofs.use(proof)
    again = HOLDER.proof(URL + "?x", TOKEN, jti="12345678")  # signed anew, and the address spelt otherwise
    with pytest.raises(TokenError) as caught:
        await proofs.use(proofs.read(again, CALL, TOKEN))
    assert caught.value.code == "TOKEN_PROOF"
    await proofs.use(proofs.read(Holder().proof(URL, TOKEN, jti="12345678"), CALL, TOKEN))
    await proofs.use(proofs.read(HOLDER.proof(URL, TOKEN, jti="12345679"), CALL, TOKEN))


@given(st.text(max_size=80))
def test_any_address_has_a_normal_form_or_none(text: str) -> None:
    found = normal(text)
    assert found is None or normal(found) == found


anything: Callable[[], st.SearchStrategy[object]] = lambda: st.recursive(  # noqa: E731 - one strategy, used twice
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "kid"]), anything()), st.dictionaries(
    st.sampled_from(["jti", "htm", "htu", "iat", "ath", "nonce"]), anything()))  # fmt: skip
def test_anything_that_nobody_signed_is_refused(header: dict[str, object], claims: dict[str, object]) -> None:
    assert code(glue(json.dumps(header), json.dumps(claims), b"s" * 64)) == "TOKEN_PROOF"
