"""What a session stores in temporary tables keeps its labels for as long as the session: it goes in freely, by whatever
way, and is held where it would go on into a table that others read."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until

INTO = "CREATE TEMP TABLE t AS SELECT id, email AS v, name AS plain FROM customers WHERE id < 4"
OUT = "INSERT INTO taint.notes (v) SELECT v FROM t WHERE id < 4"

Client = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Its own: each refusal leaves a request behind, and one closure may not have many."""
    with Stack() as running:
        yield running


@pytest.fixture(autouse=True)
def notes(stack: Stack) -> Iterator[None]:
    """Tables that others read."""
    admin(
        stack,
        "CREATE SCHEMA taint; CREATE TABLE taint.notes (id int GENERATED ALWAYS AS IDENTITY, v text);"
        "CREATE TABLE taint.parent (id int, v text, plain text); ALTER TABLE taint.parent OWNER TO company_rw;"
        " CREATE TABLE taint.labelled (id int, v text);"
        "COMMENT ON COLUMN taint.labelled.v IS 'twokey:email';"
        "INSERT INTO taint.labelled VALUES (1, 'known'); GRANT USAGE ON SCHEMA taint TO public;"
        "GRANT ALL ON ALL TABLES IN SCHEMA taint TO public",
    )
    yield
    admin(stack, "DROP SCHEMA taint CASCADE")


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """An executor, who sees e-mail addresses; behind a write, what would be held is refused at once."""
    with connect(stack, "executor", autocommit=False) as client:
        yield client


def held(client: Client, sql: str, *, prepare: bool | None = None) -> None:
    """Held by the rule, and by the source's name; the transaction goes on."""
    client.execute("SAVEPOINT attempt")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        client.execute(sql, prepare=prepare)
    client.execute("ROLLBACK TO attempt")
    assert "MASK-WRITE-DOWN" in f"{refused.value.diag.message_primary} {refused.value.diag.message_detail}"


def test_it_goes_in_and_is_seen_by_who_may_see_it(client: Client) -> None:
    client.execute(INTO)
    assert client.execute("SELECT v FROM t ORDER BY id").fetchone() == ("bruno1@example.org",)
    assert client.execute("INSERT INTO taint.notes (v) SELECT plain FROM t WHERE id = 1").rowcount == 1
    held(client, OUT)


FILL = "INSERT INTO t SELECT id, email FROM customers WHERE id < 4"
WAYS = {
    "INSERT": ("CREATE TEMP TABLE t (id int, v text)", FILL),
    "INSERT of a part": (
        "CREATE TEMP TABLE t (id int, v text)",
        "INSERT INTO t SELECT id, left(email, 2) FROM customers WHERE id < 4",
    ),
    "UPDATE": (
        "CREATE TEMP TABLE t AS SELECT id, name AS v FROM customers WHERE id < 4",
        "UPDATE t SET v = c.email FROM customers c WHERE c.id = 1 AND t.id = 1",
    ),
    "MERGE": (
        "CREATE TEMP TABLE t (id int, v text)",
        "MERGE INTO t USING (SELECT * FROM customers WHERE id < 4) c ON t.id = c.id"
        " WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.email)",
    ),
    "SELECT INTO": ("SELECT id, email AS v INTO TEMP t FROM customers WHERE id < 4",),
    "EXECUTE": (
        "CREATE TEMP TABLE t (id int, v text)",
        "PREPARE filling AS INSERT INTO t SELECT id, email FROM customers WHERE id < 4",
        "EXECUTE filling",
    ),
    "a label of the target's own": ("CREATE TEMP TABLE t AS SELECT id, v FROM taint.labelled",),
    "a view": (
        "CREATE TEMP TABLE s AS SELECT id, email FROM customers WHERE id < 4",
        "CREATE TEMP VIEW t AS SELECT id, email AS v FROM s",
    ),
    "a second table": (
        "CREATE TEMP TABLE s AS SELECT id, email FROM customers WHERE id < 4",
        "CREATE TEMP TABLE t AS SELECT id, upper(email) AS v FROM s",
    ),
    "another name": (
        "CREATE TEMP TABLE s AS SELECT id, email AS e FROM customers WHERE id < 4",
        "ALTER TABLE s RENAME TO t",
        "ALTER TABLE t RENAME COLUMN e TO v",
    ),
    "a generated column": (
        "CREATE TEMP TABLE t (id int, e text, v text GENERATED ALWAYS AS (lower(e)) STORED)",
        "INSERT INTO t (id, e) SELECT id, email FROM customers WHERE id < 4",
    ),
    "a column made of another": (
        "CREATE TEMP TABLE t AS SELECT id, email AS e, name AS v FROM customers WHERE id < 4",
        "ALTER TABLE t ALTER COLUMN v TYPE text USING e",
    ),
    "a partition": (
        "CREATE TEMP TABLE t (id int, v text) PARTITION BY RANGE (id)",
        "CREATE TEMP TABLE low PARTITION OF t FOR VALUES FROM (0) TO (100)",
        "INSERT INTO low SELECT id, email FROM customers WHERE id < 4",
    ),
    "a partition that rows move to": (
        "CREATE TEMP TABLE whole (id int, v text) PARTITION BY RANGE (id)",
        "CREATE TEMP TABLE low PARTITION OF whole FOR VALUES FROM (0) TO (100)",
        "CREATE TEMP TABLE t PARTITION OF whole FOR VALUES FROM (100) TO (200)",
        "INSERT INTO low SELECT id, email FROM customers WHERE id < 4",
        "UPDATE whole SET id = id + 100 WHERE id = 1",
        "UPDATE t SET id = id + 0 WHERE id = 101",
    ),
    "after a savepoint": (
        "CREATE TEMP TABLE t (id int, v text)",
        "SAVEPOINT early",
        "INSERT INTO t SELECT id, email FROM customers WHERE id < 4",
        "RELEASE early",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_the_way_in_the_way_out_is_held(client: Client, way: str) -> None:
    if way == "MERGE" and client.info.server_version < 150000:
        with pytest.raises(psycopg.errors.SyntaxError):
            client.execute("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE")
        return
    for sql in WAYS[way]:
        client.execute(sql)
    held(client, OUT.replace(" WHERE id < 4", ""))


def test_a_table_that_stays_may_have_a_child_that_does_not(stack: Stack) -> None:
    with connect(stack, "executor", connection="sandbox", autocommit=False) as client:
        client.execute("CREATE TEMP TABLE t () INHERITS (taint.parent)")
        client.execute("INSERT INTO t SELECT id, email, name FROM customers WHERE id < 4")
        held(client, "INSERT INTO taint.notes (v) SELECT v FROM taint.parent")
        assert client.execute("INSERT INTO taint.notes (v) SELECT plain FROM taint.parent").rowcount == 3


@pytest.mark.parametrize("prepare", [True, False])
def test_a_statement_that_was_decided_before_is_decided_again(client: Client, prepare: bool) -> None:
    client.execute("CREATE TEMP TABLE t AS SELECT id, name AS v FROM customers WHERE id < 4")
    for _ in range(3):
        assert client.execute(OUT, prepare=prepare).rowcount == 3
    client.execute("UPDATE t SET v = 'a ' || email FROM customers c WHERE c.id = 1 AND t.id = 1")
    held(client, OUT, prepare=prepare)


def test_what_was_prepared_by_name_before_is_decided_by_what_is_there_now(client: Client) -> None:
    client.execute("CREATE TEMP TABLE t (id int, v text)")
    client.execute(f"PREPARE leaving AS {OUT}")
    client.execute("EXECUTE leaving")
    client.execute(FILL)
    held(client, "EXECUTE leaving")


def test_a_rule_of_the_table_takes_nothing_out(client: Client) -> None:
    client.execute("CREATE TEMP TABLE t (id int, v text)")
    rule = "CREATE RULE leak AS ON INSERT TO t DO ALSO INSERT INTO taint.notes (v) VALUES (new.v)"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="SQL-"):
        client.execute(rule)


def test_views_and_whole_rows_of_it_are_held_too(client: Client) -> None:
    client.execute(INTO)
    client.execute("CREATE TEMP VIEW seen AS SELECT upper(v) AS x FROM t")
    client.execute("DECLARE rows CURSOR FOR SELECT * FROM t")
    for sql in (
        "INSERT INTO taint.notes (v) SELECT x FROM seen",
        "INSERT INTO taint.notes (v) SELECT t::text FROM t",
        "INSERT INTO taint.notes (v) SELECT to_jsonb(t) ->> 'v' FROM t",
        "WITH gone AS (DELETE FROM t WHERE id = 1 RETURNING v) INSERT INTO taint.notes (v) SELECT v FROM gone",
        "UPDATE taint.labelled SET id = (SELECT ascii(v) FROM t WHERE t.id = 1) WHERE id = 1",
    ):
        held(client, sql)


def test_a_message_of_several_statements_stores_nothing(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        client.execute("CREATE TEMP TABLE t (id int, v text)")
        with pytest.raises(psycopg.Error) as refused:
            client.execute(f"{FILL}; {OUT}")
    assert "SQL-OPAQUE" in str(refused.value)
    assert admin(stack, "SELECT count(*) FROM taint.notes") == "0"


def test_a_pipeline_stores_nothing(stack: Stack) -> None:
    with connect(stack, "executor") as client:
        client.execute("CREATE TEMP TABLE t (id int, v text)")
        client.execute(OUT, prepare=True)
        with pytest.raises(psycopg.Error) as refused:
            piped(client, FILL, OUT)
    assert "MASK-WRITE-DOWN" in str(refused.value)
    assert admin(stack, "SELECT count(*) FROM taint.notes") == "0"


def piped(client: Client, *statements: str) -> None:
    """Sent without waiting for any answer."""
    with client.pipeline():
        for sql in statements:
            client.execute(sql, prepare=True)


def test_the_source_can_be_renamed_away_by_others(stack: Stack, client: Client) -> None:
    client.execute("CREATE TEMP TABLE t AS SELECT id, v FROM taint.labelled")
    client.commit()
    client.execute("INSERT INTO t VALUES (9, 'own')")
    admin(stack, "ALTER TABLE taint.labelled RENAME TO moved; COMMENT ON COLUMN taint.moved.v IS NULL")
    held(client, OUT)
    admin(stack, "DROP TABLE taint.moved")
    held(client, OUT)


def test_it_lasts_beyond_the_transaction_and_ends_with_the_table(stack: Stack) -> None:
    with connect(stack, "executor") as client, Background() as pool:
        client.execute(INTO)
        running = pool.submit(client.execute, OUT)
        approval = str(until(lambda: pending(stack, containing="taint.notes"), what="the hold"))
        assert stack.review("deny", approval, reason="not there").returncode == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not there"):
            running.result(20)
        client.execute("DROP TABLE t")
        client.execute("CREATE TEMP TABLE t AS SELECT id, name AS v FROM customers WHERE id < 4")
        assert client.execute(OUT).rowcount == 3
    assert admin(stack, "SELECT count(*) FROM taint.notes WHERE v LIKE '%@%'") == "0"


def test_a_planner_stores_nothing_of_what_it_sees_masked(stack: Stack) -> None:
    with connect(stack, "planner") as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(INTO)
