"""psycopg2: simple protocol, BEGIN of its own, COPY from and to files, large objects, notifications."""

from __future__ import annotations

import io
import threading

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from tests.clients.python.told import schema, show


def attempt(connection: psycopg2.extensions.connection, sql: str, values: object = None) -> None:
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql, values)
            show(sql[:60], cursor.fetchall() if cursor.description else cursor.statusmessage)
        except psycopg2.Error as error:
            show(sql[:60], [type(error).__name__, error.pgcode, error.pgerror])


def main() -> None:
    connection = psycopg2.connect("")
    connection.autocommit = True
    attempt(connection, schema())
    attempt(connection, "SET search_path = talk, public")
    psycopg2.extras.register_composite("talk.point3", connection)
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    attempt(connection, "SELECT * FROM everything ORDER BY id")
    attempt(connection, "SELECT %s, %s, %s, %s", (1, "wörds 'x' \\", b"\0\xff", [1, 2]))
    connection.autocommit = False
    for sql in (
        "SELEC",
        "SELECT 1",
        "SELECT * FROM parent",
        "ROLLBACK",
        "SELECT 1/0",
        "COMMIT",
        "SELECT * FROM nowhere",
    ):
        attempt(connection, sql)
    connection.rollback()
    for sql in ("SAVEPOINT a", "SELECT 1/0", "SELECT 1", "ROLLBACK TO a", "SELECT 1", "RELEASE a", "ROLLBACK TO a"):
        attempt(connection, sql)
    connection.rollback()
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    attempt(connection, "SELECT count(*) FROM parent")
    attempt(connection, "DELETE FROM parent")
    connection.rollback()
    connection.set_session(isolation_level="DEFAULT", readonly=False)
    with connection.cursor("named", scrollable=True) as named:
        named.itersize = 2
        named.execute("SELECT id, name FROM parent ORDER BY id")
        show("named", [named.fetchmany(2), named.fetchall()])
        named.scroll(0, mode="absolute")
        show("scrolled", named.fetchone())
    connection.commit()
    with connection.cursor() as cursor:
        psycopg2.extras.execute_values(cursor, "INSERT INTO parent VALUES %s RETURNING id", [(60, "a"), (61, "b")])
        show("values", cursor.fetchall())
        psycopg2.extras.execute_batch(cursor, "DELETE FROM parent WHERE id = %s", [(60,), (61,)])
        cursor.copy_from(io.StringIO("90\tninety\n"), "parent", columns=("id", "name"))
        out = io.StringIO()
        cursor.copy_expert("COPY parent TO STDOUT WITH CSV HEADER", out)
        show("copy", out.getvalue())
        try:
            cursor.copy_from(io.StringIO("90\tagain\n"), "parent")
        except psycopg2.Error as error:
            show("copy", error.pgerror)
    connection.rollback()
    large = connection.lobject(0, "wb")
    large.write(b"0123456789" * 10_000)
    show("large", [large.tell(), large.seek(5)])
    large.close()
    large = connection.lobject(large.oid, "rb")
    show("read", large.read(20))
    large.truncate(3) if large.mode == "wb" else None
    large.unlink()
    connection.commit()
    xid = connection.xid(1, "gtrid", "bqual")
    connection.tpc_begin(xid)
    attempt(connection, "INSERT INTO parent VALUES (72, 'two-phase')")
    connection.tpc_prepare()
    connection.reset()
    show("recovered", [str(each) for each in connection.tpc_recover()])
    connection.tpc_commit(xid)
    connection.autocommit = True
    attempt(connection, "SET search_path = talk, public")
    attempt(connection, "LISTEN news")
    attempt(connection, "NOTIFY news, 'hello'")
    connection.poll()
    show("notifies", [(each.channel, each.payload) for each in connection.notifies])
    attempt(connection, "SELECT loud('notice')")
    show("notices", connection.notices)
    timer = threading.Timer(0.4, connection.cancel)
    timer.start()
    attempt(connection, "SELECT pg_sleep(10)")
    timer.join()
    attempt(connection, "DROP SCHEMA talk CASCADE")
    connection.close()


if __name__ == "__main__":
    main()
