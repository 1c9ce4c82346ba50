"""The recorder: order, batches, retries with the same content, and a poisoned record that harms only its session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from twokey.audit.v1 import audit_pb2

from enforcers.core import acts
from enforcers.core.decision_client import RecordRefusedError
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.recorder import BATCH_ACTS, BATCH_BYTES, Recorder
from enforcers.core.records import ActRecord, Window


class Log:
    """In the client's place: counts what reached the log, and fails as told."""

    def __init__(self) -> None:
        self.taken: list[audit_pb2.Act] = []
        self.batches: list[int] = []
        self.tried: list[bytes] = []
        self.fail: Callable[[audit_pb2.RecordActsRequest], Awaitable[None]] | None = None

    async def record_acts(self, encoded: bytes) -> audit_pb2.RecordActsResponse:
        self.tried.append(encoded)
        request = audit_pb2.RecordActsRequest.FromString(encoded)
        if self.fail is not None:
            await self.fail(request)
        self.taken += request.acts
        self.batches.append(len(request.acts))
        return audit_pb2.RecordActsResponse()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def recorder(log: Log, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Recorder]:
    monkeypatch.setattr("enforcers.core.recorder.RETRY_SECONDS", 0.001)
    made = Recorder(log)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        yield made
        running.cancel()


def put(recorder: Recorder, window: Window, number: int, size: int = 100) -> None:
    head = acts.head(acts.session_field("ses_1"), "", number)
    recorder.add(ActRecord("ses_1", head, b"", window, queued=time.monotonic(), size=size))


async def test_a_burst_is_batched_and_in_order(recorder: Recorder, log: Log) -> None:
    window = Window()
    for number in range(2000):
        put(recorder, window, number)
    assert await recorder.flush_all()
    assert [act.sequence for act in log.taken] == list(range(2000))
    assert max(log.batches) == BATCH_ACTS
    assert len(log.batches) == 4
    assert recorder.pending == 0
    assert recorder._bytes == 0


async def test_a_batch_is_bounded_in_bytes_and_a_large_act_goes_alone(recorder: Recorder, log: Log) -> None:
    window = Window()
    for number in range(3):
        put(recorder, window, number, BATCH_BYTES + 1)
    assert await recorder.flush_all()
    assert log.batches == [1, 1, 1]


async def test_a_failed_batch_is_sent_again_as_it_was(recorder: Recorder, log: Log) -> None:
    left = 3

    async def fail(_: audit_pb2.RecordActsRequest) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            put(recorder, window, 100 + left)
            raise DecisionUnavailableError("RecordActs: UNAVAILABLE")

    log.fail = fail
    window = Window()
    put(recorder, window, 1)
    put(recorder, window, 2)
    assert await recorder.flush_all()
    assert len(set(log.tried[:4])) == 1
    assert [act.sequence for act in log.taken] == [1, 2, 102, 101, 100]


async def test_a_poisoned_record_breaks_only_its_session(recorder: Recorder, log: Log) -> None:
    async def fail(request: audit_pb2.RecordActsRequest) -> None:
        if any(act.sequence == 13 for act in request.acts):
            raise RecordRefusedError("RecordActs: INVALID_ARGUMENT")

    log.fail = fail
    good, bad = Window(), Window()
    for number in range(100):
        put(recorder, bad if number == 13 else good, number)
    assert await recorder.flush(good)
    assert not await recorder.flush(bad)
    assert [act.sequence for act in log.taken] == [number for number in range(100) if number != 13]
    with pytest.raises(DecisionUnavailableError):
        await recorder.room(bad, 10, 1.0)
    await recorder.room(good, 10, 1.0)


async def test_a_fault_inside_the_service_at_one_record_does_not_stop_the_others(recorder: Recorder, log: Log) -> None:
    async def fail(request: audit_pb2.RecordActsRequest) -> None:
        if any(act.sequence == 2 for act in request.acts):
            raise DecisionUnavailableError("RecordActs: INTERNAL")

    log.fail = fail
    good, bad = Window(), Window()
    for number in range(4):
        put(recorder, bad if number == 2 else good, number)
    assert await recorder.flush(good)
    assert bad.broken or bad.pending
    assert not await recorder.flush(bad)


async def test_unreachable_never_counts_as_a_fault(recorder: Recorder, log: Log) -> None:
    left = 60

    async def fail(_: audit_pb2.RecordActsRequest) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            raise DecisionUnavailableError(f"RecordActs: {grpc.StatusCode.UNAVAILABLE.name}")

    log.fail = fail
    window = Window()
    put(recorder, window, 1)
    assert await recorder.flush_all()
    assert not window.broken


async def test_memory_is_bounded_for_everyone(recorder: Recorder, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enforcers.core.recorder.MAX_PENDING_BYTES", 1000)
    go = asyncio.Event()

    async def fail(_: audit_pb2.RecordActsRequest) -> None:
        await go.wait()

    log.fail = fail
    greedy, other = Window(), Window()
    put(recorder, greedy, 1, 2000)
    waiting = asyncio.ensure_future(recorder.room(other, 10, 10.0))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    go.set()
    async with asyncio.timeout(5):
        await waiting


async def test_flush_all_is_bounded(recorder: Recorder, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enforcers.core.recorder.CLOSE_PATIENCE", 0.05)

    async def fail(_: audit_pb2.RecordActsRequest) -> None:
        raise DecisionUnavailableError("RecordActs: UNAVAILABLE")

    log.fail = fail
    window = Window()
    put(recorder, window, 1)
    assert not await recorder.flush_all()
    assert not await recorder.flush(window)


def test_window_counts_records_and_time() -> None:
    window = Window()
    assert window.room(1, 1.0, 10.0)
    window.pending.append(10.0)
    assert not window.room(1, 1.0, 10.0)
    assert window.room(2, 1.0, 10.9)
    assert not window.room(2, 1.0, 11.0)
    window.broken = True
    assert not window.room(100, 100.0, 10.0)
