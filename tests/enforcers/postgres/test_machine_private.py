"""What a session that alone sees some objects asks its own connection, and what others are told of them."""

from __future__ import annotations

import psycopg
import pytest

from enforcers.postgres import wire
from enforcers.postgres.commands import Ask, Command
from enforcers.postgres.machine_decide import NAMES_SQL
from enforcers.postgres.machine_private import ISOLATION_SQL
from enforcers.postgres.machine_state import KEPT, POISON
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.conversations import Frame, hold, live, make_databases, q
from tests.enforcers.postgres.dialogue import B2, C3, NAMES_ROW, P1, Dialogue, error, kinds, tag

DATABASE = "private_views"
KEPT_NOW = (
    "SELECT count(*), min(generic_plans + custom_plans) FROM pg_prepared_statements"
    " WHERE name LIKE '\\_\\_twokey_kept%'"
)


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    make_databases(postgres, DATABASE)
    with psycopg.connect(f"{postgres.dsn.rpartition('/')[0]}/{DATABASE}", autocommit=True) as connection:
        connection.execute("CREATE FUNCTION forgets() RETURNS void LANGUAGE sql AS 'DEALLOCATE ALL'")
    return DATABASE


def answered(frames: list[Frame]) -> list[bytes]:
    """The values of the only row."""
    (row,) = [raw for kind, raw in frames if kind == "D"]
    cells, position = [], 7
    while position < len(row):
        size = int.from_bytes(row[position : position + 4], "big")
        cells.append(row[position + 4 : position + 4 + size])
        position += 4 + size
    return cells


def errors(frames: list[Frame]) -> list[str]:
    return [wire.parse_fields(raw)["M"] for kind, raw in frames if kind == "E"]


async def test_what_a_session_asks_of_its_own_objects_is_parsed_once(postgres: Postgres, database: str) -> None:
    async with live(postgres, database=database) as one:
        client = await one.client()
        frames = await hold(client, [q("BEGIN"), *(q(f"CREATE TABLE o{n} (i int)") for n in range(4)), q(KEPT_NOW)])
        assert errors(frames) == []
        count, _ = answered(frames)
        assert int(count) > 3
        frames = await hold(client, [q("CREATE TABLE another (i int)"), q(KEPT_NOW)])
        again, asked = answered(frames)
        assert again == count
        assert int(asked) >= 1
        await hold(client, [q("ROLLBACK")])
        client.close()


@pytest.mark.parametrize(
    "forgotten",
    [
        "DEALLOCATE ALL",
        "DEALLOCATE PREPARE ALL",
        "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$",
        # Somebody's own in its place, as only code that nobody can describe could put it there.
        "DO $$ DECLARE n text; BEGIN FOR n IN SELECT name FROM pg_prepared_statements WHERE name LIKE '%kept%' LOOP"
        " EXECUTE format('DEALLOCATE %I', n); EXECUTE format('PREPARE %I AS SELECT 1', n); END LOOP; END $$",
        "SELECT forgets()",
    ],
)
async def test_what_was_deallocated_is_prepared_again(postgres: Postgres, database: str, forgotten: str) -> None:
    async with live(postgres, database=database) as one:
        client = await one.client()
        steps = ["BEGIN", "CREATE TABLE seen (i int)", "SELECT i FROM seen", forgotten, "SELECT i FROM seen"]
        steps += ["ALTER TABLE seen ADD j int", "SELECT j FROM seen"]
        frames = await hold(client, [q(step) for step in steps])
        assert errors(frames) == []
        described = one.gate.questions[-1].operation.sql
        assert [(column.relation, column.column) for column in described.columns] == [("seen", "j")]
        assert not described.opaque
        await hold(client, [q("ROLLBACK")])
        client.close()


async def test_discard_all_forgets_it_too(postgres: Postgres, database: str) -> None:
    async with live(postgres, database=database) as one:
        client = await one.client()
        await hold(client, [q("BEGIN"), q("CREATE TABLE gone (i int)"), q("SELECT i FROM gone"), q("ROLLBACK")])
        frames = await hold(client, [q("DISCARD ALL"), q("BEGIN"), q("CREATE TABLE gone (i int)"), q("TABLE gone")])
        assert errors(frames) == []
        await hold(client, [q("ROLLBACK")])
        client.close()


def test_what_could_not_be_asked_is_parsed_anew() -> None:
    """Should the target have lost it unseen: one transaction is refused, and not the next."""
    one = Dialogue().named()
    parsed = wire.parse(KEPT + b"0", NAMES_SQL.encode())
    one.begun().ask(wire.query(b"CREATE TABLE x"))
    one.target(tag("CREATE TABLE"), wire.ready(b"T"))
    _, target, _ = one.client(wire.query(b"SELECT 1"))
    assert parsed in target
    assert one.machine.kept
    _, target, _ = one.target(C3, P1, error("26000"), wire.ready(b"E"))
    assert target == POISON + wire.SYNC
    client, _, _ = one.target(error("25P02"), wire.ready(b"E"))
    assert kinds(client) == "EZ"
    assert not one.machine.kept


def test_others_are_told_of_ddl_when_it_is_committed() -> None:
    one = Dialogue().named()
    before = one.describer.version
    one.begun().ask(wire.query(b"CREATE TABLE x"))
    one.target(tag("CREATE TABLE"), wire.ready(b"T"))
    assert one.describer.version == before
    assert one.gate.dropped  # its own leases, and for good measure all
    one.ask(wire.query(b"COMMIT"))
    one.target(tag("COMMIT"))
    assert one.describer.version > before  # before the ReadyForQuery, which a pipeline may put off


def test_others_are_told_of_ddl_outside_of_transactions_at_once() -> None:
    one = Dialogue().named()
    before = one.describer.version
    one.ask(wire.query(b"CREATE TABLE x"))
    one.target(tag("CREATE TABLE"))
    assert one.describer.version > before


@pytest.mark.parametrize("sent", [True, False])
def test_others_are_told_of_ddl_whose_commit_nobody_knows_of(sent: bool) -> None:
    one = Dialogue().named()
    before = one.describer.version
    one.begun().ask(wire.query(b"CREATE TABLE x"))
    one.target(tag("CREATE TABLE"), wire.ready(b"T"))
    if sent:
        one.ask(wire.query(b"COMMIT"))
    one.machine.target_lost("gone")
    assert one.describer.version > before


def played(one: Dialogue, sent: bytes, *, moves: int) -> tuple[int, list[Command]]:
    """Play the target until the machine says nothing more to it: how often it was asked for the isolation level. The
    shared catalog changes during the first `moves` of those."""
    asked, commands = 0, list[Command]()
    while sent:
        answer, row = b"", b""
        for kind, raw in frames_of(sent):
            if kind == "B":
                kept = {name: sql for sql, name in one.machine.kept.items()}
                sql = kept[raw[5:].split(b"\0")[1]]
                row = NAMES_ROW if sql == NAMES_SQL else wire.data_row([b"read committed"])
                if sql == ISOLATION_SQL:
                    asked += 1
                    one.describer.version += asked <= moves
            answer += {"C": C3, "P": P1, "B": B2, "E": row + tag("SELECT 1"), "S": wire.ready(b"I")}[kind]
        _, sent, commands = one.target(answer)
    return asked, commands


def frames_of(data: bytes) -> list[tuple[str, bytes]]:
    found, position = list[tuple[str, bytes]](), 0
    while position < len(data):
        end = position + 1 + int.from_bytes(data[position + 1 : position + 5], "big")
        found.append((chr(data[position]), data[position:end]))
        position = end
    return found


@pytest.mark.parametrize(("moves", "asked", "opaque"), [(0, 1, False), (2, 3, False), (99, 3, True)])
def test_a_catalog_that_changes_while_the_sessions_own_is_read(moves: int, asked: int, opaque: bool) -> None:
    """It is read again, and a view that is older than what others have changed is never described under."""
    one = Dialogue().named()
    one.machine.kept.clear()
    one.ask(wire.query(b"CREATE TEMP x"))
    one.target(tag("CREATE TABLE"), wire.ready(b"I"))
    _, sent, _ = one.client(wire.query(b"SELECT 1"))
    times, commands = played(one, sent, moves=moves)
    (question,) = [command for command in commands if isinstance(command, Ask)]
    assert times == asked
    assert question.question.operation.sql.opaque is opaque


async def test_what_is_committed_is_seen_by_the_next_session_at_once(postgres: Postgres, database: str) -> None:
    async with live(postgres, database=database) as one:
        maker, reader = await one.client(), await one.client()
        await hold(reader, [q("SELECT 1")])
        for turn in range(5):
            steps = [q("BEGIN"), q(f"CREATE TABLE made{turn} (secret int)"), q("COMMIT")]
            await hold(maker, steps)
            assert errors(await hold(reader, [q(f"SELECT secret FROM made{turn}")])) == []
            described = one.gate.questions[-1].operation.sql
            assert [column.column for column in described.columns] == ["secret"]
            await hold(maker, [q(f"DROP TABLE made{turn}")])
        maker.close()
        reader.close()
