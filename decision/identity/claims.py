"""What a verified token says: times, audience, actor chain and roles (RFC 9068 section 2.2, RFC 8693 section 4.1).

Every check refuses; nothing is defaulted. An actor without `iss` is refused rather than given the token's issuer: the
identity of an actor is the pair, and guessing half of it would let one issuer speak for another's agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from decision.errors import TokenError
from decision.model import IdentityKey, VerifiedToken

LEEWAY_S = 30
MAX_ACTORS = 8

_MAX_TEXT = 1024
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_MAX_ROLES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """What one issuer's tokens must say. `role_map` None (the dev issuer only): roles are taken as they are."""

    issuer: str
    audience: str
    roles_claim: str
    role_map: Mapping[str, str] | None = field(default_factory=dict)
    dev: bool = False


def read_claims(claims: Mapping[str, object], rules: ClaimRules, *, now: float) -> VerifiedToken:
    """The claims of a token whose signature is right. `now` in seconds since 1970.

    Raises TokenError: TOKEN_ISSUER, TOKEN_AUDIENCE, TOKEN_EXPIRED, TOKEN_NOT_YET or TOKEN_CLAIMS.
    """
    if claims.get("iss") != rules.issuer:
        raise TokenError("the token's issuer is not one this service believes", code="TOKEN_ISSUER")
    _check_audience(claims.get("aud"), rules.audience)
    expires = _time(claims, "exp")
    if now >= expires + LEEWAY_S:
        raise TokenError("the token has expired", code="TOKEN_EXPIRED")
    starts = [_time(claims, "iat")] + ([_time(claims, "nbf")] if "nbf" in claims else [])
    if max(starts) > now + LEEWAY_S:
        raise TokenError("the token is not valid yet", code="TOKEN_NOT_YET")
    _text(claims, "client_id")
    if "cnf" in claims:  # RFC 9449: a bound token without its proof is a stolen one
        _refuse("is bound to a key, and no proof came with it")
    identity = IdentityKey(rules.issuer, _text(claims, "sub"))
    return VerifiedToken(
        identity=identity,
        actors=_actors(claims, identity),
        roles=_roles(claims, rules),
        expires=datetime.fromtimestamp(expires, UTC),
        token_id=_text(claims, "jti"),
        dev=rules.dev,
    )


def _check_audience(audience: object, ours: str) -> None:
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(item, str) for item in named) or ours not in named:
        raise TokenError("the token is for another service", code="TOKEN_AUDIENCE")


def _actors(claims: Mapping[str, object], subject: IdentityKey) -> tuple[IdentityKey, ...]:
    """The chain, current actor first. At most MAX_ACTORS, none twice, none of them the subject."""
    chain: list[IdentityKey] = []
    holder = claims
    while "act" in holder:
        actor = holder["act"]
        if not isinstance(actor, dict):
            _refuse("has an actor that is not an object")
        key = IdentityKey(_text(actor, "iss"), _text(actor, "sub"))
        if key in chain or key == subject:
            _refuse("names an actor twice")
        chain.append(key)
        if len(chain) > MAX_ACTORS:
            _refuse(f"names more than {MAX_ACTORS} actors")
        holder = actor
    return tuple(chain)


def _roles(claims: Mapping[str, object], rules: ClaimRules) -> tuple[str, ...]:
    """By the issuer's own table; what the table doesn't name is no role."""
    named = claims.get(rules.roles_claim, []) if rules.roles_claim else []
    if not isinstance(named, list) or len(named) > _MAX_ROLES or not all(isinstance(item, str) for item in named):
        _refuse(f"has a {rules.roles_claim} claim that is not a list of texts")
    if rules.role_map is None:
        return tuple(sorted(set(named)))
    return tuple(sorted({rules.role_map[item] for item in named if item in rules.role_map}))


def _time(claims: Mapping[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        _refuse(f"has no usable {name}")
    return value


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or any(ord(char) < 32 for char in value):
        _refuse(f"has no usable {name}")
    return value


def _refuse(what: str) -> NoReturn:
    raise TokenError(f"the token {what}", code="TOKEN_CLAIMS")
