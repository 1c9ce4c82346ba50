"""asyncpg reads: its type introspection, prepared statements, cursors, COPY."""

from __future__ import annotations

import asyncio
import io

import asyncpg


async def main() -> None:
    client = await asyncpg.connect()
    await client.fetch("SELECT id, name, status FROM patients WHERE ward = $1 ORDER BY id", 1)
    await client.fetch("SELECT id, state, placed FROM shop.orders WHERE state = $1 ORDER BY id LIMIT 5", "paid")
    await client.fetch("SELECT ROW(id, name)::text, tags, attributes, discount FROM shop.products ORDER BY id")
    await client.fetchval("SELECT count(*) FROM visits WHERE day > $1", __import__("datetime").date(2026, 2, 1))
    statement = await client.prepare("SELECT name FROM wards WHERE id = $1")
    for number in range(3):
        await statement.fetchval(number)
    async with client.transaction(readonly=True):
        async for _ in client.cursor("SELECT id FROM visits ORDER BY id", prefetch=20):
            pass
    await client.copy_from_query("SELECT id, name FROM wards ORDER BY id", output=io.BytesIO())
    await client.copy_from_table("orders", schema_name="shop", output=io.BytesIO())
    await client.set_type_codec("jsonb", encoder=str, decoder=str, schema="pg_catalog")
    await client.fetch("SELECT attributes FROM shop.products")
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
