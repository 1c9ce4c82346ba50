"""One field for the whole run: attacks, benign work and the generator share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.corpus.field import Field


@pytest.fixture(scope="session")
def field() -> Iterator[Field]:
    with Field() as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/corpus/" in str(item.path) and "field" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)
