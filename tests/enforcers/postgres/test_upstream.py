"""The way to the target: what the URL says, and TLS as sslmode wants it.

The stub speaks TLS and passes the rest on to a real PostgreSQL: the one used here is built without TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from enforcers.core.errors import UpstreamError
from enforcers.core.ports import Duties
from enforcers.postgres import wire
from enforcers.postgres.target import Target
from enforcers.postgres.upstream import Account, Upstream, cancel, connect
from tests.enforcers.postgres.certificates import certificate
from tests.enforcers.postgres.conftest import Postgres

ACCOUNT = Account(user="postgres", password="")


@dataclass
class Stub:
    port: int
    ca: str
    encrypted: int = 0  # connections that got past TLS


@asynccontextmanager
async def tls_target(
    target: int, folder: Path, *, name: str = "127.0.0.1", answer: bytes = b"S"
) -> AsyncIterator[Stub]:
    made, key = certificate(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    stub = Stub(0, str(made))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up: asyncio.StreamWriter | None = None
        try:
            assert await reader.readexactly(8) == b"\0\0\0\x08" + wire.SSL_REQUEST.to_bytes(4, "big")
            writer.write(answer)
            await writer.drain()
            if answer != b"S":
                await reader.read()
                return
            await writer.start_tls(context)
            stub.encrypted += 1
            up_reader, up = await asyncio.open_connection("127.0.0.1", target)
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, up))
                group.create_task(pass_on(up_reader, writer))
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, ExceptionGroup):
            pass  # the gateway refused this target, or is done with it
        finally:
            writer.transport.abort()
            if up is not None:
                up.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


def at(stub: Stub, sslmode: str, *, ca: str = "", host: str = "127.0.0.1") -> Target:
    return Target(host=host, port=stub.port, database="postgres", sslmode=sslmode, ca=ca)


async def answer_of(upstream: Upstream, sql: bytes) -> bytes:
    received = bytearray()
    done = asyncio.Event()

    def receive(data: bytes) -> None:
        received.extend(data)
        if received.endswith(wire.ready(b"I")):
            done.set()

    upstream.relay_to(receive, lambda _why: done.set(), lambda _full: None)
    upstream.write(wire.query(sql))
    async with asyncio.timeout(10):
        await done.wait()
    return bytes(received)


@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
async def test_a_session_over_tls(postgres: Postgres, tmp_path: Path, sslmode: str) -> None:
    async with tls_target(postgres.port, tmp_path) as stub:
        target = at(stub, sslmode, ca=stub.ca if sslmode == "verify-full" else "")
        upstream = await connect(target, ACCOUNT)
        try:
            assert b"over tls" in await answer_of(upstream, b"SELECT 'over ' || 'tls'")
            assert len(await answer_of(upstream, b"SELECT repeat('x', 2000000)")) > 2_000_000
        finally:
            upstream.abort()
        await cancel(target, upstream.process, upstream.secret)
        assert stub.encrypted == 2


async def test_verify_full_believes_only_its_own_root(postgres: Postgres, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "other.example")
    async with tls_target(postgres.port, tmp_path) as stub:
        for ca in (str(other), ""):
            with pytest.raises(UpstreamError, match="TLS"):
                await connect(at(stub, "verify-full", ca=ca), ACCOUNT)
        assert stub.encrypted == 0


async def test_verify_full_wants_the_name_it_asked_for(postgres: Postgres, tmp_path: Path) -> None:
    async with tls_target(postgres.port, tmp_path, name="db.example") as stub:
        with pytest.raises(UpstreamError, match="TLS"):
            await connect(at(stub, "verify-full", ca=stub.ca), ACCOUNT)
        upstream = await connect(at(stub, "require"), ACCOUNT)
        upstream.abort()


@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
@pytest.mark.parametrize("answer", [b"N", b"E", b"SX"])
async def test_no_tls_no_log_in(postgres: Postgres, tmp_path: Path, sslmode: str, answer: bytes) -> None:
    """Refused, an old server's error, and bytes slipped in before TLS: the start-up packet is never sent."""
    async with tls_target(postgres.port, tmp_path, answer=answer) as stub:
        with pytest.raises(UpstreamError, match="TLS"):
            await connect(at(stub, sslmode, ca=stub.ca), ACCOUNT)
        assert stub.encrypted == 0


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        ("", "2min"),
        ("0", "2min"),  # none at all
        ("12345", "12345ms"),
        (" 30 s ", "30s"),
        ("1.5s", "1500ms"),
        ("1min", "1min"),
        ("3min", "2min"),
        ("1d", "2min"),
        ("500us", "2min"),  # rounds to none
        ("1500us", "2ms"),
        ("soon", "2min"),
    ],
)
async def test_of_two_time_limits_the_shorter_holds(postgres: Postgres, asked: str, limit: str) -> None:
    target = Target(host="127.0.0.1", port=postgres.port, database="postgres", sslmode="disable")
    settings = [("statement_timeout", asked)] if asked else []
    upstream = await connect(target, ACCOUNT, settings, Duties(statement_timeout_ms=120_000))
    try:
        assert b"\0\0\0" + bytes((len(limit),)) + limit.encode() in await answer_of(upstream, b"SHOW statement_timeout")
    finally:
        upstream.abort()
