"""What this enforcer shows the decision service, and by what it knows it: files, read again when they change.

A workload's certificate lives for minutes or hours, so that certificate, key and authorities change together is the
ordinary case. All or nothing, as with the listeners' (tls.py): what doesn't fit leaves what was there.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import structlog
from cryptography import x509

from enforcers.core import tls
from enforcers.core.errors import CredentialError, SettingsError
from enforcers.core.metrics import METRICS
from enforcers.core.sources import fetch
from enforcers.core.svid import StrangerError, check_service, is_name
from enforcers.secret import Secret
from enforcers.settings import DecisionTls, FileSource

LISTENER = "decision-client"

log = structlog.get_logger("twokey.enforcers.client_tls")


class ClientTls:
    """`context` is for the next connection."""

    def __init__(self, settings: DecisionTls, variables: Mapping[str, Secret] = MappingProxyType({})) -> None:
        """variables: those that were handed over at the start. Raises SettingsError: the service's name is none."""
        if not is_name(settings.name):
            raise SettingsError("decision.tls.name: a SPIFFE ID or a host's name in lower case is needed")
        self._settings = settings
        self._variables = variables
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[tuple[int, int], ...] = ()
        self._changed: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def context(self) -> ssl.SSLContext:
        if self._context is None:
            raise SettingsError("decision.tls: used before it was loaded")
        return self._context

    def on_change(self, callback: Callable[[], None]) -> None:
        """Called once others are in use."""
        self._changed = callback

    async def load(self) -> None:
        """Read all of it. Raises SettingsError, and keeps what there was."""
        settings, seen = self._settings, self._stamps()
        authorities = await _read(settings.ca, "decision.tls.ca")
        context = client_context(authorities)
        if settings.certificate is not None and settings.key is not None:
            chain = await _read(settings.certificate, "decision.tls.certificate")
            try:
                key = await fetch(settings.key, self._variables, "decision.tls.key", lines=True)
            except CredentialError as error:
                raise SettingsError(str(error)) from None
            _check_pair(context, chain, key)
        self._context, self._seen = context, seen

    async def reload(self) -> bool:
        """As load, but a fault is logged and counted. True when the new ones are in use."""
        try:
            await self.load()
        except SettingsError as error:
            METRICS.certificate_reloaded(LISTENER, ok=False)
            log.error("certificate not reloaded; the former stays", error=str(error))  # noqa: TRY400 - a sentence for a person
            return False
        METRICS.certificate_reloaded(LISTENER, ok=True)
        log.info("certificate reloaded", of=LISTENER)
        if self._changed is not None:
            self._changed()
        return True

    async def watch(self) -> None:
        """Reload when a file changed. Forever."""
        while True:
            await asyncio.sleep(tls.WATCH_SECONDS)
            stamps = self._stamps()
            if stamps != self._seen and not await self.reload():
                self._seen = stamps  # tried once; again at the next change

    def check(self, made: ssl.SSLObject) -> None:
        """That it is the decision service at the other end of this finished handshake. Raises StrangerError."""
        if made.selected_alpn_protocol() != "h2":
            raise StrangerError("it does not speak HTTP/2 over this connection (ALPN)")
        der = made.getpeercert(binary_form=True)
        if not der:
            raise StrangerError("it shows no certificate")
        check_service(der, self.name)

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        settings, key = self._settings, self._settings.key
        files = (settings.ca, settings.certificate, key.path if isinstance(key, FileSource) else None)
        return tuple(tls.stamp(path) for path in files if path is not None)


def client_context(authorities: bytes) -> ssl.SSLContext:
    """TLS 1.3, HTTP/2. The name is checked after the handshake, exactly (svid.py). Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold the service's own certificate instead
    context.set_alpn_protocols(["h2"])
    try:
        if b"PRIVATE KEY" in authorities:
            raise SettingsError("decision.tls.ca: holds a private key, which does not belong there")
        context.load_verify_locations(cadata=authorities.decode("ascii"))
        METRICS.certificate_expires(LISTENER, "ca", _first_expiry(authorities))
    except (ssl.SSLError, ValueError):
        raise SettingsError("decision.tls.ca: holds no certificates in PEM") from None
    return context


def _check_pair(context: ssl.SSLContext, chain: bytes, key: Secret) -> None:
    tls.load_pair(context, chain, key, "decision.tls")
    METRICS.certificate_expires(LISTENER, "certificate", tls.expiry(chain, "decision.tls.certificate"))


def _first_expiry(authorities: bytes) -> float:
    found = x509.load_pem_x509_certificates(authorities)
    return min(one.not_valid_after_utc for one in found).timestamp()


async def _read(path: str, where: str) -> bytes:
    try:
        return await asyncio.to_thread(Path(path).read_bytes)
    except OSError as error:
        raise SettingsError(f"{where}: can't be read ({error.strerror})") from None
