"""What a verified token says: times, audience, actors, roles and scopes (RFC 9068 section 2.2, RFC 8693 section 4.1).

Every check refuses; nothing is defaulted. An actor without `iss` is refused rather than given the token's issuer: the
identity of an actor is the pair, and guessing half of it would let one issuer speak for another's agents. What an
actor's object says besides (`exp`, `aud`, roles) means nothing (RFC 8693).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from decision.errors import TokenError
from decision.identity.profiles import DAY_S, PROFILES, Profile
from decision.model import IdentityKey, Login, VerifiedToken

LEEWAY_S = 30
MAX_ACTORS = 8
SCOPE = re.compile(r"twokey:(?P<connection>[a-z0-9][a-z0-9._-]*|\*):(?P<verb>[a-z][a-z-]*|\*)\Z")

_OURS = "twokey:"
_MAX_TEXT = 1024
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_MAX_ROLES = 256
_MAX_SCOPES = 256
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")
# RFC 7800's members of `cnf` that can be proved here, and what they are called in VerifiedToken.keys.
_CONFIRMATIONS = {"jkt": "jkt", "x5t#S256": "x5t"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """What one issuer's tokens must say. `role_map` None (the service's own issuers): roles are taken as they are.
    demanded: claims with the one value each must have. scopes_required: a token without a scope of ours opens nothing.
    exchanged: this service issued it for another issuer's subject, which `sub_id` names (RFC 9493). lifetime_s: a token
    that lives longer from its issue is refused; so long at most goes on what its issuer would take back (T20)."""

    issuer: str
    audience: str
    roles_claim: str
    role_map: Mapping[str, str] | None = field(default_factory=dict)
    dev: bool = False
    profile: Profile = PROFILES["rfc9068"]
    single_audience: bool = False
    demanded: Mapping[str, str] = field(default_factory=dict)
    scopes_required: bool = False
    lifetime_s: int = DAY_S
    exchanged: bool = False


def check_type(typ: str, rules: ClaimRules, alg: str = "") -> None:
    """Raises TokenError TOKEN_TYPE: it is another kind of token than the issuer's profile takes; TOKEN_ALG: it is
    signed by an algorithm that the profile has not."""
    if rules.profile.algorithms and alg and alg not in rules.profile.algorithms:
        raise TokenError("the token's algorithm is not one of its issuer's profile", code="TOKEN_ALG")
    if typ not in rules.profile.types:
        raise TokenError("the token is not an access token of its issuer's profile", code="TOKEN_TYPE")


def read_claims(claims: Mapping[str, object], rules: ClaimRules, *, now: float, text: str = "") -> VerifiedToken:
    """The claims of a token whose signature is right. `now` in seconds since 1970; `text`, the token, names it where
    its profile has no id.

    Raises TokenError: TOKEN_ISSUER, TOKEN_AUDIENCE, TOKEN_EXPIRED, TOKEN_NOT_YET, TOKEN_TYPE or TOKEN_CLAIMS.
    """
    profile = rules.profile
    if claims.get("iss") != rules.issuer:
        raise TokenError("the token's issuer is not one this service believes", code="TOKEN_ISSUER")
    _check_audience(claims.get("aud"), rules)
    expires = _time(claims, "exp")
    if now >= expires + LEEWAY_S:
        raise TokenError("the token has expired", code="TOKEN_EXPIRED")
    issued = _time(claims, "iat")
    starts = [issued] + ([_time(claims, "nbf")] if "nbf" in claims else [])
    if max(starts) > now + LEEWAY_S:
        raise TokenError("the token is not valid yet", code="TOKEN_NOT_YET")
    if expires - issued > min(rules.lifetime_s, profile.lifetime_s or rules.lifetime_s):
        _refuse("lives longer than one of its kind may")
    _check_kind(claims, rules)
    identity = _subject(claims, rules)
    scopes = _scopes(claims)
    return VerifiedToken(
        identity=identity,
        actors=_actors(claims, identity),
        roles=_roles(claims, rules),
        expires=datetime.fromtimestamp(expires, UTC),
        token_id=_first(claims, profile.token_id) or hashlib.sha256(text.encode()).hexdigest(),
        dev=rules.dev,
        issuer=rules.issuer,
        issued=datetime.fromtimestamp(_time(claims, "orig_iat") if rules.exchanged else issued, UTC),
        scopes=scopes,
        scoped=bool(scopes) or rules.scopes_required,
        keys=_keys(claims),
        may_act=_may_act(claims, rules),
        client=_first(claims, profile.client),
        login=_login(claims),
        transactions=_transactions(claims, rules),
    )


def _check_kind(claims: Mapping[str, object], rules: ClaimRules) -> None:
    """That it is of the kind its issuer's profile takes, and says what the operator demands of it."""
    profile = rules.profile
    if profile.forbidden & claims.keys():
        raise TokenError("the token is an ID token, or another that is not for a service", code="TOKEN_TYPE")
    if claims.get("typ", "Bearer") not in {"Bearer", "DPoP"}:  # Keycloak's own: ID, Refresh, Logout …
        raise TokenError("the token says of itself that it is no access token", code="TOKEN_TYPE")
    for name in profile.required:
        _text(claims, name)
    for names in profile.either:
        if not any(name in claims for name in names):
            raise TokenError(f"the token has none of {', '.join(names)}", code="TOKEN_TYPE")
    for name, value in rules.demanded.items():
        if claims.get(name) != value:
            _refuse(f"does not have the {name} that is asked for here")
    wrong = profile.consistent(claims) if profile.consistent is not None else ""
    if wrong:
        _refuse(wrong)


def _check_audience(audience: object, rules: ClaimRules) -> None:
    named = [audience] if isinstance(audience, str) else audience
    single = rules.single_audience or rules.profile.workload
    if (
        not isinstance(named, list)
        or not all(isinstance(item, str) for item in named)
        or rules.audience not in named
        or (single and set(named) != {rules.audience})
    ):
        raise TokenError("the token is for another service", code="TOKEN_AUDIENCE")


def _subject(claims: Mapping[str, object], rules: ClaimRules) -> IdentityKey:
    sub = _text(claims, "sub")
    if not rules.exchanged:
        return IdentityKey(rules.issuer, sub)
    named = claims.get("sub_id")
    if not isinstance(named, dict) or named.get("format") != "iss_sub":
        _refuse("does not name its subject")
    return IdentityKey(_text(named, "iss"), _text(named, "sub"))


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


def _may_act(claims: Mapping[str, object], rules: ClaimRules) -> IdentityKey | None:
    if "may_act" not in claims:
        return None
    named = claims["may_act"]
    if not isinstance(named, dict):
        _refuse("has a may_act that is not an object")
    return IdentityKey(_text(named, "iss") if "iss" in named else rules.issuer, _text(named, "sub"))


def _roles(claims: Mapping[str, object], rules: ClaimRules) -> tuple[str, ...]:
    """By the issuer's own table; what the table doesn't name is no role."""
    named = claims.get(rules.roles_claim, []) if rules.roles_claim else []
    if rules.profile.workload and isinstance(named, str):  # repository, project_path, sub: one text each
        named = [named]
    if not isinstance(named, list) or len(named) > _MAX_ROLES or not all(isinstance(item, str) for item in named):
        _refuse(f"has a {rules.roles_claim} claim that is not a list of texts")
    if rules.role_map is None:
        return tuple(sorted(set(named)))
    return tuple(sorted({rules.role_map[item] for item in named if item in rules.role_map}))


def _scopes(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Those that are ours: `scope` (RFC 8693, a text) or `scp` (a list or a text, where others say it so)."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name, "")
        items = value.split(" ") if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            _refuse(f"has a {name} that is neither a text nor a list of texts")
        found.update(item for item in items if item.startswith(_OURS))
    if len(found) > _MAX_SCOPES or not all(SCOPE.match(item) for item in found):
        _refuse("has a scope of twokey's that is not twokey:CONNECTION:VERB")
    return tuple(sorted(found))


def _keys(claims: Mapping[str, object]) -> tuple[str, ...]:
    """What the token is bound to. What can't be proved here refuses the token: taken without its proof it would be
    the stolen token that the binding is against (RFC 7800, RFC 9449, RFC 8705)."""
    if "cnf" not in claims:
        return ()
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or not cnf or not cnf.keys() <= _CONFIRMATIONS.keys():
        raise TokenError("the token is bound to a key in a way that can't be proved here", code="TOKEN_PROOF")
    if not all(isinstance(value, str) and _THUMBPRINT.match(value) for value in cnf.values()):
        _refuse("is bound to a key that it doesn't name")
    return tuple(sorted(f"{_CONFIRMATIONS[name]}:{value}" for name, value in cnf.items()))


def _login(claims: Mapping[str, object]) -> Login:
    """acr and auth_time, where the token has them. One that came of an exchange doesn't: nobody logged in for it."""
    time = datetime.fromtimestamp(_time(claims, "auth_time"), UTC) if "auth_time" in claims else None
    return Login(_text(claims, "acr") if "acr" in claims else "", time)


def _transactions(claims: Mapping[str, object], rules: ClaimRules) -> tuple[tuple[str, str], ...]:
    """RFC 8417's `txn`, which an issuer gives to all tokens that it makes of each other; of an exchanged token those of
    all it was made of."""
    if not rules.exchanged:
        return ((rules.issuer, _text(claims, "txn")),) if "txn" in claims else ()
    named = claims.get("txns", [])
    if not isinstance(named, list) or not all(isinstance(one, list) and len(one) == 2 for one in named):
        _refuse("has transactions that are not pairs")
    return tuple((str(issuer), str(txn)) for issuer, txn in named)


def _first(claims: Mapping[str, object], names: tuple[str, ...]) -> str:
    """The first of these claims that is there; "" for none."""
    return next((_text(claims, name) for name in names if name in claims), "")


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
