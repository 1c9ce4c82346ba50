"""Options that several commands share, spelt once."""

from __future__ import annotations

from collections.abc import Callable
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


def caller(command: F) -> F:
    """Who asks, and whom: --token-file, and --server with --ca, or -c."""
    command = click.option(
        "--token-file",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        envvar="TWOKEY_TOKEN_FILE",
        help="File that holds your token; - is standard input. A token is never an argument: ps would show it.",
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
