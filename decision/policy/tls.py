"""A certificate for one run of the local OPA, so that a process that took over its port is not believed.

Any local user may bind a loopback port that OPA has just left. The private key exists in memory only: it reaches OPA
through an anonymous in-memory file (memfd_create(2)) that OPA inherits.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    certificate: bytes  # PEM
    key: bytes = field(repr=False)  # PEM, PKCS #8

    def trust(self) -> ssl.SSLContext:
        """A client context that believes this certificate and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.certificate.decode())
        return context


def new_identity() -> ServerIdentity:
    """A fresh self-signed P-256 certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "twokey local OPA")])
    today = datetime.datetime.now(datetime.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=2))  # a clock that is set back must not stop decisions
        .not_valid_after(today + datetime.timedelta(days=3650))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ServerIdentity(certificate.public_bytes(Encoding.PEM), private)


@contextmanager
def handed_over(content: bytes, folder: Path, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A path that a child may read `content` from, and the descriptors it must inherit for that.

    Where the system has no memfd_create (macOS), a 0600 file in `folder`, gone when the block ends.
    """
    if not hasattr(os, "memfd_create"):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        try:
            yield str(path), ()
        finally:
            path.unlink(missing_ok=True)
        return
    descriptor = os.memfd_create(name)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)
