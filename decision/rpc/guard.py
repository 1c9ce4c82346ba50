"""What every call passes: a row in the table, an authenticated caller, a deadline, no unknown fields; and what every
failure becomes: a status. Callers are refused before their message is read."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc
from google.protobuf.message import Message

from decision.errors import BadRequestError, CallerError, DecisionError, PolicyUnavailableError, TokenError
from decision.identity.dpop import NonceError
from decision.identity.peers import UNSHOWN, Shown
from decision.metrics import Metrics
from decision.ports import Clock
from decision.rpc import peer
from decision.rpc.auth import CALLER, Authenticator, Caller
from decision.rpc.callers import DOORS, NOT_YET, Door
from decision.rpc.status import InternalError, abort, report

AUTH_DEADLINE_S: Final = 5.0
GONE: Final = "the certificate of this enforcer is not accepted any more"

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


class Guard(grpc.aio.ServerInterceptor):
    def __init__(self, authenticator: Authenticator, clock: Clock, metrics: Metrics) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._streams: set[asyncio.Task[Any]] = set()
        self._shown: dict[asyncio.Task[Any], tuple[Caller, Shown]] = {}  # streams of enforcers known by certificates
        self._expelled: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        rpc = handler_call_details.method.lstrip("/")
        door = DOORS.get(rpc)
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler  # no such method: gRPC answers UNIMPLEMENTED
        if self._authenticator.recognition is not None and door is not Door.ANYONE:
            return self._late(rpc, door, handler, handler_call_details)
        try:
            caller = await self._admit(rpc, door, handler_call_details)
        except DecisionError as error:
            return self._refusal(rpc, error)
        return self._wrapped(rpc, handler, caller)

    async def _admit(
        self, rpc: str, door: Door | None, details: grpc.HandlerCallDetails, shown: Shown = UNSHOWN
    ) -> Caller:
        if door is None:
            raise CallerError("nobody may call this")
        caller = await self._authorize(rpc, door, details, shown)
        if rpc in NOT_YET:
            raise BadRequestError("this is promised and not carried out yet", code="NOT_SUPPORTED")
        return caller

    def _late(self, rpc: str, door: Door | None, handler: Handler, details: grpc.HandlerCallDetails) -> Handler:
        """Where certificates count: they are known to a running handler only. Streams both ways, whatever the method
        is, so that here too nothing of a caller's message is read before the caller is known; the wire is the same."""

        async def call(requests: AsyncIterator[Any], context: Context) -> None:
            try:
                shown = peer.shown(context)
                caller = await self._admit(rpc, door, details, shown)
            except DecisionError as error:
                await self._refuse(rpc, context, error)
            inner: Any = self._wrapped(rpc, handler, caller, shown)  # grpc's stubs know synchronous handlers only
            if inner.stream_stream is not None:
                await inner.stream_stream(requests, context)
                return
            try:
                request = await _only(requests)
                self._still(caller, shown)
            except DecisionError as error:
                await self._fail(rpc, context, error)
            if inner.unary_unary is not None:
                await context.write(await inner.unary_unary(request, context))
            elif inner.unary_stream is not None:
                await inner.unary_stream(request, context)

        return grpc.stream_stream_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _still(self, caller: Caller, shown: Shown) -> None:
        """A message may come long after its call was begun: its sender is judged again. Raises CallerError."""
        recognition = self._authenticator.recognition
        if caller.name and (recognition is None or recognition.of(shown).enforcer != caller.name):
            raise CallerError(GONE)

    def recheck(self) -> None:
        """Certificates, authorities or the list of enforcers changed: streams of who is no enforcer any more end."""
        recognition = self._authenticator.recognition
        for task, (caller, shown) in tuple(self._shown.items()):
            if recognition is None or recognition.of(shown).enforcer != caller.name:
                self._expel(task)

    def _expel(self, task: asyncio.Task[Any]) -> None:
        self._expelled.add(task)
        task.cancel()

    def drain(self) -> None:
        """End the streams, which would otherwise never end by themselves."""
        for task in tuple(self._streams):
            task.cancel()

    async def _authorize(self, rpc: str, door: Door, details: grpc.HandlerCallDetails, shown: Shown) -> Caller:
        try:
            async with asyncio.timeout(AUTH_DEADLINE_S):
                return await self._authenticator.authorize(rpc, door, details.invocation_metadata or (), shown)
        except TimeoutError:
            raise PolicyUnavailableError("the caller could not be checked in time") from None

    def _refusal(self, rpc: str, error: DecisionError) -> Handler:
        """A handler of a kind that reads no message before it runs."""

        async def refuse(_requests: object, context: Context) -> None:
            await self._refuse(rpc, context, error)

        return grpc.stream_stream_rpc_method_handler(refuse)

    async def _refuse(self, rpc: str, context: Context, error: DecisionError) -> NoReturn:
        await self._authenticator.refusal(rpc, error)
        if isinstance(error, NonceError):
            await context.send_initial_metadata((("dpop-nonce", error.nonce),))
        await self._fail(rpc, context, error)

    def _wrapped(self, rpc: str, handler: Handler, caller: Caller, shown: Shown = UNSHOWN) -> Handler:
        options = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(rpc, handler.unary_unary, caller), **options)
        if handler.unary_stream is not None:
            inner = handler.unary_stream
            return grpc.unary_stream_rpc_method_handler(
                self._stream(rpc, lambda request, context: inner(_checked(request), context), inner, caller, shown),
                **options,
            )
        if handler.stream_stream is not None:
            both = handler.stream_stream
            checked_all: Callable[[Any], Any] = _all_checked
            return grpc.stream_stream_rpc_method_handler(
                self._stream(rpc, lambda requests, context: both(checked_all(requests), context), both, caller, shown),
                **options,
            )
        return self._refusal(rpc, InternalError())

    def _unary(self, rpc: str, inner: Callable[..., Any], caller: Caller) -> Callable[..., Any]:
        async def call(request: Message, context: Context) -> Any:
            CALLER.set(caller)
            try:
                if context.time_remaining() is None:
                    raise BadRequestError("a call needs a deadline")
                answer = await inner(_checked(request), context)
            except DecisionError as error:
                if isinstance(error, TokenError) and caller.subject is not None:
                    await self._authenticator.refusal_of(rpc, caller.subject, error)
                await self._fail(rpc, context, error)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the outermost edge: gRPC would send the exception's own words
                report(rpc, error)
                await self._fail(rpc, context, InternalError())
            else:
                self._metrics.called(rpc, "")
                return answer

        return call

    def _stream(
        self, rpc: str, start: Callable[..., Any], inner: Callable[..., Any], caller: Caller, shown: Shown
    ) -> Callable[..., Any]:
        """Both forms grpc.aio knows: an async generator, and a coroutine that writes by itself."""
        generator = inspect.isasyncgenfunction(inner)

        async def call(request: object, context: Context) -> None:
            CALLER.set(caller)
            task = asyncio.current_task()
            ends = self._begun(task, caller, shown)
            try:
                if generator:
                    await self._pump(start(request, context), context, caller)
                else:
                    await start(request, context)
            except DecisionError as error:
                await self._fail(rpc, context, error)
            except grpc.aio.AbortError:
                raise
            except asyncio.CancelledError:
                if task is None or task not in self._expelled:
                    raise
                task.uncancel()
                await self._fail(rpc, context, CallerError(GONE))
            except Exception as error:  # noqa: BLE001 - as above
                report(rpc, error)
                await self._fail(rpc, context, InternalError())
            else:
                self._metrics.called(rpc, "")
            finally:
                self._over(task, ends)

        return call

    def _begun(self, task: asyncio.Task[Any] | None, caller: Caller, shown: Shown) -> asyncio.TimerHandle | None:
        """Count a stream, and see that an enforcer's outlives its certificate by nothing."""
        if task is None:
            return None
        self._streams.add(task)
        if not caller.name or caller.expires is None:
            return None
        self._shown[task] = caller, shown
        left = (caller.expires - self._clock.now()).total_seconds()
        return asyncio.get_running_loop().call_later(left, self._expel, task)

    def _over(self, task: asyncio.Task[Any] | None, ends: asyncio.TimerHandle | None) -> None:
        if ends is not None:
            ends.cancel()
        if task is not None:
            self._streams.discard(task)
            self._shown.pop(task, None)
            self._expelled.discard(task)

    async def _pump(self, answers: AsyncGenerator[Any, None], context: Context, caller: Caller) -> None:
        """Answers as they come, no longer than the caller's token lives."""
        async with aclosing(answers):  # at once, not when someone collects it: who watches counts as alive
            while True:
                left = None
                if caller.expires is not None and not caller.name:
                    left = max(0.0, (caller.expires - self._clock.now()).total_seconds())
                try:
                    async with asyncio.timeout(left) as deadline:
                        answer = await anext(answers)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if deadline.expired():
                        raise TokenError("the token has expired", code="TOKEN_EXPIRED") from None
                    raise
                await context.write(answer)

    async def _fail(self, rpc: str, context: Context, error: DecisionError) -> NoReturn:
        self._metrics.called(rpc, error.code)
        await abort(context, error)


def _checked(request: Any) -> Any:
    """Refuse a message with fields nobody here knows: a newer caller may mean something by them."""
    size = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size:
        raise BadRequestError("the message has fields that this service doesn't know")
    return request


async def _only(requests: AsyncIterator[Any]) -> Any:
    """The one message of a call that has one."""
    async for request in requests:
        return request
    raise BadRequestError("the call came without a message")


async def _all_checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)
