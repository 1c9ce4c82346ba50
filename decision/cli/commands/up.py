"""`twokey up` and `twokey completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from decision.cli import config, options, supervisor


@click.command()
@options.config
@click.option(
    "--dev", is_flag=True, help="Start the development issuer too. Refused when a target or store is not on loopback."
)
def up(config_path: Path, dev: bool) -> None:
    """Start the decision service and the gateways, and keep them running.

    Prints one line of JSON on standard output once everything answers; logs are JSON lines on standard error.
    SIGTERM drains, a second one stops at once, SIGHUP reloads policy and people.

    \b
    Examples:
      twokey up -c twokey.yaml
      twokey up -c twokey.yaml --dev
    """
    loaded = config.load(config_path)
    config.check_run(loaded, dev=dev, environ=os.environ)
    supervisor.up(loaded, dev=dev, environ=os.environ)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      eval "$(twokey completion bash)"
      twokey completion fish > ~/.config/fish/completions/twokey.fish
    """
    kind = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(root, {}, "twokey", "_TWOKEY_COMPLETE").source())
