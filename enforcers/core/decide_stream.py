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

Requests = AsyncIterator[bytes]  # encoded DecideRequests
Responses = AsyncGenerator[decision_pb2.DecideResponse, None]
# Called once, with the answer or with why there is none. It runs in the stream's own task, and never raises.
Answered = Callable[[decision_pb2.DecideResponse | None, DecisionUnavailableError | None], None]


class StreamRefusedError(Exception):
    """The service has no such call, and won't: every question gets a call of its own."""


def _nobody(response: decision_pb2.DecideResponse | None, error: DecisionUnavailableError | None) -> None:
    """Of a question that was given up."""


class DecideStream:
    """One per worker; run() must be running. `open_call` begins the call and gives its answers, which end by
    DecisionUnavailableError or StreamRefusedError."""

    def __init__(self, open_call: Callable[[Requests], Responses]) -> None:
        self._open_call = open_call
        self._outgoing: asyncio.Queue[bytes | None] | None = None
        # By operation. One that was given up stays until its answer came: it must not be taken for a later question's.
        self._asked: dict[str, Answered] = {}

    def rest(self) -> None:
        """Its connection is about to be closed: what was asked is still answered, further questions have calls of their
        own until the stream is opened anew."""
        self._outgoing = None

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

    def takes(self, operation: str, question: bytes) -> bool:
        """Whether this encoded question about that operation can go this way now."""
        asked = self._asked
        return (
            self._outgoing is not None
            and len(asked) < AT_ONCE
            and operation not in asked
            and len(question) <= MAX_QUESTION
        )

    def ask_soon(self, operation: str, question: bytes, answered: Answered) -> None:
        """For a question it takes; the caller brings the deadline. Raises DecisionUnavailableError."""
        outgoing = self._outgoing
        if outgoing is None:
            raise DecisionUnavailableError("DecideStream: not open")
        self._asked[operation] = answered
        outgoing.put_nowait(question)

    def give_up(self, operation: str) -> None:
        """Nobody is told the answer any more."""
        if operation in self._asked:
            self._asked[operation] = _nobody

    async def ask(self, operation: str, question: bytes) -> decision_pb2.DecideResponse:
        """The answer. As ask_soon()."""
        answer: asyncio.Future[decision_pb2.DecideResponse] = asyncio.get_running_loop().create_future()

        def answered(response: decision_pb2.DecideResponse | None, error: DecisionUnavailableError | None) -> None:
            if answer.done():
                return  # given up meanwhile
            if response is not None:
                answer.set_result(response)
            else:
                answer.set_exception(error or DecisionUnavailableError("DecideStream: no answer"))

        self.ask_soon(operation, question, answered)
        return await answer

    async def _serve(self) -> None:
        outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by AT_ONCE
        self._outgoing = outgoing
        try:
            async with aclosing(self._open_call(_drawn(outgoing))) as answers:
                async for response in answers:
                    self._answer(response)
        finally:
            self._outgoing = None
            outgoing.put_nowait(None)  # gRPC would leave whom it draws from waiting
            asked, self._asked = self._asked, {}
            for answered in asked.values():
                answered(None, DecisionUnavailableError("DecideStream: the stream ended"))

    def _answer(self, response: decision_pb2.DecideResponse) -> None:
        answered = self._asked.pop(response.operation, None)
        if answered is None:
            raise DecisionUnavailableError("DecideStream: an answer to nothing that was asked")
        if response.HasField("decision"):
            answered(response, None)
        else:
            answered(None, DecisionUnavailableError("DecideStream: the service failed at this question"))


async def _drawn(outgoing: asyncio.Queue[bytes | None]) -> Requests:
    while (question := await outgoing.get()) is not None:
        yield question
