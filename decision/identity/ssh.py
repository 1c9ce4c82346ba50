"""SSH user certificates (OpenSSH, PROTOCOL.certkeys): what a session's token says, signed for a key that will log in.

Publickey authentication signs the SSH session's id, so whoever logs in with a certificate holds its key: it needs no
other proof. It is for one role on one connection (its principal, `role+connection`), at most five minutes, and says
whose it is and who acts in extensions of our own, which servers that don't know them ignore. Its key id is the token's,
in the form that revocations name it by: ids are unique only to their issuer, and may hold any text, which servers write
into their logs.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from decision.errors import BadRequestError, PolicyLoadError
from decision.model import IdentityKey, VerifiedToken, token_key

LIFETIME_S: Final = 300  # from one end to the other
EARLY_S: Final = 10  # of it before now, for servers whose clock is behind
MAX_KEY: Final = 8192
MAX_COMMAND: Final = 4096
MIN_RSA: Final = 2048
_LOOPBACK: Final = "127.0.0.0/8,::1/128"

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a certificate is asked for. command: the only one it runs, "" for any. address: the host it is used from,
    as `identity.admission.host_of` spells it, "" where it isn't bound to one."""

    key: PublicKey
    connection: str
    role: str
    command: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """text: the line of a `-cert.pub` file."""

    text: str
    key_id: str
    serial: int
    expires: datetime


def read_public_key(text: str) -> PublicKey:
    """One line as ssh-keygen writes it. Raises BadRequestError: another form or kind of key, or too short a one."""
    line = text.strip()
    if len(text) > MAX_KEY or not line.isascii() or not line.isprintable() or "-cert-v" in line.partition(" ")[0]:
        raise _no_key()
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key() from None
    if not isinstance(key, PublicKey) or (isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA):
        raise _no_key()
    return key


def _no_key() -> BadRequestError:
    return BadRequestError(
        "the public key is none that a certificate is made for",
        next_step=f"Send one line as ssh-keygen writes it: Ed25519, ECDSA, or RSA of {MIN_RSA} bits or more.",
    )


def key_id(token: VerifiedToken) -> str:
    """What the certificates of a token are known by: as `twokey audit` shows it and revocation lists name it."""
    return token_key(token.issuer, token.token_id).hex()


class SshAuthority:
    """Signs. Its private key is in memory alone; `public` is a line of TrustedUserCAKeys."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)

    @classmethod
    def read(cls, text: str) -> SshAuthority:
        """OpenSSH's or PEM's form, without a passphrase. Raises PolicyLoadError, which never shows it."""
        raw = text.encode() + b"\n"  # OpenSSH's form must end with one, and sources cut it off
        load = load_ssh_private_key if b"BEGIN OPENSSH" in raw else load_pem_private_key
        try:
            key = load(raw, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, PrivateKey) or (isinstance(key, RSAPrivateKey) and key.key_size < MIN_RSA):
            raise PolicyLoadError(
                "decision.ssh.key gives no private key to sign with",
                next_step="make one: ssh-keygen -t ed25519 -N '' -f ca",
            )
        return cls(key)

    def certify(self, wanted: Wanted, token: VerifiedToken, *, now: datetime) -> Certificate:
        """A certificate that ends with the token, after at most LIFETIME_S."""
        at = int(now.timestamp())
        starts = at - EARLY_S
        ends = min(starts + LIFETIME_S, int(token.expires.timestamp()))
        serial = secrets.randbits(63)
        name = key_id(token)
        builder = (
            SSHCertificateBuilder()
            .public_key(wanted.key)
            .serial(serial)
            .type(SSHCertificateType.USER)
            .key_id(name.encode())
            .valid_principals([f"{wanted.role}+{wanted.connection}".encode()])
            .valid_after(starts)
            .valid_before(ends)
            .add_extension(b"permit-pty", b"")
        )
        if wanted.command:
            builder = builder.add_critical_option(b"force-command", wanted.command.encode())
        if wanted.address:
            hosts = _LOOPBACK if wanted.address == "loopback" else wanted.address
            builder = builder.add_critical_option(b"source-address", hosts.encode())
        for extension, value in _said(wanted, token):
            builder = builder.add_extension(extension, value)
        text = builder.sign(self._key).public_bytes().decode("ascii")
        return Certificate(text=text, key_id=name, serial=serial, expires=datetime.fromtimestamp(ends, now.tzinfo))


def _said(wanted: Wanted, token: VerifiedToken) -> list[tuple[bytes, bytes]]:
    """Whose certificate it is, as our own gateway reads it."""
    chain = [_identity(actor) for actor in token.actors]
    return [
        (b"actors@twokey", orjson.dumps(chain)),
        (b"connection@twokey", wanted.connection.encode()),
        (b"role@twokey", wanted.role.encode()),
        (b"subject@twokey", orjson.dumps(_identity(token.identity))),
    ]


def _identity(key: IdentityKey) -> dict[str, str]:
    return {"iss": key.iss, "sub": key.sub}
