"""What policy is told of the plan that a session carries: a part of the question's context."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from twokey.type.v1 import operation_pb2

from decision.model import Subject, VerifiedToken
from decision.ports import People

Document = dict[str, object]
_MOST_ROWS: Final = 2**53 - 1  # what JSON holds exactly


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """fits: the operation is the next step, exactly. expects: what the plan waits for, in words. rows: how many the
    step may return or touch; None: not said. executor: who carries it out, once that is known."""

    id: str
    requester: Subject
    executor: Subject | None = None
    step: int
    steps: int
    fits: bool
    expects: str = ""
    rows_least: int | None = None
    rows_most: int | None = None


def plan_of(operation: operation_pb2.Operation, requester: Subject, people: People) -> PlanContext | None:
    """Of a plan that is reviewed. Whom it names and nobody knows is behind nothing: their steps are denied."""
    if operation.WhichOneof("kind") != "plan":
        return None
    body = operation.plan
    party = people.by_name(body.executor)
    executor = None
    if party is not None:
        facts = VerifiedToken(
            identity=party.identity,
            actors=(),
            roles=(body.role,),
            expires=datetime.max.replace(tzinfo=UTC),
            token_id="",
            dev=False,
        )
        executor = people.subject(facts, role=body.role)
    return PlanContext(id=body.id, requester=requester, executor=executor, step=0, steps=len(body.steps), fits=False)


def plan_document(plan: PlanContext | None) -> Document:
    """-1 for rows of which nothing is said."""
    if plan is None:
        return _NONE
    return {
        "present": True,
        "id": plan.id,
        "step": plan.step,
        "steps": plan.steps,
        "fits": plan.fits,
        "expects": plan.expects,
        "requester_closure": list(plan.requester.closure),
        "requester_acting_closure": list(plan.requester.acting_closure),
        "executor_closure": [] if plan.executor is None else list(plan.executor.closure),
        "rows_least": _rows(plan.rows_least),
        "rows_most": _rows(plan.rows_most),
    }


def _rows(number: int | None) -> int:
    return -1 if number is None else min(number, _MOST_ROWS)


_NONE: Final[Document] = {
    "present": False,
    "id": "",
    "step": 0,
    "steps": 0,
    "fits": False,
    "expects": "",
    "requester_closure": [],
    "requester_acting_closure": [],
    "executor_closure": [],
    "rows_least": -1,
    "rows_most": -1,
}
