"""Generators of load: pgbench's scripts, and a bulk read by psql. Each answers how much it did, and how fast."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg

TRANSACTION = 7  # statements of pgbench's default script
_TIME = re.compile(r"^Time: ([0-9.]+) ms", re.MULTILINE)
_TPS = re.compile(r"tps = ([0-9.]+)")
_DONE = re.compile(r"number of transactions actually processed: (\d+)")
_FAILED = re.compile(r"number of failed transactions: (\d+)")


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int
    user: str
    password: str
    database: str

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable",
            "PGCONNECT_TIMEOUT": "20",
        }

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.database,
            ssl=False,
            statement_cache_size=0,
            timeout=60,
        )


@dataclass(frozen=True, slots=True)
class Done:
    """rate: of what the cell counts, a second. statements: how many ran."""

    rate: float
    statements: int


@dataclass(frozen=True, slots=True)
class Pgbench:
    program: Path
    protocol: str
    clients: int
    select_only: bool = True

    def __call__(self, target: Target, seconds: int) -> Done:
        """Raises RuntimeError with what pgbench said when it failed."""
        script = ["-S"] if self.select_only else []
        done = subprocess.run(
            [
                str(self.program),
                *("-n", *script, "-M", self.protocol, "-c", str(self.clients), "-j", "1"),
                *("-T", str(seconds), target.database),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 120,
            env=target.environment(),
        )
        tps, count, failed = (pattern.search(done.stdout) for pattern in (_TPS, _DONE, _FAILED))
        if done.returncode == 0 and tps is None:
            raise RuntimeError("pgbench got no transaction done in its time")
        if done.returncode != 0 or tps is None or count is None or (failed is not None and int(failed[1])):
            raise RuntimeError(f"pgbench failed: {' '.join(done.stderr[-2000:].split())}")
        return Done(float(tps[1]), int(count[1]) * (1 if self.select_only else TRANSACTION))


@dataclass(frozen=True, slots=True)
class Bulk:
    """One statement by psql, its rows thrown away; psql's own timing, so without its start and log-in."""

    program: Path
    statement: str
    rows: int

    def __call__(self, target: Target, _seconds: int) -> Done:
        done = subprocess.run(
            [
                str(self.program),
                *("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-c", "\\timing on", "-c", "\\o /dev/null", "-c", self.statement),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=target.environment(),
        )
        taken = _TIME.search(done.stdout)
        if done.returncode != 0 or taken is None:
            raise RuntimeError(f"psql failed: {' '.join(done.stderr[-2000:].split())}")
        return Done(self.rows / (float(taken[1]) / 1000), self.rows)
