"""Hundreds of statements that have to be held, all asked for in the same moment: each becomes a hold, none an error.
Thousands of other requests are pending besides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from decision.cli.demo.stack import CONFIG, DATABASE, Stack
from tests.bench import verdicts
from tests.e2e.clients import APPROVAL

HOLDS = 500
AT_ONCE = 16  # log-ins
EXECUTORS = [f"executor-{number}" for number in range(1, 7)]
TERMS = (
    "default: {groups: [dba], quorum: 1, expires_s: 3600}\nrules: {}\nrequests: {live: 600}\n"  # they have one owner
)
PEOPLE = """\
principals:
  - {name: alice, groups: [dba]}
  - {name: bob, groups: [dba]}
agents:
"""


@pytest.fixture
def large_stack() -> Iterator[Stack]:
    agents = "".join(f"  - {{name: {name}, owner: alice}}\n" for name in EXECUTORS)
    limits = "enforcers: {{postgres: {{max_connections: 600}}}}\npolicy: {{data: policy-data}}\n"
    stack = Stack(config=CONFIG + limits, people=PEOPLE + agents, database_settings=("max_connections=600",))
    (stack.folder / "policy-data").mkdir(parents=True)
    (stack.folder / "policy-data" / "approvals.yaml").write_text(TERMS)
    with stack:
        yield stack


def test_five_hundred_statements_are_held_in_the_same_moment(large_stack: Stack) -> None:
    asyncio.run(hold_all(large_stack))


async def hold_all(stack: Stack) -> None:
    host, port = stack.address()
    reviewer = stack.token("bob", "reviewer")
    tokens = {name: stack.token(name, "executor") for name in EXECUTORS}
    gate = asyncio.Semaphore(AT_ONCE)

    async def opened(number: int) -> asyncpg.Connection:
        async with gate:
            return await asyncpg.connect(
                host=host,
                port=port,
                user="executor",
                password=tokens[EXECUTORS[number % len(EXECUTORS)]],
                database=DATABASE,
                ssl=False,
                timeout=60,
                statement_cache_size=0,
            )

    connections = list(await asyncio.gather(*map(opened, range(HOLDS))))
    approvals: dict[int, asyncio.Future[str]] = {}
    waiting: list[asyncio.Future[str]] = []
    try:
        for number, connection in enumerate(connections):
            approvals[number] = asked = asyncio.get_running_loop().create_future()
            connection.add_log_listener(lambda _connection, notice, asked=asked: tell(asked, str(notice)))
        for number, connection in enumerate(connections):
            statement = f"DELETE FROM orders WHERE id = {60_000 + number}"
            waiting.append(asyncio.ensure_future(connection.execute(statement)))
        held = asyncio.gather(*approvals.values())
        for future in waiting:
            future.add_done_callback(
                lambda _: held.cancel()
            )  # one that ends was not held: no need to wait for the rest
        await asyncio.wait({held}, timeout=60)
        assert [str(future.exception() or future.result()) for future in waiting if future.done()] == []
        assert len(set(held.result())) == HOLDS
        # And 9,500 others are pending besides.
        assert await asyncio.to_thread(verdicts.fill, stack, 10_000 - HOLDS) == 10_000
        listed = await asyncio.to_thread(stack.twokey, "approvals", "list", "--json", token=reviewer)
        assert listed.returncode == 0, listed.stderr
        # They wait for a person, each for its own: one is approved, and only that one runs.
        approval = approvals[7].result()
        done = await asyncio.to_thread(stack.review, "approve", approval, reason="seen")
        assert done.returncode == 0, done.stderr
        assert await asyncio.wait_for(waiting[7], 20) == "DELETE 0"
        assert sum(future.done() for future in waiting) == 1
    finally:
        for connection in connections:
            connection.terminate()
        await asyncio.gather(*waiting, return_exceptions=True)


def tell(asked: asyncio.Future[str], notice: str) -> None:
    found = APPROVAL.search(notice)
    if found and not asked.done():
        asked.set_result(found.group())
