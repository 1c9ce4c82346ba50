"""`twokey explain`: what would be decided, and why. Executes, holds and leases nothing."""

from __future__ import annotations

import sys

import click
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc
from twokey.type.v1 import decision_pb2 as type_pb2

from decision.cli import client, options, output, render
from decision.cli.options import Who

MAX_STATEMENT = 16 * 1024 * 1024


@click.command()
@click.argument("statement")
@click.option("--connection", required=True, help="The connection it would run on.")
@click.option("--role", required=True, help="The role that would run it.")
@click.option("--subject", default="", metavar="NAME", help="Ask for somebody else of people.yaml (people only).")
@options.caller
@options.as_json
def explain(
    *,
    statement: str,
    connection: str,
    role: str,
    subject: str,
    who: Who,
    as_json: bool,
) -> None:
    """What twokey would decide on STATEMENT (`-` reads it from standard input), and by which rule.

    \b
    Examples:
      twokey explain --connection crm --role planner 'SELECT email FROM customers' --token-file carol.token
      twokey explain --connection crm --role executor --subject executor-7 - < change.sql
    """
    if statement == "-":
        if who.token_file is not None and str(who.token_file) == "-":
            raise click.UsageError("standard input can't be both the statement and the token")
        data = sys.stdin.buffer.read(MAX_STATEMENT + 1)
    else:
        data = statement.encode(errors="surrogateescape")
    if len(data) > MAX_STATEMENT:
        raise click.UsageError("the statement is larger than 16 MiB")
    with client.connect(who) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        request = decision_pb2.ExplainRequest(connection=connection, role=role, statement=data, subject=subject)
        answer = stub.Explain(request, metadata=caller.metadata, timeout=client.TIMEOUT_S)
    if as_json:
        output.emit(answer)
        return
    decision = answer.decision
    outcome = type_pb2.Outcome.Name(decision.outcome).removeprefix("OUTCOME_").lower().replace("_", "-")
    click.echo(f"decision   {outcome}" + (f" ({render.safe(decision.reason_code)})" if decision.reason_code else ""))
    for reason in decision.reasons:
        click.echo(f"rule       {render.safe(reason.rule)}: {render.safe(reason.reason)}")
        if reason.next:
            click.echo(f"next       {render.safe(reason.next)}")
    for obligation in decision.obligations:
        click.echo(f"obligation {render.safe(obligation.type)}")
    if decision.HasField("approval"):
        groups = ", ".join(render.safe(group) for group in decision.approval.groups)
        click.echo(f"approval   {decision.approval.quorum} of {groups}")
    for line in [*render.touches(answer.operation.sql), *render.not_covered(answer.operation.sql)]:
        click.echo(line)
    click.echo(f"revision   {render.safe(decision.revision)}")
