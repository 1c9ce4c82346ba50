"""Foreign tables through postgres_fdw and file_fdw: masked like any table where policy lists the server, else closed.

The server must have the contrib modules: where the chosen one has none, PostgreSQL 18 of tools/postgres_binaries.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.database import scratch_folder
from decision.cli.demo.postgres import VARIABLE, choose
from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.clients import admin, connect, until
from tests.e2e.test_classification import answer, comes, loaded

UNSEEN = "servers: {company: {billing: [read]}}\nreasons: {company: ['procedural-function: public.total()']}\n"
PAN, HOLDER = "4000123412341234", "holder-canary"
HOME = f"""
CREATE TABLE invoices (id int, holder text, pan text, amount int);
INSERT INTO invoices VALUES (1, '{HOLDER}', '{PAN}', 30), (2, '{HOLDER}', '4111222233334444', 40);
GRANT SELECT, UPDATE ON invoices TO company_ro;
CREATE TABLE decoy (id int, holder text, pan text, amount int);
INSERT INTO decoy VALUES (9, 'nobody', '1', 9);
GRANT SELECT ON decoy TO company_ro;
"""
COMPANY = """
CREATE EXTENSION postgres_fdw; CREATE EXTENSION file_fdw;
CREATE SERVER billing FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname 'elsewhere');
CREATE SERVER archive FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname 'elsewhere');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE USER MAPPING FOR company_ro SERVER billing OPTIONS (user 'company_ro', password '{password}');
CREATE USER MAPPING FOR company_ro SERVER archive OPTIONS (user 'company_ro', password '{password}');
CREATE USER MAPPING FOR postgres SERVER billing OPTIONS (user 'company_ro', password '{password}');
CREATE FOREIGN TABLE invoices (id int, holder text, pan text, amount int) SERVER billing;
CREATE FOREIGN TABLE old_invoices (id int, holder text, pan text, amount int)
  SERVER archive OPTIONS (table_name 'invoices');
CREATE FOREIGN TABLE passwd (line text) SERVER files OPTIONS (filename '/etc/passwd', format 'text', delimiter '~');
COMMENT ON COLUMN invoices.holder IS 'twokey: label=email';
CREATE VIEW due AS SELECT id AS number, pan AS card, amount FROM invoices WHERE amount > 10;
CREATE TABLE years (id int, holder text, pan text, amount int) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE year_one PARTITION OF years FOR VALUES FROM (0) TO (100)
  SERVER billing OPTIONS (table_name 'invoices');
COMMENT ON COLUMN year_one.pan IS 'twokey: label=pan';
CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql STABLE
  AS 'BEGIN RETURN (SELECT sum(amount) FROM invoices); END';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO company_ro; GRANT USAGE ON FOREIGN SERVER billing, archive TO company_ro;
GRANT USAGE ON FOREIGN SERVER billing TO company_rw;
"""
MASKED = "************1234"


@pytest.fixture(scope="module")
def afar() -> Iterator[Stack]:
    folder = scratch_folder("twokey-")
    (folder / "policy-data").mkdir()
    (folder / "policy-data" / "unseen.yaml").write_text(UNSEEN)
    with pytest.MonkeyPatch.context() as patch:
        if choose().provider == "package":
            patch.setenv(VARIABLE, "maven:18")
        with Stack(folder, config=CONFIG + "policy: {{data: policy-data}}\n") as running:
            password = running.passwords["company_ro"]
            running.database.run("CREATE DATABASE elsewhere")
            running.database.run(HOME, database="elsewhere")
            admin(running, COMPANY.format(port=running.database.port, password=password))
            path = running.folder / "company.classification.yaml"
            loads = len(loaded(running))
            path.write_text(path.read_text() + "public.invoices.pan: pan\n")
            until(lambda: len(loaded(running)) > loads, what="the new classification")
            with connect(running, "planner") as client:
                comes(client, "SELECT pan FROM invoices WHERE id = 1", [(MASKED,)])
            yield running


SEEN = [
    ("SELECT id, pan, holder, amount FROM invoices ORDER BY id LIMIT 1", [(1, MASKED, None, 30)]),
    ("SELECT pan AS id, id AS pan FROM invoices WHERE id = 1", [(MASKED, 1)]),
    ("SELECT number, card FROM due WHERE number = 1", [(1, MASKED)]),
    ("SELECT id, pan FROM years WHERE id = 1", [(1, MASKED)]),
    ("SELECT upper(pan) FROM invoices WHERE id = 1", [(None,)]),
    ("SELECT sum(amount) FROM invoices", [(70,)]),
    ("SELECT o.id, i.pan FROM orders o JOIN invoices i ON i.id = o.id WHERE o.id = 1", [(1, MASKED)]),
]


@pytest.mark.parametrize(("sql", "rows"), SEEN, ids=[sql for sql, _ in SEEN])
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_a_listed_servers_tables_are_masked_like_any(
    afar: Stack, sql: str, rows: list[tuple[object, ...]], binary: bool
) -> None:
    with connect(afar, "planner") as client:
        assert client.execute(sql, binary=binary, prepare=binary).fetchall() == rows


def test_copy_of_a_foreign_table_is_masked(afar: Stack) -> None:
    with (
        connect(afar, "planner") as client,
        client.cursor().copy("COPY (SELECT id, pan FROM invoices WHERE id = 1) TO STDOUT") as copied,
    ):
        assert b"".join(map(bytes, copied)) == f"1\t{MASKED}\n".encode()


DENIED = [
    ("SELECT id FROM invoices WHERE pan LIKE '4000%'", "MASK-INFERENCE"),
    ("SELECT id FROM invoices ORDER BY holder", "MASK-INFERENCE"),
    ("SELECT pan::int8 FROM invoices", "MASK-TELLS"),
    ("EXPLAIN (VERBOSE) SELECT id FROM invoices WHERE pan > '5'", "MASK-STREAM"),
    ("SELECT id FROM old_invoices", "read at archive (postgres_fdw)"),
    ("SELECT 1 FROM orders WHERE EXISTS (SELECT FROM old_invoices)", "read at archive (postgres_fdw)"),
    ("EXPLAIN SELECT id FROM old_invoices", "read at archive (postgres_fdw)"),
    ("DECLARE c CURSOR FOR SELECT id FROM old_invoices", "read at archive (postgres_fdw)"),
    ("COPY (SELECT line FROM passwd) TO STDOUT", "read at files (file_fdw)"),
    ("SELECT line FROM passwd", "read at files (file_fdw)"),
    ("UPDATE invoices SET amount = 1 WHERE id = 1", "write at billing (postgres_fdw)"),
    ("IMPORT FOREIGN SCHEMA public FROM SERVER billing INTO public", "define at billing (postgres_fdw)"),
    ("CREATE FOREIGN TABLE bare (pan text) SERVER billing OPTIONS (table_name 'invoices')", "define at billing"),
    ("ALTER FOREIGN TABLE invoices ALTER amount OPTIONS (ADD column_name 'pan')", "define at billing"),
]


@pytest.mark.parametrize(("sql", "why"), DENIED, ids=[sql for sql, _ in DENIED])
def test_what_is_not_listed_is_denied_and_says_where_it_would_happen(afar: Stack, sql: str, why: str) -> None:
    with connect(afar, "planner") as client, pytest.raises(psycopg.errors.InsufficientPrivilege) as denied:
        client.execute(sql)
    assert why in f"{denied.value.diag.message_primary} {denied.value.diag.message_detail}"


def test_who_sees_everything_is_held_where_nothing_is_listed(afar: Stack) -> None:
    token = afar.token("executor-7", "executor")
    for sql, held in (("SELECT id FROM old_invoices", True), ("SELECT id FROM invoices WHERE id = 1", False)):
        done = afar.twokey("explain", "--connection", "company", "--role", "executor", sql, token=token)
        assert ("SQL-SERVER" in done.stdout) is held, done.stdout


def test_where_a_foreign_table_leads_is_part_of_what_was_decided(afar: Stack) -> None:
    """Its options decide which columns come: another answer is another statement, within a second at the latest."""
    sql = "SELECT amount FROM invoices WHERE id = 1"
    with connect(afar, "planner") as client:
        comes(client, sql, [(30,)])
        try:
            admin(afar, "ALTER SERVER billing RENAME TO elsewhere")
            comes(client, sql, "read at elsewhere (postgres_fdw)")
        finally:
            admin(afar, "ALTER SERVER elsewhere RENAME TO billing")
        comes(client, sql, [(30,)])


def test_a_listed_reason_lets_its_opaque_function_through(afar: Stack) -> None:
    with connect(afar, "planner") as client:
        found = answer(client, "SELECT total()")
        assert "total" in str(found)
        assert "SQL-FUNCTION" in str(found) or "may do more than compute" in str(found)
        assert "can't be seen" not in str(found)  # only functions.yaml stands between now
