"""Whom a certificate names: a SPIFFE ID (X.509-SVID, sections 2 to 5; SPIFFE-ID, section 2) or a host's name.

TLS has shown by then that the other side holds the key and that a known authority signed it. What no TLS library
decides is done here: the name is taken from the subject's alternative names alone (never the common name), compared
exactly (no wildcards, no case folding, no percent-encoding), and a certificate that could sign others names nobody.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from decision.errors import CallerError

Extension = TypeVar("Extension", bound=x509.ExtensionType)

_LONGEST: Final = 16
_RETIRED: Final = "the certificate's authority is not believed any more"
_MAX_ID: Final = 2048
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}\Z")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+\Z")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")


class CertificateError(CallerError):
    """The certificate names nobody who may call. `why` is for the log and the record, not for the caller."""

    def __init__(self, message: str, *, why: str = "") -> None:
        super().__init__(message)
        self.why = why or message


def spiffe_id(text: str) -> str:
    """The same text, a SPIFFE ID of a workload. Raises ValueError for anything else, a trust domain's own included."""
    scheme, separator, rest = text.partition("://")
    domain, slash, path = rest.partition("/")
    if scheme != "spiffe" or not separator or len(text.encode()) > _MAX_ID:
        raise ValueError("is not spiffe://TRUST-DOMAIN/PATH")
    if not _TRUST_DOMAIN.match(domain):
        raise ValueError("has no trust domain of lower-case letters, digits, '.', '_' and '-'")
    if not slash or not all(_SEGMENT.match(part) and part not in {".", ".."} for part in path.split("/")):
        raise ValueError("has no path of letters, digits, '.', '_' and '-' between single slashes")
    return text


def host_name(text: str) -> str:
    """The same text, a host's name in lower case. Raises ValueError: anything else, wildcards included."""
    if not _HOST.match(text):
        raise ValueError("is not a host's name in lower case; wildcards name nobody")
    return text


def trust_domain(identity: str) -> str:
    """Of a SPIFFE ID."""
    return identity.removeprefix("spiffe://").partition("/")[0]


def thumbprint(der: bytes) -> str:
    """RFC 8705's `x5t#S256`: base64url of SHA-256 over the certificate, without padding."""
    return urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Leaf:
    """Whom a caller's certificate names. spiffe: by its ID, "" where it is no SVID; hosts: by DNS names otherwise."""

    spiffe: str
    hosts: frozenset[str]

    @property
    def named(self) -> str:
        """For a log: never empty."""
        return self.spiffe or ", ".join(sorted(self.hosts)) or "nobody"


def read_certificate(pem: bytes) -> x509.Certificate:
    """Raises CertificateError: it can't be read whole."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.extensions  # noqa: B018 - reading them is what checks them
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise CertificateError("the certificate can't be read") from None
    return certificate


def read_chain(pem: bytes) -> Sequence[x509.Certificate]:
    """What a caller showed beside its own certificate. Raises CertificateError: it can't be read, or has no end."""
    if not pem:
        return ()
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError("the certificate's chain can't be read") from None
    if len(found) > _LONGEST:
        raise CertificateError(f"the certificate's chain has more than {_LONGEST} certificates")
    return found


def read_leaf(certificate: x509.Certificate) -> Leaf:
    """Raises CertificateError: it could sign others, is for something else, or says two things of whom it names."""
    extensions = certificate.extensions
    alternative = _extension(extensions, x509.SubjectAlternativeName)
    usage = _extension(extensions, x509.KeyUsage)
    purposes = _extension(extensions, x509.ExtendedKeyUsage)
    constraints = _extension(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise CertificateError("the certificate is an authority's, which names nobody")
    uris = alternative.get_values_for_type(x509.UniformResourceIdentifier) if alternative is not None else []
    hosts = alternative.get_values_for_type(x509.DNSName) if alternative is not None else []
    if len(uris) > 1:
        raise CertificateError("the certificate has more than one URI")
    spiffe = uris[0] if uris else ""
    if spiffe:
        try:
            spiffe_id(spiffe)
        except ValueError as error:
            raise CertificateError(f"the certificate's URI {error}") from None
    if usage is None and spiffe:
        raise CertificateError("the SVID does not say what its key is for")
    if usage is not None and (not usage.digital_signature or usage.key_cert_sign or usage.crl_sign):
        raise CertificateError("the certificate's key is not for signing in TLS, or for signing certificates")
    if purposes is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise CertificateError("the certificate is not for clients")
    return Leaf(spiffe, frozenset() if spiffe else frozenset(hosts))  # an SVID names by its ID alone


def _extension(extensions: x509.Extensions, kind: type[Extension]) -> Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


class Bundle:
    """The authorities that sign callers' certificates: of a SPIFFE trust domain its bundle.

    `retired` are the keys of authorities that were in a bundle before this one and aren't any more: TLS checked a
    connection against the bundle of its day, so what they signed is refused on connections that still stand.
    """

    def __init__(self, authorities: Sequence[x509.Certificate], retired: frozenset[bytes] = frozenset()) -> None:
        self.authorities = tuple(authorities)
        self.by_key = {key_identifier(one): one for one in authorities}
        self.retired = retired - self.by_key.keys()

    @property
    def pem(self) -> bytes:
        return b"".join(one.public_bytes(Encoding.PEM) for one in self.authorities)

    @property
    def expires(self) -> datetime:
        """When the first of them does."""
        return min(one.not_valid_after_utc for one in self.authorities)

    def after(self, former: Bundle | None) -> Bundle:
        """This one, as it follows that one."""
        if former is None:
            return self
        return Bundle(self.authorities, self.retired | former.retired | former.by_key.keys())

    def check(self, leaf: x509.Certificate, chain: Sequence[x509.Certificate] = ()) -> None:
        """Raises CertificateError: who signed it is not in the bundle any more, or is, and did not sign this; or no way
        leads by the intermediates in `chain` to an authority of the bundle. `chain`: what was shown with it; where that
        isn't known, one signed by an intermediate was judged by TLS when the connection was made, and isn't again."""
        named = _extension(leaf.extensions, x509.AuthorityKeyIdentifier)
        identifier = named.key_identifier if named is not None else None
        if identifier is not None and identifier in self.retired:
            raise CertificateError(_RETIRED)
        authority = self.by_key.get(identifier) if identifier is not None else None
        if identifier is None:
            same = [one for one in self.authorities if one.subject == leaf.issuer]
            if same and not any(_signed(leaf, one) for one in same):
                raise CertificateError(_RETIRED)
        elif authority is not None and not _signed(leaf, authority):
            raise CertificateError("the certificate is not signed by the authority it names")
        if authority is None and chain and not self._leads(leaf, chain):
            raise CertificateError(_RETIRED)

    def _leads(self, leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> bool:
        """From the leaf, signature by signature, to one of the bundle."""
        left, reached = [one for one in chain if one != leaf], [leaf]
        for one in reached:  # grows while it is walked, each of the chain at most once
            if any(one.issuer == authority.subject and _signed(one, authority) for authority in self.authorities):
                return True
            signers = [other for other in left if one.issuer == other.subject and _signed(one, other)]
            left = [other for other in left if other not in signers]
            reached += signers
        return False


def read_bundle(pem: bytes) -> Bundle:
    """Raises ValueError, whose text is the end of a sentence."""
    if b"PRIVATE KEY" in pem:
        raise ValueError("holds a private key, which does not belong there")
    try:
        found = x509.load_pem_x509_certificates(pem)
        constraints = [_extension(one.extensions, x509.BasicConstraints) for one in found]
    except (ValueError, x509.DuplicateExtension):
        raise ValueError("holds no certificates in PEM") from None
    if not all(one is not None and one.ca for one in constraints):
        raise ValueError("holds a certificate that is no authority's")
    return Bundle(found)


def key_identifier(certificate: x509.Certificate) -> bytes:
    """By which the certificates it signs name it."""
    stated = _extension(certificate.extensions, x509.SubjectKeyIdentifier)
    public = certificate.public_key()
    return stated.digest if stated is not None else x509.SubjectKeyIdentifier.from_public_key(public).digest


def _signed(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
