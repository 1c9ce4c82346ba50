"""Text that the target reads otherwise than the parser here: the client's, and what the catalog holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import asyncpg
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pglast.parser import ParseError, parse_sql_json

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import Describer
from enforcers.postgres.describe.foreign import MAX_SCANNED, foreign
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server, names


def of_version(catalog: Catalog, version: int) -> Catalog:
    """As if the server said that it is of this version and knew the parser's keywords."""
    builtins = dataclasses.replace(catalog.builtins, server_version=version)
    return dataclasses.replace(catalog, builtins=builtins, foreign_words=frozenset())


def described(catalog: Catalog, sql: str) -> Description:
    found = Describer(4).describe_message(sql.encode(), catalog=catalog, names=names())
    assert isinstance(found, list), found
    return found[0]


def doubts(catalog: Catalog, sql: str) -> dict[str, str]:
    return {item.code: item.detail for item in described(catalog, sql).template.opaque_reasons}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT system_user", {"system_user"}),
        ("SELECT 'é𝄞', \"é\", /* é -- é */ SYSTEM_USER", {"system_user"}),  # places count characters, not bytes
        ("SELECT \"system_user\", 'system_user' /* system_user */ -- system_user", set()),
        ("SELECT 'é', json\n/* é */ ('{}')", {"json("}),
        ("SELECT json -- é\n ('{}')", {"json("}),
        ("SELECT \"json\" ('{}'), 'json' ('{}')", set()),
        ("SELECT 'é'::json", set()),
        ("SELECT $é$ system_user $é$", set()),
        ("SELECT U&\"system_user\", e'system_user'", set()),
    ],
)
def test_words_are_found_where_they_are_words(server: Server, text: str, expected: set[str]) -> None:
    catalog = dataclasses.replace(server.catalog, foreign_words=frozenset({"system_user", "json("}))
    assert foreign(text, catalog) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 0x1F, 1_000, 0b1, 0O7, 1.5_0, 'é', 2e1_0", {"0x1F", "1_000", "0b1", "0O7", "1.5_0", "2e1_0"}),
        ("SELECT 1, 1.5, 1e5, .5, x'1F', b'01', a0x1, \"0x1F\", '1_000', $1 /* 0x1F */ -- 0x1F", set()),
        ("SELECT a_1_0, t0.x1_0", set()),
    ],
)
def test_numbers_that_older_servers_read_otherwise(server: Server, text: str, expected: set[str]) -> None:
    assert foreign(text, of_version(server.catalog, 150019)) == expected
    assert foreign(text, of_version(server.catalog, 160000)) == set()


def test_what_is_too_long_to_be_scanned_counts_as_using_them(server: Server) -> None:
    catalog = of_version(server.catalog, 140000)
    assert foreign("SELECT '0x1F" + " " * MAX_SCANNED + "'", catalog) == {"a number"}
    assert foreign("SELECT 'none" + " " * MAX_SCANNED + "'", catalog) == set()


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT * FROM contact", "lower("),  # a view
        ("SELECT * FROM contact2", "lower("),  # a view of a view
        ("UPDATE contact SET email = 'x@y'", "lower("),  # a view written through
        ("INSERT INTO ruled VALUES (1)", "cards"),  # a rule's action
        ("SELECT * FROM guarded", "employees"),  # a policy
        ("SELECT purge(1)", "returning"),  # an SQL function's text
        ("SELECT purge_all()", "orders"),  # one of BEGIN ATOMIC
        ("SELECT lazy()", "proc("),  # the default of an argument
        ("INSERT INTO bad_default (x) VALUES (1)", "proc("),  # a default
        ("INSERT INTO bad_check VALUES (1)", "proc("),  # a check
        ("INSERT INTO indexed VALUES (1)", "idx("),  # an index
        ("SELECT doubled FROM shop.items", "price"),  # a generated column
        ("SELECT 1::positive", "proc("),  # a domain's check
    ],
)
def test_definitions_are_read_with_the_targets_words_too(server: Server, sql: str, word: str) -> None:
    plain = of_version(server.catalog, server.catalog.builtins.server_version)
    assert "keyword-class" not in doubts(plain, sql)
    assert doubts(dataclasses.replace(plain, foreign_words=frozenset({word})), sql)["keyword-class"] == word


async def test_a_column_that_newer_servers_take_for_a_keyword(server: Server) -> None:
    """Until 15, system_user is a name like any other, and printed without quotes in a view's definition."""
    connection = await asyncpg.connect(server.dsn)
    made = "CREATE TABLE logins (system_user text); CREATE VIEW who AS SELECT system_user FROM logins"
    try:
        if server.catalog.builtins.server_version >= 160000:
            with pytest.raises(asyncpg.PostgresSyntaxError):
                await connection.execute(made)
            assert "system_user" not in server.catalog.foreign_words
            return
        await connection.execute(made)
        source = server.source()
        await source.start()
        catalog = source.catalog
        await source.close()
        assert doubts(catalog, "SELECT * FROM who")["keyword-class"] == "system_user"
        assert doubts(catalog, "SELECT system_user FROM logins")["keyword-class"] == "system_user"
        found = described(catalog, 'SELECT "system_user" FROM logins')
        assert not found.template.opaque
        assert [column.column for column in found.template.columns] == ["system_user"]
    finally:
        await connection.execute("DROP TABLE IF EXISTS logins CASCADE")
        await connection.close()


async def test_a_number_that_is_a_number_and_a_name(server: Server) -> None:
    """What the server itself makes of it: the reason for all this."""
    connection = await asyncpg.connect(server.dsn)
    try:
        if server.catalog.builtins.server_version >= 160000:
            assert dict(await connection.fetchrow("SELECT 0x1F")) == {"?column?": 31}
            assert not described(server.catalog, "SELECT 0x1F").template.opaque
        elif server.catalog.builtins.server_version >= 150000:
            with pytest.raises(asyncpg.PostgresSyntaxError):
                await connection.fetchrow("SELECT 0x1F")
        else:
            assert dict(await connection.fetchrow("SELECT 0x1F")) == {"x1f": 0}
            assert doubts(server.catalog, "SELECT 0x1F")["keyword-class"] == "0x1F"
    finally:
        await connection.close()


Compare = Callable[[str], None]


@pytest.fixture(scope="module")
def compare(server: Server) -> Iterator[Compare]:
    """Does the target name the columns as the description does, where both take the text?"""
    with psycopg.connect(server.dsn, autocommit=True) as connection:

        def names_alike(sql: str) -> None:
            try:
                parse_sql_json(sql)
                columns = [column.name for column in connection.execute(sql + " LIMIT 0").description or ()]
            except (ParseError, psycopg.Error):
                return
            found = described(server.catalog, sql)
            if not found.template.opaque:
                assert [column.name for column in found.template.output] == columns

        yield names_alike


_PIECES = st.sampled_from(
    ["1", "0x1F", "1_0", "0b1", "0o7", "1e5", "1from", "$1x", "a", "id", "email", "é", '"é"', "'a'", "U&'a'", "E'a'",
     "x'1f'", "b'1'", "system_user", "json", "json_array", "json_object", "json_value", "merge_action", "period", "old",
     "new", "within", "virtual", "format", "keys", "ignore", "nulls", "values", "filter", "over", "at", "local",
     "array", "IS", "JSON", "null", "::", "int", "text", "date", "interval", "varchar", "(3)", "[1]", "(", ")", ",",
     "AS", "-", "+", "/**/", "/*é*/"]
)  # fmt: skip


@settings(max_examples=400)
@given(pieces=st.lists(_PIECES, min_size=1, max_size=6), glue=st.sampled_from([" ", " ", ""]))
def test_what_both_accept_is_named_alike_or_opaque(compare: Compare, pieces: list[str], glue: str) -> None:
    """Two grammars and one text: where neither says error, a column that only one of them sees would show."""
    compare(f"SELECT {glue.join(pieces)} FROM customers")
