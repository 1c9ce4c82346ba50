"""The service over the real store and the real log; policy is a table here, its rules are tested in rego/."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from twokey.type.v1 import operation_pb2

from decision.approvals.service import MAX_CHANNEL, MAX_REASON, Approvals
from decision.audit.log import SegmentLog
from decision.errors import (
    BadRequestError,
    CallerError,
    DecisionError,
    NotFoundError,
    PolicyError,
    PolicyUnavailableError,
    RecordError,
    StateError,
)
from decision.model import (
    JSON,
    NO_LOGIN,
    Approval,
    ApprovalState,
    Durability,
    Login,
    Obligation,
    Outcome,
    PolicyResult,
    Reason,
    Subject,
)
from decision.pdp import opa_input
from decision.ports import History, People
from decision.store.engine import Store, open_store
from tests.decision.store.support import AGENT, ManualClock, act, draft, session, subject

BOB, CAROL, MALLORY = subject("bob"), subject("carol"), subject("mallory")


def result(outcome: Outcome, *, revision: str = "rev-1", **more: object) -> PolicyResult:
    made = PolicyResult(
        outcome=outcome,
        reasons=(),
        obligations=(),
        needs=(),
        approval=None,
        lease_ttl_ms=None,
        durability=Durability.BEFORE,
        window=None,
        revision=revision,
    )
    return replace(made, **more)  # type: ignore[arg-type]  # the tests name fields of PolicyResult


class Policy:
    """Who may review, by name; and what is wrong with policy today."""

    def __init__(self) -> None:
        self.reviewers = {"bob", "carol"}
        self.quorum = 1
        self.questions: list[JSON] = []
        self.failing: DecisionError | None = None
        self.reconsider_failing: DecisionError | None = None
        self.answer: PolicyResult | None = None
        self.reconsidered = Outcome.ALLOW
        self.before_answer: Callable[[], Awaitable[object]] | None = None
        self._revision = "rev-1"

    @property
    def revision(self) -> str:
        return self._revision

    @property
    def ready(self) -> bool:
        return True

    @property
    def people(self) -> People:
        raise NotImplementedError

    def on_change(self, callback: Callable[[str], None]) -> None:
        raise NotImplementedError

    async def evaluate(self, document: JSON) -> PolicyResult:
        self.questions.append(document)
        if self.failing is not None:
            raise self.failing
        if self.before_answer is not None:
            await self.before_answer()
        if self.answer is not None:
            return self.answer
        asked = document["subject"]
        assert isinstance(asked, dict)
        if asked["name"] in self.reviewers:
            return result(Outcome.ALLOW)
        return result(Outcome.DENY, reasons=(Reason("approval/own", "you asked for it yourself", "ask a dba"),))

    async def reconsider(self, approval: Approval) -> PolicyResult:
        if self.reconsider_failing is not None:
            raise self.reconsider_failing
        approving = sum(one.approve for one in approval.verdicts)
        return result(self.reconsidered if approving >= self.quorum else Outcome.REQUIRE_APPROVAL)


class FlakyLog:
    """The real log, that can be told to fail, or to fail at the n-th record from now."""

    def __init__(self, log: SegmentLog) -> None:
        self._log = log
        self.fail_at: int | None = None
        self.failed_thrice = asyncio.Event()

    @property
    def size(self) -> int:
        return self._log.size

    async def append(self, kind: str, body: JSON) -> int:
        return await self.append_many([(kind, body)])

    async def append_many(self, records: Sequence[tuple[str, JSON]]) -> int:
        if self.fail_at is not None:
            self.fail_at -= 1
            if self.fail_at <= -3:
                self.failed_thrice.set()
            if self.fail_at < 0:
                raise RecordError("the log's disk is full")
        return await self._log.append_many(records)

    def read(self, start: int, limit: int | None) -> AsyncIterator[tuple[int, bytes]]:
        return self._log.read(start, limit)


class World:
    def __init__(self, store: Store, log: FlakyLog, clock: ManualClock) -> None:
        self.store, self.log, self.clock, self.policy = store, log, clock, Policy()
        self.service = self.new_service()

    def new_service(self) -> Approvals:
        return Approvals(
            store=self.store.approvals,
            engine=self.policy,
            recorder=self.log,
            clock=self.clock,
            reconsider=self.policy.reconsider,
            review_document=self.review_document,
            past=self.past,
        )

    async def past(self, who: Subject) -> History:
        return await self.store.history.read(who.closure, reviews=True)

    def review_document(self, who: Subject, approval: Approval, history: History | None, login: Login | None) -> JSON:
        return opa_input.review_question(
            subject=who,
            kind="postgres",
            approval=approval,
            operation=operation_pb2.Operation(sql=operation_pb2.SqlOperation(command="DELETE")),
            context=opa_input.Context(now=self.clock.now(), history=history, login=login or NO_LOGIN),
            verdict=login is not None,
        )

    async def ask(self, text: str = "delete from orders") -> Approval:
        one = session()
        await self.store.sessions.open(one)
        made, _ = await self.store.approvals.find_or_create(draft(one.id, text))
        return made

    async def state(self, approval: str) -> str:
        found = await self.store.approvals.get(approval)
        assert found is not None
        return found.state.value

    async def recorded(self) -> list[dict[str, object]]:
        return [orjson.loads(body) async for _, body in self.log.read(0, None)]

    async def told(self) -> list[tuple[object, object]]:
        return [(one["event"], one["state"]) for one in await self.recorded()]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    store = await open_store(f"sqlite:///{tmp_path}/x.db", clock=clock)
    log = await SegmentLog.open(tmp_path / "audit", clock=clock)
    yield World(store, FlakyLog(log), clock)
    await log.close()
    await store.close()


async def approve(world: World, who: Subject, approval: str) -> Approval:
    return await world.service.approve(who, approval, reason="fine", channel="cli")


async def deny(world: World, who: Subject, approval: str) -> Approval:
    return await world.service.deny(who, approval, reason="no", channel="cli")


# --- verdicts --------------------------------------------------------------------------------------------------------


async def test_a_reviewer_approves_and_the_log_tells_it(world: World) -> None:
    made = await world.ask()
    after = await approve(world, BOB, made.id)
    assert after.state is ApprovalState.APPROVED
    verdict, transition = await world.recorded()
    assert (verdict["kind"], verdict["event"], verdict["state"]) == ("approval", "verdict", "pending")
    assert verdict["verdict"] == {"approve": True, "reason": "fine", "channel": "cli"}
    assert verdict["reviewer"]["subject"]["name"] == "bob"  # type: ignore[index]
    assert verdict["input"]["question"] == "review"  # type: ignore[index]
    assert verdict["answer"] == {"outcome": "allow", "reasons": [], "revision": "rev-1"}
    assert (transition["event"], transition["state"], transition["cause"]) == ("transition", "approved", "reviewed")
    assert transition["approval"] == made.id


async def test_a_quorum_needs_as_many_as_policy_says(world: World) -> None:
    world.policy.quorum = 2
    made = await world.ask()
    assert (await approve(world, BOB, made.id)).state is ApprovalState.PENDING
    with pytest.raises(StateError) as refused:
        await approve(world, BOB, made.id)
    assert refused.value.code == "VERDICT_GIVEN"
    assert (await approve(world, CAROL, made.id)).state is ApprovalState.APPROVED
    assert await world.told() == [
        ("verdict", "pending"),
        ("verdict-refused", "pending"),
        ("verdict", "pending"),
        ("transition", "approved"),
    ]


@pytest.mark.parametrize("outcome", [Outcome.DENY, Outcome.REQUIRE_APPROVAL])
async def test_what_policy_still_does_not_allow_stays_pending(world: World, outcome: Outcome) -> None:
    world.policy.reconsidered = outcome
    made = await world.ask()
    assert (await approve(world, BOB, made.id)).state is ApprovalState.PENDING
    assert await world.told() == [("verdict", "pending")]


async def test_an_answer_that_needs_more_facts_approves_nothing(world: World) -> None:
    async def needs(_approval: Approval) -> PolicyResult:
        return result(Outcome.ALLOW, needs=("estimate",))

    world.service._reconsider = needs
    made = await world.ask()
    assert (await approve(world, BOB, made.id)).state is ApprovalState.PENDING


async def test_one_no_denies(world: World) -> None:
    world.policy.quorum = 2
    made = await world.ask()
    await approve(world, BOB, made.id)
    assert (await deny(world, CAROL, made.id)).state is ApprovalState.DENIED
    assert await world.told() == [("verdict", "pending"), ("verdict", "denied")]
    with pytest.raises(StateError) as refused:
        await approve(world, subject("bob", closure=("dave",)), made.id)
    assert refused.value.code == "APPROVAL_DENIED"
    assert (await world.told())[-1] == ("verdict-refused", "denied")


@pytest.mark.parametrize("give", [approve, deny])
async def test_who_may_not_review_is_told_the_rule_and_it_is_recorded(
    world: World, give: Callable[[World, Subject, str], Awaitable[Approval]]
) -> None:
    made = await world.ask()
    with pytest.raises(CallerError, match=r"you asked for it yourself \[approval/own\]") as refused:
        await give(world, MALLORY, made.id)
    assert (refused.value.code, refused.value.next_step) == ("POLICY_DENIED", "ask a dba")
    assert await world.state(made.id) == "pending"
    (record,) = await world.recorded()
    assert (record["event"], record["code"]) == ("verdict-refused", "POLICY_DENIED")
    assert record["reviewer"]["subject"]["name"] == "mallory"  # type: ignore[index]
    after = await world.store.approvals.get(made.id)
    assert after == made


@pytest.mark.parametrize(
    "answer",
    [
        result(Outcome.MASK_COLUMNS),
        result(Outcome.REQUIRE_APPROVAL),
        result(Outcome.DENY),
        result(Outcome.ALLOW, obligations=(Obligation("require-reason", {}),)),
        result(Outcome.ALLOW, needs=("values",)),
    ],
)
async def test_anything_but_a_plain_allow_is_no_permission_to_review(world: World, answer: PolicyResult) -> None:
    world.policy.answer = answer
    made = await world.ask()
    with pytest.raises(CallerError):
        await approve(world, BOB, made.id)
    assert await world.state(made.id) == "pending"
    with pytest.raises(NotFoundError):
        await world.service.get(BOB, made.id)


async def test_an_answer_of_another_revision_is_not_used(world: World) -> None:
    world.policy.answer = result(Outcome.ALLOW, revision="rev-2")
    made = await world.ask()
    with pytest.raises(PolicyUnavailableError):
        await approve(world, BOB, made.id)
    assert await world.state(made.id) == "pending"


async def test_policy_that_hangs_is_an_error_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decision.approvals.service.POLICY_DEADLINE_S", 0.05)
    world.policy.before_answer = asyncio.Event().wait
    made = await world.ask()
    with pytest.raises(PolicyUnavailableError):
        await approve(world, BOB, made.id)
    assert await world.state(made.id) == "pending"


async def test_two_reviewers_at_once_both_get_the_approved_one(world: World) -> None:
    for n in range(5):
        made = await world.ask(str(n))
        both = await asyncio.gather(
            approve(world, BOB, made.id), approve(world, CAROL, made.id), return_exceptions=True
        )
        for one in both:  # the later one's verdict counted, or came too late
            assert isinstance(one, StateError | Approval)
            assert one.state is ApprovalState.APPROVED if isinstance(one, Approval) else one.code == "APPROVAL_APPROVED"
        assert any(isinstance(one, Approval) for one in both)
        transitions = [
            one for one in await world.recorded() if one["approval"] == made.id and one["event"] == "transition"
        ]
        assert len(transitions) == 1


async def test_approve_and_deny_at_once_one_wins(world: World) -> None:
    for n in range(5):
        made = await world.ask(str(n))
        await asyncio.gather(approve(world, BOB, made.id), deny(world, CAROL, made.id), return_exceptions=True)
        final = await world.state(made.id)
        told = [
            one["state"]
            for one in await world.recorded()
            if one["approval"] == made.id and one["event"] != "verdict-refused" and one["state"] != "pending"
        ]
        assert told == [final]


async def test_an_expired_approval_takes_no_verdict(world: World) -> None:
    made = await world.ask()
    world.clock.pass_(600)
    with pytest.raises(StateError) as refused:
        await approve(world, BOB, made.id)
    assert refused.value.code == "APPROVAL_EXPIRED"
    world.clock.set_wall(-3600)
    with pytest.raises(StateError):
        await approve(world, BOB, made.id)
    assert await world.told() == [("verdict-refused", "pending")] * 2


@pytest.mark.parametrize(("reason", "channel"), [("x" * (MAX_REASON + 1), "cli"), ("fine", "x" * (MAX_CHANNEL + 1))])
async def test_overlong_text_is_refused(world: World, reason: str, channel: str) -> None:
    made = await world.ask()
    with pytest.raises(BadRequestError):
        await world.service.approve(BOB, made.id, reason=reason, channel=channel)
    assert world.policy.questions == []


# --- faults ----------------------------------------------------------------------------------------------------------


async def test_no_record_no_verdict(world: World) -> None:
    made = await world.ask()
    world.log.fail_at = 0
    for give in (approve, deny):
        with pytest.raises(RecordError):
            await give(world, BOB, made.id)
    with pytest.raises(RecordError):
        await approve(world, MALLORY, made.id)
    with pytest.raises(RecordError):
        await world.service.withdraw(None, made.id, reason="")
    world.log.fail_at = None
    assert await world.store.approvals.get(made.id) == made
    assert await world.recorded() == []


async def test_no_record_of_the_transition_no_approved_state_until_the_sweeper_gets_one(world: World) -> None:
    made = await world.ask()
    watch = world.service.watch(None, [made.id])
    await anext(watch)
    world.log.fail_at = 1  # the verdict is recorded, the transition is not
    with pytest.raises(RecordError):
        await approve(world, BOB, made.id)
    assert await world.state(made.id) == "pending"
    with pytest.raises(StateError):
        await world.store.approvals.redeem(made.id, key=act(), session=made.session, execution="exe_1")
    assert (await anext(watch)).state is ApprovalState.PENDING  # the verdict's change, and nothing more
    seen = asyncio.ensure_future(anext(watch))
    await world.service.sweep()
    assert await world.state(made.id) == "pending"  # the log still fails
    assert not seen.done()
    world.log.fail_at = None
    await world.service.sweep()
    assert (await seen).state is ApprovalState.APPROVED
    assert await world.told() == [("verdict", "pending"), ("transition", "approved")]


async def test_opa_away_after_the_verdict_is_caught_up(world: World) -> None:
    made = await world.ask()
    world.policy.reconsider_failing = PolicyUnavailableError("opa is away")
    with pytest.raises(PolicyUnavailableError):
        await approve(world, BOB, made.id)
    await world.service.sweep()
    assert await world.state(made.id) == "pending"
    world.policy.reconsider_failing = None
    await world.service.sweep()
    assert await world.state(made.id) == "approved"


async def test_a_crash_between_verdict_and_transition_is_caught_up(world: World) -> None:
    made = await world.ask()
    world.policy.reconsider_failing = PolicyUnavailableError("opa is away")
    with pytest.raises(PolicyUnavailableError):
        await approve(world, BOB, made.id)
    world.policy.reconsider_failing = None
    restarted = world.new_service()  # knows nothing of it
    watch = restarted.watch(None, [made.id])
    await anext(watch)
    sweeper = asyncio.ensure_future(restarted.run_sweeper())
    assert (await anext(watch)).state is ApprovalState.APPROVED
    sweeper.cancel()
    await asyncio.gather(sweeper, return_exceptions=True)


async def test_a_reviewer_that_goes_away_leaves_nothing_half_done(world: World) -> None:
    made = await world.ask()
    asked = asyncio.Event()
    real = world.policy.reconsider

    async def slow(approval: Approval) -> PolicyResult:
        asked.set()
        await asyncio.Event().wait()
        return await real(approval)

    world.service._reconsider = slow
    task = asyncio.ensure_future(approve(world, BOB, made.id))
    await asked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await world.state(made.id) == "pending"
    world.service._reconsider = real
    await world.service.sweep()
    assert await world.state(made.id) == "approved"


async def test_the_sweeper_goes_on_when_the_log_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decision.approvals.service.SWEEP_EVERY_S", 0.001)
    made = await world.ask()
    watch = world.service.watch(None, [made.id])
    await anext(watch)
    world.clock.pass_(600)
    world.log.fail_at = 0
    sweeper = asyncio.ensure_future(world.service.run_sweeper())
    await world.log.failed_thrice.wait()
    assert await world.state(made.id) == "pending"
    world.log.fail_at = None
    assert (await anext(watch)).state is ApprovalState.EXPIRED
    sweeper.cancel()
    await asyncio.gather(sweeper, return_exceptions=True)
    assert (await world.told())[-1] == ("transition", "expired")


# --- who sees what ---------------------------------------------------------------------------------------------------


async def test_unknown_and_forbidden_answer_the_same(world: World) -> None:
    made = await world.ask()
    messages = set()
    for approval in (made.id, "apr_unknown"):
        with pytest.raises(NotFoundError) as refused:
            await world.service.get(MALLORY, approval)
        messages.add(str(refused.value).replace(approval, "ID"))
        with pytest.raises(NotFoundError):
            await world.service.withdraw(MALLORY, approval, reason="")
        with pytest.raises(NotFoundError):
            await anext(world.service.watch(MALLORY, [approval]))
    assert len(messages) == 1


async def test_enforcer_requester_and_reviewer_see_it(world: World) -> None:
    made = await world.ask()
    same_name_elsewhere = replace(AGENT, party=replace(AGENT.party, identity=replace(AGENT.party.identity, iss="x")))
    for viewer in (None, AGENT, BOB):
        assert await world.service.get(viewer, made.id) == made
        assert await world.service.list(viewer) == [made]
    for viewer in (MALLORY, same_name_elsewhere):
        assert await world.service.list(viewer) == []


async def test_who_answered_sees_what_came_of_it(world: World) -> None:
    made = await world.ask()
    await world.service.deny(BOB, made.id, reason="no", channel="cli")
    world.policy.reviewers.clear()
    assert (await world.service.get(BOB, made.id)).state is ApprovalState.DENIED
    assert [one.id for one in await world.service.list(BOB, include_finished=True)] == [made.id]
    with pytest.raises(NotFoundError):
        await world.service.get(CAROL, made.id)


async def test_listing_fails_when_policy_is_away_and_skips_what_it_cannot_judge(world: World) -> None:
    await world.ask()
    world.policy.failing = PolicyUnavailableError("opa is away")
    with pytest.raises(PolicyUnavailableError):
        await world.service.list(BOB)
    world.policy.failing = PolicyError("no result")
    assert await world.service.list(BOB) == []


async def test_watching_all_shows_only_what_the_viewer_may_see(world: World) -> None:
    own = await world.ask()
    world.policy.reviewers.clear()
    watch = world.service.watch(AGENT, [])
    assert (await anext(watch)).id == own.id
    other = session(who=CAROL)
    await world.store.sessions.open(other)
    await world.store.approvals.find_or_create(draft(other.id, "theirs", who=CAROL))
    await world.service.withdraw(None, own.id, reason="")
    assert (await anext(watch)).state is ApprovalState.WITHDRAWN
    await watch.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_watching_by_id_ends_after_the_last_final_state(world: World) -> None:
    first, second = await world.ask("a"), await world.ask("b")
    seen: list[tuple[str, str]] = []
    both = asyncio.Event()

    async def follow() -> None:
        async for one in world.service.watch(None, [first.id, second.id, first.id]):
            seen.append((one.id, one.state.value))
            if len(seen) == 2:
                both.set()

    task = asyncio.ensure_future(follow())
    await both.wait()
    await world.service.withdraw(AGENT, first.id, reason="changed my mind")
    await deny(world, BOB, second.id)
    async with asyncio.timeout(5):
        await task
    assert set(seen[-2:]) == {(first.id, "withdrawn"), (second.id, "denied")}
    await asyncio.sleep(0)  # the loop closes the store's generator
    await world.store.approvals.list()
    watchers = world.store.approvals._watchers  # type: ignore[attr-defined]  # nothing of it stays behind
    assert not watchers._all


async def test_a_reviewer_who_may_no_longer_review_loses_the_watch(world: World) -> None:
    made = await world.ask()
    watch = world.service.watch(BOB, [made.id])
    await anext(watch)
    world.policy.reviewers.clear()
    await world.service.withdraw(None, made.id, reason="")
    with pytest.raises(NotFoundError):
        await anext(watch)


async def test_too_many_ids_are_refused(world: World) -> None:
    with pytest.raises(BadRequestError):
        await anext(world.service.watch(None, [f"apr_{n}" for n in range(300)]))


# --- withdrawal ------------------------------------------------------------------------------------------------------


async def test_enforcer_and_requester_withdraw_and_a_reviewer_may_not(world: World) -> None:
    made, other = await world.ask("a"), await world.ask("b")
    with pytest.raises(CallerError):
        await world.service.withdraw(BOB, made.id, reason="")
    assert (await world.service.withdraw(None, made.id, reason="Ctrl-C")).state is ApprovalState.WITHDRAWN
    assert (await world.service.withdraw(AGENT, other.id, reason="mine")).state is ApprovalState.WITHDRAWN
    first, second = await world.recorded()
    assert (first["cause"], first["by"], first["why"]) == ("withdrawn", None, "Ctrl-C")
    assert second["by"]["subject"]["name"] == "executor-7"  # type: ignore[index]
    with pytest.raises(StateError) as refused:
        await world.service.withdraw(None, made.id, reason="")
    assert refused.value.code == "WITHDRAWN"


async def test_what_was_approved_is_withdrawn_until_it_is_redeemed(world: World) -> None:
    unused, used = await world.ask("a"), await world.ask("b")
    for one in (unused, used):
        await approve(world, BOB, one.id)
    await world.store.approvals.redeem(used.id, key=used.key, session=used.session, execution="exe_1")
    assert (await world.service.withdraw(None, unused.id, reason="Ctrl-C")).state is ApprovalState.WITHDRAWN
    assert (await world.recorded())[-1]["state"] == "withdrawn"
    with pytest.raises(StateError) as refused:
        await world.store.approvals.redeem(unused.id, key=unused.key, session=unused.session, execution="exe_2")
    assert refused.value.code == "WITHDRAWN"
    with pytest.raises(StateError) as refused:
        await world.service.withdraw(None, used.id, reason="")
    assert refused.value.code == "APPROVAL_REDEEMED"


# --- the sweeper -----------------------------------------------------------------------------------------------------


async def test_the_sweep_records_what_time_does(world: World) -> None:
    pending, unused, lost = await world.ask("p"), await world.ask("a"), await world.ask("r")
    for one in (unused, lost):
        await approve(world, BOB, one.id)
    await world.store.approvals.redeem(lost.id, key=lost.key, session=lost.session, execution="exe_1")
    await world.store.sessions.close(lost.session, "killed")
    world.clock.pass_(600)
    before = len(await world.recorded())
    await world.service.sweep()
    swept = {one["approval"]: one["state"] for one in (await world.recorded())[before:]}
    assert swept == {pending.id: "expired", unused.id: "lapsed", lost.id: "outcome-unknown"}
    await world.service.sweep()
    assert len(await world.recorded()) == before + 3
