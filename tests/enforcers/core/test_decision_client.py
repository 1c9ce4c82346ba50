"""Turns: what many questions at once get from the service, over its real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from twokey.approval.v1 import approval_pb2
from twokey.decision.v1 import decision_pb2

from enforcers.core import decision_client
from enforcers.core.decision_client import DECIDED_AT_ONCE, DecisionClient
from enforcers.core.errors import DecisionUnavailableError
from tests.enforcers.core.service import SECRET, Authority, ScriptedService, allow, operation


@pytest.fixture
async def client(service: ScriptedService, authority: Authority) -> AsyncIterator[DecisionClient]:
    made = DecisionClient(target=f"127.0.0.1:{service.port}", ca=authority.ca, secret=SECRET)
    yield made
    await made.close()


def question(number: int) -> decision_pb2.DecideRequest:
    return decision_pb2.DecideRequest(session="ses_1", operation=operation(number), sequence=number)


async def test_many_at_once_are_decided_a_few_at_a_time(client: DecisionClient, service: ScriptedService) -> None:
    deciding, most = 0, 0

    async def decide(_: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        nonlocal deciding, most
        deciding += 1
        most = max(most, deciding)
        for _turn in range(5):
            await asyncio.sleep(0)
        deciding -= 1
        return allow()

    service.decide = decide
    async with asyncio.TaskGroup() as group:
        running = group.create_task(client.run())
        asked = [group.create_task(client.decide(question(number))) for number in range(300)]
        await asyncio.wait(asked)
        running.cancel()
    assert all(task.result().HasField("decision") for task in asked)
    assert most <= DECIDED_AT_ONCE
    assert len(service.decided) == 300


async def test_who_gets_no_turn_in_time_is_denied_and_never_asked(
    client: DecisionClient, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_client, "TURN_SECONDS", 0.2)
    full, release = asyncio.Event(), asyncio.Event()

    async def decide(_: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        if len(service.decided) == DECIDED_AT_ONCE:
            full.set()
        await release.wait()
        return allow()

    service.decide = decide
    first = [asyncio.ensure_future(client.decide(question(number))) for number in range(DECIDED_AT_ONCE)]
    await full.wait()
    with pytest.raises(DecisionUnavailableError, match="too many questions"):
        await client.decide(question(900))
    # One that is given up while it waits takes nobody's turn.
    given_up = asyncio.ensure_future(client.decide(question(901)))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait({given_up})
    release.set()
    await asyncio.gather(*first)
    assert (await client.decide(question(902))).HasField("decision")
    assert [one.sequence for one in service.decided][DECIDED_AT_ONCE:] == [902]


async def test_a_watch_begins_when_those_before_it_were_told_something_or_are_over(
    client: DecisionClient, service: ScriptedService
) -> None:
    silent = [client.watch_approval("apr_1") for _ in range(decision_client.WATCHES_BEGUN_AT_ONCE)]
    waiting = [asyncio.ensure_future(anext(watch)) for watch in silent]
    await asyncio.sleep(0)
    last = client.watch_approval("apr_1")
    following = asyncio.ensure_future(anext(last))
    await asyncio.wait({following}, timeout=0.2)
    assert not following.done()
    for future in waiting:
        future.cancel()
    await asyncio.wait(waiting)
    async with asyncio.timeout(20):
        while not following.done():  # those that were given up may still take one each
            service.approvals.put_nowait(approval_pb2.Approval(id="apr_1", state=approval_pb2.STATE_PENDING))
            await asyncio.wait({following}, timeout=0.1)
    assert following.result().state == approval_pb2.STATE_PENDING
    for watch in (*silent, last):
        await watch.aclose()
