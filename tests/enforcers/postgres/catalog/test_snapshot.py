"""The snapshot: what the rows of a real server become."""

from __future__ import annotations

from tests.enforcers.postgres.describe.conftest import Server


def test_relations_and_what_hangs_on_them(server: Server) -> None:
    catalog = server.catalog
    orders = catalog.find_relation("public", "orders")
    assert orders is not None
    assert [column.name for column in orders.columns] == ["id", "customer_id", "total", "note"]
    (key,) = catalog.foreign_keys_of[orders.oid]
    assert (key.on_delete, key.on_update, key.child_columns, key.parent_columns) == ("c", "c", (2,), (1,))
    parts = catalog.find_relation("public", "parts")
    assert parts is not None
    assert parts.kind == "partitioned-table"
    (child,) = catalog.children[parts.oid]
    assert catalog.parents[child] == (parts.oid,)
    guarded = catalog.find_relation("public", "guarded")
    assert guarded is not None
    assert guarded.row_security
    items = catalog.find_relation("shop", "items")
    assert items is not None
    assert [item.kind for item in catalog.expressions[items.oid]] == ["generated"]
    pg_class = catalog.find_relation("pg_catalog", "pg_class")
    assert pg_class is not None
    assert pg_class.catalog


def test_functions(server: Server) -> None:
    (peek,) = server.catalog.functions_named("peek")
    assert (peek.security_definer, peek.volatility, peek.language, peek.returns_set) == (True, "stable", "sql", True)
    assert not peek.builtin
    lowers = server.catalog.functions_named("lower")
    assert {function.schema for function in lowers} == {"public", "pg_catalog"}
    (concat,) = server.catalog.functions_named("concat")
    assert concat.variadic
    assert concat.accepts(1)
    assert concat.accepts(50)
