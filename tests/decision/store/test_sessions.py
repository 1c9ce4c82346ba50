from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from decision.errors import StateError, StoreError
from decision.ports import Live
from decision.store.engine import Store, open_store
from tests.decision.store.conftest import Direct
from tests.decision.store.support import AGENT, ManualClock, session, subject


async def test_a_session_comes_back_as_it_went_in(store: Store) -> None:
    who = replace(
        subject("alice", role="executor"),
        actors=(AGENT.party, replace(AGENT.party, name="", kind="unknown", groups=())),
        closure=('["https://idp.example.com","ünï \\"\'"]', "alice"),
        dev=True,
    )
    one = session(who=who)
    await store.sessions.open(one)
    assert await store.sessions.get(one.id) == one
    assert await store.sessions.list() == [one]
    assert await store.sessions.get("ses_unknown") is None


async def test_close_is_true_once(store: Store, clock: ManualClock) -> None:
    one = session()
    await store.sessions.open(one)
    clock.pass_(5)
    answers = await asyncio.gather(*(store.sessions.close(one.id, f"reason {n}") for n in range(5)))
    assert sorted(answers) == [False, False, False, False, True]
    found = await store.sessions.get(one.id)
    assert found is not None
    assert found.closed == clock.now()
    assert found.close_reason == f"reason {answers.index(True)}"
    assert await store.sessions.list() == []
    assert [each.id for each in await store.sessions.list(include_closed=True)] == [one.id]
    assert not await store.sessions.close("ses_unknown", "x")


async def test_closed_sessions_leave_nothing_in_the_index_of_closures(store: Store, direct: Direct) -> None:
    one, other = session(), session(enforcer="enf-2")
    for each in (one, other):
        await store.sessions.open(each)
    await store.sessions.close(one.id, "")
    assert [tuple(row) for row in direct("SELECT DISTINCT session FROM session_closure")] == [(other.id,)]


async def test_the_same_id_twice_is_refused_and_changes_nothing(store: Store) -> None:
    one = session()
    await store.sessions.open(one)
    with pytest.raises(StoreError):
        await store.sessions.open(replace(one, connection="other"))
    assert await store.sessions.get(one.id) == one


async def test_live_of_closure_is_open_unexpired_and_meets(store: Store, clock: ManualClock) -> None:
    mine = session(who=subject("a", closure=("alice", "executor-7")))
    linked = session(who=subject("b", closure=("alice", "planner-1")))
    other = session(who=subject("c", closure=("carol",)))
    closed = session(who=subject("a", closure=("alice",)))
    short = session(who=subject("d", closure=("alice",)), lives_s=10)
    for one in (mine, linked, other, closed, short):
        await store.sessions.open(one)
    await store.sessions.close(closed.id, "")

    async def live(*closure: str) -> set[str]:
        found = await store.sessions.live_of_closure(closure)
        assert len(found.sessions) == len(found.kinds)
        return {one.id for one in found.sessions}

    assert await live("alice") == {mine.id, linked.id, short.id}
    assert await live("alice", "executor-7", "carol") == {mine.id, linked.id, short.id, other.id}
    assert await live("ALICE") == await live("ali%") == await live() == set()
    clock.pass_(10)
    assert await live("alice") == {mine.id, linked.id}
    clock.set_wall(-60)
    assert await live("alice") == {mine.id, linked.id}  # the expired one is not revived


async def test_sessions_alike_to_policy_are_one_kind(store: Store) -> None:
    """However many an agent has: a question and its record hold each kind once."""
    pool = [session() for _ in range(5)]
    again = [replace(one, subject=replace(one.subject, token_id=f"t{index}")) for index, one in enumerate(pool)]
    for number, one in enumerate((*pool, *again)):
        await store.sessions.open(replace(one, id=f"ses_{number}"))
    elsewhere = replace(session(), id="ses_elsewhere", connection="other")
    role = replace(session(), id="ses_role", subject=replace(AGENT, role="another"))
    for one in (elsewhere, role):
        await store.sessions.open(one)
    found = await store.sessions.live_of_closure(AGENT.closure)
    told = {(one.subject.role, one.connection, one.subject.closure) for one in found.sessions}
    assert told == {(one.subject.role, one.connection, one.subject.closure) for one in (pool[0], elsewhere, role)}
    assert len(found.kinds) == len(found.sessions) == 3
    # As long as one of a kind lives, the kind does.
    for number in range(9):
        await store.sessions.close(f"ses_{number}", "")
    assert (await store.sessions.live_of_closure(AGENT.closure)).kinds == found.kinds
    await store.sessions.close("ses_9", "")
    assert len((await store.sessions.live_of_closure(AGENT.closure)).kinds) == 2


async def test_what_was_closed_last_is_told_newest_first(store: Store, clock: ManualClock) -> None:
    four = [replace(session(), id=f"ses_{number}") for number in range(4)]
    for one in four:
        await store.sessions.open(one)
    for one in (four[2], four[0], four[1]):
        clock.pass_(1)
        await store.sessions.close(one.id, "x")
    assert await store.sessions.closed_last(10) == [four[1].id, four[0].id, four[2].id]
    assert await store.sessions.closed_last(2) == [four[1].id, four[0].id]


async def test_a_restart_with_the_clock_set_back_revives_no_session(store: Store, url: str, clock: ManualClock) -> None:
    short = session(lives_s=10)
    await store.sessions.open(short)
    clock.pass_(10)
    await store.approvals.sweep()  # any write sees this time
    await store.close()
    earlier = ManualClock()
    again = await open_store(url, clock=earlier)
    assert await again.sessions.live_of_closure(AGENT.closure) == Live(frozenset(), ())
    assert again.clock.now() >= short.expires > earlier.now()
    await again.close()


async def test_of_two_opened_at_once_on_one_view_only_one_is(url: str, clock: ManualClock) -> None:
    stores = [await open_store(url, clock=clock) for _ in range(2)]
    two = [session(), session()]
    seen = [(await store.sessions.live_of_closure(AGENT.closure)).kinds for store in stores]
    ended = await asyncio.gather(
        *(store.sessions.open(one, seen=kinds) for store, one, kinds in zip(stores, two, seen, strict=True)),
        return_exceptions=True,
    )
    refused = [one for one in ended if one is not None]
    assert [one.code for one in refused if isinstance(one, StateError)] == ["SESSIONS_CHANGED"]
    live = await stores[0].sessions.live_of_closure(AGENT.closure)
    assert len(live.sessions) == 1
    # Asked again with what is there now, it opens; and so does a third that is only another of the kind policy knows.
    missing = next(one for one in two if one.id != live.sessions[0].id)
    await stores[1].sessions.open(missing, seen=live.kinds)
    await stores[0].sessions.open(session(), seen=live.kinds)
    elsewhere = replace(session(), connection="other")
    await stores[0].sessions.open(elsewhere, seen=live.kinds)
    with pytest.raises(StateError) as changed:
        await stores[1].sessions.open(session(), seen=live.kinds)
    assert changed.value.code == "SESSIONS_CHANGED"
    for store in stores:
        await store.close()


async def test_silent_enforcers_lose_their_sessions_and_others_do_not(store: Store, clock: ManualClock) -> None:
    a, b = session(enforcer="enf-a"), session(enforcer="enf-b")
    await store.sessions.open(a)
    await store.sessions.open(b)
    clock.pass_(9)
    await store.sessions.enforcer_seen("enf-b")
    clock.pass_(1)
    assert await store.sessions.close_silent(seconds=10) == [a.id]
    assert await store.sessions.close_silent(seconds=10) == []
    found = await store.sessions.get(a.id)
    assert found is not None
    assert found.close_reason == "enforcer silent"


async def test_a_wall_clock_set_forward_silences_nobody(store: Store, clock: ManualClock) -> None:
    await store.sessions.open(session(lives_s=10**6))
    clock.set_wall(86400)
    assert await store.sessions.close_silent(seconds=10) == []


async def test_after_a_restart_an_enforcer_has_the_full_time_again(store: Store, url: str, clock: ManualClock) -> None:
    one = session()
    await store.sessions.open(one)
    await store.close()
    clock.pass_(60)
    again = await open_store(url, clock=clock)
    assert await again.sessions.close_silent(seconds=10) == []
    clock.pass_(10)
    assert await again.sessions.close_silent(seconds=10) == [one.id]
    await again.close()


async def test_a_caller_that_goes_away_tears_no_transaction(store: Store) -> None:
    one = session()
    task = asyncio.ensure_future(store.sessions.open(one))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.sessions.open(session())  # queues behind the first
    assert one.id in {each.id for each in await store.sessions.list()}
