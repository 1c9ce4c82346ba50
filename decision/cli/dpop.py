"""Signing each call with the key that one's token is bound to (RFC 9449), from --dpop-key or of one's log-in.

The service asks for a nonce of its own by refusing the first proof; the call is signed again with it, once. For a
stream the proof covers its opening.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key
from joserfc.jws import serialize_compact

from decision.cli.errors import CliError

NONCE = "dpop-nonce"
_MAX_KEY = 16 * 1024
_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "Ed25519"}


@dataclass(frozen=True, slots=True)
class Signer:
    """One private key."""

    key: ECKey | OKPKey | RSAKey = field(repr=False)
    alg: str

    def proof(self, url: str, token: str, nonce: str) -> str:
        """For a POST; `token` "" where there is none yet, as at an issuer's token endpoint."""
        claims: dict[str, object] = {
            "jti": secrets.token_urlsafe(16),
            "htm": "POST",
            "htu": url,
            "iat": int(time.time()),
        }
        if token:
            claims["ath"] = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode("ascii")
        if nonce:
            claims["nonce"] = nonce
        header = {"typ": "dpop+jwt", "alg": self.alg, "jwk": self.key.as_dict(private=False)}
        return serialize_compact(header, json.dumps(claims), self.key, algorithms=[self.alg])


def read_key(path: Path) -> Signer:
    """A private JWK in a file of one's own. Raises CliError."""
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise CliError(f"others may read the key in {path}", next_step=f"chmod 600 {path}")
            key = import_key(json.loads(file.read(_MAX_KEY)))
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"the key file {path} can't be read: {type(error).__name__}") from None
    except (ValueError, TypeError, JoseError):
        key = None
    if not isinstance(key, ECKey | OKPKey | RSAKey) or not key.is_private:
        raise CliError(f"{path} holds no private key", next_step="it is a JWK (RFC 7517): EC, Ed25519 or RSA")
    return Signer(key, _ALGORITHMS.get(str(key.as_dict().get("crv", "")), "RS256"))


class Signing(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Turns the bearer token in a call's metadata into a bound one with its proof."""

    def __init__(self, signer: Signer, origin: str) -> None:
        self._signer = signer
        self._origin = origin
        self._nonce = ""

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        call = continuation(self._signed(details), request)
        if not self._learns(call):
            return call
        return continuation(self._signed(details), request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        call = continuation(self._signed(details), request)
        if not self._nonce and self._learns(call):  # initial metadata is there before the first message
            return continuation(self._signed(details), request)
        return call

    def _signed(self, details: Any) -> Any:
        metadata = []
        for name, value in details.metadata or ():
            if name == "authorization" and value.startswith("Bearer "):
                token = value.removeprefix("Bearer ")
                proof = self._signer.proof(f"{self._origin}{details.method}", token, self._nonce)
                metadata += [("authorization", f"DPoP {token}"), ("dpop", proof)]
            else:
                metadata.append((name, value))
        return details._replace(metadata=metadata)

    def _learns(self, call: Any) -> bool:
        """Whether the service asks for another nonce, which is then used."""
        for name, value in call.initial_metadata() or ():
            if name == NONCE and value != self._nonce:
                self._nonce = value
                return True
        return False
