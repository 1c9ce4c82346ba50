"""Questions that only an enforcer can answer (Describe, Estimate), over the stream each enforcer opens.

Catalog and credentials stay with the enforcer. Everything is bounded: streams, questions under way, time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from twokey.enforcer.v1 import describe_pb2, describe_pb2_grpc
from twokey.type.v1 import operation_pb2

from decision.errors import BadRequestError, PolicyUnavailableError, StateError
from decision.model import new_id

DEADLINE_S: Final = 5.0
HELLO_S: Final = 5.0
MAX_ATTACHED: Final = 256
MAX_PENDING: Final = 256
QUEUE: Final = 64


@dataclass(slots=True, eq=False)
class _Attached:
    hello: describe_pb2.Hello
    questions: asyncio.Queue[describe_pb2.AttachResponse] = field(default_factory=lambda: asyncio.Queue(QUEUE))


@dataclass(slots=True, eq=False)
class _Pending:
    attached: _Attached
    answer: asyncio.Future[describe_pb2.AttachRequest]


class DescribeHub(describe_pb2_grpc.DescribeServiceServicer):
    def __init__(self, *, deadline_s: float = DEADLINE_S) -> None:
        self._deadline = deadline_s
        self._attached: list[_Attached] = []
        self._pending: dict[str, _Pending] = {}
        self._on_attached: Callable[[frozenset[str]], object] | None = None

    def on_attached(self, callback: Callable[[frozenset[str]], object]) -> None:
        """Called with the connections of each enforcer that attaches."""
        self._on_attached = callback

    @property
    def connections(self) -> frozenset[str]:
        """Connections that some attached enforcer serves."""
        return frozenset(name for one in self._attached for name in one.hello.connections)

    async def describe(
        self, connection: str, role: str, statement: bytes, search_path: Sequence[str] = (), *, fresh: bool = False
    ) -> operation_pb2.Operation:
        """The operation a statement is, without its values' estimate. fresh: under the catalog as it is now.

        Raises BadRequestError (it can't be described, as the enforcer says) or PolicyUnavailableError (none answers).
        """
        question = describe_pb2.AttachResponse(
            describe=describe_pb2.DescribeQuestion(
                connection=connection, role=role, statement=statement, search_path=search_path, fresh=fresh
            )
        )
        answer = await self._ask(connection, question)
        if answer.WhichOneof("body") != "operation":
            raise PolicyUnavailableError("the enforcer answered another question")
        return answer.operation

    async def estimate(
        self,
        connection: str,
        role: str,
        statement: bytes,
        search_path: Sequence[str] = (),
        bound: Sequence[operation_pb2.BoundValue] = (),
    ) -> describe_pb2.EstimateAnswer:
        """The target's row estimate, or that it is unknown and why. Raises as describe."""
        question = describe_pb2.AttachResponse(
            estimate=describe_pb2.EstimateQuestion(
                connection=connection, role=role, statement=statement, search_path=search_path, bound=bound
            )
        )
        answer = await self._ask(connection, question)
        if answer.WhichOneof("body") != "estimate":
            raise PolicyUnavailableError("the enforcer answered another question")
        return answer.estimate

    async def misfits(
        self, connection: str, masks: Sequence[describe_pb2.PlannedMask]
    ) -> Sequence[describe_pb2.MaskerMisfit]:
        """Those of the masks that can't be applied to their columns in the target. Raises as describe."""
        question = describe_pb2.AttachResponse(maskers=describe_pb2.MaskersQuestion(connection=connection, masks=masks))
        answer = await self._ask(connection, question)
        if answer.WhichOneof("body") != "maskers":
            raise PolicyUnavailableError("the enforcer answered another question")
        return answer.maskers.misfits

    async def _ask(self, connection: str, question: describe_pb2.AttachResponse) -> describe_pb2.AttachRequest:
        attached = next((one for one in self._attached if connection in one.hello.connections), None)
        if attached is None:
            raise PolicyUnavailableError(f"no enforcer serves {connection!r} at the moment")
        if len(self._pending) >= MAX_PENDING:
            raise PolicyUnavailableError("too many questions are under way; try again")
        # Round robin over the enforcers of a connection.
        self._attached.remove(attached)
        self._attached.append(attached)
        question.question = new_id("que")
        pending = _Pending(attached, asyncio.get_running_loop().create_future())
        self._pending[question.question] = pending
        try:
            async with asyncio.timeout(self._deadline):
                await attached.questions.put(question)
                answer = await pending.answer
        except TimeoutError:
            raise PolicyUnavailableError("the enforcer did not answer in time") from None
        finally:
            self._pending.pop(question.question, None)
        if answer.WhichOneof("body") == "error":
            raise BadRequestError(answer.error[:1000])
        return answer

    async def Attach(self, request_iterator: AsyncIterator[describe_pb2.AttachRequest], context: Any) -> None:
        """The enforcer's stream: its Hello, then answers up and questions down."""
        try:
            async with asyncio.timeout(HELLO_S):
                first = await anext(aiter(request_iterator), None)
        except TimeoutError:
            raise BadRequestError("the first message did not come") from None
        if first is None or first.WhichOneof("body") != "hello":
            raise BadRequestError("the first message is a Hello")
        if len(self._attached) >= MAX_ATTACHED:
            raise StateError("no further enforcer is taken", code="DECISION_UNAVAILABLE")
        attached = _Attached(first.hello)
        self._attached.append(attached)
        if self._on_attached is not None:
            self._on_attached(frozenset(attached.hello.connections))
        writer = asyncio.ensure_future(_write(attached, context))
        try:
            async for message in request_iterator:
                self._answered(attached, message)
        finally:
            self._detach(attached)
            writer.cancel()
            await asyncio.wait([writer])
            if not writer.cancelled():
                writer.exception()  # the stream was gone: the reader has seen it too

    def _answered(self, attached: _Attached, message: describe_pb2.AttachRequest) -> None:
        """An answer to a question of this stream; late ones and other streams' are nobody's."""
        pending = self._pending.get(message.question)
        if pending is not None and pending.attached is attached and not pending.answer.done():
            pending.answer.set_result(message)

    def _detach(self, attached: _Attached) -> None:
        if attached in self._attached:
            self._attached.remove(attached)
        for pending in self._pending.values():
            if pending.attached is attached and not pending.answer.done():
                pending.answer.set_exception(PolicyUnavailableError("the enforcer went away"))


async def _write(attached: _Attached, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    while True:
        await context.write(await attached.questions.get())
