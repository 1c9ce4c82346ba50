"""The `twokey` command: wiring only. Each command's own module says what it does; errors end here, as one line.

Commands are imported when they are called: `twokey token` should not wait for gRPC to load.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from decision.cli import process
from decision.cli.errors import CliError, ConfigError
from decision.cli.own import OwnProcess
from decision.cli.words import nearest
from decision.showing.escape import safe

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

# Each command's name, and the module of decision.cli.commands that holds it.
COMMANDS = {
    "demo": "demo",
    "up": "up",
    "serve": "up",
    "token": "token",
    "login": "login",
    "logout": "logout",
    "explain": "explain",
    "approvals": "approvals",
    "plan": "plan",
    "sessions": "sessions",
    "audit": "audit",
    "policy": "policy",
    "classify": "classify",
    "duties": "duties",
    "doctor": "doctor",
    "completion": "completion",
}


class Root(click.Group):
    """Loads a command when it is asked for; shows a CliError as one line with its next step. Anything else is a bug."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"decision.cli.commands.{COMMANDS[cmd_name]}")
        command = getattr(module, cmd_name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = nearest(args[0], COMMANDS)
            ctx.fail(f"no command {args[0]!r}" + (f"; did you mean {near!r}?" if near else "; see `twokey --help`"))
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, **extra: object) -> object:  # type: ignore[override]  # click types each keyword; all are passed on
        try:
            if args is None:  # the program of this process, not a call of somebody else's
                process.harden()
                extra.setdefault("obj", OwnProcess())
            return super().main(args=args, **extra)  # type: ignore[call-overload]  # as above
        except ConfigError as error:
            for problem in error.problems:
                click.echo(f"twokey: {safe(str(problem))}", err=True)
            sys.exit(error.exit_code)
        except CliError as error:
            # A message may quote what others wrote.
            click.echo(f"twokey: {safe(str(error), lines=True)}", err=True)
            if error.next_step:
                click.echo(f"        {safe(error.next_step, lines=True)}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=Root, context_settings=CONTEXT)
@click.version_option(package_name="twokey")
def main() -> None:
    """Segregation of duties as code, at the wire.

    Start with `twokey demo`, or write a twokey.yaml and run `twokey up`.

    \b
    Exit codes: 0 done · 1 refused, or it did not happen · 2 wrong usage
                3 the configuration is wrong · 4 nobody answers
    """


if __name__ == "__main__":
    main()
