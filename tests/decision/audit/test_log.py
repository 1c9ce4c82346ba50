"""decision.audit.log and segments: answered means durable, whatever the disk or the kernel does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision.audit import log as log_module
from decision.audit import record
from decision.audit.disk import PosixDisk
from decision.audit.log import SegmentLog
from decision.audit.segments import CorruptLogError, recover, segment_name
from decision.clock import SystemClock
from decision.errors import RecordError
from tests.decision.audit.faults import FailingDisk


@contextlib.asynccontextmanager
async def opened(directory: Path, disk: PosixDisk | None = None, **options: float) -> AsyncIterator[SegmentLog]:
    log = await SegmentLog.open(directory, clock=SystemClock(), disk=disk, **options)  # type: ignore[arg-type]  # test
    try:
        yield log
    finally:
        await log.close()


def segments_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


async def numbers(log: SegmentLog, start: int = 0, limit: int | None = None) -> list[int]:
    found = []
    async for index, payload in log.read(start, limit):
        document = orjson.loads(payload)
        assert document["index"] == index
        found.append(document["n"])
    return found


async def test_appends_and_reads_across_segments(tmp_path: Path) -> None:
    async with opened(tmp_path, max_segment_bytes=300) as log:
        for n in range(20):
            assert await log.append("act", {"n": n}) == n
        assert await numbers(log) == list(range(20))
        assert await numbers(log, 7, 5) == [7, 8, 9, 10, 11]
        assert await numbers(log, 30) == []
    names = [p.name for p in segments_in(tmp_path)]
    assert len(names) > 3
    assert names[0] == segment_name(0)
    async with opened(tmp_path, max_segment_bytes=300) as log:
        assert log.size == 20
        assert await log.append("act", {"n": 20}) == 20
        assert await numbers(log, 18) == [18, 19, 20]


async def test_many_are_consecutive_and_share_syncs(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with opened(tmp_path, disk) as log:
        calls = [log.append_many([("act", {"n": n}), ("act", {"n": n})]) for n in range(300)]
        lasts = await asyncio.gather(*calls)
        assert sorted(lasts) == list(range(1, 600, 2))
        assert disk.syncs < 150  # group commit
        found = await numbers(log)
        assert found[::2] == found[1::2]


async def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(RecordError, match="another process"):
            await SegmentLog.open(tmp_path, clock=SystemClock())


async def test_a_bad_record_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        with pytest.raises(RecordError):
            await log.append_many([("act", {"n": 0}), ("act", {"n": 0.5})])
        with pytest.raises(RecordError):
            await log.append_many([])
        assert await log.append("act", {"n": 1}) == 0


@pytest.mark.parametrize("room", [0, 1, 30, 90, 150])
async def test_a_full_disk_refuses_then_heals_without_gap(tmp_path: Path, room: int) -> None:
    disk = FailingDisk()
    async with opened(tmp_path, disk, max_segment_bytes=200) as log:
        await log.append("act", {"n": 0})
        disk.room = room
        refused = 0
        for n in range(100, 110):
            try:
                await log.append("act", {"n": n, "pad": "x" * 100})
            except RecordError:
                refused += 1
        assert refused >= 9
        assert not log.healthy
        disk.room = None
        assert await log.append("act", {"n": 1}) == log.size - 1
        assert log.healthy
        kept = await numbers(log)
        assert kept[0] == 0
        assert kept[-1] == 1
        assert len(kept) == 12 - refused
    async with opened(tmp_path) as log:
        assert await numbers(log) == kept


async def test_a_real_full_disk(tmp_path: Path) -> None:
    """A 256 KiB file system, filled."""
    process = await asyncio.create_subprocess_exec(
        "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path), stderr=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        pytest.skip("no right to mount a small file system here")
    try:
        async with opened(tmp_path) as log:
            written = 0

            async def fill() -> None:
                nonlocal written
                while True:
                    await log.append("act", {"n": written, "pad": "x" * 10_000})
                    written += 1

            with pytest.raises(RecordError, match="No space left"):
                await fill()
            assert 5 < written < 30
            await log.append("act", {"n": written})  # a smaller one still fits
            assert await numbers(log) == list(range(written + 1))
    finally:
        await (await asyncio.create_subprocess_exec("umount", str(tmp_path))).wait()


@pytest.mark.parametrize("fault", ["sync_fails", "directory_fails"])
async def test_a_failed_sync_refuses_everyone_waiting_then_heals(tmp_path: Path, fault: str) -> None:
    disk = FailingDisk()
    async with opened(tmp_path, disk, max_segment_bytes=1) as log:
        await log.append("act", {"n": 0})
        setattr(disk, fault, True)
        results = await asyncio.gather(*(log.append("act", {"n": n}) for n in range(1, 20)), return_exceptions=True)
        assert all(isinstance(result, RecordError) for result in results)
        setattr(disk, fault, False)
        assert await log.append("act", {"n": 20}) == 1
        assert await numbers(log) == [0, 20]
    async with opened(tmp_path) as log:
        assert await numbers(log) == [0, 20]


async def test_while_healing_fails_nothing_is_acknowledged(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with opened(tmp_path, disk) as log:
        await log.append("act", {"n": 0})
        disk.sync_fails = True
        with pytest.raises(RecordError):
            await log.append("act", {"n": 1})
        disk.sync_fails, disk.truncate_fails = False, True
        with pytest.raises(RecordError):
            await log.append("act", {"n": 2})
        disk.truncate_fails = False
        assert await log.append("act", {"n": 3}) == 1
        assert await numbers(log) == [0, 3]


async def test_an_idle_log_notices_that_the_disk_is_back(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with opened(tmp_path, disk) as log:
        disk.sync_fails = True
        with pytest.raises(RecordError):
            await log.append("act", {"n": 0})
        disk.sync_fails = False
        async with asyncio.timeout(5):
            while not log.healthy:  # noqa: ASYNC110  # the health flag is a poll by nature
                await asyncio.sleep(0.05)


async def test_a_hung_disk_is_a_failed_one(tmp_path: Path) -> None:
    release = threading.Event()

    class Hung(PosixDisk):
        def sync(self, descriptor: int) -> None:
            release.wait(20)
            super().sync(descriptor)

    async with opened(tmp_path, Hung(), deadline_s=0.2) as log:
        with pytest.raises(RecordError, match="in time"):
            await log.append("act", {"n": 0})
        assert not log.healthy
        release.set()
        await log.append("act", {"n": 1})
        assert log.healthy


async def test_what_waits_for_a_slow_disk_is_bounded_in_bytes_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PENDING_BYTES", 10_000)
    gate, reached = threading.Event(), threading.Event()
    waiting: list[int] = []

    class SlowDisk(PosixDisk):
        def sync(self, descriptor: int) -> None:
            reached.set()
            gate.wait(20)
            super().sync(descriptor)

    submit = SegmentLog._submit  # to see how much is let in at once

    def counted(log: SegmentLog, records: object, size: int) -> asyncio.Future[int]:
        done = submit(log, records, size)  # type: ignore[arg-type]  # handed through
        waiting.append(log._pending_bytes)
        return done

    monkeypatch.setattr(SegmentLog, "_submit", counted)
    async with opened(tmp_path, SlowDisk()) as log:
        calls = [asyncio.ensure_future(log.append("act", {"n": n, "text": "x" * 4000})) for n in range(10)]
        huge = asyncio.ensure_future(log.append("act", {"n": 10, "text": "x" * 50_000}))
        await asyncio.to_thread(reached.wait, 10)
        await asyncio.sleep(0)
        assert len(waiting) == 2
        gate.set()
        assert sorted(await asyncio.gather(*calls, huge)) == list(range(11))
        assert sorted(await numbers(log)) == list(range(11))
    assert max(size for size in waiting if size < 50_000) <= 10_000
    assert [size for size in waiting if size >= 50_000] == [50_024]  # larger than the bound: alone


async def test_a_cancelled_caller_loses_no_record(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        task = asyncio.ensure_future(log.append("act", {"n": 0}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await log.append("act", {"n": 1})
        assert await numbers(log) == [0, 1]


async def test_a_closed_log_refuses(tmp_path: Path) -> None:
    log = await SegmentLog.open(tmp_path, clock=SystemClock())
    await log.close()
    with pytest.raises(RecordError, match="closed"):
        await log.append("act", {"n": 0})


async def test_waiting_for_growth(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        waiter = asyncio.ensure_future(log.grown(0))
        await asyncio.sleep(0)
        assert not waiter.done()
        await log.append("act", {"n": 0})
        await asyncio.wait_for(waiter, 5)


async def filled(directory: Path, count: int = 6) -> list[Path]:
    async with opened(directory, max_segment_bytes=200) as log:
        for n in range(count):
            await log.append("act", {"n": n})
    return segments_in(directory)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 70))
def test_a_torn_tail_is_cut(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    directory = tmp_path_factory.mktemp("torn")
    segments = asyncio.run(filled(directory))
    whole = segments[-1].read_bytes()

    segments[-1].write_bytes(whole + record.line(6, "t", "act", {"n": 6, "pad": "y" * 60})[:cut])

    async def check() -> None:
        async with opened(directory) as log:
            assert log.size == 6
            assert log.recovered_bytes == cut
            assert await log.append("act", {"n": 6}) == 6
            assert await numbers(log) == [0, 1, 2, 3, 4, 5, 6]

    asyncio.run(check())


async def test_blocks_that_never_reached_the_disk_are_a_torn_tail(tmp_path: Path) -> None:
    segments = await filled(tmp_path)
    with segments[-1].open("ab") as file:
        file.write(b'0badc0de {"index"' + b"\0" * 4096 + b'"}\n')
    async with opened(tmp_path) as log:
        assert log.size == 6


@pytest.mark.parametrize("place", ["first", "middle", "last", "newline", "zeroed", "swap", "missing", "first-missing"])
async def test_corruption_is_refused_and_nothing_is_repaired(tmp_path: Path, place: str) -> None:
    segments = await filled(tmp_path, 9)
    assert len(segments) >= 3
    tail = segments[-2] if place != "last" and place != "newline" else segments[-1]
    data = bytearray(tail.read_bytes())
    if place == "first":
        data[20] ^= 1
    elif place == "middle":
        data[len(data) // 2] ^= 1
    elif place == "last":
        data[-4] ^= 1
    elif place == "newline":
        data[-1] ^= 1
    elif place == "zeroed":
        data[9:60] = bytes(51)
    elif place == "swap":
        lines = bytes(data).splitlines(keepends=True)
        assert len(lines) > 1
        data = bytearray(b"".join(reversed(lines)))
    tail.write_bytes(data)
    if place == "missing":
        tail.unlink()
    if place == "first-missing":
        segments[0].unlink()
    before = {p.name: p.read_bytes() for p in segments_in(tmp_path)}
    with pytest.raises(CorruptLogError):
        await SegmentLog.open(tmp_path, clock=SystemClock())
    assert {p.name: p.read_bytes() for p in segments_in(tmp_path)} == before


async def test_a_stray_segment_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.seg").write_text("hello")
    with pytest.raises(CorruptLogError, match="not the name"):
        await SegmentLog.open(tmp_path, clock=SystemClock())


async def test_reading_checks_what_it_reads(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        for n in range(3):
            await log.append("act", {"n": n})
        file = segments_in(tmp_path)[0]
        data = bytearray(file.read_bytes())
        data[20] ^= 1
        file.write_bytes(data)
        with pytest.raises(CorruptLogError):
            await numbers(log)


async def test_an_unreadable_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="can't be opened"):
        await SegmentLog.open(tmp_path / "file" / "audit", clock=SystemClock())


@pytest.mark.parametrize("acknowledged", [1, 60, 200])
async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.decision.audit.writer_process", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    seen: dict[int, tuple[int, int]] = {}
    while line := await asyncio.wait_for(process.stdout.readline(), 30):
        if line.endswith(b"\n"):
            index, worker, number = map(int, line.split())
            seen[index] = (worker, number)
        if len(seen) == acknowledged:
            process.send_signal(signal.SIGKILL)
    await process.wait()
    assert len(seen) >= acknowledged
    assert recover(PosixDisk(), tmp_path).size > max(seen)
    async with opened(tmp_path) as log:
        async for index, payload in log.read(0, None):
            document = orjson.loads(payload)
            if index in seen:
                assert (document["worker"], document["number"]) == seen[index]
