"""Masking at the wire: plain output columns masked, every other touch refused, the rest untouched."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import pytest

from decision.cli.demo.stack import DATABASE, Stack
from tests.e2e.clients import admin, connect


def test_a_planner_sees_masked_values_and_an_executor_the_real_ones(stack: Stack) -> None:
    real = admin(stack, "SELECT pan FROM cards WHERE id = 7")
    masked = stack.psql("planner", "SELECT id, pan FROM cards WHERE id = 7").stdout.strip()
    assert masked == "7|" + "*" * (len(real) - 4) + real[-4:]
    assert stack.psql("planner", "SELECT email, name FROM customers WHERE id = 7").stdout.strip().startswith("|")
    assert stack.psql("executor", "SELECT pan FROM cards WHERE id = 7").stdout.strip() == real


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("prepare", [False, True])
def test_text_and_binary_results_are_masked(stack: Stack, binary: bool, prepare: bool) -> None:
    with connect(stack, "planner") as client:
        for _ in range(3):
            row = client.execute(
                "SELECT pan, id FROM cards WHERE id = %s", [7], prepare=prepare, binary=binary
            ).fetchone()
            assert row is not None
            assert str(row[0]).startswith("************")
            assert row[1] == 7
        assert client.execute("SELECT email FROM customers WHERE id = 7", binary=binary).fetchone() == (None,)
        salary = client.execute("SELECT salary FROM employees WHERE id = 1", binary=binary).fetchone()
        assert salary == (None,)


def test_asyncpg_gets_masked_binary_values(stack: Stack) -> None:
    async def read() -> tuple[object, object]:
        host, port = stack.address()
        client = await asyncpg.connect(
            host=host, port=port, user="planner", password=stack.token("planner-3", "planner"), database=DATABASE
        )
        try:
            row = await client.fetchrow("SELECT pan, expires FROM cards WHERE id = $1", 7)
            again = await client.fetchrow("SELECT pan, expires FROM cards WHERE id = $1", 8)
            return row, again
        finally:
            await client.close()

    row, again = asyncio.run(read())
    assert str(row["pan"]).startswith("****")  # type: ignore[index]
    assert str(again["pan"]).startswith("****")  # type: ignore[index]


LEAKS = (
    "SELECT email::bytea FROM customers",
    "SELECT name FROM customers WHERE email LIKE 'a%'",
    "SELECT name FROM customers ORDER BY email",
    "SELECT count(*) FROM customers GROUP BY email",
    "SELECT max(email) FROM customers",
    "SELECT DISTINCT email FROM customers",
    "SELECT row_to_json(c) FROM customers c",
    "SELECT to_jsonb(c) - 'name' FROM customers c",
    "SELECT (c).email || 'x' FROM customers c",
    "SELECT email(c) || 'x' FROM customers c",
    "SELECT name FROM customers UNION SELECT email FROM customers",
    "SELECT email FROM customers UNION ALL SELECT name FROM customers",
    "SELECT CASE WHEN email LIKE 'a%' THEN 1 ELSE 0 END FROM customers",
    "SELECT a.name FROM customers a JOIN customers b ON a.email = b.email",
    "SELECT a.name FROM customers a JOIN customers b USING (email)",
    "SELECT a.name FROM customers a NATURAL JOIN customers b",
    "SELECT name FROM customers WHERE EXISTS (SELECT 1 FROM customers c WHERE c.email > 'm')",
    "SELECT array_agg(email) FROM customers",
    "SELECT string_agg(email, ',') FROM customers",
    "SELECT first_value(email) OVER (ORDER BY id) || 'x' FROM customers",
    "SELECT name, rank() OVER (ORDER BY email) FROM customers",
    "SELECT 1 / (ascii(email) - 97) FROM customers",
    "SELECT generate_series(1, ascii(email) - 96) FROM customers",
    "SELECT ('x' || email)::int FROM customers",
    "SELECT count(email) FROM customers",
    "SELECT count(*) FILTER (WHERE email > 'm') FROM customers",
    "SELECT query_to_xml('select email from customers', true, true, '')",
    "SELECT table_to_xml('customers', true, true, '')",
    "COPY (SELECT name FROM customers ORDER BY email) TO STDOUT",
    "COPY (SELECT email FROM customers) TO STDOUT (NULL 'known@example.org')",
    "COPY (SELECT email FROM customers) TO STDOUT (ENCODING 'LATIN1')",
    "EXPLAIN ANALYZE SELECT * FROM customers WHERE email = 'x'",
    "EXPLAIN SELECT * FROM customers WHERE email > 'm'",
    "SELECT most_common_vals FROM pg_stats WHERE tablename = 'customers'",
    "SELECT * FROM pg_statistic",
    "SELECT query FROM pg_stat_activity",
    "VALUES ((SELECT email FROM customers LIMIT 1))",
    "SELECT * FROM customers TABLESAMPLE SYSTEM (100) WHERE email > ''",
    "SELECT json_object('e': email) FROM customers",
    "SELECT xmlelement(name e, email) FROM customers",
    'SELECT email COLLATE "C" FROM customers WHERE email > \'m\' COLLATE "C"',
    "SELECT nullif(email, 'x') FROM customers",
    "SELECT c.email FROM customers c, LATERAL (SELECT c.email) AS l(x) WHERE l.x > 'm'",
    "SELECT u FROM customers, LATERAL unnest(ARRAY[email]) u",
    "SELECT name FROM customers LIMIT (SELECT ascii(email) FROM customers LIMIT 1)",
)


# Computed by what tells nothing: the value that comes is NULL, whatever is in the column.
COMPUTED = (
    "SELECT upper(email) FROM customers",
    "SELECT email || '' FROM customers",
    "SELECT c FROM customers c",
    "SELECT c.* FROM (SELECT customers FROM customers) c",
    "WITH x AS (SELECT email AS e FROM customers) SELECT e || '' FROM x",
    "SELECT (SELECT email FROM customers LIMIT 1) || 'x'",
    "SELECT ARRAY(SELECT email FROM customers)",
    "SELECT least(email, 'zzz') FROM customers",
    "SELECT coalesce(email, 'x') FROM customers",
    "SELECT ROW(email) FROM customers",
)


def run(client: psycopg.Connection[tuple[object, ...]], statement: str) -> str:
    cursor = client.execute(statement.encode(), prepare=False)
    return str(cursor.fetchall()) if cursor.description is not None else str(cursor.statusmessage)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("statement", COMPUTED)
def test_what_is_computed_from_a_classified_column_comes_as_null(stack: Stack, statement: str, binary: bool) -> None:
    with connect(stack, "planner") as client:
        rows = client.execute(statement.encode(), prepare=False, binary=binary).fetchall()
        assert rows
        assert {value for row in rows for value in row} == {None}
        if not statement.startswith("WITH"):
            copied = client.cursor().copy(f"COPY ({statement}) TO STDOUT".encode())
            with copied as reading:
                assert set(b"".join(bytes(part) for part in reading).split()) == {b"\\N"}


@pytest.mark.parametrize("statement", LEAKS)
def test_no_other_touch_of_a_classified_column_reaches_a_planner(stack: Stack, statement: str) -> None:
    with connect(stack, "planner") as client:
        with pytest.raises(psycopg.Error) as refused:
            pytest.fail(f"answered {run(client, statement)[:200]}")
        assert refused.value.sqlstate == "42501", refused.value
        assert "@example.org" not in str(refused.value)
        assert client.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("named", "read"),
    [
        ("PREPARE q AS SELECT email FROM customers ORDER BY id", "EXECUTE q"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT email FROM customers ORDER BY id", "FETCH ALL FROM c"),
    ],
)
def test_what_is_only_named_is_masked_where_it_is_read(stack: Stack, named: str, read: str) -> None:
    with connect(stack, "planner") as client:
        expected = run(client, "SELECT email FROM customers ORDER BY id")
        run(client, named)
        found = run(client, read)
        assert found == expected
        assert "@example.org" not in found


PASS_THROUGH = (
    "SELECT email FROM customers",
    "SELECT email AS innocent FROM customers",
    "SELECT * FROM customers",
    "TABLE customers",
    "SELECT x.e FROM (SELECT email AS e, id FROM customers) x WHERE x.id < 5",
    "WITH x AS (SELECT email AS e, id FROM customers) SELECT e FROM x ORDER BY id",
    "SELECT c.email, o.total FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.id < 10",
)


@pytest.mark.parametrize("statement", PASS_THROUGH)
@pytest.mark.parametrize("binary", [False, True])
def test_plain_output_columns_come_masked_whatever_they_are_called(stack: Stack, statement: str, binary: bool) -> None:
    with connect(stack, "planner") as client:
        rows = client.execute(statement.encode(), binary=binary).fetchall()
    assert rows
    assert "@example.org" not in str(rows)


CLEAN = (
    "SELECT id, name, city FROM customers ORDER BY id",
    "SELECT count(*), sum(total), avg(total) FROM orders WHERE status = 'paid'",
    "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id < 50 ORDER BY 1",
    "SELECT now() > '2020-01-01'::timestamptz, 1.5::float8, '{1,2}'::int[], '\\xff'::bytea, 'x'::\"char\"",
    "SELECT placed, total, status FROM orders WHERE id BETWEEN 100 AND 120 ORDER BY id",
    "SELECT relname FROM pg_class WHERE relname = 'customers'",
    "SHOW server_version",
    "SELECT 'someone@example.org' AS email",
)


@pytest.mark.parametrize("statement", CLEAN)
@pytest.mark.parametrize("binary", [False, True])
def test_what_touches_nothing_classified_is_byte_identical_to_direct(
    stack: Stack, statement: str, binary: bool
) -> None:
    def raw(client: psycopg.Connection[tuple[object, ...]]) -> list[object]:
        result = client.execute(statement.encode(), binary=binary).pgresult
        assert result is not None
        columns = range(result.nfields)
        of = (result.fname, result.ftable, result.ftablecol, result.ftype, result.fformat)
        head = [tuple(field(n) for field in of) for n in columns]
        return [head, [[result.get_value(r, n) for n in columns] for r in range(result.ntuples)], result.command_status]

    with connect(stack, "planner") as through:
        gateway = raw(through)
    with psycopg.connect(
        host="127.0.0.1",
        port=stack.database.port,
        user="postgres",
        password=stack.database.admin_password,
        dbname=DATABASE,
        autocommit=True,
    ) as straight:
        assert raw(straight) == gateway


def test_errors_of_statements_that_touch_classified_columns_are_withheld(stack: Stack) -> None:
    admin(stack, "CREATE TABLE vault (id int, secret text); INSERT INTO vault VALUES (1, 'x')")
    with connect(stack, "planner") as client:
        with pytest.raises(psycopg.Error) as failed:
            client.execute("SELECT email, 1 / (id - 7) FROM customers ORDER BY id")
        assert "division" not in str(failed.value)
        assert "withheld" in str(failed.value)
    admin(stack, "DROP TABLE vault")


def test_a_view_over_a_classified_column_is_masked_too(stack: Stack) -> None:
    admin(
        stack,
        "CREATE VIEW reachable AS SELECT id, email AS contact FROM customers;"
        "CREATE VIEW initials AS SELECT id, left(email, 1) AS i FROM customers;"
        "GRANT SELECT ON reachable, initials TO company_ro",
    )
    try:
        with connect(stack, "planner") as client:
            rows = client.execute("SELECT contact FROM reachable").fetchall()
            assert rows
            assert set(rows) == {(None,)}
            assert set(client.execute("SELECT i FROM initials").fetchall()) == {(None,)}
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="used in WHERE"):
                client.execute("SELECT id FROM initials WHERE i = 'b'")
    finally:
        admin(stack, "DROP VIEW reachable, initials")
