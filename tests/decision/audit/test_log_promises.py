"""decision.audit.log: what is promised an index keeps it, whatever the disk does (ADR 35)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision.audit import log as log_module
from decision.audit.disk import PosixDisk
from decision.audit.log import SegmentLog
from decision.audit.segments import recover
from decision.clock import SystemClock
from decision.errors import RecordError
from tests.decision.audit.faults import FailingDisk


class BlockedDisk(FailingDisk):
    """Its syncs wait for `go`, once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.reached = threading.Event()

    def sync(self, descriptor: int) -> None:
        self.reached.set()
        self.go.wait(20)
        super().sync(descriptor)


@contextlib.asynccontextmanager
async def opened(directory: Path, disk: PosixDisk) -> AsyncIterator[SegmentLog]:
    log = await SegmentLog.open(directory, clock=SystemClock(), disk=disk)
    try:
        yield log
    finally:
        await log.close()


async def promised(log: SegmentLog, n: int) -> int:
    found = await log.promise("act", {"n": n})
    assert found is not None
    return found.index


async def whole(log: SegmentLog) -> list[Any]:
    return [orjson.loads(payload) async for _, payload in log.read(0, None)]


async def test_a_promise_doesnt_wait_for_the_disk_and_its_index_is_true(tmp_path: Path) -> None:
    disk = BlockedDisk()
    async with opened(tmp_path, disk) as log:
        await log.append("act", {"n": 0})
        disk.go.clear()
        disk.reached.clear()
        assert await promised(log, 1) == 1
        await asyncio.to_thread(disk.reached.wait, 10)  # it is being synced; the answer is here already
        before = asyncio.ensure_future(log.append("act", {"n": 2}))
        await asyncio.sleep(0)
        third = await log.promise("act", {"n": 3})
        assert third is not None
        assert third.index == 3
        assert log.size == 1
        assert not before.done()
        assert not third.written.done()
        reading = asyncio.ensure_future(log.settled())  # who reads after the answer sees what was answered
        await asyncio.sleep(0)
        disk.go.set()
        assert await before == 2
        assert await third.written == 3
        assert await reading == 4
        assert [record["n"] for record in await whole(log)] == [0, 1, 2, 3]


async def test_what_a_failing_disk_owes_is_written_first_and_the_rest_is_refused(tmp_path: Path) -> None:
    disk = BlockedDisk()
    async with opened(tmp_path, disk) as log:
        await log.append("act", {"n": 0})
        disk.go.clear()
        disk.reached.clear()
        assert await promised(log, 1) == 1
        await asyncio.to_thread(disk.reached.wait, 10)
        refused = asyncio.ensure_future(log.append("act", {"n": 2}))
        await asyncio.sleep(0)
        assert await promised(log, 3) == 3
        disk.sync_fails = True
        disk.go.set()
        with pytest.raises(RecordError):
            await refused
        assert await log.promise("act", {"n": 4}) is None  # nothing more is answered early, nor late
        with pytest.raises(RecordError):
            await log.append("act", {"n": 5})
        assert not log.healthy
        assert log.size == 1
        disk.sync_fails = False
        assert await log.append("act", {"n": 6}) == 4
        assert [(one["index"], one["kind"], one.get("n")) for one in await whole(log)] == [
            (0, "act", 0),
            (1, "act", 1),
            (2, "unwritten", None),
            (3, "act", 3),
            (4, "act", 6),
        ]
        assert await promised(log, 7) == 5
    assert recover(PosixDisk(), tmp_path).size == 6


async def test_an_idle_log_writes_what_it_owes_once_the_disk_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PROBE_S", 0.02)
    disk = FailingDisk()
    async with opened(tmp_path, disk) as log:
        disk.sync_fails = True
        found = await log.promise("act", {"n": 0})
        assert found is not None
        with pytest.raises(RecordError):
            await log.append("act", {"n": 1})
        disk.sync_fails = False
        assert await asyncio.wait_for(found.written, 5) == 0
        assert log.healthy


async def test_what_was_promised_beside_a_record_that_has_no_line_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PROBE_S", 0.02)
    line = log_module.record.line

    def odd(index: int, time: str, kind: str, body: Any) -> bytes:
        if body.get("odd"):
            raise log_module.record.RecordFormatError("odd")
        return line(index, time, kind, body)

    monkeypatch.setattr(log_module.record, "line", odd)
    disk = BlockedDisk()
    async with opened(tmp_path, disk) as log:
        disk.go.clear()
        disk.reached.clear()
        first = asyncio.ensure_future(log.append("act", {"n": 0}))
        await asyncio.to_thread(disk.reached.wait, 10)
        refused = asyncio.ensure_future(log.append("act", {"odd": 1}))
        await asyncio.sleep(0)
        found = await log.promise("act", {"n": 2})
        assert found is not None
        disk.go.set()
        assert await first == 0
        with pytest.raises(RecordError, match="odd"):
            await refused
        assert await asyncio.wait_for(found.written, 5) == 2  # nobody else writes meanwhile
        assert [one["kind"] for one in await whole(log)] == ["act", "unwritten", "act"]


@pytest.mark.parametrize("back", [True, False])
async def test_the_end_of_the_log_writes_what_was_promised(tmp_path: Path, back: bool) -> None:
    disk = FailingDisk()
    async with opened(tmp_path, disk) as log:
        await log.append("act", {"n": 0})
        disk.sync_fails = True
        with pytest.raises(RecordError):
            await asyncio.gather(promised(log, 1), log.append("act", {"n": 2}))
        disk.sync_fails = not back
    assert recover(PosixDisk(), tmp_path).size == (2 if back else 1)


async def test_closing_flushes_and_then_promises_nothing(tmp_path: Path) -> None:
    disk = BlockedDisk()
    log = await SegmentLog.open(tmp_path, clock=SystemClock(), disk=disk)
    disk.go.clear()
    assert [await promised(log, n) for n in range(5)] == list(range(5))
    closing = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)
    assert await log.promise("act", {"n": 5}) is None
    disk.go.set()
    await closing
    assert recover(PosixDisk(), tmp_path).size == 5


async def test_room_is_bounded_for_promises_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "PENDING_BYTES", 1000)
    disk = BlockedDisk()
    async with opened(tmp_path, disk) as log:
        disk.go.clear()
        first = await log.promise("act", {"pad": "x" * 600})
        assert first is not None
        assert await log.promise("act", {"pad": "x" * 600}) is None
        disk.go.set()
        await first.written
        await asyncio.sleep(0)  # its place is free
        assert await log.promise("act", {"pad": "x" * 600}) is not None


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["promise", "append", "pair", "fail", "work", "turn", "settle"])), max_size=40
    )
)
def test_every_index_given_out_is_true(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str]]) -> None:
    """Whatever fails and recovers when: no gap, no record twice, each where its answer said."""
    directory = tmp_path_factory.mktemp("promises")
    kept: dict[int, int] = {}
    refused: set[int] = set()

    async def run() -> None:
        disk = FailingDisk()
        waiting: list[tuple[int, asyncio.Future[int]]] = []

        async def settle() -> None:
            for n, done in waiting:
                try:
                    kept[await done] = n
                except RecordError:
                    refused.add(n)
            waiting.clear()

        async with opened(directory, disk) as log:
            for n, (step,) in enumerate(steps):
                if step == "promise":
                    found = await log.promise("act", {"n": n})
                    if found is not None:
                        assert found.index not in kept
                        kept[found.index] = n
                elif step in {"append", "pair"}:
                    bodies = [("act", {"n": n})] if step == "append" else [("act", {"n": -1}), ("act", {"n": n})]
                    waiting.append((n, asyncio.ensure_future(log.append_many(bodies))))
                    await asyncio.sleep(0)
                elif step == "settle":
                    await settle()
                elif step == "turn":
                    await asyncio.sleep(0)
                else:
                    disk.sync_fails = step == "fail"
            disk.sync_fails = False
            await settle()
            await log.append("stopped", {})  # a failed write's bytes lie there until the next one

    asyncio.run(run())

    async def check() -> None:
        async with opened(directory, PosixDisk()) as log:
            records = await whole(log)
            for index, n in kept.items():
                assert records[index]["n"] == n
            told = Counter(record["n"] for record in records if record["kind"] == "act" and record["n"] >= 0)
            assert set(told.values()) <= {1}
            assert refused.isdisjoint(told)

    asyncio.run(check())


@pytest.mark.parametrize("writes", [0, 2, 30])
async def test_kill_9_loses_no_more_than_the_window_and_nothing_recorded_before(tmp_path: Path, writes: int) -> None:
    """Killed at some moment; or, with `writes`, once the disk takes no more and every session waits."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.decision.audit.promising_process", str(tmp_path), "4", str(writes)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    seen: dict[int, tuple[str, str, int]] = {}
    waiting: set[str] = set()
    with contextlib.suppress(TimeoutError):
        # All wait: the disk hangs, where nothing comes for a while. Killed too early it loses less.
        while line := await asyncio.wait_for(process.stdout.readline(), 1 if len(waiting) == 3 else 30):
            match line.decode().split():
                case [session, "waits"]:
                    waiting.add(session)
                case [index, session, durability, number] if line.endswith(b"\n"):
                    waiting.discard(session)
                    assert int(index) not in seen
                    seen[int(index)] = (session, durability, int(number))
            if not writes and len(seen) == 100:
                process.kill()
    if process.returncode is None:
        process.kill()
    await process.communicate()
    kept: dict[int, Any] = {}
    async with opened(tmp_path, PosixDisk()) as log:  # the log's own check passes
        async for index, payload in log.read(0, None):
            kept[index] = orjson.loads(payload)
    lost: Counter[str] = Counter()
    for index, (session, durability, number) in seen.items():
        if index in kept:
            assert (kept[index]["session"], kept[index]["number"]) == (session, number)
        else:
            assert durability == "windowed"
            lost[session] += 1
    assert all(count <= 4 for count in lost.values())
