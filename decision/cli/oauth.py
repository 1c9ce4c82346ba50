"""How a person gets a token at the command line: OAuth 2.0 as a public client, by hand over httpx.

Two ways: the authorization code with PKCE, answered to a port of this machine's loopback (RFC 6749, 7636, 8252, 9207),
and the device grant, for where no browser is (RFC 8628). Where the provider binds tokens to keys (RFC 9449), the token
is bound to one made for this log-in. It is four forms that are posted; a library of clients would bring sessions, its
own storage and frameworks, and leave the binding to us. An ID token that comes along is not looked at.
"""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc.jwk import ECKey

from decision.cli.dpop import Signer
from decision.cli.errors import CliError, UnreachableError
from decision.cli.schema import is_loopback

TIMEOUT_S: Final = 10.0
MAX_BODY: Final = 256 * 1024
MAX_INTERVAL_S: Final = 60
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_TEXT: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Which public client asks, and for what; resource and parameters as the configuration's `login` has them."""

    issuer: str
    client: str
    scopes: tuple[str, ...] = ("openid",)
    resource: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> dict[str, str]:
        found = {**self.parameters, "client_id": self.client}
        if self.scopes:
            found["scope"] = " ".join(self.scopes)
        if self.resource:
            found["resource"] = self.resource
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What its discovery document says; "" for what it has not."""

    issuer: str
    authorization: str
    token: str
    device: str
    revocation: str
    binds: bool
    names_itself: bool  # RFC 9207: its answers to the redirect carry `iss`


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """expires: seconds since 1970; 0 where the provider doesn't say."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires: int
    bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    code: str = field(repr=False)
    user_code: str
    uri: str
    complete: str
    interval: int
    expires_s: int


class OAuth:
    """One client at one provider. `signer`: of the key that the token is to be bound to, None where it can't be."""

    def __init__(self, http: httpx.Client, client: Client, provider: Provider, signer: Signer | None) -> None:
        self._http = http
        self._client = client
        self._signer = signer if provider.binds else None
        self._nonce = ""
        self.provider = provider

    # The authorization code

    def code(self, redirect: str, show: Callable[[str], None], wait: Callable[[str], str]) -> Tokens:
        """`show` the address for the browser; `wait` for the query that it comes back with, which
        holds this state. Raises CliError."""
        if not self.provider.authorization:
            raise CliError("the issuer has no page to log in at", next_step="try `twokey login --device`")
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        asked = {
            **self._client.asked,
            "response_type": "code",
            "redirect_uri": redirect,
            "state": state,
            "code_challenge": _b64(sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        if self._signer is not None:
            asked["dpop_jkt"] = self._signer.key.thumbprint()
        separator = "&" if urlsplit(self.provider.authorization).query else "?"
        show(f"{self.provider.authorization}{separator}{urlencode(asked)}")
        code = self._answered(wait(state), state)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        return self._tokens(self._granted(form))

    def _answered(self, query: str, state: str) -> str:
        """The code. Raises CliError: it is no answer to this question, or a refusal."""
        found = parse_qs(query, keep_blank_values=True, max_num_fields=32)
        if any(len(values) != 1 for values in found.values()):
            raise CliError("the issuer's answer names something twice")
        said = {name: values[0] for name, values in found.items()}
        if not secrets.compare_digest(said.get("state", "").encode(), state.encode()):
            raise CliError("the answer is to another log-in than this one", next_step="begin again")
        if said.get("iss", self.provider.issuer) != self.provider.issuer or (
            self.provider.names_itself and "iss" not in said
        ):
            raise CliError("the answer is from another issuer than the one that was asked")
        if "error" in said:
            raise _refused(said)
        if not said.get("code"):
            raise CliError("the issuer answered without a code")
        return said["code"]

    # The device grant

    def device(self) -> Device:
        """Raises CliError."""
        if not self.provider.device:
            raise CliError("the issuer has no device log-in", next_step="log in with a browser: `twokey login`")
        status, said = self._post(self.provider.device, self._client.asked)
        code, user_code, uri = (said.get(name) for name in ("device_code", "user_code", "verification_uri"))
        if status != httpx.codes.OK or not isinstance(code, str) or not isinstance(user_code, str):
            raise _refused(said)
        complete = said.get("verification_uri_complete")
        return Device(
            code=code,
            user_code=user_code,
            uri=_address(uri, "verification_uri"),
            complete=_address(complete, "verification_uri_complete") if complete is not None else "",
            interval=min(max(1, _number(said.get("interval"), 5)), MAX_INTERVAL_S),
            expires_s=min(max(1, _number(said.get("expires_in"), 300)), 1800),
        )

    def poll(self, device: Device, *, sleep: Callable[[float], None], now: Callable[[], float]) -> Tokens:
        """Until the person has answered elsewhere. Raises CliError: they refused, or didn't answer in time."""
        interval, until = device.interval, now() + device.expires_s
        while now() < until:
            sleep(interval)
            form = {"grant_type": DEVICE_GRANT, "device_code": device.code, **self._client.asked}
            status, said = self._bound(form)
            error = said.get("error")
            if status == httpx.codes.OK:
                return self._tokens(said)
            if error == "slow_down":
                interval = min(interval + 5, MAX_INTERVAL_S)
            elif error != "authorization_pending":
                raise _refused(said)
        raise CliError("nobody confirmed the code in time", next_step="begin again")

    # Later

    def refresh(self, token: str) -> Tokens:
        """Raises CliError."""
        resource = {"resource": self._client.resource} if self._client.resource else {}
        found = self._tokens(self._granted({"grant_type": "refresh_token", "refresh_token": token, **resource}))
        if found.refresh:
            return found
        return Tokens(access=found.access, refresh=token, expires=found.expires, bound=found.bound)

    def revoke(self, token: str, hint: str) -> bool:
        """False where the provider can't, or didn't."""
        if not self.provider.revocation:
            return False
        form = {"token": token, "token_type_hint": hint, "client_id": self._client.client}
        return self._post(self.provider.revocation, form)[0] == httpx.codes.OK

    def _granted(self, form: Mapping[str, str]) -> Mapping[str, object]:
        status, said = self._bound({**form, "client_id": self._client.client})
        if status != httpx.codes.OK:
            raise _refused(said)
        return said

    def _bound(self, form: Mapping[str, str]) -> tuple[int, Mapping[str, object]]:
        """A question to the token endpoint, with the proof of our key; once more where a nonce is wanted."""
        status, said = self._post(self.provider.token, form)
        if said.get("error") == "use_dpop_nonce" and self._nonce:
            status, said = self._post(self.provider.token, form)
        return status, said

    def _tokens(self, said: Mapping[str, object]) -> Tokens:
        access, kind, refresh = said.get("access_token"), said.get("token_type"), said.get("refresh_token", "")
        if not isinstance(access, str) or not access.isascii() or not access.isprintable() or len(access) > _TEXT:
            raise CliError("the issuer gave no access token")
        if not isinstance(kind, str) or kind.lower() not in {"bearer", "dpop"} or not isinstance(refresh, str):
            raise CliError("the issuer gave a token of a kind that is not known here")
        lives = _number(said.get("expires_in"), 0)
        bound = kind.lower() == "dpop"
        if bound and self._signer is None:
            raise CliError("the issuer bound the token to a key that nobody has")
        return Tokens(access=access, refresh=refresh, expires=int(time.time()) + lives if lives else 0, bound=bound)

    def _post(self, url: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, object]]:
        headers = {"Accept": "application/json"}
        if self._signer is not None and url == self.provider.token:
            headers["DPoP"] = self._signer.proof(url, "", self._nonce)
        status, answered, said = _ask(self._http, "POST", url, form, headers)
        self._nonce = answered.get("DPoP-Nonce", self._nonce)
        return status, said


@contextmanager
def connected() -> Iterator[httpx.Client]:
    """No redirects; a proxy of the environment's is used, as everywhere at a person's own machine."""
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as http:
        yield http


def discover(http: httpx.Client, issuer: str) -> Provider:
    """OpenID Connect Discovery 1.0. Raises CliError: it is another issuer, or an address is not https."""
    _address(issuer, "issuer")
    status, _, said = _ask(http, "GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration", None, {})
    if status != httpx.codes.OK or said.get("issuer") != issuer:
        raise CliError(f"{issuer} does not say that it is this issuer", next_step="write it exactly as the issuer does")

    def at(name: str) -> str:
        return _address(said[name], name) if said.get(name) is not None else ""

    return Provider(
        issuer=issuer,
        authorization=at("authorization_endpoint"),
        token=_address(said.get("token_endpoint"), "token_endpoint"),
        device=at("device_authorization_endpoint"),
        revocation=at("revocation_endpoint"),
        binds="ES256" in _listed(said.get("dpop_signing_alg_values_supported")),
        names_itself=said.get("authorization_response_iss_parameter_supported") is True,
    )


def new_key() -> Signer:
    return Signer(ECKey.generate_key("P-256"), "ES256")


def _ask(
    http: httpx.Client, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
) -> tuple[int, httpx.Headers, Mapping[str, object]]:
    """Raises UnreachableError, CliError: the answer is too large. What is no JSON object is an empty one."""
    content = bytearray()
    try:
        with http.stream(method, url, data=form, headers=headers) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BODY:
                    raise CliError("the issuer's answer is too large")
        said = httpx.Response(200, content=bytes(content)).json() if content else {}
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnreachableError(
            f"the issuer does not answer: {type(error).__name__}", next_step="is its address right?"
        ) from None
    except (ValueError, RecursionError):
        said = {}
    return response.status_code, response.headers, said if isinstance(said, dict) else {}


def _address(value: object, name: str) -> str:
    url = urlsplit(value) if isinstance(value, str) and value.isprintable() else None
    if not isinstance(value, str) or url is None or not url.hostname or url.username is not None or url.fragment:
        raise CliError(f"the issuer's {name} is no address")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname)):
        raise CliError(f"the issuer's {name} is not https")
    return value


def _refused(said: Mapping[str, object]) -> CliError:
    error, more = said.get("error"), said.get("error_description")
    words = str(error)[:200] if isinstance(error, str) else "no reason given"
    return CliError(f"the issuer refused: {words}" + (f" ({str(more)[:400]})" if isinstance(more, str) else ""))


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else otherwise


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _b64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
