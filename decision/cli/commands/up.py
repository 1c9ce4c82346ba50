"""`twokey up` and `twokey serve`: the processes."""

from __future__ import annotations

from pathlib import Path

import click

from decision.cli import client, config, handover, options, runfile, supervisor
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
    environ = handover.environment(loaded)
    config.check_run(loaded, dev=dev, environ=environ)
    supervisor.up(loaded, dev=dev, environ=environ)


@click.group()
def serve() -> None:
    """Run one half only: for gateways that are started apart from the decision service.

    Gateways are known by their certificates where `decision.mutual` is configured. Elsewhere both halves need one
    secret of at least 32 characters that no client can read.

    \b
    Examples:
      twokey serve decision -c twokey.yaml --enforcer-secret gateway.secret
      twokey serve postgres -c twokey.yaml --enforcer-secret gateway.secret
    """


_SECRET = click.option(
    "--enforcer-secret",
    "secret_file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File that holds the secret by which gateways prove themselves, where they have no certificates; - is "
    "standard input. Decision services that share a store share it too.",
)


@serve.command("decision")
@options.config
@_SECRET
@click.option("--dev", is_flag=True, help="Start the development issuer too.")
def serve_decision(*, config_path: Path, secret_file: Path | None, dev: bool) -> None:
    """The decision service and its OPA, without gateways.

    \b
    Example: twokey serve decision -c twokey.yaml --enforcer-secret gateway.secret
    """
    loaded = config.load(config_path)
    environ = handover.environment(loaded)  # before standard input is read
    config.check_run(loaded, dev=dev, environ=environ, accounts=False)
    secret = _secret(secret_file, certified=loaded.config.decision.mutual is not None)
    supervisor.up(loaded, dev=dev, environ=environ, parts=supervisor.Parts(postgres=False, secret=secret))


@serve.command("postgres")
@options.config
@_SECRET
def serve_postgres(*, config_path: Path, secret_file: Path | None) -> None:
    """The PostgreSQL gateways, for the decision service that runs under the same configuration.

    \b
    Example: twokey serve postgres -c twokey.yaml --enforcer-secret gateway.secret
    """
    loaded = config.load(config_path)
    environ = handover.environment(loaded)
    peer = loaded.config.enforcers.decision
    if peer is not None and peer.address is not None:
        dev, served = False, supervisor.Served(grpc=peer.address)
    else:
        run = runfile.read(loaded.run_file)
        dev, served = run.dev, supervisor.Served(grpc=run.decision, ca=run.ca, mutual=run.mutual)
    config.check_run(loaded, dev=dev, environ=environ, service=False)
    secret = _secret(secret_file, certified=peer is not None and peer.certificate is not None)
    parts = supervisor.Parts(decision=False, secret=secret, served=served)
    supervisor.up(loaded, dev=dev, environ=environ, parts=parts)


def _secret(file: Path | None, *, certified: bool) -> str:
    """What both halves know; "" for one of this run's own, where certificates say who gateways are."""
    how = "head -c 32 /dev/urandom | base64 > gateway.secret; chmod 600 gateway.secret"
    if file is None:
        if certified:
            return ""
        raise CliError("--enforcer-secret is missing, and gateways have no certificates", next_step=how)
    secret = client.read_token(file)
    if len(secret) < LEAST_SECRET:
        raise CliError(f"the enforcers' secret is shorter than {LEAST_SECRET} characters", next_step=how)
    return secret
