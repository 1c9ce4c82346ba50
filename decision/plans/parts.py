"""Plans put together (decision.app)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from decision.pdp.questions import Questions
from decision.pdp.sessions import Connection
from decision.plans.executing import Executing
from decision.plans.judging import Describer, Judging
from decision.plans.ports import PlanStore
from decision.plans.service import Plans
from decision.ports import ApprovalStore, Clock, Recorder


@dataclass(frozen=True, slots=True)
class Parts:
    executing: Executing
    judging: Judging
    plans: Plans


def parts(
    *,
    store: PlanStore,
    approvals: ApprovalStore,
    describer: Describer,
    questions: Questions,
    recorder: Recorder,
    clock: Clock,
    connections: Mapping[str, Connection],
    ends: AsyncExitStack,
) -> Parts:
    """`ends`: what is to be ended with the service goes there."""
    executing = Executing(store=store, approvals=approvals, describer=describer, recorder=recorder, clock=clock)
    ends.push_async_callback(executing.close)
    judging = Judging(questions=questions, describer=describer, clock=clock, connections=connections)
    return Parts(
        executing,
        judging,
        Plans(
            store=store,
            approvals=approvals,
            judging=judging,
            questions=questions,
            recorder=recorder,
            clock=clock,
            connections=connections,
        ),
    )
