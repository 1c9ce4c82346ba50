"""`twokey doctor`: says what is missing and how to get it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

import click

from decision.cli import config, handover, options
from decision.cli import doctor as findings
from decision.cli.errors import CliError, ConfigError
from decision.showing import render

_COLOUR = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@options.config
@options.as_json
def doctor(config_path: Path, as_json: bool) -> None:
    """Look for what is missing or wrong, and say how to put it right. Exit code 1 when there is a problem.

    \b
    Examples:
      twokey doctor
      twokey doctor -c twokey.yaml --json
    """
    source = click.get_current_context().get_parameter_source("config_path")
    wanted = source is not None and source.name != "DEFAULT"
    problems = 0
    for finding in findings.examine(config_path, _environ(config_path), config_wanted=wanted):
        problems += finding.level == "problem"
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(finding)))
            continue
        word = click.style(f"{finding.level:<8}", fg=_COLOUR[finding.level])
        click.echo(f"{word} {finding.subject}: {render.safe(finding.message)}")
        if finding.fix:
            click.echo(f"         {finding.fix}")
    if problems:
        raise CliError(f"{problems} problem{'' if problems == 1 else 's'}")


def _environ(config_path: Path) -> Mapping[str, str]:
    """Without the secrets that a configuration names; what is wrong with that one is a finding, and not yet told."""
    try:
        loaded = config.load(config_path)
    except ConfigError:
        return os.environ
    return handover.environment(loaded)
