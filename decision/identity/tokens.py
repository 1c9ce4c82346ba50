"""Access tokens of several issuers, verified (RFC 9068, RFC 8725).

The issuer is chosen by the token's own `iss`, byte for byte; from there on only that issuer's keys, audience and role
table count, so no issuer can speak for another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from decision.errors import PolicyLoadError, TokenError
from decision.identity.claims import ClaimRules, check_type, read_claims
from decision.identity.dev_issuer import DevIssuer
from decision.identity.fetching import may_fetch, plain
from decision.identity.jose import read_token, verify_signature
from decision.identity.keys import DiscoveredKeys, KeySource
from decision.identity.people import DEV_ISSUER, EXCHANGE_ISSUER
from decision.identity.possession import check_possession
from decision.identity.profiles import DAY_S, PROFILES, WORKLOADS, Profile, of_trust_domain
from decision.identity.spiffe import is_trust_domain
from decision.model import NOTHING, Possession, VerifiedToken


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    rules: ClaimRules
    keys: KeySource


class Verifier:
    """Implements ports.TokenVerifier."""

    def __init__(self, issuers: Sequence[TrustedIssuer], *, clock: Callable[[], float] = time.time) -> None:
        self._issuers = {issuer.rules.issuer: issuer for issuer in issuers}
        self._clock = clock

    async def verify(self, token: str, shown: Possession = NOTHING) -> VerifiedToken:
        """Raises TokenError (decision.ports.TokenVerifier lists the codes) also with TOKEN_KEYS_UNAVAILABLE; with
        TOKEN_PROOF where the token is bound to a key that is not in `shown`."""
        verified = await self.verify_spoken_of(token)
        check_possession(verified, shown)
        return verified

    async def verify_spoken_of(self, token: str) -> VerifiedToken:
        """As `verify`, whatever key it is bound to: for a token that nobody uses, only speaks of (an exchange)."""
        unverified = read_token(token)
        named = unverified.claims.get("iss")
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        if issuer is None:
            raise TokenError("the token's issuer is not one this service believes", code="TOKEN_ISSUER")
        check_type(unverified.typ, issuer.rules, unverified.alg)
        verify_signature(unverified, await issuer.keys.get(unverified.kid))
        return read_claims(unverified.claims, issuer.rules, now=self._clock(), text=token)

    async def close(self) -> None:
        for issuer in self._issuers.values():
            await issuer.keys.close()


def build_verifier(
    issuers: Sequence[Mapping[str, object]],
    *,
    dev: bool,
    dev_issuer: DevIssuer | None = None,
    own: Sequence[TrustedIssuer] = (),
) -> Verifier:
    """Of `identity.issuers` of the settings document, the dev issuer where one runs, and the service's own.

    Raises PolicyLoadError."""
    trusted = [_trusted(item, index, dev=dev) for index, item in enumerate(issuers)]
    if dev_issuer is not None:
        trusted.append(TrustedIssuer(dev_issuer.rules, dev_issuer.keys))
    trusted.extend(own)
    names = [item.rules.issuer for item in trusted]
    if len(set(names)) != len(names):
        raise PolicyLoadError("identity.issuers names an issuer twice", next_step="keep one of the two")
    return Verifier(trusted)


def _trusted(item: Mapping[str, object], index: int, *, dev: bool) -> TrustedIssuer:
    where = f"identity.issuers[{index}]"
    issuer, audience = item.get("issuer"), item.get("audience")
    if (
        not isinstance(issuer, str)
        or issuer in {DEV_ISSUER, EXCHANGE_ISSUER}
        or not may_fetch(issuer, loopback=dev)
        or not plain(issuer)
    ):
        raise PolicyLoadError(f"{where}.issuer is not an https URL", next_step="write it exactly as in the token's iss")
    if not isinstance(audience, str) or not audience:
        raise PolicyLoadError(f"{where}.audience is missing", next_step="write the aud that tokens for twokey carry")
    claim, table = _role_rules(item.get("roles"), where)
    rules = ClaimRules(
        issuer=issuer,
        audience=audience,
        roles_claim=claim,
        role_map=table,
        profile=_profile(item, where),
        single_audience=item.get("single_audience") is True,
        demanded=_demanded(item.get("claims"), where),
        scopes_required=item.get("scopes") == "required",
        lifetime_s=_lifetime(item.get("max_lifetime_s", DAY_S), where),
    )
    private = item.get("private_network") is True
    return TrustedIssuer(rules, DiscoveredKeys(issuer, loopback=dev, private=private))


def _profile(item: Mapping[str, object], where: str) -> Profile:
    name, platform, domain = item.get("profile", "rfc9068"), item.get("platform"), item.get("trust_domain")
    if (domain is not None) != (platform == "spiffe"):
        raise PolicyLoadError(f"{where}.trust_domain goes with platform: spiffe", next_step="write both or none")
    if name == "workload":
        if isinstance(domain, str) and is_trust_domain(domain):
            return of_trust_domain(domain)
        if domain is not None:
            raise PolicyLoadError(f"{where}.trust_domain is none", next_step="write it without spiffe://")
        if not isinstance(platform, str) or platform not in WORKLOADS:
            raise PolicyLoadError(f"{where}.platform is not known", next_step=f"write {' or '.join(WORKLOADS)}")
        return WORKLOADS[platform]
    if platform is not None:
        raise PolicyLoadError(f"{where}.platform goes with profile: workload", next_step="remove one of the two")
    if not isinstance(name, str) or name not in PROFILES:
        raise PolicyLoadError(f"{where}.profile is not known", next_step=f"write {', '.join(PROFILES)} or workload")
    return PROFILES[name]


def _lifetime(raw: object, where: str) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and raw > 0:
        return raw
    raise PolicyLoadError(f"{where}.max_lifetime_s is not a number of seconds", next_step="write 3600, or leave it out")


def _demanded(raw: object, where: str) -> Mapping[str, str]:
    if raw is None:
        return {}
    if isinstance(raw, Mapping) and all(isinstance(value, str) for value in raw.values()):
        return {str(key): str(value) for key, value in raw.items()}
    raise PolicyLoadError(f"{where}.claims is not a table of texts", next_step="write the claim and its one value")


def _role_rules(raw: object, where: str) -> tuple[str, Mapping[str, str]]:
    if raw is None:
        return "", {}
    if isinstance(raw, Mapping):
        claim, table = raw.get("claim"), raw.get("map")
        if isinstance(claim, str) and isinstance(table, Mapping) and all(isinstance(v, str) for v in table.values()):
            return claim, {str(key): str(value) for key, value in table.items()}
    raise PolicyLoadError(f"{where}.roles is not {{claim, map}}", next_step="map each value of the claim to a role")
