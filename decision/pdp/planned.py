"""What the pipeline needs of plans (decision.plans.executing): the port, so that neither knows the other's insides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twokey.type.v1 import operation_pb2

from decision.model import Approval, Session, Subject
from decision.pdp.plan_input import PlanContext


@dataclass(frozen=True, slots=True)
class Standing:
    """step: the planned one, where the operation is exactly that; None for anything else. approval: the plan's."""

    execution: str
    context: PlanContext
    approval: Approval | None
    step: int | None


class PlannedActs(Protocol):
    async def admitted(self, plan: str, subject: Subject, connection: str) -> PlanContext:
        """What policy is told of a session that wants to carry this plan. Whoever knows its id has shown nothing.
        Raises StateError PLAN_STEP_MISMATCH where it is not this subject's to carry out here and now."""

    async def standing(self, session: Session, operation: operation_pb2.Operation) -> Standing:
        """Raises StateError PLAN_STEP_MISMATCH where the plan is nobody's to carry out any more."""

    async def begin(self, standing: Standing, session: Session, operation: operation_pb2.Operation) -> str:
        """Just before its intent is recorded: the execution that this operation moves; "" where it moves none. Raises
        StateError where another one was quicker."""

    async def ended(self, execution: str, operation: str, *, status: str, rows: int, why: str) -> None:
        """What an act that belongs to an execution came to. An execution that isn't a plan's is none of ours."""
