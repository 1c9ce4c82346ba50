"""Conversations by raw protocol, held with the target directly and through a gateway that allows everything.

A step is bytes to send and what to wait for: as many ReadyForQuery as the bytes ask for, unless the step says
otherwise. What may differ between the two sides is taken out: process ids, objects' own ids, and the source file,
line and routine of an error that the gateway gives in the target's stead.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from enforcers.core.supervise import Supervisor
from enforcers.postgres import wire
from enforcers.postgres.gateway import PostgresGateway
from enforcers.postgres.source import LiveSource
from enforcers.postgres.upstream import Target
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.fakes import Policy, ScriptedCore, ScriptedGate
from tests.enforcers.postgres.raw import Raw

Frame = tuple[str, bytes]
SYNC, FLUSH = wire.SYNC, wire.FLUSH
_FIRST_OWN_OID = 16384
_SOURCE_FIELDS = frozenset("FLR")

SETUP = """
CREATE TABLE t (id int PRIMARY KEY, name text, n numeric);
INSERT INTO t SELECT i, 'name ' || i, i * 1.5 FROM generate_series(1, 20) i;
CREATE TABLE w (id int PRIMARY KEY, v text);
CREATE TABLE other_t (id int);
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.t (id int, name text, n numeric);
INSERT INTO elsewhere.t VALUES (100, 'elsewhere', 1);
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 2';
CREATE FUNCTION joined(a text, b text) RETURNS text LANGUAGE sql AS $$ SELECT a || b $$;
CREATE FUNCTION noisy() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'heard'; RETURN 1; END $$;
"""


@dataclass(frozen=True, slots=True)
class Step:
    """until: None for as many ReadyForQuery as `data` asks for; else the kinds to read up to, one after the other."""

    data: bytes
    until: str | None = None


def q(text: str | bytes) -> bytes:
    return wire.query(text.encode() if isinstance(text, str) else text)


def run(
    text: str | bytes, *values: bytes | None, portal: bytes = b"", limit: int = 0, formats: Sequence[int] = ()
) -> bytes:
    """Parse, Bind and Execute of the unnamed statement."""
    text = text.encode() if isinstance(text, str) else text
    return (
        wire.parse(b"", text)
        + wire.bind(portal, b"", values, result_formats=formats)
        + wire.describe(b"P", portal)
        + wire.execute(portal, limit)
    )


def copy_data(*chunks: bytes) -> bytes:
    return b"".join(wire.message(b"d", chunk) for chunk in chunks)


COPY_DONE = wire.message(b"c")


def copy_fail(why: bytes = b"stop") -> bytes:
    return wire.message(b"f", why + b"\0")


def call(oid: int, values: Sequence[bytes | None], *, formats: Sequence[int] = (), result_format: int = 0) -> bytes:
    """FunctionCall."""
    return wire.message(
        b"F",
        struct.pack(f"!IH{len(formats)}H", oid, len(formats), *formats)
        + struct.pack("!H", len(values))
        + b"".join(wire.cells(values))
        + struct.pack("!H", result_format),
    )


def asked(data: bytes) -> int:
    """How many ReadyForQuery these messages bring."""
    count = position = 0
    while position < len(data):
        count += chr(data[position]) in "QSF"
        position += 1 + int.from_bytes(data[position + 1 : position + 5], "big")
    return count


async def hold(client: Raw, steps: Sequence[bytes | Step]) -> list[Frame]:
    """The answers, in order, as they came."""
    found: list[Frame] = []
    for item in steps:
        step = item if isinstance(item, Step) else Step(item)
        await client.send(step.data)
        for wanted in "Z" * asked(step.data) if step.until is None else step.until:
            while True:
                frame = await client.message()
                found.append(frame)
                if frame[0] == wanted:
                    break
    return found


def shown(frames: Sequence[Frame]) -> list[tuple[str, object]]:
    """Frames with what may differ taken out."""
    return [(kind, _shown(kind, raw)) for kind, raw in frames]


def _shown(kind: str, raw: bytes) -> object:
    if kind in "EN":
        return {code: value for code, value in wire.parse_fields(raw).items() if code not in _SOURCE_FIELDS}
    if kind == "A":
        return raw[9:]
    if kind == "T":
        return [
            field._replace(table=0 if field.table < _FIRST_OWN_OID else 1) for field in wire.parse_row_description(raw)
        ]
    return raw[5:]


@dataclass
class Live:
    """A gateway with the live catalog and the real describer; its gate answers by the statement's text."""

    gateway: PostgresGateway
    core: ScriptedCore
    port: int

    @property
    def gate(self) -> ScriptedGate:
        return self.core.gates[-1]

    async def client(self) -> Raw:
        return await Raw.connect_to(self.port, user="executor", database="crm")


@asynccontextmanager
async def live(postgres: Postgres, policy: Policy | None = None, *, database: str = "postgres") -> AsyncIterator[Live]:
    core = ScriptedCore(lambda: ScriptedGate(policy))
    failures: list[tuple[str, BaseException]] = []
    tasks = Supervisor(lambda name, error: failures.append((name, error)))

    async def credential(role: str) -> tuple[str, str]:
        return await core.credential("crm", role)

    target = Target(host="127.0.0.1", port=postgres.port, database=database, sslmode="disable")
    gateway = PostgresGateway(
        core, {"crm": LiveSource(target, credential, tasks, catalog_role="executor")}, tasks=tasks
    )
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    await gateway.start([listening])
    try:
        yield Live(gateway, core, int(listening.getsockname()[1]))
    finally:
        await gateway.stop()
    if failures:
        raise AssertionError(failures)


def make_databases(postgres: Postgres, *names: str) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        for name in names:
            admin.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]  # a name of the test's own
    for name in names:
        with psycopg.connect(f"{postgres.dsn.rpartition('/')[0]}/{name}", autocommit=True) as client:
            client.execute(SETUP)


async def both(
    postgres: Postgres, one: Live, steps: Sequence[bytes | Step], *, database: str
) -> tuple[list[Frame], list[Frame]]:
    """The same conversation directly with `database`, and through the gateway."""
    direct = await Raw.connect_to(postgres.port, user="postgres", database=database)
    through = await one.client()
    try:
        async with asyncio.timeout(30):
            expected = await hold(direct, steps)
            found = await hold(through, steps)
    finally:
        direct.close()
        through.close()
    return expected, found
