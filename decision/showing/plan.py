"""A plan as its reviewer and its executor read it: intent, every step whole, what it touches, and where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from twokey.plan.v1 import plan_pb2
from twokey.type.v1 import decision_pb2, operation_pb2

from decision.showing import letters, render

_OUTCOMES = {
    decision_pb2.OUTCOME_ALLOW: "allowed",
    decision_pb2.OUTCOME_MASK_COLUMNS: "allowed, columns masked",
    decision_pb2.OUTCOME_REQUIRE_APPROVAL: "needs approval",
}


def steps(body: operation_pb2.PlanOperation, previews: Sequence[plan_pb2.StepPreview] = ()) -> list[str]:
    """Each step with all that a reviewer must know of it; every stranger's word escaped."""
    judged = {one.step: one for one in previews}
    lines: list[str] = []
    for number, step in enumerate(body.steps, start=1):
        if lines:
            lines.append("")
        lines += _step(number, len(body.steps), step, judged.get(number))
    return lines


def text(body: operation_pb2.PlanOperation) -> bytes:
    """All statements, each line behind its step's number: so no statement can pretend that another step begins. Below
    each the values and rows that it may have, whole, and which step it waits for."""
    lines: list[str] = []
    for number, step in enumerate(body.steps, start=1):
        statement = step.operation.sql.values.statement.decode("utf-8", errors="backslashreplace")
        lines += [f"{number} │ {line}" for line in statement.replace("\r", "\n").split("\n")]
        told = [f"${place} is {rule(one)}" for place, one in enumerate(step.values, start=1)]
        told += [f"by what step {step.after} makes"] if step.after else []
        lines += [f"{number} └ {line}" for line in [*told, *filter(None, [rows(step)])]]
    return "\n".join(lines).encode()


def follows(body: operation_pb2.PlanOperation) -> list[str]:
    return _of_each(body, render.follows)


def touches(body: operation_pb2.PlanOperation) -> list[str]:
    return _of_each(body, render.touches)


def uncovered(body: operation_pb2.PlanOperation) -> list[str]:
    return _of_each(body, render.not_covered)


def warnings(body: operation_pb2.PlanOperation) -> list[str]:
    return _of_each(body, lambda sql: letters.warnings(sql.values.statement.decode(errors="backslashreplace")))


def hidden(body: operation_pb2.PlanOperation) -> str:
    """Which labels' values this reader may not see; "" where nothing is hidden."""
    labels = sorted({label for step in body.steps for label in step.operation.sql.values.redacted})
    return f"hidden from you: {', '.join(render.safe(label) for label in labels)}" if labels else ""


def _of_each(
    body: operation_pb2.PlanOperation, told: Callable[[operation_pb2.SqlOperation], Sequence[str]]
) -> list[str]:
    return [
        f"step {number}: {line}" for number, step in enumerate(body.steps, start=1) for line in told(step.operation.sql)
    ]


def _step(number: int, total: int, step: operation_pb2.PlannedStep, preview: plan_pb2.StepPreview | None) -> list[str]:
    sql = step.operation.sql
    lines = [f"step {number} of {total}" + (f", by what step {step.after} makes" if step.after else "")]
    lines += [f"  {line}" for line in render.statement(sql.values.statement).split("\n")]
    if sql.values.redacted:
        lines.append(f"  hidden from you: {', '.join(render.safe(label) for label in sql.values.redacted)}")
    closely = letters.warnings(sql.values.statement.decode("utf-8", errors="backslashreplace"))
    lines += [f"  LOOK CLOSELY: {line}" for line in closely]
    lines += [f"  ${place} is {rule(one)}" for place, one in enumerate(step.values, start=1)]
    lines += [f"  {line}" for line in [rows(step)] if line]
    lines += [f"  {line}" for line in render.touches(sql)]
    lines += [f"  {line}" for line in render.not_covered(sql)]
    if preview is not None:
        lines += [f"  {line}" for line in _preview(preview)]
    return lines


def rule(one: operation_pb2.ValueRule) -> str:
    """'x' or 'y' or 1 to 9 or NULL; nothing of a long one is left out: it is signed."""
    told = [f"'{render.safe(value)}'" for value in one.one_of]
    if one.HasField("least") or one.HasField("most"):
        least = render.safe(one.least) if one.HasField("least") else "anything"
        most = render.safe(one.most) if one.HasField("most") else "anything"
        told.append(f"{least} to {most}")
    if one.null:
        told.append("NULL")
    return " or ".join(told) or "nothing"


def rows(step: operation_pb2.PlannedStep) -> str:
    """rows 1 to 3; "" where nothing is said."""
    if not step.HasField("rows_least") and not step.HasField("rows_most"):
        return ""
    least = step.rows_least if step.HasField("rows_least") else 0
    if not step.HasField("rows_most"):
        return f"rows       at least {least}"
    return f"rows       {least}" + ("" if least == step.rows_most else f" to {step.rows_most}")


def _preview(preview: plan_pb2.StepPreview) -> list[str]:
    lines = [f"outcome    {_OUTCOMES.get(preview.outcome, 'DENIED')}"]
    if preview.groups:
        lines[0] += f" by {preview.quorum} of {', '.join(render.safe(group) for group in preview.groups)}"
    lines += [f"           {line}" for line in render.reasons(preview.reasons)]
    lines += [f"masked     {render.safe(column)}" for column in preview.masked]
    if preview.no_estimate:
        lines.append(f"estimate   none: {render.safe(preview.no_estimate)}")
    return lines


def describe(plan: plan_pb2.Plan) -> list[str]:
    """The lines of `plan show`."""
    body = plan.body
    lines = [
        f"plan       {render.safe(plan.id)}  {render.safe(plan.state) or 'not stored'}"
        + ("  DEVELOPMENT IDENTITIES" if plan.dev else ""),
        f"planned by {render.subject(plan.requester)}",
        f"for        {render.safe(body.executor)} in role {render.safe(body.role)}",
        f"on         {render.safe(plan.connection)} ({render.safe(plan.environment)})",
        f"until      {render.when(body.expires)} ({render.remaining(body.expires)})"
        + (f", from {render.when(body.not_before)}" if body.HasField("not_before") else ""),
        f"digest     {plan.digest.hex()}",
        f"approval   {render.safe(plan.approval) or 'none is needed'}",
        "",
        "the planner says",
        *[f"  {render.safe(line)}" for line in body.intent.splitlines()],
        "",
        *steps(body, plan.previews),
    ]
    if plan.HasField("execution"):
        lines += ["", *execution(plan.execution, len(body.steps))]
    return lines


def execution(found: plan_pb2.Execution, total: int) -> list[str]:
    """The lines that say where an execution stands."""
    why = f": {render.safe(found.reason)}" if found.reason else ""
    at = f", step {found.next_step} of {total} is next" if found.state == "running" else ""
    lines = [f"execution  {render.safe(found.id)}  {render.safe(found.state)}{at}{why}"]
    for run in found.steps:
        told = f", {run.rows} rows" if run.rows > 0 else ""
        open_ = "" if run.committed or run.state != "done" else ", not committed"
        lines.append(f"  step {run.step}  {render.safe(run.state)}{told}{open_}  {render.safe(run.operation)}")
    return lines


def difference(was: operation_pb2.PlanOperation, now: operation_pb2.PlanOperation) -> list[str]:
    """What another plan says otherwise: whole steps, as they are written."""
    said = [_said(step) for step in was.steps]
    says = [_said(step) for step in now.steps]
    return list(difflib.unified_diff(said, says, "before", "now", lineterm="", n=1))


def _said(step: operation_pb2.PlannedStep) -> str:
    text = " ".join(step.operation.sql.values.statement.decode("utf-8", "backslashreplace").split())
    told = [render.safe(text), *[f"${place} is {rule(one)}" for place, one in enumerate(step.values, start=1)]]
    return "; ".join([*told, *filter(None, [rows(step)])])
