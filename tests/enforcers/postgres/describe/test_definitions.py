"""Definitions in a catalog that no setup can leave behind: a session's temporary objects, event triggers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server, names


def _described(catalog: Catalog, sql: str) -> Description:
    found = Describer(4).describe_message(sql.encode(), catalog=catalog, names=names())
    assert isinstance(found, list)
    return found[0]


def _temporary(catalog: Catalog, *wanted: str) -> Catalog:
    """The same, where these are the session's own."""
    known = catalog.own.relation_names
    changed = {key: replace(known[key], temporary=True) for key in (("public", name) for name in wanted)}
    relations = {**catalog.own.relations, **{relation.oid: relation for relation in changed.values()}}
    return replace(catalog.as_new(), own=replace(catalog.own, relations=relations, relation_names={**known, **changed}))


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("CREATE INDEX ON cards (pan)", "sql.create"),
        ("ALTER TABLE cards ADD x int", "sql.alter"),
        ("ALTER TABLE cards RENAME TO n", "sql.alter"),
        ("ALTER SEQUENCE counter RESTART", "sql.alter"),
    ],
)
def test_only_what_is_the_sessions_own_is_temporary_work(server: Server, sql: str, verb: str) -> None:
    """Who may only make temporary objects may change those, and no table that others see."""
    own = _described(_temporary(server.catalog, "cards", "counter"), sql)
    assert list(own.template.verbs) == ["sql.temporary"]
    assert own.makes_temporary
    assert own.changes_names
    others = _described(server.catalog, sql)
    assert list(others.template.verbs) == [verb]
    assert not others.makes_temporary


def test_a_temporary_table_beside_another_is_not_temporary_work(server: Server) -> None:
    catalog = _temporary(server.catalog, "cards")
    found = _described(catalog, "ALTER TABLE cards ADD FOREIGN KEY (id) REFERENCES orders")
    assert list(found.template.verbs) == ["sql.alter"]


@pytest.mark.parametrize("sql", ["CREATE TABLE n (id int)", "DROP TABLE cards", "DROP OWNED BY a"])
def test_a_definition_that_sets_an_event_trigger_off_is_opaque(server: Server, sql: str) -> None:
    """Its function runs with the statement, and may copy whatever it reads."""
    (function,) = server.catalog.functions_named("proc")
    catalog = replace(server.catalog.as_new(), own=replace(server.catalog.own, event_triggers={1: function.oid}))
    found = _described(catalog, sql)
    assert [(item.code, item.detail) for item in found.template.opaque_reasons] == [("event-trigger", "proc")]
    assert not _described(catalog, "CREATE ROLE n").template.opaque  # of roles, which no event trigger is told of
    assert not _described(server.catalog, sql).template.opaque
