"""GET /ssh/ca and /ssh/krl: whose SSH certificates to believe, and which of them no longer.

For sshd's TrustedUserCAKeys and RevokedKeys, and for our SSH gateway. Nothing secret is in either: a public key, and
hashes of tokens' ids. The second is made of the store at most once a second, whoever asks how often.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from decision.errors import DecisionError
from decision.identity.krl import revocation_list
from decision.identity.ssh import SshAuthority, key_id
from decision.identity.standing import Standing
from decision.pdp.deadlines import stored
from decision.ports import Clock, People, TokenStore

CA: Final = "/ssh/ca"
KRL: Final = "/ssh/krl"
FRESH_S: Final = 1.0
_NO_STORE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class SshLists:
    """authority None: no certificates are issued, and neither address is there."""

    def __init__(
        self,
        authority: SshAuthority | None,
        *,
        store: TokenStore,
        standing: Standing,
        people: Callable[[], People],
        clock: Clock,
    ) -> None:
        self._authority = authority
        self._store = store
        self._standing = standing
        self._people = people
        self._clock = clock
        self._one = asyncio.Lock()
        self._made: bytes | None = None
        self._at = 0.0

    def routes(self) -> Sequence[web.RouteDef]:
        return [] if self._authority is None else [web.get(CA, self._get_ca), web.get(KRL, self._get_krl)]

    def forget(self) -> None:
        """The next one who asks gets a new list."""
        self._made = None

    async def revoked(self, authority: SshAuthority) -> bytes:
        """The list as it is now, or was less than a second ago. Raises StoreError."""
        async with self._one:
            if self._made is None or self._clock.monotonic() - self._at >= FRESH_S:
                began = self._clock.monotonic()
                out = await stored(self._store.certified())
                fallen = await stored(self._standing.fallen(out, self._people()))
                now = self._clock.now()
                self._made = revocation_list(
                    b64decode(authority.public.split()[1]),
                    [key_id(grant.token) for grant in fallen],
                    version=int(now.timestamp() * 1_000_000),
                    now=int(now.timestamp()),
                )
                self._at = began
            return self._made

    async def _get_ca(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{self._known().public.decode()} twokey\n", headers=_NO_STORE)

    async def _get_krl(self, _request: web.Request) -> web.Response:
        try:
            made = await self.revoked(self._known())
        except DecisionError:
            # No list is better than an old one: sshd refuses every key while its file can't be read.
            return web.Response(status=503, text="the store can't be asked\n", headers=_NO_STORE)
        return web.Response(body=made, headers={**_NO_STORE, "Content-Type": "application/octet-stream"})

    def _known(self) -> SshAuthority:
        if self._authority is None:
            raise web.HTTPNotFound
        return self._authority
