"""Where an issuer's public keys come from: OpenID Connect discovery and its JWK set, or fixed ones (the dev issuer).

Bounded in every direction: 256 KiB, 5 seconds, no redirect, one fetch per 10 seconds whatever tokens ask for, keys no
older than 10 minutes while the issuer answers, and at most an hour old while it doesn't. `kid` is a map key only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import httpx
import structlog

from decision.errors import TokenError
from decision.identity.fetching import Fetcher, Resolve
from decision.identity.jose import VerificationKey, read_key
from decision.identity.tasks import Tasks

FETCH_DEADLINE_S = 5.0
REFRESH_INTERVAL_S = 10.0
MAX_AGE_S = 600.0
LAST_GOOD_S = 3600.0

_MAX_KEYS = 100
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
        self._fetcher = Fetcher(loopback=loopback, private=private, transport=transport, resolve=resolve)
        self._monotonic = monotonic
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
        await self._fetcher.close()

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
        document = await self._fetcher.get_object(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer:
            raise ValueError("the discovery document names another issuer")
        address = document.get("jwks_uri")
        members = (await self._fetcher.get_object(address if isinstance(address, str) else "")).get("keys")
        if not isinstance(members, list) or len(members) > _MAX_KEYS:
            raise ValueError(f"the key set is not a list of at most {_MAX_KEYS} keys")
        found = [read for member in members if (read := read_key(member)) is not None]
        kids = [kid for kid, _ in found]
        return {kid: key for kid, key in found if kids.count(kid) == 1}  # two of one name: neither


def _unknown_key() -> TokenError:
    return TokenError("the token is signed by no key of its issuer", code="TOKEN_SIGNATURE")
