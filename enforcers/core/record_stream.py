"""Batches of records to the decision service over one open call: a message costs gRPC a quarter of a call.

One batch at a time, answered in order. Whatever fails ends the call and leaves open whether the batch was taken: the
recorder sends it again, with a call of its own whose status says what is wrong; then the stream is opened anew.
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
import grpc.aio
from twokey.audit.v1 import audit_pb2

from enforcers.core.errors import DecisionUnavailableError

MAX_BATCH: Final = 1 << 20  # bytes; larger ones have a call of their own

Method = grpc.aio.StreamStreamMultiCallable[bytes, audit_pb2.RecordActsResponse]
Call = grpc.aio.StreamStreamCall[bytes, audit_pb2.RecordActsResponse]


class RecordStream:
    """Opened by the first batch. send() by one task at a time, which brings the deadline."""

    def __init__(self, method: Method, metadata: tuple[tuple[str, str], ...]) -> None:
        self._method = method
        self._metadata = metadata
        self._call: Call | None = None
        self._broken = False

    def usable(self, batch: bytes) -> bool:
        return not self._broken and len(batch) <= MAX_BATCH

    def mend(self) -> None:
        """A call of its own went through: the next batch may open the stream again."""
        self._broken = False

    def fail(self) -> None:
        """Give the stream up; nothing that still comes of it is anybody's answer."""
        call, self._call = self._call, None
        self._broken = True
        if call is not None:
            call.cancel()

    async def send(self, batch: bytes) -> audit_pb2.RecordActsResponse:
        """Raises DecisionUnavailableError; then it is unknown whether the batch was taken."""
        answered = False
        try:
            call = self._call
            if call is None:
                self._call = call = self._method(metadata=self._metadata)
            await call.write(batch)
            answer = await call.read()
            if not isinstance(answer, audit_pb2.RecordActsResponse):
                raise DecisionUnavailableError("RecordActs: the stream ended")
            answered = True
            return answer
        except grpc.aio.AioRpcError as error:
            raise DecisionUnavailableError(f"RecordActs: {error.code().name}") from None
        except (grpc.aio.UsageError, asyncio.InvalidStateError):  # what grpc.aio says of a call that is over already
            raise DecisionUnavailableError("RecordActs: the stream ended") from None
        finally:
            if not answered:  # cancelled too: an answer that comes now would be taken for the next batch's
                self.fail()
