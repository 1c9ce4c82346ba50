"""The target accounts' passwords: named by a source, fetched when a session opens, kept in memory only.

A secret is shared by the open sessions of one (connection, role) and dropped with the last of them. No message here
holds one. What this can't do: a variable given by `env` stays readable in /proc/PID/environ by the same user for as
long as the process lives (the kernel keeps the block the process was started with); `file` and `exec` have no such
trace, and the process is not dumpable, which leaves that file to root.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from enforcers.core.errors import CredentialError
from enforcers.settings import Account, Connection, EnvSource, ExecSource, FileSource, Source

MAX_SECRET = 64 << 10  # bytes
FETCH_SECONDS = 5.0
MAX_AGE = 300.0  # seconds after which a shared secret is fetched again, so that a rotation is noticed

Key = tuple[str, str]


class Secret:
    """A text that shows itself only to who asks by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """chain: PEM, the account's own certificate first. key: PEM."""

    chain: bytes
    key: Secret


@dataclass(slots=True)
class _Held:
    secret: Secret
    fetched: float


class Credentials:
    """One per worker. Variables are read, and taken out of os.environ, when it is made."""

    def __init__(self, connections: Mapping[str, Connection]) -> None:
        self._connections = connections
        self._variables = take_variables(_sources(connections.values()))
        self._sessions: dict[Key, int] = {}
        self._held: dict[Key, _Held] = {}
        self._locks: dict[Key, asyncio.Lock] = {}

    def opened(self, connection: str, role: str) -> None:
        key = (connection, role)
        self._sessions[key] = self._sessions.get(key, 0) + 1

    def closed(self, connection: str, role: str) -> None:
        key = (connection, role)
        left = self._sessions.get(key, 0) - 1
        if left > 0:
            self._sessions[key] = left
            return
        self._sessions.pop(key, None)
        self._held.pop(key, None)
        self._locks.pop(key, None)

    async def get(self, connection: str, role: str) -> tuple[str, Secret]:
        """(user, password) of the role's account. Raises CredentialError."""
        account = self._account(connection, role)
        if account.password is None:
            return account.user, Secret("")
        key = (connection, role)
        async with self._locks.setdefault(key, asyncio.Lock()):
            held = self._held.get(key)
            if held is None or time.monotonic() - held.fetched > MAX_AGE:
                held = _Held(await self._fetch(account.password, connection, role), time.monotonic())
                if key in self._sessions:
                    self._held[key] = held
        return account.user, held.secret

    async def certificate(self, connection: str, role: str) -> ClientCertificate | None:
        """What the role's account shows the target in TLS; None where it has none. Raises CredentialError.

        Fetched at each log-in and kept by nobody here: it is used for the handshake only.
        """
        account = self._account(connection, role)
        if account.certificate is None or account.key is None:
            return None
        where = f"certificate of {connection}, role {role}"
        try:
            chain = await asyncio.to_thread(Path(account.certificate).read_bytes)
        except OSError as error:
            raise CredentialError(f"{where}: the file can't be read ({error.strerror})") from None
        return ClientCertificate(chain, await fetch(account.key, self._variables, f"key of {where}", lines=True))

    def _account(self, connection: str, role: str) -> Account:
        known = self._connections.get(connection)
        if known is None:
            raise CredentialError(f"no connection {connection!r}")
        account = known.credentials.get(role) or known.credentials.get("default")
        if account is None:
            raise CredentialError(f"connection {connection}: no target account for role {role!r}")
        return account

    async def _fetch(self, source: Source, connection: str, role: str) -> Secret:
        return await fetch(source, self._variables, f"credential of {connection}, role {role}")


async def fetch(source: Source, variables: Mapping[str, Secret], where: str, *, lines: bool = False) -> Secret:
    """The secret of a source: its first line, or with `lines` all of them (a PEM key). Raises CredentialError."""
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            if isinstance(source, EnvSource):
                return _variable(variables, source.name, where)
            if isinstance(source, FileSource):
                data = await asyncio.to_thread(_read_file, source.path, where)
            else:
                data = await _run(source, where)
    except TimeoutError:
        raise CredentialError(f"{where}: no answer in {FETCH_SECONDS:g} s") from None
    return _secret(data, where, lines=lines)


def _variable(variables: Mapping[str, Secret], name: str, where: str) -> Secret:
    secret = variables.get(name)
    if secret is None:
        raise CredentialError(f"{where}: the variable {name} is not set")
    return secret


def _sources(connections: Iterable[Connection]) -> Iterator[Source | None]:
    for connection in connections:
        for account in connection.credentials.values():
            yield account.password
            yield account.key


def take_variables(sources: Iterable[Source | None]) -> dict[str, Secret]:
    """The variables that these sources name, taken out of os.environ."""
    names = {source.name for source in sources if isinstance(source, EnvSource)}
    found = {name: os.environ.pop(name, "") for name in names}
    return {name: Secret(value) for name, value in found.items() if value}


def _read_file(path: str, where: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CredentialError(f"{where}: the file can't be opened ({error.strerror})") from None
    with open(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise CredentialError(f"{where}: not a regular file")
        if facts.st_uid not in (0, os.geteuid()):
            raise CredentialError(f"{where}: the file belongs to another user")
        if facts.st_mode & 0o037:
            raise CredentialError(f"{where}: others can read or change the file (chmod 600)")
        return file.read(MAX_SECRET + 1)


async def _run(source: ExecSource, where: str) -> bytes:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *source.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it might hold what must not be logged
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise CredentialError(f"{where}: the program can't be started ({error.strerror})") from None
    if process.stdout is None:
        raise CredentialError(f"{where}: the program has no output")
    try:
        output = await process.stdout.read(MAX_SECRET + 1)
        while len(output) <= MAX_SECRET and (more := await process.stdout.read(MAX_SECRET)):
            output += more
        status = await process.wait() if len(output) <= MAX_SECRET else -1
    finally:
        if process.returncode is None:
            # The whole group: a helper it started would keep the pipe open.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if len(output) <= MAX_SECRET and status != 0:
        raise CredentialError(f"{where}: the program failed (status {status})")
    return output


def _secret(data: bytes, where: str, *, lines: bool) -> Secret:
    if len(data) > MAX_SECRET:
        raise CredentialError(f"{where}: too long")
    if not lines:
        data = data.split(b"\n", 1)[0].removesuffix(b"\r")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CredentialError(f"{where}: not UTF-8") from None
    if not text or "\0" in text:
        raise CredentialError(f"{where}: empty, or with a zero byte")
    return Secret(text)
