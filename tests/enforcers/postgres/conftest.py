"""A real PostgreSQL for the tests of the gateway, and gateways in front of it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from decision.cli.demo.postgres import binaries, choose, clients
from enforcers.core.balancers import Balancers
from enforcers.core.siblings import Siblings
from enforcers.core.tls import ServerTls
from enforcers.postgres.gateway import PostgresGateway
from enforcers.postgres.target import Target
from tests.enforcers.postgres.fakes import ScriptedCore, ScriptedDescriber, ScriptedGate, ScriptedSource

SETUP = """
CREATE TABLE t (id int primary key, name text, email varchar(60), n numeric);
INSERT INTO t SELECT i, 'name ' || i, 'user' || i || '@example.com', i * 1.5 FROM generate_series(1, 20) i;
CREATE TABLE big AS SELECT i AS id, repeat('x', 200) AS filler FROM generate_series(1, 20000) i;
ANALYZE big;
"""


@dataclass(frozen=True)
class Postgres:
    port: int
    psql: str
    table: int  # t's oid

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user() -> dict[str, object]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


@contextmanager
def trusting_server(version: str | None = None) -> Iterator[int]:
    """A server of the version that --postgres chose (or this one), which lets everybody in on loopback; its port."""
    programs = binaries(choose(version))
    directory = Path(tempfile.mkdtemp(prefix="twokey-pg-"))
    user = _user()
    if user:
        shutil.chown(directory, "nobody")
    data, port = directory / "data", free_port()
    run = {"capture_output": True, "env": {"LC_ALL": "C", "PATH": os.environ["PATH"], "TZ": "UTC"}, **user}
    initdb = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, check=True, **run)  # type: ignore[call-overload]  # user and group of the same call
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c fsync=off -c unix_socket_directories={directory}"
    options += " -c max_prepared_transactions=10"
    control = [programs / "pg_ctl", "-D", data, "-w", "-l", directory / "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, **run)  # type: ignore[call-overload]  # as above
    try:
        yield port
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **run)  # type: ignore[call-overload]  # as above
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    psql = str(clients() / "psql")
    with trusting_server() as port:
        dsn = Postgres(port, psql, 0).dsn
        subprocess.run([psql, "-qX", dsn, "-c", SETUP], check=True, capture_output=True)
        found = subprocess.run([psql, "-qXAt", dsn, "-c", "SELECT 't'::regclass::oid"], check=True, capture_output=True)
        yield Postgres(port, psql, int(found.stdout))


@dataclass
class Gatewayed:
    """A gateway in front of a target; `gate` is the last opened session's."""

    gateway: PostgresGateway
    core: ScriptedCore
    source: ScriptedSource
    port: int

    @property
    def gate(self) -> ScriptedGate:
        return self.core.gates[-1]

    @property
    def dsn(self) -> str:
        return f"postgresql://executor:good@127.0.0.1:{self.port}/crm"


Start = Callable[..., Awaitable[Gatewayed]]


async def start_gateway(
    target: int,
    gate: Callable[[], ScriptedGate] = ScriptedGate,
    describer: ScriptedDescriber | None = None,
    max_connections: int = 50,
    *,
    tls: ServerTls | None = None,
    balancers: Sequence[str] = (),
    siblings: Siblings | None = None,
) -> Gatewayed:
    core = ScriptedCore(gate)
    source = ScriptedSource(Target(host="127.0.0.1", port=target, database="postgres", sslmode="disable"), describer)
    made = PostgresGateway(
        core,
        {"crm": source},
        max_connections=max_connections,
        tls=tls,
        balancers=Balancers(balancers),
        siblings=siblings,
    )
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    await made.start([listening])
    return Gatewayed(made, core, source, int(listening.getsockname()[1]))


@pytest.fixture
async def closing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """What a test connected is closed before its loop is: a TLS transport told to close still waits for its peer, and
    would be found open by whichever test runs when it is collected."""
    writers: list[asyncio.StreamWriter] = []
    connect = asyncio.open_connection

    async def remembered(*args: Any, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await connect(*args, **options)
        writers.append(writer)
        return reader, writer

    monkeypatch.setattr(asyncio, "open_connection", remembered)
    yield
    for writer in writers:
        writer.transport.abort()
    ended = (writer.wait_closed() for writer in writers)
    await asyncio.wait_for(asyncio.gather(*ended, return_exceptions=True), 10)


@pytest.fixture
async def gateway(postgres: Postgres, closing: None) -> AsyncIterator[Start]:
    started: list[Gatewayed] = []

    async def start(
        gate: Callable[[], ScriptedGate] = ScriptedGate,
        *,
        port: int | None = None,
        describer: ScriptedDescriber | None = None,
        max_connections: int = 50,
        tls: ServerTls | None = None,
        balancers: Sequence[str] = (),
        siblings: Siblings | None = None,
    ) -> Gatewayed:
        found = await start_gateway(
            port or postgres.port,
            gate,
            describer,
            max_connections,
            tls=tls,
            balancers=balancers,
            siblings=siblings,
        )
        started.append(found)
        return found

    yield start
    for one in started:
        await one.gateway.stop()
