"""Batches over one open call: in order, each answered for itself, and nothing taken for another's answer."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from twokey.audit.v1 import audit_pb2

from enforcers.core.core import EnforcerCore
from enforcers.core.decision_client import RecordRefusedError
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.record_stream import MAX_BATCH
from tests.enforcers.core.service import ScriptedService


def batch(number: int, *, size: int = 1) -> bytes:
    act = audit_pb2.Act(session="ses_1", operation="x" * size, sequence=number)
    return audit_pb2.RecordActsRequest(acts=[act]).SerializeToString()


def taken(service: ScriptedService) -> list[int]:
    return [act.sequence for act in service.acts()]


async def test_batches_share_a_call(core: EnforcerCore, service: ScriptedService) -> None:
    client = core._client
    for number in range(5):
        assert (await client.record_acts(batch(number))).last_record == 1
    assert taken(service) == [0, 1, 2, 3, 4]
    assert service.record_streams == 1


async def test_a_large_batch_has_a_call_of_its_own(core: EnforcerCore, service: ScriptedService) -> None:
    await core._client.record_acts(batch(1, size=MAX_BATCH))
    assert taken(service) == [1]
    assert service.record_streams == 0


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT])
async def test_what_fails_ends_the_stream_and_is_asked_alone(
    core: EnforcerCore, service: ScriptedService, status: grpc.StatusCode
) -> None:
    client = core._client
    await client.record_acts(batch(1))

    async def fail(_: object) -> grpc.StatusCode:
        return status

    service.record = fail
    with pytest.raises(DecisionUnavailableError, match=status.name):
        await client.record_acts(batch(2))
    refused = status is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(RecordRefusedError if refused else DecisionUnavailableError):
        await client.record_acts(batch(2))
    service.record = None
    await client.record_acts(batch(2))  # alone
    assert service.record_streams == 1
    await client.record_acts(batch(3))
    assert service.record_streams == 2
    assert taken(service) == [1, 2, 3]


async def test_a_late_answer_is_nobodys(
    core: EnforcerCore, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a batch that was given up never acknowledges the next one."""
    client = core._client
    await client.record_acts(batch(1))
    go = asyncio.Event()

    async def wait(request: audit_pb2.RecordActsRequest) -> grpc.StatusCode | None:
        await go.wait()
        return None

    service.record = wait
    with monkeypatch.context() as patched:
        patched.setattr("enforcers.core.decision_client.RECORD_SECONDS", 0.1)
        with pytest.raises(DecisionUnavailableError):
            await client.record_acts(batch(2))
    second = asyncio.ensure_future(client.record_acts(batch(3)))
    done, _ = await asyncio.wait({second}, timeout=0.05)
    assert not done
    go.set()
    async with asyncio.timeout(5):
        await second
    assert taken(service)[-1] == 3
    assert service.record_streams == 1


async def test_a_cancelled_batch_leaves_no_answer_behind(core: EnforcerCore, service: ScriptedService) -> None:
    client = core._client
    go = asyncio.Event()

    async def wait(_: object) -> grpc.StatusCode | None:
        await go.wait()
        return None

    service.record = wait
    first = asyncio.ensure_future(client.record_acts(batch(1)))
    await asyncio.wait({first}, timeout=0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not client._records.usable(batch(2))
    go.set()
    service.record = None
    await client.record_acts(batch(2))
    assert client._records.usable(batch(3))


async def test_the_service_stops_and_comes_back(core: EnforcerCore, service: ScriptedService) -> None:
    client = core._client
    await client.record_acts(batch(1))
    assert service.server is not None
    await service.server.stop(None)
    with pytest.raises(DecisionUnavailableError):
        await client.record_acts(batch(2))
    with pytest.raises(DecisionUnavailableError):
        await client.record_acts(batch(2))
