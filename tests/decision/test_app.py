"""The whole service: real OPA with the shipped policy, real store, real log, real gRPC over TLS."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from twokey.approval.v1 import approval_pb2
from twokey.audit.v1 import audit_pb2
from twokey.decision.v1 import decision_pb2
from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import decision_pb2 as type_pb2
from twokey.type.v1 import operation_pb2

from decision.audit.disk import PosixDisk
from decision.audit.log import SegmentLog
from decision.clock import SystemClock
from decision.model import new_id
from decision.pdp import sessions as sessions_module
from tests.decision.audit.faults import FailingDisk
from tests.decision.running import Running, operation, running

ALLOW, DENY = type_pb2.OUTCOME_ALLOW, type_pb2.OUTCOME_DENY
MASK, HOLD = type_pb2.OUTCOME_MASK_COLUMNS, type_pb2.OUTCOME_REQUIRE_APPROVAL


@pytest.fixture
def disk() -> FailingDisk:
    return FailingDisk()


@pytest.fixture
async def run(tmp_path: Path, disk: FailingDisk) -> AsyncIterator[Running]:
    async with running(tmp_path, disk=disk) as started:
        yield started


async def records(run: Running, kind: str = "") -> list[dict[str, Any]]:
    found = [orjson.loads(payload) async for _, payload in run.service.log.read(0, None)]
    return [record for record in found if not kind or record["kind"] == kind]


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """The status code and the reason of ErrorInfo."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "twokey"
    return caught.value.code(), info.reason


def delete(number: int = 1) -> operation_pb2.Operation:
    return operation(f"DELETE FROM orders WHERE id = {number}", "delete")


# Sessions.


async def test_a_session_opens_and_is_recorded_without_its_token(run: Running) -> None:
    token = run.token("executor-7", "executor")
    opened = await run.open("executor-7", "executor", token=token)
    assert opened.decision.outcome == ALLOW
    assert opened.session.role == "executor"
    assert opened.session.environment == "production"
    assert opened.session.dev
    (record,) = await records(run, "session-opened")
    assert record["subject"]["name"] == "executor-7"
    assert record["subject"]["owner"] == "alice"
    for file in (*run.folder.rglob("*.seg"), *run.folder.rglob("state.db*")):
        assert token.split(".")[2].encode() not in file.read_bytes()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"token": "nonsense"}, "TOKEN_MALFORMED"),
        ({"token": "eyJhbGciOiJub25lIn0.e30."}, "TOKEN_"),
        ({"connection": "nowhere"}, "UNKNOWN_CONNECTION"),
        ({"proof": "p"}, "TOKEN_PROOF"),
        ({"plan": "pln_x"}, "PLAN_STEP_MISMATCH"),
        ({"enforcer": ""}, "INVALID_REQUEST"),
        ({"connection": "x" * 300}, "INVALID_REQUEST"),
    ],
)
async def test_a_session_is_denied_with_a_reason_and_a_record(run: Running, fields: dict[str, str], code: str) -> None:
    opened = await run.open("executor-7", "executor", **fields)
    assert opened.decision.outcome == DENY
    assert not opened.session.id
    assert opened.decision.reason_code.startswith(code)
    (record,) = await records(run, "session-denied")
    assert record["code"] == opened.decision.reason_code


async def test_a_role_the_token_does_not_carry(run: Running) -> None:
    opened = await run.open("executor-7", "executor", token=run.token("executor-7", "planner"))
    assert opened.decision.reason_code == "TOKEN_ROLE"
    assert (await records(run, "session-denied"))[0]["subject"]["name"] == "executor-7"


async def test_an_expired_token(run: Running) -> None:
    token = run.token("executor-7", "executor", ttl_s=1)
    async with asyncio.timeout(10):
        while (await run.open("executor-7", "executor", token=token)).decision.outcome == ALLOW:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    assert (await run.open("executor-7", "executor", token=token)).decision.reason_code == "TOKEN_EXPIRED"


async def test_of_two_exclusive_roles_opened_at_once_one_wins(run: Running) -> None:
    opened = await asyncio.gather(
        *(run.open("executor-7", role) for role in ("planner", "executor", "planner", "executor"))
    )
    live = {answer.session.role for answer in opened if answer.session.id}
    assert len(live) == 1


async def test_a_pool_that_opens_many_sessions_at_once_gets_them_all(run: Running) -> None:
    opened = await asyncio.gather(*(run.open("executor-7", "executor") for _ in range(40)))
    assert len({answer.session.id for answer in opened if answer.decision.outcome == ALLOW}) == 40


# Decisions.


async def test_allow_is_recorded_before_it_is_answered(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = operation("SELECT 1", "select")
    answer = await run.decide(session, asked, sequence=4)
    assert answer.decision.outcome == ALLOW
    assert answer.operation == asked.id
    (record,) = await records(run, "decision")
    assert record["index"] == answer.record
    assert record["session"] == session
    assert record["sequence"] == 4
    assert record["outcome"] == "allow"
    assert record["revision"] == run.service.engine.revision
    assert record["input"]["subject"]["name"] == "executor-7"
    assert record["input"]["values"]["statement"] == "SELECT 1"
    assert record["statement"] == "U0VMRUNUIDE="
    assert "time_ns" not in record["input"]["context"]


async def test_a_planner_may_not_write(run: Running) -> None:
    session = await run.session("planner-3", "planner")
    answer = await run.decide(session, operation("UPDATE orders SET a = 1 WHERE id = 1", "update"))
    assert answer.decision.outcome == DENY
    assert answer.decision.reason_code == "POLICY_DENIED"
    assert "SQL-PLANNER-WRITE" in {reason.rule for reason in answer.decision.reasons}
    assert (await records(run, "decision"))[0]["outcome"] == "deny"


async def test_a_planner_sees_a_classified_column_masked(run: Running) -> None:
    session = await run.session("planner-3", "planner")
    asked = operation(
        "SELECT email FROM customers",
        "select",
        columns=[operation_pb2.ColumnUse(schema="public", relation="customers", column="email", use="output")],
        output=[
            operation_pb2.OutputColumn(
                name="email",
                origin=operation_pb2.ColumnOrigin(
                    schema="public", relation="customers", column="email", relation_oid=2, attribute=3
                ),
            )
        ],
    )
    asked.sql.relations[0].name = "customers"
    answer = await run.decide(session, asked)
    assert answer.decision.outcome == MASK, answer
    assert answer.decision.durability == type_pb2.DURABILITY_BEFORE
    assert "mask-columns" in {item.type for item in answer.decision.obligations}


async def test_missing_facts_are_asked_for_and_nothing_is_decided(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    answer = await run.decide(session, operation("UPDATE orders SET a = 1 WHERE b", "update", rows=None))
    assert answer.decision.outcome == DENY
    assert list(answer.decision.needs) == ["estimate"]
    assert answer.record == -1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda o: setattr(o, "id", "op_nonsense"), "INVALID_REQUEST"),
        (lambda o: setattr(o, "digest", b"short"), "INVALID_REQUEST"),
        (lambda o: setattr(o, "shape_digest", b""), "INVALID_REQUEST"),
        (lambda o: setattr(o, "connection", "hr"), "INVALID_REQUEST"),
        (lambda o: o.ssh.SetInParent(), "NOT_SUPPORTED"),
        (lambda o: o.ClearField("sql"), "NOT_SUPPORTED"),
    ],
)
async def test_what_is_no_operation_is_denied_and_recorded(run: Running, change: Any, code: str) -> None:
    session = await run.session("executor-7", "executor")
    asked = operation("SELECT 1", "select")
    change(asked)
    answer = await run.decide(session, asked)
    assert answer.decision.outcome == DENY
    assert answer.decision.reason_code == code
    assert (await records(run, "decision"))[0]["code"] == code


async def test_unknown_fields_are_refused(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = operation("SELECT 1", "select")
    smuggled = operation_pb2.Operation.FromString(asked.SerializeToString() + b"\xfa\x7f\x03abc")
    assert await refused(run.decide(session, smuggled)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_an_unknown_session_is_denied(run: Running) -> None:
    answer = await run.decide(new_id("ses"), operation("SELECT 1", "select"))
    assert answer.decision.outcome == DENY
    assert answer.decision.reason_code == "REVOKED"


async def test_a_closed_session_is_denied(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    request = decision_pb2.CloseSessionRequest(session=session, reason="done")
    await run.decision.CloseSession(request, metadata=run.enforcer, timeout=20)
    assert (await run.decide(session, operation("SELECT 1", "select"))).decision.reason_code == "REVOKED"
    assert (await records(run, "session-closed"))[0]["how"] == "closed"


async def test_a_session_ends_with_its_token(run: Running) -> None:
    opened = await run.open("executor-7", "executor", token=run.token("executor-7", "executor", ttl_s=1))
    async with asyncio.timeout(10):
        while True:
            answer = await run.decide(opened.session.id, operation("SELECT 1", "select"))
            if answer.decision.outcome == DENY:
                break
            await asyncio.sleep(0.1)
    assert answer.decision.reason_code == "SESSION_EXPIRED"


class SetClock(SystemClock):
    """The real clocks, the wall's set by somebody."""

    set_by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.set_by


async def test_a_clock_set_back_revives_no_session_after_a_restart_either(tmp_path: Path) -> None:
    clock = SetClock()
    async with running(tmp_path, clock=clock) as run:
        session = await run.session("executor-7", "executor")
        clock.set_by = timedelta(hours=2)
        answer = await run.decide(session, operation("SELECT 1", "select"))
        assert answer.decision.reason_code == "SESSION_EXPIRED"
        await run.decision.CloseSession(
            decision_pb2.CloseSessionRequest(session="ses_x"), metadata=run.enforcer, timeout=5
        )
        clock.set_by = timedelta(0)
        answer = await run.decide(session, operation("SELECT 1", "select"))
        assert answer.decision.reason_code == "SESSION_EXPIRED"
    async with running(tmp_path, clock=clock) as again:
        answer = await again.decide(session, operation("SELECT 1", "select"))
        assert answer.decision.reason_code in {"SESSION_EXPIRED", "REVOKED"}
        expired = await again.open("executor-7", "executor")
        assert expired.decision.reason_code == "TOKEN_EXPIRED"


async def test_a_flood_of_failed_logins_is_counted_and_does_not_fill_the_disk(run: Running) -> None:
    """L5: whoever reaches the port could otherwise stop everyone by filling the log."""
    flood = [run.open("executor-7", "executor", token=f"x.y.{n}") for n in range(200)]
    answers = await asyncio.gather(*flood)
    assert {answer.decision.outcome for answer in answers} == {DENY}
    real = await run.open("executor-7", "executor", token=run.token("executor-7", "planner"))
    assert real.decision.reason_code == "TOKEN_ROLE"

    async def told() -> list[dict[str, Any]]:
        return await records(run, "session-denied")

    async with asyncio.timeout(10):
        while True:
            if sum(record.get("count", 1) for record in await told()) == 201:
                break
            await asyncio.sleep(0.05)
    found = await told()
    assert sum(record.get("count", 1) for record in found) == 201
    assert len(found) < 120
    assert any(record.get("subject") for record in found)  # who proved who they are is never only counted
    assert all(set(record["codes"]) == {"TOKEN_MALFORMED"} for record in found if "codes" in record)


async def test_batches_and_streams(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    requests = [
        decision_pb2.DecideRequest(session=session, operation=operation("SELECT 1", "select"), sequence=n)
        for n in range(3)
    ]
    batch = await run.decision.DecideBatch(
        decision_pb2.DecideBatchRequest(requests=requests), metadata=run.enforcer, timeout=20
    )
    assert [answer.operation for answer in batch.responses] == [request.operation.id for request in requests]
    stream = run.decision.DecideStream(iter(requests), metadata=run.enforcer, timeout=20)
    assert [answer.decision.outcome async for answer in stream] == [ALLOW] * 3


# Approvals.


async def approve(run: Running, approval: str, who: str = "bob") -> Any:
    request = approval_pb2.ApproveRequest(id=approval, reason="fine", channel="cli")
    return await run.approval.Approve(request, metadata=run.bearer(who, "reviewer"), timeout=20)


async def test_held_approved_redeemed_once(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = delete()
    held = await run.decide(session, asked)
    assert held.decision.outcome == HOLD
    assert held.decision.reason_code == "APPROVAL_PENDING"
    approval = held.decision.approval.id

    early = await run.decide(session, asked, approval=approval)
    assert early.decision.reason_code == "APPROVAL_PENDING"
    assert early.decision.outcome == DENY

    code, reason = await refused(approve(run, approval, "alice"))  # owns the executor
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "POLICY_DENIED")
    code, _ = await refused(approve(run, approval, "executor-7"))
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert (await approve(run, approval)).state == approval_pb2.STATE_APPROVED

    other = await run.decide(session, delete(2), approval=approval)
    assert other.decision.reason_code == "APPROVAL_MISMATCH"

    answers = await asyncio.gather(*(run.decide(session, asked, approval=approval) for _ in range(5)))
    won = [answer for answer in answers if answer.decision.outcome == ALLOW]
    assert len(won) == 1
    assert won[0].execution.startswith("exe_")
    assert not won[0].decision.HasField("lease")
    assert won[0].decision.durability == type_pb2.DURABILITY_BEFORE
    lost = {answer.decision.reason_code for answer in answers if answer.decision.outcome == DENY}
    assert lost == {"APPROVAL_REDEEMED"}

    again = await run.decide(session, asked)
    assert again.decision.outcome == HOLD
    assert again.decision.approval.id != approval
    redeemed = [record for record in await records(run, "decision") if record["execution"]]
    assert len(redeemed) == 1
    assert redeemed[0]["input"]["context"]["approval"]["verdicts"][0]["name"] == "bob"


async def test_another_sessions_approval_is_not_redeemable_while_it_lives(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    second = await run.session("executor-7", "executor")
    asked = delete()
    approval = (await run.decide(session, asked)).decision.approval.id
    await approve(run, approval)
    assert (await run.decide(second, asked, approval=approval)).decision.reason_code == "APPROVAL_MISMATCH"
    assert (await run.decide(session, asked, approval=approval)).decision.outcome == ALLOW


async def test_where_it_cannot_be_held_it_is_denied_with_the_hint(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = delete()
    answer = await run.decide(session, asked, can_hold=False, hold_hint="Commit first.")
    assert answer.decision.outcome == DENY
    assert answer.decision.reason_code == "APPROVAL_PENDING"
    approval = answer.decision.approval.id
    assert any(approval in reason.next and "Commit first." in reason.next for reason in answer.decision.reasons)
    assert [record["event"] for record in await records(run, "approval")] == ["requested"]
    again = await run.decide(session, asked, can_hold=False)
    assert again.decision.outcome == DENY
    assert again.decision.approval.id == approval


async def test_what_cannot_be_held_is_redeemed_once_when_it_was_approved(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = delete()
    approval = (await run.decide(session, asked, can_hold=False)).decision.approval.id
    await approve(run, approval)
    other = await run.decide(session, delete(2), can_hold=False)
    assert other.decision.outcome == DENY
    assert other.decision.approval.id != approval
    told = await run.decide(session, asked, can_hold=False)
    assert (told.decision.outcome, told.decision.reason_code) == (HOLD, "APPROVAL_APPROVED")
    assert told.decision.approval.id == approval
    assert not told.execution
    both = [run.decide(session, asked, can_hold=False, approval=approval) for _ in range(2)]
    outcomes = [answer.decision.outcome for answer in await asyncio.gather(*both)]
    assert sorted(outcomes) == sorted([ALLOW, DENY])
    after = await run.decide(session, asked, can_hold=False)
    assert after.decision.reason_code == "APPROVAL_PENDING"
    assert after.decision.approval.id != approval


@pytest.mark.parametrize("why", ["failed", "several"])
async def test_nobody_is_asked_about_what_would_not_run_though_approved(run: Running, why: str) -> None:
    session = await run.session("executor-7", "executor")
    asked = delete()
    if why == "failed":
        asked.sql.transaction.status = "failed"
    else:
        asked.sql.statements = 2
    answer = await run.decide(session, asked, can_hold=False)
    assert answer.decision.reason_code == "POLICY_DENIED"
    assert not answer.decision.HasField("approval")
    assert not await records(run, "approval")


async def test_an_approval_survives_a_restart(tmp_path: Path) -> None:
    asked = delete()
    async with running(tmp_path) as run:
        first = await run.session("executor-7", "executor")
        approval = (await run.decide(first, asked)).decision.approval.id
        await approve(run, approval)
        request = decision_pb2.CloseSessionRequest(session=first)
        await run.decision.CloseSession(request, metadata=run.enforcer, timeout=20)
    async with running(tmp_path) as run:
        session = await run.session("executor-7", "executor")
        held = await run.decide(session, asked)
        assert held.decision.approval.id == approval
        assert (await run.decide(session, asked, approval=approval)).decision.outcome == ALLOW


async def test_withdrawing_and_watching(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    approval = (await run.decide(session, delete())).decision.approval.id
    watch = run.approval.Watch(approval_pb2.WatchRequest(ids=[approval]), metadata=run.enforcer, timeout=20)
    assert (await watch.read()).state == approval_pb2.STATE_PENDING
    request = approval_pb2.WithdrawRequest(id=approval, reason="ctrl-c")
    await run.approval.Withdraw(request, metadata=run.enforcer, timeout=20)
    assert (await watch.read()).state == approval_pb2.STATE_WITHDRAWN
    assert await watch.read() == grpc.aio.EOF
    answer = await run.decide(session, delete(), approval=approval)
    assert answer.decision.reason_code == "WITHDRAWN"


# Faults.


async def test_without_opa_everything_is_denied_and_readiness_falls(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    await run.service.engine.close()
    answer = await run.decide(session, operation("SELECT 1", "select"))
    assert answer.decision.outcome == DENY
    assert answer.decision.reason_code == "DECISION_UNAVAILABLE"
    assert answer.record >= 0
    assert not run.service.ready
    assert (await run.open("executor-7", "executor")).decision.reason_code == "DECISION_UNAVAILABLE"


async def test_a_killed_opa_denies_until_it_is_back(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    children = (Path("/proc") / str(os.getpid()) / "task" / str(os.getpid()) / "children").read_text().split()
    pids = [pid for pid in children if b"opa" in (Path("/proc") / pid / "cmdline").read_bytes()]
    assert pids
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    answers = [(await run.decide(session, operation("SELECT 1", "select"))).decision for _ in range(2)]
    assert {answer.reason_code for answer in answers if answer.outcome == DENY} == {"DECISION_UNAVAILABLE"}
    async with asyncio.timeout(20):
        while (await run.decide(session, operation("SELECT 1", "select"))).decision.outcome != ALLOW:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_without_a_record_nothing_is_allowed(run: Running, disk: FailingDisk) -> None:
    session = await run.session("executor-7", "executor")
    before = run.service.log.size
    disk.room = 10
    answer = await run.decide(session, operation("SELECT 1", "select"))
    assert answer.decision.outcome == DENY
    assert answer.decision.reason_code == "RECORD_UNAVAILABLE"
    assert answer.record == -1
    assert (await run.open("executor-7", "executor")).decision.reason_code == "RECORD_UNAVAILABLE"
    assert not run.service.ready
    disk.room = None
    answer = await run.decide(session, operation("SELECT 1", "select"))
    assert answer.decision.outcome == ALLOW
    assert answer.record == before


async def test_a_redemption_without_a_record_allows_nothing_and_is_not_armed_again(
    run: Running, disk: FailingDisk
) -> None:
    session = await run.session("executor-7", "executor")
    asked = delete()
    approval = (await run.decide(session, asked)).decision.approval.id
    await approve(run, approval)
    disk.sync_fails = True
    assert (await run.decide(session, asked, approval=approval)).decision.reason_code == "RECORD_UNAVAILABLE"
    disk.sync_fails = False
    answer = await run.decide(session, asked, approval=approval)
    assert answer.decision.outcome == DENY
    assert answer.decision.reason_code == "APPROVAL_REDEEMED"


async def test_a_cancelled_redemption_still_has_its_record(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = delete()
    approval = (await run.decide(session, asked)).decision.approval.id
    await approve(run, approval)
    request = decision_pb2.DecideRequest(session=session, operation=asked, approval=approval, can_hold=True)
    call = run.decision.Decide(request, metadata=run.enforcer, timeout=20)
    async with asyncio.timeout(10):
        while (await run.service.approvals.get(None, approval)).state == "approved":  # noqa: ASYNC110
            await asyncio.sleep(0)
    call.cancel()
    async with asyncio.timeout(10):
        while not [record for record in await records(run, "decision") if record["execution"]]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_log_is_in_order_and_whole_after_a_stop(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        session = await run.session("executor-7", "executor")
        await run.decide(session, operation("SELECT 1", "select"))
    log = await SegmentLog.open(tmp_path / "audit", clock=SystemClock(), disk=PosixDisk())
    kinds = [orjson.loads(payload)["kind"] async for _, payload in log.read(0, None)]
    await log.close()
    assert kinds == ["started", "policy", "session-opened", "decision", "stopped"]


# Revocation, liveness.


async def test_a_revoked_session_is_told_at_once_and_denied(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    watch = run.decision.WatchRevocations(decision_pb2.WatchRevocationsRequest(enforcer="enf-1"), metadata=run.enforcer)
    first = await watch.read()
    assert first.revision == run.service.engine.revision
    request = decision_pb2.RevokeRequest(session=session, reason="incident")
    assert (await run.decision.Revoke(request, metadata=run.bearer("carol", "admin"), timeout=20)).sessions == 1
    async with asyncio.timeout(1.0):
        while session not in (await watch.read()).revoked_sessions:
            pass
    answer = await run.decide(session, operation("SELECT 1", "select"))
    assert answer.decision.reason_code == "REVOKED"
    (record,) = await records(run, "session-closed")
    assert record["by"]["subject"]["name"] == "carol"
    late = run.decision.WatchRevocations(decision_pb2.WatchRevocationsRequest(enforcer="enf-2"), metadata=run.enforcer)
    assert session in {item for _ in range(4) for item in (await late.read()).revoked_sessions}
    watch.cancel()
    late.cancel()


async def test_heartbeats(run: Running) -> None:
    watch = run.decision.WatchRevocations(decision_pb2.WatchRevocationsRequest(enforcer="enf-1"), metadata=run.enforcer)
    async with asyncio.timeout(2.8):
        numbers = [(await watch.read()).sequence for _ in range(3)]
    assert numbers == sorted(set(numbers))
    watch.cancel()


# Acts and reading.


def act(session: str, **outcome: Any) -> audit_pb2.Act:
    made = audit_pb2.Act(session=session, operation=new_id("op"), sequence=1)
    made.outcome.status = "completed"
    for name, value in outcome.items():
        setattr(made.outcome, name, value)
    return made


async def test_acts_are_durable_when_answered(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    acts = [act(session, rows=n, command_tag="SELECT") for n in range(50)]
    acts[0].intent.decision = new_id("dec")
    acts[0].intent.digest = acts[0].intent.shape_digest = bytes(32)
    acts[0].intent.statement = b"SELECT \xff"
    acts[0].intent.bound.add(type_oid=23, value=b"42")
    acts[0].intent.time.FromJsonString("2026-11-22T10:00:00.123456Z")
    acts[0].outcome.duration.FromMicroseconds(1500)
    answer = await run.audit.RecordActs(audit_pb2.RecordActsRequest(acts=acts), metadata=run.enforcer, timeout=20)
    found = await records(run, "act")
    assert found[-1]["index"] == answer.last_record
    assert [record["outcome"]["rows"] for record in found] == list(range(50))
    assert found[0]["intent"]["time"] == "2026-11-22T10:00:00.123456Z"
    assert found[0]["intent"]["bound"] == [{"type_oid": 23, "is_null": False, "binary": False, "value": "NDI="}]
    assert found[0]["outcome"]["duration_us"] == 1500
    assert found[1]["intent"] is None


@pytest.mark.parametrize(
    "change",
    [
        lambda a: setattr(a.outcome, "status", "splendid"),
        lambda a: a.ClearField("outcome"),
        lambda a: setattr(a, "operation", "x"),
        lambda a: setattr(a, "sequence", 2**60),
        lambda a: setattr(a.outcome, "rows", 2**60),
        lambda a: a.intent.SetInParent(),
        lambda a: a.MergeFromString(b"\xfa\x7f\x03abc"),
    ],
)
async def test_one_bad_act_refuses_the_call_and_leaves_nothing(run: Running, change: Any) -> None:
    session = await run.session("executor-7", "executor")
    bad = act(session)
    change(bad)
    request = audit_pb2.RecordActsRequest(acts=[act(session), bad])
    code, _ = await refused(run.audit.RecordActs(request, metadata=run.enforcer, timeout=20))
    assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE}
    assert not await records(run, "act")


async def test_acts_of_nobodys_session_are_refused(run: Running) -> None:
    request = audit_pb2.RecordActsRequest(acts=[act(new_id("ses"))])
    code, _ = await refused(run.audit.RecordActs(request, metadata=run.enforcer, timeout=20))
    assert code == grpc.StatusCode.NOT_FOUND


async def test_an_outcome_finishes_its_redemption(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = delete()
    approval = (await run.decide(session, asked)).decision.approval.id
    await approve(run, approval)
    execution = (await run.decide(session, asked, approval=approval)).execution
    request = audit_pb2.RecordActsRequest(acts=[act(session, execution=execution)])
    await run.audit.RecordActs(request, metadata=run.enforcer, timeout=20)
    await run.decision.CloseSession(
        decision_pb2.CloseSessionRequest(session=session), metadata=run.enforcer, timeout=20
    )
    await run.service.approvals.sweep()
    assert (await run.service.approvals.get(None, approval)).state == "redeemed"


async def test_reading_the_log_is_recorded(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = operation("SELECT 1", "select")
    await run.decide(session, asked)
    await run.decide(session, operation("SELECT 2", "select"))
    auditor = run.bearer("carol", "auditor")
    everything = run.audit.Read(audit_pb2.ReadRequest(), metadata=auditor, timeout=20)
    assert [answer.index async for answer in everything] == list(range(5))
    last = run.audit.Read(audit_pb2.ReadRequest(start=-1), metadata=auditor, timeout=20)
    assert [orjson.loads(answer.record)["kind"] async for answer in last] == ["log-read"]
    one = run.audit.Read(audit_pb2.ReadRequest(operation=asked.id), metadata=auditor, timeout=20)
    assert [orjson.loads(answer.record)["operation"] async for answer in one] == [asked.id]
    readers = {record["reader"]["subject"]["name"] for record in await records(run, "log-read")}
    assert readers == {"carol"}


async def test_following_the_log(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    request = audit_pb2.ReadRequest(start=run.service.log.size, follow=True)
    follow = run.audit.Read(request, metadata=run.bearer("carol", "auditor"), timeout=20)
    assert orjson.loads((await follow.read()).record)["kind"] == "log-read"
    await run.decide(session, operation("SELECT 1", "select"))
    assert orjson.loads((await follow.read()).record)["kind"] == "decision"
    follow.cancel()


# Explain and describe.


async def attach(run: Running, described: operation_pb2.Operation) -> Any:
    stream = run.describe.Attach(metadata=run.enforcer)
    hello = describe_pb2.Hello(enforcer="enf-1", protocol="postgres", connections=["crm"])
    await stream.write(describe_pb2.AttachRequest(hello=hello))

    async def answer() -> None:
        while (question := await stream.read()) != grpc.aio.EOF:
            reply = describe_pb2.AttachRequest(question=question.question)
            if question.WhichOneof("body") == "estimate":
                reply.estimate.estimate.rows = 3.5
            elif b"syntax" in question.describe.statement:
                reply.error = "syntax error"
            else:
                reply.operation.CopyFrom(described)
            await stream.write(reply)

    return stream, asyncio.ensure_future(answer())


async def explain(run: Running, who: str, role: str, statement: bytes = b"DELETE", subject: str = "") -> Any:
    request = decision_pb2.ExplainRequest(connection="crm", role=role, statement=statement, subject=subject)
    return await run.decision.Explain(request, metadata=run.bearer(who, role), timeout=20)


async def test_explain_records_the_question_and_holds_nothing(run: Running) -> None:
    code, reason = await refused(explain(run, "executor-7", "executor"))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DECISION_UNAVAILABLE")
    described = operation("UPDATE orders SET a = 1 WHERE b", "update", rows=None)
    stream, answering = await attach(run, described)
    async with asyncio.timeout(10):
        while True:
            try:
                explained = await explain(run, "executor-7", "executor")
                break
            except grpc.aio.AioRpcError:  # not attached yet
                await asyncio.sleep(0.01)
    assert explained.decision.outcome == ALLOW
    assert orjson.loads(explained.input)["values"]["estimate"] == {"state": "known", "rows": 4, "cost": 0, "why": ""}
    assert len(await records(run, "question")) == 1
    assert not await records(run, "approval")
    assert (await refused(explain(run, "executor-7", "executor", subject="alice")))[0] == (
        grpc.StatusCode.PERMISSION_DENIED
    )
    (denied,) = await records(run, "call-denied")
    assert [reason["rule"] for reason in denied["reasons"]] == ["DUTY-CALL-ABOUT"]
    assert denied["input"]["resource"]["subject"] == "alice"
    assert (await refused(explain(run, "executor-7", "executor", b"syntax")))[0] == grpc.StatusCode.INVALID_ARGUMENT
    about = await explain(run, "alice", "planner", subject="planner-3")
    assert about.decision.outcome == DENY
    assert orjson.loads(about.input)["subject"]["name"] == "planner-3"
    stream.cancel()
    await asyncio.wait([answering])


# Around.


async def test_http(run: Running) -> None:
    base = f"http://{run.service.ready_line['http']}"
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{base}/healthz") as response:
            assert response.status == 200
        async with client.get(f"{base}/readyz") as response:
            assert response.status == 200
        await run.service.engine.close()
        async with client.get(f"{base}/readyz") as response:
            assert response.status == 503
        async with client.get(f"{base}/metrics") as response:
            text = await response.text()
    assert "twokey_decision_seconds" in text
    assert all(line.startswith(("#", "twokey_")) for line in text.splitlines())


async def test_a_new_policy_is_recorded_and_told_and_a_broken_one_leaves_the_old(run: Running) -> None:
    watch = run.decision.WatchRevocations(decision_pb2.WatchRevocationsRequest(enforcer="enf-1"), metadata=run.enforcer)
    old = (await watch.read()).revision
    people = run.folder / "people.yaml"
    good = people.read_text()
    people.write_text(good.replace("groups: [dba]", "groups: [dba, ops]", 1))
    await run.service.reload()
    async with asyncio.timeout(1.0):
        while (new := (await watch.read()).revision) == old:
            pass
    assert new == run.service.engine.revision
    people.write_text("principals: {")
    await run.service.reload()
    assert run.service.engine.revision == new
    session = await run.session("executor-7", "executor")
    assert (await run.decide(session, operation("SELECT 1", "select"))).decision.revision == new
    async with asyncio.timeout(5):
        while len(found := await records(run, "policy")) < 3:  # noqa: ASYNC110 - a file is looked at
            await asyncio.sleep(0.01)
    assert [(record["event"], record["revision"]) for record in found[:2]] == [("in-force", old), ("in-force", new)]
    assert found[2]["event"] == "policy-refused"
    assert "people.yaml" in found[2]["reason"]
    watch.cancel()


async def test_a_silent_enforcer_loses_its_sessions_and_a_watching_one_does_not(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "SILENT_S", 1.5)
    watch = run.decision.WatchRevocations(decision_pb2.WatchRevocationsRequest(enforcer="enf-2"), metadata=run.enforcer)
    await watch.read()
    silent = (await run.open("executor-7", "executor", enforcer="enf-1")).session.id
    alive = (await run.open("executor-7", "executor", enforcer="enf-2")).session.id
    async with asyncio.timeout(10):
        while silent not in (await watch.read()).revoked_sessions:
            pass
    assert (await run.decide(silent, operation("SELECT 1", "select"))).decision.reason_code == "REVOKED"
    assert (await run.decide(alive, operation("SELECT 1", "select"))).decision.outcome == ALLOW
    (record,) = await records(run, "session-closed")
    assert (record["session"], record["how"]) == (silent, "silent")
    watch.cancel()


async def test_a_session_whose_client_left_while_it_opened_is_ended(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    real = run.service.engine.evaluate

    async def slow(document: Any) -> Any:
        begun.set()
        await go.wait()
        return await real(document)

    gone = asyncio.Event()
    supervised = run.service._supervisor.run

    async def watched(work: Any) -> Any:
        try:
            return await supervised(work)
        except asyncio.CancelledError:
            gone.set()
            raise

    monkeypatch.setattr(run.service.engine, "evaluate", slow)
    monkeypatch.setattr(run.service._supervisor, "run", watched)
    opening = asyncio.ensure_future(run.open("executor-7", "executor"))
    await begun.wait()
    opening.cancel()
    await asyncio.wait([opening])
    await asyncio.wait_for(gone.wait(), 5)
    go.set()
    async with asyncio.timeout(5):
        while not await records(run, "session-closed"):  # noqa: ASYNC110 - a file is looked at
            await asyncio.sleep(0.01)


async def test_no_canary_is_anywhere(run: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens, the enforcer's secret and the listener's key: not in the log, the store, the output or the metrics."""
    token = run.token("executor-7", "executor")
    signature = token.split(".")[2]
    await run.open("executor-7", "executor", token=token)
    await run.open("executor-7", "executor", token=token + "x")
    await run.open("executor-7", "planner", token=token)
    metadata = (("authorization", f"Bearer {token}"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run.decision.Revoke(decision_pb2.RevokeRequest(session="x"), metadata=metadata, timeout=5)
    key = run.service._settings.run.tls.key.get_secret_value().splitlines()[1]
    shown = capsys.readouterr()
    places = [shown.out, shown.err, str(caught.value), run.service.metrics.text().decode()]
    places += [
        path.read_bytes().decode("latin-1")
        for path in (*run.folder.rglob("*.seg"), *run.folder.rglob("state.db*"))
        if path.is_file()
    ]
    for secret in (signature, run.secret, key):
        assert not [place for place in places if secret in place]
