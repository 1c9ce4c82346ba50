"""Asking the development issuer for a token, through its socket in the state folder.

The socket's folder is 0700: whoever can open it is the user that runs twokey, and may be anyone it knows. That is why
the issuer exists only with --dev.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from decision.cli.errors import CliError, UnreachableError

TIMEOUT_S = 5.0
MAX_ANSWER = 64 * 1024


def mint(state_dir: Path, *, subject: str, roles: Sequence[str], actors: Sequence[str] = (), ttl_s: int = 3600) -> str:
    """A token. Raises UnreachableError: no dev issuer runs; CliError: it refused."""
    path = state_dir / "dev" / "issuer.sock"
    request = {"subject": subject, "roles": list(roles), "actors": list(actors), "ttl_s": ttl_s}
    try:
        answer = _exchange(path, json.dumps(request).encode() + b"\n")
    except (FileNotFoundError, ConnectionError):
        raise UnreachableError("no development issuer runs here", next_step="start `twokey up --dev`") from None
    except (OSError, TimeoutError) as error:
        raise UnreachableError(f"the development issuer does not answer: {error}") from None
    try:
        document = json.loads(answer)
    except ValueError:
        raise CliError("the development issuer's answer can't be read") from None
    if isinstance(document, dict) and isinstance(document.get("token"), str):
        return str(document["token"])
    why = document.get("error", "no reason given") if isinstance(document, dict) else "no reason given"
    raise CliError(f"refused: {why}", next_step="the subject must be a principal or agent of people.yaml")


def _exchange(path: Path, request: bytes) -> bytes:
    """One line there, one line back. A path too long for a socket address is reached through its folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY) if len(os.fsencode(path)) > 100 else None
        try:
            connection.connect(f"/proc/self/fd/{folder}/{path.name}" if folder is not None else str(path))
        finally:
            if folder is not None:
                os.close(folder)
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < MAX_ANSWER:
            more = connection.recv(4096)
            if not more:
                break
            answer += more
        return answer
