"""What a classification meets in a target: an unreadable catalog, changes while it is read, columns that are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from asyncpg.prepared_stmt import PreparedStatement

from enforcers.core.errors import UpstreamError
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from tests.enforcers.postgres.describe.conftest import Server, names

MAIL = ("public", "moving", "mail")


@pytest.fixture
async def database(server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute("CREATE TABLE moving (id int, mail text)")
    yield connection
    await connection.execute("DROP TABLE IF EXISTS moving CASCADE")
    await connection.close()


async def test_a_catalog_that_may_not_be_read_describes_nothing(server: Server, database: asyncpg.Connection) -> None:
    await database.execute("CREATE ROLE blind LOGIN; REVOKE SELECT ON pg_catalog.pg_description FROM PUBLIC")
    source = CatalogSource(lambda: asyncpg.connect(server.dsn.replace("postgres@", "blind@")))
    try:
        with pytest.raises(UpstreamError, match="catalog can't be read"):
            await source.start()
        assert not source.fresh()
        with pytest.raises(UpstreamError, match="has not been read"):
            _ = source.catalog
    finally:
        await source.close()
        await database.execute("GRANT SELECT ON pg_catalog.pg_description TO PUBLIC; DROP ROLE blind")


class Interrupted(asyncpg.Connection):
    """Another session renames a column and moves its label while the catalog is being read."""

    dsn = ""
    done = False

    async def prepare(self, query: str, **options: Any) -> PreparedStatement:
        if not Interrupted.done and "d.description" in query:  # columns were asked for, comments weren't yet
            Interrupted.done = True
            other = await asyncpg.connect(self.dsn)
            await other.execute(
                "ALTER TABLE moving RENAME mail TO was; ALTER TABLE moving ADD mail text;"
                "COMMENT ON COLUMN moving.was IS NULL; COMMENT ON COLUMN moving.mail IS 'twokey: label=email'"
            )
            await other.close()
        return await super().prepare(query, **options)


async def test_a_catalog_that_changes_while_it_is_read_is_one_moment(
    server: Server, database: asyncpg.Connection
) -> None:
    await database.execute("COMMENT ON COLUMN moving.mail IS 'twokey: label=email'")
    Interrupted.dsn, Interrupted.done = server.dsn, False
    source = CatalogSource(lambda: asyncpg.connect(server.dsn, connection_class=Interrupted))
    source.classify(frozenset({MAIL}))
    try:
        await source.start()
        assert Interrupted.done
        assert labels(source) == {"mail": {"email"}}  # not the old columns with the new labels
        source.note_ddl()
        await source.refresh()
        assert labels(source) == {"mail": {"email"}}
        relation = source.catalog.find_relation("public", "moving")
        assert relation is not None
        assert [column.name for column in relation.columns] == ["id", "was", "mail"]
    finally:
        await source.close()


def labels(source: CatalogSource) -> dict[str, set[str]]:
    relation = source.catalog.find_relation("public", "moving")
    assert relation is not None
    found = {column.name: set(source.catalog.labels_of(relation.oid, column.attnum)) for column in relation.columns}
    return {name: items for name, items in found.items() if items}


async def test_a_dropped_column_is_gone_and_what_read_it_is_gone_or_opaque(
    server: Server, database: asyncpg.Connection
) -> None:
    await database.execute(
        "CREATE VIEW over_it AS SELECT mail FROM moving;"
        "CREATE FUNCTION of_it() RETURNS text LANGUAGE sql AS 'SELECT mail FROM public.moving'"
    )
    source = server.source()
    source.classify(frozenset({MAIL}))
    try:
        with pytest.raises(asyncpg.DependentObjectsStillExistError):
            await database.execute("ALTER TABLE moving DROP mail")  # no view is ever over a dropped column
        await database.execute("ALTER TABLE moving DROP mail CASCADE")
        await source.start()
        assert source.catalog.missing == (MAIL,)
        assert source.catalog.find_relation("public", "over_it") is None
        # A function whose body is text is left, and fails when it runs: nobody guesses what it would have read.
        found = Describer(8).describe_message(b"SELECT of_it()", catalog=source.catalog, names=names())
        assert isinstance(found, list)
        assert found[0].template.opaque
        assert [(item.relation, item.column) for item in found[0].template.missing_columns] == [MAIL[1:]]
    finally:
        await source.close()
        await database.execute("DROP FUNCTION IF EXISTS of_it()")
