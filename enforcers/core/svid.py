"""Whether a certificate is the decision service's: by its SPIFFE ID (X.509-SVID, section 5) or its host name, exactly.

TLS has shown that the other side holds the key and that an authority of ours signed it. The name is taken from the
subject's alternative names alone, never the common name, and compared to the byte: no wildcards, no folding of case.
"""

from __future__ import annotations

import re
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from enforcers.core.errors import EnforcerError

Extension = TypeVar("Extension", bound=x509.ExtensionType)

_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)+\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_MAX_ID = 2048


class StrangerError(EnforcerError):
    """Whoever answers is not the decision service."""


def is_spiffe_id(name: str) -> bool:
    return _ID.match(name) is not None and len(name) <= _MAX_ID


def is_name(name: str) -> bool:
    """Whether a service can be known by this: a SPIFFE ID of a workload, or a host's name in lower case."""
    return is_spiffe_id(name) or _HOST.match(name) is not None


def check_service(der: bytes, name: str) -> None:
    """Raises StrangerError, which says why in words for the log."""
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        alternative = _extension(extensions, x509.SubjectAlternativeName)
        usage = _extension(extensions, x509.KeyUsage)
        purposes = _extension(extensions, x509.ExtendedKeyUsage)
        constraints = _extension(extensions, x509.BasicConstraints)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise StrangerError("its certificate can't be read") from None
    uris = alternative.get_values_for_type(x509.UniformResourceIdentifier) if alternative is not None else []
    hosts = alternative.get_values_for_type(x509.DNSName) if alternative is not None else []
    if is_spiffe_id(name):
        _check_svid(uris, usage, name)
    elif name not in hosts:
        raise StrangerError(f"its certificate is for {', '.join(sorted(hosts)) or 'no host'}, not {name}")
    if constraints is not None and constraints.ca:
        raise StrangerError("its certificate is an authority's")
    if usage is not None and (not usage.digital_signature or usage.key_cert_sign or usage.crl_sign):
        raise StrangerError("its certificate's key is not for signing in TLS, or for signing certificates")
    if purposes is not None and ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        raise StrangerError("its certificate is not for servers")


def _check_svid(uris: list[str], usage: x509.KeyUsage | None, name: str) -> None:
    if len(uris) != 1:
        raise StrangerError("its certificate is no SVID: it has not exactly one URI")
    if uris[0] != name:
        raise StrangerError(f"its certificate is {uris[0]}'s, not {name}'s")
    if usage is None:
        raise StrangerError("its SVID does not say what its key is for")


def _extension(extensions: x509.Extensions, kind: type[Extension]) -> Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
