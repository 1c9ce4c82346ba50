"""What a plan of a hundred steps takes to preview: each described, decided as its executor would be, nothing done."""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twokey.plan.v1 import plan_pb2, plan_pb2_grpc

from decision.cli import client
from decision.cli.options import Who
from tests.bench.world import EXECUTORS, World

PREVIEW_MS = 3000.0
STEPS = 100
_SQL = (
    "UPDATE orders SET status = 'packed' WHERE id BETWEEN {number} AND {number} + 5",
    "SELECT status FROM orders WHERE id = {number}",
    "DELETE FROM orders WHERE id = {number}",
)


def draft(steps: int) -> plan_pb2.Plan:
    """Of three kinds of statement, each with constants of its own."""
    plan = plan_pb2.Plan(connection="held")
    plan.body.intent, plan.body.role, plan.body.executor = "bench", "executor", EXECUTORS[0]
    plan.body.expires.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    for number in range(steps):
        text = _SQL[number % len(_SQL)].format(number=number)
        plan.body.steps.add().operation.sql.values.statement = text.encode()
    return plan


def measure(world: World, count: int) -> dict[str, object]:
    token = Path(world.stack.folder) / "planner.token"
    token.touch(mode=0o600)
    token.write_text(world.stack.token("planner-3", "planner"))
    request = plan_pb2.PreviewRequest(draft=draft(STEPS))
    times: list[float] = []
    with client.connect(Who(config_path=world.stack.config, server=None, ca=None, token_file=token)) as caller:
        stub = caller.stub(plan_pb2_grpc.PlanServiceStub)
        for _ in range(count + 1):
            begun = time.perf_counter()
            shown = stub.Preview(request, metadata=caller.metadata, timeout=60)
            times.append((time.perf_counter() - begun) * 1000)
            if len(shown.previews) != STEPS:
                raise RuntimeError(f"{len(shown.previews)} steps were judged, of {STEPS}")
    times = sorted(times[1:])  # the first warms up
    return {
        "cell": f"preview of a plan of {STEPS} steps, ms",
        "group": "preview",
        "median_ms": round(statistics.median(times), 2),
        "p95_ms": round(times[int(len(times) * 0.95)], 2),
        "ceiling": PREVIEW_MS,
    }


__all__ = ["draft", "measure"]
