"""Random statements of a masked role: a fixed run of what `make fuzz` does for longer (judge.py)."""

from __future__ import annotations

import pytest

from tests.corpus import worlds
from tests.corpus.field import Field
from tests.corpus.generate import statement
from tests.corpus.judge import run

_STATEMENTS = 400


@pytest.mark.target
@pytest.mark.timeout(240)
def test_random_statements_tell_no_secret_and_are_not_changed_without_one(field: Field) -> None:
    found, counted = run(field, seed=0, first=0, count=_STATEMENTS)
    assert not found, f"{len(found)} found\n" + "\n".join(found)
    assert min(counted[kind] for kind in ("untouched", "denied", "answered")) > _STATEMENTS // 20, counted


def test_a_statement_is_the_same_each_time() -> None:
    assert statement(worlds.make(3), 5, 7) == statement(worlds.make(3), 5, 7)
    assert len({statement(worlds.make(3), 5, number).text for number in range(50)}) > 40
