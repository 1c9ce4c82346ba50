"""Fetching a secret that the supervisor itself must hand on (a remote OPA's token). Target credentials never come here:
the enforcer fetches those itself."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.settings import Source

TIMEOUT_S = 15.0
MAX_BYTES = 64 * 1024


def fetch(loaded: Loaded, source: Source, environ: Mapping[str, str]) -> str:
    """The secret, without a last line end. Raises CliError, which never shows it."""
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
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True, cwd=loaded.root
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CliError(f"the program {program} gave no secret: {type(error).__name__}") from None
        secret = done.stdout
    secret = secret.rstrip("\r\n")
    if not secret or len(secret) > MAX_BYTES:
        raise CliError("a secret's source gave nothing usable", next_step="check the source named in the configuration")
    return secret
