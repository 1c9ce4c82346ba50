"""What an access request is bound to (access request and approval profile, "Structural Comparison" and "Denial Binding
Claims"): the digest of exactly what was denied, in a token of ours that nobody else can make.

The token is a JWS, so that the denial needs no state. It is told from every other token by its type, its issuer and its
audience, and opens nothing by itself: whoever shows it is authenticated, and is the application that was denied.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey
from joserfc.jws import serialize_compact

from decision.errors import TokenError
from decision.identity.jose import VerificationKey, read_token, verify_signature
from decision.model import IdentityKey

ISSUER: Final = "urn:twokey:authzen"
AUDIENCE: Final = "urn:twokey:access-requests"
TYPE: Final = "twokey-denial+jwt"
# Members of a context that are the profile's own, or change from one request to the next: not "authorization-relevant".
MACHINERY: Final = frozenset(
    {"access_request", "approval", "evaluation_id", "evaluated_at", "reason", "next_action", "retry_after", "time",
     "obligations_supported", "supported_obligations"}
)  # fmt: skip


class BindingError(Exception):
    """The token binds nothing here. Never seen outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a denial's token says. members: of the context; client: who was denied, as `client_of` spells it."""

    evaluation: str
    digest: str
    members: Sequence[str]
    client: str
    expires: datetime


def members_of(document: Mapping[str, object]) -> Sequence[str]:
    context = document.get("context")
    return sorted(set(context) - MACHINERY) if isinstance(context, dict) else []


def relevant(document: Mapping[str, object], members: Sequence[str]) -> dict[str, object]:
    """Subject (but for `properties.act`), resource, action, and these members of the context. An absent member is not
    one that is null."""
    subject = document["subject"]
    if isinstance(subject, dict) and isinstance(subject.get("properties"), dict) and "act" in subject["properties"]:
        kept = {name: value for name, value in subject["properties"].items() if name != "act"}
        subject = {**subject, "properties": kept}
    context = document.get("context")
    inner = context if isinstance(context, dict) else {}
    return {
        "subject": subject,
        "resource": document["resource"],
        "action": document["action"],
        "context": {name: inner[name] for name in members if name in inner},
    }


def digest(document: Mapping[str, object], members: Sequence[str]) -> bytes | None:
    """SHA-256 of its canonical form (RFC 8785); None where it has none: numbers beyond 2^53."""
    try:
        return hashlib.sha256(rfc8785.dumps(_plain(relevant(document, members)))).digest()
    except rfc8785.CanonicalizationError:
        return None


def client_of(chain: Sequence[IdentityKey]) -> str:
    """Who calls, with everyone behind them, short."""
    return _base64(hashlib.sha256(orjson.dumps([[one.iss, one.sub] for one in chain])).digest())


class Binding:
    """Signs and reads the tokens of denials, by a key of the run's own."""

    def __init__(self, secret: bytes) -> None:
        raw = Ed25519PrivateKey.from_private_bytes(hmac.digest(secret, b"authzen-denials", "sha256"))
        self._key = OKPKey.import_key(raw.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.kid = self._key.thumbprint()
        self._public = VerificationKey(OKPKey.import_key(self._key.as_dict(private=False)), "OKP", "Ed25519", "Ed25519")

    def jwks(self) -> Mapping[str, object]:
        """The public key, for whoever wants to read a token (RFC 7517)."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "Ed25519"}]}

    def sign(self, bound: Bound, *, now: datetime) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": int(now.timestamp()),
            "exp": int(bound.expires.timestamp()),
            "denial_expires_at": spelt(bound.expires),
            "jti": bound.evaluation,
            "evaluation_id": bound.evaluation,
            "binding_hash": bound.digest,
            "binding_context_members": list(bound.members),
            "client": bound.client,
        }
        header = {"alg": "Ed25519", "typ": TYPE, "kid": self.kid}
        return serialize_compact(header, orjson.dumps(claims), self._key, algorithms=["Ed25519"])

    def read(self, text: str) -> Bound:
        """Expired ones too. Raises BindingError for anything that isn't a token of `sign`."""
        try:
            token = read_token(text)
            verify_signature(token, self._public)
        except TokenError as error:
            raise BindingError(error.code) from None
        claims = token.claims
        if (token.typ, token.kid, claims.get("iss"), claims.get("aud")) != (TYPE, self.kid, ISSUER, AUDIENCE):
            raise BindingError("another kind of token")
        members, ends = claims.get("binding_context_members"), claims.get("exp")
        if not isinstance(members, list) or not isinstance(ends, int):
            raise BindingError("a claim is missing")
        return Bound(
            evaluation=str(claims.get("evaluation_id")),
            digest=str(claims.get("binding_hash")),
            members=[str(one) for one in members],
            client=str(claims.get("client")),
            expires=datetime.fromtimestamp(ends, UTC),
        )


def spelt(moment: datetime) -> str:
    """RFC 3339, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text_of(digest_of: bytes) -> str:
    return _base64(digest_of)


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _plain(value: dict[str, object]) -> Any:
    """As JSON reads it again: what is compared is what travels."""
    return orjson.loads(orjson.dumps(value))
