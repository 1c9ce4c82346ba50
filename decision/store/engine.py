"""Opening the store: which database the URL names, and its schema brought to this code's version."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from decision.clock import SystemClock
from decision.errors import StoreError
from decision.identity.tasks import Tasks
from decision.plans.ports import PlanStore
from decision.ports import (
    ApprovalStore,
    BudgetStore,
    Clock,
    DerivedStore,
    HistoryStore,
    SessionStore,
    TokenStore,
    WebStore,
)
from decision.store import postgres, sqlite, tables
from decision.store.approvals import SqlApprovals
from decision.store.budgets import SqlBudgets
from decision.store.bus import SESSIONS
from decision.store.clock import StoreClock
from decision.store.database import Database, Engines, describe
from decision.store.derived import SqlDerived
from decision.store.history import SqlHistory
from decision.store.listening import RETRY_S, PostgresBus
from decision.store.plans import SqlPlans
from decision.store.sessions import SqlSessions
from decision.store.tokens import SqlTokens
from decision.store.web import SqlWeb

OPEN_DEADLINE_S = 60.0  # migrations included
RECALLED = 1024  # endings looked up after something may have been missed
WHY_S = 0.25  # within which the reason of an ending is read, else the session ends without it
MIGRATIONS = Path(__file__).parent / "migrations"
_log = structlog.get_logger(__name__)

Ended = Callable[[Sequence[str], str], None]


class Store:
    """An open store: its parts, the `clock` (the store's time, which never goes back), and `close()`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks = Tasks()
        self.clock: Clock = database.clock
        self.sessions: SessionStore = SqlSessions(database)
        approvals = SqlApprovals(database)
        self.approvals: ApprovalStore = approvals
        self.plans: PlanStore = SqlPlans(database, approvals.changed)
        self.budgets: BudgetStore = SqlBudgets(database)
        self.tokens: TokenStore = SqlTokens(database)
        self.history: HistoryStore = SqlHistory(database)
        self.derived: DerivedStore = SqlDerived(database)
        self.web: WebStore = SqlWeb(database)

    def on_ended_elsewhere(self, ended: Ended) -> None:
        """`ended` is called, on the event loop, with the ids of sessions that another replica has closed, and why it
        did: "" where that can't be read at once."""

        def heard(sessions: Sequence[str]) -> None:
            # What goes wrong with the reason must not keep the ending from anybody.
            self._tasks.spawn(self._tell(sessions, ended), name="read-endings", failed=lambda: ended(sessions, ""))

        async def recall() -> None:
            while True:  # what was lost with the server may be every connection there is
                try:
                    ended(await self.sessions.closed_last(RECALLED), "")
                    return
                except StoreError as error:
                    _log.warning("store.endings-not-recalled", error=str(error))
                    await asyncio.sleep(RETRY_S)

        def missed() -> None:
            self._tasks.spawn(recall(), name="recall-endings", failed=lambda: None)

        self._database.bus.hear(SESSIONS, heard, missed)

    async def _tell(self, sessions: Sequence[str], ended: Ended) -> None:
        reasons: Mapping[str, str] = {}
        try:
            async with asyncio.timeout(WHY_S):
                reasons = await self.sessions.why_closed(sessions)
        except (StoreError, TimeoutError) as error:
            _log.warning("store.endings-without-reasons", error=str(error))
        for why in dict.fromkeys(reasons.get(one, "") for one in sessions):
            ended([one for one in sessions if reasons.get(one, "") == why], why)

    async def close(self) -> None:
        """Waits for running transactions, bounded. Idempotent. Every later call raises StoreError."""
        await self._tasks.close()
        await self._database.close()


async def open_store(url: str, *, password: str | None = None, clock: Clock | None = None) -> Store:
    """`sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user@host/database`, with its password.

    Raises StoreError, with what to do. SQLite's file is made 0600, missing folders 0700. A schema older than this
    code is migrated, a newer one refused.
    """
    parsed = _parsed(url)
    store_clock = StoreClock(clock or SystemClock())
    if postgres.is_ours(parsed):
        dsn = postgres.dsn_of(parsed)
        return await _opened("in PostgreSQL", store_clock, lambda: _postgres(dsn, password))
    path = sqlite.path_of(parsed)
    return await _opened(str(path), store_clock, lambda: _sqlite(path))


async def _sqlite(path: Path) -> Engines:
    await asyncio.to_thread(sqlite.prepare_file, path)
    return sqlite.engines(path)


async def _postgres(dsn: str, password: str | None) -> Engines:
    engines = postgres.engines(dsn, password)
    if isinstance(engines.bus, PostgresBus):
        await engines.bus.listen()  # before anything is read: what others do from now on is heard
    return engines


async def _opened(where: str, clock: StoreClock, connect: Callable[[], Awaitable[Engines]]) -> Store:
    try:
        async with asyncio.timeout(OPEN_DEADLINE_S):
            engines = await connect()
            try:
                clock.raise_to(await _migrate(engines))
            except BaseException:
                await engines.bus.close()
                await engines.reader.dispose()
                raise
    except TimeoutError as error:
        raise StoreError(f"The store {where} could not be opened in {OPEN_DEADLINE_S:.0f} s") from error
    except (SQLAlchemyError, sqlite3.Error, OSError, CommandError) as error:
        raise StoreError(f"The store {where} can't be opened: {_why(error)}") from error
    return Store(Database(engines, clock))


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, sqlite3.Error) else describe(error)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        # The text is not repeated: it may hold a password.
        raise StoreError("store: not a URL", next_step="Write sqlite:///state/twokey.db") from error


async def _migrate(engines: Engines) -> int:
    """Bring the schema to this code's version in one transaction; the persisted high-water mark."""
    async with engines.writer.begin() as connection:
        if engines.migration_lock is not None:  # SQLite's transaction has the write lock
            await connection.execute(select(func.pg_advisory_xact_lock(engines.migration_lock)))
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
            next_step="Run the newer version, or restore the store from before the upgrade",
        )
    if found != set(script.get_heads()):
        upgrade: Callable[[Config, str], None] = command.upgrade
        upgrade(config, "head")
