"""Inference budgets on the whole service: the shipped policy on real OPA, the real store, real gRPC."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2
from twokey.type.v1 import operation_pb2

from decision.cli.commands.explain import describe
from decision.policy.bundle import shipped_rego
from tests.decision.running import Running, operation, running

ALLOW, DENY = type_pb2.OUTCOME_ALLOW, type_pb2.OUTCOME_DENY


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The shipped data, with two statements an hour that a WHERE on an e-mail address may decide."""
    shipped = (shipped_rego() / "data" / "masking.yaml").read_text()
    allowed = "  allow: [join-foreign-key]\n"
    assert allowed in shipped
    folder = tmp_path / "data"
    folder.mkdir()
    own = shipped.replace(allowed, f"{allowed}  budgets: [{{name: lookups, kinds: [where], per_hour: 2}}]\n")
    (folder / "masking.yaml").write_text(own)
    return folder


def lookup(kind: str = "where") -> operation_pb2.Operation:
    asked = operation("SELECT id FROM customers WHERE email = 'a@b.example'", "select")
    asked.sql.columns.add(schema="public", relation="customers", column="email", use="other")
    asked.sql.inferences.add(schema="public", relation="customers", column="email", kind=kind)
    return asked


async def ask(run: Running, session: str, kind: str = "where") -> Any:
    return (await run.decide(session, lookup(kind))).decision


async def test_two_agents_of_one_owner_share_a_budget_and_a_restart_keeps_it(tmp_path: Path, data: Path) -> None:
    async with running(tmp_path, data=data) as run:
        first, second = await run.session("planner-3", "planner"), await run.session("planner-4", "planner")
        allowed = await ask(run, first)
        assert allowed.outcome == ALLOW
        assert not allowed.HasField("lease")
        assert [(one.budget, one.used, one.limit, one.seconds) for one in allowed.budgets] == [("lookups", 1, 2, 3600)]
        assert (await ask(run, first, "order")).outcome == DENY  # no budget is for that
        assert (await ask(run, second)).budgets[0].used == 2
        for session in (first, second, await run.session("bob", "planner")):
            denied = await ask(run, session)
            assert denied.outcome == DENY
            (reason,) = denied.reasons
            assert reason.rule == "MASK-BUDGET"
            assert "2 of 2" in reason.reason
            assert reason.next.startswith("the next is free at ")
        assert (
            await ask(run, await run.session("carol", "planner"))
        ).outcome == ALLOW  # who has nothing to do with bob
    async with running(tmp_path, data=data) as run:
        assert (await ask(run, await run.session("planner-4", "planner"))).outcome == DENY


async def test_an_actor_and_whom_it_acts_for_share_it_too(tmp_path: Path, data: Path) -> None:
    async with running(tmp_path, data=data) as run:
        token = run.token("carol", "planner", actors=("planner-3",))
        delegated = str((await run.open("carol", "planner", token=token)).session.id)
        assert (await ask(run, delegated)).outcome == ALLOW
        assert (await ask(run, delegated)).outcome == ALLOW
        for who in ("carol", "planner-3", "bob"):
            assert (await ask(run, await run.session(who, "planner"))).outcome == DENY


async def test_statements_at_once_in_several_sessions_take_what_there_is(tmp_path: Path, data: Path) -> None:
    async with running(tmp_path, data=data) as run:
        sessions = [await run.session(who, "planner") for who in ("planner-3", "planner-4", "bob")]
        answers = await asyncio.gather(*(ask(run, session) for session in sessions for _ in range(3)))
        assert sorted(answer.outcome for answer in answers) == [ALLOW] * 2 + [DENY] * 7


async def test_a_policy_that_is_replaced_keeps_what_was_used(tmp_path: Path, data: Path) -> None:
    async with running(tmp_path, data=data) as run:
        session = await run.session("planner-3", "planner")
        assert [(await ask(run, session)).outcome for _ in range(3)] == [ALLOW, ALLOW, DENY]
        text = (data / "masking.yaml").read_text()
        (data / "masking.yaml").write_text(text.replace("per_hour: 2", "per_hour: 3"))
        await run.service.reload()
        assert [(await ask(run, session)).outcome for _ in range(2)] == [ALLOW, DENY]


def test_explain_says_how_far_a_budget_is_used() -> None:
    decision = type_pb2.Decision(outcome=ALLOW, budgets=[type_pb2.BudgetUse(budget="lookups", limit=20, used=3)])
    answer = decision_pb2.ExplainResponse(decision=decision)
    assert "budget     lookups: 3 of 20 used, 17 left" in describe(answer)
