"""What a definition leaves behind: each column that will be known otherwise, and as what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.conftest import Server, names

One = Callable[..., Description]

LEAVING = [
    ("ALTER TABLE parts DETACH PARTITION parts_1", "detach", {
        "parts.email>parts_1.email", "parts_1.email>parts_1.email", "parts.id>parts_1.id", "parts_1.id>parts_1.id"}),
    ("ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY", "detach", {
        "parts.email>parts_1.email", "parts_1.email>parts_1.email", "parts.id>parts_1.id", "parts_1.id>parts_1.id"}),
    ("ALTER TABLE cats NO INHERIT animals", "detach", {
        "animals.name>cats.name", "cats.name>cats.name", "animals.id>cats.id", "cats.id>cats.id",
        "cats.lives>cats.lives"}),
    ("ALTER TABLE cards RENAME pan TO number", "rename", {"cards.pan>cards.number"}),
    ("ALTER TABLE cards RENAME TO c", "rename", {
        "cards.id>c.id", "cards.customer_id>c.customer_id", "cards.pan>c.pan"}),
    ("ALTER INDEX cards RENAME TO c", "rename", {
        "cards.id>c.id", "cards.customer_id>c.customer_id", "cards.pan>c.pan"}),
    ("ALTER TABLE shadow.orders SET SCHEMA shop", "rename", {"orders.id>orders.id", "orders.evil>orders.evil"}),
    ("ALTER VIEW simple_orders RENAME note TO n", "rename", {"simple_orders.note>simple_orders.n"}),
    ("ALTER MATERIALIZED VIEW totals RENAME TO t", "rename", {
        "totals.customer_id>t.customer_id", "totals.s>t.s"}),
    ("ALTER FOREIGN TABLE far.old RENAME line TO l", "rename", {"old.line>old.l"}),
    ("ALTER TABLE cards ALTER customer_id TYPE text USING pan", "update", {"cards.pan>cards.customer_id"}),
    ("ALTER TABLE shop.items ALTER doubled DROP EXPRESSION", "update", {"items.price>items.doubled"}),
    ("ALTER TABLE orders RENAME CONSTRAINT orders_pkey TO o", "", set()),
    ("ALTER TRIGGER t ON watched RENAME TO u", "", set()),
    # Called like a column, and still none.
    ("ALTER TABLE cards RENAME CONSTRAINT pan TO o", "", set()),
    ("ALTER TRIGGER pan ON cards RENAME TO u", "", set()),
    ("ALTER POLICY pan ON cards RENAME TO u", "", set()),
    ("ALTER RULE pan ON cards RENAME TO u", "", set()),
    ("ALTER TABLE cards ADD x int", "", set()),
    ("ALTER TABLE cards DROP pan", "", set()),
    ("CREATE TABLE copy (LIKE cards INCLUDING ALL)", "", set()),
    ("COMMENT ON COLUMN cards.pan IS 'x'", "", set()),
]  # fmt: skip


def flows(description: Description) -> set[str]:
    return {
        f"{item.source.relation}.{item.source.column}>{item.target.relation}.{item.target.column}"
        for item in description.template.flows
    }


@pytest.mark.parametrize(("sql", "kind", "expected"), LEAVING, ids=[sql for sql, _, _ in LEAVING])
def test_what_will_be_known_otherwise(one: One, sql: str, kind: str, expected: set[str]) -> None:
    description = one(sql)
    assert flows(description) == expected
    assert {item.kind for item in description.template.flows} == ({kind} if kind else set())


def test_a_schema_takes_what_is_classified_along(server: Server) -> None:
    catalog = replace(server.catalog, classified=frozenset({("shop", "items", "price")}))
    found = Describer(4).describe_message(b"ALTER SCHEMA shop RENAME TO store", catalog=catalog, names=names())
    assert isinstance(found, list)
    targets = {(item.target.schema, item.target.relation, item.target.column) for item in found[0].template.flows}
    assert targets == {("store", "items", "id"), ("store", "items", "price"), ("store", "items", "doubled")}


@pytest.fixture
def commented(server: Server) -> Callable[[str], Description]:
    """cards.pan has a label by its comment, and every column of lines by the table's."""
    pan, lines = server.catalog.find_relation("public", "cards"), server.catalog.find_relation("public", "lines")
    assert pan is not None
    assert lines is not None
    labels = {(pan.oid, pan.by_name["pan"].attnum): frozenset({"pan"}), (lines.oid, 0): frozenset({"stock"})}
    catalog = replace(server.catalog, attached=replace(server.catalog.attached, labels=labels))

    def describe(sql: str) -> Description:
        found = Describer(4).describe_message(sql.encode(), catalog=catalog, names=names())
        assert isinstance(found, list)
        return found[0]

    return describe


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("COMMENT ON COLUMN cards.pan IS NULL", {"cards.pan>."}),
        ("COMMENT ON COLUMN public.cards.pan IS 'the number'", {"cards.pan>."}),
        ("COMMENT ON COLUMN cards.pan IS 'twokey: label=email'", {"cards.pan>."}),
        ("COMMENT ON COLUMN cards.pan IS 'twokey: label=pan, email'", set()),
        ("COMMENT ON COLUMN cards.id IS NULL", set()),
        ("COMMENT ON TABLE cards IS NULL", set()),
        ("COMMENT ON TABLE lines IS ''", {"lines.id>.", "lines.order_id>.", "lines.sku>."}),
        ("SECURITY LABEL FOR twokey ON COLUMN cards.pan IS NULL", {"cards.pan>."}),
        ("SECURITY LABEL FOR twokey ON COLUMN cards.pan IS 'pan'", set()),
        ("COMMENT ON COLUMN cards.nothing IS NULL", set()),
        ("COMMENT ON DATABASE corpus IS NULL", set()),
    ],
)
def test_a_comment_that_gives_a_label_and_goes(
    commented: Callable[[str], Description], sql: str, expected: set[str]
) -> None:
    description = commented(sql)
    assert flows(description) == expected
    assert {item.kind for item in description.template.flows} == ({"comment"} if expected else set())


def test_a_label_by_comment_goes_along_with_a_new_name(commented: Callable[[str], Description]) -> None:
    template = commented("ALTER TABLE cards RENAME pan TO number").template
    assert {(item.column, tuple(item.labels)) for item in template.column_labels} == {
        ("pan", ("pan",)),
        ("number", ("pan",)),
    }
