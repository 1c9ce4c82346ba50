"""`twokey plan`: proposing plans, seeing what they would do, carrying them out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click
from google.protobuf.message import Message
from twokey.plan.v1 import plan_pb2, plan_pb2_grpc

from decision.cli import client, options, output, plan_file
from decision.cli.errors import CliError
from decision.cli.options import Who
from decision.showing import plan as showing
from decision.showing import render

Stub = plan_pb2_grpc.PlanServiceStub
Rpc: TypeAlias = Callable[[Any], Callable[..., Any]]
TIMEOUT_S = 60.0  # a plan of hundreds of steps is described anew


@click.group("plan")
def plan() -> None:
    """Plans: reviewed once, carried out exactly.

    A planner proposes steps in order, reviewers approve the whole once, and the executor it names does step by step
    what was approved, in sessions that carry the plan's id.

    \b
    Examples:
      twokey plan preview migrate.yaml --token-file planner.token
      twokey plan propose migrate.yaml --token-file planner.token
      twokey plan start pln_… --token-file executor.token
      psql "host=… user=executor dbname=crm options='-c twokey.plan=pln_…'"
    """


def _ask(who: Who, rpc: Rpc, request: Message) -> Message:
    with client.connect(who) as caller:
        send = rpc(caller.stub(Stub))
        answer = send(request, metadata=caller.metadata, timeout=TIMEOUT_S)
    if not isinstance(answer, Message):
        raise CliError("the service answered something else")
    return answer


def _plan(who: Who, rpc: Rpc, request: Message) -> plan_pb2.Plan:
    found = _ask(who, rpc, request)
    if not isinstance(found, plan_pb2.Plan):
        raise CliError("the service answered something else")
    return found


def _file(path: Path) -> plan_pb2.Plan:
    if str(path) == "-":
        return plan_file.read(path, sys.stdin.read())
    return plan_file.read(path)


_FILE = click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))


@plan.command()
@_FILE
@options.caller
@options.as_json
def propose(*, file: Path, who: Who, as_json: bool) -> None:
    """Store the plan in FILE (- is standard input), and ask for the one approval that it needs.

    \b
    Example: twokey plan propose migrate.yaml --token-file planner.token
    """
    found = _plan(who, lambda stub: stub.Propose, plan_pb2.ProposeRequest(plan=_file(file)))
    if as_json:
        output.emit(found)
        return
    click.echo(f"{render.safe(found.id)} {render.safe(found.state)}")
    if found.approval:
        click.echo(f"it waits for {render.safe(found.approval)}: twokey approvals show {render.safe(found.approval)}")


@plan.command()
@click.argument("what")
@click.option("--since", "before", default="", help="Show what differs from this stored plan (pln_…).")
@options.caller
@options.as_json
def preview(*, what: str, before: str, who: Who, as_json: bool) -> None:
    """What each step would do and what would be decided; nothing is stored, asked for or done.

    WHAT is a file, - for standard input, or the id of a stored plan.

    \b
    Example: twokey plan preview migrate.yaml --since pln_… --token-file planner.token
    """
    if what.startswith("pln_"):
        request = plan_pb2.PreviewRequest(plan=what)
    else:
        request = plan_pb2.PreviewRequest(draft=_file(Path(what)))
    with client.connect(who) as caller:  # one, since a token may come by standard input
        stub = caller.stub(Stub)
        found = stub.Preview(request, metadata=caller.metadata, timeout=TIMEOUT_S)
        other = None
        if before:
            other = stub.Get(plan_pb2.GetRequest(id=before), metadata=caller.metadata, timeout=TIMEOUT_S)
    if as_json:
        output.emit(found)
        return
    click.echo("\n".join(showing.describe(found)))
    if other is not None:
        changed = showing.difference(other.body, found.body)
        click.echo("\n".join(["", f"since {render.safe(before)}", *(changed or ["  no step differs"])]))


@plan.command("list")
@options.caller
@options.as_json
@click.option("--all", "everything", is_flag=True, help="Finished ones too.")
def list_(*, who: Who, as_json: bool, everything: bool) -> None:
    """Plans that you may see, newest first.

    \b
    Example: twokey plan list --all --json --token-file auditor.token
    """
    answer = _ask(who, lambda stub: stub.List, plan_pb2.ListRequest(all=everything))
    found = list(answer.plans) if isinstance(answer, plan_pb2.ListResponse) else []
    if as_json:
        for one in found:
            output.emit(one)
        return
    if not found:
        click.echo("no plans")
        return
    rows = [
        (
            render.safe(one.id),
            render.safe(one.state),
            render.subject(one.requester),
            render.safe(one.body.executor),
            f"{render.safe(one.connection)} ({render.safe(one.environment)})",
            f"{len(one.body.steps)}",
            render.safe(" ".join(one.body.intent.split())[:60]),
        )
        for one in found
    ]
    output.table(("PLAN", "STATE", "PLANNED BY", "EXECUTOR", "CONNECTION", "STEPS", "INTENT"), rows)


@plan.command()
@click.argument("plan_id")
@options.caller
@options.as_json
def show(*, plan_id: str, who: Who, as_json: bool) -> None:
    """Every step of a plan, and where its execution stands.

    \b
    Example: twokey plan show pln_… --token-file executor.token
    """
    found = _plan(who, lambda stub: stub.Get, plan_pb2.GetRequest(id=plan_id))
    if as_json:
        output.emit(found)
    else:
        click.echo("\n".join(showing.describe(found)))


def _execution(who: Who, rpc: Rpc, request: Message, as_json: bool) -> None:
    found = _ask(who, rpc, request)
    if not isinstance(found, plan_pb2.Execution):
        raise CliError("the service answered something else")
    if as_json:
        output.emit(found)
        return
    why = f": {render.safe(found.reason)}" if found.reason else ""
    click.echo(f"{render.safe(found.id)} {render.safe(found.state)}{why}")


@plan.command()
@click.argument("plan_id")
@options.caller
@options.as_json
def start(*, plan_id: str, who: Who, as_json: bool) -> None:
    """Begin to carry out an approved plan, as the executor that it names. It can be begun once.

    \b
    Example: twokey plan start pln_… --token-file executor.token
    """
    _execution(who, lambda stub: stub.Start, plan_pb2.StartRequest(plan=plan_id), as_json)


@plan.command()
@click.argument("execution_id")
@click.option("--step", "number", type=click.IntRange(min=0), default=0, help="Wait until it is beyond this step.")
@options.caller
@options.as_json
def step(*, execution_id: str, number: int, who: Who, as_json: bool) -> None:
    """Where an execution stands.

    \b
    Example: twokey plan step exe_… --step 3 --token-file executor.token
    """
    _execution(who, lambda stub: stub.Step, plan_pb2.StepRequest(execution=execution_id, step=number), as_json)


@plan.command()
@click.argument("execution_id")
@options.caller
@options.as_json
def finish(*, execution_id: str, who: Who, as_json: bool) -> None:
    """Do nothing more of a plan: completed where every step is done, else aborted.

    \b
    Example: twokey plan finish exe_… --token-file executor.token
    """
    _execution(who, lambda stub: stub.Finish, plan_pb2.FinishRequest(execution=execution_id), as_json)


_REASON = click.option("--reason", default="", help="Goes to the log.")


@plan.command()
@click.argument("execution_id")
@_REASON
@options.caller
@options.as_json
def abort(*, execution_id: str, reason: str, who: Who, as_json: bool) -> None:
    """End an execution before its last step, as its planner or executor.

    \b
    Example: twokey plan abort exe_… --reason "wrong week" --token-file planner.token
    """
    request = plan_pb2.AbortRequest(execution=execution_id, reason=reason)
    _execution(who, lambda stub: stub.Abort, request, as_json)


@plan.command()
@click.argument("execution_id")
@click.argument("outcome", type=click.Choice(["done", "not-done"]))
@_REASON
@options.caller
@options.as_json
def resolve(*, execution_id: str, outcome: str, reason: str, who: Who, as_json: bool) -> None:
    """Say what became of a step of which nobody knows, after a look at the target.

    \b
    Example: twokey plan resolve exe_… done --reason "the rows are there" --token-file admin.token
    """
    request = plan_pb2.ResolveRequest(execution=execution_id, outcome=outcome, reason=reason)
    _execution(who, lambda stub: stub.Resolve, request, as_json)
