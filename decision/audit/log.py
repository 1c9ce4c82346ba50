"""The Recorder: group commit in one writer thread, so that many waiting decisions share one sync.

Answered means durable. Any failure to write or sync is a RecordError for everyone waiting on that write, and the
log goes on by itself once the disk does: no acknowledged record is lost or doubled and the index has no gap.

What is *promised* has its index before it is durable (ADR 35). It keeps that index: after a failed write it is written
first, as soon as the disk takes it, and what else had been counted before it and was refused leaves `unwritten` records
in its places. Nothing is promised while the disk fails.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from decision.audit import record
from decision.audit.disk import Disk, PosixDisk
from decision.audit.segments import CorruptLogError, Segment, SegmentWriter, lines
from decision.errors import RecordError
from decision.model import JSON
from decision.ports import Clock, Promised

PENDING_CALLS: Final = 1024  # calls waiting for the writer; further ones wait for room
PENDING_BYTES: Final = 128 << 20  # of text in them; a single call larger than this waits until it is alone
DEADLINE_S: Final = 5.0  # a disk slower than this is a disk that failed
READ_BATCH: Final = 256
PROBE_S: Final = 0.5  # how often an idle writer tries a disk that failed
HOLES: Final = 64  # indexes counted for what was then refused, beyond which nothing is promised

_log = structlog.get_logger("twokey.decision.audit")


@dataclass(slots=True)
class _Call:
    records: Sequence[tuple[str, JSON]]
    done: asyncio.Future[int]
    time: str = field(default="")
    index: int = -1  # of what is promised, and its line
    line: bytes = b""


class SegmentLog:
    """Recorder over a directory of segments. Made by `open`, ended by `close`."""

    def __init__(self, writer: SegmentWriter, disk: Disk, clock: Clock, *, deadline_s: float) -> None:
        self._writer = writer
        self._disk = disk
        self._clock = clock
        self._deadline = deadline_s
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(PENDING_CALLS)
        self._pending_bytes = 0
        self._crowded: set[asyncio.Future[None]] = set()
        # Both ends in C: little runs between a record and its sync. None, the last, ends the writer.
        self._inbox: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closing = False
        self._size = writer.size
        self._next = (
            writer.size
        )  # no smaller index gets what is handed over next: a failure only makes the true one less
        self._queued = 0  # records handed over, neither written nor refused
        self._promises = 0  # of them, those that were promised
        self._promised: asyncio.Future[int] | None = None  # the last of these
        self._segments = writer.segments
        self._healthy = True
        self._stalled = False
        self._grown: set[asyncio.Future[None]] = set()
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        clock: Clock,
        disk: Disk | None = None,
        max_segment_bytes: int = 64 << 20,
        deadline_s: float = DEADLINE_S,
    ) -> SegmentLog:
        """Recover and lock the directory. Raises RecordError (taken, unreadable) or CorruptLogError."""
        disk = disk or PosixDisk()
        try:
            writer = await asyncio.to_thread(_make_writer, disk, directory, max_segment_bytes)
        except OSError as error:
            raise RecordError(f"the log in {directory} can't be opened: {error.strerror or error}") from error
        return cls(writer, disk, clock, deadline_s=deadline_s)

    @property
    def size(self) -> int:
        """Records acknowledged."""
        return self._size

    @property
    def healthy(self) -> bool:
        """False after a write that failed or didn't end in time, until one succeeds."""
        return self._healthy and not self._stalled and self._thread.is_alive()

    @property
    def recovered_bytes(self) -> int:
        """Bytes of a torn, never acknowledged tail that were cut at start."""
        return self._writer.recovered_bytes

    async def append(self, kind: str, body: JSON) -> int:
        return await self.append_many([(kind, body)])

    async def append_many(self, records: Sequence[tuple[str, JSON]]) -> int:
        """All of them, in order, next to each other, or none. The index of the last. Raises RecordError."""
        if not records:
            raise record.RecordFormatError("nothing to record")
        size = sum([record.check_body(kind, body) for kind, body in records])
        try:
            async with asyncio.timeout(self._deadline):
                while self._pending_bytes and self._pending_bytes + size > PENDING_BYTES:
                    await self._less_crowded()
                await self._room.acquire()
                done = self._submit(records, size)
                return await asyncio.shield(done)
        except TimeoutError:
            self._stalled = True
            raise RecordError("the log did not confirm the record in time") from None

    async def promise(self, kind: str, body: JSON) -> Promised | None:
        """One record whose index is told before it is durable; it is written at once, in its order. None: not now, the
        disk fails or too much waits. Never waits. Raises RecordFormatError."""
        size = record.check_body(kind, body)
        holes = self._next - self._size - self._queued
        crowded = self._room.locked() or self._pending_bytes + size > PENDING_BYTES
        if not self.healthy or self._closing or crowded or holes > HOLES:
            return None
        time = record.timestamp(self._clock.now())
        index = self._next
        line = record.line(index, time, kind, body)
        await self._room.acquire()  # there is some: this doesn't wait
        call = _Call((), self._expected(size), time, index, line)
        self._count(1)
        self._promises += 1
        self._promised = call.done
        self._inbox.put(call)
        return Promised(index, call.done)

    async def _less_crowded(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._crowded.add(waiter)
        try:
            await waiter
        finally:
            self._crowded.discard(waiter)

    def _submit(self, records: Sequence[tuple[str, JSON]], size: int) -> asyncio.Future[int]:
        done = self._expected(size)
        if self._closing or not self._thread.is_alive():
            done.set_exception(RecordError("the log is closed"))
        else:
            self._count(len(records))
            self._inbox.put(_Call(records, done, record.timestamp(self._clock.now())))
        return done

    def _expected(self, size: int) -> asyncio.Future[int]:
        done: asyncio.Future[int] = self._loop.create_future()
        self._pending_bytes += size
        done.add_done_callback(lambda done: self._finished(done, size))
        return done

    def _count(self, records: int) -> None:
        self._next += records
        self._queued += records

    def _finished(self, done: asyncio.Future[int], size: int) -> None:
        self._room.release()
        self._pending_bytes -= size
        for waiter in self._crowded:
            if not waiter.done():
                waiter.set_result(None)
        if not done.cancelled():
            done.exception()  # seen, even when its caller has gone

    # The writer thread.

    def _run(self) -> None:
        owed: list[_Call] = []  # promised, and not written yet because the disk failed: before everything else
        while (taken := self._take(idle=self._writer.healthy and not owed)) is not None:
            owed = self._write([*owed, *taken])
        if owed and (lost := self._write(owed)):
            _log.error("records lost: the disk took them neither in time nor at the end", records=len(lost))

    def _write(self, calls: Sequence[_Call]) -> list[_Call]:
        """Write and sync them, or try a disk that failed where there are none. What is still owed."""
        try:
            if not calls:
                self._writer.probe()
                self._loop.call_soon_threadsafe(self._healed)
                return []
            encoded = self._encode(calls)
            size = self._writer.append([item for items in encoded for item in items])
        except (OSError, RecordError) as error:
            self._report([call for call in calls if call.index < 0], None, error)
            return [call for call in calls if call.index >= 0]
        ends = []
        index = size - sum(map(len, encoded))
        for items in encoded:
            index += len(items)
            ends.append(index - 1)
        self._report(calls, ends, None)
        return []

    def _take(self, *, idle: bool) -> list[_Call] | None:
        """Everything waiting, up to a bound; empty when the disk should be tried (never where there is nothing to try,
        `idle`); None when all is done."""
        inbox = self._inbox
        try:
            call = inbox.get(timeout=None if idle else PROBE_S)
        except queue.Empty:
            return []
        if call is None:
            return None
        calls = [call]
        while len(calls) < PENDING_CALLS and not inbox.empty():  # nobody else takes from it
            call = inbox.get()
            if call is None:
                inbox.put(None)  # the last there is: for the next time
                break
            calls.append(call)
        return calls

    def _healed(self) -> None:
        self._healthy, self._stalled = True, False

    def _encode(self, calls: Sequence[_Call]) -> list[list[bytes]]:
        index = self._writer.size
        encoded = []
        for call in calls:
            items = []
            if call.index >= 0:
                if call.index < index:  # can't be. If it is, the thread ends here, and with it every answer
                    raise RuntimeError(f"record {call.index} was promised, and another one has its place")
                items = [record.line(hole, call.time, "unwritten", {}) for hole in range(index, call.index)]
                items.append(call.line)
                index = call.index + 1
            for kind, body in call.records:
                items.append(record.line(index, call.time, kind, body))
                index += 1
            encoded.append(items)
        return encoded

    def _report(self, calls: Sequence[_Call], ends: Sequence[int] | None, error: Exception | None) -> None:
        segments = self._writer.segments

        def settle() -> None:
            self._queued -= sum([len(call.records) or 1 for call in calls])
            if ends is None:
                self._healthy = False
                failure = RecordError(f"the record could not be written: {error}")
                for call in calls:
                    if not call.done.done():
                        call.done.set_exception(failure)
                self._recount()
                return
            self._healthy, self._stalled = True, False
            self._size, self._segments = ends[-1] + 1, segments
            self._promises -= sum([call.index >= 0 for call in calls])
            self._recount()
            for call, end in zip(calls, ends, strict=True):
                if not call.done.done():
                    call.done.set_result(end)
            for waiter in self._grown:
                if not waiter.done():
                    waiter.set_result(None)
            self._grown.clear()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)

    def _recount(self) -> None:
        """What was counted for what is refused is free again, unless something was promised behind it."""
        if not self._promises:
            self._next = self._size + self._queued

    async def close(self) -> None:
        """Write what waits, then release the directory."""
        if not self._closing:
            self._closing = True
            self._inbox.put(None)
        await asyncio.to_thread(self._thread.join, self._deadline)
        if not self._thread.is_alive():
            self._writer.close()

    # Reading.

    async def read(self, start: int, limit: int | None) -> AsyncIterator[tuple[int, bytes]]:
        """(index, canonical JSON) of acknowledged records from `start`. Raises CorruptLogError, RecordError."""
        index = max(start, 0)
        end = self._size if limit is None else min(self._size, index + limit)
        place: tuple[int, int] | None = None  # (index, offset) to go on from, inside one segment
        while index < end:
            batch, place = await self._read_batch(index, end, place)
            for payload in batch:
                yield index, payload
                index += 1

    async def settled(self) -> int:
        """How many records there are once what was promised is written, so that whoever was answered finds the record.
        Where the disk fails: those that there are."""
        if self._promised is not None and not self._promised.done():
            await asyncio.wait([self._promised], timeout=self._deadline)
        return self._size

    async def grown(self, size: int) -> None:
        """Return when the log holds more than `size` records. The caller brings the deadline."""
        while self._size <= size:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._grown.add(waiter)
            try:
                await waiter
            finally:
                self._grown.discard(waiter)

    async def _read_batch(
        self, index: int, end: int, place: tuple[int, int] | None
    ) -> tuple[list[bytes], tuple[int, int] | None]:
        segments = self._segments
        position = bisect_right([segment.first for segment in segments], index) - 1
        segment = segments[position]
        if position + 1 < len(segments):
            end = min(end, segments[position + 1].first)
        if place is None or place[0] <= segment.first:
            place = (segment.first, 0)
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.to_thread(
                    _read_lines, self._disk, segment, place, index, min(end, index + READ_BATCH)
                )
        except (OSError, TimeoutError) as error:
            raise RecordError(f"the log can't be read: {error}") from error


def _make_writer(disk: Disk, directory: Path, max_segment_bytes: int) -> SegmentWriter:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return SegmentWriter(disk, directory, max_segment_bytes=max_segment_bytes)


def _read_lines(
    disk: Disk, segment: Segment, place: tuple[int, int], index: int, end: int
) -> tuple[list[bytes], tuple[int, int]]:
    """Records index..end of one segment, scanning from `place`; checked against their checksum and index."""
    at, offset = place
    batch: list[bytes] = []
    descriptor = disk.open(segment.path, create=False)
    try:
        for begin, content in lines(disk, descriptor, disk.size(descriptor), start=offset):
            if at >= end:
                break
            if at >= index:
                payload = record.parse_line(content)
                if payload is None or record.index_of(payload) != at:
                    raise CorruptLogError(f"{segment.path.name}: record {at} at byte {begin} is not what was written")
                batch.append(payload)
            at += 1
            offset = begin + len(content) + 1
    finally:
        disk.close(descriptor)
    if len(batch) != end - index:
        raise CorruptLogError(f"{segment.path.name}: record {index + len(batch)} is missing")
    return batch, (at, offset)
