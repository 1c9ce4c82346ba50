"""What each profile takes and refuses: tokens shaped as the platforms say, and each claim that decides, without."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

import pytest

from decision.errors import PolicyLoadError, TokenError
from decision.identity.claims import ClaimRules, check_type, read_claims
from decision.identity.profiles import PROFILES, WORKLOADS, Profile
from decision.identity.tokens import Verifier, build_verifier
from decision.model import VerifiedToken
from tests.decision.identity.support import Idp, serving

NOW = time.time()  # of what is judged at this very moment; a real clock may be minutes on
COMMON: dict[str, object] = {"iss": "i", "aud": "twokey", "iat": NOW, "exp": NOW + 300, "jti": "j"}
GITHUB: dict[str, object] = {
    **COMMON,
    "sub": "repo:acme/app:ref:refs/heads/main",
    "nbf": NOW - 5,
    "repository": "acme/app",
    "repository_id": "74",
    "repository_owner": "acme",
    "repository_owner_id": "65",
    "workflow_ref": "acme/app/.github/workflows/deploy.yml@refs/heads/main",
    "job_workflow_ref": "acme/app/.github/workflows/deploy.yml@refs/heads/main",
    "run_id": "1",
    "event_name": "push",
    "ref": "refs/heads/main",
}
GITLAB: dict[str, object] = {
    **COMMON,
    "sub": "project_path:acme/app:ref_type:branch:ref:main",
    "namespace_id": "7",
    "project_id": "22",
    "project_path": "acme/app",
    "pipeline_id": "574",
    "job_id": "302",
    "ref": "main",
    "ref_type": "branch",
    "ref_protected": "true",
    "user_login": "alice",
}
KUBERNETES: dict[str, object] = {
    **{name: value for name, value in COMMON.items() if name != "jti"},
    "aud": ["twokey"],
    "sub": "system:serviceaccount:agents:executor",
    "nbf": NOW,
    "kubernetes.io": {
        "namespace": "agents",
        "serviceaccount": {"name": "executor", "uid": "8f1"},
        "pod": {"name": "executor-1", "uid": "a2c"},
    },
}
SPIFFE: dict[str, object] = {**COMMON, "sub": "spiffe://example.org/executor", "exp": NOW + 200, "iat": NOW}
LEGACY: dict[str, object] = {**COMMON, "sub": "s", "azp": "agents", "scope": "openid profile", "typ": "Bearer"}
ALL = {"github": GITHUB, "gitlab": GITLAB, "kubernetes": KUBERNETES, "spiffe": SPIFFE, "legacy-jwt": LEGACY}


def profile(name: str) -> Profile:
    return WORKLOADS[name] if name in WORKLOADS else PROFILES[name]


def read(name: str, changes: Mapping[str, object], **rules: object) -> VerifiedToken:
    claims = {key: value for key, value in {**ALL[name], **changes}.items() if value is not None}
    made = ClaimRules(issuer="i", audience="twokey", profile=profile(name), **{"roles_claim": "", **rules})  # type: ignore[arg-type] # rules by name
    return read_claims(claims, made, now=NOW, text="a.b.c")


def code(name: str, changes: Mapping[str, object], **rules: object) -> str:
    try:
        read(name, changes, **rules)
    except TokenError as error:
        return error.code
    return ""


@pytest.mark.parametrize("name", ALL)
def test_a_token_as_the_platform_makes_it(name: str) -> None:
    assert read(name, {}).token_id
    assert read(name, {}).client
    for typ in ("", "jwt"):
        check_type(typ, ClaimRules(issuer="i", audience="a", roles_claim="", profile=profile(name)))


def test_a_token_without_an_id_is_known_by_its_own_text() -> None:
    assert len(read("kubernetes", {}).token_id) == 64
    assert read("kubernetes", {"jti": "x"}).token_id == "x"


@pytest.mark.parametrize("name", [*ALL, "rfc9068"])
@pytest.mark.parametrize("claim", ["nonce", "at_hash", "c_hash", "s_hash", "events"])
def test_an_id_token_is_refused_in_all(name: str, claim: str) -> None:
    claims = {**COMMON, "sub": "s", "client_id": "c", **ALL.get(name, {}), claim: "x"}
    rules = ClaimRules(issuer="i", audience="twokey", roles_claim="", profile=profile(name))
    with pytest.raises(TokenError) as caught:
        read_claims(claims, rules, now=NOW)
    assert caught.value.code == "TOKEN_TYPE"


@pytest.mark.parametrize(
    ("name", "claim"),
    [(name, claim) for name in ("github", "gitlab") for claim in WORKLOADS[name].required]
    + [("kubernetes", "kubernetes.io"), ("gitlab", "ref_protected")],
)
def test_what_a_workload_must_say(name: str, claim: str) -> None:
    assert code(name, {claim: None}) == "TOKEN_CLAIMS"


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("claim", ["auth_time", "amr", "acr", "azp", "email", "preferred_username"])
def test_what_a_workload_must_not_say(name: str, claim: str) -> None:
    assert code(name, {claim: "x"}) == "TOKEN_TYPE"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("github", {"sub": "repo:acme/other:ref:refs/heads/main"}),
        ("github", {"sub": "repo:acme/app2:ref:x"}),
        ("github", {"repository": "app"}),
        ("github", {"sub": "x"}),
        ("gitlab", {"sub": "project_path:acme/other:ref_type:branch:ref:main"}),
        ("gitlab", {"ref_protected": "maybe"}),
        ("kubernetes", {"sub": "system:serviceaccount:agents:planner"}),
        ("kubernetes", {"sub": "system:serviceaccount:kube-system:executor"}),
        ("kubernetes", {"kubernetes.io": {"namespace": "agents", "serviceaccount": {"name": "executor"}}}),
        ("kubernetes", {"kubernetes.io": []}),
        ("kubernetes", {"kubernetes.io/serviceaccount/namespace": "agents"}),
        ("github", {"exp": NOW + 86_500}),
        ("kubernetes", {"exp": NOW + 31_536_000}),
    ],
)
def test_a_workload_that_contradicts_itself_or_lives_too_long(name: str, changes: dict[str, object]) -> None:
    assert code(name, changes) == "TOKEN_CLAIMS"


def test_a_workload_is_for_one_audience_and_what_the_operator_demands() -> None:
    assert code("kubernetes", {"aud": ["twokey", "https://kubernetes.default.svc"]}) == "TOKEN_AUDIENCE"
    demanded = {"demanded": {"ref": "refs/heads/main", "repository_owner_id": "65"}}
    assert code("github", {}, **demanded) == ""
    assert code("github", {"ref": "refs/heads/evil"}, **demanded) == "TOKEN_CLAIMS"
    assert code("github", {"repository_owner_id": "66"}, **demanded) == "TOKEN_CLAIMS"


def test_a_workloads_role_is_by_one_text() -> None:
    table = {"roles_claim": "repository", "role_map": {"acme/app": "executor"}}
    assert read("github", {}, **table).roles == ("executor",)
    other = {"repository": "acme/app2", "sub": "repo:acme/app2:ref:x"}
    assert read("github", other, **table).roles == ()
    assert code("legacy-jwt", {"groups": "x"}, roles_claim="groups") == "TOKEN_CLAIMS"


@pytest.mark.parametrize("changes", [{"scope": None}, {"azp": None}, {"typ": "ID"}, {"typ": "Refresh"}, {"typ": 1}])
def test_what_makes_a_legacy_token_an_access_token(changes: dict[str, object]) -> None:
    assert code("legacy-jwt", changes) == "TOKEN_TYPE"


def test_a_legacy_token_of_other_makes() -> None:
    entra = {
        "scope": None,
        "azp": None,
        "typ": None,
        "scp": "twokey:crm:execute",
        "appid": "c",
        "jti": None,
        "uti": "u",
    }
    found = read("legacy-jwt", entra)
    assert (found.token_id, found.client, found.scopes) == ("u", "c", ("twokey:crm:execute",))
    assert read("legacy-jwt", {"scp": ["twokey:*:plan"]}).scopes == ("twokey:*:plan",)


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    async with serving(Idp()) as idp:
        yield idp


async def test_the_profile_is_the_issuers_own(idp: Idp) -> None:
    async def found(token: str, **issuer: object) -> str:
        verifier: Verifier = build_verifier([{"issuer": idp.issuer, "audience": "twokey", **issuer}], dev=True)
        try:
            await verifier.verify(token)
        except TokenError as error:
            return error.code
        finally:
            await verifier.close()
        return ""

    plain = idp.token({"typ": "JWT"}, scope="x")
    assert await found(plain) == "TOKEN_TYPE"
    assert await found(plain, profile="legacy-jwt") == ""
    assert await found(idp.token(), profile="workload", platform="github") == "TOKEN_TYPE"
    now = time.time()
    fresh = {"iat": now, "nbf": now, "exp": now + 300, "iss": idp.issuer, "groups": None, "client_id": None}
    job = idp.token({"typ": "JWT"}, **{**GITHUB, **fresh})
    assert await found(job, profile="workload", platform="github") == ""
    assert await found(job, profile="workload", platform="gitlab") == "TOKEN_CLAIMS"
    assert await found(job, profile="legacy-jwt") == "TOKEN_TYPE"


@pytest.mark.parametrize(
    "issuer",
    [
        {"profile": "workload"},
        {"profile": "workload", "platform": "jenkins"},
        {"profile": "rfc9068", "platform": "github"},
        {"profile": "workload", "platform": "spiffe"},
        {"profile": "workload", "platform": "github", "trust_domain": "td"},
        {"profile": "workload", "platform": "spiffe", "trust_domain": "spiffe://td"},
        {"profile": "workload", "platform": "spiffe", "trust_domain": 7},
        {"profile": "rfc9068", "trust_domain": "td"},
        {"claims": ["x"]},
        {"claims": {"ref": 1}},
        {"issuer": "https://user@idp.example"},
        {"issuer": "https://idp.example?x"},
        {"issuer": "urn:twokey:exchange"},
    ],
)
def test_profiles_that_are_refused_at_start(issuer: dict[str, object]) -> None:
    with pytest.raises(PolicyLoadError, match=r"identity\.issuers\[0\]"):
        build_verifier([{"issuer": "https://idp.example", "audience": "t", **issuer}], dev=True)
