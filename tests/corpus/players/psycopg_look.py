"""psycopg reads: parameters, server-side cursors, pipelines, COPY, binary."""

from __future__ import annotations

import psycopg
from psycopg.rows import dict_row


def main() -> None:
    with psycopg.connect() as client:
        for number in range(8):  # prepared on the way
            client.execute("SELECT name FROM patients WHERE id = %s", (number,)).fetchall()
        client.execute("SELECT * FROM shop.orders WHERE amount = %s AND state = %s", (2, "paid")).fetchall()
        with client.cursor(binary=True) as cursor:
            cursor.execute("SELECT id, placed, state FROM shop.orders ORDER BY id LIMIT 20").fetchall()
        with client.cursor("named") as cursor:
            cursor.itersize = 7
            list(cursor.execute("SELECT id, name FROM patients ORDER BY id"))
        with client.pipeline():
            first = client.execute("SELECT count(*) FROM wards")
            second = client.execute("SELECT name FROM wards WHERE id = %s", (2,))
            first.fetchall(), second.fetchall()
        with client.cursor().copy("COPY wards TO STDOUT") as copy:
            list(copy.rows())
        with client.cursor(row_factory=dict_row) as cursor:
            cursor.execute("SELECT * FROM shop.products WHERE tags && %s ORDER BY id", (["t1"],)).fetchall()
        with client.transaction():
            client.execute("SELECT sum(cost) FROM visits").fetchone()
        client.rollback()


if __name__ == "__main__":
    main()
