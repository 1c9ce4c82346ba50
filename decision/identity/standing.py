"""Whether a token still stands: not revoked itself, nor anyone it speaks for or who acts in it.

A revocation says "what was issued until now": who is let in again by the identity provider gets a newer token, and a
person or agent that is never to come back is taken out of people.yaml. A token that doesn't say when it was issued
can't be newer than anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from decision.errors import TokenError
from decision.model import VerifiedToken, token_key
from decision.ports import People, TokenStore


@dataclass(frozen=True, slots=True)
class Standing:
    store: TokenStore

    async def check(self, token: VerifiedToken, people: People) -> None:
        """Raises TokenError TOKEN_REVOKED, StoreError. A role is judged where it is activated."""
        values = {
            "token": [token_key(token.issuer, token.token_id).hex()],
            "party": people.subject(token, role="").closure,
        }
        for cut in await self.store.cuts(values):
            if cut.kind == "token" or token.issued is None or token.issued <= cut.before:
                raise TokenError(f"the token was revoked: {cut.reason}", code="TOKEN_REVOKED")

    async def check_role(self, token: VerifiedToken, role: str) -> None:
        """Raises TokenError TOKEN_REVOKED: the role was revoked since the token was issued; StoreError."""
        for cut in await self.store.cuts({"role": [role]}):
            if token.issued is None or token.issued <= cut.before:
                raise TokenError(f"the role was revoked: {cut.reason}", code="TOKEN_REVOKED")
