"""`make bench`: what the gateway costs, as ratios against the same server without it, in one run.

    python -m tests.bench.run [--seconds 5] [--rounds 3] [--workers 1] [--json FILE]

Direct and gateway take turns round by round, so that a machine whose speed drifts drifts for both; each figure is
the median of the rounds. Policy is in force, leases are warm, intents are recorded in the lease's window.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from decision.cli.demo.stack import CONFIG, DATABASE, Stack

CELLS = tuple((protocol, clients) for protocol in ("simple", "prepared") for clients in (1, 8))
SCALE = 5
FLOOR = 0.15
MISS_MS = 4.0
CONNECT_MS = 15.0


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
        )


def targets(stack: Stack) -> tuple[Target, Target]:
    """The planner's own account without the gateway, and the planner through it."""
    host, port = stack.address()
    direct = Target(
        "127.0.0.1", stack.database.port, f"{DATABASE}_ro", stack.up_environment()["COMPANY_RO_PASSWORD"], DATABASE
    )
    return direct, Target(host, port, "planner", stack.token("planner-3", "planner"), DATABASE)


def prepare(stack: Stack) -> None:
    environment = stack.database.environment("postgres", stack.database.admin_password)
    subprocess.run(
        [str(stack.database.pgbench), "-i", "-q", "-s", str(SCALE), DATABASE],
        check=True,
        capture_output=True,
        env={**environment, "PGDATABASE": DATABASE},
    )
    stack.database.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {DATABASE}_ro", database=DATABASE)


def pgbench(stack: Stack, target: Target, protocol: str, clients: int, seconds: int) -> float:
    """Transactions a second of `pgbench -S`. Raises RuntimeError with what pgbench said when it failed."""
    done = subprocess.run(
        [
            str(stack.database.pgbench),
            *("-n", "-S", "-M", protocol, "-c", str(clients), "-j", "1", "-T", str(seconds), "-s", str(SCALE)),
            target.database,
        ],
        capture_output=True,
        text=True,
        check=False,
        env=target.environment(),
    )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench failed: {done.stderr[-2000:]}")
    return float(found.group(1))


def throughput(stack: Stack, seconds: int, rounds: int) -> list[dict[str, object]]:
    direct, gateway = targets(stack)
    rows: list[dict[str, object]] = []
    for protocol, clients in CELLS:
        pgbench(stack, gateway, protocol, clients, 1)  # warm leases and caches
        pairs = [
            (
                pgbench(stack, direct, protocol, clients, seconds),
                pgbench(stack, gateway, protocol, clients, seconds),
            )
            for _ in range(rounds)
        ]
        without, through = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows.append(
            {
                "cell": f"pgbench -S {protocol} c{clients}",
                "direct_tps": round(without),
                "gateway_tps": round(through),
                "ratio": round(statistics.median(b / a for a, b in pairs), 3),
                "floor": FLOOR,
            }
        )
        report(rows[-1])
    return rows


async def _timed(connection: asyncpg.Connection, statement: str) -> float:
    started = time.perf_counter()
    await connection.execute(statement)
    return (time.perf_counter() - started) * 1000


async def misses(stack: Stack, count: int) -> dict[str, object]:
    """Statements whose shape nobody has seen: each alias is new, so each is described, asked and recorded anew."""
    direct, gateway = targets(stack)
    a, b = await direct.connect(), await gateway.connect()
    try:
        pairs = []
        for number in range(count):
            statement = (
                f"SELECT abalance AS fresh_{os.getpid()}_{number} FROM pgbench_accounts WHERE aid = {number + 1}"
            )
            pairs.append((await _timed(a, statement), await _timed(b, statement)))
    finally:
        await a.close()
        await b.close()
    added = sorted(through - without for without, through in pairs)
    return {
        "cell": "decision that misses every lease, added ms",
        "median_ms": round(statistics.median(added), 2),
        "p95_ms": round(added[int(len(added) * 0.95)], 2),
        "ceiling": MISS_MS,
    }


async def connects(stack: Stack, count: int) -> dict[str, object]:
    """Connect, log in, and close; each target in turn."""
    times: list[tuple[float, float]] = []
    for _ in range(count):
        pair = []
        for target in targets(stack):
            started = time.perf_counter()
            connection = await target.connect()
            pair.append((time.perf_counter() - started) * 1000)
            await connection.close()
        times.append((pair[0], pair[1]))
    direct, through = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "cell": "connect and log in, added ms",
        "direct_ms": round(direct, 2),
        "gateway_ms": round(through, 2),
        "median_ms": round(statistics.median(b - a for a, b in times), 2),
        "ceiling": CONNECT_MS,
    }


def report(row: dict[str, object]) -> None:
    print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)  # noqa: T201 - a bench prints


def missed(rows: list[dict[str, object]]) -> list[str]:
    """The cells outside their bound."""
    out = []
    for row in rows:
        if "floor" in row and float(str(row["ratio"])) < float(str(row["floor"])):
            out.append(f"{row['cell']}: {row['ratio']} is below {row['floor']}")
        if "ceiling" in row and float(str(row["median_ms"])) > float(str(row["ceiling"])):
            out.append(f"{row['cell']}: {row['median_ms']} ms is above {row['ceiling']}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="of each pgbench run")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs a cell")
    parser.add_argument("--workers", type=int, default=1, help="processes of the gateway on its one port")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    config = CONFIG + f"enforcers: {{{{postgres: {{{{workers: {arguments.workers}}}}}}}}}\n"
    with Stack(config=config) as stack:
        prepare(stack)
        rows = throughput(stack, arguments.seconds, arguments.rounds)
        for row in (asyncio.run(misses(stack, 200)), asyncio.run(connects(stack, 40))):
            report(row)
            rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    failures = missed(rows)
    for line in failures:
        print(f"outside its bound: {line}", file=sys.stderr)  # noqa: T201 - a bench prints
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
