"""One real stack for the whole run: PostgreSQL, OPA, the decision service, the gateway, the dev issuer.

`stack` is shared: leave the database as you found it (or use `own_stack`, which is made for one test and may be
killed, filled and broken). Helpers are methods of `decision.cli.demo.stack.Stack`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.obliged import obliged_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture(scope="session")
def obliged() -> Iterator[Stack]:
    """With obligations (tests/e2e/obliged.py); leave its tables as you found them."""
    with obliged_stack() as running:
        yield running


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
