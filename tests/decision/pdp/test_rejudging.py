"""Live sessions under a new revision: what may no longer be open ends within a second, and its client is told why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from twokey.decision.v1 import decision_pb2

from decision.pdp.rejudging import Rejudging
from decision.policy.bundle import shipped_rego
from tests.decision.running import PEOPLE, Running, running

WITHIN_S = 1.0
WALL = "walls: [{name: banks, datasets: {bank-1: [crm], bank-2: [crm-2]}}]\n"
SHIPPED = (shipped_rego() / "data" / "duties.yaml").read_text()
DAYS = "[mon, tue, wed, thu, fri, sat, sun]"


class World:
    """A service, the revocations its gateway hears, and files to change."""

    def __init__(self, run: Running, folder: Path, watch: Any) -> None:
        self.run = run
        self._folder, self._watch = folder, watch

    def duties(self, more: str, *, shipped: bool = True) -> None:
        text = SHIPPED if shipped else "static: []\ndynamic: []\nreview: {role: reviewer}\nnever_write: [planner]\n"
        (self._folder / "data" / "duties.yaml").write_text(text + more)

    def people(self, text: str) -> None:
        (self._folder / "people.yaml").write_text(text)

    async def heard(self, session: str) -> str:
        """Why the session ended, heard within a second of the reload."""
        loop = asyncio.get_running_loop()
        await self.run.service.reload()
        begun = loop.time()
        while True:
            message = await self._watch.read()
            if session in message.revoked_sessions:
                assert loop.time() - begun < WITHIN_S
                return str(message.reason)

    async def open(self) -> set[str]:
        return {one.id for one in await self.run.service.sessions.list_open()}

    async def reloaded(self) -> set[str]:
        """What is still open after a reload was judged by."""
        await self.run.service.reload()
        await self.run.service.rejudging.judge()
        return await self.open()


@asynccontextmanager
async def world_of(folder: Path, url: str) -> AsyncIterator[World]:
    (folder / "data").mkdir(exist_ok=True)
    async with AsyncExitStack() as ending:
        run = await ending.enter_async_context(running(folder, data=folder / "data", store=url))
        watch = run.decision.WatchRevocations(
            decision_pb2.WatchRevocationsRequest(enforcer="enf-1"), metadata=run.enforcer, timeout=60
        )
        ending.callback(watch.cancel)
        while (await watch.read()).HasField("classified"):  # the first without: it watches
            pass
        yield World(run, folder, watch)


@pytest.fixture
async def world(tmp_path: Path, file_url: str) -> AsyncIterator[World]:
    async with world_of(tmp_path, file_url) as made:
        yield made


async def opened(world: World, who: str, role: str, connection: str = "crm") -> str:
    answer = await world.run.open(who, role, connection=connection)
    assert answer.session.id, answer
    return str(answer.session.id)


@pytest.mark.parametrize("store", ["file_url", "postgres_url"])
async def test_a_wall_that_is_built_ends_whoever_stands_on_both_sides(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    """RB-5: the closure's sessions in both datasets, and nobody else's."""
    async with world_of(tmp_path, request.getfixturevalue(store)) as world:
        await both_sides(world)


async def both_sides(world: World) -> None:
    one = await opened(world, "executor-7", "executor")
    other = await opened(world, "alice", "executor", "crm-2")
    bystander = await opened(world, "bob", "executor", "crm-2")
    world.duties(WALL)
    reason = await world.heard(one)
    assert "[DUTY-WALL]" in reason
    assert "banks" in reason
    await world.run.service.rejudging.judge()
    assert await world.open() == {bystander}
    assert other not in await world.open()


async def test_a_set_of_duties_that_is_made_ends_who_holds_both(world: World) -> None:
    world.duties("", shipped=False)
    await world.run.service.reload()
    one, two = await opened(world, "executor-7", "executor"), await opened(world, "alice", "planner")
    stays = await opened(world, "planner-3", "planner")
    world.duties("")
    reason = await world.heard(one)
    assert "[DUTY-DYNAMIC]" in reason
    assert await world.reloaded() == {stays}
    assert two not in await world.open()


async def test_a_window_that_is_set_ends_who_is_outside_of_it(world: World) -> None:
    session, planner = await opened(world, "executor-7", "executor"), await opened(world, "planner-3", "planner")
    soon = "{name: night, roles: [executor], days: [mon], from: '02:00', to: '02:01', zone: UTC}"
    world.duties(f"windows: [{soon}]\n")
    assert "[DUTY-WINDOW]" in await world.heard(session)
    assert await world.reloaded() == {planner}


async def test_a_window_that_is_narrowed_ends_its_sessions_when_it_closes(world: World) -> None:
    """The gateway knows only the end that held when the session was opened."""
    session = await opened(world, "executor-7", "executor")
    world.duties(
        f"windows: [{{name: w, roles: [executor], days: {DAYS}, from: '00:00', to: '23:59', zone: UTC}},"
        f" {{name: v, roles: [executor], days: {DAYS}, from: '12:00', to: '11:59', zone: UTC}}]\n"
    )
    assert session in await world.reloaded()
    rejudging: Rejudging = world.run.service.rejudging
    assert 0 < rejudging.ends_in(session) <= 86_400


async def test_who_leaves_people_yaml_leaves_its_sessions(world: World) -> None:
    session, other = await opened(world, "executor-7", "executor"), await opened(world, "planner-3", "planner")
    world.people("".join(line for line in PEOPLE.splitlines(keepends=True) if "executor-7" not in line))
    assert "[DUTY-KEEP]" in await world.heard(session)
    assert await world.reloaded() == {other}


async def test_an_identity_that_is_linked_brings_its_sessions_along(world: World) -> None:
    """alice and bob turn out to be one person: their agents' executor and planner exclude each other."""
    one, two = await opened(world, "executor-7", "executor"), await opened(world, "planner-3", "planner")
    world.people(PEOPLE.replace("owner: bob", "owner: alice"))
    assert "[DUTY-DYNAMIC]" in await world.heard(one)
    assert await world.reloaded() == set()
    assert two


async def test_nothing_ends_by_a_change_that_forbids_nothing(world: World) -> None:
    sessions = {await opened(world, "executor-7", "executor"), await opened(world, "planner-3", "planner")}
    world.duties("cooling: [{name: c, after: [reviewer], roles: [executor], hours: 1}]\n")
    assert await world.reloaded() == sessions


async def test_the_end_is_recorded_as_policys(world: World) -> None:
    session = await opened(world, "executor-7", "executor")
    world.people("".join(line for line in PEOPLE.splitlines(keepends=True) if "executor-7" not in line))
    await world.heard(session)
    closed: list[dict[str, object]] = []
    async with asyncio.timeout(10):
        while not closed:  # recorded once it is told
            await asyncio.sleep(0.01)
            records = [orjson.loads(line) async for _, line in world.run.service.log.read(0, None)]
            closed = [one for one in records if one["kind"] == "session-closed"]
    assert [(one["session"], one["how"], one["by"]) for one in closed] == [(session, "policy", None)]
    assert "DUTY-KEEP" in str(closed[0]["reason"])


async def test_what_was_left_open_by_an_earlier_process_is_judged_at_the_start(tmp_path: Path, file_url: str) -> None:
    async with world_of(tmp_path, file_url) as world:
        session = await opened(world, "executor-7", "executor")
    (tmp_path / "data" / "duties.yaml").write_text(SHIPPED + "assignments: {alice: [reviewer]}\n")
    async with world_of(tmp_path, file_url) as world, asyncio.timeout(10):
        while session in await world.open():  # noqa: ASYNC110 - judged beside the start
            await asyncio.sleep(0.01)
