"""Opening the store: the URL, the file, SQLite's settings, and the schema brought to this code's version.

Everything that knows SQLite is here (https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import event, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from decision.clock import SystemClock
from decision.errors import StoreError
from decision.ports import ApprovalStore, BudgetStore, Clock, SessionStore
from decision.store import tables
from decision.store.approvals import SqlApprovals
from decision.store.budgets import SqlBudgets
from decision.store.clock import StoreClock
from decision.store.database import DEADLINE_S, WRITES, Database, describe
from decision.store.driver import Connection
from decision.store.sessions import SqlSessions

BUSY_MS = 5000  # how long a writer of another process is waited for
OPEN_DEADLINE_S = 60.0  # migrations included
MIGRATIONS = Path(__file__).parent / "migrations"


class _DbapiConnection(Protocol):
    isolation_level: str | None

    def cursor(self) -> Any: ...


class Store:
    """An open store: its parts, the `clock` (the store's time, which never goes back), and `close()`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.clock: Clock = database.clock
        self.sessions: SessionStore = SqlSessions(database)
        self.approvals: ApprovalStore = SqlApprovals(database)
        self.budgets: BudgetStore = SqlBudgets(database)

    async def close(self) -> None:
        """Waits for running transactions, bounded. Idempotent. Every later call raises StoreError."""
        await self._database.close()


async def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """`sqlite:///relative/path` or `sqlite:////absolute/path`. Raises StoreError, with what to do.

    The file is made 0600, missing folders 0700. A schema older than this code is migrated, a newer one refused.
    """
    path = _sqlite_path(url)
    store_clock = StoreClock(clock or SystemClock())
    try:
        async with asyncio.timeout(OPEN_DEADLINE_S):
            await asyncio.to_thread(_prepare_file, path)
            engine = _sqlite_engine(path)
            try:
                store_clock.raise_to(await _migrate(engine))
            except BaseException:
                await engine.dispose()
                raise
    except TimeoutError as error:
        raise StoreError(f"The store {path} could not be opened in {OPEN_DEADLINE_S:.0f} s") from error
    except (SQLAlchemyError, sqlite3.Error, OSError, CommandError) as error:
        raise StoreError(f"The store {path} can't be opened: {_why(error)}") from error
    return Store(Database(engine, store_clock))


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, sqlite3.Error) else describe(error)


def _sqlite_path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # The text is not repeated: it may hold a password.
        raise StoreError("store: not a URL", next_step="Write sqlite:///state/twokey.db") from error
    if parsed.drivername.split("+")[0] in {"postgresql", "postgres"}:
        raise StoreError(
            "store: PostgreSQL is not supported yet", next_step="Use sqlite:///state/twokey.db on a local disk"
        )
    if parsed.drivername != "sqlite" or parsed.host or parsed.query or parsed.database in {None, "", ":memory:"}:
        raise StoreError(
            "store: only a file, sqlite:///relative or sqlite:////absolute, is supported",
            next_step="Write sqlite:///state/twokey.db",
        )
    return Path(str(parsed.database)).absolute()


def _prepare_file(path: Path) -> None:
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
    # Once, outside the pool: the switch to WAL needs the file for itself for a moment.
    with closing(sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)) as connection:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(
            f"The store {path} can't use a write-ahead log (journal mode {mode})",
            next_step="Put it on a local disk, not on a network file system",
        )


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
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


async def _migrate(engine: AsyncEngine) -> int:
    """Bring the schema to this code's version in one transaction; the persisted high-water mark."""
    async with engine.execution_options(**{WRITES: True}).begin() as connection:
        await connection.run_sync(_upgrade)
        return int((await connection.execute(select(tables.clock.c.high_water))).scalar_one())


def _upgrade(connection: SqlConnection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    found = set(MigrationContext.configure(connection).get_current_heads())
    if not found <= known:
        raise StoreError(
            f"The store was written by a newer twokey (schema {', '.join(sorted(found))}); this one knows "
            f"{', '.join(sorted(known))}",
            next_step="Run the newer version, or restore the file from before the upgrade",
        )
    if found != set(script.get_heads()):
        upgrade: Callable[[Config, str], None] = command.upgrade
        upgrade(config, "head")
