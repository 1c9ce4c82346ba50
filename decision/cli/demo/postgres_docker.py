"""A PostgreSQL server in a container, where a container engine answers: TWOKEY_POSTGRES=docker:17.

For machines that the unpacked programs don't run on. The official image, one container a server, published on one
loopback port; it is removed when the server stops, so its data live in a volume of its own until `remove`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence

from decision.cli.demo.postgres import VARIABLE
from decision.cli.demo.postgres_server import SETTINGS, free_port
from decision.cli.errors import CliError

ANSWER_TIMEOUT_S = 20.0
PULL_TIMEOUT_S = 600.0


class DockerServer:
    """A Server run by `docker`."""

    def __init__(self, version: int, password: str, settings: Sequence[str] = ()) -> None:
        """password: the superuser's (postgres). settings: as ChildServer's. Raises CliError: no engine answers."""
        self._settings = [part for setting in settings for part in ("-c", setting)]
        self._image = f"postgres:{version}"
        self._password = password
        self._name = f"twokey-{secrets.token_hex(6)}"
        self._running = False
        self.port = 0
        if shutil.which("docker") is None:
            raise CliError("docker was not found", next_step=f"install it, or set {VARIABLE}=maven:{version}")
        if self._docker("version", "--format", "{{.Server.Version}}") is None:
            raise CliError("no container engine answers", next_step=f"start it, or set {VARIABLE}=maven:{version}")

    @property
    def pid(self) -> int | None:
        return None

    def start(self) -> None:
        self.port = self.port or free_port()
        started = self._docker(
            *("run", "--detach", "--rm", "--name", self._name, "--publish", f"127.0.0.1:{self.port}:5432"),
            # The value is inherited, so that it is in nobody's list of processes.
            *("--env", "POSTGRES_PASSWORD", "--env", "POSTGRES_INITDB_ARGS=-E UTF8 --locale=C --auth=scram-sha-256"),
            *("--env", "PGDATA=/data/pg", "--volume", f"{self._name}:/data", self._image, *SETTINGS),
            *self._settings,
            timeout_s=PULL_TIMEOUT_S,
        )
        if started is None:
            raise CliError(f"docker did not start {self._image}", next_step=f"try `docker run --rm {self._image}`")
        self._running = True

    def failed(self) -> bool:
        return self._docker("inspect", "--format", "{{.State.Running}}", self._name) != "true"

    def stop(self) -> None:
        if self._running:
            self._docker("stop", "--time", "15", self._name, timeout_s=60)
            self._running = False

    def remove(self) -> None:
        """Stop, and delete the data."""
        self.stop()
        self._docker("volume", "rm", "--force", self._name)

    def _docker(self, *arguments: str, timeout_s: float = ANSWER_TIMEOUT_S) -> str | None:
        """What it printed; None when it failed or did not answer."""
        try:
            done = subprocess.run(
                ["docker", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
                env={**os.environ, "POSTGRES_PASSWORD": self._password},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None
