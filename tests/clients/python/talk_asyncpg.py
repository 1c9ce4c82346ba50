"""asyncpg: binary throughout, its own statement cache, type introspection, portals with row limits, COPY, LISTEN."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import io
import os
import uuid

import asyncpg

from tests.clients.python.told import schema, show

YES = True


async def connect() -> asyncpg.Connection:
    return await asyncpg.connect(host=os.environ["PGHOST"], ssl=False)


async def attempt(connection: asyncpg.Connection, sql: str, *values: object) -> None:
    try:
        rows = await connection.fetch(sql, *values)
        show(sql[:60], [tuple(row) for row in rows])
    except asyncpg.PostgresError as error:
        show(sql[:60], [type(error).__name__, error.sqlstate, str(error), error.as_dict()])
    except asyncpg.InterfaceError as error:
        show(sql[:60], error)


async def types(connection: asyncpg.Connection) -> None:
    await attempt(connection, "SELECT * FROM everything ORDER BY id")
    await attempt(
        connection,
        "SELECT $1::int, $2::bigint, $3::numeric, $4::float8, $5::text, $6::bytea, $7::date, $8::timestamptz, "
        "$9::uuid, $10::json, $11::jsonb, $12::int[], $13::interval, $14::int4range, $15::bool, $16::mood, "
        "$17::point3, $18::point3[]",
        1, 2**40, decimal.Decimal("1.50"), 2.5, "wörds", b"\0\xff", dt.date(2024, 2, 29),
        dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC), uuid.UUID(int=1), '{"a": 1}', "[1]", [1, None],
        dt.timedelta(days=1), asyncpg.Range(1, 5), YES, "happy", (1, 2, "x"), [(1, 2, "x"), None],
    )  # fmt: skip
    await connection.set_type_codec("json", encoder=str, decoder=str, schema="pg_catalog")
    await connection.set_builtin_type_codec("mood", schema="talk", codec_name="text")
    await attempt(connection, "SELECT feeling, doc FROM everything ORDER BY id")
    await connection.reset_type_codec("json", schema="pg_catalog")


async def statements(connection: asyncpg.Connection) -> None:
    for number in range(3):
        await attempt(connection, "SELECT name FROM parent WHERE id = $1", number)
    for sql in (
        "SELEC", "SELECT 1/0", "SELECT 'x'::int", "SELECT * FROM nowhere", "SELECT loud('hey')",
        "SELECT loud('error')", "INSERT INTO parent VALUES (1, 'x')", "INSERT INTO child (parent_id) VALUES (77)", "",
        ";", "SELECT 1; SELECT 2", "SHOW search_path", "SELECT $1", "SELECT $2::int",
    ):  # fmt: skip
        await attempt(connection, sql)
    await attempt(connection, "SELECT $1::int", "not a number")
    statement = await connection.prepare("SELECT id, name FROM parent WHERE id = any($1::int[]) ORDER BY id")
    show("prepared", [statement.get_parameters(), statement.get_attributes(), await statement.fetch([1, 2])])
    show("explain", await statement.explain([1]))
    show("value", await connection.fetchval("SELECT count(*) FROM parent"))
    show("status", await connection.execute("UPDATE parent SET name = name"))
    show(
        "several",
        await connection.execute("SELECT 1; INSERT INTO parent VALUES (50, 'x'); DELETE FROM parent WHERE id = 50"),
    )
    await connection.executemany(
        "INSERT INTO parent VALUES ($1, $2)", [(number, f"n{number}") for number in range(60, 70)]
    )
    show(
        "many",
        [tuple(r) for r in await connection.fetchmany("DELETE FROM parent WHERE id = $1 RETURNING id", [(60,), (61,)])],
    )
    try:
        await connection.executemany("INSERT INTO parent VALUES ($1, $2)", [(70, "a"), (1, "b"), (71, "c")])
    except asyncpg.PostgresError as error:
        show("executemany", error)
    await attempt(connection, "SELECT * FROM parent WHERE id < 4 ORDER BY id")
    await connection.execute("ALTER TABLE parent ADD COLUMN added int")
    await attempt(connection, "SELECT * FROM parent WHERE id < 4 ORDER BY id")
    await connection.execute("ALTER TABLE parent DROP COLUMN added")
    await attempt(connection, "SELECT * FROM parent WHERE id < 4 ORDER BY id")


async def transactions(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        show("cursor", [tuple(row) async for row in connection.cursor("SELECT id FROM parent ORDER BY id", prefetch=2)])
        cursor = await connection.cursor("SELECT id, name FROM parent WHERE id > $1 ORDER BY id", 1)
        show(
            "cursor", [await cursor.fetchrow(), await cursor.fetch(2), await cursor.forward(1), await cursor.fetch(100)]
        )
        async with connection.transaction():
            await attempt(connection, "INSERT INTO parent VALUES (80, 'eighty')")
    try:
        async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
            await connection.execute("INSERT INTO parent VALUES (81, 'x')")
    except asyncpg.PostgresError as error:
        show("read only", error)
    transaction = connection.transaction()
    await transaction.start()
    await attempt(connection, "SELECT 1/0")
    for sql in ("SELECT 1", "SELEC", "SELECT name FROM parent WHERE id = 3", "SELECT id FROM child"):
        await attempt(connection, sql)
    await transaction.rollback()


async def copies(connection: asyncpg.Connection) -> None:
    show(
        "in", await connection.copy_records_to_table("parent", records=[(90, "ninety"), (91, "x")], schema_name="talk")
    )
    show(
        "in", await connection.copy_to_table("parent", source=io.BytesIO(b"92,csv\n"), format="csv", schema_name="talk")
    )
    for how in ("text", "csv", "binary"):
        out = io.BytesIO()
        show(
            "out",
            await connection.copy_from_query(
                "SELECT * FROM parent WHERE id > $1 ORDER BY id", 1, output=out, format=how
            ),
        )
        show("out", out.getvalue())
    try:
        await connection.copy_records_to_table("parent", records=[(90, "ninety")], schema_name="talk")
    except asyncpg.PostgresError as error:
        show("copy", error)
    try:
        await connection.copy_records_to_table("nowhere", records=[(90, "ninety")])
    except asyncpg.PostgresError as error:
        show("copy", error)


async def others(connection: asyncpg.Connection) -> None:
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    other = await connect()
    await connection.add_listener("news", lambda _c, _p, channel, payload: heard.put_nowait((channel, payload)))
    await other.execute("NOTIFY news, 'hello'")
    show("heard", await asyncio.wait_for(heard.get(), 5))
    await connection.reset()
    await connection.execute("SET search_path = talk")
    try:
        await connection.execute("SELECT pg_sleep(10)", timeout=0.4)
    except TimeoutError as error:
        show("timeout", type(error).__name__)
    await attempt(connection, "SELECT 1")
    await connection.execute("SET statement_timeout = 50")
    await attempt(connection, "SELECT pg_sleep(10)")
    await connection.execute("SET statement_timeout = 0")
    await other.close()
    pool = await asyncpg.create_pool(host=os.environ["PGHOST"], ssl=False, min_size=1, max_size=1)
    async with pool.acquire() as pooled:
        show("pooled", await pooled.fetchval("SELECT 42"))
    async with pool.acquire() as pooled:
        show("pooled", await pooled.fetchval("SELECT 42"))
    await pool.close()


async def main() -> None:
    connection = await connect()
    connection.add_log_listener(lambda _c, message: show("log", str(message)))
    await connection.execute(schema())
    await connection.execute("SET search_path = talk, public")
    for part in (types, statements, transactions, copies, others):
        show("part", part.__name__)
        await part(connection)
    await connection.execute("DROP SCHEMA talk CASCADE")
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
