"""The application that the tests ask as. One service for a file: each starts an OPA of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.decision.authzen.support import Pep, opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pep]:
    async with opened(tmp_path_factory.mktemp("authzen")) as found:
        yield found


@pytest.fixture
def pep(service: Pep) -> Pep:
    return Pep(service.run, service.http)
