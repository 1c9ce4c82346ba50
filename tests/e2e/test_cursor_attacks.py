"""Portals that a DECLARE or a function made, by the protocol's own Execute, Describe and Close: decided as FETCH.

Neither a mask nor a budget is passed by them, whatever order the messages come in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from decision.cli.demo.stack import DATABASE, SUBJECTS, Stack
from enforcers.postgres import wire
from tests.e2e.clients import admin
from tests.enforcers.postgres.raw import Raw

SYNC = wire.SYNC
MASKED = b"SELECT pan, id FROM cards WHERE id < 4 ORDER BY id"
DECLARE = b"DECLARE c CURSOR FOR " + MASKED
Frames = list[tuple[str, bytes]]


@asynccontextmanager
async def raw(stack: Stack, role: str, *, connection: str = DATABASE) -> AsyncIterator[Raw]:
    _, port = stack.address(connection)
    client = await Raw.connect_to(port, user=role, database=connection, password=stack.token(SUBJECTS[role], role))
    try:
        yield client
    finally:
        client.close()


def query(text: str | bytes) -> bytes:
    return wire.query(text if isinstance(text, bytes) else text.encode())


def run(text: bytes, *, portal: bytes = b"", formats: tuple[int, ...] = ()) -> bytes:
    return wire.parse(b"", text) + wire.bind(portal, b"", result_formats=formats) + wire.execute(portal)


async def exchange(client: Raw, data: bytes) -> Frames:
    await client.send(data)
    return await client.until_ready()


def rows(frames: Frames) -> list[list[bytes | None]]:
    return [wire.parse_data_row(frame) for kind, frame in frames if kind == "D"]


def errors(frames: Frames) -> list[str]:
    return [wire.parse_fields(frame)["C"].decode() for kind, frame in frames if kind == "E"]


# Each ends by reading; the last step's rows are masked or there are none.
CURSORS: dict[str, list[bytes]] = {
    "executed as a portal": [query("BEGIN"), query(DECLARE), wire.execute(b"c") + SYNC],
    "executed in parts": [query("BEGIN"), query(DECLARE), wire.execute(b"c", 1) + wire.execute(b"c", 1) + SYNC],
    "described, then executed": [query("BEGIN"), query(DECLARE), wire.describe(b"P", b"c") + wire.execute(b"c") + SYNC],
    "declared and executed in one pipeline": [run(b"BEGIN") + run(DECLARE) + wire.execute(b"c") + SYNC],
    "declared and executed between two Syncs": [run(DECLARE) + wire.execute(b"c") + SYNC],
    "with hold, after its transaction": [
        query(DECLARE.replace(b"CURSOR", b"CURSOR WITH HOLD")),
        wire.execute(b"c") + SYNC,
        wire.describe(b"P", b"c") + wire.execute(b"c", 2) + SYNC,
    ],
    "scrolled, fetched and executed": [
        query("BEGIN"),
        query(DECLARE.replace(b"CURSOR", b"SCROLL CURSOR")),
        query("FETCH LAST FROM c"),
        query("FETCH ABSOLUTE 1 FROM c"),
        query("MOVE BACKWARD ALL FROM c"),
        wire.execute(b"c") + SYNC,
    ],
    "fetched in binary": [query("BEGIN"), query(DECLARE), run(b"FETCH ALL FROM c", formats=(1,)) + SYNC],
    "closed as a portal, then declared again": [
        query("BEGIN"),
        query("DECLARE c CURSOR FOR SELECT 'x' AS pan, 1 AS id"),
        wire.close(b"P", b"c") + SYNC,
        query(DECLARE),
        wire.execute(b"c") + SYNC,
    ],
    "closed in the same pipeline": [
        query("BEGIN"),
        query(DECLARE),
        wire.close(b"P", b"c") + run(DECLARE) + wire.execute(b"c") + SYNC,
    ],
    "behind a bind of its name that failed": [
        query("BEGIN"),
        query(DECLARE),
        query("SAVEPOINT s"),
        wire.parse(b"", b"SELECT 1") + wire.bind(b"c", b"") + wire.execute(b"c") + SYNC,
        query("ROLLBACK TO s"),
        wire.execute(b"c") + SYNC,
    ],
    "brought back by a savepoint": [
        query("BEGIN"),
        query(DECLARE),
        query("SAVEPOINT s"),
        query("CLOSE c"),
        query("DECLARE c CURSOR FOR SELECT 'x' AS pan, 1 AS id"),
        query("ROLLBACK TO s"),
        wire.execute(b"c") + SYNC,
        query("FETCH ALL FROM c"),
    ],
    "a bound portal, fetched by SQL in parts": [
        query("BEGIN"),
        wire.parse(b"s", MASKED) + wire.bind(b"p", b"s", result_formats=(1,)) + SYNC,
        query("FETCH 1 FROM p"),
        wire.execute(b"p", 1) + SYNC,
        query("FETCH 1 FROM p"),
    ],
    "a bound portal, rewound by MOVE": [
        query("BEGIN"),
        wire.parse(b"s", MASKED) + wire.bind(b"p", b"s") + wire.execute(b"p", 1) + SYNC,
        query("MOVE 1 FROM p"),
        wire.execute(b"p") + SYNC,
    ],
    "as XML": [
        query("BEGIN"),
        query(DECLARE),
        query("SELECT cursor_to_xml('c', 10, true, true, '')"),
    ],
    "a function's refcursor": [
        query("BEGIN"),
        query("SELECT cards_opened()"),
        wire.execute(b"opened") + SYNC,
    ],
    "a function's refcursor, fetched": [
        query("BEGIN"),
        query("SELECT cards_opened(); FETCH ALL FROM opened"),
        query("ROLLBACK"),
        query("BEGIN"),
        query("SELECT cards_opened()"),
        query("FETCH ALL FROM opened"),
    ],
    "prepared by SQL, bound by the protocol": [
        query(b"PREPARE s AS " + MASKED),
        wire.bind(b"", b"s", result_formats=(1,)) + wire.execute(b"") + SYNC,
        wire.bind(b"p", b"s") + wire.describe(b"P", b"p") + wire.execute(b"p", 1) + wire.execute(b"p") + SYNC,
    ],
    "deallocated and made anew": [
        wire.parse(b"s", b"SELECT 'x' AS pan, 1 AS id") + SYNC,
        query(b"DEALLOCATE s"),
        query(b"PREPARE s AS " + MASKED),
        wire.bind(b"", b"s") + wire.execute(b"") + SYNC,
        query("DISCARD ALL"),
        wire.bind(b"", b"s") + wire.execute(b"") + SYNC,
        query("EXECUTE s"),
    ],
    "by name, where a statement, a portal and a cursor have the same": [
        query("BEGIN"),
        query(DECLARE),
        wire.parse(b"c", b"SELECT 'x' AS pan, 1 AS id") + wire.close(b"S", b"c") + wire.execute(b"c") + SYNC,
    ],
}
OPENED = """
CREATE FUNCTION cards_opened() RETURNS refcursor LANGUAGE plpgsql AS
$$ DECLARE c refcursor := 'opened'; BEGIN OPEN c FOR SELECT pan, id FROM cards; RETURN c; END $$
"""


@pytest.fixture(scope="module")
def opened(stack: Stack) -> Iterator[Stack]:
    admin(stack, OPENED)
    yield stack
    admin(stack, "DROP FUNCTION cards_opened()")


@pytest.mark.parametrize("name", CURSORS)
async def test_no_portal_shows_a_planner_what_is_masked(opened: Stack, name: str) -> None:
    secrets = admin(opened, "SELECT pan FROM cards WHERE id < 4").split()
    async with raw(opened, "planner") as client:
        for step in CURSORS[name]:
            frames = await exchange(client, step)
            said = b"".join(frame for kind, frame in frames if kind in "DENd")
            assert not [
                secret for secret in secrets if secret.encode() in said or secret.encode().hex().encode() in said
            ]
        await exchange(client, query("ROLLBACK"))
        assert rows(await exchange(client, query("SELECT 1"))) == [[b"1"]]


async def test_a_masked_cursor_is_read_by_fetch(stack: Stack) -> None:
    async with raw(stack, "planner") as client:
        await exchange(client, query("BEGIN"))
        await exchange(client, query(DECLARE))
        refused = await exchange(client, wire.execute(b"c") + SYNC)
        assert (errors(refused), rows(refused)) == (["42501"], [])
        assert b"Use FETCH." in b"".join(frame for kind, frame in refused if kind == "E")
        await exchange(client, query("ROLLBACK"))
        await exchange(client, query("BEGIN"))
        await exchange(client, query(DECLARE))
        described = await exchange(
            client, wire.describe(b"P", b"c") + run(b"FETCH ALL FROM c") + wire.close(b"P", b"c") + SYNC
        )
        assert [row[0][:4] if row[0] else None for row in rows(described)] == [b"****"] * 3
        assert len(errors(await exchange(client, query("FETCH c")))) == 1  # it is gone; the text is withheld


BUDGET: dict[str, list[bytes]] = {
    "executed as a portal": [wire.execute(b"c") + SYNC],
    "a limit above the budget": [wire.execute(b"c", 100) + SYNC],
    "fetched by SQL": [query("FETCH ALL FROM c")],
    "fetched by SQL, extended": [run(b"FETCH 100 FROM c") + SYNC],
    "described, flushed, executed": [wire.describe(b"P", b"c") + wire.FLUSH + wire.execute(b"c", 0) + SYNC],
    "executed behind others": [run(b"SELECT 1") + wire.execute(b"c") + run(b"SELECT 2") + SYNC],
    "fetched backwards": [query("FETCH 5 FROM c"), query("MOVE 100 FROM c"), query("FETCH BACKWARD 100 FROM c")],
}


@pytest.mark.parametrize("hold", [b"", b" WITH HOLD"])
@pytest.mark.parametrize("name", BUDGET)
async def test_no_portal_passes_a_budget(obliged: Stack, name: str, hold: bytes) -> None:
    async with raw(obliged, "executor", connection="rows") as client:
        await exchange(client, query("BEGIN"))
        await exchange(client, query(b"DECLARE c SCROLL CURSOR" + hold + b" FOR SELECT id FROM many"))
        if hold:
            await exchange(client, query("COMMIT"))
        frames: Frames = []
        for step in BUDGET[name]:
            frames = await exchange(client, step)
        assert errors(frames) == ["54000"]
        assert len(rows(frames)) <= 6
        await exchange(client, query("ROLLBACK"))
        assert rows(await exchange(client, query("SELECT 1"))) == [[b"1"]]


async def test_a_refcursor_is_held_for_a_reviewer_and_its_portal_is_unknown(stack: Stack) -> None:
    """What a function opened is read by FETCH, which says nothing: opaque; by its portal not at all."""
    async with raw(stack, "executor") as client:
        assert errors(await exchange(client, wire.execute(b"opened") + SYNC)) == ["34000"]
        assert errors(await exchange(client, wire.describe(b"P", b"opened") + SYNC)) == ["34000"]
        assert errors(await exchange(client, query("SELECT 1; FETCH ALL FROM opened"))) == ["42501"]
