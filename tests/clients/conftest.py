"""One stage for the whole run: two servers, a gateway whose policy allows everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.stage import Stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/clients/" in str(item.path) and "stage" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)
