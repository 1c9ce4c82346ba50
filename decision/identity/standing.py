"""Whether a token still stands: not revoked itself, nor anyone it speaks for or who acts in it.

A revocation says "what was issued until now": who is let in again by the identity provider gets a newer token, and a
person or agent that is never to come back is taken out of people.yaml. A token that doesn't say when it was issued
can't be newer than anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from decision.errors import TokenError
from decision.identity.people import DEV_ISSUER, EXCHANGE_ISSUER
from decision.model import Approval, Verdict, VerifiedToken, token_key
from decision.ports import Cut, Grant, People, TokenStore

_AT_ONCE: Final = 200  # grants asked about in one question to the store


@dataclass(frozen=True, slots=True)
class Standing:
    store: TokenStore

    async def check(self, token: VerifiedToken, people: People, *, role: str | None = None) -> None:
        """Raises TokenError TOKEN_REVOKED, StoreError. A role is judged where it is activated: `role`, with the rest
        in one question to the store."""
        values = {
            "token": [token_key(token.issuer, token.token_id).hex()],
            "party": people.subject(token, role="").closure,
            "role": [] if role is None else [role],
        }
        for cut in await self.store.cuts(values):
            if _cuts(cut, token):
                what = "role" if cut.kind == "role" else "token"
                raise TokenError(f"the {what} was revoked: {cut.reason}", code="TOKEN_REVOKED")

    async def check_role(self, token: VerifiedToken, role: str) -> None:
        """Raises TokenError TOKEN_REVOKED: the role was revoked since the token was issued; StoreError."""
        for cut in await self.store.cuts({"role": [role]}):
            if _cuts(cut, token):
                raise TokenError(f"the role was revoked: {cut.reason}", code="TOKEN_REVOKED")

    async def fallen(self, grants: Sequence[Grant], people: People) -> Sequence[Grant]:
        """Those of `grants` whose token, or role in it, was revoked since. Raises StoreError."""
        found: list[Grant] = []
        for start in range(0, len(grants), _AT_ONCE):
            some = [(grant, _values(grant, people)) for grant in grants[start : start + _AT_ONCE]]
            asked = {
                kind: sorted({value for _, values in some for value in values[kind]})
                for kind in ("token", "party", "role")
            }
            cuts = await self.store.cuts(asked)
            found += [
                grant
                for grant, values in some
                if any(cut.value in values[cut.kind] and _cuts(cut, grant.token) for cut in cuts)
            ]
        return found


@dataclass(frozen=True, slots=True)
class Verdicts:
    """ports.VerdictStanding. A verdict is as good as its reviewer: one who is revoked afterwards, by name, by token or
    by the reviewer's role, has approved nothing that isn't done yet. What was given after the revocation counts."""

    store: TokenStore

    async def fallen(self, approval: Approval, people: People) -> frozenset[int]:
        said = [_said(verdict, people) for verdict in approval.verdicts]
        asked = {kind: sorted({one for some in said for one in some[kind]}) for kind in ("token", "party", "role")}
        cuts = await self.store.cuts(asked)
        return frozenset(
            number
            for number, (verdict, some) in enumerate(zip(approval.verdicts, said, strict=True))
            if any(cut.value in some[cut.kind] and verdict.time <= cut.before for cut in cuts)
        )


def _said(verdict: Verdict, people: People) -> dict[str, set[str]]:
    """What of a verdict can be revoked. A subject knows its token's id; who signed that is its own issuer, or one of
    this service's."""
    reviewer = verdict.reviewer
    issuers = (reviewer.party.identity.iss, DEV_ISSUER, EXCHANGE_ISSUER)
    live = people.party(reviewer.party.identity).name
    return {
        "token": {token_key(issuer, reviewer.token_id).hex() for issuer in issuers if reviewer.token_id},
        "party": {*reviewer.closure, live} - {""},
        "role": set(reviewer.roles),
    }


def _values(grant: Grant, people: People) -> dict[str, set[str]]:
    token = grant.token
    return {
        "token": {token_key(token.issuer, token.token_id).hex()},
        "party": set(people.subject(token, role="").closure),
        "role": {grant.role},
    }


def _cuts(cut: Cut, token: VerifiedToken) -> bool:
    return cut.kind == "token" or token.issued is None or token.issued <= cut.before
