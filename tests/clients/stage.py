"""Two PostgreSQL servers made alike, one behind a gateway whose policy allows everything, one reached directly.

The account at the target is named as the role that a client activates, and the databases as the connections, so that
a client is started with the same words on either side and may tell its side by nothing but port and password.
Two servers, so that what one side does leaves no trace (object ids, dead rows, statistics) on the other.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from decision.cli.demo.database import Database
from decision.cli.demo.stack import PEOPLE, Stack
from tests.clients.recorder import Recording, Tap

ACCOUNT = "executor"  # role here, account there
DATABASE = "company"
DATABASES = ("company", "postgres", "test_company", "dumped", "restored", "suite")  # each a connection of the same name
_FIXED = ("test_company",)  # made by the client itself (Django)

_HEAD = "people: people.yaml\npolicy: {rego: POLICY}\nconnections:\n"
_CONNECTION = """\
  - name: NAME
    kind: postgres
    environment: production
    upstream: URL
    credentials:
      executor: {user: executor, password: {env: COMPANY_RW_PASSWORD}}
"""
_TAIL = "store: sqlite:///state/twokey.db\naudit: {dir: state/audit}\n"
SIDES = ("direct", "gateway")
POLICY = Path(__file__).with_name("policy")


def prepare(database: Database, password: str) -> None:
    """The same objects in the same order, so with the same ids. No superuser: an application's account."""
    database.run(f"CREATE ROLE {ACCOUNT} LOGIN CREATEDB PASSWORD '{password}'")
    database.run("ALTER SYSTEM SET autovacuum = off")  # it would change estimates and rows' order on one side only
    database.run("ALTER SYSTEM SET max_prepared_transactions = 10")
    database.stop()
    database.start()
    for name in DATABASES:
        if name not in {"postgres", *_FIXED}:
            database.run(f"CREATE DATABASE {name} OWNER {ACCOUNT}")


class ClientStack(Stack):
    """The gateway's side: a stack whose policy allows everything, with each of DATABASES as a connection."""

    def start_database(self) -> None:
        self.database.start()
        prepare(self.database, self.passwords["company_rw"])
        connections = [_CONNECTION.replace("NAME", name).replace("URL", self.database.url(name)) for name in DATABASES]
        self.config.write_text("".join([_HEAD.replace("POLICY", str(POLICY)), *connections, _TAIL]), encoding="utf-8")
        (self.folder / "people.yaml").write_text(PEOPLE, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Played:
    """What a client did and said on one side."""

    status: int
    stdout: str
    stderr: str
    recording: Recording


class Stage:
    """Both sides. `play` runs one client on one of them, through a tap that records it."""

    def __init__(self) -> None:
        self.stack = ClientStack()
        self.direct = Database(self.stack.folder / "direct")

    def __enter__(self) -> Stage:
        try:
            self.stack.start()
            self.direct.start()
            prepare(self.direct, self.password)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self.direct.remove()
        self.stack.stop()

    @property
    def password(self) -> str:
        return self.stack.passwords["company_rw"]

    def address(self, side: str) -> tuple[str, int]:
        return self.stack.address(DATABASE) if side == "gateway" else ("127.0.0.1", self.direct.port)

    def secret(self, side: str) -> str:
        return self.stack.token("executor-7", ACCOUNT) if side == "gateway" else self.password

    def server(self, side: str) -> Database:
        """The target of that side, for its superuser."""
        return self.stack.database if side == "gateway" else self.direct

    def level(self) -> None:
        """What an earlier client left is gone, and both servers give out the same object ids from here on."""
        for side in SIDES:
            server = self.server(side)
            for gid in server.run(
                "SELECT gid FROM pg_prepared_xacts WHERE database = 'company'", database=DATABASE
            ).split():
                server.run(f"ROLLBACK PREPARED '{gid}'", database=DATABASE)
            server.run("SET client_min_messages = error; DROP SCHEMA IF EXISTS talk CASCADE", database=DATABASE)
        following = {side: int(self.server(side).run("SELECT lo_create(0)")) for side in SIDES}
        for side in SIDES:
            behind = max(following.values()) - following[side]
            self.server(side).run(f"SELECT count(lo_unlink(lo_create(0))) FROM generate_series(1, {behind})")
            self.server(side).run(f"SELECT lo_unlink({following[side]})")

    def binary(self, name: str) -> str:
        return str(self.direct.psql.with_name(name))

    def play(
        self,
        side: str,
        command: Sequence[str | Path],
        *,
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
        database: str = DATABASE,
        folder: Path | None = None,
        timeout_s: float = 180.0,
    ) -> Played:
        """Runs `command` with the PG* variables of that side."""
        with Tap(self.address(side)) as tap:
            done = subprocess.run(
                [str(part) for part in command],
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
                cwd=folder,
                env={
                    **Stack.base_environment(),
                    "TZ": "UTC",
                    "PYTHONHASHSEED": "0",
                    "LC_ALL": "C.UTF-8",
                    "PGHOST": "127.0.0.1",
                    "PGPORT": str(tap.port),
                    "PGUSER": ACCOUNT,
                    "PGPASSWORD": self.secret(side),
                    "PGDATABASE": database,
                    "PGSSLMODE": "disable",
                    "PGGSSENCMODE": "disable",
                    "PGCONNECT_TIMEOUT": "10",
                    **(environment or {}),
                },
            )
        return Played(done.returncode, done.stdout, done.stderr, tap.recording)
