"""decision.pdp: the ways a decision can go wrong, with real log and store and an engine that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from decision.audit.log import SegmentLog
from decision.clock import SystemClock
from decision.errors import PolicyError, PolicyUnavailableError, RecordError, StateError
from decision.identity.documents import parse
from decision.identity.people import PeopleBook, read_people
from decision.identity.standing import Verdicts
from decision.metrics import Metrics
from decision.model import (
    JSON,
    ApprovalState,
    ApprovalTerms,
    Budget,
    Durability,
    IdentityKey,
    Obligation,
    Outcome,
    PolicyResult,
    Reason,
    VerifiedToken,
)
from decision.pdp.pipeline import Ask, Pipeline
from decision.pdp.questions import Questions
from decision.pdp.revocations import Revocations
from decision.pdp.sessions import Opening, Sessions
from decision.settings import Connection
from decision.store.engine import Store, open_store
from tests.decision.audit.faults import FailingDisk
from tests.decision.running import operation

PEOPLE = b"""principals: [{name: alice, identities: [{iss: i, sub: a}]}]
agents: [{name: robot, identities: [{iss: i, sub: r}], owner: alice}]
"""
ALLOW = PolicyResult(
    outcome=Outcome.ALLOW,
    reasons=(Reason("R", "because"),),
    obligations=(),
    needs=(),
    approval=None,
    lease_ttl_ms=None,
    durability=Durability.BEFORE,
    window=None,
    revision="r1",
)
LEASED = replace(ALLOW, lease_ttl_ms=30_000, durability=Durability.WINDOWED, window=(256, 50))


class Engine:
    """Says what it is told; counts what it was asked."""

    def __init__(self) -> None:
        self.revision = "r1"
        self.ready = True
        self.people: PeopleBook = read_people(parse(PEOPLE, "people.yaml"), dev=False)
        self.asked: list[JSON] = []
        self.answer: Callable[[JSON], Any] = lambda _document: ALLOW

    async def evaluate(self, document: JSON) -> PolicyResult:
        self.asked.append(document)
        answer = self.answer(document)
        if isinstance(answer, Exception):
            raise answer
        if asyncio.iscoroutine(answer):
            answer = await answer
        assert isinstance(answer, PolicyResult)
        return answer

    def on_change(self, callback: Callable[[str], None]) -> None:
        raise NotImplementedError


class Door:
    async def still_stands(self, token: VerifiedToken, role: str, people: object) -> None:
        """Nothing is revoked here."""

    async def admit(self, token: str, **_where: object) -> VerifiedToken:
        return VerifiedToken(
            identity=IdentityKey("i", "r"),
            actors=(),
            roles=("executor", "planner"),
            expires=datetime.now(UTC) + timedelta(hours=1),
            token_id="t",
            dev=False,
        )


class World:
    def __init__(self, store: Store, log: SegmentLog, disk: FailingDisk, clock: Any = None) -> None:
        self.engine, self.store, self.log, self.disk = Engine(), store, log, disk
        clock, metrics = clock or SystemClock(), Metrics()
        self.clock = clock
        questions = Questions(
            self.engine,
            clock,
            metrics,
            budgets=store.budgets,
            history=store.history,
            verdicts=Verdicts(store.tokens),
            deadline_s=0.2,
        )
        self.revocations = Revocations("r1")
        connection = Connection(name="crm", kind="postgres", environment="production", classification=None)
        self.sessions = Sessions(
            store=store.sessions,
            questions=questions,
            admission=Door(),
            recorder=log,
            revocations=self.revocations,
            clock=clock,
            metrics=metrics,
            connections={"crm": connection},
        )
        self.pipeline = Pipeline(
            questions=questions,
            sessions=self.sessions,
            approvals=store.approvals,
            budgets=store.budgets,
            history=store.history,
            recorder=log,
            clock=clock,
            metrics=metrics,
            kinds={"crm": "postgres"},
        )

    async def session(self) -> str:
        opening = Opening(
            token="t",
            proof="",
            connection="crm",
            role="executor",
            protocol="postgres",
            client_address="",
            plan="",
            enforcer="e",
        )
        opened = await self.sessions.open(opening)
        assert opened.session is not None, opened
        self.engine.asked.clear()
        return opened.session.id

    async def decide(self, session: str, asked: Any = None, **fields: Any) -> Any:
        asked = asked or operation("SELECT 1", "select")
        ask = {"approval": "", "can_hold": True, "hold_hint": "", "sequence": 0, **fields}
        return await self.pipeline.decide(Ask(session=session, operation=asked, **ask))

    async def last(self) -> Any:
        return [orjson.loads(payload) async for _, payload in self.log.read(0, None)][-1]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    disk = FailingDisk()
    log = await SegmentLog.open(tmp_path / "audit", clock=SystemClock(), disk=disk)
    store = await open_store(f"sqlite:///{tmp_path / 'db'}")
    yield World(store, log, disk)
    await store.close()
    await log.close()


async def test_the_shape_is_asked_first_and_a_lease_comes_only_from_it(world: World) -> None:
    session = await world.session()
    world.engine.answer = lambda _document: LEASED
    answer = await world.decide(session)
    assert [document["values"]["present"] for document in world.engine.asked] == [False]  # type: ignore[index]
    assert answer.lease_ttl_ms == 30_000
    assert answer.durability is Durability.WINDOWED

    world.engine.answer = lambda document: (
        LEASED if document["values"]["present"] else replace(ALLOW, needs=("values",), outcome=Outcome.DENY)
    )
    answer = await world.decide(session)
    assert answer.outcome is Outcome.ALLOW
    assert answer.lease_ttl_ms is None
    assert answer.durability is Durability.BEFORE
    assert (await world.last())["input"]["values"]["present"] is True


@pytest.mark.parametrize(
    "change",
    [
        lambda o, r: (o, replace(r, outcome=Outcome.MASK_COLUMNS)),
        lambda o, r: (o, replace(r, lease_ttl_ms=None)),
        lambda o, r: (o, replace(r, window=None)),
        lambda o, r: (setattr(o.sql, "opaque", True) or o, r),
        lambda o, r: (o.sql.relations[0].access.append("update") or o, r),
        lambda o, r: (o.sql.columns.add(use="write") and o, r),
        lambda o, r: (setattr(o.sql, "command", "") or o, r),
    ],
)
async def test_writes_masks_and_opaque_acts_are_recorded_before(world: World, change: Any) -> None:
    session = await world.session()
    asked, result = change(operation("SELECT 1", "select"), LEASED)
    world.engine.answer = lambda _document: result
    assert (await world.decide(session, asked)).durability is Durability.BEFORE


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (PolicyError("nonsense"), "POLICY_INVALID"),
        (PolicyUnavailableError("gone"), "DECISION_UNAVAILABLE"),
        (replace(ALLOW, outcome=Outcome.REQUIRE_APPROVAL), "POLICY_INVALID"),
        (replace(ALLOW, needs=("horoscope",)), "POLICY_INVALID"),
        (replace(ALLOW, needs=("values",)), "POLICY_INVALID"),
        (replace(ALLOW, revision="r0"), "DECISION_UNAVAILABLE"),
        (replace(ALLOW, obligations=(Obligation("max-rows", {"rows": 1.5}),)), "RECORD_UNAVAILABLE"),
    ],
)
async def test_an_unusable_answer_denies_and_is_recorded(world: World, answer: Any, code: str) -> None:
    session = await world.session()
    world.engine.answer = lambda _document: answer
    decided = await world.decide(session)
    assert decided.outcome is Outcome.DENY
    assert decided.code == code
    assert decided.record >= 0
    assert (await world.last())["code"] == code


async def test_a_late_answer_denies(world: World) -> None:
    session = await world.session()
    world.engine.answer = lambda _document: asyncio.sleep(5, ALLOW)
    decided = await world.decide(session)
    assert (decided.outcome, decided.code) == (Outcome.DENY, "DECISION_UNAVAILABLE")


async def test_a_revision_that_changes_meanwhile_is_asked_again(world: World) -> None:
    session = await world.session()

    def answer(_document: JSON) -> PolicyResult:
        if len(world.engine.asked) == 1:
            world.engine.revision = "r2"
        return replace(ALLOW, revision=world.engine.revision)

    world.engine.answer = answer
    decided = await world.decide(session)
    assert decided.outcome is Outcome.ALLOW
    assert decided.revision == "r2"
    assert len(world.engine.asked) == 2


async def test_a_session_revoked_while_policy_thinks_gets_nothing(world: World) -> None:
    session = await world.session()

    async def revoke() -> PolicyResult:
        await world.sessions.end(session, "incident", kind="revoked")
        return ALLOW

    world.engine.answer = lambda _document: revoke()
    assert (await world.decide(session)).code == "REVOKED"


LOOKUPS = Budget("lookups", 3, 3600)
COUNTED = replace(ALLOW, counts=(LOOKUPS,))


def budgeted(document: Any) -> PolicyResult:
    """What the shipped policy says to a statement that counts."""
    shown = document["context"]["budgets"]
    if not shown["present"]:
        return replace(COUNTED, outcome=Outcome.DENY, needs=("budgets",))
    (one,) = shown["used"]
    assert one["name"] == "lookups"
    return COUNTED if len(one["free_in"]) < LOOKUPS.limit else replace(COUNTED, outcome=Outcome.DENY)


async def test_what_counts_takes_a_unit_before_the_act_and_is_never_leased(world: World) -> None:
    session = await world.session()
    world.engine.answer = budgeted
    for used in (1, 2, 3):
        answer = await world.decide(session)
        assert (answer.outcome, answer.lease_ttl_ms) == (Outcome.ALLOW, None)
        assert [(use.budget, use.used) for use in answer.budgets] == [(LOOKUPS, used)]
        told = {"budget": "lookups", "limit": 3, "seconds": 3600, "used": used}
        assert (await world.last())["budgets"] == [told]
    answer = await world.decide(session)
    assert (answer.outcome, answer.code) == (Outcome.DENY, "POLICY_DENIED")
    assert [use.used for use in answer.budgets] == [3]
    assert len((await world.last())["input"]["context"]["budgets"]["used"][0]["free_in"]) == 3
    assert len((await world.store.budgets.used([LOOKUPS], ("alice",)))[0].free_in) == 3


async def test_a_lease_on_what_counts_is_dropped(world: World) -> None:
    session = await world.session()
    world.engine.answer = lambda document: (
        replace(LEASED, counts=(LOOKUPS,)) if document["context"]["budgets"]["present"] else budgeted(document)
    )
    answer = await world.decide(session)
    assert (answer.outcome, answer.lease_ttl_ms, answer.durability) == (Outcome.ALLOW, None, Durability.BEFORE)


async def test_many_at_once_never_have_more_than_the_budget(world: World) -> None:
    session = await world.session()
    world.engine.answer = budgeted
    answers = await asyncio.gather(*(world.decide(session) for _ in range(12)))
    assert sorted(answer.outcome.value for answer in answers) == ["allow"] * 3 + ["deny"] * 9
    assert {use.used for answer in answers if answer.outcome is Outcome.ALLOW for use in answer.budgets} == {1, 2, 3}


async def test_an_allow_that_counts_without_having_asked_is_none(world: World) -> None:
    session = await world.session()
    world.engine.answer = lambda _document: COUNTED
    assert (await world.decide(session)).code == "POLICY_INVALID"
    world.engine.answer = lambda document: ALLOW if document["context"]["budgets"]["present"] else budgeted(document)
    assert (await world.decide(session)).code == "POLICY_INVALID"
    world.engine.answer = lambda _document: replace(COUNTED, outcome=Outcome.DENY, needs=("budgets",))
    assert (await world.decide(session)).code == "POLICY_INVALID"
    assert (await world.store.budgets.used([LOOKUPS], ("alice",)))[0].free_in == ()


async def test_without_a_store_nothing_that_counts_passes(world: World) -> None:
    session = await world.session()
    world.engine.answer = budgeted
    await world.store.close()
    assert (await world.decide(session)).outcome is Outcome.DENY


async def test_a_unit_is_gone_also_where_the_record_fails(world: World) -> None:
    """The safe side: the answer is a denial, and the unit isn't given back."""
    session = await world.session()
    world.engine.answer = budgeted
    world.disk.sync_fails = True
    assert (await world.decide(session)).outcome is Outcome.DENY
    assert len((await world.store.budgets.used([LOOKUPS], ("alice",)))[0].free_in) == 1


async def test_values_and_budgets_are_both_found(world: World) -> None:
    session = await world.session()

    def answer(document: Any) -> PolicyResult:
        missing = [] if document["values"]["present"] else ["values"]
        missing += [] if document["context"]["budgets"]["present"] else ["budgets"]
        return replace(COUNTED, outcome=Outcome.DENY, needs=tuple(missing)) if missing else COUNTED

    world.engine.answer = answer
    assert (await world.decide(session)).outcome is Outcome.ALLOW
    assert len(world.engine.asked) == 2


async def test_needs_that_were_met_are_not_met_again(world: World) -> None:
    session = await world.session()
    world.engine.answer = lambda _document: replace(ALLOW, outcome=Outcome.DENY, needs=("estimate",))
    unanswered = await world.decide(session, operation("SELECT 1", "select", rows=None))
    assert (unanswered.needs, unanswered.record) == (("estimate",), -1)
    bare = operation("SELECT 1", "select")
    bare.sql.ClearField("values")
    assert (await world.decide(session, bare)).needs == ("estimate", "values")
    assert (await world.decide(session)).code == "POLICY_INVALID"


async def test_people_are_joined_anew_for_every_decision(world: World) -> None:
    session = await world.session()
    bob = b"sub: a}]}, {name: bob, identities: [{iss: i, sub: b}]}]"
    moved = PEOPLE.replace(b"owner: alice", b"owner: bob").replace(b"sub: a}]}]", bob)
    world.engine.people = read_people(parse(moved, "people.yaml"), dev=False)
    await world.decide(session)
    subject: Any = world.engine.asked[0]["subject"]
    assert subject["owner"] == "bob"
    assert subject["closure"] == ["alice", "bob", "robot"]  # who was linked doesn't become a stranger by an edit


async def test_a_store_that_fails_denies(world: World) -> None:
    session = await world.session()
    world.engine.answer = lambda _document: replace(
        ALLOW,
        outcome=Outcome.REQUIRE_APPROVAL,
        approval=ApprovalTerms(groups=("dba",), quorum=1, expires_s=60),
    )
    await world.store.close()
    decided = await world.decide(session, operation("DELETE", "delete"))
    assert (decided.outcome, decided.code) == (Outcome.DENY, "DECISION_UNAVAILABLE")
    assert decided.record >= 0


async def test_an_approval_alone_allows_nothing_that_policy_still_holds(world: World) -> None:
    session = await world.session()
    held = replace(
        ALLOW,
        outcome=Outcome.REQUIRE_APPROVAL,
        approval=ApprovalTerms(groups=("dba",), quorum=1, expires_s=60),
    )
    world.engine.answer = lambda document: ALLOW if document["question"] == "request" else held
    asked = operation("DELETE", "delete")
    approval = (await world.decide(session, asked)).approval.id
    await world.store.approvals.move(approval, expect=ApprovalState.PENDING, to=ApprovalState.APPROVED)
    refused = await world.decide(session, asked, approval=approval)
    assert (refused.outcome, refused.code) == (Outcome.DENY, "APPROVAL_PENDING")  # open again, for more verdicts
    assert refused.approval.state is ApprovalState.PENDING
    records = [orjson.loads(payload) async for _, payload in world.log.read(0, None)]
    moved = [(one["cause"], one["state"]) for one in records if one.get("event") == "transition"]
    assert moved == [("reopened", "pending")]
    await world.store.approvals.move(approval, expect=ApprovalState.PENDING, to=ApprovalState.APPROVED)
    world.engine.answer = lambda _document: replace(ALLOW, outcome=Outcome.DENY)
    assert (await world.decide(session, asked, approval=approval)).code == "POLICY_DENIED"
    world.engine.answer = lambda _document: LEASED
    allowed = await world.decide(session, asked, approval=approval)
    assert allowed.outcome is Outcome.ALLOW
    assert allowed.lease_ttl_ms is None
    assert allowed.execution
    assert (await world.decide(session, asked, approval="apr_unknown")).code == "APPROVAL_MISMATCH"


async def test_an_ending_is_recorded_once_the_disk_is_back(world: World) -> None:
    session = await world.session()
    world.disk.sync_fails = True
    with pytest.raises(RecordError, match="could not be written"):
        await world.sessions.end(session, "done", kind="closed")
    assert (await world.decide(session)).code == "REVOKED"  # ended all the same
    world.disk.sync_fails = False
    await world.sessions.record_owed()
    assert (await world.last())["kind"] == "session-closed"


async def test_a_clock_set_back_revives_no_session(world: World) -> None:
    session = await world.sessions.live(await world.session(), datetime.now(UTC))
    with pytest.raises(StateError):
        world.sessions.check_still_live(session, session.expires)
    with pytest.raises(StateError) as caught:
        world.sessions.check_still_live(session, session.opened)
    assert caught.value.code == "SESSION_EXPIRED"
