"""`twokey sessions`: who is connected, and cutting them off."""

from __future__ import annotations

import json

import click
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.cli import client, options, output, render
from decision.cli.options import Who


@click.group()
def sessions() -> None:
    """See and cut the sessions of the gateways.

    An administrator ends any session. A person sees and ends their own, and those of the agents they own; an auditor
    sees all.

    \b
    Examples:
      twokey sessions list --token-file admin.token
      twokey sessions kill ses_… --reason "agent misbehaves" --token-file admin.token
    """


@sessions.command("list")
@options.caller
@options.as_json
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
def list_(*, who: Who, as_json: bool, everything: bool) -> None:
    """Open sessions that you may see, newest first.

    \b
    Example: twokey sessions list --json --token-file auditor.token
    """
    with client.connect(who) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        request = decision_pb2.ListSessionsRequest(all=everything)
        found = stub.ListSessions(request, metadata=caller.metadata, timeout=client.TIMEOUT_S).sessions
    if as_json:
        for session in found:
            output.emit(session)
        return
    if not found:
        click.echo("no sessions")
        return
    rows = [
        (
            render.safe(session.id),
            render.subject(session.subject),
            render.safe(session.connection),
            render.when(session.opened),
            f"closed {render.when(session.closed)}" if session.HasField("closed") else "open",
            render.safe(session.client_address),
        )
        for session in found
    ]
    output.table(("SESSION", "SUBJECT", "CONNECTION", "OPENED", "STATE", "CLIENT"), rows)


@sessions.command()
@click.argument("session_id")
@click.option("--reason", default="", help="Goes to the client and the log.")
@options.caller
@options.as_json
def kill(*, session_id: str, reason: str, who: Who, as_json: bool) -> None:
    """End a session now: what it runs is cancelled, its transaction rolled back, what it waits for never runs in it.

    Its client may connect again for as long as its token lives. The log keeps who ended it.

    \b
    Example: twokey sessions kill ses_… --reason "agent misbehaves" --token-file admin.token
    """
    with client.connect(who) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        request = decision_pb2.RevokeRequest(session=session_id, reason=reason)
        ended = stub.Revoke(request, metadata=caller.metadata, timeout=client.TIMEOUT_S).sessions
    if as_json:
        click.echo(json.dumps({"session": session_id, "ended": bool(ended)}, ensure_ascii=True))
    elif ended:
        click.echo("1 session ended")
    else:
        click.echo("it had ended already")
