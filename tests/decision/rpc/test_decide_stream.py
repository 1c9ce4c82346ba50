"""One DecideStream at the service: answers in any order, failures for themselves, an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from twokey.decision.v1 import decision_pb2

from decision.errors import PolicyError
from decision.model import new_id
from decision.rpc.decide_stream import DecideStream
from decision.rpc.supervise import Supervisor
from tests.decision.running import Running, operation, running


def request(name: str) -> decision_pb2.DecideRequest:
    asked = decision_pb2.DecideRequest()
    asked.operation.id = name
    return asked


class Caller:
    """Asks what is put, keeps what is answered."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[decision_pb2.DecideRequest | None] = asyncio.Queue()
        self.answers: asyncio.Queue[decision_pb2.DecideResponse] = asyncio.Queue()
        self.go = asyncio.Event()

    async def requests(self) -> AsyncIterator[decision_pb2.DecideRequest]:
        while (asked := await self.questions.get()) is not None:
            yield asked

    async def decide(self, asked: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        if asked.operation.id == "slow":
            await self.go.wait()
        if asked.operation.id == "odd":
            raise ValueError("canary-secret of the caller")
        if asked.operation.id == "refused":
            raise PolicyError("parameters that can't be sent")
        response = decision_pb2.DecideResponse(operation=asked.operation.id)
        response.decision.id = "dec_1"
        return response

    async def write(self, response: decision_pb2.DecideResponse) -> None:
        self.answers.put_nowait(response)

    def begin(self, supervisor: Supervisor | None = None) -> asyncio.Task[None]:
        stream = DecideStream(supervisor or Supervisor(), decide=self.decide, write=self.write)
        return asyncio.ensure_future(stream.serve(self.requests()))

    def ask(self, *names: str) -> None:
        for name in names:
            self.questions.put_nowait(request(name))

    async def answered(self, count: int) -> list[tuple[str, bool]]:
        async with asyncio.timeout(5):
            got = [await self.answers.get() for _ in range(count)]
        return [(answer.operation, answer.HasField("decision")) for answer in got]


async def test_answers_come_as_they_are_ready_and_all_come_before_the_end() -> None:
    caller = Caller()
    serving = caller.begin()
    caller.ask("slow", "a", "b")
    assert await caller.answered(2) == [("a", True), ("b", True)]
    caller.questions.put_nowait(None)
    await asyncio.sleep(0)
    assert not serving.done()
    caller.go.set()
    await serving
    assert await caller.answered(1) == [("slow", True)]


async def test_a_question_that_fails_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    caller = Caller()
    serving = caller.begin()
    caller.ask("slow", "odd", "refused", "a")
    assert sorted(await caller.answered(3)) == [("a", True), ("odd", False), ("refused", False)]
    caller.go.set()
    assert await caller.answered(1) == [("slow", True)]
    caller.questions.put_nowait(None)
    await serving
    shown = capsys.readouterr()
    assert "canary" not in shown.out + shown.err
    assert "ValueError" in shown.out


async def test_too_much_at_once_is_answered_so() -> None:
    caller = Caller()
    serving = caller.begin(Supervisor(limit=1))
    caller.ask("slow", "a")
    assert await caller.answered(1) == [("a", False)]
    caller.go.set()
    assert await caller.answered(1) == [("slow", True)]
    caller.ask("b")
    assert await caller.answered(1) == [("b", True)]
    caller.questions.put_nowait(None)
    await serving


async def test_a_draining_service_still_answers_what_it_decides() -> None:
    caller = Caller()
    serving = caller.begin()
    caller.ask("slow")
    await asyncio.sleep(0.01)
    serving.cancel()
    await asyncio.sleep(0)
    caller.go.set()
    assert await caller.answered(1) == [("slow", True)]
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_what_a_lost_caller_asked_is_decided_all_the_same() -> None:
    caller = Caller()
    supervisor = Supervisor()
    serving = caller.begin(supervisor)
    caller.ask("slow")
    await asyncio.sleep(0.01)
    serving.cancel()
    caller.go.set()
    await supervisor.drain(5)
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert await caller.answered(1) == [("slow", True)]


@pytest.fixture
async def run(tmp_path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


async def test_many_at_once_over_the_wire_each_recorded(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    before = run.service.log.size
    stream = run.decision.DecideStream(metadata=run.enforcer)
    asked = []
    for number in range(50):
        one = operation(f"SELECT {number}", "select")
        one.id = new_id("op")
        asked.append(one.id)
        await stream.write(decision_pb2.DecideRequest(session=session, operation=one, sequence=number))
    async with asyncio.timeout(20):
        answers = [await stream.read() for _ in asked]
    assert {answer.operation for answer in answers} == set(asked)
    assert sorted(answer.record for answer in answers) == list(range(before, before + 50))
    smuggled = decision_pb2.DecideRequest(session=session, operation=operation("SELECT 1", "select"))
    smuggled.MergeFromString(b"\xfa\x7f\x01x")  # field 2047, which nobody here knows
    await stream.write(smuggled)
    assert await refused(stream) == "INVALID_ARGUMENT"


async def refused(stream) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(10):
            await stream.read()
    return caught.value.code().name
