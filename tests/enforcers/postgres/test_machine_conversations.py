"""Whole conversations by raw protocol: with a gateway that allows everything the client sees what it sees directly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import psycopg
import pytest
import pytest_asyncio

from enforcers.core.ports import Ruling
from enforcers.postgres import deny, wire
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.conversations import (
    COPY_DONE,
    FLUSH,
    SYNC,
    Live,
    Step,
    both,
    call,
    copy_data,
    copy_fail,
    live,
    make_databases,
    q,
    run,
    shown,
)
from tests.enforcers.postgres.fakes import ALLOW, APPROVED, LEASED, Policy, with_duties
from tests.enforcers.postgres.several import SEVERAL, WITHOUT_BLOCK

DIRECT, BEHIND = "conversation_direct", "conversation_behind"
Steps = Sequence[bytes | Step]


@pytest.fixture(scope="module")
def databases(postgres: Postgres) -> None:
    make_databases(postgres, DIRECT, BEHIND)


pytestmark = pytest.mark.asyncio(loop_scope="module")

# Under the last two every single statement runs in the gateway's extended form: a limit is set before it, or what it
# rests on is verified.
RULINGS = {
    "decided": ALLOW,
    "leased": LEASED,
    "limited": with_duties(ALLOW, statement_timeout_ms=600_000),
    "approved": APPROVED,
}


def always(ruling: Ruling) -> Policy:
    return lambda _text: ruling


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(postgres: Postgres, databases: None) -> AsyncIterator[dict[str, Live]]:
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(live(postgres, always(ruling), database=BEHIND))
            for name, ruling in RULINGS.items()
        }


ROWS = b"SELECT id, name FROM t ORDER BY id"
PORTAL = wire.parse(b"s", ROWS) + wire.bind(b"p", b"s")
COPY = b"COPY w FROM STDIN"

# Object ids of src/include/catalog/pg_proc.dat
INT4PL, TEXTCAT = 177, 1258
LO_OPEN, LO_CLOSE, LOREAD, LOWRITE, LO_LSEEK, LO_CREATE, LO_UNLINK = 952, 953, 954, 955, 956, 715, 964

CONVERSATIONS: dict[str, Steps] = {
    # Simple protocol
    "several statements": [q("SELECT 1; SELECT 'a;b'; SELECT $$c;d$$ -- e;\n; /* f; */ SELECT 2")],
    "several, one fails": [q("INSERT INTO w VALUES (1, 'x'); SELECT 1/0; SELECT 2"), q("SELECT count(*) FROM w")],
    "several, a transaction inside": [
        q("SELECT 1; BEGIN; INSERT INTO w VALUES (2, 'x'); COMMIT; SELECT 1/0"),
        q("SELECT id FROM w ORDER BY id"),
        q("DELETE FROM w"),
    ],
    "several, transaction left open": [q("BEGIN; INSERT INTO w VALUES (3, 'x')"), q("SELECT 1"), q("ROLLBACK")],
    "empty": [q(""), q(";"), q(" ; ; "), q("-- nothing"), q("SELECT 1;;"), q(";SELECT 1")],
    "syntax error": [q("SELEC 1"), q("BEGIN"), q("SELECT (;"), q("SELECT 1"), q("ROLLBACK"), q("SELECT 1")],
    "commands out of place": [q("COMMIT"), q("ROLLBACK"), q("BEGIN"), q("BEGIN"), q("COMMIT"), q("SAVEPOINT a")],
    "notices": [q("SELECT noisy()"), run("SELECT noisy()") + SYNC, q("DROP TABLE IF EXISTS missing")],
    "parameter status": [
        q("SET application_name = 'one'"),
        q("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'"),
        q("BEGIN; SET LOCAL IntervalStyle = 'iso_8601'"),
        q("ROLLBACK"),
        q("RESET ALL"),
        q("DISCARD ALL"),
    ],
    # Extended protocol
    "unnamed": [run("SELECT $1::int + 1", b"41") + SYNC],
    "named": [
        wire.parse(b"s", b"SELECT $1::int, $2::text") + wire.describe(b"S", b"s") + SYNC,
        wire.bind(b"", b"s", (b"1", None)) + wire.execute(b"") + SYNC,
        wire.bind(b"", b"s", (b"2", b"x"), result_formats=(1, 0)) + wire.execute(b"") + SYNC,
        wire.close(b"S", b"s") + SYNC,
        wire.bind(b"", b"s", (b"2", b"x")) + SYNC,
        wire.close(b"S", b"never") + wire.close(b"P", b"never") + SYNC,
    ],
    "a name twice": [wire.parse(b"s", b"SELECT 1") + SYNC, wire.parse(b"s", b"SELECT 2") + SYNC],
    "the unnamed statement ends with a query": [
        wire.parse(b"", b"SELECT 7") + SYNC,
        wire.bind(b"", b"") + wire.execute(b"") + SYNC,
        q("SELECT 1"),
        wire.bind(b"", b"") + wire.execute(b"") + SYNC,
    ],
    "binary both ways": [
        wire.parse(b"", b"SELECT $1::int4 * 2, $2::text", (23, 25))
        + wire.bind(b"", b"", (b"\0\0\0\x15", b"t"), formats=(1, 0), result_formats=(1,))
        + wire.execute(b"")
        + SYNC
    ],
    "portal with row limits": [
        q("BEGIN"),
        PORTAL + wire.execute(b"p", 3) + SYNC,
        wire.describe(b"P", b"p") + wire.execute(b"p", 5) + wire.execute(b"p", 4) + SYNC,
        q("SELECT 'between'"),
        wire.execute(b"p", 8) + FLUSH + wire.execute(b"p") + SYNC,
        wire.execute(b"p") + SYNC,
        q("COMMIT"),
        wire.execute(b"p") + SYNC,
    ],
    "row limits that end exactly": [
        q("BEGIN"),
        PORTAL + wire.execute(b"p", 20) + SYNC,
        wire.execute(b"p", 20) + SYNC,
        wire.execute(b"p", 20) + SYNC,
        wire.close(b"P", b"p") + wire.execute(b"p") + SYNC,
        q("ROLLBACK"),
    ],
    "a portal ends with its implicit transaction": [PORTAL + wire.execute(b"p", 3) + SYNC, wire.execute(b"p") + SYNC],
    "a portal run twice": [
        run("INSERT INTO w VALUES (10, 'x')", portal=b"p") + wire.execute(b"p") + SYNC,
        run("INSERT INTO w VALUES (11, 'x') RETURNING id", portal=b"p") + wire.execute(b"p") + SYNC,
        run("BEGIN", portal=b"p") + wire.execute(b"p") + SYNC,
        q("ROLLBACK"),
        q("DELETE FROM w"),
    ],
    "several portals": [
        q("BEGIN"),
        PORTAL + wire.bind(b"o", b"s") + wire.execute(b"o", 2) + wire.execute(b"p", 1) + wire.execute(b"o", 2) + SYNC,
        wire.bind(b"o", b"s") + SYNC,
        q("ROLLBACK"),
    ],
    "portals and savepoints": [
        q("BEGIN"),
        PORTAL + wire.execute(b"p", 2) + SYNC,
        q("SAVEPOINT a"),
        wire.bind(b"later", b"s") + wire.execute(b"later", 1) + SYNC,
        q("SELECT 1/0"),
        q("ROLLBACK TO a"),
        wire.execute(b"p", 2) + SYNC,
        q("SELECT 1"),
        wire.execute(b"later", 2) + SYNC,
        q("ROLLBACK"),
    ],
    "describe": [
        wire.parse(b"a", b"SELECT id, $1::text FROM t")
        + wire.parse(b"b", b"INSERT INTO w VALUES ($1, $2)")
        + wire.parse(b"c", b"")
        + wire.describe(b"S", b"a")
        + wire.describe(b"S", b"b")
        + wire.describe(b"S", b"c")
        + SYNC,
        wire.bind(b"", b"a", (b"x",), result_formats=(0, 1)) + wire.describe(b"P", b"") + SYNC,
        wire.bind(b"", b"c") + wire.describe(b"P", b"") + wire.execute(b"") + SYNC,
        wire.describe(b"S", b"none") + SYNC,
        wire.describe(b"P", b"none") + SYNC,
    ],
    "flush": [
        Step(run("SELECT 1") + FLUSH, "C"),
        Step(run("SELECT 2") + FLUSH, "C"),
        SYNC,
        FLUSH + SYNC + SYNC,
    ],
    "pipeline": [
        run("INSERT INTO w VALUES (20, 'a')") + run("SELECT count(*) FROM w") + run("DELETE FROM w") + SYNC,
        run("SELECT 1") + SYNC + run("SELECT 2") + SYNC + q("SELECT 3") + run("SELECT 4") + SYNC,
    ],
    "an error skips to Sync": [
        run("INSERT INTO w VALUES (21, 'a')")
        + run("SELECT 1/0")
        + run("SELECT 2")
        + FLUSH
        + SYNC
        + run("SELECT 3")
        + SYNC,
        q("SELECT count(*) FROM w"),
        wire.parse(b"", b"SELEC") + run("SELECT 1") + wire.close(b"S", b"") + SYNC,
        wire.bind(b"", b"none") + run("SELECT 1") + SYNC,
        wire.execute(b"none") + run("SELECT 1") + SYNC,
        q("BEGIN"),
        run("SELECT 1/0") + SYNC,
        run("SELECT 1") + SYNC,
        q("ROLLBACK"),
    ],
    "a query behind an error is skipped": [Step(run("SELECT 1/0") + q("SELECT 5") + SYNC, "Z"), q("SELECT 6")],
    "extended before a query": [Step(run("INSERT INTO w VALUES (22, 'a')") + q("SELECT count(*) FROM w"), "Z")],
    "extended before a query that fails": [
        Step(run("INSERT INTO w VALUES (23, 'a')") + q("SELECT 1/0"), "Z"),
        q("SELECT count(*) FROM w"),
        q("DELETE FROM w"),
    ],
    "transaction in a pipeline": [
        run("BEGIN") + run("INSERT INTO w VALUES (24, 'a')") + run("COMMIT") + run("SELECT 1/0") + SYNC,
        q("SELECT count(*) FROM w"),
        run("BEGIN") + run("DELETE FROM w") + run("ROLLBACK") + run("SELECT count(*) FROM w") + SYNC,
        run("DELETE FROM w") + SYNC,
    ],
    "chains": [
        q("BEGIN ISOLATION LEVEL REPEATABLE READ"),
        q("COMMIT AND CHAIN"),
        q("SHOW transaction_isolation"),
        run("INSERT INTO w VALUES (25, 'a')") + run("COMMIT AND CHAIN") + run("INSERT INTO w VALUES (26, 'a')") + SYNC,
        run("ROLLBACK AND CHAIN") + run("SELECT id FROM w") + SYNC,
        q("SELECT 1/0"),
        q("ROLLBACK AND CHAIN"),
        q("DELETE FROM w; COMMIT AND CHAIN; SELECT 1"),
        q("ROLLBACK"),
        q("COMMIT AND CHAIN"),
        run("COMMIT AND CHAIN") + SYNC,
    ],
    # SQL PREPARE and cursors
    "sql prepare": [
        q("PREPARE p (int) AS SELECT id, name FROM t WHERE id = $1"),
        q("EXECUTE p(3)"),
        q("EXECUTE p(1 + 3); EXECUTE p(5)"),
        run("EXECUTE p(6)") + SYNC,
        q("EXPLAIN (COSTS OFF) EXECUTE p(7)"),
        q("PREPARE p AS SELECT 1"),
        q("DEALLOCATE p"),
        q("EXECUTE p(3)"),
        q("PREPARE p AS SELECT 'again'; EXECUTE p; DEALLOCATE ALL"),
        q("EXECUTE p"),
    ],
    "sql prepare survives a rollback": [
        q("BEGIN"),
        q("PREPARE p AS SELECT 1"),
        q("ROLLBACK"),
        q("EXECUTE p"),
        q("BEGIN; DEALLOCATE p; ROLLBACK"),
        q("EXECUTE p"),
    ],
    "sql prepare that writes": [
        q("PREPARE p (int, text) AS INSERT INTO w VALUES ($1, $2) RETURNING id"),
        q("EXECUTE p(30, 'x')"),
        run("EXECUTE p(31, 'x')") + SYNC,
        q("CREATE TEMP TABLE made AS SELECT 1 AS one"),
        q("PREPARE r AS SELECT v FROM w ORDER BY id"),
        q("CREATE TEMP TABLE copied AS EXECUTE r"),
        q("SELECT * FROM copied"),
        q("DELETE FROM w"),
    ],
    "sql prepare meets the protocol's own": [
        q("PREPARE p (int) AS SELECT id FROM t WHERE id = $1"),
        wire.describe(b"S", b"p") + wire.bind(b"", b"p", (b"4",)) + wire.execute(b"") + SYNC,
        wire.parse(b"own", b"SELECT name FROM t WHERE id = $1", (23,)) + SYNC,
        q("EXECUTE own(2)"),
        q("DEALLOCATE own"),
        wire.bind(b"", b"own", (b"4",)) + SYNC,
        wire.close(b"S", b"p") + SYNC,
        q("EXECUTE p(1)"),
    ],
    "sql prepare under another search_path": [
        q("PREPARE p AS SELECT id FROM t ORDER BY id LIMIT 1"),
        q("EXECUTE p"),
        q("SET search_path = elsewhere, public"),
        q("EXECUTE p"),
        q("RESET search_path"),
    ],
    "cursors": [
        q("DECLARE c CURSOR FOR SELECT 1"),
        q("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM t ORDER BY id; FETCH 2 FROM c"),
        q("MOVE FORWARD 3 IN c"),
        run("FETCH 2 FROM c", formats=(1,)) + SYNC,
        q("FETCH PRIOR FROM c; FETCH LAST FROM c; FETCH ABSOLUTE 1 FROM c; MOVE ALL IN c; FETCH c"),
        q("CLOSE c"),
        q("FETCH c"),
        q("ROLLBACK"),
        q("FETCH c"),
    ],
    "cursors with hold": [
        q("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id"),
        q("FETCH 2 FROM c"),
        q("SELECT 1/0"),
        q("FETCH 2 FROM c"),
        q("BEGIN; FETCH 1 FROM c; ROLLBACK"),
        q("FETCH 1 FROM c"),
        q("CLOSE ALL"),
        q("FETCH 1 FROM c"),
        q("BEGIN; DECLARE d CURSOR WITH HOLD FOR SELECT 1; ROLLBACK"),
        q("FETCH 1 FROM d"),
        q("DECLARE e CURSOR WITH HOLD FOR SELECT 1"),
        q("DISCARD ALL"),
        q("FETCH 1 FROM e"),
    ],
    "cursors and savepoints": [
        q("BEGIN; SAVEPOINT a; DECLARE c CURSOR FOR SELECT 1"),
        q("ROLLBACK TO a"),
        q("DECLARE c CURSOR FOR SELECT 2"),
        q("FETCH ALL FROM c"),
        q("SAVEPOINT b; CLOSE c; ROLLBACK TO b"),
        q("FETCH ALL FROM c"),
        q("ROLLBACK"),
    ],
    "binary cursors": [
        q("BEGIN; DECLARE c BINARY CURSOR FOR SELECT id FROM t ORDER BY id"),
        q("FETCH 2 FROM c"),
        run("FETCH 2 FROM c") + SYNC,
        q("COMMIT"),
    ],
    "a cursor by the protocol": [
        q("BEGIN; DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id"),
        wire.describe(b"P", b"c") + wire.execute(b"c", 2) + SYNC,
        wire.execute(b"c", 2) + wire.execute(b"c") + SYNC,
        wire.close(b"P", b"c") + SYNC,
        q("FETCH c"),
        q("ROLLBACK"),
    ],
    "the protocol's portal by SQL": [
        q("BEGIN"),
        PORTAL + wire.execute(b"p", 2) + SYNC,
        q("FETCH 2 FROM p"),
        q("MOVE 2 IN p"),
        wire.execute(b"p", 2) + SYNC,
        q("CLOSE p"),
        wire.execute(b"p", 2) + SYNC,
        q("ROLLBACK"),
    ],
    "where current of": [
        q("INSERT INTO w VALUES (40, 'a'), (41, 'b')"),
        q("BEGIN; DECLARE c CURSOR FOR SELECT id FROM w ORDER BY id FOR UPDATE; FETCH c"),
        q("UPDATE w SET v = 'new' WHERE CURRENT OF c"),
        q("COMMIT; SELECT * FROM w ORDER BY id; DELETE FROM w"),
    ],
    # COPY
    "copy in": [
        Step(q(COPY), "G"),
        Step(copy_data(b"1\tone\n", b"2\tt", b"wo\n") + COPY_DONE, "Z"),
        Step(q("COPY w (v, id) FROM STDIN (FORMAT csv, HEADER)"), "G"),
        Step(copy_data(b'v,id\n"a,b",3\n') + COPY_DONE, "Z"),
        q("SELECT * FROM w ORDER BY id"),
    ],
    "copy out": [
        q("COPY w TO STDOUT"),
        q("COPY (SELECT id FROM w) TO STDOUT (FORMAT csv)"),
        q("COPY w TO STDOUT (FORMAT binary)"),
        run("COPY w TO STDOUT") + SYNC,
        q("COPY w TO STDOUT; SELECT 1; COPY w TO STDOUT"),
    ],
    "copy fails": [
        Step(q(COPY), "G"),
        Step(copy_data(b"50\tx\n") + copy_fail(), "Z"),
        Step(q(COPY), "G"),
        Step(copy_data(b"bad\n", b"more\n") + COPY_DONE, "Z"),
        Step(q("BEGIN; " + COPY.decode()), "G"),
        Step(copy_fail(b"no"), "Z"),
        q("ROLLBACK"),
        q("SELECT count(*) FROM w WHERE id = 50"),
    ],
    "copy without waiting": [
        Step(q(COPY) + copy_data(b"51\tx\n") + COPY_DONE + q("DELETE FROM w WHERE id = 51"), "ZZ"),
        Step(run(COPY)[: -len(wire.execute(b""))] + wire.execute(b"") + copy_data(b"52\tx\n") + COPY_DONE + SYNC, "Z"),
        Step(run(COPY) + copy_data(b"bad\n") + COPY_DONE + SYNC + q("SELECT 1"), "ZZ"),
        Step(run(COPY) + copy_fail() + SYNC + q("SELECT 1"), "ZZ"),
        Step(q(COPY) + copy_data(b"bad\n") + COPY_DONE + q("SELECT 1"), "ZZ"),
    ],
    "copy among statements": [
        Step(q(b"DELETE FROM w; " + COPY + b"; SELECT count(*) FROM w; " + COPY + b"; SELECT count(*) FROM w"), "G"),
        Step(copy_data(b"53\tx\n") + COPY_DONE, "G"),
        Step(copy_data(b"54\tx\n") + COPY_DONE, "Z"),
        Step(q(COPY + b"; SELECT 1/0"), "G"),
        Step(copy_data(b"55\tx\n") + COPY_DONE, "Z"),
        q("SELECT id FROM w ORDER BY id"),
    ],
    "copy in a pipeline": [
        Step(
            run("DELETE FROM w") + run(COPY) + copy_data(b"56\tx\n") + COPY_DONE + run("SELECT id FROM w") + SYNC, "Z"
        ),
        Step(run("DELETE FROM w") + run(COPY) + FLUSH, "CG"),
        Step(FLUSH + copy_data(b"57\tx\n") + COPY_DONE + run("TABLE w") + SYNC, "Z"),
        q("DELETE FROM w"),
    ],
    # Function calls
    "function calls": [
        call(INT4PL, (b"2", b"40")),
        call(INT4PL, (b"\0\0\0\2", b"\0\0\0\x28"), formats=(1,), result_format=1),
        call(INT4PL, (b"2", b"\0\0\0\x28"), formats=(0, 1)),
        call(INT4PL, (b"2", None)),
        call(TEXTCAT, (b"a", b"b")),
        call(INT4PL, (b"2",)),
        call(INT4PL, (b"2", b"x")),
        call(99, (b"2",)),
        q("SELECT 1"),
    ],
    "function calls in a transaction": [
        q("BEGIN"),
        call(INT4PL, (b"1", b"1")),
        q("SELECT 1/0"),
        call(INT4PL, (b"1", b"1")),
        q("ROLLBACK"),
    ],
    "large objects": [
        q("BEGIN"),
        call(LO_CREATE, (b"4711",)),
        call(LO_OPEN, (b"4711", b"393216")),
        call(LOWRITE, (b"0", rb"\x00ff27"), result_format=1),
        call(LO_LSEEK, (b"0", b"0", b"0")),
        call(LOREAD, (b"0", b"10")),
        call(LO_CLOSE, (b"0",)),
        q("COMMIT"),
        call(LO_UNLINK, (b"4711",)),
        call(LO_UNLINK, (b"4711",)),
    ],
    "function calls in a pipeline": [
        Step(run("INSERT INTO w VALUES (70, 'x')") + call(INT4PL, (b"1", b"1")), "Z"),
        q("SELECT count(*) FROM w"),
        Step(run("SELECT 1/0") + call(INT4PL, (b"1", b"1")) + SYNC, "Z"),
        call(INT4PL, (b"1", b"1")) + call(INT4PL, (b"1", b"2")) + q("DELETE FROM w"),
    ],
    # Transactions
    "two-phase commit": [
        q("BEGIN; INSERT INTO w VALUES (60, 'x'); PREPARE TRANSACTION 'one'"),
        q("SELECT count(*) FROM w"),
        q("COMMIT PREPARED 'one'"),
        q("SELECT count(*) FROM w"),
        run("BEGIN") + SYNC,
        run("DELETE FROM w") + run("PREPARE TRANSACTION 'one'") + SYNC,
        run("ROLLBACK PREPARED 'one'") + SYNC,
        q("COMMIT PREPARED 'none'"),
        q("PREPARE TRANSACTION 'outside'"),
        q("BEGIN; SELECT 1/0"),
        q("PREPARE TRANSACTION 'failed'"),
        q("BEGIN; COMMIT PREPARED 'none'"),
        q("ROLLBACK"),
        q("DELETE FROM w"),
    ],
    "savepoints": [
        q("BEGIN; INSERT INTO w VALUES (61, 'x'); SAVEPOINT a; INSERT INTO w VALUES (62, 'x')"),
        q("ROLLBACK TO a; SELECT id FROM w"),
        q("SELECT 1/0"),
        q("SELECT 1"),
        q("SAVEPOINT b"),
        q("ROLLBACK TO SAVEPOINT a"),
        q("RELEASE a; ROLLBACK TO a"),
        q("ROLLBACK"),
        run("BEGIN") + run("SAVEPOINT a") + run("SELECT 1/0") + SYNC,
        run("ROLLBACK TO a") + run("SELECT 1") + SYNC,
        run("COMMIT") + SYNC,
    ],
    "set local": [
        q("BEGIN; SET LOCAL search_path = elsewhere; SELECT id FROM t"),
        q("COMMIT; SELECT count(*) FROM t"),
        q("BEGIN; SAVEPOINT a; SET LOCAL search_path = elsewhere"),
        q("SELECT id FROM t"),
        q("ROLLBACK TO a"),
        q("SELECT count(*) FROM t"),
        q("ROLLBACK"),
        q("SET LOCAL search_path = elsewhere"),
        q("SELECT count(*) FROM t"),
        run("SET LOCAL search_path = elsewhere") + run("SELECT id FROM t") + SYNC,
        q("SELECT count(*) FROM t"),
    ],
    "discard": [
        q("CREATE TEMP TABLE t (only_here int)"),
        q("SELECT * FROM t"),
        q("DISCARD TEMP"),
        q("SELECT count(*) FROM t"),
        wire.parse(b"s", ROWS) + SYNC,
        q("DISCARD PLANS"),
        q("DISCARD SEQUENCES"),
        wire.bind(b"", b"s") + wire.execute(b"", 1) + SYNC,
        q("DISCARD ALL"),
        wire.bind(b"", b"s") + SYNC,
        q("BEGIN"),
        q("DISCARD ALL"),
        q("ROLLBACK"),
        q("SELECT 1; DISCARD ALL"),
    ],
    "listen": [
        q("LISTEN a"),
        q("NOTIFY a, 'one'"),
        q("BEGIN; NOTIFY a, 'two'"),
        q("SELECT 1"),
        q("COMMIT"),
        run("SELECT pg_notify('a', $1)", b"three") + SYNC,
        q("UNLISTEN a"),
        q("NOTIFY a"),
        q("LISTEN a; LISTEN b; UNLISTEN *"),
    ],
    "what can't be in a transaction": [
        q("BEGIN"),
        q("VACUUM t"),
        q("ROLLBACK"),
        q("SELECT 1; VACUUM t"),
        run("VACUUM t") + SYNC,
        run("SELECT 1") + run("VACUUM t") + SYNC,
    ],
    "strings": [
        q(r"SELECT E'a\';b', 'c\', U&'\0041;', U&'!0041;' UESCAPE '!', $a$;$b$;$a$"),
        q('SELECT 1 AS "a;b", 2 AS U&"\\0041;", 3 AS a$b$, 4 AS "q""u;"'),
        q("SELECT 1 /* a /* b; */ ; */ ; SELECT 2 -- c;\n ; SELECT B'01', X'0f'"),
        q("SELECT 'a'\n'b;'; SELECT $tag$ $tag ; $tag$; SELECT 1-- '\n;SELECT $$'$$"),
        q("CREATE FUNCTION body() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT body()"),
        q("DROP FUNCTION body"),
    ],
    # What sets off more than it says
    "procedures": [
        q(
            "CREATE PROCEDURE steps(INOUT n int) LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO w VALUES (80, 'x'); COMMIT; n := n + 1;"
            " INSERT INTO w VALUES (81, 'y'); ROLLBACK; END $$"
        ),
        q("CALL steps(1)"),
        q("SELECT id FROM w WHERE id > 79"),
        q("DELETE FROM w WHERE id > 79; CALL steps(1)"),
        run("CALL steps(7)") + SYNC,
        q("BEGIN; CALL steps(1)"),
        q("ROLLBACK"),
        q("DELETE FROM w"),
        q("DROP PROCEDURE steps"),
    ],
    "refcursors": [
        q(
            "CREATE FUNCTION opened() RETURNS refcursor LANGUAGE plpgsql AS"
            " $$ DECLARE c refcursor := 'mine'; BEGIN OPEN c FOR SELECT id FROM t ORDER BY id; RETURN c; END $$"
        ),
        q("BEGIN; SELECT opened()"),
        q("FETCH 2 FROM mine"),
        q("CLOSE mine; COMMIT"),
        q("DROP FUNCTION opened"),
    ],
    "deferred constraints": [
        q(
            "CREATE TABLE parent (id int PRIMARY KEY);"
            "CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
        ),
        q("INSERT INTO child VALUES (1)"),
        run("INSERT INTO child VALUES (1)") + SYNC,
        run("INSERT INTO child VALUES (1)") + run("SELECT 1") + SYNC + run("SELECT count(*) FROM child") + SYNC,
        q("BEGIN; INSERT INTO child VALUES (1)"),
        q("COMMIT"),
        q("SELECT 1; INSERT INTO child VALUES (1)"),
        q("BEGIN; INSERT INTO child VALUES (1); SET CONSTRAINTS ALL IMMEDIATE"),
        q("ROLLBACK; DROP TABLE child, parent"),
    ],
    "temporary objects in a pipeline": [
        run("CREATE TEMP TABLE t (mine int)") + run("INSERT INTO t VALUES (1)") + run("SELECT * FROM t") + SYNC,
        run("DROP TABLE pg_temp.t") + run("SELECT count(*) FROM t") + SYNC,
        q("CREATE TEMP TABLE t (mine text); INSERT INTO t VALUES ('x'); SELECT * FROM t; DROP TABLE t"),
        run("BEGIN") + run("CREATE TABLE made (i int)") + run("INSERT INTO made VALUES (1) RETURNING i") + SYNC,
        run("ALTER TABLE made ADD j int") + run("SELECT * FROM made") + run("ROLLBACK") + SYNC,
        q("SELECT * FROM made"),
    ],
    "a statement whose columns change": [
        q("CREATE TABLE made (i int)"),
        wire.parse(b"s", b"SELECT * FROM made") + wire.describe(b"S", b"s") + SYNC,
        wire.bind(b"", b"s") + wire.execute(b"") + SYNC,
        q("ALTER TABLE made ADD j int"),
        wire.bind(b"", b"s") + wire.execute(b"") + SYNC,
        wire.close(b"S", b"s") + wire.parse(b"s", b"SELECT * FROM made") + wire.describe(b"S", b"s") + SYNC,
        wire.bind(b"", b"s") + wire.execute(b"") + SYNC,
        q("DROP TABLE made"),
        wire.bind(b"", b"s") + wire.execute(b"") + SYNC,
    ],
    "isolation and modes": [
        q("BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE; SELECT count(*) FROM t"),
        q("INSERT INTO w VALUES (90, 'x')"),
        q("ROLLBACK"),
        q("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
        q("INSERT INTO w VALUES (90, 'x')"),
        q("START TRANSACTION READ WRITE; SHOW transaction_read_only; COMMIT"),
        q("SET default_transaction_read_only = off"),
        q("BEGIN; SELECT 1"),
        q("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        q("ROLLBACK"),
    ],
    "plans and rows": [
        q("EXPLAIN (COSTS OFF) SELECT id FROM t WHERE id = 1"),
        run("EXPLAIN (COSTS OFF, FORMAT JSON) SELECT id FROM t WHERE id = $1", b"1") + SYNC,
        q("VALUES (1, 'a'), (2, NULL)"),
        q("TABLE t LIMIT 2"),
        q("SELECT FROM t LIMIT 2"),
        run("SELECT FROM t LIMIT 2") + SYNC,
        q("WITH gone AS (DELETE FROM w RETURNING *) SELECT count(*) FROM gone"),
        q("INSERT INTO w SELECT id, name FROM t WHERE id < 3 ON CONFLICT (id) DO UPDATE SET v = 'x' RETURNING *"),
        q("MERGE INTO w USING t ON w.id = t.id WHEN MATCHED THEN UPDATE SET v = 'm'"),
        q("SELECT * FROM w ORDER BY id FOR UPDATE SKIP LOCKED"),
        q("TRUNCATE w"),
        q("SHOW search_path"),
        q("SELECT current_setting('search_path'), set_config('search_path', 'elsewhere', true), current_schema"),
        q("SELECT count(*) FROM t"),
        q("LOCK TABLE w"),
        q("BEGIN; LOCK TABLE w IN SHARE MODE; COMMIT"),
    ],
    "values that fail": [
        run("SELECT $1::int", b"x") + run("SELECT 1") + SYNC,
        run("SELECT $1::int") + SYNC,
        run("SELECT 1", b"1") + SYNC,
        wire.parse(b"", b"SELECT $1", (23,)) + wire.bind(b"", b"", (b"\0",), formats=(1,)) + wire.execute(b"") + SYNC,
        wire.parse(b"", b"SELECT $1", (99999,)) + SYNC,
        run(b"SELECT '\xff'") + SYNC,
        q(b"SELECT '\xff'"),
        run("SELECT $1::text", b"\xff") + SYNC,
        q("SELECT 1"),
    ],
    "a large result": [q("SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i"), q("SELECT 1")],
    "wide rows": [q("SELECT repeat('x', 3000000)"), run("SELECT repeat('y', 3000000)") + SYNC],
    **SEVERAL,
}


def single(steps: Steps) -> bool:
    """No message of several statements: those are never approved."""
    messages = [step.data if isinstance(step, Step) else step for step in steps]
    return not any(b";" in message for message in messages)


# A cursor's portal has no RowDescription here, a function call no transaction that could be looked into. What came
# before a Query without a Sync is committed by the Sync of the guard.
_NOT_GUARDED = {"a cursor by the protocol", "function calls", "function calls in a transaction", "large objects"}
_NOT_GUARDED |= {"function calls in a pipeline", "extended before a query", "extended before a query that fails"}
# What can't run in a transaction is refused under a limit; to what stands alone a limit looks like a block around it
# (LOCK, DECLARE, SET LOCAL); rows of a binary cursor come as text; a commit that fails comes behind CommandComplete.
_NOT_LIMITED = {"parameter status", "discard", "two-phase commit", "what can't be in a transaction", "procedures"}
_NOT_LIMITED |= {
    "cursors",
    "cursors with hold",
    "set local",
    "plans and rows",
    "binary cursors",
    "deferred constraints",
}
CASES = (
    [(ruling, name) for ruling in ("decided", "leased") for name in CONVERSATIONS]
    + [("limited", name) for name in CONVERSATIONS if name not in _NOT_GUARDED | _NOT_LIMITED]
    + [("approved", name) for name, steps in CONVERSATIONS.items() if single(steps) and name not in _NOT_GUARDED]
)


@pytest.mark.parametrize(("ruling", "name"), CASES)
async def test_the_client_sees_what_it_sees_directly(
    postgres: Postgres, gateways: dict[str, Live], ruling: str, name: str
) -> None:
    expected, found = await both(postgres, gateways[ruling], CONVERSATIONS[name], database=DIRECT)
    if ruling == "limited" and name in SEVERAL and version(postgres) < 180000:
        expected, found = ([f for f in side if not outside_a_block(f, "N")] for side in (expected, found))
        if name == WITHOUT_BLOCK:
            expected = [("Z", wire.ready(b"I"))] * len(CONVERSATIONS[name])
            found = [frame for frame in found if not outside_a_block(frame, "E")]
    assert shown(found) == shown(expected)
    assert all(outcome.status != "unknown" for _, outcome in gateways[ruling].gate.ends)


def outside_a_block(frame: tuple[str, bytes], kind: str) -> bool:
    return frame[0] == kind and deny.sqlstate(frame[1])[0] == "25P01"


def version(postgres: Postgres) -> int:
    with psycopg.connect(postgres.dsn) as client:
        return client.info.server_version
