"""What nests deeply is refused by a count of its own, since compiled code has no other; at any depth, in both forms.

What a client may send, what the catalog may hold, and that no way of describing to call itself goes uncounted.
"""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import asyncpg
import orjson
import pytest

import enforcers.postgres.describe as package
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.describe.context import MAX_DEPTH, MAX_NESTED, Context, Facts, NestsTooDeeplyError
from enforcers.postgres.description import SyntaxProblem
from tests.enforcers.postgres.describe.conftest import Server, names

FOLDER = Path(package.__file__).parent
# Circles that are bounded otherwise, each by its first function.
BOUNDED = {
    # Follow one parse tree downwards, or what stands beside each other in it, and nothing else.
    "counted._compared",
    "definitions._everywhere",
    "definitions._names_temporary_schema",
    "expressions.depends",
    "expressions.restricts",
    "functions._bodies",
    "functions.constant_text",
    "functions.plain_text",
    "joins.conjuncts",
    "labels._argument",
    "queries._from_item",  # TABLESAMPLE; joins are counted
    "queries._grouping",
    "rowsources._table_columns",
    # A definition in a definition (Context.inner): MAX_DEPTH.
    "effects._foreign_keys",
    # Call the catalog's methods of the same name.
    "context.Context.find_relation",
    "context.Context.find_type",
}
MOST_LEVELS = 1024  # of a parse tree: more is refused when it is read


def _functions() -> dict[str, set[str]]:
    """Each function of describe/, and those that it names: called there, or put where they can be called from."""
    modules = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.py"))}
    names: dict[str, dict[str, str]] = {}  # module -> name -> function
    bodies: dict[str, list[ast.AST]] = {}
    for module, tree in modules.items():
        names[module] = {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                names[module][node.name] = f"{module}.{node.name}"
                bodies[f"{module}.{node.name}"] = [node]
            elif isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.FunctionDef):
                        bodies[f"{module}.{node.name}.{item.name}"] = [item]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                # A table of functions stands for those in it.
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name) and node.value is not None:
                        names[module][target.id] = f"{module}.{target.id}"
                        bodies[f"{module}.{target.id}"] = [node.value]
    methods: dict[str, set[str]] = {}
    for name in bodies:
        if name.count(".") == 2:
            methods.setdefault(name.rsplit(".", 1)[1], set()).add(name)
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package.__name__ + "."):
                origin = (node.module or "").rsplit(".", 1)[1]
                for alias in node.names:
                    if f"{origin}.{alias.name}" in bodies:
                        names[module][alias.asname or alias.name] = f"{origin}.{alias.name}"
    found: dict[str, set[str]] = {}
    for name, nodes in bodies.items():
        module = name.split(".", 1)[0]
        used: set[str] = set()
        for node in (item for top in nodes for item in ast.walk(top)):
            if isinstance(node, ast.Name) and node.id in names[module]:
                used.add(names[module][node.id])
            elif isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Name) and f"{node.value.id}.{node.attr}" in bodies:
                    used.add(f"{node.value.id}.{node.attr}")
                else:
                    used |= methods.get(node.attr, set())
        found[name] = used
    return found


def _counted() -> set[str]:
    return {
        f"{path.stem}.{node.name}"
        for path in FOLDER.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and ".enter()" in ast.unparse(node)
    }


def _circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of functions each of which reaches every other one of its set (strongly connected), itself included."""
    reached: dict[str, set[str]] = {}
    for start, first in graph.items():
        todo, seen = list(first), set[str]()
        while todo:
            item = todo.pop()
            if item not in seen and item in graph:
                seen.add(item)
                todo.extend(graph[item])
        reached[start] = seen
    circles: list[set[str]] = []
    for start, seen in reached.items():
        circle = {item for item in seen if start in reached[item]}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def test_every_circle_is_counted() -> None:
    counted = _counted()
    assert {"expressions.walk", "queries.select"} <= counted
    graph = {name: used - counted for name, used in _functions().items() if name not in counted}
    assert {min(circle) for circle in _circles(graph)} == BOUNDED


def test_a_tree_of_more_levels_is_not_read() -> None:
    assert orjson.loads(b"[" * MOST_LEVELS + b"]" * MOST_LEVELS)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(b"[" * (MOST_LEVELS + 1) + b"]" * (MOST_LEVELS + 1))


def _nested(count: int) -> dict[str, str]:
    """Statements of as many levels as that, of every kind that nests."""
    return {
        "parentheses": "SELECT " + "(" * count + "1" + ")" * count,
        "not": "SELECT " + "NOT " * count + "true",
        "and in or": "SELECT 1 WHERE " + "(true AND (false OR " * (count // 2) + "true" + "))" * (count // 2),
        "and": "SELECT 1 WHERE true" + " AND true" * count,
        "concatenated": "SELECT 'a'" + " || 'a'" * count,
        "added": "SELECT 1" + " + 1" * count,
        "negated": "SELECT " + "- " * count + "1",
        "compared": "SELECT 1 WHERE " + "(1 = " * count + "1" + ")" * count,
        "union": "SELECT 1" + " UNION ALL SELECT 1" * count,
        "unions in parentheses": "(" * count + "SELECT 1" + " UNION SELECT 1)" * count,
        "subselects": "SELECT " + "(SELECT " * count + "1" + ")" * count,
        "subselects in from": "SELECT * FROM " + "(SELECT * FROM " * count + "orders" + ") x" * count,
        "exists": "SELECT 1 WHERE " + "EXISTS (SELECT 1 WHERE " * count + "true" + ")" * count,
        "in": "SELECT 1 WHERE 1 IN " + "(SELECT 1 WHERE 1 IN " * count + "(1)" + ")" * count,
        "case": "SELECT " + "CASE WHEN true THEN " * count + "1" + " END" * count,
        "case else": "SELECT " + "CASE WHEN true THEN 1 ELSE " * count + "1" + " END" * count,
        "arrays": "SELECT " + "ARRAY[" * count + "1" + "]" * count,
        "casts": "SELECT 1" + "::int" * count,
        "casts of arrays": "SELECT ARRAY[1]" + "::int[]" * count,
        "calls": "SELECT " + "abs(" * count + "1" + ")" * count,
        "coalesce": "SELECT " + "coalesce(" * count + "1" + ")" * count,
        "rows": "SELECT " + "ROW(" * count + "1" + ")" * count,
        "fields": "SELECT " + "(" * count + "orders" + ").x" * count + " FROM orders",
        "subscripts": "SELECT (ARRAY[1])" + "[1]" * count,
        "subscripts in subscripts": "SELECT " + "(ARRAY[1])[" * count + "1" + "]" * count,
        "joins": "SELECT 1 FROM orders o0" + "".join(f" CROSS JOIN orders o{n}" for n in range(1, count)),
        "joins in joins": "SELECT 1 FROM " + "(" * count + "orders" + " CROSS JOIN orders o)" * count,
        "with": "WITH x AS (" * count + "SELECT 1" + ") SELECT 1" * count,
        "grouping sets": "SELECT 1 GROUP BY GROUPING SETS " + "(GROUPING SETS " * count + "(())" + ")" * count,
        "collate": "SELECT 'a'" + ' COLLATE "C"' * count,
        "at time zone": "SELECT now()" + " AT TIME ZONE 'UTC'" * count,
        "in explain": "EXPLAIN SELECT " + "NOT " * count + "true",
        "in a view": "CREATE VIEW v AS SELECT " + "NOT " * count + "true",
        "in a default": "CREATE TABLE t (x bool DEFAULT (" + "NOT " * count + "true))",
        "in an update": "UPDATE orders SET id = " + "(SELECT " * count + "1" + ")" * count,
        "in a body": "CREATE FUNCTION f() RETURNS bool RETURN " + "NOT " * count + "true",
        "json": "SELECT " + "json_array(" * count + "1" + ")" * count,
        "xml": "SELECT " + "xmlforest(" * count + "1 AS a" + ") " * count,
    }


COUNTS = (100_000, 1000, 480, 340, 240, 120, 60)
WIDE = frozenset({"and", "parentheses", "subscripts"})  # lists of many, or nothing at all, to the parser
STACK = 4 << 20  # bytes: half of what a process's main thread has
TOO_DEEP = "the statement nests too deeply to be described"


def _outcome(server: Server, sql: str, *path: str) -> str:
    found = Describer(16).describe_message(sql.encode(), catalog=server.catalog, names=names(*path))
    return found.message if isinstance(found, SyntaxProblem) else "described"


def _with_little_stack(work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failed.append(error)

    before = threading.stack_size(STACK)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    for error in failed:
        raise error


def test_whatever_nests_is_described_or_refused_and_never_ends_the_process(server: Server) -> None:
    found: dict[tuple[str, int], str] = {}

    def work() -> None:
        for count in COUNTS:
            for kind, sql in _nested(count).items():
                found[kind, count] = _outcome(server, sql)

    _with_little_stack(work)
    for (kind, count), outcome in found.items():
        if count == max(COUNTS) and kind not in WIDE:
            assert outcome != "described", kind
        assert outcome in {"described", TOO_DEEP} or "syntax error" in outcome, (kind, count)
    assert {kind for (kind, count), outcome in found.items() if count == 60 and outcome != "described"} <= NEVER


# Not SQL of any version's grammar, whatever the depth.
NEVER: frozenset[str] = frozenset()


def test_what_the_catalog_holds_counts_too(server: Server) -> None:
    """Views in views, each of many levels, and a type that is an array of an array of …: together they go too deep,
    though neither the message nor one of them does."""
    levels, views, domains = 100, 12, 600
    sql = ["CREATE VIEW deep_0 AS SELECT true AS x", "CREATE DOMAIN deep_type_0 AS int[]"]
    for number in range(1, views):
        nested = "NOT (" * levels + f"(SELECT x FROM deep_{number - 1})" + ")" * levels
        sql.append(f"CREATE VIEW deep_{number} AS SELECT {nested} AS x")
    sql += [f"CREATE DOMAIN deep_type_{number} AS deep_type_{number - 1}[]" for number in range(1, domains)]
    catalog = asyncio.run(_made(server, sql))
    deep = Server(server.dsn, catalog)

    def work() -> None:
        assert _outcome(deep, "SELECT x FROM deep_2") == "described"
        assert _outcome(deep, f"SELECT x FROM deep_{views - 1}") == TOO_DEEP
        assert _outcome(deep, "SELECT NULL::deep_type_20") == "described"
        assert _outcome(deep, f"SELECT NULL::deep_type_{domains - 1}") == TOO_DEEP
        assert _outcome(deep, f"SELECT 1 FROM unnest(NULL::deep_type_{domains - 1}) x") == TOO_DEEP

    _with_little_stack(work)


async def _made(server: Server, statements: list[str]) -> Catalog:
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute("DROP DATABASE IF EXISTS nesting")
        await connection.execute("CREATE DATABASE nesting")
    finally:
        await connection.close()
    dsn = server.dsn.removesuffix("/corpus") + "/nesting"
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(";".join(statements))
    finally:
        await connection.close()
    source = CatalogSource(lambda: asyncpg.connect(dsn))
    await source.start()
    catalog = source.catalog
    await source.close()
    return catalog


def test_every_level_counts_and_one_too_many_is_refused(server: Server) -> None:
    """Without it: the interpreter's own limit, which compiled code has not."""
    facts = Facts()
    for _ in range(MAX_NESTED):
        facts.enter()
    with pytest.raises(NestsTooDeeplyError):
        facts.enter()


def test_definitions_in_definitions_are_followed_so_far_and_then_opaque(server: Server) -> None:
    context = Context(server.catalog, ("pg_catalog",), Facts())
    for _ in range(MAX_DEPTH):
        assert not context.too_deep
        assert not context.facts.opaque
        context = context.inner("view")
    assert context.too_deep
    assert {code for code, _ in context.facts.opaque} == {"too-complex"}
