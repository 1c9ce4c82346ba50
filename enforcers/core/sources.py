"""The three sources of a secret: a variable handed over at the start, a file in memory, a helper's answer.

Every failure is a CredentialError: whose secret, where it is configured, what is wrong and what to do. It never holds
the secret.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from enforcers.core.errors import CredentialError
from enforcers.core.exec_credential import MAX_SECRET, read_credential, read_text
from enforcers.core.helper import run_helper
from enforcers.secret import Secret
from enforcers.settings import EnvSource, ExecSource, FileSource, Source

FETCH_SECONDS = 5.0
_IN_MEMORY = {"tmpfs", "ramfs"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """lifetime: seconds from now until it expires; None where nobody says."""

    secret: Secret
    lifetime: float | None = None


async def fetch(
    source: Source, variables: Mapping[str, Secret], where: str, *, lines: bool = False, user: str = ""
) -> Secret:
    """As fetch_credential, of a secret that isn't a target's: its file may lie anywhere, and it has no end."""
    return (await fetch_credential(source, variables, where, lines=lines, user=user, anywhere=True)).secret


async def fetch_credential(
    source: Source,
    variables: Mapping[str, Secret],
    where: str,
    *,
    lines: bool = False,
    user: str = "",
    anywhere: bool = False,
) -> Fetched:
    """The secret: the first line, or with `lines` all of them (a PEM key). user: the account it is for. anywhere: a
    file may lie on a disk though its source doesn't say so. Raises CredentialError."""
    place = f"{source.at}: {where}" if source.at else where
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            if isinstance(source, EnvSource):
                return Fetched(_variable(variables, source.name))
            if isinstance(source, FileSource):
                data = await asyncio.to_thread(_read_file, source.path, in_memory=not (anywhere or source.on_disk))
                return Fetched(read_text(data, lines=lines))
            return await _from_helper(source, variables, lines=lines, user=user)
    except TimeoutError:
        raise CredentialError(
            f"{place}: no answer in {FETCH_SECONDS:g} s{' from the program; it was killed' if _is_exec(source) else ''}"
        ) from None
    except OSError as error:
        raise CredentialError(f"{place}: can't be read ({error.strerror})") from None
    except CredentialError as error:
        what = f"the program {source.argv[0]} " if isinstance(source, ExecSource) else ""
        raise CredentialError(f"{place}: {what}{error}") from None


def _is_exec(source: Source) -> bool:
    return isinstance(source, ExecSource)


def _variable(variables: Mapping[str, Secret], name: str) -> Secret:
    secret = variables.get(name)
    if secret is None:
        raise CredentialError(f"the variable {name} is not set; export it before starting twokey")
    return Secret(secret.reveal())  # a copy: what is fetched is wiped, and this can't be fetched again


async def _from_helper(source: ExecSource, variables: Mapping[str, Secret], *, lines: bool, user: str) -> Fetched:
    given = read_credential(await run_helper(source, variables), user=user, key=lines)
    if given.expires is None:
        return Fetched(given.secret)
    lifetime = given.expires.timestamp() - time.time()
    if lifetime <= 0:
        raise CredentialError("gave a credential that has expired already; does its clock agree with this machine's?")
    return Fetched(given.secret, lifetime)


def _read_file(path: str, *, in_memory: bool) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CredentialError(f"the file can't be opened ({error.strerror}); write it with mode 0600") from None
    with open(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise CredentialError("not a regular file")
        if facts.st_uid not in (0, os.geteuid()):
            raise CredentialError("the file belongs to another user; chown it")
        if facts.st_mode & 0o037:
            raise CredentialError("others can read or change the file (chmod 600)")
        if in_memory and not lies_in_memory(facts.st_dev):
            raise CredentialError(
                "the file lies on a disk; put it on a tmpfs (/run, /dev/shm), or write `on_disk: true` beside it"
            )
        return file.read(MAX_SECRET + 1)


def lies_in_memory(device: int) -> bool:
    """Whether a file system keeps its files in memory. device: as of st_dev. False where that can't be told.

    Source: proc(5), /proc/PID/mountinfo: `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD…] - TYPE SOURCE OPTIONS`.
    """
    if sys.platform != "linux":
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.partition(" - ") for line in file]
    except OSError:
        return False
    kinds = {after.split(" ", 1)[0] for before, _, after in lines if before.split(" ")[2:3] == [number]}
    return bool(kinds) and kinds <= _IN_MEMORY
