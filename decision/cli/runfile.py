"""state/run.json: where a running twokey answers, and the CA its listener's certificate is checked against.

It holds no secret, but whoever could write it could send reviewers' tokens elsewhere: 0600 in a 0700 folder, and
refused where it belongs to someone else or others may write it.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from decision.cli.errors import CliError, UnreachableError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    pid: int
    dev: bool
    decision: str
    http: str
    postgres: dict[str, str]
    ca: str  # PEM
    ca_file: str = ""  # instead of it where the operator's own certificate is shown: read anew by each command
    name: str = ""  # what that certificate names, where the address is not it
    mutual: str = ""  # where enforcers call that are known by certificates
    metrics: list[str] = field(default_factory=list)  # host:port of each gateway process


def make_state_dir(path: Path) -> None:
    """Create it with mode 0700. Raises CliError: others may write there, so what it holds can't be believed."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise CliError(
            f"the state folder {path} can't be made: {error.strerror}", next_step="correct `store`"
        ) from None
    if status.st_uid != os.geteuid():
        raise CliError(f"the state folder {path} belongs to another user", next_step="name another one in `store`")
    if status.st_mode & 0o022:
        raise CliError(f"others may write in the state folder {path}", next_step=f"chmod 700 {path}")


def lock(state_dir: Path, what: str) -> int:
    """One supervisor of a kind at a time. The descriptor holds the lock until this process ends. Raises CliError."""
    descriptor = os.open(state_dir / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CliError(
            f"another twokey runs on the state folder {state_dir}", next_step="stop it, or use another `store`"
        ) from None
    return descriptor


def write(path: Path, run: RunFile) -> None:
    """All at once: a reader sees the old file or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(run), file)
    draft.replace(path)


def read(path: Path) -> RunFile:
    """Raises UnreachableError: nothing runs there. Raises CliError: the file can't be trusted or read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnreachableError(
            f"nothing runs here: {path} does not exist", next_step="start `twokey up`, or name a --server and its --ca"
        ) from None
    except OSError as error:
        raise CliError(f"{path} can't be read: {error.strerror}") from None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if status.st_uid not in {os.geteuid(), 0} or stat.S_IMODE(status.st_mode) & 0o022:
            raise CliError(f"{path} could have been written by others", next_step="remove it and start twokey again")
        try:
            return RunFile(**json.load(file))
        except (ValueError, TypeError):
            raise CliError(f"{path} is damaged", next_step="start twokey again") from None
