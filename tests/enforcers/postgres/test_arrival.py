"""From the start-up packet to a session: slots, cancel keys, time limits, and who is told what."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import uvloop

from enforcers.core.ports import Gate, Ruling
from enforcers.core.siblings import Siblings, pairs
from enforcers.postgres import arrival, wire
from tests.enforcers.postgres.conftest import Gatewayed, Start, start_gateway
from tests.enforcers.postgres.fakes import ScriptedCore, ScriptedGate
from tests.enforcers.postgres.raw import Raw, eventually
from tests.enforcers.postgres.test_entry import files, listener_tls  # noqa: F401 - a fixture

LIMIT, MANY = 500, 2000


class Target:
    """Lets everybody in, or answers with an error, or says nothing; counts the connections it has."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.open = 0
        self.most = 0
        self.parameters: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            length = int.from_bytes(await reader.readexactly(4), "big")
            self.parameters.append(await reader.readexactly(length - 4))
            if self._answer is not None:
                writer.write(self._answer)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


IN = wire.AUTHENTICATION_OK + wire.key_data(1, b"abcd") + wire.ready(b"I")


def refused(sqlstate: str, text: str) -> bytes:
    return wire.fields(b"E", [("S", "FATAL"), ("V", "FATAL"), ("C", sqlstate), ("M", text)])


@asynccontextmanager
async def target(answer: bytes | None = IN) -> AsyncIterator[Target]:
    made = Target(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, backlog=4096)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def slots(one: Gatewayed) -> int:
    return len(one.gateway._slots)


async def log_in(one: Gatewayed, password: str = "good") -> Raw:
    return await Raw.connect_to(one.port, user="executor", database="crm", password=password)


def test_two_thousand_at_once_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a session or is told that there is no room, on production's loop; then all slots are free again.

    Two thousand clients share that loop with the gateway: on a loaded machine their tokens come later than a gateway
    that has others waiting gives anyone, which is another test's."""
    for name in ("gateway.SILENT_SECONDS", "gateway.TOKEN_SECONDS", "arrival.PACKET_SECONDS", "entry.ENTRY_SECONDS"):
        monkeypatch.setattr(f"enforcers.postgres.{name}", 60.0)

    async def outcome(one: Gatewayed) -> tuple[str, Raw | None]:
        try:
            return "open", await log_in(one)
        except ConnectionError as error:
            return "53300" if "53300" in str(error) else repr(error), None

    async def main() -> None:
        async with target() as made:
            one = await start_gateway(made.port, max_connections=LIMIT)
            for _ in range(2):
                found = await asyncio.gather(*(outcome(one) for _ in range(MANY)))
                assert Counter(kind for kind, _ in found) == {"open": LIMIT, "53300": MANY - LIMIT}
                assert one.gateway.sessions == slots(one) == LIMIT
                for _, raw in found:
                    if raw is not None:
                        raw.close()
                await eventually(lambda: one.gateway.sessions == slots(one) == one.gateway.entering == 0, seconds=20)
            await eventually(lambda: made.open == 0, seconds=20)
            assert made.most <= LIMIT
            assert all(gate.closed for gate in one.core.gates)
            await one.gateway.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_more_than_may_be_on_their_way_wait_and_the_silent_go(
    gateway: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enforcers.postgres.gateway.MAX_ENTERING", 20)
    monkeypatch.setattr("enforcers.postgres.gateway.SILENT_SECONDS", 0.2)
    monkeypatch.setattr("enforcers.postgres.gateway.TOKEN_SECONDS", 0.3)
    one = await gateway()
    silent = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(60)]
    for _, writer in silent[:20]:
        writer.write(b"\0")
    for _, writer in silent[20:40]:  # as far as one gets without a token
        writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
    async with asyncio.timeout(5):
        raws = await asyncio.gather(*(log_in(one) for _ in range(5)))  # behind them in the queue
    for reader, writer in silent:
        await reader.read()
        writer.close()
    for raw in raws:
        raw.close()
    await eventually(lambda: one.gateway.entering == one.gateway.sessions == 0)


@pytest.mark.parametrize("answer", [refused("28P01", "no"), b"X\0\0\0\4", None])
async def test_every_way_of_not_getting_in_frees_its_slot(
    gateway: Start, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    monkeypatch.setattr(arrival, "PACKET_SECONDS", 0.2)
    monkeypatch.setattr(arrival, "HANDSHAKE_SECONDS", 0.3)
    async with target(answer) as made:
        one = await gateway(port=made.port)
        for password in ("good", "bad"):
            with pytest.raises(ConnectionError):
                await log_in(one, password=password)
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
        await reader.readexactly(9)
        assert slots(one) == 0  # slots are for who has shown a token
        assert one.gateway.entering == 1
        writer.transport.abort()  # at the password
        silent_reader, silent = await asyncio.open_connection("127.0.0.1", one.port)
        silent.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
        assert b"log-in took more than 0.2 s" in await asyncio.wait_for(silent_reader.read(), 5)
        silent.close()
        await eventually(lambda: slots(one) == one.gateway.entering == made.open == 0)
        assert all(gate.closed for gate in one.core.gates)


async def test_a_client_that_leaves_while_the_target_is_asked(gateway: Start) -> None:
    async with target(None) as made:
        one = await gateway(port=made.port)
        raw = Raw(*await asyncio.open_connection("127.0.0.1", one.port))
        raw.writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
        await raw.message()
        raw.writer.write(wire.password(b"good"))
        await eventually(lambda: made.open == 1)
        raw.writer.transport.abort()
        await eventually(lambda: made.open == slots(one) == 0)
        assert one.gate.closed == "client gone"


class SlowCore(ScriptedCore):
    """Opens when told to."""

    def __init__(self, gate: Callable[[], ScriptedGate]) -> None:
        super().__init__(gate)
        self.go = asyncio.Event()

    async def open_session(
        self,
        *,
        token: str,
        connection: str,
        role: str,
        client_address: str,
        on_revoked: object,
        client_certificate: str = "",
        plan: str = "",
    ) -> Gate | Ruling:
        await self.go.wait()
        return await super().open_session(
            token=token, connection=connection, role=role, client_address=client_address, on_revoked=on_revoked
        )


async def test_a_session_opened_for_a_client_that_left_is_closed(gateway: Start) -> None:
    one = await gateway()
    core = one.gateway.core = SlowCore(ScriptedGate)
    raw = Raw(*await asyncio.open_connection("127.0.0.1", one.port))
    raw.writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")]))
    await raw.message()
    raw.writer.write(wire.password(b"good"))
    await eventually(lambda: slots(one) == 1)
    await asyncio.sleep(0)
    raw.writer.transport.abort()
    await eventually(lambda: slots(one) == 0)
    core.go.set()
    await eventually(lambda: bool(core.gates) and core.gates[0].closed == "client gone")


@pytest.mark.parametrize(
    ("sqlstate", "told", "text"),
    [
        ("53300", "53300", "sorry, too many clients already"),
        ("57P03", "57P03", "the database system is starting up"),
        ("22023", "22023", 'invalid value for parameter "TimeZone": "Mars"'),
        ("28P01", "08006", "password authentication failed for crm_ro"),
        ("3D000", "08006", "no such database"),
    ],
)
async def test_what_of_the_targets_refusal_is_the_clients_to_know(
    gateway: Start, sqlstate: str, told: str, text: str
) -> None:
    async with target(refused(sqlstate, text)) as made:
        one = await gateway(port=made.port)
        with pytest.raises(ConnectionError) as raised:
            await log_in(one)
        assert told in str(raised.value)
        assert (text in str(raised.value)) is (told == sqlstate)
        assert one.core.refused_credentials == ([("crm", "executor")] if sqlstate == "28P01" else [])


async def test_the_target_is_told_who_it_is_as_a_parameter_of_its_own(gateway: Start) -> None:
    hostile = "o'brien\\ -c role=postgres \" \\' ;\u00e9"

    def gate() -> ScriptedGate:
        made = ScriptedGate()
        made.subject = hostile
        return made

    async with target() as made:
        one = await gateway(gate, port=made.port)
        raw = await log_in(one)
        raw.close()
    parameters = made.parameters[0][4:].rstrip(b"\0").split(b"\0")
    named = dict(zip(parameters[::2], parameters[1::2], strict=True))
    assert named[b"twokey.subject"] == hostile.encode()
    assert b"options" not in named


# Protocol 3.2 and cancel keys


async def test_protocol_3_2_has_long_keys_and_3_0_short_ones(gateway: Start) -> None:
    one = await gateway()
    for version, size in (("3.0", 4), ("3.2", 32)):
        async with await psycopg.AsyncConnection.connect(
            f"{one.dsn}?max_protocol_version={version}", autocommit=True
        ) as client:
            assert client.pgconn.full_protocol_version == (30000 if version == "3.0" else 30002)
            ((secret, _),) = one.gateway._keys.values()
            assert len(secret) == size
            task = asyncio.ensure_future(client.execute("SELECT pg_sleep(20)"))
            await eventually(lambda: bool(one.gate.begun) and one.gate.begun[-1].statement.startswith(b"SELECT pg_"))
            await client.cancel_safe(timeout=5)
            with pytest.raises(psycopg.errors.QueryCanceled):
                await asyncio.wait_for(task, 5)
        await eventually(lambda: one.gateway.sessions == 0)


async def cancelled_by(one: Gatewayed, process: int, secret: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(wire.cancel_request(process, secret))
    assert await asyncio.wait_for(reader.read(), 5) == b""  # silent, right or wrong
    writer.close()


async def test_a_cancel_request_reaches_the_worker_that_has_the_session(gateway: Start) -> None:
    inboxes, outboxes = pairs(3)
    workers = [await gateway(siblings=Siblings(index, inboxes[index], outboxes)) for index in range(3)]
    raw = await log_in(workers[2])
    await raw.send(wire.query(b"SELECT pg_sleep(20)"))
    await eventually(lambda: bool(workers[2].gate.begun))
    assert raw.process & 0xFF == 2
    for one in workers:
        await cancelled_by(one, raw.process, b"\0\0\0\0")
        await cancelled_by(one, raw.process, raw.secret + b"\0")
        await cancelled_by(one, raw.process, raw.secret[:-1])
        for process in (raw.process ^ 0x100, raw.process ^ 1, -1, 0, 0xFF, 77):
            await cancelled_by(one, process, raw.secret)
    assert workers[2].gate.ended == []
    await cancelled_by(workers[0], raw.process, raw.secret)
    kinds = [
        (kind, wire.parse_fields(frame).get("C") if kind == "E" else b"") for kind, frame in await raw.until_ready()
    ]
    assert ("E", b"57014") in kinds
    raw.close()
    for item in (*inboxes, *outboxes):
        item.close()


async def test_cancel_in_the_clear_where_tls_is_required(gateway: Start, files: tuple[Path, Path]) -> None:  # noqa: F811
    """As PostgreSQL takes it: clients before libpq 17 send it so, whatever their session does."""
    one = await gateway(tls=await listener_tls(files))
    async with await psycopg.AsyncConnection.connect(one.dsn, sslmode="require", autocommit=True) as client:
        task = asyncio.ensure_future(client.execute("SELECT pg_sleep(20)"))
        await eventually(lambda: bool(one.core.gates) and bool(one.gate.begun))
        ((process, (secret, _)),) = one.gateway._keys.items()
        await cancelled_by(one, process, secret)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await asyncio.wait_for(task, 5)


async def test_a_replication_connection_is_refused_clearly(gateway: Start) -> None:
    one = await gateway()
    for value in ("true", "database", "on", "1", "yes", "TRUE", "maybe"):
        with pytest.raises(psycopg.OperationalError, match="replication connections are refused"):
            await psycopg.AsyncConnection.connect(one.dsn, replication=value)
    async with await psycopg.AsyncConnection.connect(one.dsn, replication="false"):
        pass
    assert len(one.core.opened) == 1


async def test_a_target_that_never_answers_has_its_time(gateway: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enforcers.postgres.upstream.CONNECT_SECONDS", 0.2)
    async with target(None) as made:
        one = await gateway(port=made.port)
        with pytest.raises(ConnectionError, match=r"did not answer within 0\.2 s"):
            await log_in(one)
        await eventually(lambda: made.open == slots(one) == 0)


async def test_a_target_that_is_not_there(gateway: Start) -> None:
    async with target() as made:
        port = made.port
    one = await gateway(port=port)
    with pytest.raises(ConnectionError, match="08006"):
        await log_in(one)
    await eventually(lambda: slots(one) == 0)


async def test_the_plan_of_the_start_up_reaches_the_core(gateway: Start) -> None:
    one = await gateway()
    plan = f"pln_{'a' * 26}"
    raw = Raw(*await asyncio.open_connection("127.0.0.1", one.port))
    options = f"-c twokey.plan={plan}".encode()
    raw.writer.write(wire.startup_packet([(b"user", b"executor"), (b"database", b"crm"), (b"options", options)]))
    await raw.message()
    raw.writer.write(wire.password(b"good"))
    await eventually(lambda: one.gateway.core.plans == [plan])
    raw.close()
