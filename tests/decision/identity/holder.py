"""Clients' keys, and proofs made right and in every wrong way."""

from __future__ import annotations

import json
import secrets
import time

from joserfc.jwk import ECKey, Key

from decision.identity.dpop import token_hash
from tests.decision.identity.support import sign


class Holder:
    """A client that holds a key."""

    def __init__(self, key: Key | None = None, alg: str = "ES256") -> None:
        self.key = key or ECKey.generate_key("P-256")
        self.alg = alg

    @property
    def jkt(self) -> str:
        return self.key.thumbprint()

    def proof(
        self,
        url: str,
        token: str,
        *,
        method: str = "POST",
        nonce: str | None = None,
        header: dict[str, object] | None = None,
        **changes: object,
    ) -> str:
        """A change to None takes the claim, or the header, out."""
        claims: dict[str, object] = {
            "jti": secrets.token_urlsafe(12),
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
            "ath": token_hash(token),
            "nonce": nonce,
        }
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        full = {"typ": "dpop+jwt", "alg": self.alg, "jwk": self.key.as_dict(private=False), **(header or {})}
        return sign(json.dumps(kept), full, self.key)
