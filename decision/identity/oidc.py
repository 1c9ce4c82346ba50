"""Logging a person in at a browser: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636, RFC 9700).

This service is then a client, and what it gets is an ID token: the one kind that `tokens.py` refuses everywhere else.
It is believed for what it says of the log-in alone, never kept, and asked for by `state` (this browser asked), `nonce`
(this very log-in was answered) and the code's verifier (nobody else can redeem it).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode

import httpx

from decision.errors import TokenError
from decision.identity.fetching import Fetcher, may_fetch
from decision.identity.jose import read_token, verify_signature
from decision.identity.keys import DiscoveredKeys
from decision.model import IdentityKey

LEEWAY_S: Final = 30
MAX_AGE_S: Final = 600  # of an ID token: it was made for this log-in, a moment ago
_MAX_TEXT: Final = 1024
_MAX_ROLES: Final = 256
_KEPT_S: Final = 600.0  # how long a discovery document is


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """How this service is registered at its issuer. secret: "" for a public client, which PKCE protects too."""

    issuer: str
    client: str
    secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ("openid",)
    roles_claim: str = ""
    role_map: Mapping[str, str] = field(default_factory=dict)
    loopback: bool = False
    private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a log-in that was begun is finished with. max_age: how old the log-in may be at most, in seconds; None where
    that wasn't asked. acr: one of these was asked for; empty for none."""

    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    max_age: int | None = None
    acr: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """Who logged in. auth_time: when they last showed who they are, as far as the issuer says it; else when the token
    was made for an interactive prompt that was demanded, and None where nothing was."""

    identity: IdentityKey
    roles: tuple[str, ...]
    token_id: str
    issued: datetime
    auth_time: datetime | None
    acr: str


class LogIn:
    """One issuer's log-ins. `redirect` is where it sends the browser back to."""

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._fetcher = Fetcher(loopback=client.loopback, private=client.private)
        self._keys = DiscoveredKeys(client.issuer, loopback=client.loopback, private=client.private)
        self._document: Mapping[str, object] = {}
        self._fetched = 0.0

    async def begin(self, *, state: str, redirect: str, begun: Begun) -> str:
        """The address to send the browser to. Raises TokenError TOKEN_KEYS_UNAVAILABLE."""
        asked = {
            "response_type": "code",
            "client_id": self._client.client,
            "redirect_uri": redirect,
            "scope": " ".join(self._client.scopes),
            "state": state,
            "nonce": begun.nonce,
            "code_challenge": challenge(begun.verifier),
            "code_challenge_method": "S256",
        }
        if begun.max_age is not None:
            asked["max_age"] = str(begun.max_age)
            asked["prompt"] = "login"
        if begun.acr:
            asked["acr_values"] = " ".join(begun.acr)
        address = await self._endpoint("authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    async def finish(self, *, code: str, answered_by: str | None, redirect: str, begun: Begun) -> LoggedIn:
        """Redeem the code. answered_by: `iss` of the answer (RFC 9207), None where it had none.

        Raises TokenError, with a code of TokenVerifier's."""
        document = await self._discovered()
        says = document.get("authorization_response_iss_parameter_supported") is True
        if (answered_by is None and says) or (answered_by is not None and answered_by != self._client.issuer):
            raise TokenError("the answer comes from another issuer", code="TOKEN_ISSUER")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": begun.verifier,
            "client_id": self._client.client,
        }
        headers: dict[str, str] = {}
        if self._client.secret:
            del form["client_id"]
            pair = f"{quote(self._client.client, safe='')}:{quote(self._client.secret, safe='')}"  # RFC 6749, 2.3.1
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        try:
            status, answer = await self._fetcher.post_form(await self._endpoint("token_endpoint"), form, headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            raise _unavailable() from None
        token = answer.get("id_token")
        if status != httpx.codes.OK or not isinstance(token, str):
            raise TokenError("the issuer did not redeem the log-in", code="TOKEN_CLAIMS")
        return await self.read(token, access=answer.get("access_token"), begun=begun)

    async def read(self, token: str, *, access: object, begun: Begun) -> LoggedIn:
        """An ID token (section 3.1.3.7). Raises TokenError."""
        unverified = read_token(token)
        if unverified.claims.get("iss") != self._client.issuer:
            raise TokenError("the ID token is another issuer's", code="TOKEN_ISSUER")
        if unverified.typ not in {"", "jwt"}:
            raise TokenError("that is not an ID token", code="TOKEN_TYPE")
        verify_signature(unverified, await self._keys.get(unverified.kid))
        claims = unverified.claims
        issued = self._check(claims, begun)
        if "at_hash" in claims:
            _check_hash(claims["at_hash"], access, unverified.alg)
        return LoggedIn(
            identity=IdentityKey(self._client.issuer, _text(claims, "sub")),
            roles=self._roles(claims),
            token_id=hashlib.sha256(token.encode()).hexdigest(),
            issued=datetime.fromtimestamp(issued, UTC),
            auth_time=_auth_time(claims, begun, self._clock()),
            acr=_acr(claims, begun),
        )

    async def close(self) -> None:
        await self._keys.close()
        await self._fetcher.close()

    def _check(self, claims: Mapping[str, object], begun: Begun) -> float:
        """Audience, times and nonce; when it was issued."""
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience
        ours = self._client.client
        if not isinstance(named, list) or ours not in named or not all(isinstance(one, str) for one in named):
            raise TokenError("the ID token is for another client", code="TOKEN_AUDIENCE")
        if claims.get("azp", ours) != ours or (len(named) > 1 and "azp" not in claims):
            raise TokenError("the ID token was issued to another client", code="TOKEN_AUDIENCE")
        if {"events", "act", "cnf"} & claims.keys():
            raise TokenError("the ID token is not one of a person's log-in", code="TOKEN_TYPE")
        now, issued = self._clock(), _time(claims, "iat")
        if now >= _time(claims, "exp") + LEEWAY_S or now - issued > MAX_AGE_S:
            raise TokenError("the ID token has expired", code="TOKEN_EXPIRED")
        if max(issued, _time(claims, "nbf") if "nbf" in claims else 0.0) > now + LEEWAY_S:
            raise TokenError("the ID token is not valid yet", code="TOKEN_NOT_YET")
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), begun.nonce.encode()):
            raise TokenError("the ID token answers another log-in", code="TOKEN_CLAIMS")
        return issued

    def _roles(self, claims: Mapping[str, object]) -> tuple[str, ...]:
        """By the issuer's own table; what it doesn't name is nothing here."""
        value = claims.get(self._client.roles_claim) if self._client.roles_claim else None
        if not isinstance(value, list):
            return ()
        named = {item for item in value[:_MAX_ROLES] if isinstance(item, str)}
        return tuple(sorted({self._client.role_map[item] for item in named if item in self._client.role_map}))

    async def _endpoint(self, name: str) -> str:
        address = (await self._discovered()).get(name)
        if not isinstance(address, str) or not may_fetch(address, loopback=self._client.loopback) or "#" in address:
            raise _unavailable()
        return address

    async def _discovered(self) -> Mapping[str, object]:
        """The discovery document (OpenID Connect Discovery 1.0, section 4). Raises TokenError."""
        now = self._clock()
        if not self._document or not 0 <= now - self._fetched < _KEPT_S:
            address = f"{self._client.issuer.rstrip('/')}/.well-known/openid-configuration"
            try:
                found = await self._fetcher.get_object(address)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
                raise _unavailable() from None
            if found.get("issuer") != self._client.issuer:
                raise _unavailable()
            self._document, self._fetched = found, now
        return self._document


def begin(*, max_age: int | None = None, acr: tuple[str, ...] = ()) -> Begun:
    """The secrets of a new log-in."""
    return Begun(nonce=secrets.token_urlsafe(32), verifier=secrets.token_urlsafe(48), max_age=max_age, acr=acr)


def challenge(verifier: str) -> str:
    """S256 (RFC 7636, section 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _check_hash(claimed: object, access: object, alg: str) -> None:
    """at_hash (section 3.1.3.6). EdDSA's is not defined there; such a token proves nothing by it and isn't refused."""
    digests: dict[str, Callable[[bytes], bytes]] = {
        "256": lambda data: hashlib.sha256(data).digest(),
        "384": lambda data: hashlib.sha384(data).digest(),
        "512": lambda data: hashlib.sha512(data).digest(),
    }
    digest = digests.get(alg[-3:])
    if digest is None or not isinstance(access, str):
        return
    whole = digest(access.encode())
    wanted = urlsafe_b64encode(whole[: len(whole) // 2]).rstrip(b"=").decode()
    if not isinstance(claimed, str) or not hmac.compare_digest(claimed.encode(), wanted.encode()):
        raise TokenError("the ID token belongs to another access token", code="TOKEN_CLAIMS")


def _auth_time(claims: Mapping[str, object], begun: Begun, now: float) -> datetime | None:
    if "auth_time" not in claims:
        if begun.max_age is not None:  # then it is required (section 2), and without it nothing shows that it was done
            raise TokenError("the issuer doesn't say when you logged in", code="TOKEN_CLAIMS")
        return None
    found = _time(claims, "auth_time")
    if found > now + LEEWAY_S or (begun.max_age is not None and now - found > begun.max_age + LEEWAY_S):
        raise TokenError("the log-in is older than was asked for", code="TOKEN_CLAIMS")
    return datetime.fromtimestamp(found, UTC)


def _acr(claims: Mapping[str, object], begun: Begun) -> str:
    found = claims.get("acr", "")
    if not isinstance(found, str) or len(found) > _MAX_TEXT or (begun.acr and found not in begun.acr):
        raise TokenError("the log-in is not as strong as was asked for", code="TOKEN_CLAIMS")
    return found


def _time(claims: Mapping[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 253_402_300_799:
        raise TokenError(f"the ID token has no usable {name}", code="TOKEN_CLAIMS")
    return value


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or any(ord(char) < 32 for char in value):
        raise TokenError(f"the ID token has no usable {name}", code="TOKEN_CLAIMS")
    return value


def _unavailable() -> TokenError:
    return TokenError("the issuer of log-ins does not answer", code="TOKEN_KEYS_UNAVAILABLE")
