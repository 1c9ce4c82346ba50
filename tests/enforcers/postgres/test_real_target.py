"""Log-ins to a real PostgreSQL with TLS, by every method and sslmode it knows.

The package's server is built without TLS; this one comes from Maven, as the versions of the suite do.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519

from enforcers.core.credentials import ClientCertificate
from enforcers.core.errors import UpstreamError
from enforcers.core.ports import Duties
from enforcers.core.supervise import Supervisor
from enforcers.postgres import wire
from enforcers.postgres.source import LiveSource
from enforcers.postgres.target import Contexts, Target, end_point, parse_target
from enforcers.postgres.upstream import Account, LoginRefusedError, Upstream, cancel, connect
from enforcers.secret import Secret
from tests.enforcers.postgres.certificates import certificate
from tests.enforcers.postgres.conftest import _user, free_port
from tools.postgres_binaries import NEWEST, obtain

PASSWORD = "Geheim-\u00e4\u00df\u2126 1"  # SASLprep changes it
HBA = """\
local   all  all                 trust
hostssl all  by_certificate  all cert
hostnossl all by_certificate all reject
host    all  by_md5         all md5
host    all  by_cleartext   all password
host    all  by_trust       all trust
host    all  all            all scram-sha-256
"""
ROLES = f"""
CREATE ROLE by_certificate LOGIN;
CREATE ROLE by_cleartext LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE by_trust LOGIN;
CREATE ROLE by_scram LOGIN PASSWORD '{PASSWORD}';
SET password_encryption = md5;
CREATE ROLE by_md5 LOGIN PASSWORD '{PASSWORD}';
"""


@dataclass(frozen=True)
class Server:
    port: int
    folder: Path
    root: str  # file of its certificate, its own root

    def url(self, options: str = "", *, host: str = "localhost") -> Target:
        return parse_target(f"postgresql://{host}:{self.port}/postgres?{options}")

    def verified(self, options: str = "") -> Target:
        return self.url(f"sslmode=verify-full&sslrootcert={self.root}&{options}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    programs = obtain(NEWEST) / "bin"
    folder = Path(tempfile.mkdtemp(prefix="twokey-tls-"))
    folder.chmod(0o755)
    user = _user()
    mine, key = certificate(folder, "localhost")
    client, _ = certificate(folder, "by_certificate")
    if user:
        for path in (folder, mine, key):
            shutil.chown(path, "nobody")
    key.chmod(0o600)
    port = free_port()
    run = {"capture_output": True, "env": {"LC_ALL": "C", "PATH": os.environ["PATH"]}, "cwd": "/", **user}
    initdb = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-E", "UTF8", "--no-sync", "-A", "trust"]
    subprocess.run(initdb, check=True, **run)  # type: ignore[call-overload]  # user and group of the same call
    (folder / "data" / "pg_hba.conf").write_text(HBA)
    options = f"-h localhost -p {port} -k {folder} -c fsync=off -c ssl=on -c ssl_cert_file={mine}"
    options += f" -c ssl_key_file={key} -c ssl_ca_file={client}"
    control = [programs / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, **run)  # type: ignore[call-overload]  # as above
    try:
        asyncio.run(_roles(folder, port))
        yield Server(port, folder, str(mine))
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **run)  # type: ignore[call-overload]
        shutil.rmtree(folder, ignore_errors=True)


async def _roles(folder: Path, port: int) -> None:
    admin = await asyncpg.connect(host=str(folder), port=port, user="postgres", database="postgres")
    await admin.execute(ROLES)
    await admin.close()


async def answer(upstream: Upstream, sql: str) -> bytes:
    received = bytearray()
    done = asyncio.Event()

    def receive(data: bytes) -> None:
        received.extend(data)
        if received.endswith(wire.ready(b"I")):
            done.set()

    upstream.relay_to(receive, lambda _why: done.set(), lambda _full: None)
    upstream.write(wire.query(sql.encode()))
    async with asyncio.timeout(10):
        await done.wait()
    return bytes(received)


@asynccontextmanager
async def logged_in(target: Target, account: Account, **more: str) -> AsyncIterator[Upstream]:
    upstream = await connect(target, account, subject=more.get("subject", ""))
    try:
        yield upstream
    finally:
        upstream.abort()


def account(user: str, password: str = PASSWORD) -> Account:
    return Account(user=user, password=password)


ENCRYPTED = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.mark.parametrize("method", ["by_scram", "by_md5", "by_cleartext", "by_trust"])
@pytest.mark.parametrize("mode", ["disable", "require", "verify-ca", "verify-full"])
async def test_every_method_in_every_mode(server: Server, method: str, mode: str) -> None:
    target = server.url(f"sslmode={mode}&sslrootcert={server.root}")
    async with logged_in(target, account(method)) as upstream:
        assert (b"TLSv1.3" in await answer(upstream, ENCRYPTED)) is (mode != "disable")
        assert upstream.process
    if method != "by_trust":
        with pytest.raises(LoginRefusedError) as raised:
            await connect(target, account(method, "wrong"))
        assert raised.value.sqlstate == "28P01"


async def test_direct_tls_and_cancel_over_it(server: Server) -> None:
    target = server.verified("sslnegotiation=direct")
    async with logged_in(target, account("by_scram")) as upstream:
        sleeping = asyncio.ensure_future(answer(upstream, "SELECT pg_sleep(20)"))
        await asyncio.sleep(0)
        done = False
        while not done:  # until the statement runs
            await cancel(target, upstream.process, upstream.secret, Contexts())
            done, _ = await asyncio.wait({sleeping}, timeout=0.2)  # type: ignore[assignment]  # a set is as true
        assert b"57014" in await sleeping


async def test_the_channel_is_bound_where_both_can(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    del caplog
    async with logged_in(server.verified("channel_binding=require"), account("by_scram")) as upstream:
        assert len(upstream.binding) == 32
    for refused in ("by_md5", "by_cleartext", "by_trust"):
        with pytest.raises(UpstreamError, match="channel binding"):
            await connect(server.verified("channel_binding=require"), account(refused))
    async with logged_in(server.verified("channel_binding=disable"), account("by_scram")):
        pass


async def test_somebody_between_is_found_out(server: Server, tmp_path: Path) -> None:
    """With sslmode=require nobody's certificate is checked, but SCRAM bound to the channel notices another's TLS."""
    other, key = certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other, key)
    forwarding = ssl.create_default_context(cafile=server.root)

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        up_reader, up = await asyncio.open_connection("localhost", server.port)
        up.write(b"\0\0\0\x08" + wire.SSL_REQUEST.to_bytes(4, "big"))
        await up_reader.readexactly(1)
        await up.start_tls(forwarding, server_hostname="localhost")
        await asyncio.gather(_copy(reader, up), _copy(up_reader, writer), return_exceptions=True)

    listening = await asyncio.start_server(between, "localhost", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        target = replace(server.url("sslmode=require"), port=port)
        with pytest.raises(LoginRefusedError, match="channel binding"):
            await connect(target, account("by_scram"))
        # Without the binding it would have gone unnoticed: the test's somebody is a working one.
        async with logged_in(replace(target, channel_binding="disable"), account("by_scram")):
            pass
    finally:
        listening.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("methods", "allowed"),
    [
        ("scram-sha-256", {"by_scram"}),
        ("md5,scram-sha-256", {"by_scram", "by_md5"}),
        ("password", {"by_cleartext"}),
        ("none", {"by_trust"}),
    ],
)
async def test_require_auth_as_libpq_has_it(server: Server, methods: str, allowed: set[str]) -> None:
    target = server.verified(f"require_auth={methods}")
    for method in ("by_scram", "by_md5", "by_cleartext", "by_trust"):
        if method in allowed:
            async with logged_in(target, account(method)):
                continue
        with pytest.raises(UpstreamError, match="does not allow"):
            await connect(target, account(method))


async def test_cleartext_is_for_tls_and_this_machine_unless_the_connection_says_so(server: Server) -> None:
    far = replace(server.url("sslmode=disable"), host="127.0.0.1.nip.example")
    assert not far.local
    assert not far.accepts("password")
    assert replace(far, sslmode="require").accepts("password")
    assert replace(far, require_auth=frozenset({"password"})).accepts("password")
    assert far.accepts("md5")


def client_certificate(server: Server) -> ClientCertificate:
    return ClientCertificate(
        (server.folder / "by_certificate.crt").read_bytes(), Secret((server.folder / "by_certificate.key").read_text())
    )


async def test_a_client_certificate(server: Server, tmp_path: Path) -> None:
    shown = Account(user="by_certificate", password="", certificate=client_certificate(server))
    for options in ("", "sslnegotiation=direct"):
        async with logged_in(server.verified(options), shown) as upstream:
            assert b"/CN=by_certificate" in await answer(
                upstream, "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            )
    with pytest.raises(LoginRefusedError):
        await connect(server.verified(), account("by_certificate"))
    other, _ = certificate(tmp_path, "by_certificate")
    wrong = ClientCertificate(other.read_bytes(), client_certificate(server).key)
    with pytest.raises(UpstreamError, match="not a pair"):
        await connect(server.verified(), replace(shown, certificate=wrong))


async def test_the_gateways_own_connections_show_the_same(server: Server) -> None:
    async def credential(_role: str) -> tuple[str, str]:
        return "by_certificate", ""

    async def certificate_of(_role: str) -> ClientCertificate | None:
        return client_certificate(server)

    for options in ("", "sslnegotiation=direct"):
        tasks = Supervisor(lambda _name, error: None)
        source = LiveSource(
            server.verified(options), credential, tasks, catalog_role="default", certificate=certificate_of
        )
        assert (await source.names("default", ())).session_role == "by_certificate"
        await source.close()


async def test_who_is_not_believed(server: Server, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "other.example")
    for mode in ("verify-ca", "verify-full"):
        with pytest.raises(UpstreamError, match="TLS"):
            await connect(server.url(f"sslmode={mode}&sslrootcert={other}"), account("by_scram"))
        with pytest.raises(UpstreamError, match="TLS"):
            await connect(server.url(f"sslmode={mode}"), account("by_scram"))  # the machine's own roots
    with pytest.raises(UpstreamError, match="root certificates"):
        await connect(server.url("sslmode=verify-ca&sslrootcert=/none.pem"), account("by_scram"))
    # Its name is localhost: verify-ca doesn't mind, verify-full does.
    by_address = server.url(f"sslmode=verify-ca&sslrootcert={server.root}", host="127.0.0.1")
    async with logged_in(by_address, account("by_scram")):
        pass
    with pytest.raises(UpstreamError, match="TLS"):
        await connect(replace(by_address, sslmode="verify-full"), account("by_scram"))


async def test_the_subject_stays_whatever_the_session_resets(server: Server) -> None:
    hostile = "o'brien\\ -c role=postgres \" é"
    async with logged_in(server.verified(), account("by_scram"), subject=hostile) as upstream:
        shown = await answer(upstream, "SELECT current_setting('twokey.subject')")
        assert hostile.encode() in shown
        for statement in ("RESET ALL", "DISCARD ALL", "RESET twokey.subject"):
            await answer(upstream, statement)
            assert await answer(upstream, "SELECT current_setting('twokey.subject')") == shown


async def test_duties_and_settings_are_start_up_options_too(server: Server) -> None:
    upstream = await connect(
        server.verified(), account("by_scram"), [("TimeZone", "Asia/Tokyo")], Duties(read_only=True)
    )
    try:
        assert b"Asia/Tokyo" in await answer(upstream, "SHOW TimeZone")
        assert b"on" in await answer(upstream, "SHOW transaction_read_only")
    finally:
        upstream.abort()


def test_the_end_point_of_certificates(tmp_path: Path) -> None:
    """RFC 5929, 4.1: the signature's own hash, SHA-256 for older ones; undefined where the signature names none."""

    def binding(digest: hashes.HashAlgorithm | None = None, *, ed: bool = False) -> int:
        key = ed25519.Ed25519PrivateKey.generate() if ed else None
        file, _ = certificate(tmp_path, "x.example", key=key, digest=digest)
        return len(end_point(ssl.PEM_cert_to_DER_cert(file.read_text())))

    assert [binding(hashes.SHA256()), binding(hashes.SHA384()), binding(hashes.SHA512())] == [32, 48, 64]
    assert binding(ed=True) == 0
    assert end_point(b"not a certificate") == b""


def test_on_the_loop_of_production(server: Server) -> None:
    """uvloop's TLS is another implementation; names and addresses, asked for and direct."""

    async def main() -> None:
        for host in ("localhost", "127.0.0.1"):
            for options in ("sslmode=require", f"sslmode=verify-ca&sslrootcert={server.root}"):
                for negotiation in ("postgres", "direct"):
                    target = server.url(f"{options}&channel_binding=require&sslnegotiation={negotiation}", host=host)
                    async with logged_in(target, account("by_scram")) as upstream:
                        assert b"TLSv1.3" in await answer(upstream, ENCRYPTED)
                        assert len(await answer(upstream, "SELECT repeat('x', 3000000)")) > 3_000_000
        with pytest.raises(UpstreamError, match="TLS"):
            await connect(server.url("sslmode=verify-full"), account("by_scram"))
        shown = Account(user="by_certificate", password="", certificate=client_certificate(server))
        async with logged_in(server.verified("sslnegotiation=direct"), shown):
            pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
