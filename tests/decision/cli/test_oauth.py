"""What an issuer may answer to a log-in at the command line, and what is refused. No network: answers are given."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from decision.cli import oauth
from decision.cli.errors import CliError, UnreachableError
from decision.cli.oauth import Client, OAuth, Provider, Tokens

ISSUER = "https://idp.example"
PROVIDER = Provider(
    issuer=ISSUER,
    authorization=f"{ISSUER}/auth",
    token=f"{ISSUER}/token",
    device=f"{ISSUER}/device",
    revocation=f"{ISSUER}/revoke",
    binds=True,
    names_itself=True,
)
GIVEN = {"access_token": "a.b.c", "token_type": "DPoP", "expires_in": 60, "refresh_token": "r"}
CLIENT = Client(issuer=ISSUER, client="cli", scopes=("openid", "x"), resource="urn:twokey")
Answer = Callable[[httpx.Request], httpx.Response]


def http(answer: Answer) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=False)


def token(said: object, status: int = 200) -> Answer:
    return lambda _: httpx.Response(status, json=said)


def logged_in(
    answer: Answer, back: Callable[[str], str] | None = None, *, provider: Provider = PROVIDER
) -> tuple[Tokens, dict[str, list[str]]]:
    """By code; `back`: the query that the browser comes back with, of the state that was sent."""
    shown: list[str] = []

    def wait(state: str) -> str:
        return back(state) if back else f"code=c&state={state}&iss={ISSUER}"

    with http(answer) as client:
        tokens = OAuth(client, CLIENT, provider, oauth.new_key()).code(
            "http://127.0.0.1:1/callback", shown.append, wait
        )
    return tokens, parse_qs(urlsplit(shown[0]).query)


def test_the_code_is_asked_for_with_pkce_a_state_and_the_key() -> None:
    forms: list[dict[str, list[str]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        forms.append(parse_qs(request.content.decode()))
        assert request.headers["DPoP"].count(".") == 2
        return httpx.Response(200, json=GIVEN)

    tokens, asked = logged_in(answer)
    assert (tokens.access, tokens.refresh, tokens.bound) == ("a.b.c", "r", True)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["resource"] == ["urn:twokey"]
    assert len(asked["state"][0]) >= 32
    assert len(asked["dpop_jkt"][0]) == 43
    assert len(forms[0]["code_verifier"][0]) >= 43
    assert forms[0]["redirect_uri"] == ["http://127.0.0.1:1/callback"]


@pytest.mark.parametrize(
    ("back", "said"),
    [
        (lambda state: f"code=c&state={state}", "another issuer"),
        (lambda state: f"code=c&state={state}&iss=https://evil.example", "another issuer"),
        (lambda state: f"code=c&state={state}x&iss={ISSUER}", "another log-in"),
        (lambda state: f"code=c&iss={ISSUER}", "another log-in"),
        (lambda state: f"code=c&code=d&state={state}&iss={ISSUER}", "twice"),
        (lambda state: f"state={state}&iss={ISSUER}", "without a code"),
        (lambda state: f"error=access_denied&state={state}&iss={ISSUER}", "access_denied"),
    ],
)
def test_an_answer_that_is_none(back: Callable[[str], str], said: str) -> None:
    def never(_: httpx.Request) -> httpx.Response:
        raise AssertionError("no code is exchanged")

    with pytest.raises(CliError, match=said):
        logged_in(never, back)


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"error": "invalid_grant", "error_description": "used"}, 400, "invalid_grant"),
        ({}, 200, "no access token"),
        ([], 200, "no access token"),
        ({**GIVEN, "access_token": "a b\n"}, 200, "no access token"),
        ({**GIVEN, "token_type": "mac"}, 200, "kind"),
        ({**GIVEN, "token_type": None}, 200, "kind"),
        ({**GIVEN, "x": "y" * 300_000}, 200, "too large"),
    ],
)
def test_a_token_endpoint_that_says_something_else(said: object, status: int, words: str) -> None:
    with pytest.raises(CliError, match=words):
        logged_in(token(said, status))


def test_a_token_bound_to_nobodys_key_is_refused() -> None:
    unbound = Provider(**{**{name: getattr(PROVIDER, name) for name in Provider.__slots__}, "binds": False})
    with pytest.raises(CliError, match="nobody has"):
        logged_in(token(GIVEN), provider=unbound)
    assert not logged_in(token({**GIVEN, "token_type": "Bearer"}), provider=unbound)[0].bound


def test_a_nonce_that_is_asked_for_is_used_once() -> None:
    proofs: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        proofs.append(request.headers["DPoP"])
        if len(proofs) == 1:
            return httpx.Response(400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "n1"})
        return httpx.Response(200, json=GIVEN)

    logged_in(answer)
    assert len(proofs) == 2

    def always(_: httpx.Request) -> httpx.Response:
        proofs.append("")
        return httpx.Response(400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "n"})

    with pytest.raises(CliError, match="use_dpop_nonce"):
        logged_in(always)
    assert len(proofs) == 4


DEVICE = {"device_code": "d", "user_code": "AB-CD", "verification_uri": f"{ISSUER}/d", "interval": 2, "expires_in": 60}


def polled(*answers: tuple[int, object]) -> tuple[Tokens, list[float]]:
    slept: list[float] = []
    left = iter([(200, DEVICE), *answers])

    def answer(_: httpx.Request) -> httpx.Response:
        status, said = next(left)
        return httpx.Response(status, json=said)

    with http(answer) as client:
        flow = OAuth(client, CLIENT, PROVIDER, oauth.new_key())
        return flow.poll(flow.device(), sleep=slept.append, now=lambda: sum(slept)), slept


PENDING = (400, {"error": "authorization_pending"})


def test_a_device_is_polled_as_slowly_as_the_issuer_wants() -> None:
    tokens, slept = polled(PENDING, (400, {"error": "slow_down"}), PENDING, (200, GIVEN))
    assert tokens.access == "a.b.c"
    assert slept == [2, 2, 7, 7]


@pytest.mark.parametrize("error", ["access_denied", "expired_token", "invalid_grant"])
def test_a_device_that_was_refused(error: str) -> None:
    with pytest.raises(CliError, match=error):
        polled(PENDING, (400, {"error": error}))


def test_a_code_that_nobody_confirms_ends() -> None:
    with pytest.raises(CliError, match="in time"):
        polled(*[PENDING] * 40)


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": f"{ISSUER}/", "token_endpoint": f"{ISSUER}/t"},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "token_endpoint": "http://idp.example/t"},
        {"issuer": ISSUER, "token_endpoint": "https://u@idp.example/t"},
        {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/t", "authorization_endpoint": "javascript:alert(1)"},
        {"issuer": ISSUER, "token_endpoint": 7},
        [],
    ],
)
def test_a_discovery_document_that_is_not_followed(said: object) -> None:
    with http(token(said)) as client, pytest.raises(CliError):
        oauth.discover(client, ISSUER)


def test_an_issuer_in_the_clear_is_not_asked() -> None:
    def never(_: httpx.Request) -> httpx.Response:
        raise AssertionError

    with http(never) as client, pytest.raises(CliError, match="https"):
        oauth.discover(client, "http://idp.example")


def test_an_issuer_that_is_away_or_redirects() -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("")

    with http(away) as client, pytest.raises(UnreachableError):
        oauth.discover(client, ISSUER)
    deep = httpx.Response(200, content=b"[" * 200_000)
    with http(lambda _: deep) as client, pytest.raises(CliError, match="not say"):
        oauth.discover(client, ISSUER)
    moved = httpx.Response(302, headers={"Location": "http://169.254.169.254/"})
    with http(lambda _: moved) as client, pytest.raises(CliError):
        oauth.discover(client, ISSUER)


def test_what_is_secret_is_not_in_repr() -> None:
    tokens, _ = logged_in(token(GIVEN))
    assert "a.b.c" not in repr(tokens)
    assert json.dumps(GIVEN)[0] == "{"
