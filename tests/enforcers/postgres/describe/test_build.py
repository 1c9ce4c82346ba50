"""What a description says besides what its statement touches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enforcers.postgres.description import Description

Describe = Callable[..., Description]
_MERGE = "MERGE INTO lines USING orders ON lines.order_id = orders.id WHEN MATCHED THEN"
_OTHER = "only queries and data changes can be estimated"


@pytest.mark.parametrize(
    ("sql", "utility", "why"),
    [
        ("SELECT id FROM cards", False, ""),
        ("INSERT INTO lines VALUES (1)", False, ""),
        ("UPDATE lines SET sku = 'x'", False, ""),
        ("DELETE FROM lines", False, ""),
        (f"{_MERGE} DELETE", False, ""),
        ("PREPARE q AS DELETE FROM lines", True, ""),
        ("SELECT proc(1)", False, "the statement is opaque"),
        ("DROP TABLE lines", True, _OTHER),
        ("COPY lines TO STDOUT", True, _OTHER),
    ],
)
def test_an_estimate_plans_queries_and_data_changes_and_nothing_else(
    one: Describe, sql: str, utility: bool, why: str
) -> None:
    """EXPLAIN of what is opaque could run it; what has no estimate though it could have one is refused for nothing."""
    found = one(sql)
    assert (found.utility, found.can_estimate, found.cannot_estimate_why) == (utility, not why, why)


@pytest.mark.parametrize(
    ("sql", "has_where"),
    [
        ("DELETE FROM lines WHERE id = 1", True),
        ("DELETE FROM lines", False),
        ("WITH a AS (DELETE FROM lines) UPDATE lines SET sku = 'x' WHERE id = 1", False),
        ("INSERT INTO lines VALUES (1) ON CONFLICT (id) DO UPDATE SET sku = 'x'", True),
        (f"{_MERGE} DELETE", True),
        ("INSERT INTO lines VALUES (1)", False),
    ],
)
def test_a_change_of_every_row_can_not_pass_for_one_with_a_condition(one: Describe, sql: str, has_where: bool) -> None:
    assert one(sql).template.has_where == has_where


def test_a_function_that_tells_is_named_beside_what_it_tells(one: Describe) -> None:
    """Without the name a reviewer can't see what the denied expression was."""
    (output,) = one("SELECT ascii(pan) FROM cards").template.output
    assert [(item.column, item.through, item.function) for item in output.sources] == [
        ("pan", "tells", "pg_catalog.ascii")
    ]
