"""Secrets that come by environment variables leave the environment.

The kernel keeps the block that a program was started with, readable in /proc/PID/environ whatever the program does to
its variables. So `twokey` reads those that the configuration names, writes them into a pipe, and executes itself anew,
under the same process id, without them. The new program finds the pipe, reads it to its end and closes it; from there
they go to who needs them in the settings document, which is a pipe too.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

import click

from decision.cli import config
from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.own import OwnProcess

DESCRIPTOR = "TWOKEY_HANDED_OVER"
_PIPE_BYTES = 1 << 20  # what Linux gives any user; a pipe that stays smaller holds less
_MOST_BYTES = 1 << 20
_STANDARD_ERROR = 2


def environment(loaded: Loaded) -> Mapping[str, str]:
    """The environment, with the secrets that were handed over. May not return, but begin the program anew.

    Raises CliError: what was handed over can't be read, or is more than a pipe holds.
    """
    context = click.get_current_context(silent=True)
    own = context is not None and context.find_object(OwnProcess) is not None
    return take(loaded, again=begin_anew if own else None)


def take(loaded: Loaded, *, again: Callable[[Mapping[str, str]], NoReturn] | None) -> Mapping[str, str]:
    """As environment. again: how to begin anew with these secrets; None where this process is somebody else's."""
    handed = _received()
    exposed = {name: os.environ[name] for name in config.secret_variables(loaded.config) if name in os.environ}
    if exposed and again is not None:
        again({**handed, **exposed})
    return {**os.environ, **handed}


def begin_anew(secrets: Mapping[str, str]) -> NoReturn:
    """This program, with the same arguments, without these variables. Raises CliError."""
    reading, writing = os.pipe()
    try:
        _fill(writing, json.dumps(dict(secrets)).encode())
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    os.set_inheritable(reading, True)  # noqa: FBT003 - os names no keyword
    environ = {name: value for name, value in os.environ.items() if name not in secrets}
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**environ, DESCRIPTOR: str(reading)})  # noqa: S606 - this very program


def _fill(descriptor: int, data: bytes) -> None:
    os.set_blocking(descriptor, False)
    if sys.platform == "linux" and len(data) > 65536:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        written = os.write(descriptor, data)
    except OSError as error:
        raise CliError(f"the secrets can't be handed over ({error.strerror})") from None
    if written != len(data):
        raise CliError(
            "the secrets in the environment are more than a pipe holds",
            next_step="give the long ones by {file: …} or {exec: […]}",
        )


def _received() -> dict[str, str]:
    """What the program before this one handed over; nothing when it did not."""
    number = os.environ.pop(DESCRIPTOR, None)
    if number is None:
        return {}
    try:
        if int(number) <= _STANDARD_ERROR or not stat.S_ISFIFO(os.fstat(int(number)).st_mode):
            raise ValueError("no pipe of ours")
        with os.fdopen(int(number), "rb") as pipe:
            given = json.loads(pipe.read(_MOST_BYTES + 1))
    except (OSError, ValueError):
        given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise CliError(
            f"{DESCRIPTOR} names no descriptor with secrets", next_step="unset it: twokey sets it for itself only"
        )
    return given
