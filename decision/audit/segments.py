"""Segment files on disk, synchronous: appending, healing after a failed write, recovery at start.

A segment is named by its first record's index (`00000000000000000042.seg`) and holds lines of decision.audit.record.
What `append` returned for is on the platter; what it raised for is not in the log, once `heal` has run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from decision.audit import record
from decision.audit.disk import Disk
from decision.errors import RecordError

SUFFIX = ".seg"
LOCK = "writer.lock"
_PAGE = 4096
_CHUNK = 1 << 20


class CorruptLogError(RecordError):
    """Something that was acknowledged is not what was written. Nothing is repaired; a person must look."""

    code = "RECORD_CORRUPT"


@dataclass(frozen=True, slots=True)
class Segment:
    first: int  # index of its first record
    path: Path


def segment_name(first: int) -> str:
    return f"{first:020d}{SUFFIX}"


def find(disk: Disk, directory: Path) -> list[Segment]:
    """The directory's segments in order. Raises CorruptLogError for a name that is nobody's."""
    found = []
    for name in disk.names(directory):
        if not name.endswith(SUFFIX):
            continue
        stem = name.removesuffix(SUFFIX)
        if len(stem) != 20 or not (stem.isascii() and stem.isdigit()):
            raise CorruptLogError(f"{name} is not the name of a segment")
        found.append(Segment(int(stem), directory / name))
    return sorted(found, key=lambda segment: segment.first)


def lines(disk: Disk, descriptor: int, length: int, *, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """(offset, line without its newline) up to `length`; the rest after the last newline isn't given."""
    pending: list[bytes] = []
    offset = begin = start
    while offset < length:
        chunk = disk.read(descriptor, min(_CHUNK, length - offset), offset)
        if not chunk:
            return
        offset += len(chunk)
        parts = chunk.split(b"\n")
        if len(parts) == 1:
            pending.append(chunk)
            continue
        parts[0] = b"".join([*pending, parts[0]])
        for part in parts[:-1]:
            yield begin, part
            begin += len(part) + 1
        pending = [parts[-1]] if parts[-1] else []


@dataclass(frozen=True, slots=True)
class Recovered:
    segments: tuple[Segment, ...]
    size: int  # records in the log
    length: int  # bytes of the last segment that are whole records
    torn: int  # bytes after them, never acknowledged


def recover(disk: Disk, directory: Path) -> Recovered:
    """Check every record's checksum and index. Raises CorruptLogError, or OSError."""
    segments = find(disk, directory)
    expected, length, torn = (segments[0].first if segments else 0), 0, 0
    if expected:
        raise CorruptLogError(f"the log begins at record {expected}: its first segments are missing")
    for position, segment in enumerate(segments):
        if segment.first != expected:
            raise CorruptLogError(f"{segment.path.name} follows record {expected - 1}: records are missing or doubled")
        expected, length, torn = _scan(disk, segment, last=position == len(segments) - 1)
    return Recovered(tuple(segments), expected, length, torn)


def _scan(disk: Disk, segment: Segment, *, last: bool) -> tuple[int, int, int]:
    """(index after the segment's last record, bytes of whole records, torn bytes)."""
    descriptor = disk.open(segment.path, create=False)
    try:
        size = disk.size(descriptor)
        index, good = segment.first, 0
        for offset, content in lines(disk, descriptor, size):
            payload = record.parse_line(content)
            if payload is None:
                break
            if record.index_of(payload) != index:
                raise CorruptLogError(f"{segment.path.name}: byte {offset} holds another record than {index}")
            index += 1
            good = offset + len(content) + 1
        if size > good:
            _check_torn(disk, descriptor, segment, good, size, last=last)
        return index, good, size - good
    finally:
        disk.close(descriptor)


def _check_torn(disk: Disk, descriptor: int, segment: Segment, good: int, size: int, *, last: bool) -> None:
    """A tail was never acknowledged when its newline is missing, or when blocks of it never reached the disk (they
    read as NUL, which no record holds) and no whole record follows. Everything else is corruption."""
    if not last:
        raise CorruptLogError(f"{segment.path.name}: what follows byte {good} is not what was written")
    rest = b"".join(_pieces(disk, descriptor, good, size))
    complete = rest.split(b"\n")
    whole = any(record.parse_line(item) is not None for item in complete[:-1])
    if whole or (len(complete) > 1 and b"\0" not in rest) or record.parse_line(rest[:-1]) is not None:
        raise CorruptLogError(f"{segment.path.name}: what follows byte {good} is not what was written")


def _pieces(disk: Disk, descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = disk.read(descriptor, min(_CHUNK, end - start), start)
        if not piece:
            return
        yield piece
        start += len(piece)


class SegmentWriter:
    """The one writer of a directory. Not thread-safe: one thread owns it."""

    def __init__(self, disk: Disk, directory: Path, *, max_segment_bytes: int) -> None:
        """Raises RecordError when another writer holds the directory, CorruptLogError, OSError."""
        self._disk = disk
        self._directory = directory
        self._max_bytes = max_segment_bytes
        self._descriptor = -1
        self._broken = False
        try:
            self._lock = disk.lock(directory / LOCK)
        except BlockingIOError:
            raise RecordError(f"another process writes the log in {directory}") from None
        try:
            self._recover()
        except BaseException:
            disk.close(self._lock)
            raise

    def _recover(self) -> None:
        found = recover(self._disk, self._directory)
        self.segments: tuple[Segment, ...] = found.segments
        self.size = found.size
        self.recovered_bytes = found.torn
        self._length = found.length
        if found.segments:
            self._descriptor = self._disk.open(found.segments[-1].path, create=False)
            # Also without torn bytes: a predecessor may have died between its write and its sync.
            self._heal()

    @property
    def healthy(self) -> bool:
        return not self._broken

    def append(self, data: Sequence[bytes]) -> int:
        """Write and sync encoded lines, whose indexes begin at `size`; the new size. Raises OSError: nothing is in."""
        if self._broken:
            self._heal()
        self._broken = True
        if self._descriptor < 0 or (self._length >= self._max_bytes):
            self._roll()
        self._write(b"".join(data), self._length)
        self._disk.sync(self._descriptor)
        self._length += sum(map(len, data))
        self.size += len(data)
        self._broken = False
        return self.size

    def probe(self) -> None:
        """Heal if the last write failed. Raises OSError while the disk still refuses."""
        if self._broken:
            self._heal()

    def close(self) -> None:
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
            self._descriptor = -1
        self._disk.close(self._lock)

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = self._disk.write(self._descriptor, view, offset)
            if written <= 0:
                raise OSError("the disk took no bytes")
            view = view[written:]
            offset += written

    def _roll(self) -> None:
        segment = Segment(self.size, self._directory / segment_name(self.size))
        if self.segments and self.segments[-1] == segment:
            return  # made by an attempt whose write then failed
        descriptor = self._disk.open(segment.path, create=True)
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
        self._descriptor, self._length = descriptor, 0
        self.segments = (*self.segments, segment)
        self._disk.sync_directory(self._directory)

    def _heal(self) -> None:
        """Cut what was never acknowledged, and write the last page again: after a failed sync the kernel may call
        pages clean that never reached the disk, and that page holds acknowledged bytes too."""
        self._broken = True
        if self._descriptor >= 0:
            self._disk.truncate(self._descriptor, self._length)
            start = self._length - self._length % _PAGE
            if start < self._length:
                tail = self._disk.read(self._descriptor, self._length - start, start)
                if len(tail) != self._length - start:
                    raise OSError("acknowledged bytes can't be read back")
                self._write(tail, start)
            self._disk.sync(self._descriptor)
        self._disk.sync_directory(self._directory)
        self._broken = False
