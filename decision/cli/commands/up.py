"""`twokey up` and `twokey serve`: the processes."""

from __future__ import annotations

import os
from pathlib import Path

import click

from decision.cli import client, config, options, runfile, supervisor
from decision.cli.errors import CliError

LEAST_SECRET = 32


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


@click.group()
def serve() -> None:
    """Run one half only: for gateways that are started apart from the decision service.

    Both halves need one secret of at least 32 characters that no client can read.

    \b
    Examples:
      twokey serve decision -c twokey.yaml --enforcer-secret gateway.secret
      twokey serve postgres -c twokey.yaml --enforcer-secret gateway.secret
    """


_SECRET = click.option(
    "--enforcer-secret",
    "secret_file",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File that holds the secret by which gateways prove themselves; - is standard input.",
)


@serve.command("decision")
@options.config
@_SECRET
@click.option("--dev", is_flag=True, help="Start the development issuer too.")
def serve_decision(*, config_path: Path, secret_file: Path, dev: bool) -> None:
    """The decision service and its OPA, without gateways.

    \b
    Example: twokey serve decision -c twokey.yaml --enforcer-secret gateway.secret
    """
    loaded = config.load(config_path)
    config.check_run(loaded, dev=dev, environ=os.environ, accounts=False)
    parts = supervisor.Parts(postgres=False, secret=client.read_token(secret_file))
    supervisor.up(loaded, dev=dev, environ=os.environ, parts=_long_enough(parts))


@serve.command("postgres")
@options.config
@_SECRET
def serve_postgres(*, config_path: Path, secret_file: Path) -> None:
    """The PostgreSQL gateways, for the decision service that runs under the same configuration.

    \b
    Example: twokey serve postgres -c twokey.yaml --enforcer-secret gateway.secret
    """
    loaded = config.load(config_path)
    run = runfile.read(loaded.run_file)
    config.check_run(loaded, dev=run.dev, environ=os.environ)
    served = supervisor.Served(grpc=run.decision, ca=run.ca)
    parts = supervisor.Parts(decision=False, secret=client.read_token(secret_file), served=served)
    supervisor.up(loaded, dev=run.dev, environ=os.environ, parts=_long_enough(parts))


def _long_enough(parts: supervisor.Parts) -> supervisor.Parts:
    if len(parts.secret) < LEAST_SECRET:
        raise CliError(
            f"the enforcers' secret is shorter than {LEAST_SECRET} characters",
            next_step="head -c 32 /dev/urandom | base64 > gateway.secret; chmod 600 gateway.secret",
        )
    return parts
