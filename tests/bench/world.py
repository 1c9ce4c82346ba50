"""What is measured, all on one machine: PostgreSQL with its usual durability, and the rungs of the ladder before it.

The databases: `company` (pgbench's tables small enough for memory, and a table for bulk reads), `tpcb` (pgbench's
tables large enough that writers seldom meet). The shipped policy is in force, with one change to its data: a planner's
budget in development is a million rows, or no bulk read could be let through; it is enforced and counted all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from ruamel.yaml import YAML

from decision.cli.demo.stack import DATABASE, Stack
from tests.bench import machine
from tests.bench.bouncer import Bouncer, SetupError
from tests.bench.load import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
TPCB = "tpcb"
SCALE = 5
BUDGET = 1_000_000
EXECUTORS = tuple(f"executor-{number}" for number in range(1, 7))  # nobody may have more than 100 requests open
SETTINGS = (
    *("fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=256MB", "max_connections=1200"),
    *("max_wal_size=4GB", "checkpoint_timeout=30min", "autovacuum=off"),
)
DIRECT, BOUNCER, RELAY, POLICY, MASKED = "direct", "pgbouncer", "transparent", "policy", "masked"
WIDE = "id, name, email, city, born, pan, note, paid"
RUNGS = (DIRECT, BOUNCER, RELAY, POLICY, MASKED)

CONNECTION = """\
  - name: {name}
    kind: postgres
    environment: {environment}
    upstream: {upstream}
    credentials:
      planner: {{user: company_ro, password: {{env: COMPANY_RO_PASSWORD}}}}
      executor: {{user: company_rw, password: {{env: COMPANY_RW_PASSWORD}}}}
{classification}"""
PEOPLE = "principals:\n  - {name: alice, groups: [dba]}\n  - {name: bob, groups: [dba]}\n  - {name: carol}\nagents:\n"


class BenchStack(Stack):
    def __init__(self, workers: int) -> None:
        agents = "".join(f"  - {{name: {name}, owner: alice}}\n" for name in EXECUTORS)
        super().__init__(people=f"{PEOPLE}{agents}  - {{name: planner-3, owner: carol}}\n", database_settings=SETTINGS)
        self.workers = workers

    def start_database(self) -> None:
        super().start_database()
        (self.folder / "masked.classification.yaml").write_text(
            "public.pgbench_accounts.abalance: balance\npublic.bulk.email: pan\npublic.wide_one.name: name\n"
            "public.wide_four.name: name\npublic.wide_four.email: email\n"
            "public.wide_four.born: born\npublic.wide_four.pan: pan\n",
            encoding="utf-8",
        )
        shutil.copytree(ROOT / "rego" / "data", self.folder / "policy-data")
        budgets = self.folder / "policy-data" / "budgets.yaml"
        yaml = YAML()
        document = yaml.load(budgets.read_text(encoding="utf-8"))
        document["environments"]["development"]["read"] = BUDGET
        with budgets.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
        (self.folder / "policy-data" / "masking.yaml").write_text(
            'clear: {executor: ["*"]}\ndefault: {type: "null"}\nmaskers:\n  pan: {type: keep-last, n: 4, fill: "*"}\n'
            "  email: {type: email}\n  born: {type: truncate-date, to: year}\n",
            encoding="utf-8",
        )
        self.configure(self.workers)

    def configure(self, workers: int) -> None:
        company, tpcb = self.database.url(DATABASE), self.database.url(TPCB)
        masked = "    classification: masked.classification.yaml\n"
        connections = "".join(
            CONNECTION.format(name=name, environment=environment, upstream=upstream, classification=classification)
            for name, environment, upstream, classification in (
                ("bench", "development", company, ""),
                ("masked", "development", company, masked),
                ("held", "production", company, ""),
                (TPCB, "development", tpcb, ""),
            )
        )
        self.config.write_text(
            f"people: people.yaml\npolicy: {{data: policy-data}}\nconnections:\n{connections}"
            f"enforcers: {{postgres: {{workers: {workers}, max_connections: 1200}}}}\n"
            "store: sqlite:///state/twokey.db\naudit: {dir: state/audit}\n",
            encoding="utf-8",
        )


@dataclass
class World:
    """Started by `with`. `without` says why a rung is missing."""

    workers: int = 1
    rows: int = 500_000
    tpcb_scale: int = 32
    without: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> World:
        self.stack = BenchStack(self.workers)
        self._bouncer: Bouncer | None = None
        self._relay: subprocess.Popen[str] | None = None
        try:
            self.stack.start()
            self._relay_port = self._start_relay()
            self._start_bouncer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._bouncer is not None:
            self._bouncer.stop()
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()
            if self._relay.stdout is not None:
                self._relay.stdout.close()
        self.stack.stop()

    def restart(self, workers: int) -> None:
        """The same database behind another number of workers."""
        self.stack.stop_twokey()
        self.stack.configure(workers)
        self.stack.start_twokey()

    # -- the databases ----------------------------------------------------------------------------------------------

    def prepare_select(self) -> None:
        self._pgbench_tables(DATABASE, SCALE)
        self.stack.database.run(
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {DATABASE}_ro;"
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {DATABASE}_rw;",
            database=DATABASE,
        )

    def prepare_bulk(self) -> None:
        self.stack.database.run(
            "CREATE TABLE bulk AS SELECT n AS id, 'Somebody ' || n AS name, 'somebody' || n || '@example.org' AS email,"
            " (ARRAY['Lisbon', 'Oslo', 'Pune', 'Quito'])[1 + n % 4] AS city"
            f" FROM generate_series(1, {self.rows}) AS n; GRANT SELECT ON bulk TO {DATABASE}_ro; VACUUM ANALYZE bulk;",
            database=DATABASE,
        )

    def prepare_masked(self) -> None:
        """The same eight columns twice, with one and with four of them classified."""
        for table in ("wide_one", "wide_four"):
            self.stack.database.run(
                f"CREATE TABLE {table} AS SELECT n AS id, 'Somebody ' || n AS name,"
                " 'somebody' || n || '@example.org' AS email,"
                " (ARRAY['Lisbon', 'Oslo', 'Pune', 'Quito'])[1 + n % 4] AS city,"
                " date '1940-01-01' + n % 25000 AS born, lpad(n::text, 16, '4') AS pan, 'note ' || n AS note,"
                f" n % 2 = 0 AS paid FROM generate_series(1, {self.rows}) AS n;"
                f" GRANT SELECT ON {table} TO {DATABASE}_ro; VACUUM ANALYZE {table};",
                database=DATABASE,
            )

    def prepare_write(self) -> None:
        self.stack.database.run(f"CREATE DATABASE {TPCB}")
        self._pgbench_tables(TPCB, self.tpcb_scale)
        self.stack.database.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {DATABASE}_rw", database=TPCB)

    def _pgbench_tables(self, database: str, scale: int) -> None:
        environment = self.stack.database.environment("postgres", self.stack.database.admin_password)
        subprocess.run(
            [str(self.stack.database.pgbench), "-i", "-q", "-s", str(scale), database],
            check=True,
            capture_output=True,
            env={**environment, "PGDATABASE": database},
        )
        self.stack.database.run("CHECKPOINT", database=database)

    # -- the rungs --------------------------------------------------------------------------------------------------

    def target(self, rung: str, role: str = "planner", database: str = DATABASE) -> Target:
        if rung in {POLICY, MASKED}:
            connection = {POLICY: TPCB if database == TPCB else "bench", MASKED: "masked"}[rung]
            host, port = self.stack.address(connection)
            subject = "planner-3" if role == "planner" else EXECUTORS[0]
            return Target(host, port, role, self.stack.token(subject, role), connection)
        account = f"{DATABASE}_ro" if role == "planner" else f"{DATABASE}_rw"
        ports = {DIRECT: self.stack.database.port, RELAY: self._relay_port}
        if self._bouncer is not None:
            ports[BOUNCER] = self._bouncer.port
        return Target("127.0.0.1", ports[rung], account, self.stack.passwords[account], database)

    def rungs(self, wanted: Sequence[str]) -> Iterator[str]:
        return (rung for rung in RUNGS if rung in wanted and rung not in self.without)

    def processes(self, rung: str) -> dict[str, list[int]]:
        """Whose CPU a rung costs: the gateway's own, and the decision service's with its OPA."""
        if rung == BOUNCER:
            return {"gateway": [self._bouncer.process.pid] if self._bouncer is not None else []}
        if rung == RELAY:
            return {"gateway": [self._relay.pid] if self._relay is not None else []}
        return self.own() if rung in {POLICY, MASKED} else {}

    def own(self) -> dict[str, list[int]]:
        """The gateway's processes, the decision service's, and OPA."""
        every = machine.children(self.stack.pid)
        return {
            "gateway": machine.named(every, "-m enforcers"),
            "decision": machine.named(every, "-m decision "),
            "opa": machine.named(every, "run --server"),
        }

    def check(self) -> None:
        """That the rungs are what they are called: masked is masked, the others are not. Raises RuntimeError."""
        for rung in self.rungs(RUNGS):
            target = self.target(rung)
            with psycopg.connect(
                host=target.host,
                port=target.port,
                user=target.user,
                password=target.password,
                dbname=target.database,
                sslmode="disable",
                autocommit=True,
            ) as client:
                email = client.execute("SELECT email FROM bulk WHERE id = 7").fetchone()
            shown = None if email is None else email[0]
            whole = "somebody7@example.org"
            if shown != ("*" * (len(whole) - 4) + whole[-4:] if rung == MASKED else whole):
                raise RuntimeError(f"the rung {rung!r} answers {shown!r}")

    def _start_relay(self) -> int:
        self._relay = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.relay", f"127.0.0.1:{self.stack.database.port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", "")},
        )
        if self._relay.stdout is None:
            raise RuntimeError("the relay has no output")
        line = self._relay.stdout.readline().strip()
        if not line:
            raise RuntimeError("the relay did not start")
        return int(line)

    def _start_bouncer(self) -> None:
        users = dict(self.stack.passwords)
        try:
            self._bouncer = Bouncer(self.stack.folder / "pgbouncer", self.stack.database.port, (DATABASE, TPCB), users)
        except (SetupError, RuntimeError) as error:
            self.without[BOUNCER] = str(error)
