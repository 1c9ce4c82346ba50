"""Foreign tables: columns are sources like any table's, and every way to the rows names the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enforcers.postgres.description import Description
from enforcers.postgres.machine_lineage import executed, fetched

One = Callable[..., Description]

BILLING, ARCHIVE = "billing/nowhere", "archive/files"
TOUCHING = [
    ("SELECT id FROM far.invoices", {BILLING: "read"}),
    ("TABLE far.old", {ARCHIVE: "read"}),
    ("SELECT 1 FROM far.invoices i JOIN far.old USING (id)", {BILLING: "read", ARCHIVE: "read"}),
    ("SELECT number FROM far.seen", {BILLING: "read"}),
    ("SELECT far.count_old()", {ARCHIVE: "read"}),
    ("SELECT amount FROM far.years", {ARCHIVE: "read"}),
    ("SELECT name FROM far.mother", {BILLING: "read"}),
    ("SELECT name FROM ONLY far.mother", {}),
    ("SELECT amount FROM far.years_new", {}),
    ("COPY far.invoices TO STDOUT", {BILLING: "read"}),
    ("COPY (SELECT * FROM far.seen) TO STDOUT", {BILLING: "read"}),
    ("EXPLAIN SELECT * FROM far.old", {ARCHIVE: "read"}),
    ("DECLARE c CURSOR FOR SELECT line FROM far.old", {ARCHIVE: "read"}),
    ("PREPARE q AS SELECT line FROM far.old", {ARCHIVE: "read"}),
    ("WITH x AS (SELECT * FROM far.old) SELECT 1 FROM x", {ARCHIVE: "read"}),
    ("SELECT 1 WHERE EXISTS (SELECT FROM far.old)", {ARCHIVE: "read"}),
    ("INSERT INTO far.old VALUES (1, 'x')", {ARCHIVE: "read write"}),
    ("COPY far.old FROM STDIN", {ARCHIVE: "write"}),
    ("UPDATE far.invoices SET holder = 'x' WHERE id = 1", {BILLING: "read write"}),
    ("DELETE FROM far.invoices", {BILLING: "read write"}),
    ("UPDATE far.seen SET number = '1'", {BILLING: "read write"}),
    ("UPDATE far.mother SET name = 'x'", {BILLING: "read write"}),
    ("INSERT INTO far.years VALUES (2001, 1)", {ARCHIVE: "read write"}),
    ("TRUNCATE far.invoices", {BILLING: "write"}),
    ("MERGE INTO far.invoices i USING customers c ON c.id = i.id WHEN MATCHED THEN DO NOTHING", {BILLING: "read"}),
    ("LOCK TABLE far.mother IN SHARE MODE", {BILLING: "read"}),
    ("CREATE TABLE mine AS SELECT * FROM far.old", {ARCHIVE: "read"}),
    ("CREATE VIEW mine AS SELECT id FROM far.old", {ARCHIVE: "read"}),
    ("ALTER FOREIGN TABLE far.old OPTIONS (ADD filename '/etc/passwd')", {ARCHIVE: "define"}),
    ("ALTER TABLE far.old RENAME line TO l", {ARCHIVE: "define"}),
    ("COMMENT ON COLUMN far.old.line IS 'x'", {}),
    ("DROP FOREIGN TABLE far.old", {ARCHIVE: "define"}),
    ("ALTER TABLE far.years DETACH PARTITION far.years_old", {ARCHIVE: "define"}),
    ("CREATE FOREIGN TABLE far.more (x text) SERVER archive", {ARCHIVE: "define"}),
    ("CREATE FOREIGN TABLE far.more (x text) SERVER unknown", {"unknown/": "define"}),
    ("CREATE FOREIGN TABLE far.y PARTITION OF far.years FOR VALUES FROM (1990) TO (2000) SERVER billing",
     {BILLING: "define"}),
    ("CREATE SERVER third FOREIGN DATA WRAPPER files", {"third/files": "define"}),
    ("ALTER SERVER billing OPTIONS (SET host 'elsewhere')", {BILLING: "define"}),
    ("CREATE USER MAPPING FOR PUBLIC SERVER billing", {BILLING: "define"}),
    ("ALTER USER MAPPING FOR PUBLIC SERVER billing OPTIONS (user 'x')", {BILLING: "define"}),
    ("DROP USER MAPPING FOR PUBLIC SERVER billing", {BILLING: "define"}),
    ("DROP SERVER billing CASCADE", {BILLING: "define"}),
    ("IMPORT FOREIGN SCHEMA public FROM SERVER billing INTO far", {BILLING: "define"}),
    ("SELECT id FROM customers", {}),
]  # fmt: skip


def servers(description: Description) -> dict[str, str]:
    return {f"{item.name}/{item.wrapper}": " ".join(item.access) for item in description.template.servers}


@pytest.mark.parametrize(("sql", "expected"), TOUCHING, ids=[sql for sql, _ in TOUCHING])
def test_a_statement_names_the_servers_that_it_reaches(one: One, sql: str, expected: dict[str, str]) -> None:
    assert servers(one(sql)) == expected


def test_what_only_touches_foreign_tables_is_described_fully(one: One) -> None:
    opaque = [sql for sql, _ in TOUCHING if one(sql).template.opaque]
    assert opaque == ["IMPORT FOREIGN SCHEMA public FROM SERVER billing INTO far"]  # nobody knows what comes


def test_a_foreign_tables_columns_are_sources_like_any_tables(one: One) -> None:
    (number, name) = one("SELECT number, name FROM far.seen").template.output
    assert (number.origin.relation, number.origin.column) == ("invoices", "pan")
    assert {(item.relation, item.column, item.through) for item in number.sources} == {
        ("seen", "number", "copy"),
        ("invoices", "pan", "copy"),
    }
    assert {(item.relation, item.column, item.through) for item in name.sources} == {
        ("seen", "name", "copy"),
        ("invoices", "holder", "safe"),
    }
    (deciding,) = one("SELECT id FROM far.invoices WHERE pan = '4'").template.inferences
    assert (deciding.relation, deciding.column, deciding.kind) == ("invoices", "pan", "where")


def test_a_foreign_partition_is_known_under_its_parents_name_too(one: One) -> None:
    (amount,) = one("SELECT amount FROM far.years").template.output
    assert {item.relation for item in amount.sources} == {"years", "years_new", "years_old"}


def test_a_foreign_tables_columns_are_what_the_target_must_return(one: One) -> None:
    description = one("SELECT pan, id FROM far.invoices")
    (pan, _) = description.template.output
    assert description.wire == ((pan.origin.relation_oid, 3), (pan.origin.relation_oid, 1))


def test_what_runs_later_names_the_server_too(one: One) -> None:
    prepared = one("PREPARE q AS SELECT line FROM far.old")
    for sql in ("EXECUTE q", "EXPLAIN EXECUTE q", "CREATE TABLE mine AS EXECUTE q"):
        assert servers(executed(one(sql), prepared)) == {ARCHIVE: "read"}, sql
    cursor = one("DECLARE c CURSOR FOR SELECT pan FROM far.invoices")
    assert servers(fetched(one("FETCH c"), (cursor,))) == {BILLING: "read"}
