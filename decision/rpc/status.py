"""A DecisionError as a gRPC status: google.rpc.Status with ErrorInfo, never a stack trace, never another's text."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from decision.errors import (
    BadRequestError,
    CallerError,
    DecisionError,
    NotFoundError,
    StateError,
    TokenError,
)
from decision.pdp.answer import sentence

DOMAIN: Final = "twokey"
_TEXT: Final = 1000  # characters: a status travels in HTTP/2 headers
_BY_CODE: Final[Mapping[str, int]] = {
    "DECISION_UNAVAILABLE": code_pb2.UNAVAILABLE,
    "RECORD_UNAVAILABLE": code_pb2.UNAVAILABLE,
    "UPSTREAM_UNAVAILABLE": code_pb2.UNAVAILABLE,
    "TOKEN_KEYS_UNAVAILABLE": code_pb2.UNAVAILABLE,
    "NOT_SUPPORTED": code_pb2.UNIMPLEMENTED,
    "TOO_LARGE": code_pb2.INVALID_ARGUMENT,
    "SLOW_WATCHER": code_pb2.ABORTED,
}
_BY_KIND: Final[Sequence[tuple[type[DecisionError], int]]] = (
    (BadRequestError, code_pb2.INVALID_ARGUMENT),
    (NotFoundError, code_pb2.NOT_FOUND),
    (StateError, code_pb2.FAILED_PRECONDITION),
    (CallerError, code_pb2.PERMISSION_DENIED),
    (TokenError, code_pb2.UNAUTHENTICATED),
)
_log = structlog.get_logger(__name__)
_INTERNAL: Final[int] = code_pb2.INTERNAL


class InternalError(DecisionError):
    """Something nobody foresaw. Its cause is in the log, under the same moment, and nowhere else."""

    def __init__(self) -> None:
        super().__init__("something went wrong inside; nothing was allowed")


def grpc_code(error: DecisionError) -> int:
    """The google.rpc.Code of an error."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), _INTERNAL)


def to_status(error: DecisionError) -> Message:
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN)
    if error.next_step:
        info.metadata["next"] = error.next_step[:_TEXT]
    detail = any_pb2.Any()
    detail.Pack(info)
    status: Message = status_pb2.Status(code=grpc_code(error), message=sentence(error)[:_TEXT], details=[detail])
    return status


async def abort(context: grpc.aio.ServicerContext[object, object], error: DecisionError) -> NoReturn:
    """End the call with the error's status."""
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise error  # abort raises; this is for a context that doesn't


def report(rpc: str, error: Exception) -> None:
    """Where it happened, not what it said: an exception's words may hold a caller's."""
    walked = traceback.extract_tb(error.__traceback__, limit=-12)
    frames = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in walked]
    _log.error("a call failed in a way nobody foresaw", rpc=rpc, error=type(error).__name__, frames=frames)
