"""`twokey demo`: the story, acted on real parts."""

from __future__ import annotations

import shlex
import signal
import sys
import time

import click

from decision.cli.demo.acts import Story
from decision.cli.demo.plan_acts import PlanStory
from decision.cli.demo.stack import DATABASE, SUBJECTS, Stack
from decision.cli.demo.stage import Stage, Trail
from decision.cli.errors import CliError


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything up afterwards and say how to use it.")
@click.option(
    "--story",
    type=click.Choice(["roles", "plan"]),
    default="roles",
    show_default=True,
    help="What each role may do alone, or how a plan is carried out.",
)
def demo(*, keep: bool, story: str) -> None:
    """A sample company on a real PostgreSQL, and what planner, executor and reviewer may do to it.

    Everything runs on free loopback ports in a temporary folder, and is gone afterwards. Exit code 1 when anything
    came out otherwise than it should: the demo is a test, too.

    \b
    Examples:
      twokey demo
      twokey demo --keep
      twokey demo --story plan
    """
    began = time.monotonic()
    stage = Stage()
    stack = Stack()
    click.secho("Starting PostgreSQL, OPA, the decision service and a gateway …", dim=True)
    try:
        with stack:
            click.secho(f"Ready after {time.monotonic() - began:.1f} s.", dim=True)
            trail = Trail(stack)
            try:
                (PlanStory(stack, stage) if story == "plan" else Story(stack, stage, trail)).play()
            except CliError as error:
                stage.expect("the story goes on", held=False, instead=f"{error}\n{stack.log_tail()}")
            finally:
                trail.close()
            _summary(stage, time.monotonic() - began)
            if keep and not stage.wrong:
                _stay(stack)
    except KeyboardInterrupt:
        click.echo("interrupted; everything was stopped", err=True)
        sys.exit(130)
    if stage.wrong:
        raise CliError(
            f"{len(stage.wrong)} of {stage.checked} expectations failed", next_step="they are marked ✗ above"
        )


def _summary(stage: Stage, seconds: float) -> None:
    click.echo()
    good = stage.checked - len(stage.wrong)
    click.secho(
        f"{good} of {stage.checked} expectations met in {seconds:.1f} s.",
        fg="red" if stage.wrong else "green",
        bold=True,
    )


def _stay(stack: Stack) -> None:
    """Print what to paste, and wait for Ctrl-C."""
    host, port = stack.address()
    twokey = shlex.join(stack.command())
    config = shlex.quote(str(stack.config))
    psql = shlex.quote(str(stack.database.psql))
    click.echo("\nEverything stays up until Ctrl-C. In another terminal:\n")
    click.echo(f'  twokey() {{ {twokey} "$@"; }}; export TWOKEY_CONFIG={config}\n')
    for role in ("planner", "executor"):
        click.echo(f"  # the {role}")
        click.echo(
            f"  PGPASSWORD=$(twokey token --subject {SUBJECTS[role]} --role {role}) "
            f"{psql} -h {host} -p {port} -U {role} -d {DATABASE}\n"
        )
    click.echo("  # a reviewer (bob is a dba and owns no agent)")
    click.echo("  twokey token --subject bob --role reviewer | twokey approvals list --token-file -")
    click.echo("  twokey token --subject bob --role reviewer | twokey approvals approve apr_… --token-file -\n")
    click.echo("  # the log")
    click.echo("  twokey token --subject erin --role auditor | twokey audit tail -f --token-file -\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo("stopping", err=True)
