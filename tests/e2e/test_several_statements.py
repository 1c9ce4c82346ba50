"""One message of several statements, of which one is masked or needs a reviewer: `psql -c "SELECT 1; SELECT email …"`.

A masked one runs, with the others, in extended form (docs/decisions/0008): the results come in order, the message falls
as a whole, and what one statement does can't show another's classified column. One that needs a reviewer is refused
with what to do about it, and nothing of its message runs.
"""

from __future__ import annotations

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import admin, connect

Client = psycopg.Connection[tuple[object, ...]]
PAN = "SELECT pan FROM cards WHERE id = 7"


def results(client: Client, message: str) -> list[object]:
    """Rows, or the command's tag, of each result."""
    cursor = client.execute(message.encode())
    found: list[object] = []
    while True:
        found.append(cursor.fetchall() if cursor.description is not None else cursor.statusmessage)
        if not cursor.nextset():
            return found


def status(client: Client) -> str:
    return psycopg.pq.TransactionStatus(client.info.transaction_status).name


@pytest.fixture(scope="module")
def masked_pan(stack: Stack) -> str:
    real = admin(stack, PAN)
    return "*" * (len(real) - 4) + real[-4:]


def test_a_masked_statement_among_others_is_masked(stack: Stack, masked_pan: str) -> None:
    with connect(stack, "planner") as client:
        assert results(client, f"SELECT 1; {PAN}; SELECT email, id FROM customers WHERE id = 7; SELECT 'a;b'") == [
            [(1,)],
            [(masked_pan,)],
            [(None, 7)],
            [("a;b",)],
        ]
        assert status(client) == "IDLE"
        assert results(client, f"BEGIN; {PAN}; COMMIT") == ["BEGIN", [(masked_pan,)], "COMMIT"]
        assert results(client, f"BEGIN ISOLATION LEVEL SERIALIZABLE; {PAN}; SELECT 2") == [
            "BEGIN",
            [(masked_pan,)],
            [(2,)],
        ]
        assert status(client) == "INTRANS"
        assert results(client, f"{PAN}; SAVEPOINT a; {PAN}; RELEASE a") == [
            [(masked_pan,)],
            "SAVEPOINT",
            [(masked_pan,)],
            "RELEASE",
        ]
        assert results(client, f"{PAN}; ROLLBACK") == [[(masked_pan,)], "ROLLBACK"]
    with connect(stack, "executor") as client:
        assert results(client, f"SELECT 1; {PAN}") == [[(1,)], [(admin(stack, PAN),)]]


def test_psql_shows_every_result(stack: Stack, masked_pan: str) -> None:
    done = stack.psql("planner", f"SELECT 1; {PAN}; SELECT 3")
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", ["1", masked_pan, "3"])


NAMED = [
    "PREPARE several AS {pan}; EXECUTE several",
    "BEGIN; DECLARE several CURSOR FOR {pan}; FETCH ALL FROM several; CLOSE several; COMMIT",
    "DECLARE several CURSOR WITH HOLD FOR {pan}; FETCH ALL FROM several; CLOSE several",
    "BEGIN; DECLARE several CURSOR FOR {pan}; FETCH FORWARD 5 FROM several; ROLLBACK",
]


@pytest.mark.parametrize("message", NAMED)
def test_what_the_same_message_named_is_masked(stack: Stack, masked_pan: str, message: str) -> None:
    with connect(stack, "planner") as client:
        found = results(client, message.format(pan=PAN))
        assert [(masked_pan,)] in found
        assert admin(stack, PAN) not in str(found)
        assert status(client) == "IDLE"


# Each tries to make one statement of the message change what another one shows.
SWITCHED = [
    "SET search_path = pg_catalog; SELECT pan FROM public.cards WHERE id = 7",
    "SELECT set_config('search_path', 'pg_catalog', false); {pan}",
    "CREATE TEMPORARY TABLE cards (id int, pan text); {pan}",
    "PREPARE a AS SELECT 'x' AS pan; DEALLOCATE a; PREPARE a AS {pan}; EXECUTE a",
    "PREPARE a AS {pan}; DEALLOCATE ALL; PREPARE a AS SELECT 'x' AS pan; EXECUTE a",
    "BEGIN; DECLARE a CURSOR FOR SELECT 'x' AS pan; CLOSE a; DECLARE a CURSOR FOR {pan}; FETCH a",
    "BEGIN; DECLARE a BINARY CURSOR FOR {pan}; FETCH a",
    "BEGIN; SAVEPOINT s; DECLARE a CURSOR FOR SELECT 'x' AS pan; ROLLBACK TO s; DECLARE a CURSOR FOR {pan}; FETCH a",
    "SELECT 1; COPY ({pan}) TO STDOUT (NULL 'x')",
    "SELECT 1; SELECT pan INTO TEMPORARY taken FROM cards; SELECT * FROM taken",
    "SELECT 1; SELECT upper(pan) FROM cards WHERE id = 7",
    "{pan}; SELECT id FROM cards WHERE pan LIKE '4%'",
    "{pan}; EXPLAIN ANALYZE SELECT 1 FROM cards WHERE pan LIKE '4%'",
    "{pan}; DO $$ BEGIN RAISE NOTICE '%', (SELECT pan FROM cards WHERE id = 7); END $$",
    "SET LOCAL client_encoding = 'LATIN1'; {pan}",
]


@pytest.mark.parametrize("message", SWITCHED)
def test_no_statement_shows_what_another_masks(stack: Stack, masked_pan: str, message: str) -> None:
    real = admin(stack, PAN)
    notices: list[str] = []
    with connect(stack, "planner", notices=notices) as client:
        found: object
        try:
            found = results(client, message.format(pan=PAN))
        except psycopg.Error as refused:
            found = str(refused)
        assert real not in str(found)
        assert real.encode().hex() not in str(found)
        assert real not in str(notices)
        client.rollback()
        assert results(client, PAN) == [[(masked_pan,)]]


def test_an_error_takes_the_message_along_and_is_withheld(stack: Stack, masked_pan: str) -> None:
    with connect(stack, "planner") as client:
        with pytest.raises(psycopg.Error) as failed:
            client.execute(f"SELECT 1; {PAN}; SELECT ('x' || 7)::int; SELECT 2".encode())
        assert "withheld" in str(failed.value)
        assert status(client) == "IDLE"
        assert results(client, f"BEGIN; {PAN}") == ["BEGIN", [(masked_pan,)]]
        with pytest.raises(psycopg.Error):
            client.execute(f"{PAN}; SELECT 1 / 0; COMMIT".encode())
        assert status(client) == "INERROR"
        assert results(client, "ROLLBACK") == ["ROLLBACK"]


def test_a_statement_for_a_reviewer_is_refused_with_what_to_do(stack: Stack) -> None:
    before = admin(stack, "SELECT count(*), sum(xmin::text::bigint) FROM orders")
    write, held = "UPDATE orders SET status = status WHERE id = 3", "DELETE FROM orders WHERE id = 4"
    with connect(stack, "executor") as client:
        for message in (f"{write}; {held}", f"{held}; {write}", f"SELECT 1; {held}", f"BEGIN; {held}; COMMIT"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
                client.execute(message.encode())
            assert "Send this statement on its own." in str(refused.value.diag.message_hint)
            assert status(client) == "IDLE"
    assert admin(stack, "SELECT count(*), sum(xmin::text::bigint) FROM orders") == before
    assert not admin(stack, "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in%' AND usename = 'company_rw'")
