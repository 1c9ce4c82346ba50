"""One credential an account, while sessions live: fetched once, refreshed in time, given to nobody after its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from enforcers.core import credentials as module
from enforcers.core.credentials import MAX_AGE, Credentials
from enforcers.core.errors import CredentialError
from enforcers.core.sources import Fetched
from enforcers.secret import Secret
from enforcers.settings import Account, Connection, EnvSource, ExecSource, Source

CANARY = "s3cret-canary"
HELPER = ExecSource(("get",))


class Helper:
    """In place of the sources: counts, and answers as the test says."""

    def __init__(self) -> None:
        self.asked = 0
        self.lifetime: float | None = 100.0
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()
        self.given: list[Secret] = []

    async def fetch(self, source: Source, variables: Mapping[str, Secret], where: str, *, user: str) -> Fetched:
        self.asked += 1
        self.called.set()
        await self.gate.wait()
        if self.broken:
            raise CredentialError(f"{where}: it is broken")
        secret = Secret(f"{CANARY}-{self.asked}")
        self.given.append(secret)
        return Fetched(secret, self.lifetime)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> Helper:
    made = Helper()
    monkeypatch.setattr(module, "fetch_credential", made.fetch)
    return made


def make(clock: Callable[[], float], source: Source | None = HELPER, *roles: str) -> Credentials:
    accounts = {role: Account(user=f"crm_{role}", password=source) for role in roles or ("planner", "executor")}
    connection = Connection(name="crm", environment="x", upstream="postgresql://127.0.0.1/crm", credentials=accounts)
    return Credentials({"crm": connection}, now=clock)


async def get(held: Credentials, role: str = "planner") -> str:
    return (await held.get("crm", role))[1].reveal()


async def ticks(held: Credentials, clock: Clock, until: float) -> None:
    """Let the refresher do what is due at that time."""
    clock.now = until
    held._changed.set()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(held.run())
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()


async def test_one_fetch_for_the_sessions_of_an_account_and_none_kept_after_the_last(
    helper: Helper, clock: Clock
) -> None:
    held = make(clock)
    held.opened("crm", "planner")
    held.opened("crm", "planner")
    helper.gate.clear()
    asking = [asyncio.ensure_future(get(held)) for _ in range(20)]
    await helper.called.wait()
    helper.gate.set()
    assert set(await asyncio.gather(*asking)) == {f"{CANARY}-1"}
    assert helper.asked == 1
    held.closed("crm", "planner")
    assert await get(held) == f"{CANARY}-1"
    held.closed("crm", "planner")
    assert all(slot.held is None for slot in held._slots.values())
    assert helper.given[0].reveal() == ""  # wiped
    assert await get(held) == f"{CANARY}-2"  # nobody's session, so it isn't kept either
    assert helper.given[1].reveal() == ""
    held.closed("crm", "planner")  # one time too many does no harm
    held.closed("erp", "planner")


async def test_each_role_has_its_own(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    for role in ("planner", "executor"):
        held.opened("crm", role)
    assert await held.get("crm", "planner") != await held.get("crm", "executor")
    assert (await held.get("crm", "planner"))[0] == "crm_planner"
    assert helper.asked == 2
    shared = make(clock, HELPER, "default")
    for role in ("one", "other"):
        shared.opened("crm", role)
    assert await get(shared, "one") == await get(shared, "other")
    assert helper.asked == 3


async def test_who_has_none(clock: Clock) -> None:
    with pytest.raises(CredentialError, match=r"add credentials\.auditor"):
        await get(make(clock), "auditor")
    with pytest.raises(CredentialError, match="no connection"):
        await make(clock).get("erp", "planner")
    assert await get(make(clock, None)) == ""


async def test_it_is_refreshed_before_it_expires_while_sessions_live(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    held.opened("crm", "planner")
    assert await get(held) == f"{CANARY}-1"
    await ticks(held, clock, 1074.0)
    assert helper.asked == 1
    await ticks(held, clock, 1075.0)
    assert helper.asked == 2
    assert helper.given[0].reveal() == ""
    assert await get(held) == f"{CANARY}-2"
    assert helper.asked == 2
    held.closed("crm", "planner")
    await ticks(held, clock, 2000.0)
    assert helper.asked == 2


async def test_while_refreshing_fails_the_old_one_is_used_and_after_its_end_none(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    held.opened("crm", "planner")
    await get(held)
    helper.broken = True
    await ticks(held, clock, 1075.0)
    assert await get(held) == f"{CANARY}-1"
    assert helper.asked == 2  # left alone meanwhile
    await ticks(held, clock, 1075.6)
    assert helper.asked == 3
    clock.now = 1099.9
    assert await get(held) == f"{CANARY}-1"
    clock.now = 1100.0
    with pytest.raises(CredentialError, match="broken"):
        await get(held)
    assert helper.given[0].reveal() == ""
    helper.broken = False
    clock.now = 1200.0
    assert await get(held) == f"{CANARY}-{helper.asked}"


async def test_one_that_nobody_asks_for_is_wiped_at_its_end_too(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    held.opened("crm", "planner")
    await get(held)
    helper.broken = True
    await ticks(held, clock, 1100.0)
    assert helper.given[0].reveal() == ""


async def test_failures_are_backed_off(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    held.opened("crm", "planner")
    helper.broken = True
    asked = []
    for _ in range(400):
        with pytest.raises(CredentialError, match="it is broken"):
            await get(held)
        asked.append(helper.asked)
        clock.now += 0.25
    assert asked[0] == asked[1] == 1
    assert 7 <= helper.asked <= 10  # 0.5, 1, 2, … 30 s in 100 s
    helper.broken = False
    clock.now += 60
    assert await get(held) == f"{CANARY}-{helper.asked}"


async def test_a_variable_that_is_missing_is_not_backed_off(helper: Helper, clock: Clock) -> None:
    held = make(clock, EnvSource("X"))
    helper.broken = True
    for _ in range(3):
        with pytest.raises(CredentialError):
            await get(held)
    assert helper.asked == 3


async def test_many_who_wait_for_a_helper_that_fails_ask_it_once(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    helper.broken = True
    found = await asyncio.gather(*(get(held) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(error, CredentialError) for error in found)
    assert helper.asked == 1


async def test_one_without_an_end_is_fetched_again_after_a_while(helper: Helper, clock: Clock) -> None:
    helper.lifetime = None
    held = make(clock)
    held.opened("crm", "planner")
    await get(held)
    await ticks(held, clock, clock.now + MAX_AGE)
    assert helper.asked == 1
    assert await get(held) == f"{CANARY}-2"


async def test_a_helper_whose_credentials_end_at_once_is_not_asked_without_pause(helper: Helper, clock: Clock) -> None:
    helper.lifetime = 0.01
    held = make(clock)
    held.opened("crm", "planner")
    await get(held)
    for step in range(100):
        await ticks(held, clock, 1000.0 + step / 100)
    assert helper.asked == 1
    assert helper.given[0].reveal() == ""


async def test_a_client_that_gives_up_keeps_nobody_waiting(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    held.opened("crm", "planner")
    helper.gate.clear()
    first = asyncio.ensure_future(get(held))
    await helper.called.wait()
    second = asyncio.ensure_future(get(held))
    first.cancel()
    helper.gate.set()
    assert await second == f"{CANARY}-2"


async def test_the_last_session_may_close_while_its_credential_is_fetched(helper: Helper, clock: Clock) -> None:
    held = make(clock)
    held.opened("crm", "planner")
    helper.gate.clear()
    asking = asyncio.ensure_future(get(held))
    await helper.called.wait()
    held.closed("crm", "planner")
    helper.gate.set()
    assert await asking == f"{CANARY}-1"
    assert helper.given[0].reveal() == ""


async def test_one_that_the_target_refused_is_fetched_anew(helper: Helper, clock: Clock) -> None:
    """Rotated before its end. One that was fetched just now is wrong at its source: no log-in asks for it again."""
    held = make(clock)
    held.opened("crm", "planner")
    await get(held)
    for _ in range(10):
        held.refused("crm", "planner")
        assert await get(held) == f"{CANARY}-1"
        clock.now += 0.4
    clock.now = 1005.0
    held.refused("crm", "planner")
    assert helper.given[0].reveal() == ""
    assert await get(held) == f"{CANARY}-2"
    held.refused("crm", "executor")  # who holds none
    held.refused("erp", "planner")


async def test_a_day_is_the_most_that_is_believed(helper: Helper, clock: Clock) -> None:
    helper.lifetime = 1e12
    held = make(clock)
    held.opened("crm", "planner")
    await get(held)
    clock.now += module.MOST_LIFETIME
    assert await get(held) == f"{CANARY}-2"
