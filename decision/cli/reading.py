"""A read-only log-in of the command line's own to a target, with an account of the configuration (doctor, classify).

Not through the gateway: whoever holds the configuration holds its credentials. The session is read-only, its
search_path is empty, and the target itself ends a question that takes too long.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

import asyncpg

from decision.cli import sources, targets
from decision.cli.config import Loaded
from decision.cli.errors import CliError, UnreachableError
from decision.cli.settings import Account, Connection

TIMEOUT_S = 5.0
# What a log-in or a question may raise. Their texts may repeat what the target was told: only their names are shown.
FAULTS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def account_of(connection: Connection, role: str) -> Account:
    """Raises CliError: the role has no account there."""
    account = connection.credentials.get(role) or connection.credentials.get("default")
    if account is None:
        raise CliError(
            f"connection {connection.name} has no account for {role}",
            next_step=f"add credentials.{role}, or name --role",
        )
    return account


@contextlib.asynccontextmanager
async def reading(
    loaded: Loaded,
    connection: Connection,
    account: Account,
    environ: Mapping[str, str],
    *,
    statement_s: float = TIMEOUT_S,
) -> AsyncIterator[asyncpg.Connection]:
    """A session that can only read. Raises CliError; FAULTS from questions are the caller's."""
    secret = account.password
    password = sources.fetch(loaded, secret, environ, user=account.user) if secret is not None else None
    context = targets.tls_context(loaded, connection, account, environ)
    try:
        link = await asyncpg.connect(
            host=connection.host,
            port=connection.port,
            user=account.user,
            password=password,
            database=connection.database,
            passfile="",
            ssl=context or False,
            direct_tls=connection.options.get("sslnegotiation") == "direct",
            timeout=TIMEOUT_S,
            command_timeout=statement_s + 1,
            statement_cache_size=0,
            server_settings={
                "search_path": "",
                "default_transaction_read_only": "on",
                "statement_timeout": str(int(statement_s * 1000)),
                "lock_timeout": "1000",
                "application_name": "twokey",
            },
        )
    except FAULTS as error:
        why = type(error).__name__
        raise UnreachableError(
            f"the account {account.user} of connection {connection.name} can't log in ({why})",
            next_step="check its source",
        ) from None
    try:
        yield link
    finally:
        with contextlib.suppress(*FAULTS):
            await link.close(timeout=TIMEOUT_S)
