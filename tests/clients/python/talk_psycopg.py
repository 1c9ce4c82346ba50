"""psycopg 3, synchronous and asynchronous: both formats, prepared statements, server cursors, pipelines, COPY."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import logging
import threading
import uuid

import psycopg
from psycopg.rows import dict_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo
from psycopg.types.json import Json, Jsonb
from psycopg.types.range import Range

from tests.clients.python.told import schema, show


def attempt(connection: psycopg.Connection, sql: str, values: object = None, **more: object) -> None:
    try:
        cursor = connection.execute(sql, values, **more)
        show(sql[:60], cursor.fetchall() if cursor.description else cursor.statusmessage)
    except psycopg.Error as error:
        diagnosis = error.diag
        show(
            sql[:60],
            [type(error).__name__, diagnosis.sqlstate, diagnosis.message_primary, diagnosis.statement_position],
        )


def types(connection: psycopg.Connection) -> None:
    for binary in (False, True):
        cursor = connection.cursor(binary=binary, row_factory=dict_row)
        try:
            cursor.execute("SELECT * FROM everything WHERE id = 1")
            show(f"everything binary={binary}", cursor.fetchall())
        except (psycopg.Error, UnicodeDecodeError) as error:
            show("everything", error)
        cursor = connection.cursor(binary=binary)
        cursor.execute(
            "SELECT %s::int, %s::bigint, %s::numeric, %s::float8, %s::text, %s::bytea, %s::date, %s::timestamptz, "
            "%s::uuid, %s::json, %s::jsonb, %s::int[], %s::interval, %s::int4range, %s::bool, %s::text",
            (
                1, 2**40, decimal.Decimal("1.50"), 2.5, "wörds", b"\0\xff", dt.date(2024, 2, 29),
                dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC), uuid.UUID(int=1), Json({"a": 1}), Jsonb([1]), [1, None],
                dt.timedelta(days=1, seconds=2), Range(1, 5), True, None,
            ),
            binary=binary,
        )  # fmt: skip
        show("parameters", cursor.fetchall())
    register_composite(CompositeInfo.fetch(connection, "talk.point3"), connection)
    show("enum", EnumInfo.fetch(connection, "talk.mood").labels)
    attempt(connection, "SELECT place, feeling FROM everything ORDER BY id")
    for fmt in ("%b", "%t"):
        attempt(connection, f"SELECT {fmt}::int4 + 1, {fmt}::text", (1, "x"))


def statements(connection: psycopg.Connection) -> None:
    for number in range(8):  # psycopg prepares at the sixth
        attempt(connection, "SELECT name FROM parent WHERE id = %s", (number % 3,))
    for number in range(3):
        attempt(connection, "UPDATE parent SET name = %s WHERE id = %s RETURNING name", (f"n{number}", 1), prepare=True)
    attempt(connection, "ALTER TABLE parent ADD COLUMN added int")
    attempt(connection, "SELECT * FROM parent WHERE id = %s", (1,), prepare=True)
    attempt(connection, "ALTER TABLE parent DROP COLUMN added")
    attempt(connection, "SELECT * FROM parent WHERE id = %s", (1,), prepare=True)
    attempt(connection, "SELECT * FROM parent WHERE id = %s", (1,), prepare=True)
    for sql in (
        "SELEC", "SELECT 1/%s", "SELECT 'x'::int", "SELECT * FROM nowhere", "SELECT loud('hey')",
        "SELECT loud('error')", "INSERT INTO parent VALUES (1, 'x')", "INSERT INTO child (parent_id) VALUES (77)", "",
        ";", "SELECT 1; SELECT 2",
    ):  # fmt: skip
        attempt(connection, sql, (0,) if "%s" in sql else None)
    attempt(connection, "SELECT 1; SELECT %s", (1,))
    cursor = connection.cursor()
    cursor.execute("SELECT 1 AS a; SELECT 2 AS b; INSERT INTO parent VALUES (50, 'fifty')")
    while True:
        show("set", (cursor.statusmessage, cursor.description and cursor.fetchall()))
        if not cursor.nextset():
            break
    cursor.executemany("INSERT INTO parent VALUES (%s, %s)", [(60, "a"), (61, "b"), (62, "c")])
    show("executemany", cursor.rowcount)
    cursor.executemany("DELETE FROM parent WHERE id = %s RETURNING name", [(60,), (61,), (62,)], returning=True)
    while True:
        show("returning", cursor.fetchall())
        if not cursor.nextset():
            break
    try:
        cursor.executemany("INSERT INTO parent VALUES (%s, %s)", [(63, "a"), (64, "c"), (1, "b")])
    except psycopg.Error as error:
        show("executemany", error)


def cursors(connection: psycopg.Connection) -> None:
    connection.autocommit = False
    with connection.cursor("named") as named:
        named.itersize = 2
        named.execute("SELECT id, name FROM parent ORDER BY id")
        show("named", [named.fetchone(), named.fetchmany(2), named.description])
        show("rest", list(named))
    with connection.cursor("scrolled", scrollable=True, binary=True) as named:
        named.execute("SELECT id FROM parent WHERE id > %s ORDER BY id", (0,))
        show("scrolled", [named.fetchall(), named.scroll(0, mode="absolute"), named.fetchone()])
    connection.commit()
    with connection.cursor("held", withhold=True) as named:
        named.execute("SELECT id FROM parent ORDER BY id")
        connection.commit()
        show("held", named.fetchall())
    connection.rollback()
    with connection.cursor() as plain:
        show("stream", list(plain.stream("SELECT generate_series(1, 5)")))
        show("stream in chunks", list(plain.stream("SELECT generate_series(1, 5)", size=2)))
    connection.commit()


def transactions(connection: psycopg.Connection) -> None:
    with connection.transaction(), connection.transaction("inner"):
        attempt(connection, "INSERT INTO parent VALUES (70, 'seventy')")
    try:
        with connection.transaction():
            with connection.transaction(force_rollback=True):
                attempt(connection, "DELETE FROM child")
            connection.execute("SELECT 1/0")
    except psycopg.Error as error:
        show("rolled back", error)
    attempt(connection, "SELECT 1/0")
    for sql in ("SELECT 1", "SELEC", "SELECT * FROM parent", "SAVEPOINT x"):
        attempt(connection, sql)
        attempt(connection, sql, ())
    attempt(connection, "SELECT %s", (1,), prepare=True)
    connection.rollback()
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    connection.read_only = True
    attempt(connection, "INSERT INTO parent VALUES (71, 'x')")
    connection.rollback()
    connection.isolation_level = connection.read_only = None
    xid = connection.xid(1, "gtrid", "bqual")
    connection.tpc_begin(xid)
    attempt(connection, "INSERT INTO parent VALUES (72, 'two-phase')")
    connection.tpc_prepare()
    connection.tpc_commit()
    show("recovered", [str(each) for each in connection.tpc_recover()])


def piped(connection: psycopg.Connection, *statements: str) -> None:
    """All sent before any answer is read: what psycopg's own pipelines send depends on which answers came meanwhile."""
    libpq = connection.pgconn
    libpq.enter_pipeline_mode()
    for sql in statements:
        libpq.send_query_params(sql.encode(), None)
    libpq.pipeline_sync()
    libpq.flush()
    while True:
        result = libpq.get_result()
        if result is not None:
            status = psycopg.pq.ExecStatus(result.status)
            show("piped", (status.name, result.command_status, result.error_message, result.get_value(0, 0)))
            if status is psycopg.pq.ExecStatus.PIPELINE_SYNC:
                break
    libpq.exit_pipeline_mode()


def pipelines(connection: psycopg.Connection) -> None:
    with connection.pipeline() as pipeline:
        first = connection.execute("SELECT %s::int", (1,))
        second = connection.execute("INSERT INTO parent VALUES (80, 'eighty') RETURNING id")
        pipeline.sync()
        third = connection.execute("SELECT count(*) FROM parent")
        show("pipeline", [first.fetchall(), second.fetchall(), third.fetchall()])
    connection.commit()
    for bad in ("SELECT 1/0", "SELEC", "SELECT * FROM nowhere", "SELECT 1; SELECT 2", "ROLLBACK"):
        piped(connection, "INSERT INTO parent VALUES (81, 'x')", bad, "INSERT INTO parent VALUES (82, 'x')")
        piped(connection, "BEGIN", "INSERT INTO parent VALUES (83, 'x')", bad, "SELECT count(*) FROM parent", "COMMIT")
        piped(connection, "ROLLBACK")
    piped(connection, "DELETE FROM parent WHERE id > 80")
    attempt(connection, "SELECT id FROM parent ORDER BY id")


def copies(connection: psycopg.Connection) -> None:
    cursor = connection.cursor()
    with cursor.copy("COPY parent (id, name) FROM STDIN") as copy:
        copy.write_row((90, "ninety"))
        copy.write(b"91\tninety-one\n")
    show("in", cursor.statusmessage)
    with cursor.copy("COPY parent (id, name) FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "text"])
        copy.write_row((92, "ninety-two"))
    for how in ("", "(FORMAT csv, HEADER)", "(FORMAT binary)"):
        with cursor.copy(f"COPY (SELECT id, name FROM parent ORDER BY id) TO STDOUT {how}") as copy:
            show("out", b"".join(bytes(block) for block in copy))
    for text in ("x\ty\n", "90\tagain\n", "93\n"):
        try:
            with cursor.copy("COPY parent (id, name) FROM STDIN") as copy:
                copy.write(text)
        except psycopg.Error as error:
            show("copy", error)
        connection.rollback()
    try:
        with cursor.copy("COPY parent (id, name) FROM STDIN") as copy:
            copy.write("94\tx\n")
            raise KeyError("the client gives up")
    except KeyError as error:
        show("copy", error)
    connection.rollback()
    try:
        with cursor.copy("COPY nowhere FROM STDIN") as copy:
            copy.write("94\tx\n")
    except psycopg.Error as error:
        show("copy", error)
    connection.rollback()
    connection.autocommit = True
    large = "x" * 200_000
    with cursor.copy("COPY parent (id, name) FROM STDIN") as copy:
        for number in range(5):
            copy.write_row((1000 + number, f"{number}{large}"))
    attempt(connection, "SELECT id, length(name) FROM parent WHERE id >= 1000 ORDER BY id")
    attempt(connection, "SELECT md5(string_agg(%s, ','))", ("y" * 3_000_000,))
    attempt(connection, "DELETE FROM parent WHERE id >= 1000")


def others(connection: psycopg.Connection) -> None:
    with psycopg.connect("", autocommit=True) as other:
        connection.autocommit = False
        connection.execute("SET search_path = talk")
        connection.execute("SELECT * FROM parent WHERE id = 1 FOR UPDATE")
        other.execute("SET search_path = talk; SET lock_timeout = '50ms'")
        attempt(other, "UPDATE parent SET name = 'locked' WHERE id = 1")
        attempt(other, "SELECT * FROM parent WHERE id = 1 FOR UPDATE NOWAIT")
        attempt(other, "SELECT id FROM parent WHERE id < 3 ORDER BY id FOR UPDATE SKIP LOCKED")
        connection.rollback()
        connection.autocommit = True
        connection.execute("LISTEN news")
        other.execute("SELECT pg_notify('news', 'from the other')")
        for notice in connection.notifies(timeout=5, stop_after=1):
            show("notify", (notice.channel, notice.payload))
        connection.execute("UNLISTEN news")
    attempt(connection, "SET statement_timeout = 50")
    attempt(connection, "SELECT pg_sleep(10)")
    attempt(connection, "RESET statement_timeout")
    timer = threading.Timer(0.4, connection.cancel_safe)
    timer.start()
    attempt(connection, "SELECT pg_sleep(10)")
    timer.join()
    attempt(connection, "SHOW search_path")
    for sql in ("SET idle_in_transaction_session_timeout = 100", "BEGIN", "SELECT 1"):
        attempt(connection, sql)


async def asynchronous() -> None:
    connection = await psycopg.AsyncConnection.connect("", autocommit=True)
    async with connection:
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT %s::text, %s::int8[]", ("async", [1, 2]))
            show("async", await cursor.fetchall())
        try:
            async with asyncio.timeout(0.4):
                await connection.execute("SELECT pg_sleep(10)")
        except (TimeoutError, psycopg.Error) as error:
            show("cancelled", type(error).__name__)


def main() -> None:
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what it says of pipelines depends on timing
    notices: list[str] = []
    with psycopg.connect("", autocommit=True, application_name="talk", client_encoding="utf8") as connection:
        connection.add_notice_handler(lambda notice: notices.append(f"{notice.severity} {notice.message_primary}"))
        connection.execute(schema())
        connection.execute("SET search_path = talk, public")
        show("info", (connection.info.server_version, connection.info.parameter_status("TimeZone")))
        for part in (types, statements, cursors, transactions, pipelines, copies, others):
            show("part", part.__name__)
            part(connection)
        show("notices", notices)
        connection.execute("ROLLBACK")
        connection.execute("DROP SCHEMA talk CASCADE")
    asyncio.run(asynchronous())


if __name__ == "__main__":
    main()
