"""Where labels come from: the file, the target's catalog, kin; and what happens when a column gets another name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from enforcers.postgres import wire
from tests.e2e.clients import admin, connect, until
from tests.e2e.test_cursor_attacks import errors, exchange, query, raw, rows
from tests.enforcers.postgres.raw import Raw

Client = psycopg.Connection[tuple[object, ...]]


@contextmanager
def classified(stack: Stack, lines: str) -> Iterator[None]:
    """The stack's classification with further lines, in force."""
    path = stack.folder / "company.classification.yaml"
    before = path.read_text()

    def put(text: str) -> None:
        loads = len(loaded(stack))
        path.write_text(text)
        until(lambda: len(loaded(stack)) > loads, what="the new classification")

    put(before + lines)
    try:
        yield
    finally:
        put(before)


def loaded(stack: Stack) -> list[object]:
    return [record for record in stack.records() if record["kind"] == "policy" and record["event"] == "in-force"]


def answer(client: Client, sql: str) -> list[tuple[object, ...]] | str:
    """The rows, or the message of a denial."""
    try:
        return client.execute(sql).fetchall()
    except psycopg.errors.InsufficientPrivilege as denied:
        return str(denied)


def comes(client: Client, sql: str, wanted: list[tuple[object, ...]] | str) -> None:
    """The catalog is at most a second old."""

    def right() -> bool:
        found = answer(client, sql)
        return found == wanted if isinstance(wanted, list) else wanted in str(found)

    until(right, timeout_s=5, what=f"{wanted!r} for {sql!r}")


@pytest.fixture
def diary(stack: Stack) -> Iterator[Stack]:
    admin(
        stack,
        "CREATE TABLE diary (id int, entry text) PARTITION BY RANGE (id);"
        "CREATE TABLE diary_1 PARTITION OF diary FOR VALUES FROM (0) TO (9);"
        "INSERT INTO diary VALUES (1, 'canary'); GRANT SELECT ON diary, diary_1 TO company_ro",
    )
    yield stack
    admin(stack, "DROP TABLE diary")


def test_a_comment_labels_a_column_within_a_second(diary: Stack) -> None:
    with connect(diary, "planner") as client:
        comes(client, "SELECT entry FROM diary", [("canary",)])
        assert answer(client, "SELECT entry FROM diary") == [("canary",)]  # leased by now
        admin(diary, "COMMENT ON COLUMN diary.entry IS 'what happened; twokey: label=private'")
        comes(client, "SELECT entry FROM diary", [(None,)])
        assert "diary.entry" in str(answer(client, "SELECT 1 FROM diary WHERE entry LIKE 'c%'"))
        admin(diary, "COMMENT ON COLUMN diary.entry IS 'twokey: label=Not A Label'")  # a slip leaves nothing bare
        comes(client, "SELECT entry FROM diary", [(None,)])
        record = [item for item in diary.records() if item["kind"] == "decision"][-1]
        assert "column_labels" in str(record["input"])


def test_a_column_that_is_not_there_stops_masked_roles_until_the_file_is_right(stack: Stack) -> None:
    with connect(stack, "planner") as client:
        assert isinstance(answer(client, "SELECT id FROM orders LIMIT 1"), list)
        with classified(stack, "public.customers.e_mail: email\n"):
            comes(client, "SELECT id FROM orders LIMIT 1", "MASK-MISSING")
            assert "public.customers.e_mail" in str(answer(client, "SELECT id FROM orders LIMIT 1"))
            assert isinstance(answer(client, "SELECT relname FROM pg_catalog.pg_class LIMIT 1"), list)
            assert isinstance(answer(client, "SHOW server_version"), list)
            with connect(stack, "executor") as other:
                assert isinstance(answer(other, "SELECT id FROM orders WHERE id = 1"), list)
        comes(client, "SELECT id FROM orders WHERE id = 1", [(1,)])


def test_a_renamed_column_does_not_lose_its_label_silently(diary: Stack) -> None:
    with classified(diary, "public.diary.entry: private\n"), connect(diary, "planner") as client:
        comes(client, "SELECT id FROM diary", [(1,)])
        admin(diary, "ALTER TABLE diary RENAME entry TO note")
        comes(client, "SELECT note FROM diary", "MASK-MISSING")
        admin(diary, "ALTER TABLE diary RENAME note TO entry; ALTER TABLE diary RENAME TO journal")
        comes(client, "SELECT entry FROM journal", "MASK-MISSING")
        admin(diary, "ALTER TABLE journal RENAME TO diary")
        comes(client, "SELECT id FROM diary", [(1,)])


@pytest.mark.parametrize("on", [("diary",), ("diary_1",), ("diary", "diary_1")])
def test_a_label_reaches_parents_and_partitions(diary: Stack, on: tuple[str, ...]) -> None:
    lines = "".join(f"public.{name}.entry: private\n" for name in on)
    with classified(diary, lines), connect(diary, "planner") as client:
        expected: dict[str, list[tuple[object, ...]]] = {
            "SELECT entry FROM diary": [(None,)],
            "SELECT entry FROM diary_1": [(None,)],
            "SELECT * FROM diary_1": [(1, None)],
        }
        for sql, rows in expected.items():
            # The tables are new: until the gateway has seen all of them it may ask to send a statement again.
            assert "canary" not in str(answer(client, sql))
            comes(client, sql, rows)


def test_a_label_of_the_catalog_holds_behind_cursors_and_prepared_statements(diary: Stack) -> None:
    admin(diary, "COMMENT ON COLUMN diary.entry IS 'twokey: label=private'")
    with connect(diary, "planner") as client:
        comes(client, "SELECT entry FROM diary", [(None,)])
        client.execute("BEGIN")
        client.execute("DECLARE c CURSOR FOR SELECT entry FROM diary")
        assert client.execute("FETCH ALL FROM c").fetchall() == [(None,)]
        client.execute("COMMIT")
        client.execute("PREPARE p AS SELECT entry FROM diary")
        assert client.execute("EXECUTE p").fetchall() == [(None,)]


def test_a_label_that_comes_between_declare_and_fetch_holds(diary: Stack) -> None:
    with connect(diary, "planner") as client:
        comes(client, "SELECT entry FROM diary", [("canary",)])
        client.execute("PREPARE p AS SELECT entry FROM diary")
        client.execute("BEGIN")
        client.execute("DECLARE c CURSOR FOR SELECT entry FROM diary")
        admin(diary, "COMMENT ON COLUMN diary.entry IS 'twokey: label=private'")
        with connect(diary, "planner") as other:
            comes(other, "SELECT entry FROM diary", [(None,)])
        for sql in ("FETCH ALL FROM c", "ROLLBACK", "EXECUTE p"):
            try:
                found = str(client.execute(sql).fetchall())
            except psycopg.Error as error:
                found = str(error)
            assert "canary" not in found, sql


async def in_transaction(client: Raw, data: bytes) -> list[tuple[str, bytes]]:
    await exchange(client, query("ROLLBACK"))
    await exchange(client, query("BEGIN"))
    return await exchange(client, data)


async def two_entries_read(client: Raw) -> None:
    """Of a portal `p` in a transaction, which has more."""
    opened = wire.parse(b"", b"SELECT entry FROM diary") + wire.bind(b"p", b"") + wire.execute(b"p", 2)
    frames = await in_transaction(client, opened + wire.SYNC)
    if not rows(frames):  # a table just made may be answered "changed; send it again"
        frames = await in_transaction(client, opened + wire.SYNC)
    assert len(rows(frames)) == 2


@pytest.mark.parametrize("labelled", [True, False])
async def test_a_result_that_is_read_in_parts_stops_where_a_label_comes(diary: Stack, labelled: bool) -> None:
    """A portal with a row limit; what is read of it otherwise goes on, whatever else changes."""
    admin(diary, "INSERT INTO diary SELECT n, 'canary ' || n FROM generate_series(2, 8) n")
    with connect(diary, "planner") as other:
        comes(other, "SELECT count(*) FROM diary", [(8,)])
        async with raw(diary, "planner") as client:
            await two_entries_read(client)
            if labelled:
                admin(diary, "COMMENT ON COLUMN diary.entry IS 'twokey: label=private'")
                comes(other, "SELECT entry FROM diary LIMIT 1", [(None,)])
            else:
                admin(diary, "COMMENT ON COLUMN diary.entry IS 'what was done'; CREATE TABLE diary_2 (id int)")
                comes(other, "SELECT count(*) FROM pg_class WHERE relname = 'diary_2'", [(1,)])
            frames = await exchange(client, wire.execute(b"p", 2) + wire.SYNC)
            assert (len(rows(frames)), errors(frames)) == ((0, ["42501"]) if labelled else (2, []))
            await exchange(client, query("ROLLBACK"))
    admin(diary, "DROP TABLE IF EXISTS diary_2")


@pytest.mark.parametrize("column", ["entry", "id"])
async def test_a_result_that_is_read_in_parts_stops_where_the_file_labels_its_column(diary: Stack, column: str) -> None:
    """The file's change is another policy revision: what is left of a portal comes where that decides alike."""
    admin(diary, "INSERT INTO diary SELECT n, 'canary ' || n FROM generate_series(2, 8) n")
    with connect(diary, "planner") as other:
        comes(other, "SELECT count(*) FROM diary", [(8,)])
        async with raw(diary, "planner") as client:
            await two_entries_read(client)
            with classified(diary, f"public.diary.{column}: private\n"):
                comes(other, f"SELECT {column} FROM diary LIMIT 1", [(None,)])
                frames = await exchange(client, wire.execute(b"p", 2) + wire.SYNC)
                assert (len(rows(frames)), errors(frames)) == ((0, ["42501"]) if column == "entry" else (2, []))
                await exchange(client, query("ROLLBACK"))


def test_a_catalog_that_can_not_be_read_lets_nobody_guess(diary: Stack) -> None:
    """No statement is described by what was known before; once it can be read again, everything goes on."""

    def told() -> str:
        try:
            with connect(diary, "planner") as client:
                return str(client.execute("SELECT entry FROM diary").fetchall())
        except psycopg.Error as error:
            return f"{type(error).__name__}: {error}"

    with classified(diary, "public.diary.entry: private\n"):
        until(lambda: told() == "[(None,)]", what="the mask")
        try:
            admin(diary, "REVOKE SELECT ON pg_catalog.pg_description FROM PUBLIC; CREATE TABLE diary_2 (id int)")
            until(lambda: "catalog can't be read" in told(), what="the refusal")
            assert "canary" not in told()
        finally:
            admin(diary, "GRANT SELECT ON pg_catalog.pg_description TO PUBLIC; DROP TABLE IF EXISTS diary_2")
        until(lambda: told() == "[(None,)]", timeout_s=30, what="the catalog")


def test_who_sees_a_label_is_held_before_a_definition_leaves_it_behind(diary: Stack) -> None:
    """Where definitions need nobody else. A masked role is refused the same (tests/corpus/attacks/unlabelling.sql)."""
    token = diary.token("executor-7", "executor")

    def asked(sql: str) -> str:
        return diary.twokey("explain", "--connection", "sandbox", "--role", "executor", sql, token=token).stdout

    with classified(diary, "public.diary.entry: private\n"):
        for sql in ("ALTER TABLE diary DETACH PARTITION diary_1", "ALTER TABLE diary RENAME entry TO plain"):
            said = asked(sql)
            assert "require-approval" in said, said
            assert "MASK-WRITE-DOWN" in said
            assert "only, which lacks the label" in said
        assert "MASK-" not in asked("ALTER TABLE diary RENAME id TO number")
