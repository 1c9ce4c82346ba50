"""What may stand in a module that is compiled."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tools.compile import MODULES, ROOT

WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield, ast.YieldFrom)
AT_ONCE = ("asyncio.timeout(", "self._lock", "self._starting")  # leaving these never waits


def waits_while_handling(text: str) -> Iterator[tuple[int, str]]:
    """Line and code of what a coroutine may be suspended at while it handles an exception. Compiled by mypyc, it
    leaves that exception set for the whole thread then: others' errors get it as their context, and keep it alive."""
    for node in ast.walk(ast.parse(text)):
        handling: list[ast.stmt] = []
        if isinstance(node, ast.Try):
            handling = [statement for handler in node.handlers for statement in handler.body] + node.finalbody
        if isinstance(node, ast.AsyncWith):
            for item in node.items:
                if not ast.unparse(item).startswith(AT_ONCE):
                    yield node.lineno, ast.unparse(item)
        for statement in handling:
            for inner in ast.walk(statement):
                if isinstance(inner, WAITS):
                    yield inner.lineno, ast.unparse(inner)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_waits_while_it_handles_an_exception(name: str) -> None:
    assert list(waits_while_handling((ROOT / name).read_text())) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("async def f():\n try:\n  await a\n except E:\n  x()\n", 0),
        ("async def f():\n try:\n  x()\n except E:\n  await a\n", 1),
        ("async def f():\n try:\n  x()\n finally:\n  if y:\n   await a\n", 1),
        ("async def f():\n async with asyncio.timeout(3):\n  await a\n", 0),
        ("async def f():\n async with asyncio.TaskGroup() as group:\n  await a\n", 1),
    ],
)
def test_the_check_itself(text: str, found: int) -> None:
    assert len(list(waits_while_handling(text))) == found
