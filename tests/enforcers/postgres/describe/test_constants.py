"""A constant's type decides which function is meant, and so what can be told of what stands beside it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pglast.parser import parse_sql_json

from enforcers.postgres.describe.constants import constant, free
from enforcers.postgres.describe.context import Context, Facts, Scope
from enforcers.postgres.describe.lineage import BOOL, INT4, INT8, NUMERIC, UNKNOWN
from tests.enforcers.postgres.describe.conftest import Server


def _node(text: str) -> dict[str, Any]:
    parsed = orjson.loads(parse_sql_json(f"SELECT {text}"))
    node: dict[str, Any] = parsed["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    return node


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1", INT4),
        ("2147483647", INT4),
        ("2147483648", INT8),
        ("99999999999999999999", 0),  # a bigint or a numeric: not said
        ("1.5", NUMERIC),
        ("'1'", UNKNOWN),
        ("NULL", UNKNOWN),
        ("true", BOOL),
        ("false", BOOL),
        ("B'101'", 1560),
        ("X'1F'", 1560),
    ],
)
def test_the_type_of_a_constant(server: Server, text: str, kind: int) -> None:
    found = constant(Context(server.catalog, ("pg_catalog",), Facts()), _node(text)["A_Const"], Scope())
    assert found.type == kind
    assert found.quiet
    assert not found.sources


def test_a_place_is_free_in_the_clients_own_text_only(server: Server) -> None:
    context = Context(server.catalog, ("pg_catalog",), Facts())
    free(context, _node("1"))
    assert context.facts.free == {7}
    inner = context.inner("view")
    free(inner, _node("        1"))
    free(context, _node("a"))
    assert context.facts.free == {7}
