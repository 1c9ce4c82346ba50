"""max-bytes by real clients: results and COPY data that are cut, and exact counts in the log."""

from __future__ import annotations

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import admin, connect
from tests.e2e.obliged import copied, mark, outcome, run, state


@pytest.mark.parametrize("how", ["simple", "extended", "in a transaction", "in a pipeline"])
def test_a_result_is_cut_at_the_byte_limit(obliged: Stack, how: str) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="bytes") as client:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded) as refused:
            run(client, f"SELECT v, '{marker}' FROM many WHERE id > 100", how)
        assert "more bytes than policy allows: 3000" in str(refused.value)
        assert client.execute("SELECT v FROM many WHERE id <= 5").rowcount == 5
    end = outcome(obliged, marker)
    assert (end["status"], end["sqlstate"]) == ("failed", "54000")
    # 4 bytes of length, 2 of columns, and two values behind their lengths: 137 each.
    assert (end["rows"], end["bytes"]) == (21, 21 * 137)


@pytest.mark.parametrize("simple", [False, True])
def test_copy_out_is_cut_at_the_byte_limit(obliged: Stack, *, simple: bool) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="bytes") as client:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            copied(client, f"COPY (SELECT v, '{marker}' FROM many WHERE id > 100) TO STDOUT", simple=simple)
        assert client.execute("SELECT 1").fetchone() == (1,)
    end = outcome(obliged, marker)
    assert (end["status"], end["rows"], end["bytes"]) == ("failed", 23, 23 * 129)


def test_a_row_larger_than_the_byte_limit_does_not_pass_in_pieces(obliged: Stack) -> None:
    marker = mark()
    with connect(obliged, "executor", connection="bytes") as client:
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                client.execute(f"SELECT repeat('{marker}', 1000000)", prepare=prepare)
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert outcome(obliged, marker)["bytes"] == 0


@pytest.mark.parametrize("how", ["simple", "extended", "in a transaction", "in a pipeline"])
def test_a_write_whose_result_is_cut_is_taken_back(obliged: Stack, how: str) -> None:
    marker, before = mark(), state(obliged)
    with connect(obliged, "executor", connection="bytes") as client, pytest.raises(psycopg.errors.ProgramLimitExceeded):
        run(client, f"UPDATE many SET v = '{marker}' RETURNING v", how)
    assert state(obliged) == before
    assert outcome(obliged, marker)["rows"] == 200


@pytest.mark.parametrize("size", [700, 720])
def test_copy_in_is_cut_at_the_byte_limit(obliged: Stack, size: int) -> None:
    """Four messages of 4 + size bytes: within 3,000, or not."""
    marker, before = mark(), state(obliged)
    fits = 4 * (size + 4) <= 3000

    def copy() -> None:
        with (
            connect(obliged, "executor", connection="bytes") as client,
            client.cursor().copy(f"COPY many (id, v) FROM STDIN WHERE v <> '{marker}'") as data,
        ):
            for number in range(4):
                line = f"{6000 + number}\t"
                data.write(f"{line}{'y' * (size - len(line) - 1)}\n")

    raw_size = 4 * (size + 4)
    if fits:
        copy()
        admin(obliged, "DELETE FROM many WHERE id >= 6000")
        assert int(str(outcome(obliged, marker)["bytes"])) <= raw_size
    else:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded) as refused:
            copy()
        assert "the data has more bytes than policy allows: 3000" in str(refused.value)
        assert outcome(obliged, marker)["status"] == "failed"
    assert state(obliged) == before
