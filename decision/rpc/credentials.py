"""What a call brings to be believed: the enforcer's secret, or a token with the proofs of the keys it is bound to.

Each at most once: two of one kind are an attempt at confusion (two readers might take different ones). A token is taken
from the `authorization` field alone, never from an address, a cookie or a body (RFC 6750, section 5.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from decision.errors import CallerError, TokenError

ENFORCER_KEY: Final = "x-twokey-enforcer"
TOKEN_KEY: Final = "authorization"  # noqa: S105 - the name of a header
PROOF_KEY: Final = "dpop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """token with its scheme, "bearer" or "dpop"; proof: the DPoP header's text; x5t: the thumbprint of the certificate
    shown in TLS."""

    secret: str | None = field(default=None, repr=False)
    scheme: str = ""
    token: str | None = field(default=None, repr=False)
    proof: str | None = field(default=None, repr=False)
    x5t: str = ""


def read(fields: Iterable[tuple[str, str | bytes]], *, x5t: str = "") -> Credentials:
    """Of header fields, names in lower case. Raises TokenError, CallerError."""
    found: dict[str, str] = {}
    for key, value in fields:
        if key not in (ENFORCER_KEY, TOKEN_KEY, PROOF_KEY):
            continue
        if not isinstance(value, str) or not value.isascii():
            raise TokenError("a credential is not text", code="TOKEN_MALFORMED")
        if key in found:
            if key == ENFORCER_KEY:
                raise CallerError("the enforcer's secret is given twice")
            raise TokenError("two tokens or proofs were given", code="TOKEN_MALFORMED")
        found[key] = value
    scheme, token = _authorization(found[TOKEN_KEY]) if TOKEN_KEY in found else ("", None)
    proof = found.get(PROOF_KEY)
    if (proof is not None) != (scheme == "dpop"):
        # A bound token sent as a bearer token, or a proof that nobody would look at.
        raise TokenError("a proof goes with the scheme DPoP, and the scheme with a proof", code="TOKEN_PROOF")
    return Credentials(secret=found.get(ENFORCER_KEY), scheme=scheme, token=token, proof=proof, x5t=x5t)


def _authorization(value: str) -> tuple[str, str]:
    scheme, _, token = value.partition(" ")
    if scheme.lower() not in {"bearer", "dpop"}:
        raise TokenError("the authorization is neither a bearer token nor a DPoP one", code="TOKEN_MALFORMED")
    return scheme.lower(), token.strip()
