"""DescribeService's questions, over the real stream."""

from __future__ import annotations

import asyncio

from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import operation_pb2

from enforcers.core.core import EnforcerCore
from enforcers.core.errors import DescribeError
from tests.enforcers.core.service import ScriptedService, operation


class Scripted:
    async def describe(self, question: describe_pb2.DescribeQuestion) -> operation_pb2.Operation:
        if question.role == "nobody":
            raise DescribeError("no such role")
        if question.role == "slow":
            await asyncio.Event().wait()
        return operation(5)

    async def estimate(self, question: describe_pb2.EstimateQuestion) -> describe_pb2.EstimateAnswer:
        return describe_pb2.EstimateAnswer(unknown=True, why="it writes")

    async def catalog_dump(self, question: describe_pb2.CatalogDumpQuestion) -> bytes:
        return b"{}"


def describe(ident: str, role: str) -> describe_pb2.AttachResponse:
    return describe_pb2.AttachResponse(
        question=ident, describe=describe_pb2.DescribeQuestion(connection="crm", role=role)
    )


async def test_questions_are_answered_and_the_stream_comes_back(
    core: EnforcerCore, service: ScriptedService, monkeypatch
) -> None:
    monkeypatch.setattr("enforcers.core.describe_stream.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("enforcers.core.describe_stream.ANSWER_SECONDS", 0.2)
    core.attach(Scripted())
    async with asyncio.timeout(10):
        hello = await service.answers.get()
        assert hello.hello.enforcer == core.instance
        assert list(hello.hello.connections) == ["crm"]
        await service.questions.put(describe("1", "planner"))
        answer = await service.answers.get()
        assert (answer.question, answer.operation.id) == ("1", "op_5")
        await service.questions.put(describe("2", "nobody"))
        assert (await service.answers.get()).error == "no such role"
        await service.questions.put(
            describe_pb2.AttachResponse(question="3", estimate=describe_pb2.EstimateQuestion(connection="crm"))
        )
        assert (await service.answers.get()).estimate.why == "it writes"
        await service.questions.put(
            describe_pb2.AttachResponse(question="4", catalog_dump=describe_pb2.CatalogDumpQuestion())
        )
        assert (await service.answers.get()).catalog == b"{}"
        await service.questions.put(describe_pb2.AttachResponse(question="5"))
        assert "does not know" in (await service.answers.get()).error
        # A slow one doesn't stop the others, and is answered too.
        await service.questions.put(describe("6", "slow"))
        await service.questions.put(describe("7", "planner"))
        assert (await service.answers.get()).question == "7"
        late = await service.answers.get()
        assert (late.question, late.error) == ("6", "no answer in 0.2 s")
        await service.questions.put(None)
        assert (await service.answers.get()).HasField("hello")


async def test_a_describer_attaches_once(core: EnforcerCore) -> None:
    core.attach(Scripted())
    try:
        core.attach(Scripted())
    except ValueError:
        return
    raise AssertionError
