"""A PostgreSQL server of one's own as an ordinary child process: initdb, start, stop, on a free loopback port.

PostgreSQL refuses to run as root, so root hands the data folder to `nobody` and lets it run the server.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypedDict

from decision.cli.children import die_with_parent
from decision.cli.demo.postgres import Choice, binaries
from decision.cli.errors import CliError

STOP_TIMEOUT_S = 15.0
# Durability of sample data is worth nothing; quick start and small memory are.
SETTINGS = (
    *("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
    *("-c", "shared_buffers=32MB", "-c", "max_connections=60", "-c", "log_min_messages=fatal"),
    *("-c", "dynamic_shared_memory_type=mmap"),
)


class Server(Protocol):
    """One server, however it is run. Everything raises CliError."""

    port: int  # on 127.0.0.1, set by `start`

    @property
    def pid(self) -> int | None:
        """Of the process whose end is the server's end; None when it does not run, or not as a child."""
        ...

    def start(self) -> None:
        """Make the data folder where there is none, and start. It may not take connections yet."""
        ...

    def failed(self) -> bool:
        """It ended by itself."""
        ...

    def stop(self) -> None:
        """Stop, keeping the data."""
        ...


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _AsUser(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]
    cwd: str


class ChildServer:
    """A Server whose programs are on this machine."""

    def __init__(self, folder: Path, choice: Choice, password: str, settings: Sequence[str] = ()) -> None:
        """password: the superuser's (postgres). settings: further ones, each `name=value`, over SETTINGS."""
        self._settings = [part for setting in settings for part in ("-c", setting)]
        self._folder = folder
        self._data = folder / "data"
        self._user = _someone_else()
        self._bin = _reachable(binaries(choice), folder, self._user)
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            self._data.mkdir(mode=0o700)
            if self._user is not None:
                os.chown(self._data, self._user.pw_uid, self._user.pw_gid)
            self._initdb()
        self.port = self.port or free_port()
        with (self._folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._bin / "postgres"),
                    *("-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""),
                    *SETTINGS,
                    *self._settings,
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
                stdin=subprocess.DEVNULL,
                **self._as_user(),
                start_new_session=True,
                preexec_fn=_quit_with_parent,  # noqa: PLW1509 - makes one system call, through a library loaded before
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            )

    def failed(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self) -> None:
        """Fast shutdown (SIGINT), then harder."""
        if self._process is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    continue
        self._process = None

    def _initdb(self) -> None:
        password_file = self._folder / "admin-password"
        password_file.write_text(self._password, encoding="utf-8")
        password_file.chmod(0o600)
        if self._user is not None:
            os.chown(password_file, self._user.pw_uid, self._user.pw_gid)
        try:
            subprocess.run(
                [
                    str(self._bin / "initdb"),
                    *("-D", str(self._data), "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"),
                    *("--auth=scram-sha-256", f"--pwfile={password_file}"),
                ],
                check=True,
                capture_output=True,
                timeout=60,
                **self._as_user(),
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            )
        except subprocess.CalledProcessError as error:
            raise CliError(f"initdb failed: {error.stderr.decode(errors='replace').strip()}") from None
        finally:
            password_file.unlink()

    def _as_user(self) -> _AsUser:
        """What subprocess needs to run something as the server's user."""
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": [], "cwd": "/"}


def _quit_with_parent() -> None:
    """A demo or test that is killed leaves no server behind (SIGQUIT: immediate shutdown)."""
    die_with_parent(signal.SIGQUIT)


def _someone_else() -> pwd.struct_passwd | None:
    """Whom root runs the server as; None when this is no root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _reachable(folder: Path, home: Path, user: pwd.struct_passwd | None) -> Path:
    """The folder of binaries, or a copy below `home` where the other user can't reach the original."""
    if user is None or all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents)):
        return folder
    installed, holder = folder.parent, folder.parents[1]
    copy = home / "programs" / holder.name / installed.name
    if not copy.exists():
        shutil.copytree(installed, copy, symlinks=True)
    libraries = holder.with_name(f"{holder.name}.libs")  # where the package keeps what its programs load
    if libraries.is_dir() and not (copy.parents[1] / libraries.name).exists():
        shutil.copytree(libraries, copy.parents[1] / libraries.name, symlinks=True)
    return copy / "bin"
