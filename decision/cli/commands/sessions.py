"""`twokey sessions`: who is connected, and cutting them off."""

from __future__ import annotations

import json

import click
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.cli import client, options, output
from decision.cli.options import Who
from decision.showing import render


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
@click.argument("session_id", required=False, default="")
@click.option(
    "--party", default="", metavar="NAME", help="Instead: a person or agent, and whoever acts for or is owned by it."
)
@click.option("--role", default="", metavar="ROLE", help="Instead: everybody in this role.")
@click.option(
    "--token-id", default="", metavar="JTI", help="Instead: a token by its id, and what was exchanged for it."
)
@click.option("--issuer", default="", metavar="ISS", help="With --token-id: who issued it.")
@click.option("--reason", default="", help="Goes to the client and the log.")
@options.caller
@options.as_json
def kill(
    *, session_id: str, party: str, role: str, token_id: str, issuer: str, reason: str, who: Who, as_json: bool
) -> None:
    """End sessions now: what they run is cancelled, transactions are rolled back, what waits never runs in them.

    Of a session alone: its client may connect again for as long as its token lives. Of a party, role or token: tokens
    issued until now are refused from now on; a later log-in is let in. The log keeps who ended it.

    \b
    Examples:
      twokey sessions kill ses_… --reason "agent misbehaves" --token-file admin.token
      twokey sessions kill --party executor-7 --reason "key stolen" --token-file admin.token
    """
    if bool(session_id) + bool(party) + bool(role) + bool(token_id) != 1 or bool(token_id) != bool(issuer):
        raise click.UsageError("name one: a session, --party, --role, or --token-id with --issuer")
    with client.connect(who) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        request = decision_pb2.RevokeRequest(
            session=session_id, reason=reason, party=party, role=role, token=token_id, issuer=issuer
        )
        ended = stub.Revoke(request, metadata=caller.metadata, timeout=client.TIMEOUT_S).sessions
    if as_json:
        click.echo(json.dumps({"session": session_id, "ended": bool(ended), "sessions": ended}, ensure_ascii=True))
    elif not session_id:
        click.echo(f"revoked; {ended} session{'' if ended == 1 else 's'} ended")
    elif ended:
        click.echo("1 session ended")
    else:
        click.echo("it had ended already")
