"""Binary values are read as PostgreSQL reads them, compared with what it sends; anything else is unknown."""

from __future__ import annotations

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.postgres.binary_values import text_of
from tests.enforcers.postgres.describe.conftest import Server, server

__all__ = ["server"]

VALUES = (
    ("int2", 21, "int2send", "-7"),
    ("int4", 23, "int4send", "2147483647"),
    ("int8", 20, "int8send", "-9223372036854775808"),
    ("bool", 16, "boolsend", "true"),
    ("float4", 700, "float4send", "1.5"),
    ("float8", 701, "float8send", "-1e300"),
    ("numeric", 1700, "numeric_send", "-12345678901234567890.00012"),
    ("numeric", 1700, "numeric_send", "0"),
    ("numeric", 1700, "numeric_send", "0.00001"),
    ("numeric", 1700, "numeric_send", "120000"),
    ("uuid", 2950, "uuid_send", "01234567-89ab-cdef-0123-456789abcdef"),
    ("date", 1082, "date_send", "1969-07-20"),
    ("timestamp", 1114, "timestamp_send", "2026-01-02 03:04:05.678901"),
    ("timestamptz", 1184, "timestamptz_send", "1999-12-31 23:59:59+02"),
    ("text", 25, "textsend", "a'b\\c"),
    ("int4[]", 1007, "array_send", "{1,NULL,3}"),
    ("text[]", 1009, "array_send", '{"a\\"b","c,d"}'),
    ("int8[]", 1016, "array_send", "{}"),
)


@pytest.mark.parametrize(("name", "oid", "send", "value"), VALUES)
async def test_what_the_target_sends_is_read_as_it_meant_it(
    server: Server,
    name: str,
    oid: int,
    send: str,
    value: str,
) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        content = await connection.fetchval(f"SELECT {send}(CAST($1::text AS {name}))", value)
        read = text_of(oid, content)
        assert read is not None
        assert await connection.fetchval(f"SELECT CAST($1::text AS {name}) = CAST($2::text AS {name})", value, read)
    finally:
        await connection.close()


@pytest.mark.parametrize("value", ["infinity", "-infinity"])
async def test_infinities_are_unknown(server: Server, value: str) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        for name, oid in (("date", 1082), ("timestamp", 1114)):
            content = await connection.fetchval(f"SELECT {name}_send(CAST($1::text AS {name}))", value)
            assert text_of(oid, content) is None
        assert text_of(1700, await connection.fetchval("SELECT numeric_send('NaN')")) is None
    finally:
        await connection.close()


@given(st.sampled_from([16, 20, 21, 23, 25, 700, 701, 1007, 1009, 1082, 1114, 1700, 2950, 600]), st.binary(max_size=60))
def test_any_bytes_are_text_or_unknown(oid: int, content: bytes) -> None:
    read = text_of(oid, content)
    assert read is None or isinstance(read, str)
