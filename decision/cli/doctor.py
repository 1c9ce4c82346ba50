"""`twokey doctor`'s findings: what is missing, what is wrong, and how to put it right.

It asks the targets with the planner's own account, because a planner's account that can write is the one defence lost
if a description is ever wrong.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from decision.cli import classification, classified, config, expiry, opa, reading, runfile, write_access
from decision.cli.config import Loaded
from decision.cli.errors import CliError, ConfigError, UnreachableError
from decision.cli.finding import Finding
from decision.cli.settings import Account, Connection

TIMEOUT_S = 5.0
OLDEST_PYTHON = (3, 11)


def examine(config_path: Path, environ: Mapping[str, str], *, config_wanted: bool) -> Iterator[Finding]:
    """Everything in turn. `config_wanted`: a configuration that does not exist is a problem, not a hint."""
    yield _python()
    yield _opa(environ)
    yield _psql(environ)
    if not config_path.exists() and not config_wanted:
        yield Finding("warning", "configuration", f"no {config_path} here", "name yours with -c, or try `twokey demo`")
        return
    try:
        loaded = config.load(config_path)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding("problem", "configuration", str(problem))
        return
    yield Finding("ok", "configuration", f"{config_path} is in order")
    try:
        config.check_run(loaded, dev=True, environ=environ)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding("warning", "start", str(problem))
    yield from expiry.findings(loaded)
    yield _state(loaded)
    yield _running(loaded)
    for connection in loaded.config.postgres:
        yield from _connection(loaded, connection, environ)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Finding("problem", "python", f"{version} is too old", "install Python 3.11, 3.12 or 3.13")
    return Finding("ok", "python", version)


def _opa(environ: Mapping[str, str]) -> Finding:
    try:
        program = opa.find(environ)
        version = opa.version(program)
    except CliError as error:
        return Finding("problem", "opa", str(error), error.next_step)
    return Finding("ok", "opa", f"{'.'.join(map(str, version))} at {program}")


def _psql(environ: Mapping[str, str]) -> Finding:
    found = shutil.which("psql", path=environ.get("PATH"))
    if found is None:
        return Finding(
            "warning", "psql", "not on PATH; nothing needs it but you", "install your system's postgresql client"
        )
    return Finding("ok", "psql", found)


def _state(loaded: Loaded) -> Finding:
    folder = loaded.state_dir
    if not folder.exists():
        return Finding("ok", "state", f"{folder} will be made at the first start")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        return Finding("problem", "state", f"others may look into {folder} (mode {mode:o})", f"chmod 700 {folder}")
    return Finding("ok", "state", f"{folder} is yours alone")


def _running(loaded: Loaded) -> Finding:
    try:
        run = runfile.read(loaded.run_file)
    except CliError as error:
        return Finding("warning", "twokey up", str(error), error.next_step)
    if not _reachable(*_split(run.decision)):
        return Finding("problem", "twokey up", f"nobody answers at {run.decision}", "start `twokey up` again")
    return Finding("ok", "twokey up", f"answers at {run.decision}" + (", with the dev issuer" if run.dev else ""))


def _connection(loaded: Loaded, connection: Connection, environ: Mapping[str, str]) -> Iterator[Finding]:
    name = f"connection {connection.name}"
    shared = write_access.separate(loaded, connection)
    if shared is not None:
        yield shared
    if not _reachable(connection.host, connection.port):
        where = f"{connection.host}:{connection.port}"
        yield Finding("problem", name, f"the target {where} can't be reached", "start it, or correct `upstream`")
        return
    yield Finding("ok", name, "the target can be reached")
    account = connection.credentials.get("planner") or connection.credentials.get("default")
    if account is None:
        yield Finding("warning", name, "no account for planners", "add credentials.planner")
        return
    yield from asyncio.run(_target(loaded, connection, account, environ))


async def _target(
    loaded: Loaded, connection: Connection, account: Account, environ: Mapping[str, str]
) -> list[Finding]:
    """What the target itself shows, to the planner's account."""
    name = f"connection {connection.name}"
    try:
        async with asyncio.timeout(TIMEOUT_S * 4), reading.reading(loaded, connection, account, environ) as link:
            rows = [tuple(row) for row in await link.fetch(write_access.CAN_WRITE)]
            found = [write_access.can_write(name, account, rows)]
            file = None
            if connection.classification is not None:
                path = loaded.absolute(connection.classification)
                file = classification.load(path, connection.classification)
            return [*found, *await classified.findings(link, name, file)]
    except UnreachableError as error:
        return [Finding("problem", name, str(error), error.next_step)]
    except CliError as error:
        return [Finding("warning", name, f"the planner's account was not tried: {error}", error.next_step)]
    except reading.FAULTS as error:
        why = type(error).__name__  # its text may repeat what the target was told
        return [Finding("problem", name, f"the target's catalog can't be read ({why})", "try again; see its log")]


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _reachable(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False
