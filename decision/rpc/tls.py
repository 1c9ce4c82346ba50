"""What the service's listeners show their callers, and whom they believe: read again when the files change.

Workloads' certificates live for minutes or hours, so that key, certificate and bundle change together is the ordinary
case. A reload is all or nothing: files that don't fit leave what was there, and say so in the log and in metrics. The
next connection uses what is in force then; those that stand go on.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from decision.errors import BadRequestError, PolicyLoadError
from decision.identity import documents
from decision.identity.peers import Peers, read_peers
from decision.identity.svid import Bundle, read_bundle
from decision.metrics import Metrics
from decision.settings import ListenerTls

WATCH_S: Final = 5.0
_MAX_PEM: Final = 60 << 10  # bytes; what a pipe takes without a reader
_log = structlog.get_logger(__name__)


class TlsError(BadRequestError):
    """A certificate, key, bundle or list of enforcers can't be used. Names files, never what is in them."""

    code = "TLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What the files held at one moment, found to fit together."""

    chain: bytes
    key: bytes = field(repr=False)
    expires: datetime
    clients: Bundle | None = None
    peers: Peers | None = None


def read_material(files: ListenerTls, now: datetime) -> Material:
    """Blocking. Raises TlsError."""
    chain, key = _read(files.certificate), _read(files.key, secret=True)
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError):
        raise TlsError(f"{files.certificate} or {files.key} is not PEM, or the key has a passphrase") from None
    if private.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ) != leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise TlsError(f"{files.key} is not the key of {files.certificate}")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise TlsError(f"{files.certificate} has expired, or is not valid yet")
    clients = peers = None
    if files.clients is not None:
        try:
            clients = read_bundle(_read(files.clients))
        except ValueError as error:
            raise TlsError(f"{files.clients} {error}") from None
    if files.enforcers is not None:
        path = Path(files.enforcers)
        try:
            peers = read_peers(documents.parse(documents.read_bytes(path), str(path)))
        except PolicyLoadError as error:
            raise TlsError(str(error)) from None
    return Material(chain=chain, key=key, expires=leaf.not_valid_after_utc, clients=clients, peers=peers)


def _read(file: str, *, secret: bool = False) -> bytes:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            facts = os.fstat(stream.fileno())
            if secret and (facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o037):
                raise TlsError(f"others can read or change {file}", next_step=f"chmod 600 {file}")
            if not stat.S_ISREG(facts.st_mode):
                raise TlsError(f"{file} is not a file")
            content = stream.read(_MAX_PEM + 1)
    except OSError as error:
        raise TlsError(f"{file} can't be read ({error.strerror})") from None
    if len(content) > _MAX_PEM:
        raise TlsError(f"{file} is longer than {_MAX_PEM} bytes")
    return content


class Listener:
    """One listener's material. `load` before anything else."""

    def __init__(self, name: str, files: ListenerTls, *, metrics: Metrics, now: Callable[[], datetime]) -> None:
        """name: decision or mutual."""
        self._name = name
        self._files = files
        self._metrics = metrics
        self._now = now
        self._material: Material | None = None
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._changed: Callable[[Material], None] | None = None

    @property
    def material(self) -> Material:
        if self._material is None:
            raise TlsError("used before it was loaded")
        return self._material

    def on_change(self, callback: Callable[[Material], None]) -> None:
        self._changed = callback

    async def load(self) -> None:
        """Read all of it. Raises TlsError, and keeps what there was."""
        seen = self._stamps()
        material = await asyncio.to_thread(read_material, self._files, self._now())
        self._context = server_context(material)
        self._material, self._seen = material, seen
        self._metrics.certificate_expires(self._name, "certificate", material.expires.timestamp())
        if material.clients is not None:
            self._metrics.certificate_expires(self._name, "clients", material.clients.expires.timestamp())

    async def reload(self) -> bool:
        """As load, but a fault is logged and counted. True when what the files hold is in use."""
        try:
            await self.load()
        except TlsError as error:
            self._metrics.certificate_reloaded(self._name, ok=False)
            _log.error("certificate not reloaded; the former stays", listener=self._name, reason=str(error))
            return False
        self._metrics.certificate_reloaded(self._name, ok=True)
        _log.info("certificate reloaded", listener=self._name, expires=self.material.expires.isoformat())
        if self._changed is not None:
            self._changed(self.material)
        return True

    async def watch(self) -> None:
        """Reload when a file changed, and try again at its next change where it failed. Forever."""
        while True:
            await asyncio.sleep(WATCH_S)
            stamps = self._stamps()
            if stamps != self._seen and not await self.reload():
                self._seen = stamps

    def grpc(self, *, ask: bool) -> grpc.ServerCredentials:
        """For a listener of gRPC's. ask: a client without a certificate of `clients` is refused in the handshake."""
        served = self.material

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            """Asked by gRPC at each handshake, on a thread of its own. None: nothing changed."""
            nonlocal served
            material = self._material
            if material is None or material is served:
                return None
            served = material
            return _configuration(material, ask=ask)

        fetcher: Any = renewed  # its stubs don't know that None is an answer
        return grpc.dynamic_ssl_server_credentials(_configuration(served, ask=ask), fetcher, ask)

    def context(self) -> ssl.SSLContext:
        """For a listener of asyncio's: each connection gets the context of its moment."""
        return _Renewed(lambda: self._context)

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        files = (self._files.certificate, self._files.key, self._files.clients, self._files.enforcers)
        return tuple(_stamp(file) for file in files if file is not None)


def _configuration(material: Material, *, ask: bool) -> grpc.ServerCertificateConfiguration:
    roots = material.clients.pem if ask and material.clients is not None else None
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], root_certificates=roots)


class _Renewed(ssl.SSLContext):
    """Wraps by another context, looked up for each connection."""

    _current: Callable[[], ssl.SSLContext | None]

    def __new__(cls, _current: object) -> _Renewed:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, current: Callable[[], ssl.SSLContext | None]) -> None:
        self._current = current

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        context = self._current()
        if context is None:
            raise ssl.SSLError("used before it was loaded")
        return context.wrap_bio(*arguments, **options)


def server_context(material: Material) -> ssl.SSLContext:
    """TLS 1.2 or newer, no renegotiation, no resumption. With `clients` a certificate is asked for, not demanded: a
    token that is bound to none needs none. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    if material.clients is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=material.clients.pem.decode())
    pipes: list[int] = []
    try:
        for data in (material.chain, material.key):  # OpenSSL wants files, and the key is to be in no further one
            reading, writing = os.pipe()
            pipes.append(reading)
            try:
                os.set_blocking(writing, False)
                os.write(writing, data)
            finally:
                os.close(writing)
        context.load_cert_chain(f"/dev/fd/{pipes[0]}", f"/dev/fd/{pipes[1]}", password="")
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"the certificate can't be used ({type(error).__name__})") from None
    finally:
        for descriptor in pipes:
            os.close(descriptor)
    return context


def _stamp(file: str) -> tuple[int, int, int]:
    try:
        facts = os.stat(file)
    except OSError:
        return 0, 0, 0
    return facts.st_mtime_ns, facts.st_ino, facts.st_size
