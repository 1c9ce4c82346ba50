"""What opens a session: a token with its proofs, or a one-time password that was issued for one.

Stock database clients can't sign. Who can asks for a one-time password with the proof its token needs, and gives that
to its client: it is for one subject with its chain, one connection, one role, where no balancer hides it one address,
a minute, and one use unless policy grants more. What it opens is the token's own session: its roles, its expiry.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from dataclasses import dataclass, replace
from typing import Final

from decision.errors import TokenError
from decision.identity.standing import Standing
from decision.model import Possession, VerifiedToken
from decision.ports import Grant, People, TokenStore, TokenVerifier

PREFIX: Final = "tkp_"  # a one-time password; no JWT begins so
LIFETIME_S: Final = 60
_BYTES: Final = 32
_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Admission:
    """Implements ports.Admission."""

    tokens: TokenVerifier
    store: TokenStore
    standing: Standing

    async def admit(
        self, token: str, *, connection: str, role: str, address: str, x5t: str, people: People
    ) -> VerifiedToken:
        """What the token, or the one-time password, says. `address`: the client's, `ip:port`.

        Raises TokenError, StoreError."""
        if token.startswith(PREFIX):
            if len(token) > _MAX:
                raise TokenError("the one-time password is none", code="TOKEN_USED")
            found = await self.store.redeem(digest(token), connection=connection, role=role, address=host_of(address))
            found = replace(found, roles=tuple(one for one in found.roles if one == role))
        else:
            found = await self.tokens.verify(token, Possession(x5t=x5t))
        await self.still_stands(found, role, people)
        return found

    async def still_stands(self, token: VerifiedToken, role: str, people: People) -> None:
        """Raises TokenError TOKEN_REVOKED, StoreError."""
        await self.standing.check(token, people, role=role)

    async def issue(self, grant: Grant, *, seconds: float = LIFETIME_S) -> str:
        """A one-time password for what is granted. It is shown once and kept nowhere: the store has its hash.

        Raises StoreError."""
        password = PREFIX + secrets.token_urlsafe(_BYTES)
        await self.store.grant(digest(password), grant, seconds=min(seconds, LIFETIME_S))
        return password

    async def certified(self, grant: Grant, *, serial: int, seconds: float) -> None:
        """Remember an SSH certificate as long as it is good, so that a revocation finds it. It opens nothing here:
        what the grant has are no uses. Raises StoreError."""
        await self.store.grant(digest(f"ssh:{serial}"), grant, seconds=seconds)


def digest(password: str) -> bytes:
    """What the store knows it by. It has 256 bits of chance, so a plain hash tells nothing."""
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()


def host_of(address: str) -> str:
    """The host of `ip:port`, `[ip]:port` or `ip`, in one spelling; every loopback address is this machine: "loopback".
    "" where it is none, as of a unix socket."""
    host = address[1:].partition("]")[0] if address.startswith("[") else address
    for candidate in (host, host.rpartition(":")[0]):
        try:
            found = ipaddress.ip_address(candidate)
        except ValueError:
            continue
        plain = getattr(found, "ipv4_mapped", None) or found
        return "loopback" if plain.is_loopback else str(plain)
    return ""
