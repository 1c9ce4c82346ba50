"""Units of budgets on the real store: shared by closures that meet, raced for, and still there after a restart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from decision.errors import StateError
from decision.model import Budget
from decision.ports import BudgetStore, Used
from decision.store.engine import Store, open_store
from tests.decision.store.support import ManualClock

LOOKUPS = Budget("lookups", 3, 3600)
ALICES = ("alice", "planner-1")
HERS_TOO = ("alice", "planner-2")
BOBS = ("bob", "planner-9")


async def used(budgets: BudgetStore, closure: Sequence[str], budget: Budget = LOOKUPS) -> tuple[int, ...]:
    (found,) = await budgets.used([budget], closure)
    assert found.budget == budget
    return found.free_in


async def take(budgets: BudgetStore, closure: Sequence[str], unit: str, budget: Budget = LOOKUPS) -> int:
    seen = await budgets.used([budget], closure)
    (use,) = await budgets.take(seen, closure, unit=unit)
    return use.used


async def test_a_unit_counts_for_every_closure_that_meets_the_takers(store: Store) -> None:
    assert await take(store.budgets, ALICES, "dec_1") == 1
    assert await take(store.budgets, HERS_TOO, "dec_2") == 2  # another agent of one owner
    assert await used(store.budgets, ("alice",)) == (3600, 3600)
    assert await used(store.budgets, BOBS) == ()
    assert await used(store.budgets, ALICES, Budget("other", 3, 3600)) == ()


async def test_a_unit_is_free_when_its_time_is_over_and_no_sooner(store: Store, clock: ManualClock) -> None:
    await take(store.budgets, ALICES, "dec_1")
    clock.pass_(1000)
    await take(store.budgets, ALICES, "dec_2")
    assert await used(store.budgets, ALICES) == (2600, 3600)
    clock.pass_(2599)
    assert await used(store.budgets, ALICES) == (1, 1001)
    clock.pass_(1)
    assert await used(store.budgets, ALICES) == (1000,)


async def test_a_clock_set_back_or_forward_frees_nothing_early(store: Store, url: str, clock: ManualClock) -> None:
    await take(store.budgets, ALICES, "dec_1")
    clock.set_wall(-7200)
    assert await used(store.budgets, ALICES) == (3600,)
    clock.pass_(3599)
    assert await used(store.budgets, ALICES) == (1,)
    await store.close()
    again = await open_store(url, clock=clock)
    try:
        assert await used(again.budgets, ALICES) != ()
    finally:
        await again.close()


async def test_what_was_taken_is_taken_after_a_restart(store: Store, url: str, clock: ManualClock) -> None:
    await take(store.budgets, ALICES, "dec_1")
    await store.close()
    again = await open_store(url, clock=clock)
    try:
        assert len(await used(again.budgets, HERS_TOO)) == 1
        assert await take(again.budgets, HERS_TOO, "dec_2") == 2
    finally:
        await again.close()


async def test_of_many_at_once_only_those_win_who_were_shown_what_is_true(store: Store) -> None:
    seen = await store.budgets.used([LOOKUPS], ALICES)
    results = await asyncio.gather(
        *(store.budgets.take(seen, ALICES, unit=f"dec_{number}") for number in range(20)), return_exceptions=True
    )
    lost = [one for one in results if isinstance(one, StateError) and one.code == "BUDGET_CHANGED"]
    assert len(lost) == 19
    assert len(await used(store.budgets, ALICES)) == 1


async def test_two_stores_on_one_file_never_give_more_than_the_limit(
    store: Store, url: str, clock: ManualClock
) -> None:
    """Two replicas, each of which asks again when it is told that the count has changed, as the service does."""
    other = await open_store(url, clock=clock)
    given: list[int] = []

    async def one(budgets: BudgetStore, closure: Sequence[str], unit: str) -> None:
        while True:
            seen = await budgets.used([LOOKUPS], closure)
            if len(seen[0].free_in) >= LOOKUPS.limit:
                return
            with contextlib.suppress(StateError):
                given.append((await budgets.take(seen, closure, unit=unit))[0].used)
                return

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(12):
                budgets, closure = ((store.budgets, ALICES), (other.budgets, HERS_TOO))[number % 2]
                group.create_task(one(budgets, closure, f"dec_{number}"))
    finally:
        await other.close()
    assert sorted(given) == [1, 2, 3]
    assert len(await used(store.budgets, ALICES)) == 3


async def test_all_budgets_of_an_act_or_none(store: Store) -> None:
    daily = Budget("daily", 100, 86_400)
    seen = await store.budgets.used([LOOKUPS, daily], ALICES)
    await store.budgets.take([seen[1]], ALICES, unit="dec_1")
    with pytest.raises(StateError, match="meanwhile"):
        await store.budgets.take(seen, ALICES, unit="dec_2")
    assert await used(store.budgets, ALICES) == ()
    assert len(await used(store.budgets, ALICES, daily)) == 1


async def test_one_decision_can_take_a_unit_once(store: Store) -> None:
    await take(store.budgets, ALICES, "dec_1")
    with pytest.raises(Exception, match="store"):
        await take(store.budgets, ALICES, "dec_1")
    assert len(await used(store.budgets, ALICES)) == 1


async def test_for_nobody_nothing_is_taken(store: Store) -> None:
    with pytest.raises(StateError, match="nobody"):
        await store.budgets.take([Used(LOOKUPS, ())], (), unit="dec_1")


async def test_what_counts_no_more_is_removed(store: Store, clock: ManualClock) -> None:
    await take(store.budgets, ALICES, "dec_1")
    clock.pass_(90_000)
    await take(store.budgets, BOBS, "dec_2")
    # With a longer memory than any budget may have, the first unit would still be seen if its row were there.
    assert await used(store.budgets, ALICES, Budget("lookups", 3, 200_000)) == ()
