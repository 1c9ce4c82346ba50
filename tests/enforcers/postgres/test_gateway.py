"""The gateway on real parts: psql, psycopg and asyncpg to a real PostgreSQL, with a scripted Gate."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg

from tests.enforcers.postgres.conftest import Postgres, Start


async def psql(postgres: Postgres, dsn: str, *commands: str) -> tuple[int, str, str]:
    arguments = [item for command in commands for item in ("-c", command)]
    process = await asyncio.create_subprocess_exec(
        postgres.psql, "-XqAt", dsn, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode or 0, out.decode(), err.decode()


async def test_simple_query_through_psql(gateway: Start, postgres: Postgres) -> None:
    one = await gateway()
    code, out, err = await psql(
        postgres, one.dsn, "SELECT id, name FROM t WHERE id < 3 ORDER BY id", "SELECT 1; SELECT 2"
    )
    assert (code, err) == (0, "")
    assert out == "1|name 1\n2|name 2\n1\n2\n"
    assert [status for _, status in one.gate.ended] == ["completed"] * 3


async def test_extended_query_through_asyncpg(gateway: Start) -> None:
    one = await gateway()
    connection = await asyncpg.connect(one.dsn, timeout=10)
    try:
        assert await connection.fetchval("SELECT name FROM t WHERE id = $1", 5) == "name 5"
        async with connection.transaction():
            await connection.execute("UPDATE t SET n = n WHERE id = 1")
        assert [r["id"] for r in await connection.fetch("SELECT id FROM t WHERE id < $1 ORDER BY id", 4)] == [1, 2, 3]
    finally:
        await connection.close()


async def test_extended_query_through_psycopg(gateway: Start) -> None:
    one = await gateway()
    async with await psycopg.AsyncConnection.connect(one.dsn, connect_timeout=10) as connection:
        cursor = await connection.execute("SELECT name FROM t WHERE id = %s", (7,))
        assert await cursor.fetchone() == ("name 7",)
