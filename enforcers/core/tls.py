"""What a listener shows its clients: certificate and key, read again when they change.

The key comes from a credential source and never touches a disk of ours: OpenSSL reads it from a pipe. A reload is all
or nothing: new files that don't fit leave what was there, and a line in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import structlog
from cryptography import x509

from enforcers.core.errors import CredentialError, SettingsError
from enforcers.core.metrics import METRICS
from enforcers.core.sources import fetch
from enforcers.secret import Secret
from enforcers.settings import FileSource, Tls

WATCH_SECONDS = 5.0
_MAX_PEM = 60 << 10  # bytes; what a pipe takes without a reader

log = structlog.get_logger("twokey.enforcers.tls")


class ServerTls:
    """`context` is for the next connection."""

    def __init__(
        self,
        settings: Tls,
        variables: Mapping[str, Secret] = MappingProxyType({}),
        *,
        protocols: Sequence[str] = (),
        listener: str = "postgres",
    ) -> None:
        """variables: those that were handed over at the start. protocols: for ALPN (RFC 7301). listener: what metrics
        call it."""
        self._listener = listener
        self.required = settings.required
        self._settings = settings
        self._protocols = list(protocols)
        self._variables = variables
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[tuple[int, int], ...] = ()

    @property
    def context(self) -> ssl.SSLContext:
        if self._context is None:
            raise SettingsError("tls: used before it was loaded")
        return self._context

    async def load(self) -> None:
        """Read both. Raises SettingsError, and keeps what there was."""
        seen = self._stamps()
        try:
            key = await fetch(self._settings.key, self._variables, "tls.key", lines=True)
            chain = await asyncio.to_thread(Path(self._settings.certificate).read_bytes)
            clients = None
            if self._settings.clients is not None:
                clients = await asyncio.to_thread(Path(self._settings.clients).read_bytes)
        except CredentialError as error:
            raise SettingsError(str(error)) from None
        except OSError as error:
            raise SettingsError(f"tls: {error.filename} can't be read ({error.strerror})") from None
        self._context = server_context(chain, key, self._protocols, clients)
        self._seen = seen
        METRICS.certificate_expires(self._listener, "certificate", expiry(chain, "tls.certificate"))
        if clients is not None:
            METRICS.certificate_expires(self._listener, "clients", expiry(clients, "tls.clients"))

    async def reload(self) -> bool:
        """As load, but a fault is logged. True when the new ones are in use."""
        try:
            await self.load()
        except SettingsError as error:
            METRICS.certificate_reloaded(self._listener, ok=False)
            log.error("certificate not reloaded", error=str(error))  # noqa: TRY400 - a sentence for a person
            return False
        METRICS.certificate_reloaded(self._listener, ok=True)
        log.info("certificate reloaded")
        return True

    async def watch(self) -> None:
        """Reload when a file changed. Forever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            stamps = self._stamps()
            if stamps != self._seen and not await self.reload():
                self._seen = stamps  # tried once; again at the next change

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        key = self._settings.key
        files = [self._settings.certificate, key.path if isinstance(key, FileSource) else None, self._settings.clients]
        return tuple(stamp(path) for path in files if path is not None)


def server_context(
    chain: bytes, key: Secret, protocols: Sequence[str] = (), clients: bytes | None = None
) -> ssl.SSLContext:
    """TLS 1.2 or newer, no renegotiation, no tickets (clients of databases don't resume). With `clients` (PEM) a
    certificate of theirs is asked for, not demanded: only a token bound to one needs it. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if clients is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            if b"PRIVATE KEY" in clients:
                raise SettingsError("tls.clients: holds a private key, which does not belong there")
            context.load_verify_locations(cadata=clients.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise SettingsError("tls.clients: holds no certificates in PEM") from None
    load_pair(context, chain, key, "tls")
    return context


def client_thumbprint(made: ssl.SSLObject | None) -> str:
    """RFC 8705's `x5t#S256` of the certificate that a client showed and TLS checked; "" where none was."""
    der = made.getpeercert(binary_form=True) if made is not None else None
    if not der:
        return ""
    return urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def expiry(chain: bytes, where: str) -> float:
    """When the first certificate of PEM expires, in seconds since 1970. Raises SettingsError."""
    try:
        return x509.load_pem_x509_certificate(chain).not_valid_after_utc.timestamp()
    except ValueError:
        raise SettingsError(f"{where}: holds no certificate in PEM") from None


def load_pair(context: ssl.SSLContext, chain: bytes, key: Secret, where: str) -> None:
    """Certificate chain and key (PEM) into the context, by pipes. Raises SettingsError, which shows neither."""
    secret = key.reveal().encode()
    if len(chain) > _MAX_PEM or len(secret) > _MAX_PEM:
        raise SettingsError(f"{where}: certificate or key is too long")
    pipes: list[int] = []
    try:
        paths = []
        for data in (chain, secret):
            reading, writing = os.pipe()
            pipes.append(reading)
            try:
                os.set_blocking(writing, False)
                if os.write(writing, data) != len(data):
                    raise SettingsError(f"{where}: certificate or key is too long for a pipe")
            finally:
                os.close(writing)
            paths.append(f"/dev/fd/{reading}")
        context.load_cert_chain(paths[0], paths[1], password=_no_passphrase)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise SettingsError(f"{where}: certificate and key are not a pair in PEM ({reason})") from None
    finally:
        for descriptor in pipes:
            os.close(descriptor)


def _no_passphrase() -> str:
    raise SettingsError("tls: the key has a passphrase; give it without one, from a source that keeps it secret")


def stamp(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError:
        return 0, 0
    return facts.st_mtime_ns, facts.st_ino
