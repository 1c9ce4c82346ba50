"""Who vanishes without a word is found out, and who is only slow is not taken for gone.

Silence is made by a socket filter that drops every segment on its way in (SO_ATTACH_FILTER, Linux): the peer's kernel
hears no acknowledgement, as if the machine had lost its network. The gateway's keepalives are made quicker.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time

import psycopg
import pytest

from enforcers.postgres import wire
from tests.enforcers.postgres.conftest import Postgres
from tests.faults.bench import ApprovingGate, Bench, client, until
from tests.faults.conversations import insert
from tests.faults.proxy import Cut, Line, Way

_SO_ATTACH_FILTER = 26


def deafen(descriptor: int) -> None:
    """Everything that comes in on the connection is dropped: one instruction, `return 0`."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    filter_ = struct.pack("HxxxxxxP" if struct.calcsize("P") == 8 else "HxxP", 1, ctypes.addressof(program))
    with socket.socket(fileno=os.dup(descriptor)) as item:
        item.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)


def impatient(sock: socket.socket) -> None:
    """Keepalives as the gateway has them, in seconds instead of tens."""
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def newest(bench: Bench) -> ApprovingGate:
    gate = bench.core.gates[-1]
    assert isinstance(gate, ApprovingGate)
    return gate


def sockets(bench: Bench) -> tuple[socket.socket, socket.socket]:
    """The gateway's own two, of its only session: the client's and the target's."""

    def of_the_session() -> tuple[socket.socket, socket.socket]:
        (session,) = bench.gateway._sessions
        upstream = session._upstream
        assert upstream.transport is not None
        return session._transport.get_extra_info("socket"), upstream.transport.get_extra_info("socket")

    return bench.call(of_the_session)


@pytest.mark.parametrize("state", ["idle", "in a transaction", "running"])
def test_a_client_that_vanished_is_found_out(bench: Bench, postgres: Postgres, state: str) -> None:
    messages = {
        "idle": wire.query(b"SELECT 1"),
        "in a transaction": wire.query(b"BEGIN; SELECT 1"),
        "running": wire.query(b"SELECT 1") + wire.query(b"SELECT pg_sleep(60)"),
    }[state]
    with client(bench.port, application="vanishing") as one:
        assert one.log_in()
        one.send(messages)
        assert one.until_ready(1)
        impatient(sockets(bench)[0])
        deafen(one.descriptor)
        began = time.monotonic()
        until(lambda: bool(newest(bench).closed), what="the session's end")
        assert time.monotonic() - began < 10
        gone(postgres, "vanishing")


def gone(postgres: Postgres, name: str) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        until(lambda: admin.execute(query, (name,)).fetchone() == (0,), what="the end of its backend")


def test_a_target_that_vanished_is_found_out_while_it_works(bench: Bench) -> None:
    with client(bench.port, application="target-vanishes") as one:
        assert one.log_in()
        one.send(wire.query(b"SELECT pg_sleep(60)"))
        until(lambda: bool(newest(bench).questions), what="the question")
        behind = sockets(bench)[1]
        impatient(behind)
        bench.call(lambda: deafen(bench.behind.accepted["target-vanishes"]))
        began = time.monotonic()
        assert not one.until_ready(1)
        assert time.monotonic() - began < 10
        kind, frame = one.seen[-1]
        assert kind == "E"
        assert wire.parse_fields(frame)["C"] == b"08006"
    assert newest(bench).ended == [("SELECT pg_sleep(60)", "unknown")]


def test_a_client_that_reads_nothing_for_long_is_not_taken_for_gone(bench: Bench) -> None:
    """Its window is closed, and it answers every probe: that is no silence."""
    with client(bench.port, application="reading-slowly") as one:
        assert one.log_in()
        impatient(sockets(bench)[0])
        one.send(wire.query(b"SELECT repeat('x', 1000000) FROM generate_series(1, 40)"))
        time.sleep(6)  # three times what a silent one gets
        assert one.until_ready(1)
        assert sum(kind == "D" for kind, _ in one.seen) == 40


def test_a_line_that_only_goes_quiet_keeps_its_session_until_it_ends(bench: Bench, postgres: Postgres) -> None:
    """A proxy that swallows and acknowledges everything can't be told from a slow peer; when it ends, all ends."""
    name = "blackhole"
    bench.behind.lines[name] = Line(up=Way(after=600, cut=Cut.SILENCE))
    before = bench.behind.cuts
    with client(bench.port, application=name) as one:
        assert one.log_in()
        for _ in range(20):
            one.send(wire.query(insert(1)))
            if bench.behind.cuts > before:
                break
            time.sleep(0.02)
        until(lambda: bench.behind.cuts > before, what="the silence")
        assert not newest(bench).closed
    until(lambda: bool(newest(bench).closed), what="the session's end with its client's")
    assert len(newest(bench).ends) == newest(bench).granted
    del bench.behind.lines[name]


STARTS = {
    "nothing": b"",
    "half a request for TLS": b"\0\0\0\x08\x04",
    "a request for TLS and no more": (8).to_bytes(4, "big") + wire.SSL_REQUEST.to_bytes(4, "big"),
    "half a start-up packet": wire.startup_packet([(b"user", b"executor"), (b"database", b"crm")])[:20],
}


def test_a_start_up_that_never_ends_is_ended(bench: Bench) -> None:
    """All at once, since each takes its ten seconds; others come in meanwhile."""
    opened = {name: socket.create_connection(("127.0.0.1", bench.port), timeout=20) for name in STARTS}
    began = time.monotonic()
    for name, connection in opened.items():
        connection.sendall(STARTS[name])
    with client(bench.port, application="meanwhile") as one:
        assert one.log_in()
    for name, connection in opened.items():
        with connection:
            while connection.recv(1000):
                pass  # the answer to the request for TLS, or a last word
            assert time.monotonic() - began < 14, name
    assert bench.call(lambda: bench.gateway.entering) == 0
