"""Ways around max-rows and max-bytes by real clients: other orders of messages, other statements, leases."""

from __future__ import annotations

import os
import socket

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from enforcers.postgres import wire
from tests.e2e.clients import connect
from tests.e2e.obliged import copied, log, mark, outcome, reasons, state, statement_of

BIG = b"UPDATE many SET v = 'around' WHERE id < 100"


RUN = wire.bind(b"", b"") + wire.execute(b"", 0)


RAW = {
    "one row, then Sync": wire.parse(b"", BIG + b" RETURNING id")
    + wire.bind(b"", b"")
    + wire.execute(b"", 1)
    + wire.SYNC,
    "the end of the session instead of Sync": wire.parse(b"", BIG) + RUN + wire.TERMINATE,
    "a Query that commits, behind it": wire.parse(b"", BIG) + RUN + wire.query(b"COMMIT") + wire.SYNC,
    "an Execute that commits, behind it": wire.parse(b"", BIG) + RUN + wire.parse(b"", b"COMMIT") + RUN + wire.SYNC,
    "BEGIN before, COMMIT behind": wire.parse(b"", b"BEGIN") + RUN + wire.parse(b"", BIG) + RUN + wire.query(b"COMMIT"),
    "its portal closed": wire.parse(b"", BIG) + RUN + wire.close(b"P", b"") + wire.SYNC,
}


@pytest.mark.parametrize("way", RAW)
def test_no_order_of_messages_lets_too_many_rows_stand(obliged: Stack, way: str) -> None:
    before = state(obliged)
    with (
        connect(obliged, "executor", connection="rows") as client,
        socket.socket(fileno=os.dup(client.pgconn.socket)) as raw,
    ):
        raw.settimeout(10)
        raw.sendall(RAW[way])
        answer = b""
        while b"54000" not in answer:
            more = raw.recv(65536)
            assert more, answer
            answer += more
        client.close()
    assert state(obliged) == before


AROUND = [
    ("PREPARE p AS {big}", "EXECUTE p"),
    ("PREPARE p AS {big}", "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) EXECUTE p"),
    ("CREATE TEMPORARY TABLE taken AS SELECT * FROM many",),
    ("SELECT * INTO TEMPORARY taken FROM many",),
    ("CREATE TEMPORARY TABLE taken (id int)", "INSERT INTO taken SELECT id FROM many"),
    ("BEGIN", "DECLARE c CURSOR FOR SELECT id FROM many", "FETCH ALL FROM c"),
    ("BEGIN", "SAVEPOINT s", "{big}"),
    ("BEGIN", "{big}", "PREPARE TRANSACTION 'x'"),
]


@pytest.mark.parametrize("statements", AROUND, ids=[statements[-1] for statements in AROUND])
def test_no_other_statement_writes_or_returns_more(obliged: Stack, statements: tuple[str, ...]) -> None:
    before = state(obliged)
    with connect(obliged, "executor", connection="rows") as client:
        *first, last = (statement.format(big=BIG.decode()).encode() for statement in statements)
        if last.startswith(b"PREPARE TRANSACTION"):
            last = first.pop()
        for statement in first:
            client.execute(statement)
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            client.execute(last)
        if last == BIG and "SAVEPOINT s" not in statements:
            with pytest.raises(psycopg.Error):
                client.execute("PREPARE TRANSACTION 'x'")
        if "SAVEPOINT s" in statements:
            client.execute("ROLLBACK TO SAVEPOINT s")
        client.execute("COMMIT")
    assert state(obliged) == before


def test_copy_of_a_write_is_taken_back(obliged: Stack) -> None:
    before = state(obliged)
    with connect(obliged, "executor", connection="rows") as client:
        for simple in (False, True):
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                copied(client, "COPY (DELETE FROM many WHERE id < 100 RETURNING id) TO STDOUT", simple=simple)
    assert state(obliged) == before


@pytest.mark.parametrize(("connection", "rows"), [("rows", 5), ("bytes", 30)])
def test_limits_hold_for_prepared_statements_under_a_lease(obliged: Stack, connection: str, rows: int) -> None:
    """Where a whole Bind, Execute, Sync passes at once."""
    marker = mark()
    with connect(obliged, "executor", connection=connection) as client:
        for number in (3, 4, 150, 5, 200, 2):
            read = f"SELECT v AS {marker} FROM many WHERE id <= %s"
            if number <= 5:
                assert client.execute(read, (number,), prepare=True).rowcount == number
            else:
                with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                    client.execute(read, (number,), prepare=True)
            assert client.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        client.execute("SET twokey.reason = 'now with one'")
        client.execute(f"SELECT v AS {marker} FROM many WHERE id <= %s", (1,), prepare=True)
    assert reasons(obliged, marker)[-1] == "now with one"
    ends = [r["outcome"] for r in log(obliged) if r["kind"] == "act" and marker in str(statement_of(r))]
    failed = [end["rows"] for end in ends if isinstance(end, dict) and end["status"] == "failed"]
    assert failed in ([rows] * 2, [rows], [])  # those under a lease, whose records hold the statement
    assert outcome(obliged, marker)["status"] == "completed"
