"""Proofs of possession of a key, sent with each call (RFC 9449): the twelve checks of its section 4.3, and nonces.

A proof is believed for one method at one address of ours, once, within a minute. `read_proof` makes every check that
needs nothing but the proof, the call and the time; `Proofs.use` spends it in the store that all replicas share. It is
spent only once its token was accepted, so that who has no token can't fill the store.

A nonce is an HMAC of a time bucket and of the key it was asked for with: nothing is stored, every replica with the same
secret knows it, and it is of no use to another client. It ends the worth of proofs made ahead for times to come.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from decision.errors import TokenError
from decision.identity.jose import ALGORITHMS, MAX_TOKEN, public_key, segments, signed_by

PAST_S: Final = 60
FUTURE_S: Final = 5
BUCKET_S: Final = 120  # a nonce is good for its bucket and the next
MAX_PROOF: Final = 4096

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_JTI: Final = re.compile(r"[\x21-\x7e]{8,256}\Z")
_PORTS: Final = {"https": 443, "http": 80}


class NonceError(TokenError):
    """The proof is good but for its nonce, which `nonce` is to be used instead."""

    code = "USE_DPOP_NONCE"

    def __init__(self, nonce: str) -> None:
        super().__init__("the proof needs the nonce that comes with this answer", next_step="Sign it again with it.")
        self.nonce = nonce


@dataclass(frozen=True, slots=True)
class Call:
    """What a proof must be about. addresses: the URL as each of our public origins spells it."""

    method: str
    addresses: Collection[str]


@dataclass(frozen=True, slots=True)
class Proof:
    """A good one, not yet spent."""

    jkt: str
    key: bytes = field(repr=False)  # SHA-256 over (jkt, htu, jti): what it is spent by
    until: float  # seconds since 1970; after that its age alone refuses it


class Replays(Protocol):
    """Proofs that were used, shared by the replicas of a service."""

    async def spend(self, key: bytes, *, seconds: float) -> bool:
        """False when it was spent before. Raises StoreError, also where the store is full."""


class Nonces:
    """secret: of at least 32 bytes, the same on every replica."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, jkt: str, now: float) -> str:
        return self._at(int(now // BUCKET_S), jkt)

    def good(self, nonce: str, jkt: str, now: float) -> bool:
        """Of this bucket or the one before, made for this key."""
        bucket = int(now // BUCKET_S)
        made = (self._at(bucket, jkt), self._at(bucket - 1, jkt))
        return any(hmac.compare_digest(nonce.encode(), one.encode()) for one in made)

    def _at(self, bucket: int, jkt: str) -> str:
        return b64(hmac.digest(self._secret, f"{bucket}.{jkt}".encode(), "sha256")[:24])


@dataclass(frozen=True, slots=True)
class Proofs:
    """nonces None: none is asked for."""

    replays: Replays
    nonces: Nonces | None
    now: Callable[[], float]

    def read(self, proof: str, call: Call, token: str) -> Proof:
        """Every check but the one for a second use. Raises TokenError TOKEN_PROOF, NonceError."""
        return read_proof(proof, call, token, now=self.now(), nonces=self.nonces)

    async def use(self, proof: Proof) -> None:
        """Spend it. Raises TokenError TOKEN_PROOF: it was used before; StoreError."""
        if not await self.replays.spend(proof.key, seconds=max(1.0, proof.until - self.now())):
            raise TokenError("the proof was used before", code="TOKEN_PROOF")


def read_proof(proof: str, call: Call, token: str, *, now: float, nonces: Nonces | None) -> Proof:
    """RFC 9449, section 4.3; the numbers are that list's. (1, one header field, is for who reads the header.)

    Raises TokenError TOKEN_PROOF, NonceError.
    """
    try:
        header, claims = segments(proof if len(proof) <= MAX_PROOF else "")  # 2: one well-formed JWT
    except TokenError:
        raise _wrong("can't be read") from None
    jti, htm, htu, iat = _claims(claims)  # 3
    jkt = _signer(header, proof)  # 4 to 7
    if htm != call.method:  # 8
        raise _wrong("is for another method")
    address = normal(htu)
    if address is None or address not in {normal(one) for one in call.addresses}:  # 9
        raise _wrong("is for another address")
    if nonces is not None:  # 10
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not nonces.good(nonce, jkt, now):
            raise NonceError(nonces.make(jkt, now))
    if not now - PAST_S <= iat <= now + FUTURE_S:  # 11
        raise _wrong("is not of this minute")
    ath = claims.get("ath")
    if not isinstance(ath, str) or not hmac.compare_digest(ath.encode(), token_hash(token).encode()):  # 12
        raise _wrong("is for another token")
    spent = hashlib.sha256("\0".join((jkt, address, jti)).encode()).digest()
    return Proof(jkt, spent, iat + PAST_S)


def _claims(claims: Mapping[str, object]) -> tuple[str, str, str, float]:
    """jti, htm, htu, iat."""
    jti, htm, htu, iat = (claims.get(name) for name in ("jti", "htm", "htu", "iat"))
    if not isinstance(jti, str) or not _JTI.match(jti) or not isinstance(htm, str) or not isinstance(htu, str):
        raise _wrong("lacks jti, htm or htu")
    if isinstance(iat, bool) or not isinstance(iat, int | float):
        raise _wrong("lacks iat")
    return jti, htm, htu, iat


def _signer(header: Mapping[str, object], proof: str) -> str:
    """The thumbprint of the one public key in the header, which signed it."""
    if header.get("typ") != "dpop+jwt":  # 4
        raise _wrong("is not one (typ dpop+jwt)")
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in ALGORITHMS:  # 5: asymmetric ones are all there are
        raise _wrong("has an algorithm that is not accepted")
    if header.keys() & {"crit", "b64", "jku", "x5u", "x5c"}:
        raise _wrong("has a header that is not accepted")
    raw = header.get("jwk")
    if not isinstance(raw, dict) or _PRIVATE & raw.keys():  # 7
        raise _wrong("does not hold one public key")
    key = public_key(raw)
    if key is None or not key.fits(alg) or not signed_by(proof, key):  # 6
        raise _wrong("is not signed by its key")
    return key.key.thumbprint()


def token_hash(token: str) -> str:
    """`ath`: base64url of SHA-256 over the token's ASCII."""
    return b64(hashlib.sha256(token.encode()).digest())


def normal(address: str) -> str | None:
    """`htu` without query and fragment, scheme and host in lower case, the scheme's own port left out; None where it
    is no http address. The path stays as it is: two spellings of one path are two paths (RFC 3986, section 6.2.1)."""
    if len(address) > MAX_TOKEN or not address.isascii() or not address.isprintable():
        return None
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or parts.username is not None or parts.password is not None:
        return None
    host = f"[{host}]" if ":" in host else host
    where = host if port in {None, _PORTS[parts.scheme]} else f"{host}:{port}"
    return urlunsplit((parts.scheme, where, parts.path or "/", "", ""))


def b64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _wrong(what: str) -> TokenError:
    return TokenError(f"the proof of possession {what}", code="TOKEN_PROOF")
