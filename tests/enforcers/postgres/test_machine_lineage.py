"""What EXECUTE and FETCH inherit, on a real target with the real describer: decided, masked, followed exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest
from twokey.type.v1 import operation_pb2

from enforcers.core.ports import Answer, Duties, MaskedColumn, Ruling
from enforcers.postgres import wire
from enforcers.postgres.machine_lineage import prepared_body
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.conversations import SYNC, Live, both, hold, live, make_databases, q, run
from tests.enforcers.postgres.fakes import ALLOW, APPROVED, DENY, LEASED, Policy, with_duties
from tests.enforcers.postgres.raw import Raw

DATABASE = "lineage"
MASK = with_duties(
    ALLOW, mask=(MaskedColumn(schema="public", relation="t", column="name", label="pii", masker="null"),)
)


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> None:
    make_databases(postgres, DATABASE)


class Talk:
    """A client of a gateway, and what its gate was asked."""

    def __init__(self, one: Live, client: Raw) -> None:
        self.one = one
        self.client = client

    async def say(self, *steps: bytes) -> list[tuple[str, bytes]]:
        return await hold(self.client, steps)

    async def rows(self, *steps: bytes) -> list[list[bytes | None]]:
        return [wire.parse_data_row(raw) for kind, raw in await self.say(*steps) if kind == "D"]

    async def errors(self, *steps: bytes) -> list[str]:
        return [wire.parse_fields(raw)["C"].decode() for kind, raw in await self.say(*steps) if kind == "E"]

    @property
    def last(self) -> operation_pb2.SqlOperation:
        """The operation that was last decided."""
        return self.one.gate.questions[-1].operation.sql


@asynccontextmanager
async def talk(postgres: Postgres, policy: Policy | None = None) -> AsyncIterator[Talk]:
    async with live(postgres, policy, database=DATABASE) as one:
        client = await one.client()
        try:
            yield Talk(one, client)
        finally:
            client.close()


def reads(sql: operation_pb2.SqlOperation) -> list[str]:
    return sorted({f"{item.schema}.{item.name}" for item in sql.relations})


pytestmark = pytest.mark.usefixtures("database")


async def test_execute_is_what_it_executes(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(q("PREPARE p (int) AS UPDATE w SET v = 'x' WHERE id = $1 RETURNING v"))
        assert list(one.last.verbs) == ["sql.prepare", "sql.update"]
        await one.say(q("EXECUTE p(5)"))
        assert not one.last.opaque
        assert list(one.last.verbs) == ["sql.execute", "sql.update"]
        assert (one.last.command, one.last.has_where, one.last.returns_rows) == ("EXECUTE", True, True)
        assert [(item.relation, item.column, item.use) for item in one.last.columns if item.use == "write"] == [
            ("w", "v", "write")
        ]
        await one.say(q("EXPLAIN EXECUTE p(5)"))
        assert list(one.last.verbs) == ["sql.explain"]
        assert not one.last.opaque
        await one.say(q("EXPLAIN ANALYZE EXECUTE p(5)"))
        assert "sql.update" in one.last.verbs
        await one.say(q("PREPARE r AS SELECT name FROM t"), q("CREATE TEMP TABLE made AS EXECUTE r"))
        assert {(item.column, item.use) for item in one.last.columns} == {("name", "other")}


async def test_the_transaction_knows_what_execute_wrote(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(
            q("PREPARE r AS SELECT 1"), q("PREPARE p AS DELETE FROM w"), q("BEGIN"), q("EXECUTE r"), q("EXECUTE r")
        )
        assert not one.last.transaction.written
        await one.say(q("EXECUTE p"), q("EXECUTE r"))
        assert one.last.transaction.written
        await one.say(q("ROLLBACK"))


async def test_execute_follows_names_and_definitions_of_its_own_moment(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(q("PREPARE p AS SELECT id FROM t LIMIT 1"))
        assert await one.rows(q("EXECUTE p")) == [[b"1"]]
        assert reads(one.last) == ["public.t"]
        await one.say(q("SET search_path = elsewhere, public"))
        assert await one.rows(q("EXECUTE p")) == [[b"100"]]
        assert reads(one.last) == ["elsewhere.t"]
        await one.say(q("RESET search_path"), q("CREATE TEMP TABLE t (id int)"))
        assert await one.rows(q("EXECUTE p")) == []
        assert [item.temporary for item in one.last.relations] == [True]


async def test_arguments_that_call_what_is_not_safe_leave_it_opaque(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(q("PREPARE p (int) AS SELECT id FROM t WHERE id = $1"))
        for text, opaque in (("EXECUTE p(1 + length('a'))", False), ("EXECUTE p(noisy())", True)):
            await one.say(q(text))
            assert one.last.opaque is opaque, text


@pytest.mark.parametrize(
    "behind",
    [
        ["DO $$ BEGIN EXECUTE 'DEALLOCATE p'; EXECUTE 'PREPARE p AS SELECT id FROM elsewhere.t'; END $$"],
        ["DEALLOCATE p", "PREPARE p AS SELECT id FROM elsewhere.t"],
        ["DEALLOCATE p; PREPARE p AS SELECT id FROM elsewhere.t"],
        ["DISCARD ALL", "PREPARE p AS SELECT id FROM elsewhere.t"],
        ["BEGIN; DEALLOCATE p; PREPARE p AS SELECT id FROM elsewhere.t; ROLLBACK"],
    ],
)
async def test_another_statement_of_that_name_is_what_is_decided(postgres: Postgres, behind: Sequence[str]) -> None:
    async with talk(postgres) as one:
        await one.say(q("PREPARE p AS SELECT id FROM t WHERE id = 1"))
        await one.say(*(q(text) for text in behind))
        assert await one.rows(q("EXECUTE p")) == [[b"100"]]
        assert (one.last.opaque, reads(one.last)) == (False, ["elsewhere.t"])
        frames = wire.bind(b"", b"p") + wire.execute(b"") + SYNC
        assert await one.rows(frames) == [[b"100"]]
        assert (one.last.opaque, reads(one.last)) == (False, ["elsewhere.t"])


async def test_a_prepare_that_failed_is_not_believed(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(q("PREPARE p AS SELECT id FROM elsewhere.t"))
        assert await one.errors(q("PREPARE p AS SELECT id FROM t WHERE id = 1")) == ["42P05"]
        assert await one.rows(q("EXECUTE p")) == [[b"100"]]
        assert reads(one.last) == ["elsewhere.t"]
        pipeline = run("SELECT 1/0") + run("DEALLOCATE p") + run("PREPARE p AS SELECT id FROM t") + SYNC
        assert await one.errors(pipeline) == ["22012"]
        assert await one.rows(run("EXECUTE p") + SYNC) == [[b"100"]]
        assert reads(one.last) == ["elsewhere.t"]
        # In one message: what stands last before it counts.
        await one.say(q("DEALLOCATE p; PREPARE p AS SELECT id FROM w; DEALLOCATE p; PREPARE p AS SELECT 7; EXECUTE p"))
        assert reads(one.last) == []


async def test_what_the_text_does_not_tell_is_opaque(postgres: Postgres) -> None:
    """The target's pg_prepared_statements shows the whole message; with two of the name in it, none is certain."""
    async with talk(postgres) as one:
        await one.say(q("PREPARE p AS SELECT 1; DEALLOCATE p; PREPARE p AS SELECT id FROM t"), q("DO $$ BEGIN END $$"))
        await one.say(q("EXECUTE p"))
        assert one.last.opaque
        assert await one.errors(wire.bind(b"", b"p") + SYNC) == ["26000"]
        assert await one.errors(q("EXECUTE none")) == ["26000"]
        assert one.last.opaque


async def test_approval_of_one_execution_is_none_of_another(postgres: Postgres) -> None:
    """The digest covers EXECUTE's own text, what it executes and, by the protocol, the values."""

    async def digests(one: Talk, *steps: bytes) -> list[bytes]:
        found = []
        for step in steps:
            await one.say(step)
            found.append(one.one.gate.questions[-1].operation.digest)
        return found

    async with talk(postgres) as one:
        await one.say(q("PREPARE p (int) AS SELECT id FROM t WHERE id = $1"))
        bound = [wire.bind(b"", b"p", (value,)) + wire.execute(b"") + SYNC for value in (b"1", b"2")]
        found = await digests(one, q("EXECUTE p(1)"), q("EXECUTE p(2)"), *bound)
        await one.say(q("DEALLOCATE p"), q("PREPARE p (int) AS SELECT id FROM t WHERE id = $1 + 0"))
        found += await digests(one, q("EXECUTE p(1)"), q("EXECUTE p(2)"), *bound)
        assert len(set(found)) == 8


async def test_leases_of_execute_are_its_statements_own(postgres: Postgres) -> None:
    async with talk(postgres, lambda _text: LEASED) as one:
        await one.say(q("PREPARE p (int) AS SELECT id FROM t WHERE id = $1"), q("EXECUTE p(1)"))
        asked = len(one.one.gate.questions)
        await one.say(q("EXECUTE p(2)"), q("EXECUTE p(3)"))
        assert len(one.one.gate.questions) == asked
        await one.say(q("DEALLOCATE p"), q("PREPARE p (int) AS SELECT id FROM w WHERE id = $1"), q("EXECUTE p(1)"))
        assert reads(one.last) == ["public.w"]


def needs_estimate(text: str) -> Ruling:
    return Ruling(answer=Answer.NEEDS_ESTIMATE, decision="dec_e") if text.startswith("EXECUTE") else ALLOW


async def test_execute_is_estimated_where_it_is_known(postgres: Postgres) -> None:
    asked: list[str] = []

    def policy(text: str) -> Ruling:
        asked.append(text)
        return needs_estimate(text) if asked.count(text) == 1 else ALLOW

    async with talk(postgres, policy) as one:
        await one.say(q("PREPARE p (int) AS DELETE FROM t WHERE id > $1 RETURNING id"), q("BEGIN"))
        assert len(await one.rows(q("EXECUTE p(15)"))) == 5
        assert one.last.values.estimate_unknown  # its locks would wait for a reviewer
        await one.say(q("ROLLBACK"))
        asked.clear()
        assert await one.rows(q("EXECUTE p(19 + 500)")) == []
        assert one.last.values.HasField("estimate")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (b"SET standard_conforming_strings = off", "0A000"),
        (b"SELECT set_config('client_encoding', 'SJIS', false)", "0A000"),
        (b"SELECT set_config('twokey.subject', 'somebody', false)", "42501"),
    ],
)
async def test_execute_does_nothing_that_its_statement_may_not(postgres: Postgres, text: bytes, state: str) -> None:
    async with talk(postgres) as one:
        await one.say(wire.parse(b"s", text) + SYNC)
        direct = await one.errors(wire.bind(b"", b"s") + wire.execute(b"") + SYNC)
        assert await one.errors(q("EXECUTE s"), run("EXECUTE s") + SYNC) == [*direct, *direct]
        assert direct == [state] or state == "42501"
        assert len(direct) == 1


@pytest.mark.parametrize(
    "text", [b"COMMIT", b"SET search_path = elsewhere", b"COPY w TO STDOUT", b"EXECUTE q", b"LISTEN x", b"SHOW role"]
)
async def test_what_only_the_protocol_can_prepare_is_opaque_to_execute(postgres: Postgres, text: bytes) -> None:
    async with talk(postgres, lambda own: DENY if own == "EXECUTE s" else ALLOW) as one:
        await one.say(q("PREPARE q AS SELECT 1"), wire.parse(b"s", text) + SYNC)
        assert await one.errors(q("EXECUTE s")) == ["42501"]
        assert one.last.opaque


async def test_fetch_runs_no_portal_that_writes(postgres: Postgres) -> None:
    async with talk(postgres, lambda own: DENY if own.startswith("FETCH") else ALLOW) as one:
        await one.say(
            q("BEGIN"), wire.parse(b"s", b"INSERT INTO w VALUES (77, 'x') RETURNING id") + wire.bind(b"p", b"s") + SYNC
        )
        assert await one.errors(q("FETCH p")) == ["42501"]
        assert one.last.opaque
        await one.say(q("ROLLBACK"))


async def test_types_that_run_code_on_input_are_seen_through_their_object_ids(postgres: Postgres) -> None:
    """Parse can name a parameter's type; reading the value as that runs a domain's check."""
    dsn = f"{postgres.dsn.rpartition('/')[0]}/{DATABASE}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(
            "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a mood, b int);"
            "CREATE FUNCTION ran(t text) RETURNS bool LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE NOTICE 'it ran'; RETURN true; END $$;"
            "CREATE DOMAIN sly AS text CHECK (ran(VALUE)); CREATE TYPE hiding AS (a int, b sly[]);"
            "CREATE DOMAIN plain AS text NOT NULL"
        )
        oids = {
            str(row[0]): int(row[1])
            for row in admin.execute(
                "SELECT typname, oid::int8 FROM pg_type"
                " WHERE typname IN ('mood', '_mood', 'pair', 'sly', '_sly', 'hiding', 'plain')"
            )
        }
    values = {"mood": b"ok", "_mood": b"{ok}", "pair": b"(ok,1)", "sly": b"x", "_sly": b"{x}", "hiding": b'(1,"{x}")'}
    async with talk(postgres, lambda _text: LEASED) as one:
        for name, oid in oids.items():
            statement = wire.parse(b"", b"SELECT $1", (oid,)) + wire.bind(b"", b"", (values.get(name, b"x"),))
            frames = await one.say(statement + wire.execute(b"") + SYNC)
            assert one.last.opaque is (name in {"sly", "_sly", "hiding"}), name
            ran = any(kind == "N" and b"it ran" in raw for kind, raw in frames)
            assert ran <= one.last.opaque, name
        await one.say(wire.parse(b"s", b"SELECT $1", (oids["sly"],)) + SYNC, q("EXECUTE s('x')"))
        assert one.last.opaque


@pytest.mark.parametrize("begin", [b"", q("BEGIN")])
async def test_an_execute_that_can_not_be_planned_fails_in_the_targets_words(postgres: Postgres, begin: bytes) -> None:
    """The question for the estimate fails first, and with it the client's transaction or pipeline."""
    async with talk(postgres, needs_estimate) as one:
        await one.say(q("PREPARE p (int) AS SELECT id FROM t WHERE id = $1"), *([begin] if begin else []))
        for bad in (run("SELECT 1") + run("EXECUTE p('x')") + run("SELECT 2") + SYNC, q("EXECUTE p('x')")):
            frames = await one.say(bad)
            errors = [wire.parse_fields(raw)["C"].decode() for kind, raw in frames if kind == "E"]
            assert errors == ["22P02"] if begin or bad[:1] == b"P" else errors == ["42501"]
            assert [kind for kind, _ in frames].count("Z") == 1
            await one.say(q("ROLLBACK"), *([begin] if begin else []))
        assert await one.rows(q("SELECT 5")) == [[b"5"]]


# Cursors


async def test_a_held_cursor_keeps_its_lineage(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(q("DECLARE c CURSOR WITH HOLD FOR SELECT id, name FROM t ORDER BY id"))
        for step in (q("FETCH c"), q("SELECT 1/0"), q("FETCH c"), q("BEGIN; ROLLBACK"), run("FETCH 2 FROM c") + SYNC):
            await one.say(step)
        assert (one.last.opaque, reads(one.last)) == (False, ["public.t"])
        decided = len(one.one.gate.questions)
        await one.say(q("CLOSE c"))
        assert await one.errors(q("FETCH c")) == ["34000"]
        await one.say(q("BEGIN; DECLARE d CURSOR FOR SELECT 1; COMMIT"))
        assert await one.errors(q("FETCH d")) == ["34000"]
        await one.say(q("DECLARE e CURSOR WITH HOLD FOR SELECT 1"), q("DISCARD ALL"))
        assert await one.errors(q("FETCH e")) == ["34000"]
        asked = [item.operation.sql.command for item in one.one.gate.questions[decided:]]
        assert "FETCH" not in asked  # the target alone says that there is none


async def test_a_savepoint_can_bring_back_either_of_two(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(q("BEGIN; DECLARE c CURSOR FOR SELECT id FROM t; SAVEPOINT a"))
        await one.say(q("SELECT 1/0"), q("ROLLBACK TO a"), q("FETCH c"))
        assert (one.last.opaque, reads(one.last)) == (False, ["public.t"])
        await one.say(q("SAVEPOINT b; CLOSE c; DECLARE c CURSOR FOR SELECT id FROM w; ROLLBACK TO b"))
        assert await one.errors(q("FETCH c")) == ["34000"]
        assert reads(one.last) == ["public.t", "public.w"]  # never fewer than could be meant


async def test_nothing_is_certain_behind_what_is_opaque(postgres: Postgres) -> None:
    swap = "DO $$ DECLARE c refcursor := 'c'; BEGIN CLOSE c; OPEN c FOR SELECT id FROM elsewhere.t; END $$"
    async with talk(postgres) as one:
        await one.say(q("BEGIN; DECLARE c CURSOR FOR SELECT id FROM w"), q(swap))
        assert await one.rows(q("FETCH c")) == [[b"100"]]
        assert one.last.opaque
        assert await one.errors(q("DECLARE c CURSOR FOR SELECT id FROM w")) == ["42P03"]
        await one.say(q("ROLLBACK"))


async def test_a_portal_of_the_protocol_is_read_by_fetch_for_what_it_is(postgres: Postgres) -> None:
    async with talk(postgres) as one:
        await one.say(q("BEGIN"), wire.parse(b"s", b"SELECT id FROM t ORDER BY id") + wire.bind(b"p", b"s") + SYNC)
        assert await one.rows(q("FETCH p")) == [[b"1"]]
        assert (one.last.opaque, reads(one.last)) == (False, ["public.t"])


async def test_a_fetch_is_another_act_with_another_cursor_behind_the_name(postgres: Postgres) -> None:
    """The same words, FETCH ALL FROM c: an approval of one must not cover the other."""
    declare = "DECLARE c CURSOR FOR SELECT id FROM t WHERE id ="
    portal = wire.parse(b"s", b"SELECT id FROM t WHERE id = $1") + SYNC
    digests: list[bytes] = []
    async with talk(postgres) as one:
        await one.say(portal)
        for made in (
            [q(f"{declare} 5")],
            [q(f"{declare} 6")],
            [run(f"{declare} $1", b"7") + SYNC],
            [run(f"{declare} $1", b"8") + SYNC],
            # Bound twice, the first one executed: its values count.
            [
                wire.parse(b"d", f"{declare} $1".encode())
                + wire.bind(b"x", b"d", (b"9",))
                + wire.bind(b"y", b"d", (b"7",))
                + wire.execute(b"x")
                + wire.close(b"S", b"d")
                + SYNC
            ],
            [wire.bind(b"c", b"s", (b"7",)) + SYNC],
            [wire.bind(b"c", b"s", (b"8",)) + SYNC],
            [wire.bind(b"c", b"s", (None,)) + SYNC],
        ):
            await one.say(q("BEGIN"), *made)
            await one.say(q("FETCH ALL FROM c"))
            assert not one.last.opaque
            digests.append(one.one.gate.questions[-1].operation.digest)
            named = one.last.values.named
            await one.say(q("ROLLBACK"))
        assert b"[bound: NULL; SHA-256 " in named
        assert len(set(digests)) == len(digests)


async def test_execute_of_a_cursor_is_decided_as_a_fetch(postgres: Postgres) -> None:
    async with talk(postgres, lambda text: DENY if text.startswith("FETCH") else ALLOW) as one:
        await one.say(q('BEGIN; DECLARE "c;\'" CURSOR FOR SELECT id FROM t'))
        assert await one.errors(wire.execute(b"c;'", 3) + SYNC) == ["42501"]
        assert one.last.values.statement == b'FETCH FORWARD 3 FROM "c;\'"'
        assert reads(one.last) == ["public.t"]


# Masks


@pytest.mark.parametrize(
    "fetch",
    [
        [q("FETCH c"), q("FETCH c")],
        [run("FETCH 2 FROM c") + SYNC],
        [wire.parse(b"", b"FETCH FROM c") + wire.bind(b"", b"", result_formats=(1,)) + wire.execute(b"") + SYNC] * 2,
    ],
)
@pytest.mark.parametrize("declare", ["DECLARE c CURSOR FOR", "DECLARE c SCROLL CURSOR WITH HOLD FOR"])
async def test_what_a_cursor_shows_is_masked(postgres: Postgres, fetch: Sequence[bytes], declare: str) -> None:
    async with talk(postgres, lambda text: MASK if "name" in text or text.startswith("FETCH") else ALLOW) as one:
        await one.say(q("BEGIN"), q(f"{declare} SELECT name, id + 0 FROM t ORDER BY id"))
        rows = await one.rows(*fetch)
        assert [row[0] for row in rows] == [None, None]
        assert await one.errors(wire.execute(b"c", 1) + SYNC) == ["42501"]  # its format isn't known here


@pytest.mark.parametrize(
    "steps",
    [
        [q("BEGIN; DECLARE c BINARY CURSOR FOR SELECT id FROM t"), q("FETCH c")],
        [q("BEGIN; DECLARE c CURSOR FOR SELECT id, name FROM t"), q("FETCH c")],
    ],
)
async def test_what_cannot_be_masked_is_not_shown(postgres: Postgres, steps: Sequence[bytes]) -> None:
    other = with_duties(
        ALLOW, mask=(MaskedColumn(schema="public", relation="t", column="n", label="pii", masker="null"),)
    )
    async with talk(postgres, lambda text: other if text.startswith("FETCH") else ALLOW) as one:
        assert await one.errors(*steps) == ["42501"]
        assert await one.rows(q("ROLLBACK"), q("SELECT 1")) == [[b"1"]]


async def test_what_execute_shows_is_masked(postgres: Postgres) -> None:
    async with talk(postgres, lambda text: MASK if "name" in text or text.startswith("EXECUTE") else ALLOW) as one:
        await one.say(q("PREPARE p (int) AS SELECT name, id FROM t WHERE id = $1"))
        for step in (q("EXECUTE p(4)"), run("EXECUTE p(4)") + SYNC):
            assert await one.rows(step) == [[None, b"4"]]
        bound = wire.bind(b"", b"p", (b"4",)) + wire.execute(b"") + SYNC
        with_mask = await one.rows(bound)
        assert with_mask in ([[None, b"4"]], [[b"name 4", b"4"]])
        assert one.last.values.statement.strip().startswith(b"SELECT name")
        assert with_mask == [[None, b"4"]]


def by_place(*positions: int, masker: str = "null") -> Ruling:
    return with_duties(ALLOW, mask=tuple(MaskedColumn(label="pii", masker=masker, position=n) for n in positions))


async def test_what_is_computed_is_masked_by_its_place(postgres: Postgres) -> None:
    text = "SELECT id, upper(name), name FROM t WHERE id = 4"
    async with talk(postgres, lambda _text: by_place(2, 3)) as one:
        assert await one.rows(q(text)) == [[b"4", None, None]]
        assert await one.rows(run(text) + SYNC) == [[b"4", None, None]]
    both = with_duties(ALLOW, mask=(*MASK.duties.mask, *by_place(2, 3).duties.mask))
    async with talk(postgres, lambda _text: both) as one:
        assert await one.rows(q(text)) == [[b"4", None, None]]


@pytest.mark.parametrize("duties", [by_place(4), by_place(3, masker="keep-last")])
async def test_a_place_that_can_not_be_masked_lets_no_row_out(postgres: Postgres, duties: Ruling) -> None:
    """There is no such column; or another masker than its name's."""
    both = with_duties(ALLOW, mask=(*MASK.duties.mask, *duties.duties.mask))
    async with talk(postgres, lambda _text: both) as one:
        assert await one.errors(q("SELECT id, upper(name), name FROM t WHERE id = 4")) == ["42501"]


async def test_ob_2_a_mask_on_a_column_that_the_result_lacks_lets_no_row_out(postgres: Postgres) -> None:
    async with talk(postgres, lambda _text: MASK) as one:
        assert await one.errors(q("SELECT id FROM t WHERE id = 4")) == ["42501"]
        assert await one.rows(run("SELECT id FROM t WHERE id = 4") + SYNC) == []


async def test_an_approved_execute_is_verified(postgres: Postgres) -> None:
    async with talk(postgres, lambda text: APPROVED if text.startswith("EXECUTE") else ALLOW) as one:
        await one.say(q("PREPARE p AS SELECT twice(id) FROM t WHERE id = 3"))
        assert await one.rows(q("EXECUTE p")) == [[b"6"]]
        with psycopg.connect(f"{postgres.dsn.rpartition('/')[0]}/{DATABASE}", autocommit=True) as admin:
            await one.say(q("BEGIN"))
            admin.execute(
                "CREATE OR REPLACE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 3'"
            )
            try:
                assert await one.errors(q("EXECUTE p")) in ([], ["42501"])
            finally:
                admin.execute(
                    "CREATE OR REPLACE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 2'"
                )


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("PREPARE p AS SELECT 1", " SELECT 1"),
        ('PREPARE "AS" (int, text) AS /* as */ SELECT $1 AS x', " /* as */ SELECT $1 AS x"),
        ("prepare p(\n  pg_catalog.int4)as select 'é'", " select 'é'"),
        ("-- AS\nPREPARE p AS SELECT 1", " SELECT 1"),
        ("EXECUTE p", None),
    ],
)
def test_the_body_of_a_prepare(text: str, body: str | None) -> None:
    assert prepared_body(text.encode()) == (None if body is None else body.encode())


def test_duties_are_what_the_tests_say() -> None:
    assert MASK.duties == Duties(mask=MASK.duties.mask)


_NOTHING_THERE = [
    ("EXECUTE nothing", "26000"),
    ("EXECUTE nothing(1, 'x')", "26000"),
    ("FETCH 3 FROM nothing", "34000"),
    ("MOVE 1 IN nothing", "34000"),
    ("CLOSE nothing", "34000"),
    ("DEALLOCATE nothing", "26000"),
]


@pytest.mark.parametrize(("sql", "state"), _NOTHING_THERE, ids=[sql for sql, _ in _NOTHING_THERE])
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a transaction"])
async def test_a_name_that_nothing_has_is_refused_in_the_targets_words(
    postgres: Postgres, sql: str, state: str, *, inside: bool
) -> None:
    """Also of a role that may do nothing that can't be described."""

    def policy(text: str) -> Ruling:
        return ALLOW if text.startswith(("BEGIN", "CLOSE", "DEALLOCATE", "ROLLBACK")) else DENY

    steps = [q("BEGIN"), q(sql), q("ROLLBACK")] if inside else [q(sql)]
    async with live(postgres, policy, database=DATABASE) as one:
        expected, found = await both(postgres, one, steps, database=DATABASE)
    assert found == expected
    assert [wire.parse_fields(raw)["C"].decode() for kind, raw in found if kind == "E"] == [state]


async def test_after_a_failed_prepare_execute_says_what_it_says_directly(postgres: Postgres) -> None:
    def policy(text: str) -> Ruling:
        return DENY if text.startswith("EXECUTE") else ALLOW

    steps = [q("PREPARE p AS SELECT nothing FROM t"), q("EXECUTE p"), q("DEALLOCATE p")]
    async with live(postgres, policy, database=DATABASE) as one:
        expected, found = await both(postgres, one, steps, database=DATABASE)
    assert found == expected


@pytest.mark.parametrize(
    ("made", "sql"),
    [
        (q("DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT id FROM w'; END $$"), "EXECUTE p"),
        (wire.parse(b"p", b"SELECT id FROM t") + SYNC, "EXECUTE p"),
        (q("BEGIN") + q("DO $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT id FROM w; END $$"), "FETCH c"),
    ],
    ids=["prepared within a block", "prepared by the protocol", "opened within a block"],
)
async def test_a_name_that_something_has_is_decided(postgres: Postgres, made: bytes, sql: str) -> None:
    async with talk(postgres, lambda text: DENY if text == sql else ALLOW) as one:
        await one.say(made)
        assert await one.errors(q(sql)) == ["42501"]
