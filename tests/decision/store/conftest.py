from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from decision.store.engine import Store, open_store
from tests.decision.store.support import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/twokey.db"


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(url, clock=clock)
    yield opened
    await opened.close()
