"""The engine over the real OPA, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from decision.policy.engine import Engine
from tests.decision.policy.support import Events, start


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def engine(tmp_path: Path, events: Events) -> AsyncIterator[Engine]:
    engine = await start(tmp_path, events)
    yield engine
    await engine.close()
