"""Labels in the target's catalog: their form, on a real server, and that a change of them is a change."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.cli import target_columns
from enforcers.postgres.catalog.labels import MALFORMED, directed, listed
from enforcers.postgres.catalog.parts import catalog_queries
from enforcers.postgres.catalog.source import CatalogSource
from tests.enforcers.postgres.describe.conftest import Server


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", set()),
        ("where to write", set()),
        ("twokey: label=email", {"email"}),
        ("where to write; twokey: label=email, pii; more", {"email", "pii"}),
        ("twokey:label=email\ntwokey: label = pan", {"email", "pan"}),
        ("twokey: email", {MALFORMED}),
        ("twokey: label=E-Mail", {MALFORMED}),
        ("twokey:", {MALFORMED}),
        ("mytwokey: label=email", set()),
    ],
)
def test_directives_in_comments(text: str, labels: set[str]) -> None:
    assert directed(text) == labels


@pytest.mark.parametrize(
    ("text", "labels"), [("email", {"email"}), ("label=a,b", {"a", "b"}), ("", {MALFORMED}), ("a b", {MALFORMED})]
)
def test_labels_alone(text: str, labels: set[str]) -> None:
    assert listed(text) == labels


PIECES = st.lists(st.sampled_from(["twokey:", " ", "label", "=", "email", ",", ";", "\n", "pan", "É", ":", "x-1"])).map(
    "".join
)


@given(PIECES, st.lists(st.tuples(st.sampled_from(["twokey", "other"]), PIECES), max_size=2))
def test_the_command_line_reads_the_same(comment: str, security: list[tuple[str, str]]) -> None:
    ours = directed(comment).union(*(listed(text) if name == "twokey" else directed(text) for name, text in security))
    assert target_columns.labels_in(comment, [f"{name} {text}" for name, text in security]) == ours


@pytest.fixture
async def database(server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute("CREATE TABLE noted (id int, mail text, other text)")
    yield connection
    await connection.execute("DROP TABLE noted; DELETE FROM pg_seclabel")
    await connection.close()


async def test_comments_and_security_labels_are_read_and_a_change_is_seen(
    server: Server, database: asyncpg.Connection
) -> None:
    source = server.source()
    await source.start()
    try:
        assert await labels(source) == {}
        await database.execute("COMMENT ON COLUMN noted.mail IS 'to write to; twokey: label=email'")
        assert await labels(source) == {"mail": {"email"}}
        version = source.version
        assert await labels(source) == {"mail": {"email"}}
        assert source.version == version  # read again for a change only
        # No provider is loaded here that SECURITY LABEL would ask: what it writes is one row of this table.
        await database.execute("SET allow_system_table_mods = on")
        await database.execute(
            "INSERT INTO pg_seclabel VALUES"
            " ('noted'::regclass, 'pg_class'::regclass, 3, 'twokey', 'pan'),"
            " ('noted'::regclass, 'pg_class'::regclass, 2, 'anon', 'MASKED WITH VALUE NULL; twokey: label=contact')"
        )
        assert await labels(source) == {"mail": {"email", "contact"}, "other": {"pan"}}
        await database.execute("COMMENT ON TABLE noted IS 'twokey: label=secret'")
        assert await labels(source) == {
            "id": {"secret"},
            "mail": {"email", "contact", "secret"},
            "other": {"pan", "secret"},
        }
        await database.execute("ALTER TABLE noted RENAME mail TO hidden")  # they belong to the column, not to its name
        assert (await labels(source))["hidden"] == {"email", "contact", "secret"}
    finally:
        await source.close()


async def labels(source: CatalogSource) -> dict[str, set[str]]:
    source.note_ddl()
    await source.refresh()
    relation = source.catalog.find_relation("public", "noted")
    assert relation is not None
    found = {column.name: source.catalog.labels_of(relation.oid, column.attnum) for column in relation.columns}
    return {name: set(items) for name, items in found.items() if items}


async def test_what_the_classification_names_and_is_not_there(server: Server, database: asyncpg.Connection) -> None:
    source = server.source()
    mail = ("public", "noted", "mail")
    source.classify(frozenset({mail}))
    await source.start()
    try:
        assert list(source.catalog.missing) == []
        version = source.version
        source.classify(frozenset({mail, ("public", "noted", "e.mail"), ("nowhere", "noted", "mail")}))
        assert source.version > version  # nothing that was described before holds
        assert source.catalog.missing == (("nowhere", "noted", "mail"), ("public", "noted", "e.mail"))
        source.classify(frozenset({mail}))
        assert list(source.catalog.missing) == []
        await database.execute("ALTER TABLE noted RENAME mail TO other_mail")
        source.note_ddl()
        await source.refresh()
        assert list(source.catalog.missing) == [mail]
        assert source.catalog.with_rows(EMPTY, search_path=("public",)).missing == (
            mail,
        )  # of a session's own view too
    finally:
        await source.close()


EMPTY: dict[str, list[list[str]]] = {name: [] for name, _ in catalog_queries(160000)}
