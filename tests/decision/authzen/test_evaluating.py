"""Four outcomes as AuthZEN's two, and obligations as the profile has them (OB-1, OB-3, OB-4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from decision.authzen import evaluating, message
from decision.authzen.binding import Binding
from decision.authzen.evaluating import Evaluating, _told
from decision.clock import SystemClock
from decision.errors import PolicyUnavailableError
from decision.metrics import Metrics
from decision.model import Durability, Obligation, Outcome, PolicyResult, Reason
from tests.decision.store.support import subject


def result(outcome: Outcome, *obligations: Obligation, needs: tuple[str, ...] = ()) -> PolicyResult:
    return PolicyResult(
        outcome=outcome,
        reasons=(Reason("R-1", "because"),),
        obligations=obligations,
        needs=needs,
        approval=None,
        lease_ttl_ms=None,
        durability=Durability.BEFORE,
        window=None,
        revision="r",
    )


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.ALLOW, True),
        (Outcome.MASK_COLUMNS, True),
        (Outcome.REQUIRE_APPROVAL, False),
        (Outcome.DENY, False),
    ],
)
def test_four_outcomes_are_two(outcome: Outcome, expected: bool) -> None:
    told = _told(result(outcome))
    assert told.decision is told.body["decision"] is expected
    assert ("context" in told.body) is not expected


def test_what_needs_more_is_no_permission() -> None:
    assert _told(result(Outcome.ALLOW, needs=("values",))).decision is False


def test_ob_1_obligations_have_unique_ids_types_and_properties() -> None:
    made = (Obligation("mask-columns", {"columns": []}), Obligation("max-rows", {"rows": 5}))
    context = _told(result(Outcome.MASK_COLUMNS, *made)).body["context"]
    assert isinstance(context, dict)
    found = context["obligations"]
    assert len({one["id"] for one in found}) == 2
    assert {one["type"] for one in found} == {"custom"}
    assert found[1]["properties"] == {"name": "max-rows", "parameters": {"rows": 5}}


def test_ob_3_a_denial_may_carry_obligations() -> None:
    context = _told(result(Outcome.DENY, Obligation("notify", {}))).body["context"]
    assert isinstance(context, dict)
    assert len(context["obligations"]) == 1


class Silent:
    """An entrypoint that never answers, and what is recorded meanwhile: faults, not parts."""

    def __init__(self) -> None:
        self.entrypoints: Mapping[str, str] = {"todo": "todo.access"}
        self.engine = SimpleNamespace(revision="r", people=None)
        self.records: list[tuple[str, Mapping[str, object]]] = []

    async def foreign(self, _package: str, _document: Mapping[str, object]) -> object:
        return await asyncio.get_running_loop().create_future()

    async def append(self, kind: str, body: Mapping[str, object]) -> int:
        self.records.append((kind, body))
        return 0


async def test_a_decision_that_comes_too_late_is_none_and_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "DEADLINE_S", 0.05)
    silent: Any = Silent()
    asked = message.evaluation(
        {
            "subject": {"type": "user", "id": "carol"},
            "action": {"name": "read"},
            "resource": {"type": "todo", "id": "1"},
        }
    )
    asking = Evaluating(
        questions=silent,
        foreign=silent,
        recorder=silent,
        clock=SystemClock(),
        metrics=Metrics(),
        binding=Binding(b"x"),
        approvals=silent,
        verdicts=silent,
    )
    with pytest.raises(PolicyUnavailableError, match="in time"):
        await asking.evaluate(subject("executor-7"), asked)
    ((kind, body),) = silent.records
    assert kind == "evaluation"
    assert body["decision"] is False
    assert body["code"] == PolicyUnavailableError.code
