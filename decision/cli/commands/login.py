"""`twokey login`: a one-time password for clients that can't sign."""

from __future__ import annotations

import json

import click
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.cli import client, options, render
from decision.cli.options import Who


@click.command()
@click.option("--connection", required=True, metavar="NAME", help="The connection to open: psql's database name.")
@click.option("--role", required=True, metavar="ROLE", help="The role to activate: psql's user name.")
@click.option(
    "--uses", type=click.IntRange(1, 64), default=1, show_default=True, help="Sessions it opens; policy grants more."
)
@options.caller
@options.as_json
def login(*, connection: str, role: str, uses: int, who: Who, as_json: bool) -> None:
    """Print a one-time password for a session of your token's, and nothing else.

    It is good for one minute, one connection, one role, from this machine's address, once. Where your token is bound to
    a key, name that key with --dpop-key: psql can't sign, so this does.

    \b
    Examples:
      export PGPASSWORD=$(twokey login --connection crm --role executor --token-file agent.token)
      psql -h 127.0.0.1 -p 6432 -U executor crm
    """
    with client.connect(who) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        request = decision_pb2.IssueSessionCredentialRequest(connection=connection, role=role, uses=uses)
        answer = stub.IssueSessionCredential(request, metadata=caller.metadata, timeout=client.TIMEOUT_S)
    if as_json:
        found = {"password": answer.credential, "expires": render.when(answer.expires)}
        click.echo(json.dumps(found, ensure_ascii=True))
    else:
        click.echo(answer.credential)
