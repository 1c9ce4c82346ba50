"""A scripted decision service and a core connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from enforcers.core.core import EnforcerCore, running_core
from enforcers.core.gate import SessionGate
from tests.enforcers.core.service import Authority, ScriptedService, settings_for, start_service


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def service(authority: Authority) -> AsyncIterator[ScriptedService]:
    scripted = ScriptedService()
    server, port = await start_service(scripted, authority)
    scripted.port, scripted.server = port, server
    yield scripted
    await scripted.server.stop(None)


@pytest.fixture
async def core(service: ScriptedService, authority: Authority) -> AsyncIterator[EnforcerCore]:
    async with running_core(settings_for(authority, service.port), protocol="postgres") as running:
        assert await running.ready(5)
        yield running


async def open_gate(core: EnforcerCore, on_revoked: Callable[[str], None] = lambda _: None) -> SessionGate:
    gate = await core.open_session(
        token="t", connection="crm", role="planner", client_address="127.0.0.1:1", on_revoked=on_revoked
    )
    assert isinstance(gate, SessionGate), gate
    return gate


@pytest.fixture
async def gate(core: EnforcerCore) -> AsyncIterator[SessionGate]:
    opened = await open_gate(core)
    yield opened
    await opened.close("test over")
