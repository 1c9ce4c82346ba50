"""Plans to protobuf and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from google.protobuf import timestamp_pb2
from twokey.plan.v1 import plan_pb2
from twokey.type.v1 import decision_pb2, operation_pb2

from decision.errors import BadRequestError
from decision.model import Outcome
from decision.plans.judging import Judged
from decision.plans.model import Execution, Run
from decision.plans.service import Proposal, Shown
from decision.rpc.convert import reason, subject, timestamp

_OUTCOMES: Final[Mapping[Outcome, decision_pb2.Outcome]] = {
    Outcome.ALLOW: decision_pb2.OUTCOME_ALLOW,
    Outcome.DENY: decision_pb2.OUTCOME_DENY,
    Outcome.MASK_COLUMNS: decision_pb2.OUTCOME_MASK_COLUMNS,
    Outcome.REQUIRE_APPROVAL: decision_pb2.OUTCOME_REQUIRE_APPROVAL,
}

_ENDS: Final = b"; \t\r\n"  # what may end a statement and is none of it


def proposal_of(message: plan_pb2.Plan) -> Proposal:
    """What a planner says; whatever else the message holds is not theirs to say. Raises BadRequestError."""
    said = message.body
    body = operation_pb2.PlanOperation(intent=said.intent, role=said.role, executor=said.executor)
    for number, step in enumerate(said.steps, start=1):
        statement = step.operation.sql.values.statement.rstrip(_ENDS)
        if step.operation.WhichOneof("kind") != "sql" or not statement:
            raise BadRequestError(f"step {number} has no statement")
        one = body.steps.add(values=step.values, after=step.after)
        one.operation.sql.values.statement = statement
        if step.HasField("rows_least"):
            one.rows_least = step.rows_least
        if step.HasField("rows_most"):
            one.rows_most = step.rows_most
    expires = _moment(said.expires) if said.HasField("expires") else None
    if expires is None:
        raise BadRequestError("a plan says until when it may be carried out")
    not_before = _moment(said.not_before) if said.HasField("not_before") else None
    body.expires.CopyFrom(said.expires)
    if not_before is not None:
        body.not_before.CopyFrom(said.not_before)
    return Proposal(connection=message.connection, body=body, not_before=not_before, expires=expires)


def plan(shown: Shown) -> plan_pb2.Plan:
    """`previews` only where it was judged."""
    found = shown.plan
    message = plan_pb2.Plan(
        id=found.id,
        connection=found.connection,
        environment=found.environment,
        body=found.body,
        digest=found.digest,
        requester=subject(found.requester),
        created=timestamp(found.created),
        state=shown.state,
        approval=found.approval,
        dev=found.requester.dev,
    )
    if shown.execution is not None:
        message.execution.CopyFrom(execution(shown.execution))
    if shown.judged is not None:
        message.previews.extend(
            _preview(one, found.body.steps[one.number - 1].operation.sql.values) for one in shown.judged.steps
        )
    return message


def execution(value: Execution) -> plan_pb2.Execution:
    return plan_pb2.Execution(
        id=value.id,
        plan=value.plan,
        next_step=value.next,
        state=value.state.value,
        reason=value.reason,
        executor=subject(value.executor),
        started=timestamp(value.started),
        ended=None if value.ended is None else timestamp(value.ended),
        steps=[_run(run) for run in value.runs],
    )


def _run(run: Run) -> plan_pb2.StepRun:
    return plan_pb2.StepRun(
        step=run.step,
        state=run.state.value,
        operation=run.operation,
        session=run.session,
        rows=run.rows,
        committed=run.committed,
        started=timestamp(run.started),
        ended=None if run.ended is None else timestamp(run.ended),
    )


def _preview(judged: Judged, values: operation_pb2.SqlValues) -> plan_pb2.StepPreview:
    result = judged.result
    message = plan_pb2.StepPreview(
        step=judged.number,
        outcome=_OUTCOMES[result.outcome],
        reasons=[reason(one) for one in result.reasons],
        groups=() if result.approval is None else result.approval.groups,
        quorum=0 if result.approval is None else result.approval.quorum,
        masked=_masked(judged),
        no_estimate=values.estimate_unknown_why if values.estimate_unknown else "",
    )
    if values.HasField("estimate"):
        message.estimate.CopyFrom(values.estimate)
    return message


def _masked(judged: Judged) -> list[str]:
    found: list[str] = []
    for obligation in judged.result.obligations:
        if obligation.type == "mask-columns":
            columns = obligation.parameters.get("columns")
            for column in columns if isinstance(columns, list) else []:
                found.append(".".join(str(column.get(key)) for key in ("schema", "relation", "column")))
    return sorted(found)


def _moment(message: timestamp_pb2.Timestamp) -> datetime:
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise BadRequestError("a time of the plan is none") from None
