"""PostgreSQL's regression suite goes through description without a crash: a sample of it (regress.py takes it all)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.corpus.regress import Coverage, Suite, describe, script

_EVERY = 10  # statements


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with Suite() as made:
        yield made


@pytest.mark.timeout(240)
def test_no_statement_of_the_suite_crashes_the_description(suite: Suite) -> None:
    catalog = suite.common()
    total = Coverage()
    for path in suite.files():
        total.add(describe(script(path)[::_EVERY], catalog, where=path.name))
    assert total.crashes == []
    assert total.statements > 3000
    assert total.full > total.statements / 4


def test_a_file_is_split_into_statements(suite: Suite) -> None:
    statements = script(suite.sql / "select.sql")
    assert len(statements) > 60
    assert not any(line.startswith("\\") for text in statements for line in text.split("\n"))
