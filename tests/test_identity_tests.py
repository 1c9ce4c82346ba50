"""docs/identity-tests.md is whole and true: every line is there, with a test that exists and carries its name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "identity-tests.md").read_text(encoding="utf-8")
LINES = [
    *(f"T{number}" for number in range(1, 29)),
    *(f"DP-{number}" for number in range(1, 17)),
    *(f"TX-{number}" for number in range(1, 6)),
    *(f"JT-{number}" for number in range(1, 6)),
    *(f"JK-{number}" for number in range(1, 7)),
    "SP-1",
    *(f"RB-{number}" for number in range(1, 7)),
    *(f"AZ-{number}" for number in (1, 2, 3, 4, 6, 7)),
    *(f"AR-{number}" for number in range(1, 12)),
    *(f"OB-{number}" for number in range(1, 5)),
]
ROWS = {
    found[1]: found[2] for found in re.finditer(r"^\| ([A-Z]+-?[0-9]+) \| [^|]+ \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
}
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_line_is_there() -> None:
    assert list(ROWS) == LINES


@pytest.mark.parametrize("line", LINES)
def test_a_line_has_a_test_of_its_name(line: str) -> None:
    family, number = re.fullmatch(r"([A-Z]+)-?([0-9]+)", line).groups()  # type: ignore[union-attr] # LINES are such
    name = f"t{number}" if family == "T" else f"{family.lower()}_{number}"
    other = {"DP": f"dpop_{number}", "RB": f"rb{number}"}
    names = [name, other[family]] if family in other else [name]
    named = [test for _, test in TEST.findall(ROWS[line]) if any(f"_{one}_" in test for one in names)]
    assert named, f"{line}: no test is named after it"


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(DOCUMENT)
    assert len(named) > 100
    assert [f"{path}::{test}" for path, test in named if test not in names_in(path)] == []
