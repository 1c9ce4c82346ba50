"""Statements by which a masked, read-only role tried to learn a classified value; ordinary ones that must pass.

Each is one line, run on one connection. A refusal is policy's (42501); nothing that comes may hold a canary. Every
statement here came through once, or is the nearest neighbour of one that did.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import admin, connect

SETUP = """
CREATE SCHEMA lure;
CREATE TYPE lure.person AS (id int, name text, email text, city text);
CREATE TYPE lure.mail AS (email text);
CREATE DOMAIN lure.person_domain AS lure.person;
CREATE VIEW lure.first AS SELECT id, email AS contact FROM customers;
CREATE VIEW lure.second AS SELECT contact AS c2, id FROM lure.first;
CREATE VIEW lure.narrowed WITH (security_barrier) AS SELECT id FROM customers WHERE email LIKE 'ada%';
CREATE FUNCTION lure.mails() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM public.customers';
CREATE VIEW lure.called AS SELECT * FROM lure.mails();
CREATE TABLE lure.composed (id int, who lure.person);
GRANT USAGE ON SCHEMA lure TO public;
GRANT SELECT ON ALL TABLES IN SCHEMA lure TO public;
"""

# A name in a subquery that we took for its own column means a classified one further out; a source with more columns
# than we saw is compared by NATURAL JOIN; positions in a parenthesised GROUP BY.
REFUSED = (
    "SELECT id FROM cards WHERE EXISTS (SELECT 1 FROM unnest(ARRAY['x']) x WHERE pan LIKE '4%')",
    "SELECT id FROM cards WHERE EXISTS (SELECT 1 FROM jsonb_array_elements_text('[1]') pan WHERE pan LIKE '4%')",
    "SELECT id FROM cards WHERE EXISTS (SELECT 1 FROM unnest('{}'::lure.person[]) pan WHERE pan LIKE '4%')",
    "SELECT id FROM cards WHERE EXISTS (SELECT 1 FROM CAST(NULL AS lure.person) pan WHERE pan LIKE '4%')",
    "SELECT id FROM cards WHERE EXISTS (SELECT 1 FROM CAST(NULL AS lure.person_domain) pan WHERE pan LIKE '4%')",
    "SELECT id FROM cards WHERE EXISTS (SELECT 1 FROM COALESCE(NULL::lure.person) pan WHERE pan LIKE '4%')",
    "SELECT id FROM cards AS lower(id, c, lower) WHERE EXISTS"
    " (SELECT 1 FROM ROWS FROM (generate_series(1, 1), lower('x')) WHERE lower.lower LIKE '4%')",
    "SELECT id FROM cards AS c(id, c, ordinality) WHERE EXISTS"
    " (SELECT 1 FROM unnest('{}'::lure.person[]) WITH ORDINALITY x(a, b, d, e, f) WHERE ordinality LIKE '4%')",
    "SELECT id FROM cards AS c(id, cu, text) WHERE EXISTS"
    " (SELECT 1 FROM (SELECT 'x'::text::varchar) s WHERE \"text\" LIKE '4%')",
    'SELECT id FROM cards AS c(id, cu, "case") WHERE EXISTS'
    " (SELECT 1 FROM (SELECT CASE WHEN true THEN id ELSE id END FROM orders) s WHERE \"case\" LIKE '4%')",
    "SELECT id FROM cards AS c(id, cu, xml) WHERE EXISTS"
    " (SELECT 1 FROM (SELECT xmlconcat('<a/>'::xml)) s WHERE \"xml\" LIKE '4%')",
    "SELECT id FROM cards WHERE EXISTS"
    " (SELECT 1 FROM (SELECT 'x' AS pan) z, (orders o JOIN orders p ON pan LIKE '4%'))",
    "SELECT id FROM cards WHERE EXISTS"
    " (SELECT 1 FROM (SELECT 'x' AS pan) z, (orders o JOIN (SELECT 1 AS a WHERE pan LIKE '4%') q ON true))",
    "SELECT id FROM customers c WHERE EXISTS"
    " (SELECT 1 FROM unnest(NULL::lure.person[]) u WHERE c > ROW(1, 'a', 'b', 'c'))",
    "SELECT count(*) FROM customers NATURAL JOIN"
    ' jsonb_populate_record(NULL::lure.mail, \'{"email": "bruno1@example.org"}\')',
    "SELECT count(*) FROM customers NATURAL JOIN"
    ' jsonb_populate_record(NULL::lure.person, \'{"email": "bruno1@example.org"}\') AS x(a, b, email, c)',
    "SELECT count(*) FROM customers NATURAL JOIN"
    ' (SELECT * FROM jsonb_populate_record(NULL::lure.mail, \'{"email": "bruno1@example.org"}\')) y',
    "SELECT count(*) FROM customers NATURAL JOIN ROWS FROM (jsonb_to_record('{}') AS (email text),"
    " jsonb_to_record('{}') AS (zz int))",
    "SELECT count(*) FROM customers AS c(a, b, e, d) NATURAL JOIN (SELECT (SELECT 'x' AS e UNION SELECT 'x')) x",
    "SELECT count(*) FROM customers AS c(a, b, column1, d) NATURAL JOIN (SELECT (VALUES ('x'))) x",
    "SELECT email, count(*) FROM customers GROUP BY (1, 1)",
    "SELECT email, city FROM customers GROUP BY ROLLUP ((1, 2))",
    "SELECT email AS e FROM customers ORDER BY e",
    "SELECT email AS e FROM customers ORDER BY 1",
    "SELECT email AS e, count(*) FROM customers GROUP BY e",
    "SELECT DISTINCT ON (1) email, id FROM customers",
    "SELECT 1 FROM customers HAVING max(email) > 'a'",
    "SELECT id FROM customers WHERE (id, email) IN (SELECT 1, 'x')",
    "SELECT a.id FROM customers a JOIN customers b USING (id, email)",
    "SELECT email FROM customers, LATERAL (SELECT 1 WHERE email > 'm') q",
    "SELECT email FROM customers JOIN LATERAL generate_series(1, length(email)) g ON true",
    "SELECT id FROM customers WINDOW w AS (PARTITION BY email)",
    "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY email) FROM customers",
    "SELECT x.id FROM customers x GROUP BY x.id HAVING x.email > 'a'",
    "SELECT xt.e FROM customers c, XMLTABLE('/a' PASSING xmlelement(name a, c.email) COLUMNS e text PATH '.') xt",
    "SELECT email FROM customers TABLESAMPLE SYSTEM ((SELECT ascii(email) FROM customers LIMIT 1))",
    "WITH RECURSIVE r AS (SELECT id, email FROM customers WHERE id = 1"
    " UNION ALL SELECT id + 1, email FROM r WHERE id < 3) SELECT email FROM r",
    "VALUES (1), (2) ORDER BY (SELECT email FROM customers LIMIT 1)",
    "SELECT id FROM lure.narrowed",
    "SELECT * FROM lure.called",
    "SELECT * FROM lure.mails()",
    "EXPLAIN (VERBOSE) SELECT email FROM customers",
    "SELECT pg_column_size(email) FROM customers",
    "SELECT set_config('a.b', name, false) FROM customers",
    "SELECT current_query()",
    "SELECT * FROM pg_stat_get_activity(NULL)",
)

MASKED = (
    "SELECT r FROM (SELECT id, email FROM customers) r",
    "SELECT ((r.r)).email FROM (SELECT c AS r FROM customers c) r",
    "SELECT contact FROM lure.first",
    "SELECT c2 FROM lure.second",
    "SELECT (c).email FROM customers c",
    "SELECT (c).* FROM customers c",
    "SELECT x.email FROM customers c, LATERAL (SELECT c.email) x",
    "SELECT email FROM customers, unnest(ARRAY[1]) u",
    "SELECT c.*, u FROM customers c, unnest('{1,2}'::int[]) u",
    "SELECT * FROM customers c, jsonb_each('{\"a\": 1}')",
    "SELECT c.email FROM orders o FULL JOIN customers c ON c.id = o.customer_id WHERE o.id < 3",
    "WITH c AS MATERIALIZED (SELECT * FROM customers) SELECT email FROM c",
    "SELECT generate_series(1, 3), email FROM customers WHERE id = 1",
    "SELECT email FROM customers TABLESAMPLE SYSTEM (100) ORDER BY id",
    "SELECT email FROM customers GROUP BY id",
)

PASSED = (
    "SELECT * FROM unnest(ARRAY[1, 2]) u",
    "SELECT x.u FROM (SELECT * FROM unnest(ARRAY['a']) u) x",
    "SELECT * FROM generate_series(1, 3) g NATURAL JOIN (SELECT 1 AS g) x",
    "SELECT * FROM json_to_record('{\"a\": 1}') AS x(a int)",
    "SELECT * FROM orders o JOIN LATERAL (SELECT o.id * 2 AS d) x ON true WHERE o.id < 5",
    "SELECT * FROM orders, unnest(string_to_array(status, 'a')) WITH ORDINALITY t(w, n) WHERE id < 5",
    "WITH RECURSIVE t AS (SELECT * FROM orders WHERE id = 1"
    " UNION ALL SELECT o.* FROM orders o JOIN t ON o.id = t.id + 1 WHERE o.id < 4) SELECT * FROM t",
    "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a'])) AS x(a, b)",
    "SELECT x, count(*) FROM unnest(ARRAY['a', 'b']) x GROUP BY x ORDER BY 2",
    "SELECT city, count(*) FROM customers GROUP BY (1)",
    "SELECT relname, a FROM pg_class c, LATERAL unnest(c.relacl) a",
    "SELECT i FROM pg_index x, unnest(x.indkey) i",
    "SELECT row_to_json(r) FROM (SELECT id, name FROM customers) r",
    "SELECT name, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) FROM customers c WHERE id < 3",
    "EXPLAIN ANALYZE SELECT id FROM customers WHERE id < 10",
    "SELECT pg_table_size('orders'), pg_size_pretty(pg_total_relation_size('orders'))",
    "SELECT current_setting('work_mem'), current_setting(n) FROM (VALUES ('work_mem')) v(n)",
    "SELECT now(), coalesce(NULL, 1), to_char(now(), 'YYYY'), date_trunc('day', now()), 'orders'::regclass",
    "SELECT rank() OVER (PARTITION BY status ORDER BY id) FROM orders WHERE id < 9",
)

DESCRIBED = (
    r"\d", r"\d orders", r"\d+ orders", r"\dt+", r"\di+", r"\dv+ lure.*", r"\df", r"\df+ tidy_up", r"\sf tidy_up",
    r"\sv lure.first", r"\du", r"\l+", r"\dn+", r"\dp", r"\dT+", r"\dx", r"\dconfig work_mem", r"\dP+", r"\d pg_class",
)  # fmt: skip


@pytest.fixture(scope="module")
def lured(stack: Stack) -> Iterator[Stack]:
    admin(stack, SETUP)
    yield stack
    admin(stack, "DROP SCHEMA lure CASCADE")


@pytest.fixture(scope="module")
def planner(lured: Stack) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with connect(lured, "planner") as client:
        yield client


def _run(client: psycopg.Connection[tuple[object, ...]], statement: str, *, binary: bool = False) -> str:
    return str(client.execute(statement.encode(), prepare=False, binary=binary).fetchall())


@pytest.mark.parametrize("statement", REFUSED)
def test_what_could_tell_a_classified_value_is_refused(
    planner: psycopg.Connection[tuple[object, ...]], statement: str
) -> None:
    with pytest.raises(psycopg.Error) as refused:
        pytest.fail(f"answered {_run(planner, statement)[:200]}")
    assert refused.value.sqlstate == "42501", refused.value


@pytest.mark.parametrize("statement", MASKED)
@pytest.mark.parametrize("binary", [False, True])
def test_a_plain_copy_comes_masked(
    planner: psycopg.Connection[tuple[object, ...]], statement: str, binary: bool
) -> None:
    rows = _run(planner, statement, binary=binary)
    assert rows != "[]"
    assert "example.org" not in rows


@pytest.mark.parametrize("statement", PASSED)
def test_ordinary_work_passes(planner: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    assert _run(planner, statement) != "[]"


@pytest.mark.parametrize("command", DESCRIBED)
def test_psql_describes_objects_to_a_masked_role(lured: Stack, command: str) -> None:
    done = lured.psql("planner", command)
    assert (done.returncode, done.stderr) == (0, "")
