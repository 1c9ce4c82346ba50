"""Where keys come from: discovery, its limits, rotation, and issuers that fail in every way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from decision.errors import TokenError
from decision.identity import keys
from decision.identity.claims import ClaimRules
from decision.identity.fetching import is_loopback, may_fetch
from decision.identity.keys import DiscoveredKeys
from decision.identity.tokens import TrustedIssuer, Verifier
from tests import pki
from tests.decision.identity.support import RSA, Handler, Idp, public, serving
from tests.pki import Authority, Pair

DISCOVERY = "/.well-known/openid-configuration"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    async with serving(Idp()) as idp:
        yield idp


@pytest.fixture
async def source(idp: Idp, clock: Clock) -> AsyncIterator[DiscoveredKeys]:
    source = DiscoveredKeys(idp.issuer, loopback=True, monotonic=clock)
    yield source
    await source.close()


async def refused(source: DiscoveredKeys, kid: str = "rsa") -> str:
    with pytest.raises(TokenError) as caught:
        await source.get(kid)
    return caught.value.code


def answer(**fields: object) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(**fields)  # type: ignore[arg-type]

    return handler


async def test_fetched_once_for_many(idp: Idp, source: DiscoveredKeys) -> None:
    found = await asyncio.gather(*(source.get("rsa") for _ in range(50)))
    assert len({id(key) for key in found}) == 1
    assert idp.fetches() == 1


async def test_jk_2_a_flood_of_unknown_kids_is_one_fetch_an_interval(
    idp: Idp, source: DiscoveredKeys, clock: Clock
) -> None:
    await source.get("rsa")
    for number in range(1000):
        assert await refused(source, f"kid{number}") == "TOKEN_SIGNATURE"
    assert idp.fetches() == 1
    clock.now += 10
    for number in range(1000):
        assert await refused(source, f"kid{number}") == "TOKEN_SIGNATURE"
        assert await source.get("rsa")
    assert idp.fetches() == 2


async def test_jk_3_a_new_key_is_usable_after_one_refresh(idp: Idp, source: DiscoveredKeys, clock: Clock) -> None:
    await source.get("rsa")
    clock.now += 11
    idp.jwks = {"keys": [public(RSA, "rsa"), public(RSA, "new")]}
    assert await source.get("new")
    assert idp.fetches() == 2


async def test_a_removed_key_stops_within_ten_minutes(idp: Idp, source: DiscoveredKeys, clock: Clock) -> None:
    await source.get("rsa")
    idp.jwks = {"keys": []}
    clock.now += 599
    assert await source.get("rsa")
    clock.now += 2
    assert await refused(source) == "TOKEN_SIGNATURE"


async def test_jk_4_the_last_good_set_serves_an_hour_of_failure(idp: Idp, source: DiscoveredKeys, clock: Clock) -> None:
    await source.get("rsa")
    idp.handlers["/keys"] = answer(status=500)
    clock.now += 3599
    assert await source.get("rsa")
    clock.now += 2
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"
    clock.now += 11
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"
    del idp.handlers["/keys"]
    clock.now += 11
    assert await source.get("rsa")


async def test_known_keys_do_not_wait_for_an_issuer_known_to_hang(
    idp: Idp, source: DiscoveredKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.get("rsa")
    release = asyncio.Event()

    async def hang(_request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=500)

    idp.handlers[DISCOVERY] = answer(status=500)
    clock.now += 700
    assert await source.get("rsa")  # waits for the first failure
    idp.handlers[DISCOVERY] = hang
    clock.now += 11
    async with asyncio.timeout(1):
        assert await source.get("rsa")
    release.set()


async def test_a_caller_that_hangs_up_does_not_stop_the_fetch(idp: Idp, source: DiscoveredKeys) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        begun.set()
        await release.wait()
        return web.json_response({"issuer": idp.issuer, "jwks_uri": f"{idp.url}/keys"})

    idp.handlers[DISCOVERY] = slow
    async with asyncio.TaskGroup() as group:
        caller = group.create_task(source.get("rsa"))
        await begun.wait()
        caller.cancel()
        release.set()
    assert await source.get("rsa")
    assert idp.fetches() == 1


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
@pytest.mark.parametrize(
    "handler",
    [
        answer(status=500),
        answer(status=404),
        answer(status=204),
        answer(status=302, headers={"Location": "http://169.254.169.254/"}),
        answer(status=307, headers={"Location": "/elsewhere"}),
        answer(text=""),
        answer(text="garbage"),
        answer(text="[]"),
        answer(text="{}"),
        answer(text='{"keys": {}}'),
        answer(text='{"keys": [], "keys": []}'),
        answer(body=b" " * (256 * 1024 + 1)),
        answer(body=b"[" * 200_000),
        answer(body=b"\xff"),
    ],
)
async def test_t13_useless_answers_leave_no_keys(idp: Idp, source: DiscoveredKeys, path: str, handler: Handler) -> None:
    idp.handlers[path] = handler
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"
    assert "/elsewhere" not in idp.hits


async def test_too_many_keys(idp: Idp, source: DiscoveredKeys) -> None:
    idp.jwks = {"keys": [{"kty": "oct"}] * 101}
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"


async def test_t13_an_endless_answer_is_cut(idp: Idp, source: DiscoveredKeys) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 2**30:
            await response.write(b" " * 65_536)
            sent += 65_536
        return response

    idp.handlers["/keys"] = endless
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"
    assert sent < 64 * 2**20


async def test_t13_a_slow_issuer_is_given_up(idp: Idp, source: DiscoveredKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FETCH_DEADLINE_S", 0.2)

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(50):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    idp.handlers[DISCOVERY] = drip
    async with asyncio.timeout(2):
        assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"


async def test_an_issuer_that_is_not_there() -> None:
    source = DiscoveredKeys("http://127.0.0.1:1", loopback=True)
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"
    await source.close()


@pytest.mark.parametrize("suffix", ["/", "x", "?"])
async def test_jk_1_discovery_must_name_the_issuer_byte_for_byte(idp: Idp, source: DiscoveredKeys, suffix: str) -> None:
    async def other(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"issuer": idp.issuer + suffix, "jwks_uri": f"{idp.url}/keys"})

    idp.handlers[DISCOVERY] = other
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "http://169.254.169.254/k", "ftp://127.0.0.1/k", "//x", "", 1]
)
async def test_keys_are_not_fetched_from_just_anywhere(idp: Idp, source: DiscoveredKeys, address: object) -> None:
    async def other(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"issuer": idp.issuer, "jwks_uri": address})

    idp.handlers[DISCOVERY] = other
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"


async def test_two_keys_of_one_name_are_neither(idp: Idp, source: DiscoveredKeys) -> None:
    idp.jwks = {"keys": [public(RSA, "rsa"), public(RSAKey.generate_key(2048), "rsa"), public(RSA, "other")]}
    assert await refused(source) == "TOKEN_SIGNATURE"
    assert await source.get("other")


async def test_members_that_are_no_keys_are_passed_over(idp: Idp, source: DiscoveredKeys) -> None:
    idp.jwks = {"keys": [1, {}, {"kty": "RSA"}, {"kty": ["RSA"], "kid": "a"}, {"kty": "EC", "kid": "b", "crv": "P-256"},
                         {"kty": "EC", "kid": "c", "crv": ["P-256"]}, public(RSA, "rsa")]}  # fmt: skip
    assert await source.get("rsa")
    for kid in "abc":
        assert await refused(source, kid) == "TOKEN_SIGNATURE"


async def test_a_token_while_keys_are_unavailable_is_refused_as_such(idp: Idp, source: DiscoveredKeys) -> None:
    idp.handlers[DISCOVERY] = answer(status=503)
    rules = ClaimRules(issuer=idp.issuer, audience="twokey", roles_claim="")
    with pytest.raises(TokenError) as caught:
        await Verifier([TrustedIssuer(rules, source)]).verify(idp.token())
    assert caught.value.code == "TOKEN_KEYS_UNAVAILABLE"


def test_addresses() -> None:
    assert may_fetch("https://idp.example/keys", loopback=False)
    assert may_fetch("http://127.0.0.1:8/keys", loopback=True)
    assert not may_fetch("http://127.0.0.1:8/keys", loopback=False)
    assert not may_fetch("http://127.0.0.1.evil.example/", loopback=True)
    assert not may_fetch("http://user@evil.example/", loopback=True)
    assert not may_fetch("https://", loopback=True)
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert is_loopback(host)
    for host in ("", "0.0.0.0", "10.0.0.1", "localhost.evil", "127.1", "::ffff:8.8.8.8"):
        assert not is_loopback(host)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "127.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "nonsense",
    ],
)
async def test_jk_6_an_address_that_is_not_public_is_not_asked(address: str) -> None:
    """Whatever the name is: it is looked up once, judged, and connected to as it was judged."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(f"{host}:{port}")
        return ["93.184.216.34", address]

    source = DiscoveredKeys("https://idp.example", resolve=resolve)
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"
    await source.close()
    assert asked == ["idp.example:443"]


async def test_jk_6_a_private_provider_where_configured_and_its_certificate_all_the_same(idp: Idp) -> None:
    """On loopback, allowed as private: TLS is spoken to it, and fails, because it speaks none."""
    port = int(idp.url.rpartition(":")[2])
    source = DiscoveredKeys(f"https://localhost:{port}", private=True)
    assert await refused(source) == "TOKEN_KEYS_UNAVAILABLE"
    await source.close()
    assert idp.hits == []


async def asked_over_tls(
    folder: Path, shown: Pair, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, int]:
    """What came of a key wanted from https://localhost: "" or the refusal's code; and how many requests it got."""
    roots = folder / "roots.pem"
    roots.write_bytes(trusted.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*shown.write(folder, "idp"))
    async with serving(Idp(), tls=tls) as idp:
        source = DiscoveredKeys(idp.issuer, private=True)
        try:
            await source.get("rsa")
        except TokenError as error:
            return error.code, len(idp.hits)
        finally:
            await source.close()
        return "", len(idp.hits)


async def test_keys_come_over_tls_from_who_has_the_names_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Authority()
    shown = root.leaf(pki.host("localhost"))
    assert await asked_over_tls(tmp_path, shown, root, monkeypatch) == ("", 2)


@pytest.mark.parametrize(
    "fault", ["run out", "not yet", "another name", "the address alone", "another root", "its own"]
)
async def test_t13_a_provider_whose_certificate_is_not_its_own_is_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    root, day = Authority(), timedelta(days=1)
    name = pki.host("localhost")
    shown = {
        "run out": lambda: root.leaf(name, begins=-2 * day, ends=-timedelta(minutes=1)),
        "not yet": lambda: root.leaf(name, begins=timedelta(minutes=10)),
        "another name": lambda: root.leaf(pki.host("idp.example")),
        "the address alone": lambda: root.leaf(pki.address("127.0.0.1")),
        "another root": lambda: Authority("another").leaf(name),
        "its own": lambda: root.leaf(name, self_signed=True),
    }[fault]()
    assert await asked_over_tls(tmp_path, shown, root, monkeypatch) == ("TOKEN_KEYS_UNAVAILABLE", 0)
