"""The way in, on a whole twokey with two workers: TLS and its rotation, balancers, limits, cancel, twokey.subject."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from decision.cli.demo.database import scratch_folder
from decision.cli.demo.stack import CONFIG, SUBJECTS, Stack
from enforcers.core.balancers import SIGNATURE
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, until
from tests.e2e.processes import gateways
from tests.enforcers.postgres.certificates import certificate

LIMIT = 20  # of a worker
BALANCER = "127.0.0.9"
ENFORCERS = f"""\
enforcers:
  postgres:
    workers: 2
    max_connections: {LIMIT}
    tls: {{{{certificate: gate.crt, key: {{{{exec: [cat, gate.key]}}}}, required: false}}}}
    balancers: [{BALANCER}]
"""
# psycopg's own libpq: the one psql comes with is built without TLS.
(LIBPQ,) = (Path(psycopg.__file__).parents[1] / "psycopg_binary.libs").glob("libpq-*")


@pytest.fixture(scope="module")
def two() -> Iterator[Stack]:
    folder = scratch_folder("twokey-start-")
    show(folder, "localhost")
    try:
        with Stack(folder, config=CONFIG + ENFORCERS) as running:
            admin(running, "CREATE TABLE notes (text text, by text DEFAULT current_setting('twokey.subject', true))")
            admin(running, "GRANT ALL ON notes TO company_rw; GRANT SELECT ON notes TO company_ro")
            admin(running, "ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
            admin(running, "CREATE POLICY own ON notes USING (by = current_setting('twokey.subject', true))")
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(folder: Path, name: str) -> bytes:
    """A new certificate and key where the configuration says; what a client sees of it (DER)."""
    work = folder / f"new-{name}"
    work.mkdir()
    made, key = certificate(work, name)
    key.chmod(0o600)
    key.replace(folder / "gate.key")
    made.replace(folder / "gate.crt")
    return ssl.PEM_cert_to_DER_cert((folder / "gate.crt").read_text())


def dsn(stack: Stack, *, role: str = "executor", **options: str) -> str:
    host, port = stack.address()
    values = {
        "host": "localhost" if host == "127.0.0.1" else host,
        "port": str(port),
        "user": role,
        "password": stack.token(SUBJECTS[role], role),
        "dbname": "company",
        "connect_timeout": "10",
        **options,
    }
    return " ".join(f"{key}='{value}'" for key, value in values.items())


def psql(stack: Stack, statement: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(stack.database.psql), "-XqAt", dsn(stack, **options), "-c", statement],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={"PATH": os.environ["PATH"], "LD_PRELOAD": str(LIBPQ)},
    )


def shown(stack: Stack) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    with socket.create_connection(stack.address(), timeout=10) as plain, context.wrap_socket(plain) as client:
        found = client.getpeercert(binary_form=True)
        assert found is not None
        return found


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_psql_verifies_the_gateway_whose_certificate_is_rotated_meanwhile(two: Stack, negotiation: str) -> None:
    root = str(two.folder / "gate.crt")
    full = {"sslmode": "verify-full", "sslrootcert": root, "sslnegotiation": negotiation}
    done = psql(two, "SELECT count(*) FROM orders WHERE id < 3", **full)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
    before = shown(two)
    with psycopg.connect(dsn(two, **full), autocommit=True) as open_before:
        work = two.folder / f"new-{negotiation}"
        work.mkdir()
        made, key = certificate(work, "localhost")
        key.chmod(0o600)
        key.replace(two.folder / "gate.key")
        made.replace(two.folder / "gate.crt")
        told = two.log.read_text().count('"reloading"')
        os.kill(two.pid, signal.SIGHUP)
        until(lambda: two.log.read_text().count('"reloading"') >= told + 3, what="the enforcer and both workers told")
        until(lambda: {shown(two) for _ in range(8)} & {before} == set(), what="the new certificate everywhere")
        assert open_before.execute("SELECT 1").fetchone() == (1,)
    assert psql(two, "SELECT 1", **full).stdout == "1\n"


def test_asyncpg_jdbc_style_and_old_clients_in_the_clear_where_that_is_allowed(two: Stack) -> None:
    assert psql(two, "SELECT 1", sslmode="disable").stdout == "1\n"
    with psycopg.connect(dsn(two, sslmode="require", max_protocol_version="3.0")) as client:
        assert client.pgconn.full_protocol_version == 30000
    with psycopg.connect(dsn(two, sslmode="require", max_protocol_version="latest")) as client:
        assert client.pgconn.full_protocol_version == 30002


# Balancers


def through_balancer(stack: Stack, first: bytes, *, source: str = BALANCER) -> bytes:
    """The first answer to a start-up packet behind these bytes."""
    parameters = b"user\0executor\0database\0company\0\0"
    packet = struct.pack("!II", 8 + len(parameters), 196608) + parameters
    with socket.create_connection(stack.address(), timeout=10, source_address=(source, 0)) as client:
        client.sendall(first + packet)
        answer = client.recv(4096)
        if not answer.startswith(b"R"):
            return answer
        token = stack.token("executor-7", "executor").encode() + b"\0"
        client.sendall(b"p" + struct.pack("!I", 4 + len(token)) + token)
        while not answer.endswith(b"Z\0\0\0\5I"):
            more = client.recv(4096)
            assert more
            answer += more
        return answer


def test_the_clients_address_behind_a_balancer_is_in_the_record(two: Stack) -> None:
    address = bytes((203, 0, 113, 9, 10, 0, 0, 1)) + struct.pack("!HH", 4711, 6432)
    header = SIGNATURE + b"\x21\x11" + struct.pack("!H", len(address)) + address
    assert through_balancer(two, header).endswith(b"Z\0\0\0\5I")
    opened = [record for record in two.records() if record["kind"] == "session-opened"]
    assert any("203.0.113.9:4711" in str(record) for record in opened)
    assert b"08P01" in through_balancer(two, b"")  # from the balancer, without
    refused = through_balancer(two, header, source="127.0.0.1")
    assert b"no listed balancer" in refused
    assert b"C08P01" in refused


# Limits


def test_more_connections_than_slots_are_refused_by_the_book_and_none_is_lost(two: Stack) -> None:
    token = two.token("executor-7", "executor")
    given = dsn(two, sslmode="disable", password=token, connect_timeout="30")

    def outcome(_number: int) -> psycopg.Connection[tuple[object, ...]] | str:
        try:
            return psycopg.connect(given)
        except psycopg.OperationalError as error:
            return "full" if "too many connections" in str(error) else str(error)

    with ThreadPoolExecutor(120) as pool:
        found = list(pool.map(outcome, range(120)))
    clients = [one for one in found if isinstance(one, psycopg.Connection)]
    try:
        assert Counter(one for one in found if isinstance(one, str)) == {"full": 120 - len(clients)}
        assert LIMIT <= len(clients) <= 2 * LIMIT
    finally:
        for client in clients:
            client.close()
    until(lambda: isinstance(_closed(outcome(0)), psycopg.Connection), what="a slot that is free again")


def _closed(found: psycopg.Connection[tuple[object, ...]] | str) -> psycopg.Connection[tuple[object, ...]] | str:
    if isinstance(found, psycopg.Connection):
        found.close()
    return found


# Cancel


@pytest.mark.parametrize("version", ["3.0", "3.2"])
def test_cancel_finds_its_session_in_whichever_worker(two: Stack, version: str) -> None:
    """Eight sessions and eight cancel requests over two workers: that none crosses is as good as impossible."""
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
    clients: list[psycopg.Connection[tuple[object, ...]]] = []
    workers: set[int] = set()
    try:
        while len(clients) < 8 or workers != {0, 1}:  # the kernel deals them out by chance
            assert len(clients) < 40
            target = dsn(two, sslmode="require", max_protocol_version=version)
            clients.append(psycopg.connect(target, autocommit=True))
            workers.add(clients[-1].info.backend_pid & 0xFF)
        with Background() as pool:
            running = [pool.submit(client.execute, "SELECT pg_sleep(60)") for client in clients]
            all_of_them = str(len(clients))
            until(lambda: admin(two, sleeping) == all_of_them, what="the statements that run")
            for client in clients:
                _cancel(two, client.info.backend_pid, b"\0" * (4 if version == "3.0" else 32))
            assert admin(two, sleeping) == all_of_them
            assert not any(future.done() for future in running)
            for client in clients:
                client.cancel_safe(timeout=5)
            for future in running:
                with pytest.raises(psycopg.errors.QueryCanceled):
                    future.result(10)
    finally:
        for client in clients:
            client.close()


def _cancel(stack: Stack, process: int, secret: bytes) -> None:
    with socket.create_connection(stack.address(), timeout=10) as client:
        client.sendall(struct.pack("!IIi", 12 + len(secret), 80877102, process) + secret)
        assert client.recv(1) == b""


def test_a_worker_that_was_started_again_is_reached_too(two: Stack) -> None:
    victim = gateways(two)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(gateways(two)) == 2 and victim not in gateways(two), what="a worker in the dead one's place")

    def both() -> bool:
        found = []
        try:
            found = [psycopg.connect(dsn(two, sslmode="disable"), autocommit=True) for _ in range(6)]
            return {client.info.backend_pid & 0xFF for client in found} == {0, 1}
        except psycopg.OperationalError:
            return False
        finally:
            for client in found:
                client.close()

    until(both, timeout_s=30, what="both workers serving")
    test_cancel_finds_its_session_in_whichever_worker(two, "3.2")


# twokey.subject

CHANGES = (
    "SET twokey.subject = 'alice'",
    "SET LOCAL twokey.subject TO 'alice'",
    "SET SESSION \"TwoKey.Subject\" = 'alice'",
    "RESET twokey.subject",
    "SET twokey.subject TO DEFAULT",
    "SELECT set_config('twokey.subject', 'alice', false)",
    "SELECT set_config('TWOKEY.SUBJECT', 'alice', true)",
    "SELECT set_config(E'twokey\\x2esubject', 'alice', false)",
    "SET twokey.anything = 'x'",
    "PREPARE a AS SELECT set_config('twokey.subject', 'alice', false)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT set_config('twokey.subject', 'alice', false)",
    "WITH x AS (SELECT set_config('twokey.subject', 'alice', false)) SELECT * FROM x",
    "EXPLAIN ANALYZE SELECT set_config('twokey.subject', 'alice', false)",
    "SELECT set_config(CAST('twokey.subject' AS text), 'alice', false)",
    "SELECT set_config(U&'twokey!002Esubject' UESCAPE '!', 'alice', false)",
)


@pytest.mark.parametrize("role", ["planner", "executor"])
def test_the_target_knows_who_it_is_and_nobody_changes_it(two: Stack, role: str) -> None:
    who = (SUBJECTS[role],)
    with connect(two, role) as client:
        for statement in ("SELECT 1", "RESET ALL", "DISCARD ALL"):
            client.execute(statement)
            assert client.execute("SELECT current_setting('twokey.subject')").fetchone() == who
            assert client.execute("SHOW twokey.subject").fetchone() == who
        for statement in CHANGES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(statement)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(statement, prepare=True)
        assert client.execute("SELECT current_setting('twokey.subject')").fetchone() == who


def test_row_security_and_audit_columns_by_subject(two: Stack) -> None:
    with connect(two, "executor", connection="sandbox") as client:
        client.execute("INSERT INTO notes (text) VALUES ('mine')")
        assert client.execute("SELECT text, by FROM notes").fetchall() == [("mine", "executor-7")]
    with connect(two, "planner") as client:
        assert client.execute("SELECT text FROM notes").fetchall() == []


def test_what_could_change_it_unread_is_opaque(two: Stack) -> None:
    """A function that sets it while it runs, a name computed from parts, the view of settings, a block of code."""
    admin(
        two,
        "CREATE FUNCTION others() RETURNS SETOF notes LANGUAGE sql STABLE SET search_path = public "
        "SET twokey.subject = 'executor-7' AS 'SELECT * FROM notes'",
    )
    with connect(two, "planner") as client:
        for statement in (
            "SELECT * FROM others()",
            "SELECT set_config('twokey.' || 'subject', 'executor-7', false)",
            "UPDATE pg_catalog.pg_settings SET setting = 'executor-7' WHERE name = 'twokey.subject'",
            "DO $$ BEGIN SET twokey.subject = 'executor-7'; END $$",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(statement)
        assert client.execute("SELECT current_setting('twokey.subject')").fetchone() == ("planner-3",)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("-c twokey.subject=alice", "gateway's own"),
        ("--twokey.subject=alice", "gateway's own"),
        ("-c search_path=evil", "search_path"),
        ("-c role=postgres", "role to activate"),
        ("-c session_authorization=postgres", "role to activate"),
        ("-c row_security=off", "row_security"),
        ("-e", "only -c name=value"),
    ],
)
def test_start_up_options_that_are_refused(two: Stack, options: str, text: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=text), connect(two, "executor", options=options):
        pass


def test_start_up_options_that_reach_the_target(two: Stack) -> None:
    options = "-c DateStyle=German,\\ DMY -c statement_timeout=12345 --timezone=Asia/Tokyo"
    with connect(two, "executor", options=options) as client:
        assert client.execute("SHOW DateStyle").fetchone() == ("German, DMY",)
        assert client.execute("SHOW statement_timeout").fetchone() == ("12345ms",)
        assert client.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo",)


def test_replication_is_refused_clearly(two: Stack) -> None:
    done = psql(two, "IDENTIFY_SYSTEM", replication="database", sslmode="disable")
    assert done.returncode != 0
    assert "replication connections are refused" in done.stderr


def test_a_client_that_demands_channel_binding_leaves(two: Stack) -> None:
    done = psql(two, "SELECT 1", sslmode="require", channel_binding="require")
    assert done.returncode != 0
    assert "channel binding" in done.stderr
