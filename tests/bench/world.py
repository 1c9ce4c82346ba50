"""What is measured, all on one machine: PostgreSQL with its usual durability, and the rungs of the ladder before it.

The databases: `company` (pgbench's tables small enough for memory, and a table for bulk reads), `tpcb` (pgbench's
tables large enough that writers seldom meet). The shipped policy is in force, with one change to its data: a planner's
budget in development is a million rows, or no bulk read could be let through; it is enforced and counted all the same.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from ruamel.yaml import YAML

import decision.rpc  # noqa: F401 - it sets gRPC up as the gateway and the service run it, and a relay is to run it so too
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
EXECUTORS = tuple(f"executor-{number}" for number in range(1, 7))  # of one owner: approvals.yaml lets them ask for many
SETTINGS = (
    *("fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=256MB", "max_connections=1200"),
    *("max_wal_size=4GB", "checkpoint_timeout=30min", "autovacuum=off"),
)
DIRECT, BOUNCER, RELAY, POLICY, MASKED = "direct", "pgbouncer", "transparent", "policy", "masked"
WIDE = "id, name, email, city, born, pan, note, paid"
DURABLE = "durable relay"
RUNGS = (DIRECT, BOUNCER, RELAY, DURABLE, POLICY, MASKED)

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
        (self.folder / "policy-data" / "approvals.yaml").write_text(
            "default: {groups: [dba], quorum: 1, expires_s: 3600}\nrules: {}\nrequests: {live: 20000, hour: 100000}\n",
            encoding="utf-8",
        )
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
        self._relays: dict[str, subprocess.Popen[str]] = {}
        self._relay_ports: dict[str, int] = {}
        self._durable_log = 0  # process id
        try:
            self.stack.start()
            self._start_relays()
            self._start_bouncer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._bouncer is not None:
            self._bouncer.stop()
        if self._durable_log:
            os.kill(self._durable_log, signal.SIGKILL)
        for relay in self._relays.values():
            relay.kill()
            relay.wait()
            if relay.stdout is not None:
                relay.stdout.close()
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

    def prepare_masked(self, rows: int) -> None:
        """The same eight columns twice, with one and with four of them classified."""
        for table in ("wide_one", "wide_four"):
            self.stack.database.run(
                f"CREATE TABLE {table} AS SELECT n AS id, 'Somebody ' || n AS name,"
                " 'somebody' || n || '@example.org' AS email,"
                " (ARRAY['Lisbon', 'Oslo', 'Pune', 'Quito'])[1 + n % 4] AS city,"
                " date '1940-01-01' + n % 25000 AS born, lpad(n::text, 16, '4') AS pan, 'note ' || n AS note,"
                f" n % 2 = 0 AS paid FROM generate_series(1, {rows}) AS n;"
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
        ports = {DIRECT: self.stack.database.port, **self._relay_ports}
        if self._bouncer is not None:
            ports[BOUNCER] = self._bouncer.port
        return Target("127.0.0.1", ports[rung], account, self.stack.passwords[account], database)

    def rungs(self, wanted: Sequence[str]) -> Iterator[str]:
        return (rung for rung in RUNGS if rung in wanted and rung not in self.without)

    def processes(self, rung: str) -> dict[str, list[int]]:
        """Whose CPU a rung costs: the gateway's own, and the decision service's with its OPA."""
        if rung == BOUNCER:
            return {"gateway": [self._bouncer.process.pid] if self._bouncer is not None else []}
        if rung in self._relays:
            log = {"decision": [self._durable_log]} if rung == DURABLE else {}
            return {"gateway": [self._relays[rung].pid], **log}
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

    def _start_relays(self) -> None:
        database = f"127.0.0.1:{self.stack.database.port}"
        self._start_relay(RELAY, "tests.bench.relay", database)
        self._relay_ports[RELAY] = self._said(RELAY)
        self._start_relay(DURABLE, "tests.bench.durable", database, str(self.stack.folder / "durable.log"))
        self._durable_log = self._said(DURABLE)
        self._relay_ports[DURABLE] = self._said(DURABLE)

    def _start_relay(self, rung: str, module: str, *arguments: str) -> None:
        self._relays[rung] = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", ""), "GRPC_EXPERIMENTS": os.environ.get("GRPC_EXPERIMENTS", "")},
        )

    def _said(self, rung: str) -> int:
        """The next number that a relay prints."""
        output = self._relays[rung].stdout
        line = "" if output is None else output.readline().strip()
        if not line:
            raise RuntimeError(f"the {rung} did not start")
        return int(line)

    def _start_bouncer(self) -> None:
        users = dict(self.stack.passwords)
        try:
            self._bouncer = Bouncer(self.stack.folder / "pgbouncer", self.stack.database.port, (DATABASE, TPCB), users)
        except (SetupError, RuntimeError) as error:
            self.without[BOUNCER] = str(error)
