"""The store as a file: everything that knows SQLite.

https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from decision.errors import StoreError
from decision.store.bus import QuietBus
from decision.store.database import DEADLINE_S, Engines
from decision.store.driver import Connection

BUSY_MS = 5000  # how long a writer of another process is waited for
_LOOK_AGAIN_S = 0.02
_WRITES = "twokey_writes"  # execution option: such a transaction begins with the write lock


class _DbapiConnection(Protocol):
    isolation_level: str | None

    def cursor(self) -> Any: ...


def path_of(url: URL) -> Path:
    """Raises StoreError: not the URL of a file."""
    if url.drivername != "sqlite" or url.host or url.query or url.database in {None, "", ":memory:"}:
        raise StoreError(
            "store: only a file (sqlite:///relative or sqlite:////absolute) or postgresql://… is supported",
            next_step="Write sqlite:///state/twokey.db",
        )
    return Path(str(url.database)).absolute()


def engines(path: Path) -> Engines:
    engine = _sqlite_engine(path)
    writer = engine.execution_options(**{_WRITES: True})
    return Engines(reader=engine, writer=writer, bus=QuietBus())


def prepare_file(path: Path) -> None:
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    # SQLite gives the -wal and -shm files the permissions of this one.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise StoreError(
                f"The store {path} is not a file of this user's own",
                next_step="Remove it, or run as the user it belongs to",
            )
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    mode = _journal_mode(path)
    if mode != "wal":
        raise StoreError(
            f"The store {path} can't use a write-ahead log (journal mode {mode})",
            next_step="Put it on a local disk, not on a network file system",
        )


def _journal_mode(path: Path) -> str:
    """The write-ahead log, set once and outside the pool: the switch needs the file for itself for a moment. Where two
    switch at once each would wait for the other, so SQLite refuses one of them at once, whatever its timeout
    (https://www.sqlite.org/c3ref/busy_handler.html); that one looks again. Raises sqlite3.Error."""
    deadline = time.monotonic() + BUSY_MS / 1000
    with closing(sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)) as connection:
        while True:
            try:
                return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK_AGAIN_S)


def _sqlite_engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        async_creator=lambda: _connection(path),
        pool_size=4,
        max_overflow=4,
        pool_timeout=DEADLINE_S,
        hide_parameters=True,  # errors and logs never show a client's values
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


async def _connection(path: Path) -> Connection:
    connection = Connection(path)
    await connection
    return connection


def _on_connect(connection: _DbapiConnection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _on_begin does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    cursor.execute("PRAGMA synchronous=FULL")  # a commit is on the disk when it is acknowledged
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: SqlConnection) -> None:
    # A deferred transaction that first reads and then writes can fail as busy at once; with the lock taken first a
    # writer waits, and what it has read stays true.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
