"""An approval as its reviewer reads it: the exact act, its values, what it touches, why it was held, who asks for whom.

What is computed comes first, what the asker says of it stands apart and is attributed (a reason may read like a fact).
"""

from __future__ import annotations

from twokey.approval.v1 import approval_pb2

from decision.showing import letters, plan, render


def state(approval: approval_pb2.Approval) -> str:
    """pending, approved, denied, expired, withdrawn, redeemed, lapsed or outcome-unknown."""
    return approval_pb2.State.Name(approval.state).removeprefix("STATE_").lower().replace("_", "-")


def first(approval: approval_pb2.Approval, length: int) -> str:
    """The statement's beginning on one line; of a plan what the planner says."""
    if approval.operation.HasField("plan"):
        said = " ".join(approval.operation.plan.intent.split())
        steps = len(approval.operation.plan.steps)
        return f"plan of {steps} steps: {render.safe(said[:length])}" + ("…" if len(said) > length else "")
    text = " ".join(approval.operation.sql.values.statement[: 8 * length].decode(errors="backslashreplace").split())
    return render.safe(text[:length]) + ("…" if len(text) > length else "")


def warnings(approval: approval_pb2.Approval) -> list[str]:
    """What in the statement, and in what it names, is not what it looks like."""
    if approval.operation.HasField("plan"):
        return plan.warnings(approval.operation.plan)
    values = approval.operation.sql.values
    text = values.statement + b" " + values.named
    return letters.warnings(text.decode("utf-8", errors="backslashreplace"))


def verdict(given: approval_pb2.Verdict) -> str:
    """2026-11-23T07:00:00Z bob approved by web: ticket 4711"""
    word = "approved" if given.approve else "denied"
    why = f": {render.safe(given.reason)}" if given.reason else ""
    return (
        f"{render.when(given.time)} {render.identity(given.reviewer.identity)} {word}"
        f" by {render.safe(given.channel)}{why}"
    )


def hidden(approval: approval_pb2.Approval) -> str:
    """Which labels' values this reader may not see; "" where nothing is hidden."""
    if approval.operation.HasField("plan"):
        return plan.hidden(approval.operation.plan)
    values = approval.operation.sql.values
    if not values.redacted:
        return ""
    labels = ", ".join(render.safe(label) for label in values.redacted)
    return f"hidden from you: {labels}; SHA-256 of the statement {values.statement_sha256.hex()}"


def describe(approval: approval_pb2.Approval) -> list[str]:
    """The lines of `approvals show`; every stranger's word escaped."""
    lines = [
        f"approval   {render.safe(approval.id)}  {state(approval)}"
        + ("  DEVELOPMENT IDENTITIES" if approval.dev else ""),
        f"asked by   {render.subject(approval.requester)}",
        f"on         {render.safe(approval.connection)} ({render.safe(approval.environment)})",
        f"asked      {render.when(approval.created)}, expires {render.when(approval.expires)}"
        f" ({render.remaining(approval.expires)})",
        f"answers    {approval.quorum} of {', '.join(render.safe(group) for group in approval.groups)}",
        f"digest     {approval.operation.digest.hex()}",
        *([f"reason     {render.safe(approval.operation.reason)}"] if approval.operation.reason else []),
        "",
        "why it is held",
        *[f"  {line}" for line in render.reasons(approval.reasons)],
    ]
    return [*lines, "", *(_plan(approval) if approval.operation.HasField("plan") else _statement(approval))]


def _plan(approval: approval_pb2.Approval) -> list[str]:
    body = approval.operation.plan
    lines = [
        f"plan       {render.safe(body.id)}",
        f"for        {render.safe(body.executor)} in role {render.safe(body.role)}",
        f"until      {render.when(body.expires)} ({render.remaining(body.expires)})",
        "",
        "the planner says",
        *[f"  {render.safe(line)}" for line in body.intent.splitlines()],
        "",
        *plan.steps(body),
    ]
    return [*lines, *_answers(approval)]


def _statement(approval: approval_pb2.Approval) -> list[str]:
    sql = approval.operation.sql
    lines = [
        "statement",
        *[f"  {line}" for line in render.statement(sql.values.statement).split("\n")],
    ]
    lines += [f"  {line}" for line in [hidden(approval)] if line]
    closely = warnings(approval)
    if closely:
        lines += ["", "LOOK CLOSELY", *[f"  {line}" for line in closely]]
    if sql.values.named:
        lines += ["", "which names", *[f"  {line}" for line in render.statement(sql.values.named).split("\n")]]
    if sql.values.bound:
        lines += ["", "bound values", *[f"  {line}" for line in render.bound(sql.values.bound)]]
    lines += ["", "what it touches", *[f"  {line}" for line in render.touches(sql)]]
    uncovered = render.not_covered(sql)
    if uncovered:
        lines += ["", "WHAT YOU CAN'T SEE HERE", *[f"  {line}" for line in uncovered]]
    return [*lines, *_answers(approval)]


def _answers(approval: approval_pb2.Approval) -> list[str]:
    lines: list[str] = []
    if approval.verdicts:
        lines += ["", "verdicts", *[f"  {verdict(given)}" for given in approval.verdicts]]
    if approval.execution:
        lines += ["", f"redeemed as {render.safe(approval.execution)}"]
    return lines
