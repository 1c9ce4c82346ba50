"""A real PostgreSQL of one's own, for the demo and for tests, with the sample company in it.

Which version and from where: postgres.py. How it is run: postgres_server.py, postgres_docker.py.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from decision.cli.demo.postgres import choose, clients
from decision.cli.demo.postgres_docker import DockerServer
from decision.cli.demo.postgres_server import ChildServer, Server
from decision.cli.errors import CliError

START_TIMEOUT_S = 30.0
COMPANY = Path(__file__).with_name("company.sql")


class Database:
    """One PostgreSQL server with SCRAM for everybody over TCP. `admin_password` is the superuser's (postgres)."""

    def __init__(self, folder: Path, *, version: str | int | None = None, settings: Sequence[str] = ()) -> None:
        """version: as TWOKEY_POSTGRES, which counts where it is None (see postgres.py). settings: of the server, each
        `name=value`. Raises CliError."""
        self._folder = folder
        self.choice = choose(version)
        self.admin_password = secrets.token_urlsafe(18)
        self._clients = clients()
        self._docker = (
            DockerServer(self.choice.version, self.admin_password, settings)
            if self.choice.provider == "docker"
            else None
        )
        self._server: Server = self._docker or ChildServer(folder, self.choice, self.admin_password, settings)

    @property
    def version(self) -> int:
        """The major version."""
        return self.choice.version

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def psql(self) -> Path:
        return self._clients / "psql"

    @property
    def pgbench(self) -> Path:
        return self._clients / "pgbench"

    @property
    def pid(self) -> int | None:
        return self._server.pid

    def url(self, database: str) -> str:
        return f"postgresql://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """initdb where needed, then the server; back when it takes connections. Raises CliError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._server.start()
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
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC;"  # until 14 everybody may
            f"GRANT USAGE ON SCHEMA public TO {name}_ro, {name}_rw;"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}_ro;"
            # The executor's account may do a lot, DROP included: what it may do is twokey's to say, and to show.
            f"ALTER TABLE customers OWNER TO {name}_rw; ALTER TABLE orders OWNER TO {name}_rw;"
            f"ALTER TABLE cards OWNER TO {name}_rw; ALTER TABLE employees OWNER TO {name}_rw;"
            f"GRANT CREATE ON SCHEMA public TO {name}_rw;",
            database=name,
        )

    def stop(self) -> None:
        self._server.stop()

    def remove(self) -> None:
        """Stop, and delete everything."""
        self.stop()
        if self._docker is not None:
            self._docker.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.failed() and time.monotonic() < deadline:
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


def scratch_folder(prefix: str) -> Path:
    """A new folder that the server's user can reach, below the system's temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    return folder


if sys.platform == "win32":
    raise CliError("the sample PostgreSQL does not run on Windows", next_step="use a Linux machine or WSL")
