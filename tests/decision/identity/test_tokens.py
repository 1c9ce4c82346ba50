"""Tokens: what is believed, and every abuse of attacks.md section T that this core can meet."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from decision.errors import PolicyLoadError, TokenError
from decision.identity.jose import MAX_TOKEN
from decision.identity.tokens import Verifier, build_verifier
from decision.model import IdentityKey
from tests.decision.identity.support import EC, OKP, RSA, Idp, b64, glue, public, serving, sign

ROLES = {"claim": "groups", "map": {"agents-plan": "planner", "agents-exec": "executor"}}


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    async with serving(Idp()) as idp:
        yield idp


@pytest.fixture
async def verifier(idp: Idp) -> AsyncIterator[Verifier]:
    verifier = build_verifier([{"issuer": idp.issuer, "audience": "twokey", "roles": ROLES}], dev=True)
    yield verifier
    await verifier.close()


async def refused(verifier: Verifier, token: str) -> str:
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token)
    assert not token or token not in str(caught.value)
    return caught.value.code


async def test_a_good_token(idp: Idp, verifier: Verifier) -> None:
    verified = await verifier.verify(idp.token(groups=["agents-plan", "agents-plan", "others"]))
    assert verified.identity == IdentityKey(idp.issuer, "p1")
    assert (verified.roles, verified.actors, verified.token_id, verified.dev) == (("planner",), (), "t1", False)
    assert abs(verified.expires.timestamp() - time.time() - 600) < 5


@pytest.mark.parametrize(
    ("alg", "kid"),
    [
        *((alg, "rsa") for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ES256", "ec"),
        ("Ed25519", "okp"),
    ],
)
async def test_every_algorithm_with_its_key(idp: Idp, verifier: Verifier, alg: str, kid: str) -> None:
    key = {"rsa": RSA, "ec": EC, "okp": OKP}[kid]
    assert (await verifier.verify(idp.token({"alg": alg, "kid": kid}, key))).token_id == "t1"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # making one warns; verifying must not
async def test_eddsa_by_its_old_name(idp: Idp, verifier: Verifier) -> None:
    assert await verifier.verify(idp.token({"alg": "EdDSA", "kid": "okp"}, OKP))


@pytest.mark.parametrize(("alg", "curve"), [("ES384", "P-384"), ("ES512", "P-521")])
async def test_larger_curves(idp: Idp, verifier: Verifier, alg: str, curve: str) -> None:
    key = ECKey.generate_key(curve)  # type: ignore[arg-type]
    idp.jwks = {"keys": [public(key, "k")]}
    assert await verifier.verify(idp.token({"alg": alg, "kid": "k"}, key))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
async def test_types_of_access_tokens(idp: Idp, verifier: Verifier, typ: str) -> None:
    assert await verifier.verify(idp.token({"typ": typ}))


@pytest.mark.parametrize(
    "typ", [None, "JWT", "jwt", "txntoken+jwt", "dpop+jwt", "id+jwt", "", 1, ["at+jwt"], "at+jwt "]
)
async def test_jt_1_another_artifact_is_no_access_token(idp: Idp, verifier: Verifier, typ: object) -> None:
    header = json.dumps({"alg": "RS256", "kid": "rsa", **({} if typ is None else {"typ": typ})})
    assert await refused(verifier, glue(header, json.dumps(idp.claims()), b"x")) == "TOKEN_TYPE"


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "NONE", "HS256", "HS512", "ES256K", "Ed448", "", None, 1, ["RS256"]]
)
async def test_jt_3_algorithms_that_are_never_believed(idp: Idp, verifier: Verifier, alg: object) -> None:
    header = json.dumps({"alg": alg, "typ": "at+jwt", "kid": "rsa"})
    for signature in (b"", b"x"):
        assert await refused(verifier, glue(header, json.dumps(idp.claims()), signature)) == "TOKEN_ALG"
    assert idp.hits == []


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # the abuse itself warns
async def test_a_public_key_is_no_shared_secret(idp: Idp, verifier: Verifier) -> None:
    numbers = RSA.public_key
    for secret in (
        numbers.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        numbers.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(RSA.as_dict(private=False)).encode(),
    ):
        key = OctKey.import_key(b64(secret))
        assert await refused(verifier, idp.token({"alg": "HS256"}, key)) == "TOKEN_ALG"


@pytest.mark.parametrize(
    ("alg", "kid", "key"), [("RS256", "ec", RSA), ("ES256", "rsa", EC), ("Ed25519", "ec", OKP), ("ES256", "okp", EC)]
)
async def test_an_algorithm_with_another_kind_of_key(
    idp: Idp, verifier: Verifier, alg: str, kid: str, key: RSAKey | ECKey | OKPKey
) -> None:
    assert await refused(verifier, idp.token({"alg": alg, "kid": kid}, key)) == "TOKEN_ALG"


async def test_a_key_pinned_to_an_algorithm(idp: Idp, verifier: Verifier) -> None:
    idp.jwks = {"keys": [public(RSA, "rsa", alg="PS256")]}
    assert await refused(verifier, idp.token()) == "TOKEN_ALG"
    assert await verifier.verify(idp.token({"alg": "PS256"}))


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": 1},
        {"n": "AQAB"},
        {"n": "%"},
        {"kty": "oct"},
    ],
)
async def test_a_key_not_meant_for_this(idp: Idp, verifier: Verifier, members: dict[str, object]) -> None:
    idp.jwks = {"keys": [public(RSA, "rsa", **members)]}
    assert await refused(verifier, idp.token()) == "TOKEN_SIGNATURE"


async def test_a_short_rsa_key_is_not_used(idp: Idp, verifier: Verifier) -> None:
    with pytest.warns(match="2048"):
        weak = RSAKey.generate_key(1024)
    idp.jwks = {"keys": [public(weak, "rsa")]}
    assert await refused(verifier, idp.token(key=weak)) == "TOKEN_SIGNATURE"


async def test_forged(idp: Idp, verifier: Verifier) -> None:
    good = idp.token()
    head, _, signature = good.split(".")
    swapped = f"{head}.{b64(json.dumps(idp.claims(sub='alice')))}.{signature}"
    assert await refused(verifier, swapped) == "TOKEN_SIGNATURE"
    assert await refused(verifier, idp.token(key=RSAKey.generate_key(2048))) == "TOKEN_SIGNATURE"
    assert await refused(verifier, f"{good[:-8]}AAAAAAAA") == "TOKEN_SIGNATURE"
    assert await refused(verifier, f"{head}.{good.split('.')[1]}.") == "TOKEN_SIGNATURE"
    assert await verifier.verify(good)


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["b64"], "b64": False},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"x5c": ["AAAA"]},
        {"jwk": RSA.as_dict(private=False)},
    ],
)
async def test_jt_4_keys_that_travel_with_the_token(idp: Idp, verifier: Verifier, header: dict[str, object]) -> None:
    text = json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": "rsa", **header})
    assert await refused(verifier, glue(text, json.dumps(idp.claims()), b"x")) == "TOKEN_MALFORMED"
    assert idp.hits == []


@pytest.mark.parametrize("kid", ["../../keys/x", "' OR 1=1--", "a\u0000b", "http://127.0.0.1:1/", "RSA", "k" * 256])
async def test_jk_5_a_kid_is_a_map_key_only(idp: Idp, verifier: Verifier, kid: str) -> None:
    assert await refused(verifier, idp.token({"kid": kid})) == "TOKEN_SIGNATURE"
    assert set(idp.hits) <= {"/.well-known/openid-configuration", "/keys"}


@pytest.mark.parametrize("kid", [None, "", 1, ["rsa"], "k" * 257])
async def test_a_token_that_names_no_key(idp: Idp, verifier: Verifier, kid: object) -> None:
    header = json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": kid})
    assert await refused(verifier, glue(header, json.dumps(idp.claims()), b"x")) == "TOKEN_SIGNATURE"


HEAD = b64('{"alg":"RS256","typ":"at+jwt","kid":"rsa"}')


def payload(content: str | bytes) -> str:
    return f"{HEAD}.{b64(content)}.x"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        f"{HEAD}.e30",
        f"{HEAD}.e30.x.y",
        f"{HEAD}.e30.x.y.z",  # a JWE
        '{"payload":"e30","signatures":[]}',
        f"{HEAD}=.e30.x",
        f" {HEAD}.e30.x",
        f"{HEAD}\n.e30.x",
        f"é{HEAD}.e30.x",
        f"{HEAD}..x",
        f"{HEAD}.{b64('[]')}.x",
        f"{HEAD}.{b64('nonsense')}.x",
        payload("[" * 9000),
        payload('{"a":' * 2000),
        payload('{"sub":"a","sub":"b"}'),
        payload('{"act":{"sub":"a","sub":"b"}}'),
        payload('{"exp":NaN}'),
        payload('{"exp":1e999}'),
        payload('{"exp":-Infinity}'),
        payload('{"exp":' + "9" * 5000 + "}"),
        payload(b'{"sub":"' + bytes([0xFF]) + b'"}'),
        payload(r'{"sub":"\ud800"}'),
        b64('{"alg":"RS256","alg":"RS256","typ":"at+jwt","kid":"rsa"}') + ".e30.x",
        "a" * (MAX_TOKEN + 1),
    ],
)
async def test_what_is_not_a_compact_token(verifier: Verifier, token: str) -> None:
    assert await refused(verifier, token) == "TOKEN_MALFORMED"


async def test_no_token(verifier: Verifier) -> None:
    assert await refused(verifier, "") == "TOKEN_MISSING"


async def test_the_size_limit(idp: Idp, verifier: Verifier) -> None:
    room = (MAX_TOKEN - len(idp.token(extra=""))) * 3 // 4
    assert await verifier.verify(idp.token(extra="x" * (room - 4)))
    assert await refused(verifier, idp.token(extra="x" * (room + 8))) == "TOKEN_MALFORMED"


def later(seconds: int) -> Callable[[], int]:
    """A time counted from when the test runs, which may be long after it was collected."""
    return lambda: int(time.time()) + seconds


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": later(-31)}, "TOKEN_EXPIRED"),
        ({"exp": 0}, "TOKEN_EXPIRED"),
        ({"nbf": later(300)}, "TOKEN_NOT_YET"),
        ({"iat": later(300)}, "TOKEN_NOT_YET"),
        ({"exp": None}, "TOKEN_CLAIMS"),
        ({"iat": None}, "TOKEN_CLAIMS"),
        ({"exp": lambda: str(later(600)())}, "TOKEN_CLAIMS"),
        ({"exp": True}, "TOKEN_CLAIMS"),
        ({"exp": -1}, "TOKEN_CLAIMS"),
        ({"exp": 10**15}, "TOKEN_CLAIMS"),
        ({"exp": lambda: [later(600)()]}, "TOKEN_CLAIMS"),
        ({"iat": "now"}, "TOKEN_CLAIMS"),
        ({"nbf": "now"}, "TOKEN_CLAIMS"),
        ({"aud": "other"}, "TOKEN_AUDIENCE"),
        ({"aud": "twokey.evil"}, "TOKEN_AUDIENCE"),
        ({"aud": "Twokey"}, "TOKEN_AUDIENCE"),
        ({"aud": []}, "TOKEN_AUDIENCE"),
        ({"aud": ["twokey", 1]}, "TOKEN_AUDIENCE"),
        ({"aud": {"twokey": 1}}, "TOKEN_AUDIENCE"),
        ({"aud": None}, "TOKEN_AUDIENCE"),
        ({"iss": None}, "TOKEN_ISSUER"),
        ({"iss": ["x"]}, "TOKEN_ISSUER"),
        ({"iss": "https://stranger.example"}, "TOKEN_ISSUER"),
        ({"iss": "urn:twokey:dev"}, "TOKEN_ISSUER"),
        ({"sub": None}, "TOKEN_CLAIMS"),
        ({"sub": ""}, "TOKEN_CLAIMS"),
        ({"sub": 1}, "TOKEN_CLAIMS"),
        ({"sub": "a\nb"}, "TOKEN_CLAIMS"),
        ({"sub": "x" * 1025}, "TOKEN_CLAIMS"),
        ({"client_id": None}, "TOKEN_CLAIMS"),
        ({"jti": None}, "TOKEN_CLAIMS"),
        ({"cnf": {"jkt": "x"}}, "TOKEN_CLAIMS"),
        ({"groups": "agents-plan"}, "TOKEN_CLAIMS"),
        ({"groups": {"agents-plan": True}}, "TOKEN_CLAIMS"),
        ({"groups": ["agents-plan", 1]}, "TOKEN_CLAIMS"),
        ({"groups": ["x"] * 257}, "TOKEN_CLAIMS"),
    ],
)
async def test_jt_2_claims_that_refuse(idp: Idp, verifier: Verifier, changes: dict[str, object], code: str) -> None:
    claims = {name: value() if callable(value) else value for name, value in changes.items()}
    assert await refused(verifier, idp.token(None, RSA, **claims)) == code


@pytest.mark.parametrize("suffix", ["/", ":80", "/x", "#"])
async def test_the_issuer_byte_for_byte(idp: Idp, verifier: Verifier, suffix: str) -> None:
    assert await refused(verifier, idp.token(iss=idp.issuer + suffix)) == "TOKEN_ISSUER"
    assert await refused(verifier, idp.token(iss=idp.issuer.upper())) == "TOKEN_ISSUER"


async def test_leeway(idp: Idp, verifier: Verifier) -> None:
    now = int(time.time())
    assert await verifier.verify(idp.token(exp=now - 20))
    assert await verifier.verify(idp.token(nbf=now + 20, iat=now + 20))
    assert await verifier.verify(idp.token(exp=now + 60.5, aud=["other", "twokey"]))


@pytest.mark.parametrize("groups", [None, [], ["AGENTS-PLAN"], ["planner"], ["agents-plаn"], ["agents-plan "]])
async def test_jt_5_what_the_table_does_not_name_is_no_role(idp: Idp, verifier: Verifier, groups: object) -> None:
    assert (await verifier.verify(idp.token(groups=groups))).roles == ()


async def test_an_issuer_without_a_table_gives_no_role(idp: Idp) -> None:
    verifier = build_verifier([{"issuer": idp.issuer, "audience": "twokey"}], dev=True)
    assert (await verifier.verify(idp.token(roles=["planner"]))).roles == ()
    await verifier.close()


async def test_one_issuers_key_says_nothing_for_another(idp: Idp) -> None:
    """Two issuers, each with a key named `rsa`; and the same role text mapped by one of them only."""
    async with serving(Idp()) as second:
        other = RSAKey.generate_key(2048)
        second.jwks = {"keys": [public(other, "rsa")]}
        verifier = build_verifier(
            [
                {"issuer": idp.issuer, "audience": "twokey", "roles": ROLES},
                {"issuer": second.issuer, "audience": "twokey2", "roles": {"claim": "groups", "map": {}}},
            ],
            dev=True,
        )
        assert await refused(verifier, idp.token(iss=second.issuer, aud="twokey2")) == "TOKEN_SIGNATURE"
        assert await refused(verifier, second.token(iss=idp.issuer, key=other)) == "TOKEN_SIGNATURE"
        assert await refused(verifier, second.token(key=other)) == "TOKEN_AUDIENCE"
        assert (await verifier.verify(second.token(key=other, aud="twokey2"))).roles == ()
        await verifier.close()


def chain(*actors: dict[str, object]) -> dict[str, object]:
    built: dict[str, object] = {}
    for actor in reversed(actors):
        built = {**actor, **({"act": built} if built else {})}
    return built


async def test_the_actor_chain_current_actor_first(idp: Idp, verifier: Verifier) -> None:
    act = chain({"iss": "a", "sub": "executor"}, {"iss": "b", "sub": "planner", "exp": 1, "aud": "x"})
    verified = await verifier.verify(idp.token(act=act))
    assert verified.actors == (IdentityKey("a", "executor"), IdentityKey("b", "planner"))
    eight = chain(*({"iss": "a", "sub": f"s{n}"} for n in range(8)))
    assert len((await verifier.verify(idp.token(act=eight))).actors) == 8


@pytest.mark.parametrize(
    "act",
    [
        {"sub": "x"},
        {"iss": "a"},
        {},
        [],
        "x",
        False,
        {"iss": "a", "sub": 1},
        {"iss": "a", "sub": "x", "act": None},
        {"iss": "a", "sub": "x", "act": {"sub": "y"}},
        chain({"iss": "a", "sub": "x"}, {"iss": "a", "sub": "y"}, {"iss": "a", "sub": "x"}),
        chain(*({"iss": "a", "sub": f"s{n}"} for n in range(9))),
        chain(*({"iss": "a", "sub": f"s{n}"} for n in range(200))),
    ],
)
async def test_broken_chains(idp: Idp, verifier: Verifier, act: object) -> None:
    assert await refused(verifier, idp.token(act=act)) == "TOKEN_CLAIMS"


async def test_an_actor_is_known_by_issuer_and_subject(idp: Idp, verifier: Verifier) -> None:
    """Of another issuer the same text is somebody else, in the chain and towards the subject."""
    act = chain({"iss": "a", "sub": "p1"}, {"iss": "b", "sub": "p1"})
    verified = await verifier.verify(idp.token(act=act))
    assert [verified.identity, *verified.actors] == [IdentityKey(one, "p1") for one in (idp.issuer, "a", "b")]
    assert len({verified.identity, *verified.actors}) == 3


async def test_an_explicit_null_actor_and_one_that_is_the_subject(idp: Idp, verifier: Verifier) -> None:
    header: dict[str, object] = {"alg": "RS256", "kid": "rsa"}
    for act in (None, {"iss": idp.issuer, "sub": "p1"}):
        token = sign(json.dumps({**idp.claims(), "act": act}), header, RSA)
        assert await refused(verifier, token) == "TOKEN_CLAIMS"


@pytest.mark.parametrize(
    "issuer",
    [
        {"issuer": "http://idp.example", "audience": "twokey"},
        {"issuer": "urn:twokey:dev", "audience": "twokey"},
        {"issuer": "", "audience": "twokey"},
        {"audience": "twokey"},
        {"issuer": "https://i", "audience": ""},
        {"issuer": "https://i"},
        {"issuer": "https://i", "audience": "t", "profile": "id-token"},
        {"issuer": "https://i", "audience": "t", "roles": {"claim": "g"}},
        {"issuer": "https://i", "audience": "t", "roles": {"claim": "g", "map": {"a": 1}}},
        {"issuer": "https://i", "audience": "t", "roles": "planner"},
    ],
)
def test_issuers_that_are_refused_at_start(issuer: dict[str, object]) -> None:
    with pytest.raises(PolicyLoadError, match=r"identity\.issuers\[0\]"):
        build_verifier([issuer], dev=True)


def test_http_is_for_loopback_in_dev_only() -> None:
    local = {"issuer": "http://127.0.0.1:9", "audience": "t"}
    assert build_verifier([local], dev=True)
    with pytest.raises(PolicyLoadError, match="https"):
        build_verifier([local], dev=False)
    with pytest.raises(PolicyLoadError, match="twice"):
        build_verifier([local, local], dev=True)
