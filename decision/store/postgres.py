"""The store as a PostgreSQL database that replicas share: everything that knows PostgreSQL (ADR 27).

A writing transaction is READ COMMITTED and first updates the clock's row, so that writers wait for each other there,
and what one reads afterwards holds until it commits (PostgreSQL, 13.2.1). A reading one is REPEATABLE READ: an
approval and its verdicts are of one moment. The limits below end what a stopped or cut-off replica has left open:
it would otherwise keep the clock's row, and with it every other writer.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import create_async_engine

from decision.errors import StoreError
from decision.store.database import DEADLINE_S, Engines
from decision.store.listening import PostgresBus

CONNECT_S: Final = 5.0
MIGRATION_LOCK: Final = 0x74776F6B6579  # "twokey": one replica migrates at a time
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SETTINGS: Final = {
    "application_name": "twokey",
    "client_encoding": "UTF8",
    "synchronous_commit": "on",  # a commit is on the disk when it is acknowledged, whatever the server's default
    "default_transaction_isolation": "read committed",
    "jit": "off",
    "statement_timeout": f"{DEADLINE_S:.0f}s",
    "lock_timeout": f"{DEADLINE_S:.0f}s",
    "idle_in_transaction_session_timeout": f"{DEADLINE_S + 2:.0f}s",
    "tcp_user_timeout": "10000",
}


def is_ours(url: URL) -> bool:
    return url.drivername in {"postgresql", "postgres"}


def dsn_of(url: URL) -> str:
    """What to connect with. Off this machine the server must prove who it is, unless the URL names another `sslmode`.

    Raises StoreError: a password in the URL, or no database named.
    """
    if url.password is not None or "password" in url.query:
        raise StoreError(
            "store: the URL holds a password",
            next_step="Write store: {url: …, password: {env: NAME}}, or name a password file in it (?passfile=/path)",
        )
    if not url.database:
        raise StoreError("store: the URL names no database", next_step="Write postgresql://user@host/database")
    url = url.set(drivername="postgresql")
    hosts = [url.host] if url.host else _named(url)
    away = any(not (host.startswith("/") or host.partition(":")[0] in _LOOPBACK or host in _LOOPBACK) for host in hosts)
    if (away or not hosts) and "sslmode" not in url.query:
        url = url.update_query_dict({"sslmode": "verify-full"})
    return url.render_as_string(hide_password=False)


def _named(url: URL) -> list[str]:
    found = url.query.get("host", ())
    return [host for one in ([found] if isinstance(found, str) else found) for host in one.split(",")]


async def connect(dsn: str, password: str | None = None) -> asyncpg.Connection[asyncpg.Record]:
    """Raises StoreError."""
    try:
        return await asyncpg.connect(dsn, password=password, timeout=CONNECT_S, server_settings=_SETTINGS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        why = str(error) if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError) else type(error).__name__
        raise StoreError(
            f"The store's PostgreSQL can't be reached: {why}", next_step="Check `store` and that the server runs"
        ) from error


def engines(dsn: str, password: str | None = None) -> Engines:
    async def creator(*_: Any, **__: Any) -> asyncpg.Connection[asyncpg.Record]:
        return await connect(dsn, password)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=creator,
        pool_size=8,
        max_overflow=8,
        pool_timeout=DEADLINE_S,
        hide_parameters=True,  # errors and logs never show a client's values
    )
    event.listen(engine.sync_engine, "checkout", _not_closed)
    return Engines(
        reader=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        writer=engine,
        bus=PostgresBus(lambda: connect(dsn, password)),
        migration_lock=MIGRATION_LOCK,
    )


def _not_closed(connection: Any, _record: object, _proxy: object) -> None:
    """A connection that the server has ended is known here without asking; the pool then makes another."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
