"""docs/gateway-tests.md is true: every promise has tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_identity_tests import TEST, names_in

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "gateway-tests.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!promise|---)([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)


def test_every_promise_has_tests_that_exist() -> None:
    assert len(ROWS) > 40
    for promise, tests in ROWS:
        named = TEST.findall(tests)
        assert len(named) == tests.count("`") // 2 > 0, promise
        assert [f"{path}::{test}" for path, test in named if test not in names_in(path)] == [], promise
