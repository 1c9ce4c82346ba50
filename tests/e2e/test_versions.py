"""What differs between PostgreSQL 14 and 18: whatever the target is, what it knows works as it does directly, what it
doesn't know ends in its own words, and what it reads otherwise than the gateway's parser is not let through."""

from __future__ import annotations

import os
import re
import subprocess

import psycopg
import pytest

from decision.cli.demo.stack import DATABASE, Stack
from tests.e2e.clients import admin, connect, until

Answer = tuple[object, ...]


@pytest.fixture(scope="module")
def version(stack: Stack) -> int:
    return stack.database.version


def direct(stack: Stack) -> psycopg.Connection[tuple[object, ...]]:
    """As the executor's account, past the gateway."""
    return psycopg.connect(
        host="127.0.0.1",
        port=stack.database.port,
        user=f"{DATABASE}_rw",
        password=stack.passwords[f"{DATABASE}_rw"],
        dbname=DATABASE,
        autocommit=True,
    )


def answer(client: psycopg.Connection[tuple[object, ...]], sql: str) -> Answer:
    """What the client sees of one statement, undone afterwards: rows and column names, or every field of the error."""
    if not sql.startswith("VACUUM"):
        client.execute("BEGIN")
    try:
        done = client.execute(sql)
        columns = [column.name for column in done.description or ()]
        return ("rows", done.statusmessage, columns, done.fetchall() if columns else [])
    except psycopg.Error as error:
        return ("error", error.sqlstate, error.diag.message_primary, error.diag.statement_position)
    finally:
        if not sql.startswith("VACUUM"):
            client.execute("ROLLBACK")


def test_the_target_is_the_version_that_was_chosen(stack: Stack, version: int) -> None:
    assert os.environ["TWOKEY_POSTGRES"] == str(stack.database.choice)
    with connect(stack, "planner") as client:
        assert client.info.server_version // 10000 == version
        row = client.execute("SHOW server_version_num").fetchone()
        assert row is not None
        assert int(str(row[0])) // 10000 == version


# Statement and the first version that knows it. Each is a shape of its own to the describer.
NEW = {
    "MERGE": (15, "MERGE INTO orders o USING (SELECT 1 AS id) s ON o.id = s.id WHEN MATCHED THEN DO NOTHING"),
    "MERGE by source": (
        17, "MERGE INTO orders o USING (SELECT 1 AS id) s ON o.id = s.id WHEN NOT MATCHED BY SOURCE THEN DO NOTHING"
    ),
    "MERGE RETURNING": (
        17, "MERGE INTO orders o USING (SELECT 1 AS id) s ON o.id = s.id WHEN MATCHED THEN DELETE RETURNING o.id"
    ),
    "NULLS NOT DISTINCT": (15, "CREATE TABLE made (a int UNIQUE NULLS NOT DISTINCT)"),
    "security_invoker": (15, "CREATE VIEW made WITH (security_invoker = true) AS SELECT 1 AS a"),
    "no alias": (16, "SELECT * FROM (SELECT id FROM orders WHERE id < 3) ORDER BY 1"),
    "IS JSON": (16, "SELECT '{}' IS JSON"),
    "any_value": (16, "SELECT any_value(1) FROM orders"),
    "EXPLAIN generic": (16, "EXPLAIN (GENERIC_PLAN, COSTS OFF) SELECT id FROM orders WHERE id = $1"),
    "VACUUM buffers": (16, "VACUUM (BUFFER_USAGE_LIMIT '128 kB') orders"),
    "EXPLAIN serialize": (17, "EXPLAIN (ANALYZE, SERIALIZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT 1"),
    "AT LOCAL": (17, "SELECT timestamptz '2026-01-01 00:00+00' AT LOCAL"),
    "old and new": (18, "UPDATE orders SET status = 'x' WHERE id = 1 RETURNING old.status, new.status"),
    "old renamed": (18, "DELETE FROM orders WHERE id = 1 RETURNING WITH (OLD AS o, NEW AS n) o.status, n.id"),
    "virtual": (18, "CREATE TABLE made (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL)"),
    "not enforced": (18, "ALTER TABLE orders ADD CONSTRAINT negative CHECK (id < 0) NOT ENFORCED"),
    "without overlaps": (18, "CREATE TABLE made (a int4range, b int, PRIMARY KEY (b, a WITHOUT OVERLAPS))"),
    "new functions": (18, "SELECT uuid_extract_version(uuidv7()), casefold('ß'), crc32('a')"),
}  # fmt: skip
# What no version of the parser refuses: the target says that it has no such function, whoever asks.
FUNCTIONS = {"any_value", "AT LOCAL", "new functions"}


@pytest.mark.parametrize("name", NEW)
def test_what_the_target_knows_works_and_what_it_does_not_know_ends_in_its_own_words(
    stack: Stack, version: int, name: str
) -> None:
    since, sql = NEW[name]
    with direct(stack) as there, connect(stack, "executor", connection="sandbox") as here:
        expected = answer(there, sql)
        if name == "without overlaps":
            known = expected[1] != "42601"  # 18 misses an extension's operator class
        else:
            known = expected[0] == "rows"
        assert known is (version >= since), expected
        assert answer(here, sql) == expected
    if not known and name in FUNCTIONS:
        with connect(stack, "planner", connection="sandbox") as planner:
            assert answer(planner, sql) == expected


# What an older grammar takes for something else: held for executors, denied to planners, by every way of saying it.
# (statement, the first version that reads it as the parser does)
OTHERWISE = [
    ("SELECT email, 0x1F FROM customers", 16),
    ("SELECT 'é', 1_000", 16),
    ("SELECT system_user", 16),
    ("SELECT 'é', SYSTEM_USER", 16),
    ("SELECT JSON_ARRAY(1, 2)", 16),
    ("SELECT json_object('{a,1}')", 16),
    ("SELECT JSON_SERIALIZE('{}')", 17),
    ("SELECT JSON_VALUE('1', '$')", 17),
    ("SELECT * FROM JSON_TABLE('[]', '$' COLUMNS (a int))", 17),
]


@pytest.mark.parametrize(("sql", "since"), OTHERWISE)
def test_what_the_target_reads_otherwise_is_opaque(stack: Stack, version: int, sql: str, since: int) -> None:
    with connect(stack, "planner") as client:
        for text in (sql, f"/* é𝄞 */ {sql}", f"PREPARE p AS {sql}"):
            if version >= since:
                client.execute(text)
                continue
            if "system_user" in sql.lower():  # a column to such a target, and none that there is: it says so itself
                with pytest.raises(psycopg.errors.UndefinedColumn, match=re.compile("system_user", re.IGNORECASE)):
                    client.execute(text)
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="keyword-class"):
                client.execute(text)


@pytest.mark.parametrize("sql", ["SELECT id, email, 1from customers", "SELECT email, 1AS one FROM customers"])
def test_what_only_an_older_target_would_take_is_refused(stack: Stack, version: int, sql: str) -> None:
    """Until 14 a number may be followed by a letter. The parser here does not take it, so it does not run."""
    with direct(stack) as there, connect(stack, "planner") as client:
        expected = answer(there, sql)
        assert expected[0] == ("rows" if version == 14 else "error")
        found = answer(client, sql)
        assert found[0] == "error"
        assert found[1] == "42601"
        if version > 14:
            assert found == expected
        assert "@" not in str(found)


def test_a_column_with_a_newer_keywords_name_stays_masked_behind_a_view(stack: Stack, version: int) -> None:
    """Until 15 views print system_user without quotes, which a newer parser takes for a function of its own."""
    quoted = '"system_user"' if version >= 16 else "system_user"
    admin(
        stack,
        f"CREATE TABLE logins (id int, {quoted} text); INSERT INTO logins VALUES (1, 'canary');"
        f"CREATE VIEW who AS SELECT {quoted} FROM logins; GRANT SELECT ON logins, who TO {DATABASE}_ro",
    )
    try:
        with connect(stack, "planner") as client:
            if version >= 16:
                assert client.execute("SELECT * FROM who").fetchall() == [("canary",)]
            else:
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="keyword-class"):
                    client.execute("SELECT * FROM who")
            assert client.execute('SELECT "system_user" FROM logins').fetchall() == [("canary",)]
    finally:
        admin(stack, "DROP TABLE logins CASCADE")


def settled(client: psycopg.Connection[tuple[object, ...]], sql: str) -> list[tuple[object, ...]]:
    """The rows, at most once sent again because the target's catalog had just changed."""
    try:
        return client.execute(sql.encode()).fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        if "Send it again" not in str(error):
            raise
    return client.execute(sql.encode()).fetchall()


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_generated_column_shows_nothing_of_a_masked_one(stack: Stack, version: int, kind: str) -> None:
    column = f"ALTER TABLE customers ADD COLUMN copy text GENERATED ALWAYS AS (lower(email)) {kind}"
    if kind == "VIRTUAL" and version < 18:
        with direct(stack) as client, pytest.raises(psycopg.errors.SyntaxError):
            client.execute(column)
        return
    admin(stack, f"{column}; CREATE VIEW copies AS SELECT id, copy FROM customers")
    admin(stack, f"GRANT SELECT ON copies TO {DATABASE}_ro")
    try:
        with connect(stack, "planner") as client:
            # The column is new: until the gateway has seen it an answer may be refused as one that changed meanwhile.
            for sql, place in (
                ("SELECT copy FROM customers", 0),
                ("SELECT * FROM customers", -1),
                ("SELECT copy FROM copies", 0),
                ("SELECT c FROM customers c", 0),
            ):
                assert {row[place] for row in settled(client, sql)} == {None}, sql
            for sql in (
                "SELECT id FROM customers WHERE copy LIKE 'a%'",
                "SELECT count(*) FROM customers GROUP BY copy",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="email"):
                    client.execute(sql)
            assert client.execute("SELECT id FROM customers WHERE id = 1").fetchall() == [(1,)]
    finally:
        admin(stack, "DROP VIEW copies; ALTER TABLE customers DROP COLUMN copy")


def test_a_partitions_copy_of_a_trigger_is_seen(stack: Stack) -> None:
    """Until 14 the copy is marked internal."""
    admin(
        stack,
        "CREATE TABLE whole (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF whole DEFAULT;"
        "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER t BEFORE INSERT ON whole FOR EACH ROW EXECUTE FUNCTION fire();"
        f"GRANT INSERT ON whole, part TO {DATABASE}_rw",
    )
    try:
        for table in ("whole", "part"):
            asked = ("explain", "--connection", DATABASE, "--role", "executor", f"INSERT INTO {table} VALUES (1)")
            shown = ""

            def explained(asked: tuple[str, ...] = asked) -> bool:
                nonlocal shown
                shown = stack.twokey(*asked, token=stack.token("executor-7", "executor")).stdout
                return "(unresolved)" not in shown  # the gateway's catalog is at most a second old

            until(explained, what=f"the catalog with {table}")
            assert "procedural-trigger" in shown, shown
            assert "require-approval" in shown, shown
    finally:
        admin(stack, "DROP TABLE whole CASCADE; DROP FUNCTION fire()")


@pytest.mark.parametrize("protocol", ["3.0", "latest"])
def test_log_in_and_cancel_in_either_protocol(stack: Stack, version: int, protocol: str) -> None:
    """The client's protocol is between it and the gateway; the target's is its own (3.2 is there since 18)."""
    environment = {**stack.environment("executor", connection="sandbox"), "PGOPTIONS": ""}
    query = f"dbname=sandbox max_protocol_version={protocol}"
    command = [str(stack.database.psql), "-X", "-A", "-t", query]
    shown = subprocess.run(
        [*command, "-c", "SELECT current_setting('server_version_num')::int / 10000"],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert shown.stdout.strip() == str(version), shown.stderr
    running = subprocess.Popen(
        [*command, "-c", "SELECT pg_sleep(60)"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        until(lambda: admin(stack, asleep) == "1", what="the statement that sleeps")
        running.send_signal(2)  # psql sends the cancel
        _, errors = running.communicate(timeout=20)
        assert "canceling statement due to user request" in errors
    finally:
        running.kill()
        running.communicate()


# psql asks each version's catalog in words of its own.
BACKSLASH = (
    *(r"\d", r"\d+ orders", r"\d customers", r"\df", r"\dn+", r"\l", r"\du", r"\dp", r"\di+", r"\dT", r"\dx", r"\dv"),
    *(r"\ds", r"\dD", r"\dO", r"\dc", r"\do", r"\ddp", r"\dAc", r"\dRp", r"\des", r"\dP", r"\dFd", r"\dL", r"\dX"),
    *(
        r"\dy",
        r"\dg",
        r"\dl",
        r"\sf lower(text)",
        r"\db",
        r"\da",
        r"\dC",
        r"\dm",
        r"\dconfig work_mem",
        r"\dS pg_class",
    ),
)


@pytest.mark.parametrize(("role", "account"), [("planner", "ro"), ("executor", "rw")])
def test_psqls_questions_about_the_catalog_are_answered_as_directly(stack: Stack, role: str, account: str) -> None:
    there = {
        **stack.base_environment(),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(stack.database.port),
        "PGUSER": f"{DATABASE}_{account}",
        "PGPASSWORD": stack.passwords[f"{DATABASE}_{account}"],
        "PGDATABASE": DATABASE,
    }
    expected = stack.psql(role, *BACKSLASH, environment=there)
    found = stack.psql(role, *BACKSLASH)
    assert "lower" in expected.stdout
    assert (found.stderr, found.returncode) == (expected.stderr, expected.returncode)
    assert found.stdout.splitlines() == expected.stdout.splitlines()
