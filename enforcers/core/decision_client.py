"""The one way to the decision service: TLS under the run's own authority, a secret, a deadline on every call; or,
where both sides are known by certificates, by a tunnel (tunnel.py).

Any failure (no answer, a late one, a stranger on the port, a status) is DecisionUnavailableError: the caller denies.
Nothing is retried here: a Decide that redeems an approval must not be sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

import grpc
import grpc.aio
from twokey.approval.v1 import approval_pb2
from twokey.audit.v1 import audit_pb2
from twokey.decision.v1 import decision_pb2
from twokey.enforcer.v1 import describe_pb2

from enforcers.core.decide_stream import Answered, DecideStream, Requests, StreamRefusedError
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.record_stream import RecordStream
from enforcers.core.turns import Turns

MAX_MESSAGE = 40 << 20  # bytes: a 16 MiB statement, its bound values, and the envelope
DECIDE_SECONDS = 2.0
# Questions of one worker being decided. More at once are answered no sooner: hundreds that come in one moment would
# share the processors until the time of each had run out. They wait for their turn, and their time begins with it.
DECIDED_AT_ONCE = 16
TURN_SECONDS = 30.0  # a slow machine needs as long for hundreds of holds; a service that is gone fails each at once
WATCHES_BEGUN_AT_ONCE = 8  # for the same reason: a watch that is told the present state costs nothing more
OPEN_SECONDS = 3.0
CLOSE_SECONDS = 3.0
RECORD_SECONDS = 5.0
WITHDRAW_SECONDS = 2.0
REDIAL_SECONDS = 6.0  # longer than each of those
CUT_SECONDS = 5.0  # for calls to hear that their connection was lost, which takes a moment

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # the environment must not choose who answers
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.primary_user_agent", "twokey-enforcer"),
)


Q = TypeVar("Q")
A = TypeVar("A")


class _Method(Generic[Q, A]):
    """One RPC: its path and how its messages are read."""

    def __init__(self, path: str, serialize: Callable[[Q], bytes], parse: Callable[[bytes], A]) -> None:
        self.path = path
        self.serialize = serialize
        self.parse = parse


def _as_it_is(encoded: bytes) -> bytes:
    return encoded


_D = "/twokey.decision.v1.DecisionService/"
_DECIDE = _Method(_D + "Decide", decision_pb2.DecideRequest.SerializeToString, decision_pb2.DecideResponse.FromString)
_DECIDE_STREAM = _Method(_D + "DecideStream", _as_it_is, decision_pb2.DecideResponse.FromString)
_OPEN = _Method(
    _D + "OpenSession",
    decision_pb2.OpenSessionRequest.SerializeToString,
    decision_pb2.OpenSessionResponse.FromString,
)
_CLOSE = _Method(
    _D + "CloseSession",
    decision_pb2.CloseSessionRequest.SerializeToString,
    decision_pb2.CloseSessionResponse.FromString,
)
_WATCH = _Method(
    _D + "WatchRevocations",
    decision_pb2.WatchRevocationsRequest.SerializeToString,
    decision_pb2.WatchRevocationsResponse.FromString,
)
_RECORD = _Method(
    "/twokey.audit.v1.AuditService/RecordActs",
    _as_it_is,  # acts.py encodes
    audit_pb2.RecordActsResponse.FromString,
)
_APPROVAL = _Method(
    "/twokey.approval.v1.ApprovalService/Watch",
    approval_pb2.WatchRequest.SerializeToString,
    approval_pb2.Approval.FromString,
)
_WITHDRAW = _Method(
    "/twokey.approval.v1.ApprovalService/Withdraw",
    approval_pb2.WithdrawRequest.SerializeToString,
    approval_pb2.Approval.FromString,
)
_ATTACH = _Method(
    "/twokey.enforcer.v1.DescribeService/Attach",
    describe_pb2.AttachRequest.SerializeToString,
    describe_pb2.AttachResponse.FromString,
)


class DecisionClient:
    """One channel, of one worker. Make it on the event loop; close() when done."""

    def __init__(self, *, target: str, ca: bytes | None, secret: str) -> None:
        """ca: None for a tunnel's target, behind which the service is known already. secret: "" where a certificate
        says who we are."""
        self._target = target
        self._ca = ca
        self._metadata = (("x-twokey-enforcer", secret),) if secret else ()
        self._closing: set[asyncio.Task[None]] = set()
        self._decisions = DecideStream(self._open_decide_stream)
        self._turns = Turns(DECIDED_AT_ONCE)
        self._beginning = asyncio.Semaphore(WATCHES_BEGUN_AT_ONCE)
        self._dial()

    def _dial(self) -> None:
        if self._ca is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(root_certificates=self._ca)
            self._channel = grpc.aio.secure_channel(self._target, credentials, options=_OPTIONS)
        self._decide = self._unary(_DECIDE)
        self._open = self._unary(_OPEN)
        self._close = self._unary(_CLOSE)
        self._record = self._unary(_RECORD)
        self._withdraw = self._unary(_WITHDRAW)
        self._watch = self._streamed(_WATCH)
        self._approval = self._streamed(_APPROVAL)
        self._records = RecordStream(
            self._channel.stream_stream(
                _RECORD.path + "Stream", request_serializer=_RECORD.serialize, response_deserializer=_RECORD.parse
            ),
            self._metadata,
        )

    def redial(self, drop: Callable[[], None]) -> None:
        """By a new connection from now on: what this process shows, or whom it believes, changed. What is under way on
        the old one has REDIAL_SECONDS; `drop` then cuts that."""
        old = self._channel
        self._decisions.rest()
        self._dial()
        task = asyncio.ensure_future(_leave(old, drop))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def run(self) -> None:
        """Keep open what `decide` is quick by, until cancelled. Without it every question has a call of its own."""
        await self._decisions.run()

    def decide_soon(self, operation: str, question: bytes, answered: Answered) -> Soon | None:
        """Ask about that operation by this encoded DecideRequest, where there is a turn, and a stream that takes it.

        `answered` is called once, later, unless what is returned is told to give up. None: not so; await decide().
        """
        if not self._decisions.takes(operation, question) or not self._turns.take_now():
            return None
        return Soon(self._decisions, self._turns, operation, question, answered)

    async def decide(self, request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        """In the order of asking, once fewer than DECIDED_AT_ONCE are before it. Raises DecisionUnavailableError."""
        if not self._turns.take_now():
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self._turns.take()
            except TimeoutError:
                raise DecisionUnavailableError("Decide: too many questions are before it") from None
        try:
            return await self._decide_now(request)
        finally:
            self._turns.give_back()

    async def _decide_now(self, request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        operation, question = request.operation.id, request.SerializeToString()
        if not self._decisions.takes(operation, question):
            return await self._call("Decide", self._decide, request, DECIDE_SECONDS)
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                return await self._decisions.ask(operation, question)
        except TimeoutError:
            raise DecisionUnavailableError("Decide: no answer in time") from None

    async def open_session(self, request: decision_pb2.OpenSessionRequest) -> decision_pb2.OpenSessionResponse:
        return await self._call("OpenSession", self._open, request, OPEN_SECONDS)

    async def close_session(self, request: decision_pb2.CloseSessionRequest) -> None:
        await self._call("CloseSession", self._close, request, CLOSE_SECONDS)

    async def record_acts(self, request: bytes) -> audit_pb2.RecordActsResponse:
        """request: an encoded RecordActsRequest. One at a time.

        Over the open stream; after a failure there the next has a call of its own, whose status tells what is wrong.
        Raises RecordRefusedError when the service read the batch and will never take it.
        """
        records = self._records
        if records.usable(request):
            try:
                async with asyncio.timeout(RECORD_SECONDS):
                    return await records.send(request)
            except TimeoutError:
                records.fail()
                raise DecisionUnavailableError("RecordActs: no answer in time") from None
        answer = await self._record_alone(request)
        records.mend()
        return answer

    async def _record_alone(self, request: bytes) -> audit_pb2.RecordActsResponse:
        try:
            async with asyncio.timeout(RECORD_SECONDS + 1):
                return await self._record(request, metadata=self._metadata, timeout=RECORD_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in _RECORD_REFUSALS:
                raise RecordRefusedError(f"RecordActs: {error.code().name}") from None
            raise _unavailable("RecordActs", error) from None
        except TimeoutError:
            raise DecisionUnavailableError("RecordActs: no answer in time") from None

    async def withdraw(self, request: approval_pb2.WithdrawRequest) -> None:
        await self._call("Withdraw", self._withdraw, request, WITHDRAW_SECONDS)

    def watch_revocations(
        self, request: decision_pb2.WatchRevocationsRequest
    ) -> AsyncGenerator[decision_pb2.WatchRevocationsResponse, None]:
        """Ends by DecisionUnavailableError, also when the service ends it in order."""
        return self._read("WatchRevocations", self._watch(request, metadata=self._metadata))

    async def watch_approval(self, approval: str) -> AsyncGenerator[approval_pb2.Approval, None]:
        """The present state, once fewer than WATCHES_BEGUN_AT_ONCE wait for theirs; then each change. Ends as above."""
        request = approval_pb2.WatchRequest(ids=[approval])
        await self._beginning.acquire()
        beginning = True
        try:
            changes: AsyncGenerator[approval_pb2.Approval, None]
            changes = self._read("Watch", self._approval(request, metadata=self._metadata))
            async with aclosing(changes):
                async for change in changes:
                    if beginning:
                        beginning = False
                        self._beginning.release()
                    yield change
        finally:
            if beginning:
                self._beginning.release()

    def attach(
        self, answers: AsyncIterator[describe_pb2.AttachRequest]
    ) -> AsyncGenerator[describe_pb2.AttachResponse, None]:
        method = self._channel.stream_stream(
            _ATTACH.path, request_serializer=_ATTACH.serialize, response_deserializer=_ATTACH.parse
        )
        return self._read("Attach", method(answers, metadata=self._metadata))

    async def close(self) -> None:
        self._records.fail()
        await self._channel.close(None)
        for task in tuple(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _open_decide_stream(self, requests: Requests) -> AsyncGenerator[decision_pb2.DecideResponse, None]:
        method = self._channel.stream_stream(
            _DECIDE_STREAM.path, request_serializer=_DECIDE_STREAM.serialize, response_deserializer=_DECIDE_STREAM.parse
        )
        answers: AsyncGenerator[decision_pb2.DecideResponse, None]
        answers = self._read("DecideStream", method(requests, metadata=self._metadata))
        try:
            async for response in answers:
                yield response
        except DecisionUnavailableError as error:
            if str(error).endswith(": UNIMPLEMENTED"):
                raise StreamRefusedError from None
            raise

    def _unary(self, method: _Method[Q, A]) -> grpc.aio.UnaryUnaryMultiCallable[Q, A]:
        return self._channel.unary_unary(
            method.path, request_serializer=method.serialize, response_deserializer=method.parse
        )

    def _streamed(self, method: _Method[Q, A]) -> grpc.aio.UnaryStreamMultiCallable[Q, A]:
        return self._channel.unary_stream(
            method.path, request_serializer=method.serialize, response_deserializer=method.parse
        )

    async def _call(self, name: str, method: grpc.aio.UnaryUnaryMultiCallable[Q, A], request: Q, seconds: float) -> A:
        try:
            # gRPC keeps the deadline itself; the outer one holds should its core be stuck.
            async with asyncio.timeout(seconds + 1):
                return await method(request, metadata=self._metadata, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise _unavailable(name, error) from None
        except TimeoutError:
            raise DecisionUnavailableError(f"{name}: no answer in time") from None

    async def _read(self, name: str, call: grpc.aio.Call | AsyncIterator[A]) -> AsyncGenerator[A, None]:
        try:
            async for message in call:  # type: ignore[union-attr] # both kinds of stream call are iterable
                yield message
        except grpc.aio.AioRpcError as error:
            raise _unavailable(name, error) from None
        finally:
            call.cancel()  # type: ignore[union-attr] # frees the stream when the reader left early
        raise DecisionUnavailableError(f"{name}: the stream ended")


async def _leave(old: grpc.aio.Channel, drop: Callable[[], None]) -> None:
    """Cut first, so that what still runs there fails as by any lost connection: closing a channel cancels its calls,
    which their tasks couldn't tell from being cancelled themselves."""
    await asyncio.sleep(REDIAL_SECONDS)
    drop()
    await old.close(CUT_SECONDS)


class Soon:
    """A question on its way, of which someone is told the answer; it has a turn and a deadline."""

    def __init__(self, stream: DecideStream, turns: Turns, operation: str, question: bytes, answered: Answered) -> None:
        self._stream = stream
        self._turns = turns
        self._operation = operation
        self._told: Answered | None = answered
        self._timer = asyncio.get_running_loop().call_later(DECIDE_SECONDS, self._late)
        stream.ask_soon(operation, question, self._answered)

    def give_up(self) -> None:
        """Nobody is told any more."""
        if self._over() is not None:
            self._stream.give_up(self._operation)

    def _answered(self, response: decision_pb2.DecideResponse | None, error: DecisionUnavailableError | None) -> None:
        told = self._over()
        if told is not None:
            told(response, error)

    def _late(self) -> None:
        told = self._over()
        if told is not None:
            self._stream.give_up(self._operation)
            told(None, DecisionUnavailableError("Decide: no answer in time"))

    def _over(self) -> Answered | None:
        """Who is to be told, once."""
        told, self._told = self._told, None
        if told is not None:
            self._timer.cancel()
            self._turns.give_back()
        return told


class RecordRefusedError(Exception):
    """The service will never take this batch as it is."""


class CallRefusedError(DecisionUnavailableError):
    """The service answered that it will not do this: asking again is no use."""


_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


# Not PERMISSION_DENIED: a service that does not know us (yet) says nothing about the records.
_RECORD_REFUSALS = (_REFUSALS - {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}) | {
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.OUT_OF_RANGE,
}


def _unavailable(name: str, error: grpc.aio.AioRpcError) -> DecisionUnavailableError:
    # Only the status's name: its details may repeat what was sent.
    kind = CallRefusedError if error.code() in _REFUSALS else DecisionUnavailableError
    return kind(f"{name}: {error.code().name}")


def is_fault(error: DecisionUnavailableError) -> bool:
    """The service was reached and failed inside: perhaps at this very message."""
    return str(error).endswith((": INTERNAL", ": UNKNOWN", ": DATA_LOSS"))
