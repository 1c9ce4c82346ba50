"""Where a connection leads, and how much of that is to be proved: host, TLS, and which log-ins are acceptable.

The options are libpq's, with its meanings ("Database Connection Control Functions", "SSL Support"), except that
nothing is tried in the clear behind a mode's back: there is no `prefer` and no `allow`.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from enforcers.core.credentials import ClientCertificate
from enforcers.core.errors import SettingsError, UpstreamError
from enforcers.core.tls import load_pair

SSLMODES = ("disable", "require", "verify-ca", "verify-full")
METHODS = ("none", "password", "md5", "scram-sha-256")
BINDINGS = ("disable", "prefer", "require")
SYSTEM = "system"  # sslrootcert=system: the machine's own roots
_OPTIONS = {"sslmode", "sslrootcert", "sslnegotiation", "channel_binding", "require_auth", "host"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a connection of the configuration leads. host is a name or address, or a socket's directory."""

    host: str
    port: int
    database: str
    sslmode: str
    ca: str = ""  # file of root certificates; the system's when empty
    direct: bool = False  # TLS without asking for it first (targets from 17)
    channel_binding: str = "prefer"
    require_auth: frozenset[str] = frozenset()  # of METHODS; empty: any, a cleartext password only where nobody listens

    @property
    def local(self) -> bool:
        if self.host.startswith("/") or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def encrypted(self) -> bool:
        return self.sslmode != "disable" and not self.host.startswith("/")

    def accepts(self, method: str) -> bool:
        """May the target ask for this one of METHODS? A password in the clear is its to read only over TLS, on this
        machine, or where the configuration says so."""
        if self.require_auth:
            return method in self.require_auth
        return method != "password" or self.encrypted or self.local

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


def parse_target(url: str) -> Target:
    """`postgresql://host:port/database?sslmode=…&sslrootcert=…&require_auth=…&host=/socket/directory`.

    Raises SettingsError.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise SettingsError("upstream: a postgresql:// URL is needed")
    if parts.password is not None:
        raise SettingsError("upstream: no password in the URL; give it as a credential")
    options = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise SettingsError(f"upstream: unknown option {unknown[0]!r}")
    host = options.get("host") or parts.hostname or "127.0.0.1"
    try:
        port = parts.port or 5432
    except ValueError as error:
        raise SettingsError("upstream: no such port") from error
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise SettingsError("upstream: the URL names no database")
    local = Target(host=host, port=port, database=database, sslmode="disable").local
    return _consistent(
        Target(
            host=host,
            port=port,
            database=database,
            sslmode=_one_of(options, "sslmode", SSLMODES, "disable" if local else "verify-full"),
            ca="" if options.get("sslrootcert") == SYSTEM else options.get("sslrootcert", ""),
            direct=_one_of(options, "sslnegotiation", ("postgres", "direct"), "postgres") == "direct",
            channel_binding=_one_of(options, "channel_binding", BINDINGS, "prefer"),
            require_auth=_methods(options.get("require_auth", "")),
        )
    )


def _consistent(target: Target) -> Target:
    if target.direct and not target.encrypted:
        raise SettingsError("upstream: sslnegotiation=direct needs sslmode=require or better")
    if target.channel_binding == "require" and not target.encrypted:
        raise SettingsError("upstream: channel_binding=require needs TLS (sslmode)")
    return target


def _one_of(options: dict[str, str], name: str, known: tuple[str, ...], default: str) -> str:
    value = options.get(name, default)
    if value not in known:
        raise SettingsError(f"upstream: {name} {value!r} is not one of {', '.join(known)}")
    return value


def _methods(text: str) -> frozenset[str]:
    methods = frozenset(item.strip() for item in text.split(",") if item.strip())
    unknown = sorted(methods - set(METHODS))
    if unknown:
        raise SettingsError(f"upstream: require_auth {unknown[0]!r} is not one of {', '.join(METHODS)}")
    return methods


# TLS


@dataclass(slots=True)
class Contexts:
    """TLS contexts of one target, made once: reading a machine's root certificates takes longer than a log-in."""

    _plain: ssl.SSLContext | None = field(default=None, repr=False)
    _stamp: tuple[int, int] = (0, 0)

    def context(self, target: Target, certificate: ClientCertificate | None) -> ssl.SSLContext:
        """Raises UpstreamError: root certificates, or the account's own, can't be used."""
        if certificate is not None:
            context = client_context(target)
            try:
                load_pair(context, certificate.chain, certificate.key, f"the account's certificate at {target}")
            except SettingsError as error:
                raise UpstreamError(str(error)) from None
            return context
        stamp = _stamp_of(target.ca)
        if self._plain is None or stamp != self._stamp:
            self._plain, self._stamp = client_context(target), stamp
        return self._plain


def client_context(target: Target) -> ssl.SSLContext:
    """As sslmode wants it. Raises UpstreamError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])
    context.check_hostname = target.sslmode == "verify-full"
    if target.sslmode not in {"verify-ca", "verify-full"}:
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if target.ca:
            context.load_verify_locations(target.ca)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except (OSError, ssl.SSLError) as error:
        raise UpstreamError(f"the root certificates for {target} can't be read ({type(error).__name__})") from None
    return context


def server_name(target: Target) -> str | None:
    """For the check of the name, and for SNI, which is for names only (RFC 6066, section 3)."""
    if target.sslmode == "verify-full":
        return target.host
    try:
        ipaddress.ip_address(target.host)
    except ValueError:
        return target.host
    return None


def end_point(certificate: bytes) -> bytes:
    """The tls-server-end-point channel binding of a server's certificate (DER): RFC 5929, section 4.1.

    b"" where it is undefined: signatures that name no hash (Ed25519).
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return b""
    if algorithm is None:
        return b""
    if algorithm.name in {"md5", "sha1"}:
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()


def _stamp_of(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path) if path else None
    except OSError:
        return 0, 0
    return (facts.st_mtime_ns, facts.st_ino) if facts is not None else (0, 0)
