"""What a listener shows its clients: certificate and key, read again when they change.

The key comes from a credential source and never touches a disk of ours: OpenSSL reads it from a pipe. A reload is all
or nothing: new files that don't fit leave what was there, and a line in the log.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

import structlog

from enforcers.core.credentials import Secret, fetch, take_variables
from enforcers.core.errors import CredentialError, SettingsError
from enforcers.settings import FileSource, Tls

WATCH_SECONDS = 5.0
_MAX_PEM = 60 << 10  # bytes; what a pipe takes without a reader

log = structlog.get_logger("twokey.enforcers.tls")


class ServerTls:
    """`context` is for the next connection. Make it once per process: it takes the key's variable, where it has one."""

    def __init__(self, settings: Tls, *, protocols: Sequence[str] = ()) -> None:
        """protocols: for ALPN (RFC 7301)."""
        self.required = settings.required
        self._settings = settings
        self._protocols = list(protocols)
        self._variables = take_variables([settings.key])
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
        except CredentialError as error:
            raise SettingsError(str(error)) from None
        except OSError as error:
            raise SettingsError(f"tls.certificate: can't be read ({error.strerror})") from None
        self._context = server_context(chain, key, self._protocols)
        self._seen = seen

    async def reload(self) -> bool:
        """As load, but a fault is logged. True when the new ones are in use."""
        try:
            await self.load()
        except SettingsError as error:
            log.error("certificate not reloaded", error=str(error))  # noqa: TRY400 - a sentence for a person
            return False
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
        files = [self._settings.certificate, *([key.path] if isinstance(key, FileSource) else [])]
        return tuple(_stamp(path) for path in files)


def server_context(chain: bytes, key: Secret, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    """TLS 1.2 or newer, no renegotiation, no tickets (clients of databases don't resume). Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    if protocols:
        context.set_alpn_protocols(list(protocols))
    load_pair(context, chain, key, "tls")
    return context


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


def _stamp(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError:
        return 0, 0
    return facts.st_mtime_ns, facts.st_ino
