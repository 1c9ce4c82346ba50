"""`twokey token`: a token of the development issuer."""

from __future__ import annotations

from pathlib import Path

import click

from decision.cli import config, devissuer, options


@click.command()
@options.config
@click.option("--subject", required=True, metavar="NAME", help="A principal or agent of people.yaml.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role the token carries; may be repeated.")
@click.option(
    "--actor", "actors", multiple=True, metavar="NAME", help="Who acts for the subject; the current actor first."
)
@click.option("--ttl", "ttl_s", type=click.IntRange(1, 24 * 3600), default=3600, show_default=True, help="Seconds.")
def token(config_path: Path, subject: str, roles: tuple[str, ...], actors: tuple[str, ...], ttl_s: int) -> None:
    """Print a development token, and nothing else. Needs a running `twokey up --dev`.

    \b
    Examples:
      export PGPASSWORD=$(twokey token --subject executor-7 --role executor)
      twokey token --subject bob --role reviewer | twokey approvals list --token-file -
    """
    loaded = config.load(config_path)
    click.echo(devissuer.mint(loaded.state_dir, subject=subject, roles=roles, actors=actors, ttl_s=ttl_s))
