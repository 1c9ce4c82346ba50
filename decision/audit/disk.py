"""What the log asks of a file system, as a port: tests and later issues put failing disks behind it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """Plain files in one directory. Every method may raise OSError."""

    def names(self, directory: Path) -> Sequence[str]: ...

    def open(self, path: Path, *, create: bool) -> int:
        """A descriptor for reading and writing; with `create` the file must not exist yet."""

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Bytes written at `offset`, possibly fewer than given."""

    def read(self, descriptor: int, length: int, offset: int) -> bytes: ...

    def size(self, descriptor: int) -> int: ...

    def truncate(self, descriptor: int, length: int) -> None: ...

    def sync(self, descriptor: int) -> None: ...

    def sync_directory(self, directory: Path) -> None: ...

    def close(self, descriptor: int) -> None: ...

    def lock(self, path: Path) -> int:
        """An exclusive lock held until the descriptor is closed. Raises BlockingIOError when it is taken."""


class PosixDisk:
    """The real one."""

    def names(self, directory: Path) -> Sequence[str]:
        return sorted(os.listdir(directory))

    def open(self, path: Path, *, create: bool) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0), 0o600)

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        return os.pread(descriptor, length, offset)

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync_directory(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def lock(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
