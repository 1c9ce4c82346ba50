"""decision.rpc.describe_hub: bounded questions, answers only from the stream that was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from twokey.enforcer.v1 import describe_pb2

from decision.errors import BadRequestError, PolicyUnavailableError
from decision.rpc import describe_hub
from decision.rpc.describe_hub import DescribeHub


class Stream:
    """One enforcer's side of Attach, without a network."""

    def __init__(self, hub: DescribeHub, *first: describe_pb2.AttachRequest) -> None:
        self.up: asyncio.Queue[describe_pb2.AttachRequest | None] = asyncio.Queue()
        self.down: asyncio.Queue[describe_pb2.AttachResponse] = asyncio.Queue()
        for message in first:
            self.up.put_nowait(message)
        self.task = asyncio.ensure_future(hub.Attach(self._requests(), self))

    async def _requests(self) -> AsyncIterator[describe_pb2.AttachRequest]:
        while (message := await self.up.get()) is not None:
            yield message

    async def write(self, message: describe_pb2.AttachResponse) -> None:
        await self.down.put(message)

    async def end(self) -> None:
        self.up.put_nowait(None)
        await self.task


def hello(*connections: str) -> describe_pb2.AttachRequest:
    return describe_pb2.AttachRequest(hello=describe_pb2.Hello(enforcer="e", connections=connections))


async def attached(hub: DescribeHub) -> Stream:
    stream = Stream(hub, hello("crm"))
    while "crm" not in hub.connections:  # noqa: ASYNC110 - its task has to run first
        await asyncio.sleep(0)
    return stream


async def test_a_question_goes_down_and_its_answer_comes_up() -> None:
    hub = DescribeHub()
    stream = await attached(hub)
    asking = asyncio.ensure_future(hub.describe("crm", "planner", b"SELECT 1"))
    question = await stream.down.get()
    assert question.describe.statement == b"SELECT 1"
    answer = describe_pb2.AttachRequest(question=question.question)
    answer.operation.id = "op_1"
    stream.up.put_nowait(answer)
    assert (await asking).id == "op_1"
    await stream.end()
    assert not hub.connections


async def test_another_streams_answer_and_another_kind_of_answer_are_not_believed() -> None:
    hub = DescribeHub()
    stream = await attached(hub)
    other = Stream(hub, hello("hr"))
    asking = asyncio.ensure_future(hub.estimate("crm", "planner", b"SELECT 1"))
    question = await stream.down.get()
    forged = describe_pb2.AttachRequest(question=question.question)
    forged.estimate.unknown = True
    other.up.put_nowait(forged)
    await other.end()
    assert not asking.done()
    wrong = describe_pb2.AttachRequest(question=question.question)
    wrong.operation.id = "op_1"
    stream.up.put_nowait(wrong)
    with pytest.raises(PolicyUnavailableError, match="another question"):
        await asking
    await stream.end()


async def test_without_an_enforcer_or_an_answer_it_is_unavailable() -> None:
    hub = DescribeHub(deadline_s=0.05)
    with pytest.raises(PolicyUnavailableError, match="no enforcer"):
        await hub.describe("crm", "planner", b"")
    stream = await attached(hub)
    with pytest.raises(PolicyUnavailableError, match="in time"):
        await hub.describe("crm", "planner", b"")
    asking = asyncio.ensure_future(hub.describe("crm", "planner", b""))
    await stream.down.get()
    await stream.down.get()
    await stream.end()
    with pytest.raises(PolicyUnavailableError, match="went away"):
        await asking


async def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe_hub, "MAX_PENDING", 1)
    hub = DescribeHub(deadline_s=5)
    stream = await attached(hub)
    asking = asyncio.ensure_future(hub.describe("crm", "planner", b""))
    await stream.down.get()
    with pytest.raises(PolicyUnavailableError, match="too many"):
        await hub.describe("crm", "planner", b"")
    await stream.end()
    await asyncio.wait([asking])
    assert isinstance(asking.exception(), PolicyUnavailableError)


@pytest.mark.parametrize("first", [[], [describe_pb2.AttachRequest()], [describe_pb2.AttachRequest(error="x")]])
async def test_the_first_message_is_a_hello(first: list[Any]) -> None:
    stream = Stream(DescribeHub(), *first)
    stream.up.put_nowait(None)
    with pytest.raises(BadRequestError):
        await stream.task
