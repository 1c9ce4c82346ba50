"""One DecideStream: many small questions over one open call, each answered as soon as it is decided.

A call of its own costs gRPC about as much as deciding does; a message on a stream a quarter of that. So that sharing
one costs nobody anything: no question waits for another, none fails with another, and what is undecided when the
stream ends is still decided and recorded (decision.rpc.supervise), as with a call whose caller has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from twokey.decision.v1 import decision_pb2

from decision.errors import DecisionError, PolicyUnavailableError
from decision.rpc.status import report
from decision.rpc.supervise import Supervisor

AT_ONCE: Final = 1024  # questions of one stream being decided; further ones are not read yet
GRACE_S: Final = 3.0  # for the answers under way when the stream is told to end: longer than a caller waits for one
_RPC: Final = "twokey.decision.v1.DecisionService/DecideStream"

Decide = Callable[[decision_pb2.DecideRequest], Awaitable[decision_pb2.DecideResponse]]
Write = Callable[[decision_pb2.DecideResponse], Awaitable[None]]


class DecideStream:
    """`decide` answers one question, `write` sends an answer. A question that failed is answered without a decision."""

    def __init__(self, supervisor: Supervisor, *, decide: Decide, write: Write) -> None:
        self._supervisor = supervisor
        self._decide = decide
        self._write = write
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._writing = asyncio.Lock()  # gRPC takes one message of a stream at a time
        self._running: set[asyncio.Task[None]] = set()
        self._over = False

    async def serve(self, requests: AsyncIterator[decision_pb2.DecideRequest]) -> None:
        """Until the caller has asked all it wants to, or is gone, or the service drains."""
        try:
            async for request in requests:
                await self._slots.acquire()
                try:
                    task = self._supervisor.start(self._answer(request))
                except PolicyUnavailableError:  # too much is being decided
                    self._slots.release()
                    await self._send(_failed(request))
                else:
                    self._running.add(task)
                    task.add_done_callback(self._ended)
        finally:
            if self._running:
                await asyncio.wait(tuple(self._running), timeout=GRACE_S)
            self._over = True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slots.release()

    async def _answer(self, request: decision_pb2.DecideRequest) -> None:
        try:
            response = await self._decide(request)
        except DecisionError:
            response = _failed(request)
        except Exception as error:  # noqa: BLE001 - the outermost edge of one question, as in decision.rpc.guard
            report(_RPC, error)
            response = _failed(request)
        await self._send(response)

    async def _send(self, response: decision_pb2.DecideResponse) -> None:
        async with self._writing:
            if not self._over:
                await self._write(response)


def _failed(request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
    """What a status is to a call of its own: no decision, so nothing that could allow."""
    return decision_pb2.DecideResponse(operation=request.operation.id, record=-1)
