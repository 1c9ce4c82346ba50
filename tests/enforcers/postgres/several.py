"""Conversations whose messages hold several statements: one by one in extended form they must look as they do in one
Query. What is prepared, declared, locked, begun or set by one of them is there for the next, and they fall together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.enforcers.postgres.conversations import COPY_DONE, SYNC, Step, copy_data, copy_fail, q, run

# One by one these need a BEGIN before 18, which made a block of a pipeline too. (Before, it warns at SET LOCAL.)
WITHOUT_BLOCK = "several, a lock and a cursor without BEGIN"
SEVERAL: Mapping[str, Sequence[bytes | Step]] = {
    WITHOUT_BLOCK: [
        q("LOCK TABLE w IN SHARE MODE; SELECT 1"),
        q("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id; FETCH 2 FROM c; MOVE 3 FROM c; FETCH c; CLOSE c"),
    ],
    "several, what is for the transaction stands first": [
        q("SET LOCAL TimeZone = 'Asia/Tokyo'; SELECT current_setting('TimeZone')"),
        q("SHOW TimeZone; SELECT 1"),
        q("SAVEPOINT a; SELECT 1"),
        q("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SHOW transaction_isolation; SELECT 1"),
        q("SELECT 1; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 2"),
    ],
    "several, transactions begin and end": [
        q("BEGIN ISOLATION LEVEL REPEATABLE READ; SHOW transaction_isolation; SELECT 1; COMMIT; SELECT 2"),
        q("SELECT 1; BEGIN; SELECT 2"),
        q("SELECT 3; COMMIT; BEGIN; SELECT 4"),
        q("SELECT 5; ROLLBACK; SELECT 6; COMMIT; SELECT 7; ROLLBACK; SELECT 8"),
        q("BEGIN; SELECT 1; BEGIN; SELECT 2; COMMIT AND CHAIN; SELECT 3"),
        q("SELECT 4; ROLLBACK AND CHAIN; SELECT 5; COMMIT"),
        q("SELECT 1; COMMIT AND CHAIN; SELECT 2"),
        q("SELECT 1"),
    ],
    "several, some stand and some fall": [
        q("INSERT INTO w VALUES (1, 'a'); COMMIT; INSERT INTO w VALUES (2, 'b'); SELECT 1/0; SELECT 2"),
        q("SELECT id FROM w ORDER BY id; SELECT 1"),
        q("BEGIN; INSERT INTO w VALUES (3, 'c'); SELECT 1/0; COMMIT"),
        q("SELECT 1; SELECT 2"),
        q("ROLLBACK; SELECT id FROM w ORDER BY id"),
        q("BEGIN; SAVEPOINT a; INSERT INTO w VALUES (4, 'd'); SELECT 1; ROLLBACK TO a; TABLE w; RELEASE a; COMMIT"),
        q("INSERT INTO w VALUES (1, 'again'); SELECT 1"),
        q("DELETE FROM w; SELECT 1"),
    ],
    "several, in a failed transaction": [
        q("BEGIN; SELECT 1"),
        q("SELECT 1/0; SELECT 2"),
        q("SELECT 1; ROLLBACK"),
        q("ROLLBACK; SELECT 3; BEGIN; SELECT 4"),
        q("SELECT 1/0"),
        q("COMMIT; SELECT 5"),
        q("BEGIN; SAVEPOINT a; SELECT 1/0"),
        q("ROLLBACK TO a; SELECT 6; COMMIT"),
    ],
    "several, names made and used": [
        q("PREPARE p (int) AS SELECT $1 + 1; EXECUTE p (1); EXECUTE p (2); DEALLOCATE p; SELECT 1"),
        q("PREPARE p AS SELECT 7; SELECT 1/0"),
        q("EXECUTE p; SELECT 1; DEALLOCATE p"),
        q("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id; FETCH 2 FROM c; COMMIT; FETCH 2 FROM c"),
        q("FETCH 1 FROM c; CLOSE c; SELECT 1"),
        q("CREATE TEMP TABLE made (i int); INSERT INTO made VALUES (1) RETURNING i; TABLE made; DROP TABLE made"),
    ],
    "several, copy among them": [
        Step(q("COPY w FROM STDIN; SELECT count(*) FROM w; COPY (SELECT id FROM w) TO STDOUT; SELECT 1"), "G"),
        Step(copy_data(b"1\ta\n2\tb\n") + COPY_DONE, "Z"),
        Step(q("SELECT 1; COPY w FROM STDIN; SELECT 2"), "G"),
        Step(copy_data(b"3\tc\n") + copy_fail(), "Z"),
        q("SELECT id FROM w ORDER BY id; SELECT 1"),
        q("DELETE FROM w; SELECT 1"),
    ],
    "several, nothing and something": [
        q(";; SELECT 1;; SELECT 2; -- end\n ;"),
        q("SELECT FROM t LIMIT 2; SELECT 1; VALUES (1), (2); TABLE w"),
        q("SELECT repeat('x', 100000); SELECT i FROM generate_series(1, 5000) i; SELECT 1"),
        q("EXPLAIN (COSTS OFF) SELECT 1; SHOW work_mem; SET work_mem = '5MB'; SHOW work_mem; RESET work_mem"),
        q("LISTEN a; NOTIFY a, 'x'; SELECT 1; UNLISTEN a"),
        q("SELECT now() = now(); SELECT pg_backend_pid() > 0; SELECT txid_current() > 0"),
    ],
    "several, behind and before the extended protocol": [
        run("SELECT 1") + SYNC + q("SELECT 2; SELECT 3") + run("SELECT 4") + SYNC,
        Step(run("SELECT 1/0") + q("SELECT 2; SELECT 3") + SYNC, "Z"),
        q("BEGIN; SELECT 1"),
        run("SELECT 5", portal=b"p") + SYNC,
        q("SELECT 6; SELECT 7; COMMIT; SELECT 8"),
    ],
}
