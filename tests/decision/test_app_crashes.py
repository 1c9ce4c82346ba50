"""A16: the decision service is killed at each point of a redemption, on both stores. What was approved runs at most
once: after its compare-and-set nothing arms it again, and where nobody knows what came of it, that is what is shown."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from twokey.approval.v1 import approval_pb2
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2

from decision.clock import SystemClock
from tests.decision.running import Running, operation, running

ROOT = Path(__file__).resolve().parents[2]
ALLOW, DENY = type_pb2.OUTCOME_ALLOW, type_pb2.OUTCOME_DENY
HOLD = type_pb2.OUTCOME_REQUIRE_APPROVAL
ACT = operation("DELETE FROM orders WHERE id = 1", "delete")
# Where it dies: before the compare-and-set, between it and the intent record, between the record and the answer.
POINTS = {"before": (0, "STATE_APPROVED"), "redeemed": (0, "STATE_REDEEMED"), "recorded": (1, "STATE_REDEEMED")}


class Ahead(SystemClock):
    """Both clocks, so many seconds ahead."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(run: Running, point: str) -> None:
    store, log = run.service.store.approvals, run.service.log
    redeem, append = store.redeem, log.append_many

    async def redeem_and_die(*given: object, **named: object) -> object:
        if point == "before":
            die()
        found = await redeem(*given, **named)  # type: ignore[arg-type]  # as it was called
        if point == "redeemed":
            die()
        return found

    async def append_and_die(records: object) -> int:
        index = await append(records)  # type: ignore[arg-type]  # as it was called
        if point == "recorded":
            die()
        return index

    store.redeem = redeem_and_die  # type: ignore[assignment,method-assign]  # the fault of this test
    log.append_many = append_and_die  # type: ignore[method-assign]


async def ask_approve_and_die(folder: Path, store: str, point: str) -> None:
    async with running(folder, store=store) as run:
        session = await run.session("executor-7", "executor")
        approval = str((await run.decide(session, ACT)).decision.approval.id)
        request = approval_pb2.ApproveRequest(id=approval, channel="cli")
        await run.approval.Approve(request, metadata=run.bearer("bob", "reviewer"), timeout=20)
        sys.stdout.write(json.dumps({"session": session, "approval": approval}) + "\n")
        sys.stdout.flush()
        arm(run, point)
        await run.decide(session, ACT, approval=approval)


async def shown(run: Running, approval: str) -> str:
    found = await run.approval.Get(approval_pb2.GetRequest(id=approval), metadata=run.enforcer, timeout=20)
    return str(approval_pb2.State.Name(found.state))


async def becomes(run: Running, approval: str, state: str) -> None:
    """A watch ends with `redeemed`; what is found out later is asked for."""
    async with asyncio.timeout(20):
        while await shown(run, approval) != state:  # noqa: ASYNC110 - what is waited for has no event to offer
            await asyncio.sleep(0.02)


async def executions(run: Running) -> int:
    records = [json.loads(payload) async for _, payload in run.service.log.read(0, None)]
    return sum(bool(one.get("execution")) for one in records if one["kind"] == "decision")


@pytest.mark.parametrize("point", list(POINTS))
async def test_a16_killed_at_each_point_of_a_redemption_it_runs_at_most_once(
    tmp_path: Path, url: str, point: str
) -> None:
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", __name__, str(tmp_path), url, point],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    before = next(json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"session"'))
    session, approval = before["session"], before["approval"]
    recorded, state = POINTS[point]
    clock = Ahead()
    async with running(tmp_path, store=url, clock=clock) as run:
        assert await executions(run) == recorded
        assert await shown(run, approval) == state
        again = await run.decide(session, ACT, approval=approval)
        if point == "before":
            assert again.decision.outcome == ALLOW
            assert (await run.decide(session, ACT, approval=approval)).decision.outcome == DENY
            return
        assert (again.decision.outcome, again.decision.reason_code) == (DENY, "APPROVAL_REDEEMED")
        closed = decision_pb2.CloseSessionRequest(session=session)
        await run.decision.CloseSession(closed, metadata=run.enforcer, timeout=20)
        clock.seconds += 10
        await becomes(run, approval, "STATE_OUTCOME_UNKNOWN")
        other = await run.session("executor-7", "executor")
        fresh = (await run.decide(other, ACT)).decision
        assert fresh.outcome == HOLD
        assert fresh.approval.id != approval  # never silently armed again
        assert await executions(run) == recorded


if __name__ == "__main__":
    asyncio.run(ask_approve_and_die(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
