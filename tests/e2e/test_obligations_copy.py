"""Every obligation on COPY, in both directions and both protocols, by libpq.

max-rows and max-bytes of COPY TO: test_obligations_rows.py and test_obligations_bytes.py. mask-columns denies COPY.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import admin, connect, until
from tests.e2e.obliged import copied, copied_in, count, ended, mark, outcome, reasons, state

BOTH = pytest.mark.parametrize("simple", [True, False], ids=["simple", "extended"])
SLEEPING_IN = "COPY many (id, v) FROM STDIN WHERE pg_sleep(30) IS NOT NULL AND v <> '{marker}'"
SLEEPING_OUT = "COPY (SELECT id, '{marker}', pg_sleep(CASE WHEN id > 3 THEN 30 ELSE 0 END) FROM many) TO STDOUT"


def lines(*numbers: int) -> list[bytes]:
    return [b"%d\tcopied\n" % number for number in numbers]


@BOTH
@pytest.mark.parametrize("sent", [5, 6])
def test_copy_in_is_bounded_by_rows(obliged: Stack, sent: int, *, simple: bool) -> None:
    marker, before = mark(), state(obliged)
    statement = f"COPY many (id, v) FROM STDIN WHERE v <> '{marker}'"
    with connect(obliged, "executor", connection="rows") as client:
        if sent <= 5:
            assert copied_in(client, statement, lines(*range(8000, 8000 + sent)), simple=simple) == f"COPY {sent}"
            assert admin(obliged, "DELETE FROM many WHERE id >= 8000") is not None
        else:
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                copied_in(client, statement, lines(*range(8000, 8000 + sent)), simple=simple)
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert state(obliged) == before
    end = outcome(obliged, marker)
    assert (end["status"], end["rows"]) == ("completed" if sent <= 5 else "failed", sent)


@BOTH
def test_copy_in_is_bounded_by_bytes(obliged: Stack, *, simple: bool) -> None:
    marker, before = mark(), state(obliged)
    statement = f"COPY many (id, v) FROM STDIN WHERE v <> '{marker}'"
    with connect(obliged, "executor", connection="bytes") as client:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            copied_in(
                client, statement, [b"8000\t" + b"y" * 2000 + b"\n", b"8001\t" + b"y" * 2000 + b"\n"], simple=simple
            )
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert state(obliged) == before
    assert outcome(obliged, marker)["status"] == "failed"


@BOTH
@pytest.mark.parametrize("in_transaction", [False, True])
def test_copy_in_ends_at_its_timeout(obliged: Stack, *, simple: bool, in_transaction: bool) -> None:
    marker, before = mark(), state(obliged)
    with connect(obliged, "executor", connection="slow") as client:
        if in_transaction:
            client.execute("BEGIN")
        with pytest.raises(psycopg.errors.QueryCanceled):
            copied_in(client, SLEEPING_IN.format(marker=marker), lines(8000), simple=simple)
        if in_transaction:
            client.execute("ROLLBACK")
        assert client.execute("SHOW statement_timeout").fetchone() == ("1min",)
        assert copied_in(client, "COPY many (id, v) FROM STDIN", lines(8001), simple=simple) == "COPY 1"
        admin(obliged, "DELETE FROM many WHERE id = 8001")
    assert state(obliged) == before
    end = outcome(obliged, marker)
    assert (end["status"], end["sqlstate"]) == ("failed", "57014")


@BOTH
def test_copy_out_ends_at_its_timeout(obliged: Stack, *, simple: bool) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="slow") as client:
        with pytest.raises(psycopg.errors.QueryCanceled):
            copied(client, SLEEPING_OUT.format(marker=marker), simple=simple)
        assert client.execute("SHOW statement_timeout").fetchone() == ("1min",)
        assert copied(client, "COPY (SELECT 7) TO STDOUT", simple=simple) == b"7\n"
    end = outcome(obliged, marker)
    assert (end["status"], end["sqlstate"]) == ("failed", "57014")


@BOTH
def test_copy_out_ends_after_its_duration(obliged: Stack, *, simple: bool) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="brief") as client:
        with pytest.raises(psycopg.errors.QueryCanceled) as refused:
            copied(client, SLEEPING_OUT.format(marker=marker), simple=simple)
        assert "longer than policy allows: 600 ms" in str(refused.value)
        assert copied(client, "COPY (SELECT 7) TO STDOUT", simple=simple) == b"7\n"
    end = outcome(obliged, marker)
    assert (end["status"], end["sqlstate"]) == ("failed", "57014")


@BOTH
@pytest.mark.parametrize("who", ["the target is slow", "the client is slow"])
def test_copy_in_ends_after_its_duration(obliged: Stack, who: str, *, simple: bool) -> None:
    marker, before = mark(), state(obliged)

    def late() -> Iterator[bytes]:
        yield from lines(8000)
        until(lambda: ended(obliged, marker), what="the end of the act")
        yield from lines(8001)

    with connect(obliged, "executor", connection="brief") as client:
        statement, data = SLEEPING_IN.format(marker=marker), iter(lines(8000))
        if who == "the client is slow":
            statement, data = f"COPY many (id, v) FROM STDIN WHERE v <> '{marker}'", late()
        with pytest.raises(psycopg.errors.QueryCanceled):
            copied_in(client, statement, data, simple=simple)
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert state(obliged) == before
    assert outcome(obliged, marker)["status"] == "failed"


@BOTH
@pytest.mark.parametrize("connection", ["still", "reading"])
@pytest.mark.parametrize("in_transaction", [False, True])
def test_read_only_lets_copy_read_and_not_write(
    obliged: Stack, connection: str, *, simple: bool, in_transaction: bool
) -> None:
    marker, before = mark(), state(obliged)
    returning = f"COPY (UPDATE many SET v = '{marker}' RETURNING id) TO STDOUT"
    with connect(obliged, "executor", connection=connection) as client:

        def writes(into: bool) -> object:
            if into:
                return copied_in(client, "COPY many (id, v) FROM STDIN", lines(8000), simple=simple)
            return copied(client, returning, simple=simple)

        for into in (False, True):
            if in_transaction:
                client.execute("BEGIN")
            assert copied(client, "COPY (SELECT id FROM many WHERE id < 3) TO STDOUT", simple=simple) == b"1\n2\n"
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                writes(into)
            if in_transaction:
                client.execute("ROLLBACK")
    assert state(obliged) == before
    assert outcome(obliged, marker)["sqlstate"] == "25006"


@BOTH
def test_copy_needs_a_reason_in_both_directions(obliged: Stack, *, simple: bool) -> None:
    out, into = mark(), mark()
    reading = f"COPY (SELECT id, '{out}' FROM many WHERE id = 1) TO STDOUT"
    writing = f"COPY many (id, v) FROM STDIN WHERE v <> '{into}'"
    before = state(obliged)
    with connect(obliged, "executor", connection="why") as client:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="OBLIGATION-REASON"):
            copied(client, reading, simple=simple)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="OBLIGATION-REASON"):
            copied_in(client, writing, lines(8000), simple=simple)
        assert state(obliged) == before
        client.execute("SET twokey.reason = 'ticket 99'")
        assert copied(client, reading, simple=simple) == f"1\t{out}\n".encode()
        assert copied_in(client, writing, lines(8000), simple=simple) == "COPY 1"
    assert count(obliged, "id = 8000") == 1
    admin(obliged, "DELETE FROM many WHERE id = 8000")
    assert reasons(obliged, out) == ["", "ticket 99"]
    assert reasons(obliged, into) == ["", "ticket 99"]


@BOTH
def test_masked_columns_are_copied_masked(stack: Stack, *, simple: bool) -> None:
    with connect(stack, "planner") as client:
        assert set(copied(client, "COPY (SELECT email FROM customers) TO STDOUT", simple=simple).split()) == {b"\\N"}
        whole = copied(client, "COPY customers TO STDOUT", simple=simple)
        assert b"\\N" in whole
        assert b"@" not in whole
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            copied(client, "COPY (SELECT email FROM customers WHERE email > 'm') TO STDOUT", simple=simple)
        assert copied(client, "COPY (SELECT id FROM customers WHERE id = 7) TO STDOUT", simple=simple) == b"7\n"
