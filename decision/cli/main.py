"""The `twokey` command: wiring only. Each command's own module says what it does; errors end here, as one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from decision.cli.commands import approvals, audit, demo, doctor, explain, policy, sessions, token, up
from decision.cli.errors import CliError, ConfigError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Errors(click.Group):
    """Shows a CliError as one line with its next step, and exits with its code. Anything else is a bug."""

    def main(self, args: Sequence[str] | None = None, **extra: object) -> object:  # type: ignore[override]  # click types each keyword; all are passed on
        try:
            return super().main(args=args, **extra)  # type: ignore[call-overload]  # as above
        except ConfigError as error:
            for problem in error.problems:
                click.echo(f"twokey: {problem}", err=True)
            sys.exit(error.exit_code)
        except CliError as error:
            click.echo(f"twokey: {error}", err=True)
            if error.next_step:
                click.echo(f"        {error.next_step}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=Errors, context_settings=CONTEXT)
@click.version_option(package_name="twokey")
def main() -> None:
    """Segregation of duties as code, at the wire.

    Start with `twokey demo`, or write a twokey.yaml and run `twokey up`.

    \b
    Exit codes: 0 done · 1 refused, or it did not happen · 2 wrong usage
                3 the configuration is wrong · 4 nobody answers
    """


for command in (
    demo.demo,
    up.up,
    up.serve,
    token.token,
    explain.explain,
    approvals.approvals,
    sessions.sessions,
    audit.audit,
    policy.policy,
    doctor.doctor,
    up.completion,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
