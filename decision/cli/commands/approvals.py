"""`twokey approvals`: what waits for a person, and that person's answer."""

from __future__ import annotations

from collections.abc import Callable

import click
import grpc
from twokey.approval.v1 import approval_pb2, approval_pb2_grpc

from decision.cli import client, options, output
from decision.cli.errors import CliError
from decision.cli.options import Who
from decision.showing import render
from decision.showing.approval import describe, first, state

Stub = approval_pb2_grpc.ApprovalServiceStub
CHANNEL = "cli"
MAX_REASON = 2000
DONE = {approval_pb2.STATE_APPROVED, approval_pb2.STATE_REDEEMED}
_NOT_APPROVED = {  # exit codes of `wait`
    approval_pb2.STATE_DENIED: 5,
    approval_pb2.STATE_EXPIRED: 6,
    approval_pb2.STATE_LAPSED: 6,
    approval_pb2.STATE_WITHDRAWN: 7,
    approval_pb2.STATE_OUTCOME_UNKNOWN: 8,
    approval_pb2.STATE_PENDING: 75,  # EX_TEMPFAIL: waiting again may help
}


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
            first(approval, 60),
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
            asked = f"{render.subject(approval.requester)}: {first(approval, 80)}"
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
    """Wait until one is answered, for pipelines: exit code 0 when approved.

    \b
    Exit codes: 0 approved (or used already), 5 denied, 6 expired, 7 withdrawn,
    8 used and nobody knows whether it ran, 75 still pending after --timeout.
    Others as everywhere: 1 refused (no such approval), 2 usage, 3 configuration, 4 unreachable.

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
                _progress(approval)
        except grpc.RpcError as error:
            late = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if not late or last is None:
                raise
    if last is None:
        raise CliError(f"no approval {approval_id}")
    _answered(last, as_json)
    if last.state not in DONE:
        raise NotApprovedError(last)


def _progress(approval: approval_pb2.Approval) -> None:
    """What a pipeline's log shows meanwhile; standard output is for the answer."""
    given = sum(verdict.approve for verdict in approval.verdicts)
    groups = ", ".join(render.safe(group) for group in approval.groups)
    left = render.remaining(approval.expires)
    click.echo(f"{render.safe(approval.id)} waits: {given} of {approval.quorum} of {groups}; {left} left", err=True)


class NotApprovedError(CliError):
    """Why `wait` ended without a yes, as the exit code; with a reviewer's words where there are any."""

    def __init__(self, approval: approval_pb2.Approval) -> None:
        self.exit_code = _NOT_APPROVED.get(approval.state, CliError.exit_code)
        why = [render.safe(verdict.reason) for verdict in approval.verdicts if not verdict.approve and verdict.reason]
        super().__init__(": ".join([f"not approved in time: it is {state(approval)}", *why[:1]]))
