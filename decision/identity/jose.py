"""The parts of JOSE a token may use here, and the strict JSON both halves of it must be (RFC 7515, 8725, 9068).

A compact JWS and nothing else: no JSON serialization, no encryption, no `crit`, no key that travels with the token.
An algorithm is tied to the one kind of key it is for, so a key can never be used in another way than its issuer meant.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.registry import Header

from decision.errors import TokenError

MAX_TOKEN = 16 * 1024
MAX_KID = 256

_MIN_RSA_BITS = 2048
_CARRIED_KEYS = frozenset({"jku", "jwk", "x5u", "x5c"})
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+\Z")

# alg -> (kty, curve)
ALGORITHMS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}


class _Registry(JWSRegistry):
    """joserfc's checks, with its algorithms looked up by our table (EdDSA is still what most issuers say)."""

    max_header_length = 2048

    def get_alg(self, name: str):  # type: ignore[no-untyped-def] # the return type is private to joserfc
        if name not in ALGORITHMS:
            raise TokenError("the token's algorithm is not accepted", code="TOKEN_ALG")
        return self.algorithms[name]

    def check_header(self, header: Header) -> None:
        """Checked by `read_token`."""


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token taken apart. Nothing in it is true yet."""

    text: str
    alg: str
    kid: str
    typ: str  # lower case, without "application/"; "" where there is none
    claims: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key of an issuer; `alg` "" where the issuer doesn't pin one."""

    key: Key
    kty: str
    crv: str
    alg: str

    def fits(self, alg: str) -> bool:
        return ALGORITHMS.get(alg) == (self.kty, self.crv) and self.alg in {"", alg}


def read_token(token: str) -> UnverifiedToken:
    """Take a token apart without believing it.

    Raises TokenError: TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_ALG, TOKEN_TYPE (it has one that is no text) or
    TOKEN_SIGNATURE. Whether the type is one of the issuer's profile is for who knows the issuer.
    """
    if not token:
        raise TokenError("a token is needed", code="TOKEN_MISSING")
    parts = _parts(token)
    header = _object(parts[0])
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise TokenError("the token's algorithm is not accepted", code="TOKEN_ALG")
    if not _SEGMENT.match(parts[2]):
        raise TokenError("the token has no signature", code="TOKEN_SIGNATURE")
    typ = header.get("typ", "")
    if not isinstance(typ, str) or ("typ" in header and not typ):
        raise TokenError("the token's type is no text", code="TOKEN_TYPE")
    if "crit" in header or "b64" in header or _CARRIED_KEYS & header.keys():
        _malformed()
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise TokenError("the token doesn't name its key", code="TOKEN_SIGNATURE")
    return UnverifiedToken(token, alg, kid, typ.lower().removeprefix("application/"), _object(parts[1]))


def segments(text: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Header and claims of a compact JWS, not believed. Raises TokenError TOKEN_MALFORMED."""
    parts = _parts(text)
    if not _SEGMENT.match(parts[2]):
        _malformed()
    return _object(parts[0]), _object(parts[1])


def verify_signature(token: UnverifiedToken, key: VerificationKey) -> None:
    """Raises TokenError: TOKEN_ALG (the key is of another kind) or TOKEN_SIGNATURE."""
    if not key.fits(token.alg):
        raise TokenError("the token's algorithm doesn't fit its key", code="TOKEN_ALG")
    if not signed_by(token.text, key):
        raise TokenError("the token's signature is not right", code="TOKEN_SIGNATURE")


def signed_by(text: str, key: VerificationKey) -> bool:
    """Whether a compact JWS carries this key's signature, by the algorithm its header names."""
    try:
        deserialize_compact(text, key.key, registry=_Registry())
    except (JoseError, ValueError, TokenError):
        return False
    return True


def read_key(raw: object) -> tuple[str, VerificationKey] | None:
    """One member of a JWK set: its kid and public part; None for one that can't verify a token here (RFC 7517)."""
    if not isinstance(raw, dict):
        return None
    kid = raw.get("kid")
    operations = raw.get("key_ops", ["verify"])
    usable = raw.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    if not usable or not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        return None
    key = public_key(raw)
    return None if key is None else (kid, key)


def public_key(raw: Mapping[str, object]) -> VerificationKey | None:
    """The public part of a JWK; None for one that can't verify here: another kind, too short, not a key."""
    kty, crv, alg = raw.get("kty"), raw.get("crv", ""), raw.get("alg", "")
    if not isinstance(kty, str) or not isinstance(crv, str) or not isinstance(alg, str):
        return None
    if (kty, crv) not in ALGORITHMS.values():
        return None
    public: dict[str, str | list[str]] = {
        name: str(raw[name]) for name in ("kty", "n", "e", "crv", "x", "y") if name in raw
    }
    if kty == "RSA" and len(public.get("n", "")) * 6 < _MIN_RSA_BITS:  # joserfc would only warn
        return None
    try:
        key = import_key(public)
    except (JoseError, ValueError, TypeError):
        return None
    if isinstance(key, RSAKey) and _rsa_bits(key) < _MIN_RSA_BITS:
        return None
    return VerificationKey(key, kty, crv, alg) if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _rsa_bits(key: RSAKey) -> int:
    public = key.public_key
    return public.key_size if isinstance(public, RSAPublicKey) else 0


def strict_object(content: bytes) -> Mapping[str, object]:
    """A JSON object without duplicate members, NaN, infinities or lone surrogates. Raises ValueError."""

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a member is given twice")
        return found

    def finite(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
        return value

    def constant(_text: str) -> NoReturn:
        raise ValueError("not a JSON number")

    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=pairs, parse_float=finite, parse_constant=constant
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate has no UTF-8
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if isinstance(value, dict):
        return value
    raise ValueError("not a JSON object")


def _parts(text: str) -> list[str]:
    """Three, the first two of which are base64url; what the third must be is for who knows what it is."""
    parts = text.split(".") if len(text) <= MAX_TOKEN else []
    if len(parts) != 3 or not all(_SEGMENT.match(part) for part in parts[:2]):
        _malformed()
    return parts


def _object(segment: str) -> Mapping[str, object]:
    try:
        return strict_object(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError:
        _malformed()


def _malformed() -> NoReturn:
    raise TokenError("the token is not a token this service reads", code="TOKEN_MALFORMED")
