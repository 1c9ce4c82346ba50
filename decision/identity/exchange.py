"""Tokens of this service's own: one subject's token exchanged for one in which another acts (RFC 8693).

A token bound to the planner's key can't be exchanged by the executor anywhere else, so planner and executor do it here.
What comes out is never more than what went in: the subject stays, the whole chain of both stays (whoever was in it
stays in it), roles and scopes are the actor's own, its scopes only for connections that the subject's token names too,
and it lives no longer than either. A subagent is its parent with a number: its own subject, `NAME/sub/NUMBER`, with the
parent behind it, and no role and no scope the parent has not.

The signing key is made of a secret that this service alone has, never of one that its enforcers share: who knows it can
be anyone. Nothing is stored.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey
from joserfc.jws import serialize_compact

from decision.errors import BadRequestError, TokenError
from decision.identity.claims import MAX_ACTORS, SCOPE, ClaimRules
from decision.identity.jose import VerificationKey
from decision.identity.keys import FixedKeys
from decision.identity.people import EXCHANGE_ISSUER
from decision.identity.tokens import TrustedIssuer
from decision.model import IdentityKey, VerifiedToken, token_key

AUDIENCE: Final = "twokey"
LIFETIME_S: Final = 900
MAX_SUBAGENT: Final = 9999
MAX_TRANSACTIONS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    token: str
    expires: datetime
    scopes: tuple[str, ...]
    chain: tuple[IdentityKey, ...]
    subject: IdentityKey
    key: str  # of the new token, as a revocation names it
    parents: tuple[str, ...]


class Exchange:
    """Signs and says how its tokens are verified (`trusted`)."""

    def __init__(self, secret: bytes, *, dev: bool = False) -> None:
        raw = Ed25519PrivateKey.from_private_bytes(hmac.digest(secret, b"token-exchange", "sha256"))
        self._key = OKPKey.import_key(raw.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.kid = self._kid = self._key.thumbprint()  # public
        public = OKPKey.import_key(self._key.as_dict(private=False))
        rules = ClaimRules(
            issuer=EXCHANGE_ISSUER, audience=AUDIENCE, roles_claim="roles", role_map=None, exchanged=True, dev=dev
        )
        keys = FixedKeys({self._kid: VerificationKey(public, "OKP", "Ed25519", "Ed25519")})
        self.trusted = TrustedIssuer(rules, keys)

    def delegate(
        self, subject: VerifiedToken, actor: VerifiedToken, *, scopes: Sequence[str], jkt: str, now: datetime,
        x5t: str = "",
    ) -> Exchanged:  # fmt: skip
        """`subject`'s token with `actor` acting. `scopes` asked for ("": all there are); bound to what the actor proved
        to hold: the key `jkt`, the certificate `x5t`, where not "".

        Raises BadRequestError (invalid_request, invalid_scope), TokenError TOKEN_CLAIMS for a chain that can't be."""
        current = actor.actors[0] if actor.actors else actor.identity
        if subject.may_act is not None and subject.may_act != current:
            raise BadRequestError("the token names another as the one who may act for its subject")
        # Both may act for one person, who then is the subject and needs no second place.
        others = [one for one in (*actor.actors, actor.identity) if one not in {current, subject.identity}]
        chain = (current, *others, *subject.actors)
        _check_chain(subject.identity, chain)
        mine = _narrowed(actor, subject)
        return self._sign(
            subject,
            actor,
            chain,
            roles=actor.roles,
            scopes=_asked(scopes, mine, actor, subject),
            keys=_keys(jkt, x5t),
            now=now,
        )

    def subagent(
        self, parent: VerifiedToken, *, name: str, number: int, roles: Sequence[str], scopes: Sequence[str], jkt: str,
        now: datetime, x5t: str = "",
    ) -> Exchanged:  # fmt: skip
        """The token of `parent`, whose current actor people.yaml calls `name`, for its subagent `number`.

        Raises as `delegate`; also for a role that the parent doesn't carry."""
        if not 1 <= number <= MAX_SUBAGENT:
            raise BadRequestError(f"a subagent has a number from 1 to {MAX_SUBAGENT}")
        if not set(roles) <= set(parent.roles):
            raise BadRequestError("a subagent has no role that its parent has not", code="INVALID_SCOPE")
        chain = (IdentityKey(EXCHANGE_ISSUER, f"{name}/sub/{number}"), *parent.actors)
        _check_chain(parent.identity, chain)
        granted = _asked(scopes, parent.scopes, parent, parent)
        return self._sign(
            parent, parent, chain, roles=tuple(roles) or parent.roles, scopes=granted, keys=_keys(jkt, x5t), now=now
        )

    def _sign(
        self,
        subject: VerifiedToken,
        actor: VerifiedToken,
        chain: tuple[IdentityKey, ...],
        *,
        roles: Sequence[str],
        scopes: tuple[str, ...],
        keys: Mapping[str, str],
        now: datetime,
    ) -> Exchanged:
        issued = [token.issued for token in (subject, actor) if token.issued is not None]
        if len(issued) != 2:
            raise TokenError("a token that doesn't say when it was issued can't be exchanged", code="TOKEN_CLAIMS")
        at = int(now.timestamp())
        ends = min(subject.expires, actor.expires).timestamp()
        expires = min(int(ends), at + LIFETIME_S)
        if expires <= at:
            raise TokenError("the token has expired", code="TOKEN_EXPIRED")
        jti = secrets.token_urlsafe(24)
        claims: dict[str, object] = {
            "iss": EXCHANGE_ISSUER,
            "aud": AUDIENCE,
            "sub": subject.identity.sub,
            "sub_id": {"format": "iss_sub", "iss": subject.identity.iss, "sub": subject.identity.sub},
            "client_id": actor.client or chain[0].sub,
            "iat": at,
            "orig_iat": min(issued).timestamp(),  # a revocation of what it rests on is one of it
            "exp": expires,
            "jti": jti,
            "roles": sorted(set(roles)),
            "act": _nested(chain),
        }
        if scopes or subject.scoped or actor.scoped:
            claims["scope"] = " ".join(scopes) or "twokey:none:none"  # scoped, and for nothing
        if keys:
            claims["cnf"] = keys
        transactions = sorted({*subject.transactions, *actor.transactions})
        if len(transactions) > MAX_TRANSACTIONS:
            raise BadRequestError(f"the token would belong to more than {MAX_TRANSACTIONS} transactions")
        if transactions:
            claims["txns"] = transactions
        header = {"alg": "Ed25519", "typ": "at+jwt", "kid": self._kid}
        token = serialize_compact(header, orjson.dumps(claims), self._key, algorithms=["Ed25519"])
        return Exchanged(
            token=token,
            expires=datetime.fromtimestamp(expires, now.tzinfo),
            scopes=scopes,
            chain=chain,
            subject=subject.identity,
            key=token_key(EXCHANGE_ISSUER, jti).hex(),
            parents=tuple(sorted({token_key(one.issuer, one.token_id).hex() for one in (subject, actor)})),
        )


def _keys(jkt: str, x5t: str) -> dict[str, str]:
    """RFC 7800's `cnf`, by RFC 9449 and RFC 8705."""
    return {**({"jkt": jkt} if jkt else {}), **({"x5t#S256": x5t} if x5t else {})}


def _check_chain(subject: IdentityKey, chain: tuple[IdentityKey, ...]) -> None:
    if len(chain) > MAX_ACTORS:
        raise BadRequestError(f"the chain would have more than {MAX_ACTORS} actors")
    if len({subject, *chain}) != len(chain) + 1:
        raise BadRequestError("somebody would be in the chain twice: nobody acts for themselves")


def _narrowed(actor: VerifiedToken, subject: VerifiedToken) -> tuple[str, ...]:
    """The actor's scopes, of the connections that the subject's token is for; a subject without scopes limits none."""
    if not subject.scoped:
        return actor.scopes
    named = {_parts(scope)[0] for scope in subject.scopes}
    if not actor.scoped:
        return tuple(f"twokey:{connection}:*" for connection in sorted(named))
    found = set()
    for scope in actor.scopes:
        connection, verb = _parts(scope)
        if connection in named or "*" in named:
            found.add(scope)
        elif connection == "*":
            found.update(f"twokey:{one}:{verb}" for one in named)
    return tuple(sorted(found))


def _asked(
    asked: Sequence[str], there: tuple[str, ...], actor: VerifiedToken, subject: VerifiedToken
) -> tuple[str, ...]:
    """What was asked for, all of which must be there; everything where nothing was asked for."""
    if not asked:
        return there
    if not all(SCOPE.match(scope) for scope in asked):
        raise BadRequestError("a scope is twokey:CONNECTION:VERB", code="INVALID_SCOPE")
    if (actor.scoped or subject.scoped) and not all(_covered(scope, there) for scope in asked):
        raise BadRequestError("a scope was asked for that the tokens don't carry", code="INVALID_SCOPE")
    return tuple(sorted(set(asked)))


def _covered(scope: str, there: tuple[str, ...]) -> bool:
    connection, verb = _parts(scope)
    return any(a in {connection, "*"} and b in {verb, "*"} for a, b in map(_parts, there))


def _parts(scope: str) -> tuple[str, str]:
    _, connection, verb = scope.split(":")
    return connection, verb


def _nested(chain: Sequence[IdentityKey]) -> dict[str, object]:
    built: dict[str, object] = {}
    for actor in reversed(chain):
        built = {"iss": actor.iss, "sub": actor.sub, **({"act": built} if built else {})}
    return built
