"""The Recorder: group commit in one writer thread, so that many waiting decisions share one sync.

Answered means durable. Any failure to write or sync is a RecordError for everyone waiting on that write, and the
log goes on by itself once the disk does: no acknowledged record is lost or doubled and the index has no gap.
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

from decision.audit import record
from decision.audit.disk import Disk, PosixDisk
from decision.audit.segments import CorruptLogError, Segment, SegmentWriter, lines
from decision.errors import RecordError
from decision.model import JSON
from decision.ports import Clock

PENDING_CALLS: Final = 1024  # calls waiting for the writer; further ones wait for room
PENDING_BYTES: Final = 128 << 20  # of text in them; a single call larger than this waits until it is alone
DEADLINE_S: Final = 5.0  # a disk slower than this is a disk that failed
READ_BATCH: Final = 256
PROBE_S: Final = 0.5  # how often an idle writer tries a disk that failed


@dataclass(slots=True)
class _Call:
    records: Sequence[tuple[str, JSON]]
    done: asyncio.Future[int]
    time: str = field(default="")


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

    async def _less_crowded(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._crowded.add(waiter)
        try:
            await waiter
        finally:
            self._crowded.discard(waiter)

    def _submit(self, records: Sequence[tuple[str, JSON]], size: int) -> asyncio.Future[int]:
        done: asyncio.Future[int] = self._loop.create_future()
        self._pending_bytes += size
        done.add_done_callback(lambda done: self._finished(done, size))
        if self._closing or not self._thread.is_alive():
            done.set_exception(RecordError("the log is closed"))
        else:
            self._inbox.put(_Call(records, done, record.timestamp(self._clock.now())))
        return done

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
        while (calls := self._take()) is not None:
            try:
                if not calls:
                    self._writer.probe()
                    self._loop.call_soon_threadsafe(self._healed)
                    continue
                encoded = self._encode(calls)
                size = self._writer.append([item for items in encoded for item in items])
            except (OSError, RecordError) as error:
                self._report(calls, None, error)
            else:
                ends = []
                index = size - sum(map(len, encoded))
                for items in encoded:
                    index += len(items)
                    ends.append(index - 1)
                self._report(calls, ends, None)

    def _take(self) -> list[_Call] | None:
        """Everything waiting, up to a bound; empty when the disk should be tried; None when all is done."""
        inbox = self._inbox
        try:
            call = inbox.get(timeout=None if self._writer.healthy else PROBE_S)
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
            for kind, body in call.records:
                items.append(record.line(index, call.time, kind, body))
                index += 1
            encoded.append(items)
        return encoded

    def _report(self, calls: Sequence[_Call], ends: Sequence[int] | None, error: Exception | None) -> None:
        segments = self._writer.segments

        def settle() -> None:
            if ends is None:
                self._healthy = False
                failure = RecordError(f"the record could not be written: {error}")
                for call in calls:
                    if not call.done.done():
                        call.done.set_exception(failure)
                return
            self._healthy, self._stalled = True, False
            self._size, self._segments = ends[-1] + 1, segments
            for call, end in zip(calls, ends, strict=True):
                if not call.done.done():
                    call.done.set_result(end)
            for waiter in self._grown:
                if not waiter.done():
                    waiter.set_result(None)
            self._grown.clear()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)

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
