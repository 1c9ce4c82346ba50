"""`twokey sessions list|kill`: a revoked session is cut at once, whatever it is doing and on every worker; what it was
doing is undone or cancelled at the target; the log says who did it; its upstream connection serves nobody else."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg
import pytest
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.cli import client as rpc
from decision.cli.demo.stack import CONFIG, SUBJECTS, Stack
from decision.cli.options import Who
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until
from tests.e2e.processes import processes

WORKERS = "enforcers: {{postgres: {{workers: 2}}}}\n"
AT_ONCE_S = 1.0

Client = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def pair() -> Iterator[Stack]:
    """A stack whose gateway has two workers."""
    with Stack(config=CONFIG + WORKERS) as running:
        yield running


def listed(stack: Stack, subject: str = "frank", role: str = "admin", *options: str) -> list[dict[str, object]]:
    done = stack.twokey("sessions", "list", "--json", *options, token=stack.token(subject, role))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def newest(stack: Stack) -> str:
    """The session opened last: the list is newest first."""
    return str(listed(stack)[0]["id"])


def revoke(stack: Stack, session: str, *, reason: str = "enough", by: str = "frank", role: str = "admin") -> float:
    """What `twokey sessions kill` calls, without a Python process to start in what is measured. When it was asked."""
    token = stack.folder / f"{by}.token"
    token.write_text(stack.token(by, role))
    token.chmod(0o600)
    with rpc.connect(Who(stack.config, None, None, token)) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        asked = time.monotonic()
        request = decision_pb2.RevokeRequest(session=session, reason=reason)
        assert stub.Revoke(request, metadata=caller.metadata, timeout=10).sessions == 1
    return asked


def cut_at(client: Client) -> float:
    """When the client's socket had something to read, which for an idle session is its end."""
    readable, _, _ = select.select([client.pgconn.socket], [], [], 10)
    assert readable, "nothing came"
    return time.monotonic()


def cut_after(stack: Stack, client: Client, session: str) -> float:
    asked = revoke(stack, session)
    return cut_at(client) - asked


def backend(client: Client) -> int:
    row = client.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def gone(stack: Stack, process: int) -> bool:
    return admin(stack, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {process}") == "0"


def closing(stack: Stack, session: str) -> dict[str, object]:
    (record,) = [one for one in stack.records() if one["kind"] == "session-closed" and one["session"] == session]
    return record


def test_an_idle_session_is_cut_at_once_on_every_worker(pair: Stack) -> None:
    clients: list[tuple[Client, str, int]] = []
    enforcers: set[object] = set()
    with ExitStack() as open_ones:
        while len(enforcers) < 2:
            assert len(clients) < 40, "all sessions met the same worker"
            client = open_ones.enter_context(connect(pair, "executor", connection="sandbox"))
            latest = listed(pair)[0]
            enforcers.add(latest["enforcer"])
            clients.append((client, str(latest["id"]), backend(client)))
        for client, session, process in clients:
            took = cut_after(pair, client, session)
            assert took < AT_ONCE_S
            with pytest.raises(psycopg.errors.AdminShutdown, match="the session was revoked: enough"):
                client.execute("SELECT 1")
            until(partial(gone, pair, process), what="the end of the backend")
            record = closing(pair, session)
            assert (record["how"], record["reason"]) == ("revoked", "enough")
            assert record["by"]["subject"]["name"] == "frank"  # type: ignore[index]  # JSON


def test_a_session_in_the_middle_of_its_result_is_cut_and_its_act_recorded(pair: Stack) -> None:
    with connect(pair, "executor", connection="sandbox") as client, Background() as pool:
        process, session = backend(client), newest(pair)
        query = "SELECT a.id, repeat('x', 200) FROM orders a, orders b, orders c WHERE a.id > 0"
        rows = client.cursor().stream(query)
        for _ in range(1000):
            next(rows)
        rest = pool.submit(lambda: sum(1 for _ in rows))
        asked = revoke(pair, session)
        with pytest.raises(psycopg.OperationalError):
            rest.result(10)
        assert time.monotonic() - asked < 2 * AT_ONCE_S  # what was on its way is read first
    until(partial(gone, pair, process), timeout_s=5, what="the end of the backend")

    def outcome() -> dict[str, object] | None:
        found = [one["outcome"] for one in pair.records() if one["kind"] == "act" and one["session"] == session]
        ended = [one for one in found if isinstance(one, dict) and one["status"] == "unknown"]
        return ended[0] if ended else None

    act = until(outcome, what="the act's outcome")
    assert isinstance(act, dict)
    assert act["error"] == "revoked"
    assert act["rows"] > 1000


def test_a_client_that_does_not_read_holds_nothing_back(pair: Stack) -> None:
    """Its buffers are full, so the gateway isn't reading from the target either when the word comes."""
    host, port = pair.address("sandbox")
    with socket.create_connection((host, port), timeout=10) as raw:
        body = struct.pack("!I", 196608) + b"user\0executor\0database\0sandbox\0\0"
        raw.sendall(struct.pack("!I", len(body) + 4) + body)
        raw.recv(64)
        token = pair.token(SUBJECTS["executor"], "executor").encode() + b"\0"
        raw.sendall(b"p" + struct.pack("!I", len(token) + 4) + token)
        while not raw.recv(65536).endswith(b"Z\0\0\0\x05I"):
            pass
        session = newest(pair)
        marker = "not_read_by_anyone"
        query = f"SELECT repeat('x', 900) AS {marker} FROM orders a, orders b, orders c\0".encode()
        raw.sendall(b"Q" + struct.pack("!I", len(query) + 4) + query)
        waits = f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{marker}%' AND pid <> pg_backend_pid()"
        stuck = f"{waits} AND wait_event = 'ClientWrite'"
        until(lambda: admin(pair, stuck) == "1", what="a full pipe")
        asked = revoke(pair, session)
        until(lambda: admin(pair, waits) == "0", timeout_s=5, what="the end of the backend")
        assert time.monotonic() - asked < 3 * AT_ONCE_S
        # Nor does it keep what the gateway has for it: that socket is given up, unread as it is.
        until(lambda: not still_held(port, raw.getsockname()[1]), timeout_s=5, what="the end of the gateway's socket")
        received = 0
        while data := read(raw):
            received += len(data)
        assert received < 64 * 2**20  # what the sockets held, and then the end


def still_held(server: int, client: int) -> bool:
    """Some process has the server's end of this connection open (proc(5), net/tcp: the inode of an orphan is 0)."""
    wanted = [f"0100007F:{server:04X}", f"0100007F:{client:04X}"]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()]
    return any(fields[1:3] == wanted and fields[9] != "0" for fields in lines)


def read(raw: socket.socket) -> bytes:
    try:
        return raw.recv(1 << 20)
    except ConnectionResetError:
        return b""


def test_a_transaction_is_rolled_back(pair: Stack) -> None:
    before = admin(pair, "SELECT status FROM orders WHERE id = 11")
    with connect(pair, "executor", connection="sandbox", autocommit=False) as client:
        process = backend(client)
        client.execute("UPDATE orders SET status = 'revoked' WHERE id = 11")
        assert cut_after(pair, client, newest(pair)) < AT_ONCE_S
        with pytest.raises(psycopg.OperationalError):
            client.commit()
    until(partial(gone, pair, process), what="the end of the backend")
    assert admin(pair, "SELECT status FROM orders WHERE id = 11") == before


def test_a_running_statement_is_cancelled(pair: Stack) -> None:
    with connect(pair, "executor", connection="sandbox") as client, Background() as pool:
        process, session = backend(client), newest(pair)
        running = pool.submit(client.execute, "SELECT pg_sleep(60)")
        active = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {process} AND wait_event = 'PgSleep'"
        until(lambda: admin(pair, active) == "1", what="the statement")
        asked = revoke(pair, session)
        with pytest.raises(psycopg.errors.AdminShutdown, match="enough"):
            running.result(10)
        assert time.monotonic() - asked < AT_ONCE_S
        until(partial(gone, pair, process), timeout_s=5, what="the end of the backend")


def test_what_a_killed_session_waited_for_never_runs(pair: Stack) -> None:
    admin(pair, "INSERT INTO orders VALUES (70001, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    with connect(pair, "executor") as client, Background() as pool:
        session = newest(pair)
        held = pool.submit(client.execute, "DELETE FROM orders WHERE id = 70001")
        approval = str(until(lambda: pending(pair, containing="70001"), what="the approval"))
        asked = revoke(pair, session)
        with pytest.raises(psycopg.errors.AdminShutdown, match="enough"):
            held.result(10)
        assert time.monotonic() - asked < AT_ONCE_S
    assert pair.review("approve", approval).returncode == 0
    (record,) = [one for one in pair.records() if one["kind"] == "session-closed" and one["session"] == session]
    assert record["how"] == "revoked"
    states = [one["state"] for one in pair.records() if one["kind"] == "approval" and one["approval"] == approval]
    assert states[-1] == "approved"  # by nobody redeemed
    assert admin(pair, "SELECT count(*) FROM orders WHERE id = 70001") == "1"
    admin(pair, "DELETE FROM orders WHERE id = 70001")


def copy_and_be_cut(stack: Stack, client: Client, session: str) -> None:
    with client.cursor().copy("COPY orders FROM STDIN") as copy:
        copy.write("80001\t1\t2026-01-01\t1\tnew\n")
        assert cut_after(stack, client, session) < AT_ONCE_S
        for number in range(80002, 90000):
            copy.write(f"{number}\t1\t2026-01-01\t1\tnew\n")


def test_a_copy_under_way_leaves_nothing(pair: Stack) -> None:
    with connect(pair, "executor", connection="sandbox") as client:
        process, session = backend(client), newest(pair)
        with pytest.raises(psycopg.OperationalError):
            copy_and_be_cut(pair, client, session)
    until(partial(gone, pair, process), what="the end of the backend")
    assert admin(pair, "SELECT count(*) FROM orders WHERE id >= 80001") == "0"


def test_leases_do_not_outlive_the_session(pair: Stack) -> None:
    with connect(pair, "planner", connection="sandbox") as client, Background() as pool:
        session = newest(pair)

        def ask_for_ever() -> None:
            while True:
                client.execute("SELECT count(*) FROM orders WHERE id = %s", [1])

        asking = pool.submit(ask_for_ever)
        leased = [one for one in pair.records() if one["kind"] == "act" and one["session"] == session]
        until(lambda: leased or pair.records()[-1]["kind"] == "act", what="leased acts")
        asked = revoke(pair, session)
        with pytest.raises(psycopg.OperationalError):
            asking.result(10)
        assert time.monotonic() - asked < AT_ONCE_S


def test_no_upstream_connection_is_used_twice(pair: Stack) -> None:
    """Not after a kill, not after a clean end: nothing of one session is ever seen by another."""
    seen: set[int] = set()
    for number in range(6):
        with connect(pair, "executor", connection="sandbox") as client:
            process = backend(client)
            assert process not in seen
            seen.add(process)
            assert client.execute("SHOW application_name").fetchone() == ("",)
            client.execute("SET application_name = 'left behind'")
            client.execute("PREPARE left_behind AS SELECT 1")
            if number % 2:
                revoke(pair, newest(pair))
                cut_at(client)
        until(partial(gone, pair, process), what="the end of the backend")


def test_people_see_and_end_their_own_and_errors_are_clear(pair: Stack) -> None:
    """alice owns executor-7, carol planner-3."""
    with connect(pair, "executor", connection="sandbox"), connect(pair, "planner", connection="sandbox") as planner:
        mine = listed(pair, "alice", "reviewer")
        assert {one["subject"]["identity"]["name"] for one in mine} == {"executor-7"}  # type: ignore[index]  # JSON
        theirs = str(listed(pair, "carol", "reviewer")[0]["id"])
        for subject, role in (("alice", "reviewer"), ("executor-7", "executor"), ("planner-3", "planner")):
            done = pair.twokey("sessions", "kill", theirs, token=pair.token(subject, role))
            assert (done.returncode, done.stdout) == (1, "")
            assert "DUTY-CALL-OTHERS" in done.stderr
            assert "Traceback" not in done.stderr
        assert planner.execute("SELECT 1").fetchone() == (1,)
        carol = pair.token("carol", "reviewer")
        killed = pair.twokey("sessions", "kill", theirs, "--json", "--reason", "done", token=carol)
        assert json.loads(killed.stdout) == {"session": theirs, "ended": True, "sessions": 1}
        again = pair.twokey("sessions", "kill", theirs, token=carol)
        assert (again.returncode, again.stdout) == (0, "it had ended already\n")
        assert closing(pair, theirs)["by"]["subject"]["name"] == "carol"  # type: ignore[index]  # JSON
    unknown = pair.twokey("sessions", "kill", "ses_" + "a" * 26, token=pair.token("frank", "admin"))
    assert unknown.returncode == 1
    assert "no such session (NOT_FOUND)" in unknown.stderr
    assert "sessions list" in unknown.stderr
    assert pair.twokey("sessions", "kill", token="x").returncode == 2
    assert "--reason" in pair.twokey("sessions", "kill", "--help", config=False).stdout


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def test_a_gateway_that_slept_meanwhile_cuts_when_it_wakes(pair: Stack) -> None:
    with connect(pair, "executor", connection="sandbox") as client:
        process, session = backend(client), newest(pair)
        gateway = processes(pair, "-m enforcers")
        signal_all(gateway, signal.SIGSTOP)
        try:
            revoke(pair, session)
        finally:
            woken = time.monotonic()
            signal_all(gateway, signal.SIGCONT)
        assert cut_at(client) - woken < AT_ONCE_S
    until(partial(gone, pair, process), what="the end of the backend")
