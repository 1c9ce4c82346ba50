"""Disks that fail on demand, and a writer to be killed."""

from __future__ import annotations

import errno
from pathlib import Path

from decision.audit.disk import PosixDisk


class FailingDisk(PosixDisk):
    """The real disk until told otherwise."""

    def __init__(self) -> None:
        self.room: int | None = None  # bytes it still takes
        self.sync_fails = False
        self.directory_fails = False
        self.truncate_fails = False
        self.syncs = 0

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        if self.room is not None:
            if self.room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            data = data[: self.room]
            self.room -= len(data)
        return super().write(descriptor, data, offset)

    def truncate(self, descriptor: int, length: int) -> None:
        if self.truncate_fails:
            raise OSError(errno.EIO, "Input/output error")
        super().truncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        if self.sync_fails:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(descriptor)

    def sync_directory(self, directory: Path) -> None:
        if self.directory_fails:
            raise OSError(errno.EIO, "Input/output error")
        super().sync_directory(directory)
