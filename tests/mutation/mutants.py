"""Every small change of a module that takes a rule away: an entry, a branch, a condition, a call, an operand, a flag.

A mutant is named by the function that it changes and by what it does there, with a number where a function has several
of one kind, so that its name stays while other functions change.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# What a function that is left at once gives back, by the annotation of its result.
_EMPTY = {
    "Value": "__import__('enforcers.postgres.describe.lineage', fromlist=['NOTHING']).NOTHING",
    "Sources": "{}",
    "None": "None",
    "bool": "False",
    "str": "''",
    "int": "0",
}
_HEADS = {"list": "[]", "set": "set()", "dict": "{}", "tuple": "()"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """rule: it takes away an entry of a table, a reported inference or flow, or a whole function."""

    module: str  # as in lineage.py
    name: str
    what: str  # the text that goes
    line: int
    rule: bool
    point: int  # which of the changes of this module it is

    @property
    def key(self) -> str:
        return f"{self.module}:{self.name}"


@dataclass(frozen=True, slots=True)
class _Change:
    kind: str
    node: ast.AST
    make: Callable[[], None]  # changes the tree that was walked
    rule: bool = False
    shown: ast.AST | None = None


def mutants(path: Path) -> list[Mutant]:
    found = []
    counted: Counter[str] = Counter()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for point, (where, change) in enumerate(_changes(tree)):
        shown = ast.unparse(change.shown or change.node).split("\n")[0][:80]
        name = f"{where}:{change.kind}:{shown[:50]}"
        counted[name] += 1
        if counted[name] > 1:
            name += f"#{counted[name]}"
        found.append(Mutant(path.name, name, shown, getattr(change.node, "lineno", 1), change.rule, point))
    return found


def source(path: Path, point: int) -> ast.Module:
    """The module with one change made."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for number, (_, change) in enumerate(_changes(tree)):
        if number == point:
            change.make()
            return ast.fix_missing_locations(tree)
    raise IndexError(point)


def _changes(tree: ast.Module) -> Iterator[tuple[str, _Change]]:
    for where, node in _walk(tree, ""):
        for change in _of(node):
            yield where or "module", change


def _walk(node: ast.AST, where: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        below = where
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            below = f"{where}.{child.name}" if where else child.name
        yield below, child
        yield from _walk(child, below)


def _of(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.FunctionDef):
        yield from _left_at_once(node)
    elif isinstance(node, ast.Dict):
        yield from _entries(node)
    elif isinstance(node, ast.Set):
        yield from _elements(node, rule=True)
    elif isinstance(node, ast.Call):
        yield from _arguments(node)
    elif isinstance(node, ast.BoolOp):
        for index in range(len(node.values)):
            yield _Change("operand", node, lambda i=index: _drop_operand(node, i), shown=node.values[index])  # type: ignore[misc]  # a default binds the index
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield _Change("negated", node, lambda: _negate(node, "test"), shown=node.test)
    elif isinstance(node, ast.comprehension):
        for index, condition in enumerate(node.ifs):
            yield _Change("filter", condition, lambda i=index: _without(node.ifs, i), shown=condition)  # type: ignore[misc]  # as above
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Compare):
        yield _Change("negated", node, lambda: _negate(node, "value"))
    yield from _statements(node)


def _statements(node: ast.AST) -> Iterator[_Change]:
    """Calls for their effect, and what is added to a variable."""
    for name in ("body", "orelse"):
        body = getattr(node, name, None)
        if not isinstance(body, list):
            continue
        for index, item in enumerate(body):
            effect = isinstance(item, ast.Expr) and isinstance(item.value, ast.Call)
            if effect or isinstance(item, ast.AugAssign):
                text = ast.unparse(item)
                rule = any(word in text for word in (".infer(", ".told(", ".flow(", "|="))
                yield _Change("dropped", item, lambda b=body, i=index: _pass(b, i), rule)  # type: ignore[misc]  # as above


def _pass(body: list[ast.stmt], index: int) -> None:
    body[index] = ast.copy_location(ast.Pass(), body[index])


def _left_at_once(node: ast.FunctionDef) -> Iterator[_Change]:
    given = ast.unparse(node.returns) if node.returns else "None"
    if " | None" in given:
        given = "None"
    empty = _EMPTY.get(given, _HEADS.get(given.split("[")[0], ""))
    if given in {"bool", "str"}:
        other = "True" if given == "bool" else "'anything'"
        yield _Change("always", node, lambda: _leave(node, other), rule=True, shown=ast.Name(node.name))
    if empty:
        yield _Change("left", node, lambda: _leave(node, empty), rule=True, shown=ast.Name(node.name))


def _leave(node: ast.FunctionDef, value: str) -> None:
    node.body = [ast.copy_location(ast.Return(ast.parse(value, mode="eval").body), node.body[0])]


def _entries(node: ast.Dict) -> Iterator[_Change]:
    for index, key in enumerate(node.keys):
        if key is not None and len(node.keys) > 1:
            yield _Change("entry", key, lambda i=index: _drop_entry(node, i), rule=True, shown=key)  # type: ignore[misc]  # as above


def _drop_entry(node: ast.Dict, index: int) -> None:
    del node.keys[index], node.values[index]


def _elements(node: ast.List | ast.Set | ast.Tuple, *, rule: bool) -> Iterator[_Change]:
    for index, element in enumerate(node.elts):
        if len(node.elts) > 1:
            yield _Change("element", element, lambda i=index: _without(node.elts, i), rule, element)  # type: ignore[misc]  # as above


def _arguments(node: ast.Call) -> Iterator[_Change]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    for argument in node.args:
        if isinstance(argument, ast.List):
            yield from _elements(argument, rule=called in {"frozenset", "joined", "computed", "either"})
    if called in {"infer", "flow"} and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        kind = node.args[1]
        if kind.value == "unlisted":
            return
        yield _Change("kind", node, lambda: setattr(kind, "value", "unlisted"), rule=True)
    for keyword in node.keywords:
        flag = keyword.value
        if isinstance(flag, ast.Constant) and isinstance(flag.value, bool):
            yield _Change("flag", node, lambda f=flag: setattr(f, "value", not f.value), shown=keyword)  # type: ignore[misc]  # as above


def _without(nodes: list[ast.expr], index: int) -> None:
    del nodes[index]


def _drop_operand(node: ast.BoolOp, index: int) -> None:
    del node.values[index]
    if len(node.values) == 1:
        node.values *= 2  # no Python has an operator of one operand


def _negate(node: ast.AST, name: str) -> None:
    value = getattr(node, name)
    setattr(node, name, ast.copy_location(ast.UnaryOp(ast.Not(), value), value))
