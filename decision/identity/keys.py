"""Where an issuer's public keys come from: OpenID Connect discovery and its JWK set, or fixed ones (the dev issuer).

Bounded in every direction: 256 KiB, 5 seconds, no redirect, one fetch per 10 seconds whatever tokens ask for, keys no
older than 10 minutes while the issuer answers, and at most an hour old while it doesn't. `kid` is a map key only.
An address is looked up once for each fetch, judged, and then connected to as it was judged: a name that means this
machine or the provider's own network at the second look would reach it otherwise (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import structlog

from decision.errors import TokenError
from decision.identity.jose import VerificationKey, read_key, strict_object
from decision.identity.tasks import Tasks

MAX_BODY = 256 * 1024
FETCH_DEADLINE_S = 5.0
REFRESH_INTERVAL_S = 10.0
MAX_AGE_S = 600.0
LAST_GOOD_S = 3600.0

_MAX_KEYS = 100
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # host, port: its addresses
_log = structlog.get_logger("decision.identity")


class KeySource(Protocol):
    async def get(self, kid: str) -> VerificationKey:
        """Raises TokenError: TOKEN_SIGNATURE (no such key) or TOKEN_KEYS_UNAVAILABLE."""

    async def close(self) -> None: ...


class FixedKeys:
    """Keys known from the start."""

    def __init__(self, keys: Mapping[str, VerificationKey]) -> None:
        self._keys = keys

    async def get(self, kid: str) -> VerificationKey:
        key = self._keys.get(kid)
        if key is None:
            raise _unknown_key()
        return key

    async def close(self) -> None:
        """Nothing is held."""


class DiscoveredKeys:
    """Keys by OpenID Connect Discovery 1.0, section 4. `loopback` allows plain http to this machine (dev only);
    `private` allows https to addresses that are not public, for a provider on one's own network."""

    def __init__(
        self,
        issuer: str,
        *,
        loopback: bool = False,
        private: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._issuer = issuer
        self._loopback = loopback
        self._private = private or loopback
        self._resolve = resolve or look_up
        self._monotonic = monotonic
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=FETCH_DEADLINE_S,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=0),
            transport=transport,
            verify=ssl.create_default_context(),  # the machine's roots, or those of SSL_CERT_FILE
        )
        self._keys: Mapping[str, VerificationKey] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._failing = False
        self._fetching: asyncio.Event | None = None
        self._tasks = Tasks()

    async def get(self, kid: str) -> VerificationKey:
        if kid not in self._keys or self._older_than(MAX_AGE_S):
            self._begin_fetch()
            # While the issuer is known not to answer, keys that may still be used are used without waiting for it.
            usable = self._failing and kid in self._keys and not self._older_than(LAST_GOOD_S)
            if self._fetching is not None and not usable:
                await self._fetching.wait()  # ends within FETCH_DEADLINE_S
        if self._older_than(LAST_GOOD_S):
            raise TokenError("the issuer's keys can't be fetched", code="TOKEN_KEYS_UNAVAILABLE")
        key = self._keys.get(kid)
        if key is None:
            raise _unknown_key()
        return key

    async def close(self) -> None:
        await self._tasks.close()
        await self._client.aclose()

    def _older_than(self, seconds: float) -> bool:
        return self._fetched is None or self._monotonic() - self._fetched > seconds

    def _begin_fetch(self) -> None:
        """At most one at a time and one per interval; of its own, so that a caller who hangs up can't stop it."""
        now = self._monotonic()
        if self._fetching is not None or (self._tried is not None and now - self._tried < REFRESH_INTERVAL_S):
            return
        self._tried = now
        done = self._fetching = asyncio.Event()
        self._tasks.spawn(self._refresh(done), name="issuer-keys", failed=self._failed)

    def _failed(self) -> None:
        self._failing = True

    async def _refresh(self, done: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(FETCH_DEADLINE_S):
                keys = await self._fetch()
        except (TimeoutError, OSError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            _log.warning("issuer-keys-unavailable", issuer=self._issuer, reason=f"{type(error).__name__}: {error}")
            self._failing = True
        else:
            self._keys, self._fetched, self._failing = keys, self._monotonic(), False
        finally:
            self._fetching = None
            done.set()

    async def _fetch(self) -> Mapping[str, VerificationKey]:
        """Raises ValueError, OSError or httpx.HTTPError."""
        document = await self._get_object(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer:
            raise ValueError("the discovery document names another issuer")
        address = document.get("jwks_uri")
        members = (await self._get_object(address if isinstance(address, str) else "")).get("keys")
        if not isinstance(members, list) or len(members) > _MAX_KEYS:
            raise ValueError(f"the key set is not a list of at most {_MAX_KEYS} keys")
        found = [read for member in members if (read := read_key(member)) is not None]
        kids = [kid for kid, _ in found]
        return {kid: key for kid, key in found if kids.count(kid) == 1}  # two of one name: neither

    async def _get_object(self, address: str) -> Mapping[str, object]:
        if not may_fetch(address, loopback=self._loopback):
            raise ValueError("the address is not https")
        content = bytearray()
        url = httpx.URL(address)
        host = await self._judged(url.host, url.port or (443 if url.scheme == "https" else 80))
        headers = {"Accept-Encoding": "identity", "Host": url.netloc.decode("ascii")}
        extensions = {"sni_hostname": url.host}  # the certificate is checked against the name all the same
        target = url.copy_with(host=host)
        async with self._client.stream("GET", target, headers=headers, extensions=extensions) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"HTTP {response.status_code}")
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_BODY:
                    raise ValueError("the answer is larger than 256 KiB")
        return strict_object(bytes(content))

    async def _judged(self, host: str, port: int) -> str:
        """An address of `host` that may be asked. Raises ValueError: one is not public; OSError: there is none."""
        found = await self._resolve(host, port)
        if not self._private and not all(is_public(address) for address in found):
            raise ValueError("its address is not a public one; `private_network: true` allows that")
        return found[0]


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, at least one. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise OSError("the name has no address")
    return addresses


def is_public(address: str) -> bool:
    """An address that anybody's network may use: not loopback, private, link-local (metadata services), multicast."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not found.is_multicast


def plain(address: str) -> bool:
    """A URL without user, query and fragment: an issuer (OpenID Connect Discovery 1.0, section 3)."""
    parts = urlsplit(address)
    return not (parts.username or parts.password or parts.query or parts.fragment or "?" in address or "#" in address)


def may_fetch(address: str, *, loopback: bool) -> bool:
    """https anywhere; http only where `loopback` is allowed and the host is a loopback address itself."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and loopback and is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """A loopback address, or the name localhost. Other names are not looked up: they may change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unknown_key() -> TokenError:
    return TokenError("the token is signed by no key of its issuer", code="TOKEN_SIGNATURE")
