"""Options that several commands share, spelt once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def config(command: F) -> F:
    """-c FILE: the configuration."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("twokey.yaml"),
        envvar="TWOKEY_CONFIG",
        show_default=True,
        help="The configuration file.",
    )(command)


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks (the token's file), and whom: --server with --ca, else what runs under the configuration."""

    config_path: Path
    server: str | None
    ca: Path | None
    token_file: Path | None
    dpop_key: Path | None = None


def caller(command: Callable[..., None]) -> Callable[..., None]:
    """--token-file, --server, --ca and -c, which reach the command as one keyword argument `who`."""

    @functools.wraps(command)
    def gather(
        *,
        config_path: Path,
        server: str | None,
        ca: Path | None,
        token_file: Path | None,
        dpop_key: Path | None,
        **rest: object,
    ) -> None:
        command(who=Who(config_path, server, ca, token_file, dpop_key), **rest)

    return _caller_options(gather)


def _caller_options(command: F) -> F:
    command = click.option(
        "--token-file",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        envvar="TWOKEY_TOKEN_FILE",
        help="File that holds your token, instead of `twokey login`; - is standard input. (ps shows arguments.)",
    )(command)
    command = click.option(
        "--dpop-key",
        type=click.Path(dir_okay=False, exists=True, path_type=Path),
        help="The private key (JWK) that your token is bound to, where it is; mode 0600.",
    )(command)
    command = click.option(
        "--server", metavar="HOST:PORT", help="The decision service, instead of the one of the configuration."
    )(command)
    command = click.option(
        "--ca",
        type=click.Path(dir_okay=False, exists=True, path_type=Path),
        help="With --server: the PEM file of the CA its certificate is checked against.",
    )(command)
    return config(command)


def as_json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")(command)
