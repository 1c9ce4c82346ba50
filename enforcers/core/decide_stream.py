"""Small questions to the decision service over one open call.

A call of its own costs gRPC several times what a message on a stream costs, on both sides, and most of a decision's
time. Large questions keep their own calls: on the stream they would delay, or by being too large fail, others'.

Nothing is sent twice: what was asked when the stream broke has no answer, and the caller denies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

import structlog
from twokey.decision.v1 import decision_pb2

from enforcers.core.errors import DecisionUnavailableError

MAX_QUESTION: Final = 256 << 10  # bytes
AT_ONCE: Final = 1024  # questions without an answer, given-up ones among them
RETRY_SECONDS: Final = 0.25

log = structlog.get_logger("twokey.enforcers.decide_stream")

Requests = AsyncIterator[decision_pb2.DecideRequest]
Responses = AsyncGenerator[decision_pb2.DecideResponse, None]


class StreamRefusedError(Exception):
    """The service has no such call, and won't: every question gets a call of its own."""


class DecideStream:
    """One per worker; run() must be running. `open_call` begins the call and gives its answers, which end by
    DecisionUnavailableError or StreamRefusedError."""

    def __init__(self, open_call: Callable[[Requests], Responses]) -> None:
        self._open_call = open_call
        self._outgoing: asyncio.Queue[decision_pb2.DecideRequest] | None = None
        # By operation. One that was given up stays until its answer came: it must not be taken for a later question's.
        self._asked: dict[str, asyncio.Future[decision_pb2.DecideResponse]] = {}

    async def run(self) -> None:
        """Keep a stream open until cancelled, or until the service says that it has none."""
        while True:
            try:
                await self._serve()
            except DecisionUnavailableError as error:
                log.info("decide stream lost", error=str(error))
            except StreamRefusedError:
                return
            await asyncio.sleep(RETRY_SECONDS)

    def takes(self, request: decision_pb2.DecideRequest) -> bool:
        """Whether this question can go this way now."""
        asked = self._asked
        return (
            self._outgoing is not None
            and len(asked) < AT_ONCE
            and request.operation.id not in asked
            and request.ByteSize() <= MAX_QUESTION
        )

    async def ask(self, request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        """The answer, for a question it takes; the caller brings the deadline. Raises DecisionUnavailableError."""
        outgoing = self._outgoing
        if outgoing is None:
            raise DecisionUnavailableError("DecideStream: not open")
        answer: asyncio.Future[decision_pb2.DecideResponse] = asyncio.get_running_loop().create_future()
        self._asked[request.operation.id] = answer
        outgoing.put_nowait(request)
        return await answer

    async def _serve(self) -> None:
        outgoing: asyncio.Queue[decision_pb2.DecideRequest] = asyncio.Queue()  # bounded by AT_ONCE
        self._outgoing = outgoing
        try:
            async with aclosing(self._open_call(_drawn(outgoing))) as answers:
                async for response in answers:
                    self._answered(response)
        finally:
            self._outgoing = None
            asked, self._asked = self._asked, {}
            for answer in asked.values():
                if not answer.done():
                    answer.set_exception(DecisionUnavailableError("DecideStream: the stream ended"))

    def _answered(self, response: decision_pb2.DecideResponse) -> None:
        answer = self._asked.pop(response.operation, None)
        if answer is None:
            raise DecisionUnavailableError("DecideStream: an answer to nothing that was asked")
        if answer.done():
            return  # given up meanwhile
        if response.HasField("decision"):
            answer.set_result(response)
        else:
            answer.set_exception(DecisionUnavailableError("DecideStream: the service failed at this question"))


async def _drawn(outgoing: asyncio.Queue[decision_pb2.DecideRequest]) -> Requests:
    while True:
        yield await outgoing.get()
