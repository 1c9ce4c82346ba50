"""What ends a session while its rows stream, at once and with the reason: a revocation that arrives at another decision
service than the gateway's (both on one PostgreSQL), of each kind; and a new revision of the policy (people)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from twokey.decision.v1 import decision_pb2

from decision.cli.demo.database import Database, scratch_folder
from decision.cli.demo.stack import CONFIG, PEOPLE, Stack
from tests.decision.running import Running, running
from tests.e2e.clients import until

WITHIN_S = 1.0
ON_ITS_WAY_S = 1.0  # rows that had left the gateway are read first
ENOUGH = 1 << 20  # bytes: rows stream
KEPT = 2048  # of the end
ROWS = "SELECT a.id, repeat('x', 200) FROM orders a, orders b, orders c WHERE a.id > 0"
_lifetimes = itertools.count(1800)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    database = Database(scratch_folder("twokey-shared-"))
    passwords = scratch_folder("twokey-pgpass-") / "pgpass"
    try:
        database.start()
        passwords.touch(mode=0o600)
        passwords.write_text(f"*:*:*:*:{database.admin_password}\n")
        yield f"postgresql://postgres@127.0.0.1:{database.port}/postgres?passfile={passwords}"
    finally:
        database.remove()
        passwords.unlink(missing_ok=True)
        passwords.parent.rmdir()


@pytest.fixture(scope="module")
def shared(store: str) -> Iterator[Stack]:
    with Stack(config=CONFIG.replace("sqlite:///state/twokey.db", store)) as stack:
        yield stack


@pytest.fixture
async def other(shared: Stack, store: str, tmp_path: Path) -> AsyncIterator[Running]:
    """Another decision service on the same store, with the same people and connections, and no gateway."""
    connections = [
        {"name": name, "kind": "postgres", "environment": environment, "classification": None}
        for name, environment in (("company", "production"), ("sandbox", "development"))
    ]
    document = {"people": str(shared.folder / "people.yaml"), "connections": connections}
    async with running(tmp_path, store=store, document=document) as service:
        yield service


def streamed(stack: Stack, token: str, began: Callable[[], None]) -> tuple[float, str]:
    """When reading ended, and the last that came. `began` once rows stream. By an own client: libpq forgets what it
    has read where the connection ends behind it."""
    with socket.create_connection(stack.address("sandbox"), timeout=20) as raw:
        body = struct.pack("!I", 196608) + b"user\0executor\0database\0sandbox\0\0"
        raw.sendall(struct.pack("!I", len(body) + 4) + body)
        raw.recv(64)
        raw.sendall(b"p" + struct.pack("!I", len(token) + 5) + token.encode() + b"\0")
        greeting = b""
        while not greeting.endswith(b"Z\0\0\0\x05I"):
            data = raw.recv(65536)
            if not data:
                return time.monotonic(), greeting.decode(errors="replace")
            greeting += data
        raw.sendall(b"Q" + struct.pack("!I", len(ROWS) + 5) + ROWS.encode() + b"\0")
        received, tail = 0, b""
        while data := raw.recv(1 << 20):
            tail = (tail + data)[-KEPT:]
            if received < ENOUGH <= received + len(data):
                began()
            received += len(data)
        return time.monotonic(), tail.decode(errors="replace")


def _soon(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


class Reader:
    """A client that reads without end, in a thread."""

    def __init__(self, stack: Stack) -> None:
        self.token = stack.token("executor-7", "executor", ttl_s=next(_lifetimes))
        streams, loop = asyncio.Event(), asyncio.get_running_loop()
        self._streams = streams
        work = asyncio.to_thread(streamed, stack, self.token, partial(_soon, loop, streams))
        self._ended = asyncio.ensure_future(work)

    async def streaming(self) -> bool:
        """False: it was refused (its token is of the second of a revocation before)."""
        waiting = asyncio.ensure_future(self._streams.wait())
        await asyncio.wait({waiting, self._ended}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        waiting.cancel()
        return self._streams.is_set()

    async def ended(self) -> tuple[float, str]:
        async with asyncio.timeout(20):
            return await self._ended

    def gone(self) -> None:
        self._ended.cancel()
        if self._ended.done() and not self._ended.cancelled():
            self._ended.exception()


async def reading(stack: Stack) -> Reader:
    for _ in range(5):
        reader = Reader(stack)
        if await reader.streaming():
            return reader
        reader.gone()
    raise AssertionError("no client could read")


def token_id(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])


@pytest.mark.parametrize("kind", ["session", "token", "agent", "person", "role"])
async def test_rows_stop_when_another_replica_hears_of_a_revocation(shared: Stack, other: Running, kind: str) -> None:
    """T20: within a second, mid-result, and the client is told why."""
    reader = await reading(shared)
    sessions = [one.id for one in await other.service.sessions.list_open()]
    fields = {
        "session": {"session": sessions[-1]},
        "token": {"token": token_id(reader.token), "issuer": "urn:twokey:dev"},
        "agent": {"party": "executor-7"},
        "person": {"party": "alice"},
        "role": {"role": "executor"},
    }[kind]
    assert len(sessions) == 1
    asked, asked_at = time.monotonic(), datetime.now(UTC)
    request = decision_pb2.RevokeRequest(reason=f"lost {kind}", **fields)
    done = await other.decision.Revoke(request, metadata=other.bearer("frank", "admin"), timeout=20)
    assert done.sessions == 1
    ended, why = await reader.ended()
    assert ended - asked < WITHIN_S + ON_ITS_WAY_S
    assert "C57P01" in why
    assert f"the session was revoked: lost {kind}" in why
    assert await other.service.sessions.list_open() == []
    took = await asyncio.to_thread(stopped, shared, sessions[-1]) - asked_at
    assert took.total_seconds() < WITHIN_S


def stopped(stack: Stack, session: str) -> datetime:
    """The time of the record of the act's end, which the gateway sends once no row of it goes out any more."""

    def end() -> str | None:
        acts = [one for one in stack.records() if one["kind"] == "act" and one["session"] == session]
        ended = [one["time"] for one in acts if one["outcome"] and one["outcome"]["status"] == "unknown"]
        return str(ended[-1]) if ended else None

    return datetime.fromisoformat(str(until(end, what="the record of the act's end")))


async def test_rows_stop_when_the_policy_changes_and_the_client_is_told_which_rule(shared: Stack) -> None:
    """People, here: an agent that isn't in people.yaml any more. Walls, windows and sets:
    tests/decision/pdp/test_rejudging.py."""
    reader = await reading(shared)
    people = shared.folder / "people.yaml"
    before = people.read_text()
    assert before == PEOPLE
    try:
        people.write_text("".join(line for line in PEOPLE.splitlines(keepends=True) if "name: executor-7" not in line))
        _, why = await reader.ended()
    finally:
        people.write_text(before)
    assert "DUTY-KEEP" in why
