"""From a reviewer's yes to the held client's first byte, while very many other requests wait."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path

from twokey.approval.v1 import approval_pb2, approval_pb2_grpc

from decision.cli import client
from decision.cli.demo.stack import Stack
from decision.cli.options import Who
from tests.bench.load import Target
from tests.bench.world import EXECUTORS, World

VERDICT_MS = 50.0
OTHERS = 10_000
PATIENCE_S = 30.0


def fill(stack: Stack, count: int) -> int:
    """So many more pending requests, copies of one that waits: in the store as they would be, and of other askers.
    How many are pending then."""
    with closing(sqlite3.connect(stack.folder / "state" / "twokey.db", timeout=10)) as file, file:
        names = [row[1] for row in file.execute("PRAGMA table_info(approvals)")]
        own = {
            "id": "'apr_' || substr(printf('%026d', numbers.n), 1, 26)",
            "act": "randomblob(32)",
            "asker": "randomblob(32)",
        }
        columns = ", ".join(f'"{name}"' for name in names)
        values = ", ".join(own.get(name, f'one."{name}"') for name in names)
        file.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {int(count)})"
            f" INSERT INTO approvals ({columns}) SELECT {values}"
            " FROM (SELECT * FROM approvals WHERE state = 'pending' LIMIT 1) AS one, numbers"
        )
        (found,) = file.execute("SELECT count(*) FROM approvals WHERE state = 'pending'").fetchone()
    return int(found)


async def measure(world: World, count: int, others: int = OTHERS) -> dict[str, object]:
    """One after the other: a statement is held, a reviewer says yes, its client hears the result."""
    host, port = world.stack.address("held")
    target = Target(host, port, "executor", world.stack.token(EXECUTORS[0], "executor"), "held")
    token = Path(world.stack.folder) / "bob.token"
    token.touch(mode=0o600)
    token.write_text(world.stack.token("bob", "reviewer"))
    connection = await target.connect()
    times: list[float] = []
    pending = 0
    try:
        for number in range(count + 1):
            told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            def hear(_connection: object, notice: object, told: asyncio.Future[str] = told) -> None:
                if "apr_" in str(notice) and not told.done():
                    told.set_result("apr_" + str(notice).partition("apr_")[2][:26])

            connection.add_log_listener(hear)
            running = asyncio.ensure_future(connection.execute(f"DELETE FROM orders WHERE id = {200_000 + number}"))
            approval = await asyncio.wait_for(told, PATIENCE_S)
            connection.remove_log_listener(hear)
            if number == 0:
                pending = fill(world.stack, others)
            begun = await asyncio.to_thread(_approve, world.stack, token, approval)
            await asyncio.wait_for(running, PATIENCE_S)
            if number:  # the first warms up
                times.append((time.perf_counter() - begun) * 1000)
    finally:
        await connection.close()
    times.sort()
    return {
        "cell": f"verdict to the held client's first byte, {pending:,} pending, ms",
        "group": "verdict",
        "median_ms": round(statistics.median(times), 2),
        "p95_ms": round(times[int(len(times) * 0.95)], 2),
        "ceiling": VERDICT_MS,
    }


def _approve(stack: Stack, token: Path, approval: str) -> float:
    """When it was sent; the answer comes when the verdict is durable."""
    who = Who(config_path=stack.config, server=None, ca=None, token_file=token)
    with client.connect(who) as caller:
        stub = caller.stub(approval_pb2_grpc.ApprovalServiceStub)
        stub.Get(approval_pb2.GetRequest(id=approval), metadata=caller.metadata, timeout=client.TIMEOUT_S)  # connected
        begun = time.perf_counter()
        request = approval_pb2.ApproveRequest(id=approval, channel="bench")
        stub.Approve(request, metadata=caller.metadata, timeout=client.TIMEOUT_S)
    return begun


__all__ = ["fill", "measure"]
