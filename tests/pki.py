"""Authorities and certificates for tests: a trust domain's, a client's, and each that must be refused."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = datetime.timedelta(hours=1)
BOTH = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def host(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(text))


@dataclass(frozen=True)
class Pair:
    """chain: PEM, the leaf first."""

    certificate: x509.Certificate
    chain: bytes
    key: bytes = field(repr=False)

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """The files of the chain and the key, each put in place at once."""
        files = folder / f"{name}.pem", folder / f"{name}.key"
        for file, content in zip(files, (self.chain, self.key), strict=True):
            draft = file.with_suffix(".new")
            draft.touch(mode=0o600)
            draft.write_bytes(content)
            draft.replace(file)
        return str(files[0]), str(files[1])


class Authority:
    def __init__(self, name: str = "root", *, under: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.under = under
        signer = under or self
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * HOUR)
            .not_valid_after(now + 24 * HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(_usage(digital_signature=False, key_cert_sign=True), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def leaf(
        self,
        *names: x509.GeneralName,
        common_name: str = "",
        ca: bool = False,
        begins: datetime.timedelta = -HOUR,
        ends: datetime.timedelta = HOUR,
        usage: x509.KeyUsage | None = None,
        no_usage: bool = False,
        purposes: Sequence[x509.ObjectIdentifier] = BOTH,
        aki: bool = True,
        self_signed: bool = False,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if not no_usage:
            builder = builder.add_extension(usage or _usage(), critical=True)
        if aki and not self_signed:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        made = builder.sign(key if self_signed else self.key, hashes.SHA256())
        chain = made.public_bytes(serialization.Encoding.PEM)
        if self.under is not None:
            chain += self.pem
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(made, chain, private)


def _usage(*, digital_signature: bool = True, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


usage = _usage
