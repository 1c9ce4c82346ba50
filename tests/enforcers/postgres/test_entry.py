"""What stands before the protocol: TLS asked for and direct, a balancer's header, and bytes that came too early."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import uvloop

from decision.cli.demo.postgres import clients
from enforcers.core.balancers import SIGNATURE
from enforcers.core.tls import ServerTls
from enforcers.postgres import entry, wire
from enforcers.settings import FileSource, Tls
from tests.enforcers.postgres.certificates import certificate
from tests.enforcers.postgres.conftest import Gatewayed, Postgres, Start, start_gateway
from tests.enforcers.postgres.raw import Raw, eventually

SSL_REQUEST, GSS_REQUEST = bytes.fromhex("0000000804d2162f"), bytes.fromhex("0000000804d21630")
# psycopg's own libpq: the one psql comes with is built without TLS.
(LIBPQ,) = (Path(psycopg.__file__).parents[1] / "psycopg_binary.libs").glob("libpq-*")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found = certificate(tmp_path, "localhost")
    found[1].chmod(0o600)
    return found


async def listener_tls(files: tuple[Path, Path], *, required: bool = True) -> ServerTls:
    made = ServerTls(
        Tls(certificate=str(files[0]), key=FileSource(str(files[1])), required=required), protocols=["postgresql"]
    )
    await made.load()
    return made


async def psql(one: Gatewayed, command: str, **parameters: str) -> tuple[int, str, str]:
    values = {
        "host": "localhost",
        "port": str(one.port),
        "user": "executor",
        "password": "good",
        "dbname": "crm",
        "connect_timeout": "10",
        **parameters,
    }
    process = await asyncio.create_subprocess_exec(
        str(clients() / "psql"),
        "-XqAt",
        " ".join(f"{key}={value}" for key, value in values.items()),
        "-c",
        command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LD_PRELOAD": str(LIBPQ)},
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_psql_over_tls(gateway: Start, files: tuple[Path, Path], mode: str, negotiation: str) -> None:
    one = await gateway(tls=await listener_tls(files))
    root = str(files[0]) if mode == "verify-full" else "/nonexistent"
    code, out, err = await psql(
        one, "SELECT name FROM t WHERE id = 3", sslmode=mode, sslnegotiation=negotiation, sslrootcert=root
    )
    assert (code, out, err) == (0, "name 3\n", "")


async def test_psql_believes_only_its_own_root(gateway: Start, files: tuple[Path, Path], tmp_path: Path) -> None:
    one = await gateway(tls=await listener_tls(files))
    other, _ = certificate(tmp_path, "other.example")
    code, _, err = await psql(one, "SELECT 1", sslmode="verify-full", sslrootcert=str(other))
    assert code != 0
    assert "certificate verify failed" in err
    assert one.core.opened == []


async def test_psycopg_and_asyncpg_over_tls(gateway: Start, files: tuple[Path, Path]) -> None:
    one = await gateway(tls=await listener_tls(files))
    for more in ("sslnegotiation=direct", "max_protocol_version=3.2", "sslcompression=0"):
        dsn = f"{one.dsn}?sslmode=verify-ca&sslrootcert={files[0]}&connect_timeout=10&{more}"
        async with await psycopg.AsyncConnection.connect(dsn) as client:
            assert client.pgconn.ssl_in_use
            assert await (await client.execute("SELECT repeat('x', 3000000)")).fetchone() == ("x" * 3_000_000,)
    context = ssl.create_default_context(cafile=str(files[0]))
    context.check_hostname = False
    context.set_alpn_protocols(["postgresql"])
    for direct in (False, True):
        connection = await asyncpg.connect(one.dsn, ssl=context, direct_tls=direct, timeout=10)
        try:
            assert await connection.fetchval("SELECT name FROM t WHERE id = $1", 5) == "name 5"
        finally:
            await connection.close()
    await eventually(lambda: one.gateway.sessions == 0)


async def test_the_clear_is_refused_where_tls_is_required(gateway: Start, files: tuple[Path, Path]) -> None:
    one = await gateway(tls=await listener_tls(files))
    code, _, err = await psql(one, "SELECT 1", sslmode="disable")
    assert code != 0
    assert "encrypted connections only" in err
    assert "sslmode" in err
    assert one.core.opened == []


async def test_the_clear_is_taken_where_tls_is_not_required(gateway: Start, files: tuple[Path, Path]) -> None:
    one = await gateway(tls=await listener_tls(files, required=False))
    for mode in ("disable", "prefer"):
        assert (await psql(one, "SELECT 1", sslmode=mode))[1] == "1\n"


async def test_without_tls_a_client_that_wants_it_is_told(gateway: Start) -> None:
    one = await gateway()
    code, _, err = await psql(one, "SELECT 1", sslmode="require")
    assert code != 0
    assert "does not support SSL" in err
    assert (await psql(one, "SELECT 1", sslmode="prefer"))[1] == "1\n"
    code, _, err = await psql(one, "SELECT 1", sslmode="require", sslnegotiation="direct")
    assert code != 0


async def test_channel_binding_is_not_pretended(gateway: Start, files: tuple[Path, Path]) -> None:
    """The token is sent, not proved, so there is nothing to bind: a client that requires it leaves."""
    one = await gateway(tls=await listener_tls(files))
    code, _, err = await psql(one, "SELECT 1", sslmode="require", channel_binding="require")
    assert code != 0
    assert "channel binding" in err
    assert one.core.opened == []


async def client(one: Gatewayed) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", one.port)


async def refusal(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the end; a reset is an end."""
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b""


async def test_gssapi_is_refused_and_tls_then_works(gateway: Start, files: tuple[Path, Path]) -> None:
    one = await gateway(tls=await listener_tls(files))
    reader, writer = await client(one)
    writer.write(GSS_REQUEST)
    assert await reader.readexactly(1) == b"N"
    writer.write(SSL_REQUEST)
    assert await reader.readexactly(1) == b"S"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await writer.start_tls(context)
    writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
    assert (await reader.readexactly(9)) == wire.AUTHENTICATION_CLEARTEXT
    writer.close()


@pytest.mark.parametrize("request_", [SSL_REQUEST, GSS_REQUEST])
@pytest.mark.parametrize("stuffed", [b"x", wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")])])
@pytest.mark.parametrize("encrypted", [True, False])
async def test_bytes_in_the_clear_behind_a_request_are_never_taken_as_encrypted(
    gateway: Start, files: tuple[Path, Path], request_: bytes, stuffed: bytes, encrypted: bool
) -> None:
    one = await gateway(tls=await listener_tls(files) if encrypted else None)
    reader, writer = await client(one)
    writer.write(request_ + stuffed)
    answer = await refusal(reader)
    assert b"08P01" in answer
    assert b"in the clear" in answer
    writer.close()
    await eventually(lambda: one.gateway.entering == 0)
    assert one.core.opened == []


async def test_bytes_in_the_clear_behind_the_answer_break_the_handshake(
    gateway: Start, files: tuple[Path, Path]
) -> None:
    """Somebody between client and gateway waits for the S, and injects a log-in of their own before the handshake."""
    one = await gateway(tls=await listener_tls(files))
    reader, writer = await client(one)
    writer.write(SSL_REQUEST)
    assert await reader.readexactly(1) == b"S"
    writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]) + wire.password(b"good"))
    answer = await refusal(reader)
    assert wire.AUTHENTICATION_CLEARTEXT not in answer
    writer.close()
    await eventually(lambda: one.gateway.entering == 0)
    assert one.core.opened == []


async def test_a_second_request_for_tls_is_out_of_order(gateway: Start, files: tuple[Path, Path]) -> None:
    one = await gateway()
    reader, writer = await client(one)
    writer.write(SSL_REQUEST)
    assert await reader.readexactly(1) == b"N"
    writer.write(SSL_REQUEST)
    assert b"out of order" in await refusal(reader)
    writer.close()
    encrypted = await gateway(tls=await listener_tls(files))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    reader, writer = await asyncio.open_connection("127.0.0.1", encrypted.port, ssl=context)
    writer.write(SSL_REQUEST)  # within TLS
    assert b"out of order" in await refusal(reader)
    writer.close()


@pytest.mark.parametrize("protocols", [[], ["http/1.1"]])
async def test_direct_tls_must_name_the_protocol(
    gateway: Start, files: tuple[Path, Path], protocols: list[str]
) -> None:
    one = await gateway(tls=await listener_tls(files))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port, ssl=context)
        writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
        assert await refusal(reader) == b""
        writer.close()
    except (ConnectionResetError, ssl.SSLError):
        pass  # refused in the handshake already
    await eventually(lambda: one.gateway.entering == 0)
    assert one.core.opened == []


async def test_who_never_finishes_is_put_out(
    gateway: Start, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "ENTRY_SECONDS", 0.2)
    monkeypatch.setattr("enforcers.postgres.arrival.PACKET_SECONDS", 0.2)
    one = await gateway(tls=await listener_tls(files))
    for sent in (b"", b"\0\0", SSL_REQUEST, b"\x16", b"\x16\x03\x01\x02\x00\x01"):
        reader, writer = await client(one)
        writer.write(sent)
        await refusal(reader)  # ends
        writer.close()
    plain = await gateway()
    for sent in (b"", b"\0\0\0", wire.startup_packet([(b"user", b"executor")])[:-1]):
        reader, writer = await client(plain)
        writer.write(sent)
        await refusal(reader)
        writer.close()
    await eventually(lambda: one.gateway.entering == plain.gateway.entering == 0)


# PROXY protocol


def header(source: str, port: int, *, command: int = 0x21, family: int | None = None, extra: bytes = b"") -> bytes:
    address = ipaddress.ip_address(source)
    family = family if family is not None else 0x11 if address.version == 4 else 0x21
    body = address.packed + bytes(len(address.packed)) + struct.pack("!HH", port, 6432) + extra
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(body)) + body


async def session_behind(one: Gatewayed, first: bytes) -> Raw:
    raw = Raw(*await client(one))
    raw.writer.write(first + wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
    await raw.message()
    raw.writer.write(wire.password(b"good"))
    await raw.until_ready()
    return raw


@pytest.mark.parametrize(
    ("first", "address"),
    [
        (header("203.0.113.9", 4711), "203.0.113.9:4711"),
        (header("2001:db8::9", 4711), "[2001:db8::9]:4711"),
        (header("203.0.113.9", 4711, extra=b"\x04\0\x01x"), "203.0.113.9:4711"),
    ],
)
async def test_a_listed_balancers_word_is_the_clients_address(gateway: Start, first: bytes, address: str) -> None:
    one = await gateway(balancers=["127.0.0.0/8"])
    raw = await session_behind(one, first)
    assert one.core.opened == [("crm", "executor", address)]
    raw.close()


async def test_a_balancer_may_speak_for_itself(gateway: Start) -> None:
    one = await gateway(balancers=["127.0.0.1"])
    for first in (header("203.0.113.9", 1, command=0x20), header("203.0.113.9", 1, family=0)):
        raw = await session_behind(one, first)
        assert one.core.opened[-1][2].startswith("127.0.0.1:")
        raw.close()


async def test_a_header_of_anybody_else_is_refused(gateway: Start) -> None:
    one = await gateway(balancers=["10.0.0.0/8"])
    reader, writer = await client(one)
    writer.write(header("203.0.113.9", 4711))
    assert b"no listed balancer" in await refusal(reader)
    writer.close()
    raw = await session_behind(one, b"")  # and without one, it is as ever
    assert one.core.opened[0][2].startswith("127.0.0.1:")
    raw.close()


@pytest.mark.parametrize(
    "first",
    [
        wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]),
        SSL_REQUEST + SSL_REQUEST,
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 6432\r\n",
        header("203.0.113.9", 4711, command=0x11),
        header("203.0.113.9", 4711, command=0x22),
        header("203.0.113.9", 4711, family=0x12),
        header("203.0.113.9", 4711, family=0x31),
        SIGNATURE + b"\x21\x11\0\x04abcd",
        SIGNATURE + b"\x21\x21\0\x0c" + b"\0" * 12,
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
async def test_a_listed_balancer_must_say_whom_it_brings(gateway: Start, first: bytes) -> None:
    one = await gateway(balancers=["127.0.0.0/8"])
    reader, writer = await client(one)
    writer.write(first)
    assert b"08P01" in await refusal(reader)
    writer.close()
    await eventually(lambda: one.gateway.entering == 0)
    assert one.core.opened == []


async def test_tls_behind_a_balancer(gateway: Start, files: tuple[Path, Path]) -> None:
    one = await gateway(balancers=["127.0.0.0/8"], tls=await listener_tls(files))

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up = await client(one)
        up.write(header("203.0.113.9", 4711))
        await asyncio.gather(_copy(reader, up), _copy(up_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        for negotiation in ("postgres", "direct"):
            port = server.sockets[0].getsockname()[1]
            found: dict[str, Any] = {"sslmode": "require", "sslnegotiation": negotiation, "port": str(port)}
            assert (await psql(one, "SELECT 1", **found))[1] == "1\n"
            assert one.core.opened[-1] == ("crm", "executor", "203.0.113.9:4711")
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def descriptors_kept(*ports: int) -> AsyncIterator[None]:
    """What this process opened from or to these ports was closed; other tests' fixtures may open what they like."""
    before = _connected(ports)
    yield
    await eventually(lambda: _connected(ports) <= before)


def _connected(ports: tuple[int, ...]) -> set[str]:
    """The sockets of this process at one of these ports (proc(5), /proc/net/tcp: hexadecimal address:port)."""
    at_ports = set()
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if {int(address.rsplit(":", 1)[1], 16) for address in (local, remote)} & set(ports):
            at_ports.add(f"socket:[{rest[6]}]")
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return at_ports & found


def test_on_the_loop_of_production(postgres: Postgres, files: tuple[Path, Path]) -> None:
    """uvloop's sockets and TLS are another implementation than asyncio's."""

    async def main() -> None:
        one = await start_gateway(postgres.port, tls=await listener_tls(files, required=False))
        async with descriptors_kept(one.port, postgres.port):
            for parameters in (
                {"sslmode": "disable"},
                {"sslmode": "require"},
                {"sslmode": "verify-full", "sslrootcert": str(files[0])},
                {"sslmode": "require", "sslnegotiation": "direct"},
            ):
                assert (await psql(one, "SELECT count(*) FROM big", **parameters))[1] == "20000\n"
            for sent in (b"", b"\0", SSL_REQUEST, SSL_REQUEST + b"x", b"\x16\x03\x01\0\x01\0", SIGNATURE, GSS_REQUEST):
                before = _connected((one.port,))
                reader, writer = await client(one)
                assert _connected((one.port,)) - before  # the check sees what it has to see
                writer.write(sent)
                if sent:
                    writer.write_eof()
                else:
                    writer.close()
                await refusal(reader)
                writer.close()
            await eventually(lambda: one.gateway.entering == 0 and one.gateway.sessions == 0)
        await one.gateway.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
