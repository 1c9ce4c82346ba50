"""P17 in the store: what a closure did is read at one moment, and of two steps at once one is told to look again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decision.errors import StateError, StoreError
from decision.ports import History
from decision.store import history
from decision.store.engine import Store, open_store
from tests.decision.store.support import ManualClock, draft, session, subject, verdict

ALICES, HERS_TOO, BOBS = ("alice", "planner-1"), ("alice", "planner-2"), ("bob", "executor-7")


def facts(found: History) -> set[tuple[str, str, str, str]]:
    return {(one.element, one.act, one.object, one.connection) for one in found.acts}


async def note(store: Store, closure: Sequence[str], act: str, what: str = "public.payments") -> None:
    seen = await store.history.read(closure)
    await store.history.note([(act, what)], connection="crm", closure=closure, seen=seen.version)


async def test_what_one_did_is_the_past_of_everyone_it_is_linked_to(store: Store, clock: ManualClock) -> None:
    await note(store, ALICES, "insert")
    clock.pass_(90)
    found = await store.history.read(HERS_TOO)
    assert facts(found) == {("alice", "insert", "public.payments", "crm")}
    assert [one.age_s for one in found.acts] == [90]
    assert await store.history.read(BOBS) == History(0)


async def test_a_fact_is_one_row_however_often_it_is_done(store: Store, clock: ManualClock) -> None:
    for _ in range(5):
        await note(store, ALICES, "insert")
        clock.pass_(10)
    found = await store.history.read(ALICES)
    assert [(one.element, one.age_s) for one in found.acts] == [("alice", 10), ("planner-1", 10)]


async def test_of_two_steps_at_once_one_is_told_to_look_again(url: str, clock: ManualClock) -> None:
    """P17: both were shown a past without the other's step."""
    stores = [await open_store(url, clock=clock) for _ in range(2)]
    for round_ in range(10):
        seen = [await one.history.read(closure) for one, closure in zip(stores, (ALICES, HERS_TOO), strict=True)]
        answers = await asyncio.gather(
            *(
                one.history.note(
                    [(f"step-{index}", f"o{round_}")], connection="crm", closure=closure, seen=shown.version
                )
                for index, (one, closure, shown) in enumerate(zip(stores, (ALICES, HERS_TOO), seen, strict=True))
            ),
            return_exceptions=True,
        )
        lost = [one for one in answers if isinstance(one, StateError)]
        assert [one.code for one in lost] == ["HISTORY_CHANGED"]
        assert answers.count(None) == 1
    for one in stores:
        await one.close()


async def test_strangers_do_not_wait_for_each_other(store: Store) -> None:
    seen = await store.history.read(ALICES)
    await note(store, BOBS, "insert")
    await store.history.note([("insert", "o")], connection="crm", closure=ALICES, seen=seen.version)


async def test_sessions_are_part_of_the_past_and_their_end_is_when_they_last_were(
    store: Store, clock: ManualClock
) -> None:
    one = session(who=subject("alice", closure=ALICES, role="planner"))
    await store.sessions.open(one)
    before = await store.history.read(ALICES)
    assert facts(before) == {(element, "session.open", "planner", "crm") for element in ALICES}
    clock.pass_(60)
    await store.sessions.close(one.id, "")
    clock.pass_(5)
    after = await store.history.read(ALICES)
    assert {act.age_s for act in after.acts} == {5}
    assert after.version == before.version


async def test_a_session_whose_past_has_grown_is_not_opened(store: Store) -> None:
    """P18 in the store: bank-1 and bank-2 at once, by two agents of one owner."""
    seen = await store.history.read(ALICES)
    await store.sessions.open(session(who=subject("p", closure=ALICES)), seen=[], history=seen.version)
    with pytest.raises(StateError) as refused:
        await store.sessions.open(session(who=subject("q", closure=HERS_TOO)), history=seen.version)
    assert refused.value.code == "SESSIONS_CHANGED"


async def test_who_approved_for_whom_is_known_and_a_refusal_is_none(store: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1", who=subject("x", closure=BOBS)))
    await store.approvals.add_verdict(made.id, verdict("alice", closure=("alice",)))
    other, _ = await store.approvals.find_or_create(draft("ses_2", "b", who=subject("y", closure=("dave",))))
    await store.approvals.add_verdict(other.id, verdict("alice", approve=False))
    shown = await store.history.read(["carol"], reviews=True)
    assert facts(shown) == {("alice", "approval.approve", "bob", ""), ("alice", "approval.approve", "executor-7", "")}
    assert (await store.history.read(["carol"])).acts == ()


async def test_of_two_reviews_at_once_that_close_a_ring_one_is_told_to_look_again(url: str, clock: ManualClock) -> None:
    stores = [await open_store(url, clock=clock) for _ in range(2)]
    for_bob, _ = await stores[0].approvals.find_or_create(draft("ses_1", "a", who=subject("b", closure=BOBS)))
    for_alice, _ = await stores[0].approvals.find_or_create(draft("ses_2", "b", who=subject("a", closure=ALICES)))
    by_alice = await stores[0].history.read(["alice"], reviews=True)
    by_bob = await stores[1].history.read(["bob"], reviews=True)
    answers = await asyncio.gather(
        stores[0].approvals.add_verdict(for_bob.id, verdict("alice"), history=by_alice.version),
        stores[1].approvals.add_verdict(for_alice.id, verdict("bob"), history=by_bob.version),
        return_exceptions=True,
    )
    assert sorted(getattr(one, "code", "given") for one in answers) == ["HISTORY_CHANGED", "given"]
    for one in stores:
        await one.close()


async def test_who_changed_policy_is_remembered(store: Store) -> None:
    await store.history.policy_changed([("alice",), ("alice", "x")])
    await store.history.policy_changed([])
    assert facts(await store.history.read(["x"])) == {("x", "policy.change", "policy", "")}


async def test_nothing_is_noted_for_nobody_nor_without_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StateError):
        await store.history.note([("a", "b")], connection="crm", closure=[], seen=0)
    monkeypatch.setattr(history, "MAX_NOTED", 1)
    with pytest.raises(StateError, match="so much"):
        await note(store, ALICES, "insert")
    assert (await store.history.read(ALICES)).acts == ()
    monkeypatch.undo()
    await note(store, ALICES, "insert")
    monkeypatch.setattr(history, "MAX_SHOWN", 1)
    with pytest.raises(StoreError, match="too long"):
        await store.history.read(ALICES)


STEPS = st.lists(
    st.tuples(st.sampled_from([ALICES, HERS_TOO, BOBS]), st.sampled_from(["a", "b"])), min_size=2, max_size=6
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_no_two_steps_were_ever_shown_the_same_past(
    store: Store, steps: Sequence[tuple[Sequence[str], str]]
) -> None:
    """However many at once: of each closure every noted step saw all that were noted before it."""
    noted: list[tuple[frozenset[str], int]] = []

    async def step(closure: Sequence[str], act: str) -> None:
        seen = await store.history.read(closure)
        with contextlib.suppress(StateError):
            await store.history.note([(act, "o")], connection="c", closure=closure, seen=seen.version)
            noted.append((frozenset(closure), seen.version))

    await asyncio.gather(*(step(closure, act) for closure, act in steps))
    assert noted
    for index, (closure, version) in enumerate(noted):
        assert all(version != other for met, other in noted[:index] if met & closure)


async def test_t22_what_was_done_in_a_transaction_is_forgotten_after_a_month(store: Store, clock: ManualClock) -> None:
    """There are as many of them as tokens; what people did stays. Numbers never go back: the newest row stays too."""
    of_one, of_another = ("alice", 'txn:["https://idp.example","T"]'), ("bob", 'txn:["https://idp.example","U"]')
    await note(store, of_one, "insert")
    clock.pass_(history.TRANSACTION_KEPT_S - 10)
    await note(store, of_another, "insert")
    assert await store.history.forget() == 0
    clock.pass_(20)
    before = await store.history.read(of_another)
    assert await store.history.forget() == 1
    assert {one.element for one in (await store.history.read(of_one)).acts} == {"alice"}
    assert await store.history.read(of_another[1:]) != History(0)
    clock.pass_(2 * history.TRANSACTION_KEPT_S)
    assert await store.history.forget() == 0  # the newest of all
    await note(store, ("carol",), "insert")
    assert (await store.history.read(("carol",))).version > before.version
    assert await store.history.forget() == 1
    assert await store.history.read(of_another[1:]) == History(0)
