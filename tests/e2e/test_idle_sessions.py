"""What an idle session costs a gateway: 1,000 of them are to need less than 150 MiB, TLS included.

Measured with fewer, so that it fits a test run: what the process needs without any, plus a thousand times what each
further one added.
"""

from __future__ import annotations

import asyncio
import resource
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from decision.cli.demo import postgres_server
from decision.cli.demo.database import scratch_folder
from decision.cli.demo.stack import CONFIG, Stack
from enforcers.postgres import wire
from tests.e2e.processes import gateways
from tests.enforcers.postgres.certificates import certificate

SESSIONS, FIRST = 200, 20
TLS = "enforcers: {{postgres: {{tls: {{certificate: gate.crt, key: {{file: gate.key}}, required: false}}}}}}\n"


@pytest.fixture
def roomy() -> Iterator[Stack]:
    folder = scratch_folder("twokey-idle-")
    made, key = certificate(folder, "localhost")
    key.chmod(0o600)
    key.replace(folder / "gate.key")
    made.replace(folder / "gate.crt")
    try:
        with pytest.MonkeyPatch.context() as patch:
            given = (item.replace("max_connections=60", "max_connections=260") for item in postgres_server.SETTINGS)
            patch.setattr(postgres_server, "SETTINGS", tuple(given))
            with Stack(folder, config=CONFIG + TLS) as running:
                yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


async def idle(stack: Stack, token: bytes, turns: asyncio.Semaphore) -> asyncio.StreamWriter:
    """A session over TLS that ran a statement once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    host, port = stack.address()
    async with turns:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"company")]))
        answers = {b"R\0\0\0\x08\0\0\0\x03": wire.password(token), b"I": wire.query(b"SELECT 1")}
        ready = 0
        while ready < 2:
            header = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(header[1:], "big") - 4)
            assert header[:1] != b"E", body
            ready += header[:1] == b"Z"
            key = body if header[:1] == b"Z" else header + body
            if key in answers and ready < 2:
                writer.write(answers[key])
    return writer


async def test_a_thousand_idle_sessions_need_less_than_150_mib(roomy: Stack) -> None:
    (pid,) = gateways(roomy)
    token = roomy.token("executor-7", "executor").encode()
    turns = asyncio.Semaphore(8)
    writers = [await idle(roomy, token, turns) for _ in range(FIRST)]
    try:
        before = resident(pid)
        writers += await asyncio.gather(*(idle(roomy, token, turns) for _ in range(SESSIONS)))
        each = (resident(pid) - before) / SESSIONS
        thousand = before + each * (1000 - FIRST)
        assert thousand < 150, f"{before:.1f} MiB with {FIRST}, {each * 1024:.1f} KiB each"
    finally:
        for writer in writers:
            writer.transport.abort()
        # Before the loop is closed, or their sockets are found open by whichever test runs when they are collected.
        ended = (writer.wait_closed() for writer in writers)
        await asyncio.wait_for(asyncio.gather(*ended, return_exceptions=True), 20)
