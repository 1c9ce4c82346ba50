"""The approval store against a simple model: any sequence, two store objects on one file, a clock that is moved about.

Held: nothing is redeemed twice, nothing leaves a final state, nothing expired is used, one closure counts once.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from decision.errors import StateError
from decision.model import ApprovalState
from decision.store.engine import Store, open_store
from tests.decision.store.support import ManualClock, act, draft, session, verdict

T = TypeVar("T")
EXPIRES_S = 100
GRACE_S = 5
FINAL = {"denied", "expired", "withdrawn", "lapsed", "outcome-unknown"}
CODES = {
    "pending": "APPROVAL_PENDING",
    "approved": "APPROVAL_APPROVED",
    "denied": "APPROVAL_DENIED",
    "expired": "APPROVAL_EXPIRED",
    "lapsed": "APPROVAL_EXPIRED",
    "withdrawn": "WITHDRAWN",
    "redeemed": "APPROVAL_REDEEMED",
    "outcome-unknown": "OUTCOME_UNKNOWN",
}


@dataclass
class Model:
    act: str
    session: str
    expires: float
    state: str = "pending"
    closures: set[str] = field(default_factory=set)
    execution: str = ""
    finished: bool = False


class ApprovalMachine(RuleBasedStateMachine):
    sessions: Bundle[str] = Bundle("sessions")
    approvals: Bundle[str] = Bundle("approvals")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.mkdtemp()
        self.clock = ManualClock()
        self.now = 0.0  # the store's time, in the model: seconds since the start, never back
        self.wall = 0.0
        self.stores = [self.run(self.opened()), self.run(self.opened())]
        self.closed: dict[str, float] = {}
        self.model: dict[str, Model] = {}
        self.redeemed: list[str] = []
        self.executions = 0

    async def opened(self) -> Store:
        return await open_store(f"sqlite:///{self.folder}/x.db", clock=self.clock)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def attempt(self, work: Coroutine[Any, Any, object], expected: str) -> None:
        """Do it, and compare how it ended: "" for done, else the code of the refusal."""
        try:
            self.run(work)
            ended = ""
        except StateError as error:
            ended = error.code
        assert ended == expected

    def live(self, session_id: str) -> bool:
        return session_id not in self.closed

    def gone(self, session_id: str) -> bool:
        return session_id in self.closed and self.closed[session_id] + GRACE_S <= self.now

    def due(self, one: Model) -> bool:
        return one.expires <= self.now

    # -- rules

    @initialize(target=sessions)
    def first_session(self) -> str:
        return self.open_one()

    @rule(target=sessions)
    def open_session(self) -> str:
        return self.open_one()

    def open_one(self) -> str:
        one = session(lives_s=10**9)
        self.run(self.stores[0].sessions.open(one))
        return one.id

    @rule(one=consumes(sessions))
    def close_session(self, one: str) -> None:
        self.run(self.stores[1].sessions.close(one, ""))
        self.closed[one] = self.now

    @rule(target=approvals, at=st.integers(0, 1), one=sessions, text=st.sampled_from("ab"))
    def ask(self, at: int, one: str, text: str) -> str:
        made, new = self.run(self.stores[at].approvals.find_or_create(draft(one, text, expires_s=EXPIRES_S)))
        usable = {
            key
            for key, each in self.model.items()
            if each.act == text
            and each.state in {"pending", "approved"}
            and not self.due(each)
            and (each.session == one or not self.live(each.session))
        }
        own = {key for key in usable if self.model[key].session == one}
        assert new == (not usable)
        if new:
            assert made.id not in self.model
            self.model[made.id] = Model(text, one, self.now + EXPIRES_S)
        else:
            assert made.id in (own or usable)
            self.model[made.id].session = one
        return made.id

    @rule(at=st.integers(0, 1), key=approvals, who=st.sampled_from(["bob", "bob+bot", "carol"]), approve=st.booleans())
    def give_verdict(self, at: int, key: str, who: str, approve: bool) -> None:
        one, closure = self.model[key], set(who.split("+"))
        expected = "" if one.state == "pending" else CODES[one.state]
        if not expected and self.due(one):
            expected = "APPROVAL_EXPIRED"
        if not expected and closure & one.closures:
            expected = "VERDICT_GIVEN"
        given = verdict(who, approve=approve, closure=tuple(sorted(closure)))
        self.attempt(self.stores[at].approvals.add_verdict(key, given), expected)
        if not expected:
            one.closures |= closure
            one.state = one.state if approve else "denied"

    @rule(at=st.integers(0, 1), key=approvals, to=st.sampled_from(["approved", "denied", "withdrawn", "expired"]))
    def move(self, at: int, key: str, to: str) -> None:
        one = self.model[key]
        expected = "" if one.state == "pending" else CODES[one.state]
        if not expected and to == "expired" and not self.due(one):
            expected = "APPROVAL_PENDING"
        if not expected and to != "expired" and self.due(one):
            expected = "APPROVAL_EXPIRED"
        work = self.stores[at].approvals.move(key, expect=ApprovalState.PENDING, to=ApprovalState(to))
        self.attempt(work, expected)
        if not expected:
            one.state = to

    @rule(at=st.integers(0, 1), key=approvals)
    def withdraw_approved(self, at: int, key: str) -> None:
        one = self.model[key]
        expected = "" if one.state == "approved" else CODES[one.state]
        if not expected and self.due(one):
            expected = "APPROVAL_EXPIRED"
        work = self.stores[at].approvals.move(key, expect=ApprovalState.APPROVED, to=ApprovalState.WITHDRAWN)
        self.attempt(work, expected)
        if not expected:
            one.state = "withdrawn"

    @rule(at=st.integers(0, 1), key=approvals, own=st.booleans(), text=st.sampled_from("ab"))
    def redeem(self, at: int, key: str, own: bool, text: str) -> None:
        one = self.model[key]
        self.executions += 1
        execution = f"exe_{self.executions}"
        if text != one.act or not own:
            expected = "APPROVAL_MISMATCH"
        elif one.state != "approved":
            expected = CODES[one.state]
        elif self.due(one):
            expected = "APPROVAL_EXPIRED"
        else:
            expected = "" if self.live(one.session) else "REVOKED"
        by = one.session if own else "ses_other"
        self.attempt(self.stores[at].approvals.redeem(key, key=act(text), session=by, execution=execution), expected)
        if not expected:
            one.state, one.execution = "redeemed", execution
            self.redeemed.append(key)

    @rule(at=st.integers(0, 1), key=approvals)
    def finish(self, at: int, key: str) -> None:
        one = self.model[key]
        self.run(self.stores[at].approvals.finished(one.execution or "exe_none"))
        one.finished = one.finished or bool(one.execution)

    @rule(at=st.integers(0, 1))
    def sweep(self, at: int) -> None:
        expected = {}
        for key, one in self.model.items():
            if one.state == "pending" and self.due(one):
                expected[key] = "expired"
            elif one.state == "approved" and self.due(one):
                expected[key] = "lapsed"
            elif one.state == "redeemed" and not one.finished and self.gone(one.session):
                expected[key] = "outcome-unknown"
        swept = self.run(self.stores[at].approvals.sweep())
        assert {each.id: each.state.value for each in swept} == expected
        for key, state in expected.items():
            self.model[key].state = state

    @rule(seconds=st.sampled_from([1, 5, 60, EXPIRES_S]))
    def time_passes(self, seconds: int) -> None:
        self.clock.pass_(seconds)
        self.wall += seconds
        self.now = max(self.now + seconds, self.wall)
        self.run(self.stores[0].approvals.finished("exe_none"))  # some write sees this time

    @rule(seconds=st.sampled_from([-3600, -EXPIRES_S, -1, 1, EXPIRES_S]))
    def somebody_sets_the_clock(self, seconds: int) -> None:
        self.clock.set_wall(seconds)
        self.wall += seconds
        self.now = max(self.now, self.wall)
        self.run(self.stores[0].approvals.finished("exe_none"))

    @rule(at=st.integers(0, 1))
    def restart(self, at: int) -> None:
        self.run(self.stores[at].close())
        self.stores[at] = self.run(self.opened())

    # -- what always holds

    @invariant()
    def states_agree(self) -> None:
        found = {one.id: one for one in self.run(self.stores[1].approvals.list(include_finished=True))}
        assert {key: one.state.value for key, one in found.items()} == {
            key: one.state for key, one in self.model.items()
        }
        for key, one in self.model.items():
            assert found[key].session == one.session
            assert found[key].execution == one.execution
            assert {element for each in found[key].verdicts for element in each.reviewer.closure} == one.closures

    @invariant()
    def nothing_is_redeemed_twice(self) -> None:
        assert len(self.redeemed) == len(set(self.redeemed))


ApprovalMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestApprovals = ApprovalMachine.TestCase
