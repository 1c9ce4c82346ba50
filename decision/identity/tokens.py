"""Access tokens of several issuers, verified (RFC 9068, RFC 8725).

The issuer is chosen by the token's own `iss`, byte for byte; from there on only that issuer's keys, audience and role
table count, so no issuer can speak for another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from decision.errors import PolicyLoadError, TokenError
from decision.identity.claims import ClaimRules, read_claims
from decision.identity.dev_issuer import DevIssuer
from decision.identity.jose import read_token, verify_signature
from decision.identity.keys import DiscoveredKeys, KeySource, may_fetch
from decision.identity.people import DEV_ISSUER
from decision.model import VerifiedToken


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    rules: ClaimRules
    keys: KeySource


class Verifier:
    """Implements ports.TokenVerifier."""

    def __init__(self, issuers: Sequence[TrustedIssuer], *, clock: Callable[[], float] = time.time) -> None:
        self._issuers = {issuer.rules.issuer: issuer for issuer in issuers}
        self._clock = clock

    async def verify(self, token: str) -> VerifiedToken:
        """Raises TokenError (decision.ports.TokenVerifier lists the codes) also with TOKEN_KEYS_UNAVAILABLE."""
        unverified = read_token(token)
        named = unverified.claims.get("iss")
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        if issuer is None:
            raise TokenError("the token's issuer is not one this service believes", code="TOKEN_ISSUER")
        verify_signature(unverified, await issuer.keys.get(unverified.kid))
        return read_claims(unverified.claims, issuer.rules, now=self._clock())

    async def close(self) -> None:
        for issuer in self._issuers.values():
            await issuer.keys.close()


def build_verifier(
    issuers: Sequence[Mapping[str, object]], *, dev: bool, dev_issuer: DevIssuer | None = None
) -> Verifier:
    """Of `identity.issuers` of the settings document, and the dev issuer where one runs. Raises PolicyLoadError."""
    trusted = [_trusted(item, index, dev=dev) for index, item in enumerate(issuers)]
    if dev_issuer is not None:
        trusted.append(TrustedIssuer(dev_issuer.rules, dev_issuer.keys))
    names = [item.rules.issuer for item in trusted]
    if len(set(names)) != len(names):
        raise PolicyLoadError("identity.issuers names an issuer twice", next_step="keep one of the two")
    return Verifier(trusted)


def _trusted(item: Mapping[str, object], index: int, *, dev: bool) -> TrustedIssuer:
    where = f"identity.issuers[{index}]"
    issuer, audience = item.get("issuer"), item.get("audience")
    if not isinstance(issuer, str) or issuer == DEV_ISSUER or not may_fetch(issuer, loopback=dev):
        raise PolicyLoadError(f"{where}.issuer is not an https URL", next_step="write it exactly as in the token's iss")
    if not isinstance(audience, str) or not audience:
        raise PolicyLoadError(f"{where}.audience is missing", next_step="write the aud that tokens for twokey carry")
    if item.get("profile", "rfc9068") != "rfc9068":
        raise PolicyLoadError(f"{where}.profile is not known", next_step="write rfc9068")
    claim, table = _role_rules(item.get("roles"), where)
    rules = ClaimRules(issuer=issuer, audience=audience, roles_claim=claim, role_map=table)
    return TrustedIssuer(rules, DiscoveredKeys(issuer, loopback=dev))


def _role_rules(raw: object, where: str) -> tuple[str, Mapping[str, str]]:
    if raw is None:
        return "", {}
    if isinstance(raw, Mapping):
        claim, table = raw.get("claim"), raw.get("map")
        if isinstance(claim, str) and isinstance(table, Mapping) and all(isinstance(v, str) for v in table.values()):
            return claim, {str(key): str(value) for key, value in table.items()}
    raise PolicyLoadError(f"{where}.roles is not {{claim, map}}", next_step="map each value of the claim to a role")
