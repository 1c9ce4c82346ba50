from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import RecordError, StateError, StoreError
from decision.model import Approval, ApprovalState, ApprovalTerms, IdentityKey, Subject
from decision.ports import Requests
from decision.store import approvals
from decision.store.approvals import _set_state
from decision.store.engine import Store, open_store
from decision.store.watch import QUEUE
from tests.decision.store.support import AGENT, START, ManualClock, act, draft, session, subject, verdict

ROOT = Path(__file__).parents[3]
P, A = ApprovalState.PENDING, ApprovalState.APPROVED


async def opened(store: Store, *, who: Subject = AGENT, **more: float) -> str:
    one = session(who=who, **more)  # type: ignore[arg-type]  # only lives_s is passed
    await store.sessions.open(one)
    return one.id


async def approved(store: Store, session_id: str, text: str = "delete from orders") -> Approval:
    made, _ = await store.approvals.find_or_create(draft(session_id, text))
    await store.approvals.add_verdict(made.id, verdict("bob"))
    return await store.approvals.move(made.id, expect=P, to=A)


def code(ended: object) -> str:
    return ended.code if isinstance(ended, StateError) else "won"


async def test_an_approval_comes_back_as_it_went_in(store: Store, clock: ManualClock) -> None:
    asked = replace(draft("ses_1"), groups=("dba", "süd"), quorum=2)
    made, new = await store.approvals.find_or_create(asked)
    assert new
    assert (made.key, made.requester, made.operation, made.reasons) == (
        asked.key,
        asked.requester,
        asked.operation,
        asked.reasons,
    )
    assert (made.groups, made.quorum, made.session, made.state, made.verdicts) == (("dba", "süd"), 2, "ses_1", P, ())
    assert made.created == START
    assert (made.expires - made.created).total_seconds() == 600
    first, second = verdict("bob"), verdict("carol")
    await store.approvals.add_verdict(made.id, first)
    after = await store.approvals.add_verdict(made.id, second)
    assert after == replace(made, verdicts=(first, second))
    assert await store.approvals.get(made.id) == after
    assert await store.approvals.list() == [after]
    assert await store.approvals.get("apr_unknown") is None


async def test_the_same_act_of_one_session_is_one_approval(store: Store, clock: ManualClock) -> None:
    one = await opened(store)
    made = await asyncio.gather(*(store.approvals.find_or_create(draft(one)) for _ in range(6)))
    assert len({approval.id for approval, _ in made}) == 1
    assert sorted(new for _, new in made) == [False] * 5 + [True]


@pytest.mark.parametrize(
    "other",
    [
        {"digest": b"\x00" * 32},
        {"subject": IdentityKey("https://idp.example.com", "planner-1")},
        {"subject": IdentityKey("https://other.example.com", "executor-7")},
        {"actors": (IdentityKey("https://idp.example.com", "x"),)},
        {"role": "planner"},
        {"connection": "billing"},
    ],
)
async def test_any_member_of_the_key_makes_another_act(store: Store, other: dict[str, object]) -> None:
    one = await opened(store)
    mine = await approved(store, one)
    key = replace(act(), **other)  # type: ignore[arg-type]  # each case names a field of ActKey
    _, new = await store.approvals.find_or_create(replace(draft(one), key=key))
    assert new
    with pytest.raises(StateError) as refused:
        await store.approvals.redeem(mine.id, key=key, session=one, execution="exe_1")
    assert refused.value.code == "APPROVAL_MISMATCH"


async def test_a_live_sessions_approval_is_for_it_alone(store: Store) -> None:
    asking, other = await opened(store), await opened(store)
    mine = await approved(store, asking)
    theirs, new = await store.approvals.find_or_create(draft(other))
    assert new
    assert theirs.state is P
    with pytest.raises(StateError) as refused:
        await store.approvals.redeem(mine.id, key=act(), session=other, execution="exe_1")
    assert refused.value.code == "APPROVAL_MISMATCH"


async def test_who_comes_back_finds_the_approval_and_only_one_of_them(store: Store) -> None:
    asking = await opened(store)
    mine = await approved(store, asking)
    await store.sessions.close(asking, "client gone")
    back = [await opened(store) for _ in range(3)]
    found = await asyncio.gather(*(store.approvals.find_or_create(draft(one)) for one in back))
    got = [session_id for session_id, (one, _) in zip(back, found, strict=True) if one.id == mine.id]
    assert len(got) == 1
    with pytest.raises(StateError) as refused:  # the session that asked first has lost it
        await store.approvals.redeem(mine.id, key=act(), session=asking, execution="exe_0")
    assert refused.value.code == "APPROVAL_MISMATCH"
    redeemed = await store.approvals.redeem(mine.id, key=act(), session=got[0], execution="exe_1")
    assert redeemed.state is ApprovalState.REDEEMED
    again, new = await store.approvals.find_or_create(draft(got[0]))  # one approval, one redemption
    assert new
    assert again.state is P


async def test_who_comes_back_gets_the_approved_one_of_two(store: Store, clock: ManualClock) -> None:
    first, second = await opened(store), await opened(store)
    ready = await approved(store, first)
    clock.pass_(1)
    await store.approvals.find_or_create(draft(second))
    for one in (first, second):
        await store.sessions.close(one, "client gone")
    found, new = await store.approvals.find_or_create(draft(await opened(store)))
    assert (found.id, found.state, new) == (ready.id, A, False)


async def test_an_expired_session_is_gone_for_its_approval(store: Store, clock: ManualClock) -> None:
    short = await opened(store, lives_s=30)
    ready = await approved(store, short)
    other = await opened(store)
    clock.pass_(29)
    assert (await store.approvals.find_or_create(draft(other, "x")))[1]
    assert (await store.approvals.find_or_create(draft(other)))[0].id != ready.id
    clock.pass_(1)
    again = await opened(store)
    assert (await store.approvals.find_or_create(draft(again)))[0].id == ready.id


async def test_a_session_that_ended_redeems_nothing(store: Store, clock: ManualClock) -> None:
    closed, short, missing = await opened(store), await opened(store, lives_s=30), "ses_missing"
    made = [await approved(store, one) for one in (closed, short, missing)]
    await store.sessions.close(closed, "revoked")
    clock.pass_(31)
    for approval in made:
        with pytest.raises(StateError) as refused:
            await store.approvals.redeem(approval.id, key=act(), session=approval.session, execution="exe_1")
        assert refused.value.code == "REVOKED"


async def test_one_closure_counts_once(store: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    await store.approvals.add_verdict(made.id, verdict("bob", closure=("bob", "bot-1")))
    for closure in [("bob",), ("bot-1", "x"), ("a", "bob", "z")]:
        for approve in (True, False):
            with pytest.raises(StateError) as refused:
                await store.approvals.add_verdict(made.id, verdict("x", closure=closure, approve=approve))
            assert refused.value.code == "VERDICT_GIVEN"
    with pytest.raises(StateError) as refused:
        await store.approvals.add_verdict(made.id, verdict("x", closure=()))
    assert refused.value.code == "VERDICT_REFUSED"
    after = await store.approvals.get(made.id)
    assert after is not None
    assert len(after.verdicts) == 1
    assert after.state is P


async def test_fifty_verdicts_of_one_closure_at_once_count_once(url: str, clock: ManualClock) -> None:
    stores = [await open_store(url, clock=clock) for _ in range(2)]
    made, _ = await stores[0].approvals.find_or_create(draft("ses_1"))
    ended = await asyncio.gather(
        *(
            stores[n % 2].approvals.add_verdict(made.id, verdict(f"bot-{n}", closure=("bob", f"bot-{n}")))
            for n in range(50)
        ),
        return_exceptions=True,
    )
    assert sorted(map(code, ended)) == ["VERDICT_GIVEN"] * 49 + ["won"]
    for store in stores:
        await store.close()


async def test_a_refusal_denies_at_once(store: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    await store.approvals.add_verdict(made.id, verdict("bob"))
    after = await store.approvals.add_verdict(made.id, verdict("carol", approve=False))
    assert after.state is ApprovalState.DENIED
    assert after.decided is not None
    with pytest.raises(StateError) as refused:
        await store.approvals.move(made.id, expect=P, to=A)
    assert refused.value.code == "APPROVAL_DENIED"


MOVED_TO = {
    "APPROVAL_APPROVED": A,
    "APPROVAL_DENIED": ApprovalState.DENIED,
    "WITHDRAWN": ApprovalState.WITHDRAWN,
}


@pytest.mark.parametrize("expected", MOVED_TO)
async def test_a_decided_approval_takes_no_verdict_and_no_move(store: Store, expected: str) -> None:
    one = await opened(store)
    made, _ = await store.approvals.find_or_create(draft(one))
    await store.approvals.move(made.id, expect=P, to=MOVED_TO[expected])
    tries = [store.approvals.add_verdict(made.id, verdict("bob"))]
    tries += [store.approvals.move(made.id, expect=P, to=to) for to in MOVED_TO.values()]
    if expected != "APPROVAL_APPROVED":
        tries.append(store.approvals.redeem(made.id, key=act(), session=one, execution="exe_1"))
    assert {code(one) for one in await asyncio.gather(*tries, return_exceptions=True)} == {expected}


async def test_redeem_and_withdraw_at_once_one_wins(url: str, clock: ManualClock) -> None:
    here, there = await open_store(url, clock=clock), await open_store(url, clock=clock)
    for turn in range(20):
        one = await opened(here)
        made = await approved(here, one, f"{turn}")
        tries = [
            here.approvals.redeem(made.id, key=act(f"{turn}"), session=one, execution=f"exe_{turn}"),
            there.approvals.move(made.id, expect=A, to=ApprovalState.WITHDRAWN),
        ]
        ended = await asyncio.gather(*(tries if turn % 2 else reversed(tries)), return_exceptions=True)
        lost = [code(each) for each in ended if isinstance(each, BaseException)]
        assert lost in (["WITHDRAWN"], ["APPROVAL_REDEEMED"])
    await here.close()
    await there.close()


async def test_pending_is_not_redeemed(store: Store) -> None:
    one = await opened(store)
    made, _ = await store.approvals.find_or_create(draft(one))
    with pytest.raises(StateError) as refused:
        await store.approvals.redeem(made.id, key=act(), session=one, execution="exe_1")
    assert refused.value.code == "APPROVAL_PENDING"


@pytest.mark.parametrize("expect", ApprovalState)
@pytest.mark.parametrize("to", ApprovalState)
async def test_only_the_moves_of_the_table_exist(store: Store, expect: ApprovalState, to: ApprovalState) -> None:
    legal = {
        (P, A),
        (P, ApprovalState.DENIED),
        (P, ApprovalState.WITHDRAWN),
        (P, ApprovalState.EXPIRED),
        (A, ApprovalState.LAPSED),
        (A, ApprovalState.WITHDRAWN),
        (ApprovalState.REDEEMED, ApprovalState.OUTCOME_UNKNOWN),
    }
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    if (expect, to) in {(P, A), (P, ApprovalState.DENIED), (P, ApprovalState.WITHDRAWN)}:
        assert (await store.approvals.move(made.id, expect=expect, to=to)).state is to
        return
    with pytest.raises(StateError) as refused:
        await store.approvals.move(made.id, expect=expect, to=to)
    assert refused.value.code == ("APPROVAL_PENDING" if (expect, to) in legal else "STATE")
    after = await store.approvals.get(made.id)
    assert after == made


async def test_an_unknown_id_is_not_found(store: Store) -> None:
    tries = [
        store.approvals.add_verdict("apr_x", verdict("bob")),
        store.approvals.move("apr_x", expect=P, to=A),
        store.approvals.redeem("apr_x", key=act(), session="ses_1", execution="exe_1"),
        anext(store.approvals.watch(["apr_x"])),
    ]
    for one in tries:
        with pytest.raises(StateError) as refused:
            await one
        assert refused.value.code == "NOT_FOUND"


async def test_one_execution_id_redeems_one_approval(store: Store) -> None:
    one = await opened(store)
    first, second = await approved(store, one, "a"), await approved(store, one, "b")
    await store.approvals.redeem(first.id, key=act("a"), session=one, execution="exe_1")
    with pytest.raises(StoreError, match=r"(?i)unique"):
        await store.approvals.redeem(second.id, key=act("b"), session=one, execution="exe_1")
    with pytest.raises(StateError):
        await store.approvals.redeem(second.id, key=act("b"), session=one, execution="")
    still = await store.approvals.get(second.id)
    assert still is not None
    assert still.state is A


@pytest.mark.parametrize(("quorum", "expires_s"), [(0, 60), (-1, 60), (1, 0), (1, -5), (1, 10**12)])
async def test_terms_that_mean_nothing_are_refused(store: Store, quorum: int, expires_s: int) -> None:
    with pytest.raises(StateError) as refused:
        await store.approvals.find_or_create(replace(draft("ses_1", expires_s=expires_s), quorum=quorum))
    assert refused.value.code == "POLICY_INVALID"


async def test_no_more_are_open_than_the_store_bears(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "MAX_LIVE", 5)
    one = await opened(store)
    made = [(await store.approvals.find_or_create(draft(one, str(n))))[0] for n in range(5)]
    with pytest.raises(StateError) as refused:
        await store.approvals.find_or_create(draft(one, "one more"))
    assert refused.value.code == "APPROVAL_LIMIT"
    assert (await store.approvals.find_or_create(draft(one, "3")))[0] == made[3]  # asking again is no new one
    await store.approvals.move(made[0].id, expect=P, to=ApprovalState.WITHDRAWN)
    assert (await store.approvals.find_or_create(draft(one, "one more")))[1]
    clock.pass_(600)
    assert (await store.approvals.find_or_create(draft(one, "after the rest expired")))[1]


async def test_what_a_closure_has_asked_for_is_counted_together(store: Store, clock: ManualClock) -> None:
    """A29: an owner's other agents, and the owner, are of one closure; others are not."""
    other = subject("executor-8", closure=("alice", "executor-8"), role="executor", kind="agent")
    stranger = subject("executor-9", closure=("dave", "executor-9"), role="executor", kind="agent")
    one, two = await opened(store), await opened(store, who=other)
    first = (await store.approvals.find_or_create(draft(one, "1")))[0]
    await store.approvals.find_or_create(draft(one, "2"))
    assert await store.approvals.requests(draft(one, "1")) is None  # there already: no new one
    assert await store.approvals.requests(draft(two, "1", who=other)) == Requests(2, 2, 0)
    assert await store.approvals.requests(draft(one, "3", who=stranger)) == Requests(0, 0, 0)
    await store.approvals.add_verdict(first.id, verdict("bob", approve=False))
    seen = await store.approvals.requests(draft(two, "1", who=other))
    assert seen == Requests(1, 2, 1)
    await store.approvals.find_or_create(draft(two, "1", who=other), seen=seen)
    with pytest.raises(StateError) as refused:
        await store.approvals.find_or_create(draft(one, "3"), seen=seen)
    assert refused.value.code == "REQUESTS_CHANGED"
    clock.pass_(601)
    assert await store.approvals.requests(draft(one, "4")) == Requests(0, 3, 1)
    clock.pass_(3601)
    assert await store.approvals.requests(draft(one, "4")) == Requests(0, 0, 0)


async def test_reopened_it_keeps_its_verdicts_and_waits_for_more(store: Store) -> None:
    made = (await store.approvals.find_or_create(draft(await opened(store))))[0]
    terms = ApprovalTerms(groups=("dba", "security"), quorum=2, expires_s=60)
    with pytest.raises(StateError) as refused:
        await store.approvals.reopen(made.id, terms=terms, reasons=())
    assert refused.value.code == "APPROVAL_PENDING"
    await store.approvals.add_verdict(made.id, verdict("bob"))
    assert await store.approvals.answered() == [made.id]
    await store.approvals.move(made.id, expect=P, to=ApprovalState.APPROVED)
    again = await store.approvals.reopen(made.id, terms=terms, reasons=())
    assert (again.state, again.groups, again.quorum, len(again.verdicts)) == (P, terms.groups, 2, 1)
    assert again.expires == made.expires
    with pytest.raises(StateError) as used:
        await store.approvals.redeem(made.id, key=made.key, session=made.session, execution="exe_1")
    assert used.value.code == "APPROVAL_PENDING"


# --- time ------------------------------------------------------------------------------------------------------------


async def test_what_is_due_is_refused_before_the_sweep_and_swept_after(store: Store, clock: ManualClock) -> None:
    one = await opened(store)
    pending, _ = await store.approvals.find_or_create(draft(one, "p"))
    unused = await approved(store, one, "a")
    clock.pass_(600)
    for clock_moves in (0, -7200):
        clock.set_wall(clock_moves)
        tries = [
            store.approvals.add_verdict(pending.id, verdict("bob")),
            store.approvals.move(pending.id, expect=P, to=A),
            store.approvals.move(pending.id, expect=P, to=ApprovalState.WITHDRAWN),
            store.approvals.redeem(unused.id, key=act("a"), session=one, execution="exe_1"),
        ]
        ended = await asyncio.gather(*tries, return_exceptions=True)
        assert [code(each) for each in ended] == ["APPROVAL_EXPIRED"] * 4
        _, new = await store.approvals.find_or_create(draft(one, f"p{clock_moves}"))
        assert new
    swept = await store.approvals.sweep()
    assert {each.id: each.state.value for each in swept} == {pending.id: "expired", unused.id: "lapsed"}
    assert await store.approvals.sweep() == []
    assert pending.id not in {each.id for each in await store.approvals.list()}
    assert pending.id in {each.id for each in await store.approvals.list(include_finished=True)}


async def test_a_redeemed_act_with_no_outcome_becomes_unknown_when_its_session_is_gone(
    store: Store, clock: ManualClock
) -> None:
    one = await opened(store)
    lost, told = await approved(store, one, "lost"), await approved(store, one, "told")
    await store.approvals.redeem(lost.id, key=act("lost"), session=one, execution="exe_lost")
    await store.approvals.redeem(told.id, key=act("told"), session=one, execution="exe_told")
    await store.approvals.finished("exe_told")
    await store.approvals.finished("exe_nobody_knows")
    clock.pass_(3600)
    assert await store.approvals.sweep() == []  # the session is still open
    await store.sessions.close(one, "enforcer silent")
    assert await store.approvals.sweep() == []  # an outcome may still be on its way
    clock.pass_(5)
    swept = await store.approvals.sweep()
    assert [(each.id, each.state.value) for each in swept] == [(lost.id, "outcome-unknown")]
    await store.approvals.finished("exe_lost")  # late: changes no final state
    with pytest.raises(StateError) as refused:
        await store.approvals.redeem(lost.id, key=act("lost"), session=one, execution="exe_2")
    assert refused.value.code == "OUTCOME_UNKNOWN"
    with pytest.raises(StateError) as refused:
        await store.approvals.move(told.id, expect=ApprovalState.REDEEMED, to=ApprovalState.OUTCOME_UNKNOWN)
    assert refused.value.code == "APPROVAL_REDEEMED"


# --- at once ---------------------------------------------------------------------------------------------------------


async def test_approve_deny_withdraw_and_expire_at_once_one_wins(url: str, clock: ManualClock) -> None:
    stores = [await open_store(url, clock=clock) for _ in range(2)]
    for n in range(10):
        made, _ = await stores[0].approvals.find_or_create(draft("ses_1", str(n)))
        ended = await asyncio.gather(
            stores[0].approvals.move(made.id, expect=P, to=A),
            stores[1].approvals.move(made.id, expect=P, to=ApprovalState.WITHDRAWN),
            stores[n % 2].approvals.add_verdict(made.id, verdict("carol", approve=False)),
            stores[(n + 1) % 2].approvals.move(made.id, expect=P, to=A),
            return_exceptions=True,
        )
        won = [one for one in ended if isinstance(one, Approval)]
        assert len(won) == 1
        found = await stores[0].approvals.get(made.id)
        assert found is not None
        assert found.state is won[0].state
        assert {code(one) for one in ended} == {"won", next(k for k, v in MOVED_TO.items() if v is found.state)}
    for store in stores:
        await store.close()


async def test_approve_and_sweep_at_once(url: str, clock: ManualClock) -> None:
    stores = [await open_store(url, clock=clock) for _ in range(2)]
    for n in range(5):
        made, _ = await stores[0].approvals.find_or_create(draft("ses_1", str(n)))
        clock.pass_(600 if n % 2 else 599.999999)
        ended = await asyncio.gather(
            stores[0].approvals.move(made.id, expect=P, to=A), stores[1].approvals.sweep(), return_exceptions=True
        )
        found = await stores[0].approvals.get(made.id)
        assert found is not None
        assert found.state is (ApprovalState.EXPIRED if n % 2 else A)
        assert code(ended[0]) == ("APPROVAL_EXPIRED" if n % 2 else "won")
        clock.pass_(10)
        await stores[0].approvals.sweep()
    for store in stores:
        await store.close()


async def test_fifty_redemptions_on_two_stores_one_wins(url: str, clock: ManualClock) -> None:
    stores = [await open_store(url, clock=clock) for _ in range(2)]
    one = await opened(stores[0])
    made = await approved(stores[0], one)
    ended = await asyncio.gather(
        *(stores[n % 2].approvals.redeem(made.id, key=act(), session=one, execution=f"exe_{n}") for n in range(50)),
        return_exceptions=True,
    )
    assert sorted(map(code, ended)) == ["APPROVAL_REDEEMED"] * 49 + ["won"]
    won = next(each for each in ended if isinstance(each, Approval))
    found = await stores[1].approvals.get(made.id)
    assert found is not None
    assert found.execution == won.execution
    for store in stores:
        await store.close()


REDEEM = """
import asyncio, sys
from decision.errors import StateError
from decision.store.engine import open_store
from tests.decision.store.support import act, ManualClock
async def main():
    url, session, mine, *approvals = sys.argv[1:]
    store = await open_store(url, clock=ManualClock())
    print("ready", flush=True)
    sys.stdin.readline()
    for n, approval in enumerate(approvals):
        try:
            await store.approvals.redeem(approval, key=act(str(n)), session=session, execution=f"exe_{mine}_{n}")
            print(approval)
        except StateError as error:
            if error.code != "APPROVAL_REDEEMED":
                raise
asyncio.run(main())
"""


async def test_two_processes_redeem_the_same_approvals_and_each_is_won_once(store: Store, url: str) -> None:
    one = await opened(store)
    made = [(await approved(store, one, str(n))).id for n in range(25)]
    await store.close()
    pipe = asyncio.subprocess.PIPE
    racing = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", REDEEM, url, one, name, *made, cwd=ROOT, stdin=pipe, stdout=pipe
        )
        for name in ("a", "b")
    ]
    won: list[str] = []
    async with asyncio.timeout(60):
        for process in racing:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        for output, _ in await asyncio.gather(*(process.communicate(b"go\n") for process in racing)):
            won += output.decode().split()
    assert [process.returncode for process in racing] == [0, 0]
    assert sorted(won) == sorted(made)


# --- records ---------------------------------------------------------------------------------------------------------


async def test_a_move_whose_record_fails_did_not_happen(store: Store, clock: ManualClock) -> None:
    async def fail(_moved: object) -> None:
        raise RecordError("disk full")

    one = await opened(store)
    made, _ = await store.approvals.find_or_create(draft(one))
    for attempt in (
        store.approvals.add_verdict(made.id, verdict("bob"), record=fail),
        store.approvals.add_verdict(made.id, verdict("bob", approve=False), record=fail),
        store.approvals.move(made.id, expect=P, to=A, record=fail),
    ):
        with pytest.raises(RecordError, match="disk full"):
            await attempt
        assert await store.approvals.get(made.id) == made
    ready = await approved(store, one, "b")
    with pytest.raises(RecordError):
        await store.approvals.redeem(ready.id, key=act("b"), session=one, execution="exe_1", record=fail)
    assert await store.approvals.get(ready.id) == ready
    clock.pass_(601)
    with pytest.raises(RecordError):
        await store.approvals.sweep(record=fail)
    assert await store.approvals.get(made.id) == made
    assert {each.id for each in await store.approvals.sweep()} == {made.id, ready.id}


async def test_nobody_sees_a_state_before_its_record_is_durable_and_losers_record_nothing(
    url: str, clock: ManualClock
) -> None:
    ours, theirs = [await open_store(url, clock=clock) for _ in range(2)]
    made, _ = await ours.approvals.find_or_create(draft("ses_1"))
    watch = ours.approvals.watch([made.id])
    assert (await anext(watch)).state is P
    recorded: list[str] = []
    durable, reached = asyncio.Event(), asyncio.Event()

    async def slow(moved: Approval) -> None:
        assert moved.state is A
        reached.set()
        await durable.wait()
        recorded.append(moved.state.value)

    async def record(moved: Approval) -> None:
        recorded.append(moved.state.value)

    first = asyncio.ensure_future(ours.approvals.move(made.id, expect=P, to=A, record=slow))
    await reached.wait()
    seen = asyncio.ensure_future(anext(watch))
    for store in (ours, theirs):
        found = await store.approvals.get(made.id)
        assert found is not None
        assert found.state is P
    second = asyncio.ensure_future(theirs.approvals.move(made.id, expect=P, to=ApprovalState.WITHDRAWN, record=record))
    assert not seen.done()
    durable.set()
    assert (await first).state is A
    assert (await seen).state is A
    with pytest.raises(StateError):
        await second
    assert recorded == ["approved"]
    await ours.close()
    await theirs.close()


async def test_a_caller_that_goes_away_leaves_a_whole_move(store: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    reached, durable = asyncio.Event(), asyncio.Event()

    async def slow(_moved: Approval) -> None:
        reached.set()
        await durable.wait()

    task = asyncio.ensure_future(store.approvals.move(made.id, expect=P, to=A, record=slow))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    durable.set()
    await store.approvals.sweep()  # behind it
    found = await store.approvals.get(made.id)
    assert found is not None
    assert found.state is A


async def test_a_record_that_hangs_ends_the_move_undone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_moved: Approval) -> None:
        await asyncio.Event().wait()

    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    monkeypatch.setattr("decision.store.database.DEADLINE_S", 0.1)
    with pytest.raises(Exception, match="did not answer"):
        await store.approvals.move(made.id, expect=P, to=A, record=hang)
    monkeypatch.undo()
    assert await store.approvals.get(made.id) == made


# --- watching --------------------------------------------------------------------------------------------------------


async def test_a_watcher_gets_the_state_and_each_change(store: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    other, _ = await store.approvals.find_or_create(draft("ses_1", "other"))
    one, everything = store.approvals.watch([made.id]), store.approvals.watch([])
    assert await anext(one) == made
    assert {(await anext(everything)).id for _ in range(2)} == {made.id, other.id}
    await store.approvals.add_verdict(other.id, verdict("bob"))
    await store.approvals.move(made.id, expect=P, to=ApprovalState.WITHDRAWN)
    assert (await anext(one)).state is ApprovalState.WITHDRAWN
    changes = [await anext(everything) for _ in range(2)]
    assert [(each.id, len(each.verdicts), each.state) for each in changes] == [
        (other.id, 1, P),
        (made.id, 0, ApprovalState.WITHDRAWN),
    ]
    late, _ = await store.approvals.find_or_create(draft("ses_1", "late"))
    assert await anext(everything) == late
    await one.aclose()  # type: ignore[attr-defined]  # an async generator
    await everything.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_a_slow_watcher_of_one_is_not_ended_and_of_all_is(store: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    one, everything = store.approvals.watch([made.id]), store.approvals.watch([])
    await anext(one)
    await anext(everything)
    for n in range(QUEUE + 1):
        await store.approvals.find_or_create(draft("ses_1", str(n), who=subject(f"agent-{n}")))
        if n < 5:
            await store.approvals.add_verdict(made.id, verdict(f"r{n}"))
    assert len((await anext(one)).verdicts) == 5
    with pytest.raises(StateError) as ended:
        await anext(everything)
    assert ended.value.code == "SLOW_WATCHER"
    await one.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_a_watcher_that_is_cancelled_is_forgotten(store: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))

    async def follow() -> None:
        async for _ in store.approvals.watch([made.id]):
            started.set()

    started = asyncio.Event()
    task = asyncio.ensure_future(follow())
    await started.wait()
    watchers = store.approvals._watchers  # type: ignore[attr-defined]
    assert len(watchers._all) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(watchers._all) == 0


async def test_the_compare_and_set_alone_refuses_a_state_that_changed_since_it_was_read(store: Store) -> None:
    """Writers wait for each other, so no move can meet this today; a database with weaker locks would."""
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    await store.approvals.move(made.id, expect=P, to=ApprovalState.DENIED)

    async def stale(connection: AsyncConnection, _now: int) -> None:
        await _set_state(connection, made.id, P, state="approved")

    with pytest.raises(StateError) as refused:
        await store._database.write(stale)
    assert refused.value.code == "APPROVAL_DENIED"
    found = await store.approvals.get(made.id)
    assert found is not None
    assert found.state is ApprovalState.DENIED
