"""docs/approval-attacks.md is whole and true: every line is tried by tests that exist, or said not to be tried yet."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_identity_tests import TEST, names_in

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "approval-attacks.md").read_text(encoding="utf-8")
TRIED, NOT_YET = DOCUMENT.split("## Not tried here yet")
ROWS = dict(re.findall(r"^\| (A[0-9]+) \| [^|]+ \| ([^|]+) \|$", TRIED, re.MULTILINE))


def test_every_line_is_tried_or_said_not_to_be() -> None:
    open_ones = set(re.findall(r"\bA[0-9]+\b", NOT_YET)) - {"A26"}
    assert not open_ones & set(ROWS)
    assert open_ones | set(ROWS) == {f"A{number}" for number in range(1, 38)}


def test_every_test_that_is_named_exists() -> None:
    for line, tests in ROWS.items():
        named = TEST.findall(tests)
        assert named, line
        assert [f"{path}::{test}" for path, test in named if test not in names_in(path)] == []
