"""Fetching a secret for the command line itself: what the supervisor must hand on (a remote OPA's token), and the
target accounts with which doctor and classify log in. What sessions use never comes here: the gateway fetches that."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from decision.cli import helper_output
from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.schema import Source

TIMEOUT_S = 15.0
MAX_BYTES = 64 * 1024
PROMISED = ("PATH", "HOME")  # to a helper, besides what the configuration names


def fetch(loaded: Loaded, source: Source, environ: Mapping[str, str], *, user: str = "", key: bool = False) -> str:
    """The secret, without a last line end. user: whose it is; key: a private key is wanted, of several lines.

    Raises CliError, which never shows it.
    """
    if source.env is not None:
        secret = environ.get(source.env, "")
    elif source.file is not None:
        try:
            secret = loaded.absolute(source.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"the secret's file {source.file} can't be read: {type(error).__name__}") from None
    else:
        program, *arguments = source.exec or [""]
        command = [str(loaded.absolute(program)) if "/" in program else program, *arguments]
        given = {name: environ[name] for name in (*PROMISED, *source.environment) if name in environ}
        output = _output(command, given, str(loaded.root))
        secret = helper_output.read(output, user=user, key=key)
    secret = secret.rstrip("\r\n")
    if not secret or len(secret) > MAX_BYTES:
        raise CliError("a secret's source gave nothing usable", next_step="check the source named in the configuration")
    return secret


def _output(command: Sequence[str], environ: Mapping[str, str], directory: str) -> bytes:
    """What the program writes, killed with all it started when that is too long or takes too long. Raises CliError."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it might hold what must not be shown
            env=dict(environ),
            cwd=directory,
            start_new_session=True,
        )
    except OSError as error:
        raise CliError(f"the program {command[0]} can't be started: {error.strerror}") from None
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process.pid)

    deadline = threading.Timer(TIMEOUT_S, end)
    deadline.start()
    try:
        output = process.stdout.read(MAX_BYTES + 1) if process.stdout is not None else b""
        if len(output) > MAX_BYTES:
            raise CliError(f"the program {command[0]} gave more than {MAX_BYTES >> 10} KiB")
        status = process.wait()
    finally:
        deadline.cancel()
        _kill(process.pid)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if late.is_set():
        raise CliError(f"the program {command[0]} gave no secret in {TIMEOUT_S:.0f} s; it was killed")
    if status != 0:
        raise CliError(
            f"the program {command[0]} gave no secret: it failed (status {status})",
            next_step=f"run it by hand with an environment of nothing but {', '.join(environ) or 'nothing'}",
        )
    return output


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
