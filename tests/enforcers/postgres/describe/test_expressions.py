"""Every node that the parser can make is described or makes the statement opaque; none is passed over in silence."""

from __future__ import annotations

import re

import pytest
from pglast import ast

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import expressions, statements, utility
from enforcers.postgres.describe.context import Context, Facts, Scope
from tests.enforcers.postgres.describe.conftest import Server

KINDS = sorted(
    name
    for name in dir(ast)
    if isinstance(getattr(ast, name), type) and issubclass(getattr(ast, name), ast.Node) and name != "Node"
)


def _context(catalog: Catalog) -> Context:
    return Context(catalog, ("pg_catalog", "public"), Facts())


@pytest.mark.parametrize("kind", [name for name in KINDS if name.endswith("Stmt")])
def test_every_statement_kind_says_something(server: Server, kind: str) -> None:
    context = _context(server.catalog)
    known = kind in statements.DATA or kind in utility.KINDS
    if known:
        assert re.search("Stmt$", kind)
        return
    utility.describe(context, kind, {}, Scope())
    assert {code for code, _ in context.facts.opaque} == {"unknown-statement"}
    assert list(context.facts.verbs) == ["sql.unknown"]
    assert context.facts.ddl
    assert context.facts.writes


def test_expression_kinds_are_listed_handled_or_opaque(server: Server) -> None:
    known = expressions.PLAIN | set(expressions._HANDLERS)
    assert known <= set(KINDS) | {"A_Const", "List"}
    unknown = [kind for kind in KINDS if kind not in known]
    assert len(unknown) > 100
    for kind in unknown:
        context = _context(server.catalog)
        expressions.walk(context, {kind: {}}, Scope())
        assert {code for code, _ in context.facts.opaque} == {"unknown-statement"}, kind


def test_a_field_that_nobody_knows_is_opaque(server: Server) -> None:
    context = _context(server.catalog)
    expressions.walk(context, {"BoolExpr": {"novelty": {"relname": "cards", "inh": True}}}, Scope())
    assert context.facts.opaque
