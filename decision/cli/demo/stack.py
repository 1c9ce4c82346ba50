"""A whole twokey on the sample company: PostgreSQL, the configuration, and `twokey up --dev` as a process.

The demo acts on it, and the end-to-end tests run against it, so that what is shown is what is tested.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from decision.cli.children import die_with_parent
from decision.cli.demo.database import Database, scratch_folder
from decision.cli.demo.terminal import Terminal
from decision.cli.errors import CliError

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0
_NEWEST = 64  # records that are asked for at first
_MANY = 4096  # above it all are
DATABASE = "company"

# Who acts in which role, where nobody else is named.
SUBJECTS = {"planner": "planner-3", "executor": "executor-7", "reviewer": "bob", "auditor": "erin", "admin": "frank"}

CONFIG = """\
people: people.yaml
connections:
  - name: company
    kind: postgres
    environment: production
    upstream: {upstream}
    credentials:
      planner: {{user: company_ro, password: {{env: COMPANY_RO_PASSWORD}}}}
      executor: {{user: company_rw, password: {{env: COMPANY_RW_PASSWORD}}}}
    classification: company.classification.yaml
  - name: sandbox  # the same database, where less is at stake
    kind: postgres
    environment: development
    upstream: {upstream}
    credentials:
      planner: {{user: company_ro, password: {{env: COMPANY_RO_PASSWORD}}}}
      executor: {{user: company_rw, password: {{env: COMPANY_RW_PASSWORD}}}}
    classification: company.classification.yaml
store: sqlite:///state/twokey.db
audit: {{dir: state/audit}}
"""

PEOPLE = """\
principals:
  - {name: alice, groups: [dba]}     # owns executor-7, so she may never approve what it asks
  - {name: bob, groups: [dba]}
  - {name: carol, groups: [developers]}
  - {name: dana, groups: [dba]}
  - {name: erin, groups: [auditors]}
  - {name: frank, groups: [admins]}
agents:
  - {name: executor-7, owner: alice}
  - {name: planner-3, owner: carol}
"""

CLASSIFICATION = """\
public.customers.email: email
public.cards.pan: pan
public.employees.salary: salary
"""


class Stack:
    """Started by `start`, ended by `stop`; also a context manager."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        config: str = CONFIG,
        people: str = PEOPLE,
        database_settings: Sequence[str] = (),
    ) -> None:
        """database_settings: of the target, each `name=value`."""
        self._own_folder = folder is None
        self.folder = folder or scratch_folder("twokey-")
        self.database = Database(self.folder / "postgresql", settings=database_settings)
        self.ready: dict[str, object] = {}
        self._config_text = config
        self._people_text = people
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords = {"company_ro": secrets.token_urlsafe(16), "company_rw": secrets.token_urlsafe(16)}
        self._tokens: dict[tuple[str, ...], tuple[float, str]] = {}
        self._records: dict[tuple[str, str], list[dict[str, object]]] = {}  # by reader

    @property
    def config(self) -> Path:
        return self.folder / "twokey.yaml"

    @property
    def log(self) -> Path:
        """What `twokey up` and its children wrote to standard error."""
        return self.folder / "up.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise CliError("twokey up is not running")
        return self._process.pid

    @property
    def passwords(self) -> Mapping[str, str]:
        """The target's, by user: for tests that look for them where they must not be."""
        return self._passwords

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises CliError with the end of the log when anything does not start."""
        self.start_database()
        self.start_twokey()

    def start_database(self) -> None:
        self.database.start()
        self.database.create_company(
            DATABASE,
            read_password=self._passwords["company_ro"],
            write_password=self._passwords["company_rw"],
        )
        self.config.write_text(self._config_text.format(upstream=self.database.url(DATABASE)), encoding="utf-8")
        (self.folder / "people.yaml").write_text(self._people_text, encoding="utf-8")
        (self.folder / "company.classification.yaml").write_text(CLASSIFICATION, encoding="utf-8")

    def start_twokey(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command(), "up", "-c", str(self.config), "--dev"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.up_environment(),
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - makes one system call, through a library loaded before
            )
        self.ready = json.loads(self._ready_line(self._process))

    def up_environment(self) -> dict[str, str]:
        return {
            **self.base_environment(),
            "COMPANY_RO_PASSWORD": self._passwords["company_ro"],
            "COMPANY_RW_PASSWORD": self._passwords["company_rw"],
        }

    def stop_twokey(self, *, number: int = signal.SIGTERM) -> int:
        """Returns the exit status of `twokey up`."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            status = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        self._tokens.clear()
        return status

    def stop(self, *, remove: bool = True) -> None:
        self.stop_twokey()
        if remove:
            self.database.remove()
            if self._own_folder:
                shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.database.stop()

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log_tail(self, lines: int = 20) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _ready_line(self, process: subprocess.Popen[bytes]) -> bytes:
        stdout = process.stdout
        line = b""
        deadline = time.monotonic() + START_TIMEOUT_S
        while stdout is not None and not line.endswith(b"\n") and time.monotonic() < deadline:
            if select.select([stdout], [], [], 0.5)[0]:
                more = os.read(stdout.fileno(), 65536)
                if not more:
                    break
                line += more
        if not line.endswith(b"\n"):
            self.stop_twokey()
            raise CliError(f"twokey up did not get ready. The end of its log:\n{self.log_tail()}")
        return line

    # -- acting -----------------------------------------------------------------------------------------------------

    def twokey(
        self, *arguments: str, token: str | None = None, timeout_s: float = 30.0, config: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """The command line as a person would run it; the token, where given, on standard input."""
        extra = ["-c", str(self.config)] if config else []
        extra += ["--token-file", "-"] if token is not None else []
        return subprocess.run(
            [*self.command(), *arguments, *extra],
            input=token,
            stdin=subprocess.DEVNULL if token is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=self.base_environment(),
        )

    def token(self, subject: str, *roles: str, actors: Sequence[str] = (), ttl_s: int = 3600) -> str:
        """From `twokey token`; kept for half its lifetime, and for its issuer's, whose key is new at each start.

        Raises CliError, also while the decision service is away.
        """
        try:
            issuer = (self.folder / "state" / "dev" / "issuer.sock").stat()
        except FileNotFoundError:
            raise CliError("the development issuer is not there (yet)") from None
        key = (str(issuer.st_ino), str(issuer.st_ctime_ns), subject, *roles, "|", *actors, str(ttl_s))
        made, token = self._tokens.get(key, (0.0, ""))
        if not token or time.monotonic() - made > ttl_s / 2:
            options = [option for role in roles for option in ("--role", role)]
            options += [option for actor in actors for option in ("--actor", actor)]
            done = self.twokey("token", "--subject", subject, "--ttl", str(ttl_s), *options)
            if done.returncode != 0:
                raise CliError(f"no token for {subject}: {done.stderr.strip()}")
            token = done.stdout.strip()
            self._tokens[key] = (time.monotonic(), token)
        return token

    def address(self, connection: str = DATABASE) -> tuple[str, int]:
        addresses = self.ready["postgres"]
        if not isinstance(addresses, dict):
            raise CliError("the ready line names no PostgreSQL gateway")
        host, _, port = str(addresses[connection]).rpartition(":")
        return host, int(port)

    def environment(
        self, role: str, *, subject: str | None = None, connection: str = DATABASE, token: str | None = None
    ) -> dict[str, str]:
        """What psql or psycopg needs to reach `connection` through the gateway in `role`."""
        host, port = self.address(connection)
        token = token if token is not None else self.token(subject or SUBJECTS[role], role)
        return {
            **self.base_environment(),
            "PGHOST": host,
            "PGPORT": str(port),
            "PGUSER": role,
            "PGDATABASE": connection,
            "PGPASSWORD": token,
            "PGCONNECT_TIMEOUT": "10",
        }

    def psql(
        self,
        role: str,
        *statements: str,
        subject: str | None = None,
        connection: str = DATABASE,
        arguments: Sequence[str] = (),
        timeout_s: float = 30.0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """One psql, one -c per statement; unaligned rows on stdout, errors and notices on stderr."""
        commands = [part for statement in statements for part in ("-c", statement)]
        return subprocess.run(
            [str(self.database.psql), "-X", "-A", "-t", "-P", "pager=off", *arguments, *commands],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=environment or self.environment(role, subject=subject, connection=connection),
        )

    def terminal(
        self, role: str, *, subject: str | None = None, connection: str = DATABASE, arguments: Sequence[str] = ()
    ) -> Terminal:
        """A psql that stays open."""
        return Terminal(self.database.psql, self.environment(role, subject=subject, connection=connection), arguments)

    def review(
        self,
        verdict: str,
        approval: str,
        *,
        subject: str = "bob",
        roles: Sequence[str] = ("reviewer",),
        reason: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """`twokey approvals approve|deny` as `subject`."""
        options = ["--reason", reason] if reason else []
        return self.twokey("approvals", verdict, approval, *options, token=self.token(subject, *roles))

    def records(
        self, operation: str | None = None, *, subject: str = "erin", role: str = "auditor"
    ) -> list[dict[str, object]]:
        """The audit log, or the records of one operation, as this reader is shown them.

        What was shown once is kept: of a log of thousands only the newest are asked for again.
        """
        token = self.token(subject, role)
        if operation:
            return self._shown("show", operation, token=token)
        known = self._records.setdefault((subject, role), [])
        wanted = _NEWEST
        while True:
            newest = self._shown("tail", "-n", str(wanted), token=token)
            new = [record for record in newest if int(str(record["index"])) >= len(known)]
            if len(new) < len(newest) or len(newest) < wanted or not wanted:
                known += new
                return list(known)
            wanted = wanted * 8 if wanted < _MANY else 0  # they aren't all that there are

    def _shown(self, *arguments: str, token: str) -> list[dict[str, object]]:
        done = self.twokey("audit", *arguments, "--json", token=token)
        if done.returncode != 0:
            raise CliError(f"the audit log can't be read: {done.stderr.strip()}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    @staticmethod
    def command() -> list[str]:
        """How this very twokey is started as a process."""
        return [sys.executable, "-I", "-m", "decision.cli.main"]

    @staticmethod
    def base_environment() -> dict[str, str]:
        """What a process of the stack may inherit: no PG* variable and no secret of the caller."""
        names = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "TWOKEY_CACHE")
        return {**{name: os.environ[name] for name in names if name in os.environ}, "PYTHONUTF8": "1"}
