"""Answers DescribeService's questions down a stream that the enforcer opens, so that catalog and credentials stay here.

Questions are bounded in number and time; a question that fails is answered with a sentence, never with silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog
from twokey.enforcer.v1 import describe_pb2

from enforcers.core.decision_client import DecisionClient
from enforcers.core.errors import DecisionUnavailableError, EnforcerError
from enforcers.core.ports import Describer

AT_ONCE = 8
ANSWER_SECONDS = 5.0
RETRY_SECONDS = 0.5

log = structlog.get_logger("twokey.enforcers.describe")


class DescribeStream:
    """Idle until use() names who answers; run() until cancelled, reconnecting."""

    def __init__(self, client: DecisionClient, *, enforcer: str, protocol: str, connections: Sequence[str]) -> None:
        self._client = client
        self._hello = describe_pb2.AttachRequest(
            hello=describe_pb2.Hello(enforcer=enforcer, protocol=protocol, connections=connections)
        )
        self._describer: Describer | None = None
        self._attached = asyncio.Event()

    def use(self, describer: Describer) -> None:
        if self._describer is not None:
            raise ValueError("a describer is attached already")
        self._describer = describer
        self._attached.set()

    async def run(self) -> None:
        await self._attached.wait()
        while True:
            try:
                await self._serve()
            except* DecisionUnavailableError as errors:
                log.info("describe stream lost", error=str(errors.exceptions[0]))
            await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self) -> None:
        answers: asyncio.Queue[describe_pb2.AttachRequest] = asyncio.Queue(AT_ONCE)
        await answers.put(self._hello)
        slots = asyncio.Semaphore(AT_ONCE)
        stream = self._client.attach(_drawn(answers))
        try:
            async with asyncio.TaskGroup() as group:
                async for question in stream:
                    await slots.acquire()
                    group.create_task(self._reply(question, answers, slots))
        finally:
            await stream.aclose()

    async def _reply(
        self,
        question: describe_pb2.AttachResponse,
        answers: asyncio.Queue[describe_pb2.AttachRequest],
        slots: asyncio.Semaphore,
    ) -> None:
        try:
            await answers.put(await self._answer(question))
        finally:
            slots.release()

    async def _answer(self, question: describe_pb2.AttachResponse) -> describe_pb2.AttachRequest:
        answer = describe_pb2.AttachRequest(question=question.question)
        describer = self._describer
        kind = question.WhichOneof("body")
        if describer is None or kind is None:
            answer.error = "a question this enforcer does not know"
            return answer
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if kind == "describe":
                    answer.operation.CopyFrom(await describer.describe(question.describe))
                elif kind == "estimate":
                    answer.estimate.CopyFrom(await describer.estimate(question.estimate))
                elif kind == "maskers":
                    answer.maskers.CopyFrom(await describer.maskers(question.maskers))
                else:
                    answer.catalog = await describer.catalog_dump(question.catalog_dump)
        except EnforcerError as error:
            answer.error = str(error) or "the question can't be answered"
        except TimeoutError:
            answer.error = f"no answer in {ANSWER_SECONDS:g} s"
        return answer


async def _drawn(answers: asyncio.Queue[describe_pb2.AttachRequest]) -> AsyncIterator[describe_pb2.AttachRequest]:
    while True:
        yield await answers.get()
