from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

import pytest

from decision.errors import RecordError, StateError, StoreError
from decision.model import ApprovalState
from decision.plans.model import Execution, ExecutionState, Plan, begin, ended
from decision.store import plans
from decision.store.engine import Store
from tests.decision.plans.given import NOW, execution, plan, step
from tests.decision.store.support import START, ManualClock, draft, session, verdict
from tests.decision.store.test_approvals import approved, opened

STEP = step("DELETE FROM orders WHERE id = 1")


async def nothing(_moved: Execution) -> None:
    """No record."""


def made(number: int = 1, *, approval: str = "", lives_s: float = 3600) -> Plan:
    found = plan(STEP, STEP, approval=approval, expires_s=0)
    expires = START.replace(microsecond=0).timestamp() + lives_s
    return replace(
        found, id=f"pln_{number}", created=START, expires=datetime.fromtimestamp(expires, NOW.tzinfo), not_before=START
    )


def running(number: int = 1) -> Execution:
    return replace(execution(2, settled=1), id=f"exe_{number}", plan=f"pln_{number}")


async def test_a_plan_comes_back_as_it_went_in(store: Store) -> None:
    one = made()
    await store.plans.add(one)
    assert await store.plans.get("pln_1") == one
    assert await store.plans.list() == [one]
    assert await store.plans.get("pln_2") is None
    assert await store.plans.of_approval("apr_x") is None


async def test_an_execution_comes_back_as_it_was_moved(store: Store) -> None:
    await store.plans.add(made())
    assert await store.plans.start(made(), running(), record=nothing) == running()
    assert await store.plans.execution("exe_1") == running()

    def move(found: Execution, now: datetime) -> Execution:
        assert now >= START
        return begin(found, 1, operation="op_1", session="ses_1", autocommit=True, now=START)

    moved = await store.plans.move("exe_1", move)
    assert await store.plans.execution("exe_1") == moved
    after = await store.plans.move(
        "exe_1", lambda one, _now: ended(one, "op_1", status="completed", rows=7, why="", now=START)
    )
    assert await store.plans.execution("exe_1") == after
    assert [(one.id, one.next) for one in await store.plans.running()] == [("exe_1", 2)]
    over = replace(after, state=ExecutionState.ABORTED, reason="enough\0", ended=START)
    await store.plans.move("exe_1", lambda _one, _now: over)
    assert await store.plans.running() == []
    found = await store.plans.execution("exe_1")
    assert found is not None
    assert found.reason == "enough\ufffd"
    assert await store.plans.execution("exe_2") is None


async def test_a_plan_is_started_once_whoever_asks_at_once(store: Store) -> None:
    await store.plans.add(made())

    async def start(number: int) -> str:
        try:
            await store.plans.start(made(), replace(running(), id=f"exe_{number}"), record=nothing)
        except StateError as error:
            return error.code
        return "won"

    found = await asyncio.gather(*(start(number) for number in range(4)))
    assert sorted(found) == ["PLAN_STARTED", "PLAN_STARTED", "PLAN_STARTED", "won"]


async def test_starting_redeems_the_approval_and_tells_who_watches(store: Store) -> None:
    one = await approved(store, await opened(store))
    await store.plans.add(made(approval=one.id))
    watching = store.approvals.watch((one.id,))
    assert (await anext(watching)).state is ApprovalState.APPROVED  # type: ignore[arg-type]
    await store.plans.start(made(approval=one.id), running(), record=nothing)
    told = await asyncio.wait_for(anext(watching), 5)  # type: ignore[arg-type]
    assert (told.state, told.execution) == (ApprovalState.REDEEMED, "exe_1")
    found = await store.plans.of_approval(one.id)
    assert found is not None
    assert found.execution == "exe_1"


async def test_what_is_not_approved_is_not_started(store: Store, clock: ManualClock) -> None:
    pending, _ = await store.approvals.find_or_create(draft("ses_1"))
    await store.plans.add(made(approval=pending.id))
    with pytest.raises(StateError) as refused:
        await store.plans.start(made(approval=pending.id), running(), record=nothing)
    assert refused.value.code == "APPROVAL_PENDING"
    await store.approvals.add_verdict(pending.id, verdict("bob"))
    await store.approvals.move(pending.id, expect=ApprovalState.PENDING, to=ApprovalState.APPROVED)
    clock.pass_(601)
    with pytest.raises(StateError) as late:
        await store.plans.start(made(approval=pending.id), running(), record=nothing)
    assert late.value.code == "APPROVAL_EXPIRED"
    found = await store.plans.get("pln_1")
    assert found is not None
    assert found.execution == ""
    assert await store.plans.execution("exe_1") is None


async def test_a_plan_whose_time_is_over_is_not_started(store: Store, clock: ManualClock) -> None:
    await store.plans.add(made(lives_s=10))
    clock.pass_(11)
    clock.set_wall(-100)  # revives nothing
    with pytest.raises(StateError) as refused:
        await store.plans.start(made(lives_s=10), running(), record=nothing)
    assert refused.value.code == "PLAN_EXPIRED"


async def test_a_move_without_its_record_never_was(store: Store) -> None:
    async def fails(_moved: Execution) -> None:
        raise RecordError("the disk is full")

    one = await approved(store, await opened(store))
    await store.plans.add(made(approval=one.id))
    with pytest.raises(RecordError):
        await store.plans.start(made(approval=one.id), running(), record=fails)
    found = await store.approvals.get(one.id)
    assert found is not None
    assert found.state is ApprovalState.APPROVED
    await store.plans.start(made(approval=one.id), running(), record=nothing)
    with pytest.raises(RecordError):
        await store.plans.move("exe_1", lambda found, _now: replace(found, next=2), record=fails)
    assert await store.plans.execution("exe_1") == running()
    await store.plans.move("exe_1", lambda found, _now: found, record=fails)  # no move, no record
    with pytest.raises(StateError):
        await store.plans.move("exe_9", lambda found, _now: found)


async def test_of_two_that_begin_the_same_step_one_wins(store: Store) -> None:
    await store.plans.add(made())
    await store.plans.start(made(), running(), record=nothing)

    async def one(number: int) -> str:
        def move(found: Execution, _now: datetime) -> Execution:
            return begin(found, 1, operation=f"op_{number}", session=f"ses_{number}", autocommit=True, now=START)

        try:
            await store.plans.move("exe_1", move)
        except StateError as error:
            return error.code
        return "won"

    assert sorted(await asyncio.gather(*(one(number) for number in range(5)))) == ["PLAN_STEP_MISMATCH"] * 4 + ["won"]


async def test_a_session_is_gone_a_while_after_its_end(store: Store, clock: ManualClock) -> None:
    mine = session()
    await store.sessions.open(replace(mine, plan="pln_1"))
    found = await store.sessions.get(mine.id)
    assert found is not None
    assert found.plan == "pln_1"
    assert await store.plans.gone([mine.id, "ses_unknown"]) == {"ses_unknown"}
    await store.sessions.close(mine.id, "done")
    assert await store.plans.gone([mine.id]) == frozenset()
    clock.pass_(6)
    assert await store.plans.gone([mine.id]) == {mine.id}


async def test_there_is_a_bound_on_plans_that_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MAX_LIVE", 2)
    await store.plans.add(made(1))
    await store.plans.add(made(2))
    with pytest.raises(StateError) as refused:
        await store.plans.add(made(3))
    assert refused.value.code == "PLAN_LIMIT"


async def test_a_row_that_can_not_be_read_is_an_error(store: Store, direct: object) -> None:
    await store.plans.add(made())
    await store.plans.start(made(), running(), record=nothing)
    run = direct
    assert callable(run)
    run("UPDATE executions SET state = 'somehow'")
    with pytest.raises(StoreError, match="not readable"):
        await store.plans.execution("exe_1")
