"""`twokey approvals`: what waits for a person, and that person's answer."""

from __future__ import annotations

from collections.abc import Callable

import click
import grpc
from twokey.approval.v1 import approval_pb2, approval_pb2_grpc

from decision.cli import client, options, output, render
from decision.cli.errors import CliError
from decision.cli.options import Who

Stub = approval_pb2_grpc.ApprovalServiceStub
CHANNEL = "cli"
MAX_REASON = 2000
DONE = {approval_pb2.STATE_APPROVED, approval_pb2.STATE_REDEEMED}


def state(approval: approval_pb2.Approval) -> str:
    return approval_pb2.State.Name(approval.state).removeprefix("STATE_").lower().replace("_", "-")


def _first(approval: approval_pb2.Approval, length: int) -> str:
    """The statement's beginning on one line."""
    text = " ".join(approval.operation.sql.values.statement[: 8 * length].decode(errors="backslashreplace").split())
    return render.safe(text[:length]) + ("…" if len(text) > length else "")


def _emit(approval: approval_pb2.Approval) -> None:
    output.emit(approval, act=output.act(approval.operation.sql))


@click.group()
def approvals() -> None:
    """See, approve and deny what gateways hold.

    \b
    Examples:
      twokey approvals list --token-file bob.token
      twokey approvals show apr_… --token-file bob.token
      twokey approvals approve apr_… --reason "ticket 4711" --token-file bob.token
    """


@approvals.command("list")
@options.caller
@options.as_json
@click.option("--all", "everything", is_flag=True, help="Finished ones too.")
def list_(*, who: Who, as_json: bool, everything: bool) -> None:
    """What waits for an answer, newest first.

    \b
    Example: twokey approvals list --all --json --token-file bob.token
    """
    with client.connect(who) as caller:
        stub = caller.stub(Stub)
        request = approval_pb2.ListRequest(all=everything)
        found = stub.List(request, metadata=caller.metadata, timeout=client.TIMEOUT_S).approvals
    if as_json:
        for approval in found:
            _emit(approval)
        return
    if not found:
        click.echo("nothing waits")
        return
    rows = [
        (
            approval.id,
            state(approval),
            render.subject(approval.requester),
            f"{approval.connection} ({approval.environment})",
            render.remaining(approval.expires),
            _first(approval, 60),
        )
        for approval in found
    ]
    output.table(("APPROVAL", "STATE", "ASKED BY", "CONNECTION", "LEFT", "STATEMENT"), rows)


@approvals.command()
@click.argument("approval_id")
@options.caller
@options.as_json
def show(*, approval_id: str, who: Who, as_json: bool) -> None:
    """Everything a reviewer must know: the exact act, its values, what it touches, why it was held, who asks for whom.

    \b
    Example: twokey approvals show apr_… --token-file bob.token
    """
    with client.connect(who) as caller:
        stub = caller.stub(Stub)
        request = approval_pb2.GetRequest(id=approval_id)
        approval = stub.Get(request, metadata=caller.metadata, timeout=client.TIMEOUT_S)
    if as_json:
        _emit(approval)
    else:
        click.echo("\n".join(describe(approval)))


def describe(approval: approval_pb2.Approval) -> list[str]:
    """The lines of `approvals show`; every stranger's word escaped."""
    sql = approval.operation.sql
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
        "",
        "statement",
        *[f"  {line}" for line in render.statement(sql.values.statement).split("\n")],
    ]
    if sql.values.redacted:
        labels = ", ".join(render.safe(label) for label in sql.values.redacted)
        lines += [f"  hidden from you: {labels}; SHA-256 of the statement {sql.values.statement_sha256.hex()}"]
    if sql.values.named:
        lines += ["", "which names", *[f"  {line}" for line in render.statement(sql.values.named).split("\n")]]
    if sql.values.bound:
        lines += ["", "bound values", *[f"  {line}" for line in render.bound(sql.values.bound)]]
    lines += ["", "what it touches", *[f"  {line}" for line in render.touches(sql)]]
    uncovered = render.not_covered(sql)
    if uncovered:
        lines += ["", "WHAT YOU CAN'T SEE HERE", *[f"  {line}" for line in uncovered]]
    if approval.verdicts:
        lines += ["", "verdicts"]
        for verdict in approval.verdicts:
            word = "approved" if verdict.approve else "denied"
            why = f": {render.safe(verdict.reason)}" if verdict.reason else ""
            who = render.identity(verdict.reviewer.identity)
            lines.append(f"  {render.when(verdict.time)} {who} {word} by {render.safe(verdict.channel)}{why}")
    if approval.execution:
        lines += ["", f"redeemed as {render.safe(approval.execution)}"]
    return lines


def _reason(value: str) -> str:
    if len(value) > MAX_REASON:
        raise click.BadParameter(f"longer than {MAX_REASON} characters")
    return value


_REASON = click.option(
    "--reason",
    default="",
    callback=lambda _context, _option, value: _reason(value),
    help="Goes to the asker and the log.",
)


@approvals.command()
@click.argument("approval_id")
@_REASON
@options.caller
@options.as_json
def approve(
    *,
    approval_id: str,
    reason: str,
    who: Who,
    as_json: bool,
) -> None:
    """Say yes to exactly this act, once.

    \b
    Example: twokey approvals approve apr_… --reason "ticket 4711" --token-file bob.token
    """
    request = approval_pb2.ApproveRequest(id=approval_id, reason=reason, channel=CHANNEL)
    _tell(who, lambda stub: stub.Approve, request, as_json)


@approvals.command()
@click.argument("approval_id")
@_REASON
@options.caller
@options.as_json
def deny(
    *,
    approval_id: str,
    reason: str,
    who: Who,
    as_json: bool,
) -> None:
    """Say no; the waiting client gets an error with your reason.

    \b
    Example: twokey approvals deny apr_… --reason "not on a Friday" --token-file bob.token
    """
    request = approval_pb2.DenyRequest(id=approval_id, reason=reason, channel=CHANNEL)
    _tell(who, lambda stub: stub.Deny, request, as_json)


@approvals.command()
@click.argument("approval_id")
@_REASON
@options.caller
@options.as_json
def withdraw(
    *,
    approval_id: str,
    reason: str,
    who: Who,
    as_json: bool,
) -> None:
    """Take back what you asked for.

    \b
    Example: twokey approvals withdraw apr_… --token-file agent.token
    """
    _tell(who, lambda stub: stub.Withdraw, approval_pb2.WithdrawRequest(id=approval_id, reason=reason), as_json)


def _tell(
    who: Who, rpc: Callable[[Stub], Callable[..., approval_pb2.Approval]], request: object, as_json: bool
) -> None:
    with client.connect(who) as caller:
        send = rpc(caller.stub(Stub))
        _answered(send(request, metadata=caller.metadata, timeout=client.TIMEOUT_S), as_json)


def _answered(approval: approval_pb2.Approval, as_json: bool) -> None:
    if as_json:
        _emit(approval)
        return
    given = sum(verdict.approve for verdict in approval.verdicts)
    count = f", {given} of {approval.quorum}" if approval.state == approval_pb2.STATE_PENDING else ""
    click.echo(f"{render.safe(approval.id)} {state(approval)}{count}")


@approvals.command()
@options.caller
@options.as_json
def watch(*, who: Who, as_json: bool) -> None:
    """Each approval you may see, as it changes, until interrupted.

    \b
    Example: twokey approvals watch --json --token-file bob.token | while read -r line; do …; done
    """
    with client.connect(who) as caller:
        stub = caller.stub(Stub)
        for approval in stub.Watch(approval_pb2.WatchRequest(), metadata=caller.metadata):
            if as_json:
                _emit(approval)
                continue
            asked = f"{render.subject(approval.requester)}: {_first(approval, 80)}"
            click.echo(f"{render.safe(approval.id)} {state(approval):<9} {asked}")


@approvals.command()
@click.argument("approval_id")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=3600.0, show_default=True)
@options.caller
@options.as_json
def wait(
    *,
    approval_id: str,
    timeout_s: float,
    who: Who,
    as_json: bool,
) -> None:
    """Wait until one is answered. Exit code 0 when approved, 1 when not.

    \b
    Example: twokey approvals wait apr_… --timeout 600 --token-file agent.token && retry-the-statement
    """
    last: approval_pb2.Approval | None = None
    with client.connect(who) as caller:
        stub = caller.stub(Stub)
        request = approval_pb2.WatchRequest(ids=[approval_id])
        try:
            for approval in stub.Watch(request, metadata=caller.metadata, timeout=timeout_s):
                last = approval
                if approval.state != approval_pb2.STATE_PENDING:
                    break
        except grpc.RpcError as error:
            late = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if not late or last is None:
                raise
    if last is None:
        raise CliError(f"no approval {approval_id}")
    _answered(last, as_json)
    if last.state not in DONE:
        raise CliError(f"not approved in time: it is {state(last)}")
