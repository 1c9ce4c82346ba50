"""Questions over one open call: none waits for another, none fails with another, none is sent twice."""

from __future__ import annotations

import asyncio

import pytest
from twokey.decision.v1 import decision_pb2

from enforcers.core import decide_stream
from enforcers.core.core import EnforcerCore
from enforcers.core.decide_stream import DecideStream, Requests, Responses
from enforcers.core.errors import DecisionUnavailableError
from tests.enforcers.core.service import ScriptedService, allow, always_allow, operation


def request(number: int = 1, *, size: int = 0) -> decision_pb2.DecideRequest:
    made = decision_pb2.DecideRequest(session="ses_1", operation=operation(number), sequence=number)
    made.operation.sql.values.statement = b"x" * size
    return made


def takes(stream: DecideStream, number: int = 1) -> bool:
    return stream.takes(f"op_{number}", request(number).SerializeToString())


async def streaming(core: EnforcerCore) -> None:
    async with asyncio.timeout(5):
        while not takes(core._client._decisions):  # noqa: ASYNC110 - a network away
            await asyncio.sleep(0.001)


async def test_a_slow_question_holds_up_nobody(core: EnforcerCore, service: ScriptedService) -> None:
    await streaming(core)
    go = asyncio.Event()

    async def decide(asked: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        if asked.operation.id == "op_1":
            await go.wait()
        answer = allow()
        answer.operation = asked.operation.id
        return answer

    service.decide = decide
    client = core._client
    slow = asyncio.ensure_future(client.decide(request(1)))
    quick = await asyncio.gather(*(client.decide(request(number)) for number in range(2, 40)))
    assert [answer.operation for answer in quick] == [f"op_{number}" for number in range(2, 40)]
    assert not slow.done()
    go.set()
    assert (await slow).operation == "op_1"
    assert len(service.streamed) == 39
    assert service.streams == 1


async def test_a_large_question_has_a_call_of_its_own(core: EnforcerCore, service: ScriptedService) -> None:
    await streaming(core)
    await core._client.decide(request(1, size=decide_stream.MAX_QUESTION))
    await core._client.decide(request(2))
    assert [len(service.decided), [asked.operation.id for asked in service.streamed]] == [2, ["op_2"]]


async def test_a_late_answer_is_never_a_later_questions(
    core: EnforcerCore, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same operation is asked again (a redemption is): the first answer, come late, must not pass for it."""
    await streaming(core)
    monkeypatch.setattr("enforcers.core.decision_client.DECIDE_SECONDS", 0.1)
    go = asyncio.Event()

    async def decide(asked: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        if asked.sequence == 1:
            await go.wait()
        answer = allow()
        answer.record = asked.sequence
        return answer

    service.decide = decide
    with pytest.raises(DecisionUnavailableError):
        await core._client.decide(request(1))
    monkeypatch.setattr("enforcers.core.decision_client.DECIDE_SECONDS", 5.0)
    again = request(1)
    again.sequence = 2
    assert (await core._client.decide(again)).record == 2  # by a call of its own
    go.set()
    await streaming(core)  # the late answer came, and the operation may be asked about again
    again.sequence = 3
    assert (await core._client.decide(again)).record == 3
    assert [asked.sequence for asked in service.streamed] == [1, 3]


async def test_a_broken_stream_answers_nothing_twice_and_comes_back(
    core: EnforcerCore, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await streaming(core)
    monkeypatch.setattr(decide_stream, "RETRY_SECONDS", 0.01)

    async def decide(asked: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        if asked.operation.id == "op_2":
            answer = allow()
            answer.operation = "op_nobody's"
            return answer
        return await asyncio.Event().wait() or allow()

    service.decide = decide
    first = asyncio.ensure_future(core._client.decide(request(1)))
    while not service.streamed:  # noqa: ASYNC110 - a network away
        await asyncio.sleep(0.001)
    second = asyncio.ensure_future(core._client.decide(request(2)))
    for asked in (first, second):
        with pytest.raises(DecisionUnavailableError):
            await asked
    assert len(service.decided) == 2
    await streaming(core)
    service.decide = always_allow
    assert (await core._client.decide(request(3))).HasField("decision")
    assert (len(service.streamed), service.streams) == (3, 2)


async def test_a_question_that_failed_at_the_service_allows_nothing(
    core: EnforcerCore, service: ScriptedService
) -> None:
    await streaming(core)

    async def decide(asked: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        return decision_pb2.DecideResponse(operation=asked.operation.id, record=-1)

    service.decide = decide
    with pytest.raises(DecisionUnavailableError, match="failed"):
        await core._client.decide(request(1))
    assert service.streams == 1


async def test_a_service_without_streams_is_asked_call_by_call() -> None:
    opened = 0

    async def open_call(_requests: Requests) -> Responses:
        nonlocal opened
        opened += 1
        raise decide_stream.StreamRefusedError
        yield

    stream = DecideStream(open_call)
    async with asyncio.timeout(5):
        await stream.run()
    assert opened == 1
    assert not takes(stream)
    with pytest.raises(DecisionUnavailableError):
        await stream.ask("op_1", request().SerializeToString())


async def test_questions_without_an_answer_are_bounded() -> None:
    async def open_call(requests: Requests) -> Responses:
        async for _ in requests:
            pass
        yield decision_pb2.DecideResponse()

    stream = DecideStream(open_call)
    running = asyncio.ensure_future(stream.run())
    await asyncio.sleep(0)
    asked = [
        asyncio.ensure_future(stream.ask(f"op_{number}", request(number).SerializeToString()))
        for number in range(decide_stream.AT_ONCE)
    ]
    await asyncio.sleep(0)
    assert not takes(stream, decide_stream.AT_ONCE)
    for one in asked[:10]:
        one.cancel()
    await asyncio.sleep(0)
    assert not takes(stream, decide_stream.AT_ONCE)  # given up is not answered
    running.cancel()
    done = await asyncio.gather(*asked, running, return_exceptions=True)
    assert all(isinstance(error, DecisionUnavailableError | asyncio.CancelledError) for error in done)
    assert not takes(stream)
