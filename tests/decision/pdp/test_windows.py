"""decision.pdp.windows: answers before their record is durable, and no more of them than the window says (ADR 35)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from decision.audit.log import SegmentLog
from decision.clock import SystemClock
from decision.model import Durability, Outcome
from decision.pdp.windows import Windows
from decision.store.engine import open_store
from tests.decision.audit.test_log_promises import BlockedDisk
from tests.decision.pdp.test_pipeline import ALLOW, LEASED, World


class ShiftedClock(SystemClock):
    """The real one, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
async def disk() -> AsyncIterator[BlockedDisk]:
    disk = BlockedDisk()
    yield disk
    disk.go.set()


@pytest.fixture
async def world(tmp_path: Path, disk: BlockedDisk) -> AsyncIterator[World]:
    log = await SegmentLog.open(tmp_path / "audit", clock=SystemClock(), disk=disk)
    store = await open_store(f"sqlite:///{tmp_path / 'db'}")
    world = World(store, log, disk, ShiftedClock())
    world.engine.answer = lambda _document: LEASED
    yield world
    disk.go.set()
    await store.close()
    await log.close()


async def blocked(world: World, disk: BlockedDisk) -> str:
    """A session, and a disk that syncs nothing until it is told to."""
    session = await world.session()
    disk.go.clear()
    return session


async def waits(task: asyncio.Future[Any]) -> bool:
    """It has come to the log, and isn't answered."""
    done, _ = await asyncio.wait({task}, timeout=0.2)
    return not done


async def test_a_windowed_answer_doesnt_wait_for_the_disk(world: World, disk: BlockedDisk) -> None:
    session = await blocked(world, disk)
    size = world.log.size
    answer = await asyncio.wait_for(world.decide(session), 5)
    assert (answer.outcome, answer.durability) == (Outcome.ALLOW, Durability.WINDOWED)
    assert world.log.size == size == answer.record
    disk.go.set()
    await world.log.settled()
    records = [orjson.loads(payload) async for _, payload in world.log.read(answer.record, 1)]
    assert [record["decision"] for record in records] == [answer.id]


@pytest.mark.parametrize("result", [ALLOW, replace(LEASED, durability=Durability.BEFORE), replace(LEASED, window=None)])
async def test_everything_else_waits(world: World, disk: BlockedDisk, result: Any) -> None:
    session = await blocked(world, disk)
    world.engine.answer = lambda _document: result
    asked = asyncio.ensure_future(world.decide(session))
    assert await waits(asked)
    disk.go.set()
    assert (await asked).outcome is Outcome.ALLOW


async def test_a_full_window_waits_and_another_session_doesnt(world: World, disk: BlockedDisk) -> None:
    session, other = await world.session(), await blocked(world, disk)
    world.engine.answer = lambda _document: replace(LEASED, window=(3, 60_000))
    answers = [await asyncio.wait_for(world.decide(session, sequence=n), 5) for n in range(3)]
    fourth = asyncio.ensure_future(world.decide(session, sequence=3))
    assert await waits(fourth)
    assert (await asyncio.wait_for(world.decide(other), 5)).outcome is Outcome.ALLOW
    disk.go.set()
    answers.append(await fourth)
    assert world.log.size > answers[-1].record
    for n, answer in enumerate(answers):
        (record,) = [orjson.loads(payload) async for _, payload in world.log.read(answer.record, 1)]
        assert (record["sequence"], record["decision"]) == (n, answer.id)
    disk.go.clear()  # all are durable: there is room again
    assert (await asyncio.wait_for(world.decide(session), 5)).durability is Durability.WINDOWED


async def test_an_old_window_waits(world: World, disk: BlockedDisk) -> None:
    session = await blocked(world, disk)
    world.engine.answer = lambda _document: replace(LEASED, window=(256, 60_000))
    await asyncio.wait_for(world.decide(session), 5)
    await asyncio.wait_for(world.decide(session), 5)
    world.clock.ahead = 60.0
    third = asyncio.ensure_future(world.decide(session))
    assert await waits(third)
    disk.go.set()
    assert (await third).outcome is Outcome.ALLOW


async def test_after_a_failed_write_nothing_is_answered_until_what_was_promised_is_written(
    world: World, disk: BlockedDisk
) -> None:
    session, other = await world.session(), await blocked(world, disk)
    answer = await world.decide(session)  # both before the disk fails
    before = await world.decide(other, sequence=5)
    disk.sync_fails = True
    world.engine.answer = lambda _document: ALLOW
    after = asyncio.ensure_future(world.decide(other, sequence=6))
    assert await waits(after)
    disk.go.set()
    assert (await after).code == "RECORD_UNAVAILABLE"
    world.engine.answer = lambda _document: LEASED
    for asking in (session, other):
        refused = await world.decide(asking)
        assert (refused.outcome, refused.code, refused.record) == (Outcome.DENY, "RECORD_UNAVAILABLE", -1)
    disk.sync_fails = False
    later = await world.decide(session)
    assert later.outcome is Outcome.ALLOW
    for one in (answer, before, later):
        (record,) = [orjson.loads(payload) async for _, payload in world.log.read(one.record, 1)]
        assert record["decision"] == one.id


async def test_a_window_of_nothing_has_no_room() -> None:
    windows = Windows(SystemClock())
    assert not windows.room("s", (0, 50))
    assert not windows.room("s", (256, 0))
    assert windows.room("s", (1, 1))


async def test_a_window_forgets_what_is_durable() -> None:
    clock = ShiftedClock()
    windows, loop = Windows(clock), asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    windows.add("s", first)
    clock.ahead = 1.0
    windows.add("s", second)
    assert not windows.room("s", (2, 60_000))
    assert not windows.room("s", (3, 1000))
    first.set_result(1)
    await asyncio.sleep(0)
    assert windows.room("s", (2, 1000))  # the oldest is the second now
    second.set_result(2)
    await asyncio.sleep(0)
    assert not windows._sessions
