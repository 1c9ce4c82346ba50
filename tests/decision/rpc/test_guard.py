"""decision.rpc.guard, status and supervise: what a failure becomes, and what outlives its caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from twokey.audit.v1 import audit_pb2
from twokey.decision.v1 import decision_pb2

from decision.errors import (
    BadRequestError,
    CallerError,
    DecisionError,
    NotFoundError,
    PolicyUnavailableError,
    RecordError,
    StateError,
    TokenError,
)
from decision.rpc import status
from decision.rpc.supervise import Supervisor
from tests.decision.running import Running, running


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequestError("x"), code_pb2.INVALID_ARGUMENT),
        (BadRequestError("x", code="NOT_SUPPORTED"), code_pb2.UNIMPLEMENTED),
        (NotFoundError("x"), code_pb2.NOT_FOUND),
        (CallerError("x"), code_pb2.PERMISSION_DENIED),
        (TokenError("x", code="TOKEN_EXPIRED"), code_pb2.UNAUTHENTICATED),
        (PolicyUnavailableError("x"), code_pb2.UNAVAILABLE),
        (RecordError("x"), code_pb2.UNAVAILABLE),
        (StateError("x", code="APPROVAL_REDEEMED"), code_pb2.FAILED_PRECONDITION),
        (DecisionError("x"), code_pb2.INTERNAL),
    ],
)
def test_each_error_has_its_code(error: DecisionError, code: int) -> None:
    assert status.grpc_code(error) == code


def test_a_tokens_error_says_only_a_fixed_sentence() -> None:
    made: Any = status.to_status(TokenError("kid canary-kid is not known", code="TOKEN_SIGNATURE"))
    assert made.message == "The token was not accepted."


def test_a_status_fits_into_headers() -> None:
    made = status.to_status(StateError("x" * 100_000, next_step="y" * 100_000))
    assert made.ByteSize() < 4000


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


async def test_what_nobody_foresaw_tells_the_caller_nothing(
    run: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def explode(**_fields: Any) -> None:
        raise ValueError("canary-secret of the caller")

    monkeypatch.setattr(run.service.sessions, "list", explode)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run.decision.ListSessions(
            decision_pb2.ListSessionsRequest(), metadata=run.bearer("carol", "admin"), timeout=5
        )
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "canary" not in (caught.value.details() or "")
    assert "ValueError" not in (caught.value.details() or "")
    shown = capsys.readouterr()
    assert "canary" not in shown.out + shown.err
    assert "ValueError" in shown.out


async def test_a_stream_ends_with_its_token(run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = run.bearer("carol", "auditor")
    request = audit_pb2.ReadRequest(start=run.service.log.size + 1, follow=True)
    stream = run.audit.Read(request, metadata=metadata, timeout=20)
    guard = run.service.guard
    later = guard._clock.now() + timedelta(hours=2)

    class Later:
        def now(self) -> Any:
            return later

    while not guard._streams:  # noqa: ASYNC110 - the call has to arrive
        await asyncio.sleep(0.01)
    monkeypatch.setattr(guard, "_clock", Later())
    await run.session("executor-7", "executor")  # a record, so that the stream moves

    async def drained() -> None:
        while await stream.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drained()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_enforcer_that_went_away_does_not_count_as_alive(run: Running) -> None:
    request = decision_pb2.WatchRevocationsRequest(enforcer="enf-9")
    watch = run.decision.WatchRevocations(request, metadata=run.enforcer)
    await watch.read()
    assert run.service.decision.watching == {"enf-9"}
    watch.cancel()
    async with asyncio.timeout(5):
        while run.service.decision.watching or run.service.revocations.watchers:  # noqa: ASYNC110 - over the network
            await asyncio.sleep(0.01)


async def test_supervised_work_outlives_its_caller_and_is_bounded() -> None:
    supervisor = Supervisor(limit=1)
    go, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    caller = asyncio.ensure_future(supervisor.run(work()))
    await asyncio.sleep(0)
    with pytest.raises(PolicyUnavailableError):
        await supervisor.run(work())
    caller.cancel()
    await asyncio.wait([caller])
    go.set()
    await supervisor.drain(5)
    assert done.is_set()


async def test_draining_gives_up_at_last() -> None:
    supervisor = Supervisor()
    stuck = asyncio.ensure_future(supervisor.run(asyncio.sleep(100)))
    await asyncio.sleep(0)
    await supervisor.drain(0.01)
    await asyncio.wait([stuck], timeout=5)
    assert stuck.cancelled()
