"""The bodies of `plan` records: what was proposed, who carries it out, and every move of its execution."""

from __future__ import annotations

from typing import Final

from decision.audit.record import base64, timestamp
from decision.model import JSON, Subject
from decision.pdp.answer import who_body
from decision.plans.model import Execution, Plan

KIND: Final = "plan"


def proposed_body(plan: Plan) -> JSON:
    """All that the digest is over, as it is reviewed."""
    return {
        "event": "proposed",
        "plan": plan.id,
        "execution": "",
        "digest": plan.digest.hex(),
        "body": base64(plan.body.SerializeToString(deterministic=True)),
        "connection": plan.connection,
        "environment": plan.environment,
        "approval": plan.approval,
        "expires": timestamp(plan.expires),
        **who_body(plan.requester),
    }


def moved_body(execution: Execution, event: str, *, by: Subject | None = None, why: str = "") -> JSON:
    """`execution` is as it is after the move; `by` is null where nobody but the service moved it."""
    last = execution.runs[-1] if execution.runs else None
    return {
        "event": event,
        "plan": execution.plan,
        "execution": execution.id,
        "state": execution.state.value,
        "next": execution.next,
        "steps": execution.steps,
        "reason": execution.reason,
        "why": why,
        "by": None if by is None else who_body(by),
        "run": None
        if last is None
        else {
            "step": last.step,
            "state": last.state.value,
            "operation": last.operation,
            "session": last.session,
            "committed": last.committed,
            "rows": last.rows,
        },
    }
