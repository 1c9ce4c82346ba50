"""Clients' certificates at the PostgreSQL listener (RFC 8705): asked for where so configured, told to the service by
their thumbprint once TLS has checked them, and never demanded."""

from __future__ import annotations

import ssl
from pathlib import Path

import psycopg
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from enforcers.core.errors import SettingsError
from enforcers.core.metrics import METRICS
from enforcers.core.tls import ServerTls, client_thumbprint
from enforcers.settings import FileSource, Tls
from tests.decision.mutual import x5t
from tests.enforcers.postgres.conftest import Gatewayed, Start
from tests.pki import HOUR, Authority, Pair, host, uri


class Listener:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("clients")
        self.own = self.authority.leaf(host("localhost"))
        self.own.write(folder, "gate")
        self.bundle(self.authority)

    def bundle(self, *authorities: Authority) -> None:
        (self.folder / "clients.pem").write_bytes(b"".join(one.pem for one in authorities))

    def tls(self, *, clients: bool = True) -> ServerTls:
        return ServerTls(
            Tls(
                certificate=str(self.folder / "gate.pem"),
                key=FileSource(str(self.folder / "gate.key")),
                clients=str(self.folder / "clients.pem") if clients else None,
            ),
            protocols=["postgresql"],
        )

    async def connect(self, one: Gatewayed, pair: Pair | None, **options: str) -> str:
        """What the service was told of the certificate."""
        shown = {"sslcert": "none", "sslkey": "none"}
        if pair is not None:
            shown = dict(zip(("sslcert", "sslkey"), pair.write(self.folder, "client"), strict=True))
        async with await psycopg.AsyncConnection.connect(
            one.dsn, sslmode="require", autocommit=True, **{**shown, **options}
        ):
            return one.core.certificates[-1]


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    return Listener(tmp_path)


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_the_service_is_told_the_thumbprint(
    gateway: Start, listener: Listener, negotiation: str, version: str
) -> None:
    tls = listener.tls()
    await tls.load()
    one = await gateway(tls=tls)
    pair = listener.authority.leaf(uri("spiffe://example.org/executor-7"))
    options = {"sslnegotiation": negotiation, "ssl_max_protocol_version": version}
    assert await listener.connect(one, pair, **options) == x5t(pair)
    assert await listener.connect(one, None, **options) == ""


async def test_who_is_not_asked_tells_nothing(gateway: Start, listener: Listener) -> None:
    tls = listener.tls(clients=False)
    await tls.load()
    one = await gateway(tls=tls)
    assert await listener.connect(one, listener.authority.leaf(uri("spiffe://example.org/executor-7"))) == ""


@pytest.mark.parametrize("kind", ["another authority's", "expired", "self-signed", "a server's"])
async def test_what_tls_refuses_reaches_nobody(gateway: Start, listener: Listener, kind: str) -> None:
    name, authority = uri("spiffe://example.org/executor-7"), listener.authority
    pair = {
        "another authority's": Authority("clients").leaf(name),
        "expired": authority.leaf(name, begins=-2 * HOUR, ends=-HOUR),
        "self-signed": authority.leaf(name, common_name="x", self_signed=True),
        "a server's": authority.leaf(name, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    }[kind]
    tls = listener.tls()
    await tls.load()
    one = await gateway(tls=tls)
    with pytest.raises(psycopg.OperationalError):
        await listener.connect(one, pair)
    assert one.core.certificates == []


async def test_in_the_clear_nothing_is_told(gateway: Start) -> None:
    one = await gateway()
    async with await psycopg.AsyncConnection.connect(one.dsn, sslmode="disable", autocommit=True):
        assert one.core.certificates == [""]
    assert client_thumbprint(None) == ""


async def test_other_authorities_count_at_the_next_connection(gateway: Start, listener: Listener) -> None:
    tls = listener.tls()
    await tls.load()
    one = await gateway(tls=tls)
    new = Authority("clients")
    pair = new.leaf(uri("spiffe://example.org/executor-7"))
    with pytest.raises(psycopg.OperationalError):
        await listener.connect(one, pair)
    listener.bundle(new)
    assert await tls.reload()
    assert await listener.connect(one, pair) == x5t(pair)
    labels = {"listener": "postgres", "part": "clients"}
    expiry = METRICS.registry.get_sample_value("twokey_certificate_expiry_timestamp_seconds", labels)
    assert expiry == new.certificate.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("broken", ["text", "missing", "a key in it"])
async def test_broken_authorities_leave_the_former(listener: Listener, broken: str) -> None:
    tls = listener.tls()
    await tls.load()
    before = tls.context
    if broken == "text":
        (listener.folder / "clients.pem").write_text("canary")
    elif broken == "missing":
        (listener.folder / "clients.pem").unlink()
    else:
        (listener.folder / "clients.pem").write_bytes(listener.authority.pem + listener.own.key)
    assert not await tls.reload()
    assert tls.context is before
    assert before.verify_mode is ssl.CERT_OPTIONAL
    with pytest.raises(SettingsError, match="tls"):
        await tls.load()
