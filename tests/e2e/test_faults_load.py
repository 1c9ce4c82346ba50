"""What runs short: the client's or the target's patience, memory, descriptors; the target or the decision service away.

Bounds are measured from outside, on the real gateway process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from enforcers.postgres import wire
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until
from tests.e2e.processes import can_be_root, descriptors, gateways, limit_descriptors, processes, resident
from tests.faults.bench import Client

ROWS, ROW_BYTES = 500, 1 << 20  # 500 MiB
BOUND = 48 << 20  # bytes of memory that a result nobody reads may cost
BULK = f"SELECT repeat('x', {ROW_BYTES}) FROM generate_series(1, {ROWS})"


@pytest.fixture(scope="module")
def worn() -> Iterator[Stack]:
    with Stack() as running:
        admin(running, "CREATE TABLE heap (line text); ALTER TABLE heap OWNER TO company_rw")
        yield running


@contextmanager
def raw(stack: Stack, name: str, connection: str = "sandbox") -> Iterator[Client]:
    client = Client(stack.address(connection)[1], user="executor", database=connection, application=name)
    try:
        assert client.log_in(stack.token("executor-7", "executor")), client.seen
        yield client
    finally:
        client.close()


def gateway(stack: Stack) -> int:
    (pid,) = gateways(stack)
    return pid


def backend(stack: Stack, name: str) -> int:
    return int(admin(stack, f"SELECT pid FROM pg_stat_activity WHERE application_name = '{name}'"))


def stalled(stack: Stack, name: str) -> bool:
    """The target waits to be read, or for more."""
    where = f"application_name = '{name}' AND wait_event_type = 'Client'"
    return admin(stack, f"SELECT count(*) FROM pg_stat_activity WHERE {where} AND state = 'active'") == "1"


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(wire.query(BULK.encode()), id="simple"),
        pytest.param(
            wire.parse(b"", BULK.encode()) + wire.bind(b"", b"") + wire.execute(b"") + wire.SYNC, id="extended"
        ),
        pytest.param(wire.query(f"COPY ({BULK}) TO STDOUT".encode()), id="copy"),
    ],
)
def test_a_client_that_does_not_read_costs_no_memory(worn: Stack, messages: bytes) -> None:
    pid = gateway(worn)
    with raw(worn, "slow-reader") as client:
        client.send(wire.query(b"SELECT 1"))
        assert client.until_ready(1)
        before = resident(pid)
        client.send(messages)
        until(lambda: stalled(worn, "slow-reader"), what="the target's waiting")
        assert resident(pid) - before < BOUND
        total = most = 0
        while True:
            frame = client.read()
            assert frame is not None
            total += len(frame[1])
            most = max(most, resident(pid) - before)
            client.seen.clear()
            if frame[0] == "Z":
                break
        assert total > ROWS * ROW_BYTES
        assert most < BOUND
        with connect(worn, "executor", connection="sandbox") as other:  # nobody else waited for that
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_target_that_does_not_read_costs_no_memory(worn: Stack) -> None:
    pid = gateway(worn)
    line = wire.message(b"d", b"x" * 65_535 + b"\n")
    with raw(worn, "slow-target") as client, Background() as pool:
        client.send(wire.query(b"COPY heap FROM STDIN"))
        while (frame := client.read()) is not None and frame[0] != "G":
            pass
        asleep = backend(worn, "slow-target")
        os.kill(asleep, signal.SIGSTOP)
        try:
            before = resident(pid)
            sending = pool.submit(client.send, line * 1600)  # 100 MiB
            time.sleep(2)  # the time in which it would all have been taken in
            assert not sending.done()
            assert resident(pid) - before < BOUND
        finally:
            os.kill(asleep, signal.SIGCONT)
        sending.result(30)
        client.send(wire.message(b"c"))
        assert client.until_ready(1)
        assert client.seen[-2][1].startswith(b"C")
    assert admin(worn, "SELECT count(*) FROM heap") == "1600"


def test_the_target_restarts(worn: Stack) -> None:
    """Immediate: no word to anybody, backends die as they stand."""
    with raw(worn, "restarted") as busy, raw(worn, "restarted") as idle:
        idle.send(wire.query(b"SELECT 1"))
        assert idle.until_ready(1)
        busy.send(wire.query(b"INSERT INTO heap VALUES ('lost'); SELECT pg_sleep(60)"))
        until(lambda: "pg_sleep" in admin(worn, "SELECT query FROM pg_stat_activity WHERE state = 'active'"))
        assert worn.database.pid is not None
        os.kill(worn.database.pid, signal.SIGQUIT)
        for client in (busy, idle):
            while client.read() is not None:
                pass
            kind, frame = client.seen[-1]
            assert kind == "E", client.seen
            assert wire.parse_fields(frame)["C"] in {b"57P01", b"57P02", b"08006"}, frame
        with pytest.raises(psycopg.OperationalError, match=r"reach|starting|ended"), connect(worn, "executor"):
            pass
        worn.database.stop()
    worn.database.start()
    until(lambda: answers(worn), timeout_s=30, what="a session with the target that came back")
    assert admin(worn, "SELECT count(*) FROM heap WHERE line = 'lost'") == "0"


def answers(stack: Stack) -> bool:
    try:
        with connect(stack, "executor", connection="sandbox") as client:
            return client.execute("SELECT count(*) FROM orders WHERE id < 3").fetchone() == (2,)
    except psycopg.Error:
        return False


def test_leases_end_with_the_decision_service_and_the_session_recovers(worn: Stack) -> None:
    statement = "SELECT count(*) FROM orders WHERE id = 1"
    with connect(worn, "executor", connection="sandbox") as client:
        for _ in range(5):
            client.execute(statement, prepare=False)
        (service,) = processes(worn, "-m decision --")
        os.kill(worn.pid, signal.SIGSTOP)  # so that nobody starts it again yet
        try:
            os.kill(service, signal.SIGSTOP)  # it hangs: no reset tells anybody
            began = time.monotonic()
            refused = None
            while refused is None:
                try:
                    client.execute(statement, prepare=False)
                except psycopg.Error as error:
                    refused = error
                assert time.monotonic() - began < 15, "leases go on without the service"
            assert refused.sqlstate == "57P03", refused
            os.kill(service, signal.SIGKILL)
            began = time.monotonic()
            with pytest.raises(psycopg.Error) as away:
                client.execute(statement, prepare=False)
            assert away.value.sqlstate in {"57P03", "57P01"}
            assert time.monotonic() - began < 10, "a refusal is no hang"
        finally:
            os.kill(worn.pid, signal.SIGCONT)
        until(lambda: answers(worn), timeout_s=30, what="the decision service's return")
        if not client.closed:
            assert client.execute(statement, prepare=False).fetchone() == (1,)


@pytest.mark.skipif(not can_be_root(), reason="needs root to change another process's limit")
def test_descriptors_run_out(worn: Stack) -> None:
    """Who is in stays in; who comes is refused in words, or waits; when there is room again, there is room."""
    pid = gateway(worn)
    with connect(worn, "executor", connection="sandbox") as old, ExitStack() as clients:
        usual = 1000
        limit_descriptors(pid, descriptors(pid) + 7)
        try:
            words: list[str] = []
            while not any("too many connections" in said for said in words):
                try:
                    clients.enter_context(connect(worn, "executor", connection="sandbox"))
                except psycopg.OperationalError as error:
                    words.append(str(error))
                    if "timeout expired" in words[-1]:  # it waits: heard it is when there is one descriptor more
                        limit_descriptors(pid, descriptors(pid) + 1)
                assert words.count("connection timeout expired") <= 6, words
            assert old.execute("SELECT 1").fetchone() == (1,)
        finally:
            limit_descriptors(pid, usual)
            clients.close()
        until(lambda: answers(worn), timeout_s=20, what="room again")
        assert old.execute("SELECT 2").fetchone() == (2,)


def test_a_message_of_a_gigabyte_is_refused_before_it_is_read(worn: Stack) -> None:
    pid, size = gateway(worn), 1 << 30
    with raw(worn, "oversized") as client:
        client.send(wire.query(b"SELECT 1"))
        assert client.until_ready(1)
        before = most = resident(pid)
        client.send(b"Q" + (size + 4).to_bytes(4, "big"))
        piece = b"x" * (8 << 20)
        for _ in range(size // len(piece)):
            client.send(piece)
            most = max(most, resident(pid))
        assert client.until_ready(1)
        kind, frame = client.seen[-2]
        assert kind == "E"
        assert wire.parse_fields(frame)["C"] == b"54000"
        assert most - before < BOUND
        client.send(wire.query(b"SELECT 2"))
        assert client.until_ready(1)


def test_what_is_sent_behind_a_held_statement_waits_outside(worn: Stack) -> None:
    pid = gateway(worn)
    with raw(worn, "impatient", connection="company") as client, Background() as pool:
        client.send(wire.query(b"SELECT 1"))
        assert client.until_ready(1)
        before = resident(pid)
        client.send(wire.query(b"DELETE FROM orders WHERE id = 815"))
        approval = str(until(lambda: pending(worn, containing="815"), what="the hold"))
        # Data of a COPY that isn't there: to be dropped, once its turn has come.
        sending = pool.submit(client.send, wire.message(b"d", b"x" * (1 << 20)) * 100 + wire.query(b"SELECT 2"))
        until(lambda: resident(pid) - before > (8 << 20), what="the queue's filling")
        time.sleep(1)  # the time in which it would all have been taken in
        assert not sending.done()
        assert resident(pid) - before < 2 * BOUND
        assert worn.review("deny", approval).returncode == 0
        assert client.until_ready(2)
        sending.result(20)
        assert [kind for kind, _ in client.seen] == ["T", "D", "C", "Z", "E", "Z", "T", "D", "C", "Z"]
