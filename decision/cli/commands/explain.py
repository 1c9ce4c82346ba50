"""`twokey explain`: what would be decided, and why. Executes, holds and leases nothing."""

from __future__ import annotations

import sys

import click
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc
from twokey.type.v1 import decision_pb2 as type_pb2

from decision.cli import client, config, options, output
from decision.cli.options import Who
from decision.showing import render

MAX_STATEMENT = 16 * 1024 * 1024


@click.command()
@click.argument("statement")
@click.option("--connection", default="", help="The connection it would run on; not needed where there is only one.")
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
      twokey explain --role planner 'SELECT email FROM customers' --token-file carol.token
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
    connection = connection or _the_only_one(who)
    with client.connect(who) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        request = decision_pb2.ExplainRequest(connection=connection, role=role, statement=data, subject=subject)
        answer = stub.Explain(request, metadata=caller.metadata, timeout=client.TIMEOUT_S)
    if as_json:
        output.emit(answer, act=output.act(answer.operation.sql))
    else:
        click.echo("\n".join(describe(answer)))


def _the_only_one(who: Who) -> str:
    """The configuration's connection. Raises UsageError where it has several, or where there is no configuration."""
    if who.server is not None:
        raise click.UsageError("--server needs --connection: which one would it run on?")
    names = [connection.name for connection in config.load(who.config_path).config.connections]
    if len(names) != 1:
        raise click.UsageError(f"which connection would it run on? --connection takes one of {', '.join(names)}")
    return names[0]


def describe(answer: decision_pb2.ExplainResponse) -> list[str]:
    """The lines a person reads: what it does, what would be decided, by which rules, why, and what to do next."""
    sql, decision = answer.operation.sql, answer.decision
    outcome = type_pb2.Outcome.Name(decision.outcome).removeprefix("OUTCOME_").lower().replace("_", "-")
    lines = ["what it does", *[f"  {line}" for line in render.touches(sql, everything=True)]]
    unseen = render.not_covered(sql)
    if unseen:
        lines += ["what can't be seen", *[f"  {line}" for line in unseen]]
    lines.append(f"decision   {outcome}" + (f" ({render.safe(decision.reason_code)})" if decision.reason_code else ""))
    for reason in decision.reasons:
        lines += [f"rule       {render.safe(reason.rule)}", f"  why      {render.safe(reason.reason)}"]
        if reason.next:
            lines.append(f"  next     {render.safe(reason.next)}")
    lines += [f"obligation {render.obligation(obligation)}" for obligation in decision.obligations]
    lines += [f"budget     {render.budget(one.budget, one.used, one.limit)}" for one in decision.budgets]
    if decision.HasField("approval"):
        groups = ", ".join(render.safe(group) for group in decision.approval.groups)
        lines.append(f"approval   {decision.approval.quorum} of {groups}")
    return [*lines, f"revision   {render.safe(decision.revision)}"]
