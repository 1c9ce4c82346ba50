"""The core against the real decision service: real OPA with the shipped policy, real store, log and TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twokey.approval.v1 import approval_pb2

from decision.model import new_id
from enforcers.core.core import EnforcerCore, running_core
from enforcers.core.gate import SessionGate
from enforcers.core.ports import Act, Answer, HoldEnd, Outcome, Question
from enforcers.settings import Account, Address, Connection, Run, Settings
from tests.decision.running import Running, operation, running


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as service:
        yield service


@pytest.fixture
async def core(real: Running) -> AsyncIterator[EnforcerCore]:
    host, port = str(real.service.ready_line["grpc"]).rsplit(":", 1)
    settings = Settings(
        run=Run(
            instance="enf-1",
            dev=True,
            enforcer_secret=real.secret,
            ca=real.service._settings.run.tls.ca.encode(),
        ),
        decision=Address(host, int(port)),
        listen={"crm": Address("127.0.0.1", 0)},
        workers=1,
        connections={
            "crm": Connection(
                name="crm",
                environment="production",
                upstream="postgresql://127.0.0.1/crm",
                credentials={"default": Account(user="u", password=None)},
            )
        },
    )
    async with running_core(settings, protocol="postgres") as made:
        assert await made.ready(10)
        yield made


async def open_as(core: EnforcerCore, real: Running, subject: str, role: str) -> SessionGate:
    gate = await core.open_session(
        token=real.token(subject, role),
        connection="crm",
        role=role,
        client_address="127.0.0.1:5",
        on_revoked=lambda _: None,
    )
    assert isinstance(gate, SessionGate), gate
    return gate


def select() -> Question:
    return Question(operation=operation("select 1 from orders", "select"), lease_key=b"k" * 32, can_hold=True)


def delete() -> Question:
    return Question(operation=operation("delete from orders where id=1", "delete"), lease_key=None, can_hold=True)


def records(folder: Path, kind: str) -> list[dict[str, object]]:
    lines = [line for path in sorted((folder / "audit").rglob("*.seg")) for line in path.read_bytes().splitlines()]
    found = [json.loads(line[9:]) for line in lines if line[8:9] == b" "]
    return [record for record in found if record.get("kind") == kind]


async def test_leased_reads_are_recorded_in_order(core: EnforcerCore, real: Running) -> None:
    gate = await open_as(core, real, "planner-3", "planner")
    question = select()
    ruling = await gate.ask(question)
    assert ruling.answer is Answer.ALLOWED, ruling
    leased = gate.leased(b"k" * 32)
    assert leased is not None
    for _ in range(5):
        act = Act(
            operation=new_id("op"),
            ruling=leased,
            digest=question.operation.digest,
            shape_digest=question.operation.shape_digest,
            statement=b"select 1 from orders",
        )
        await gate.begin(act)
        gate.end(act, Outcome(status="completed", rows=1, command_tag="SELECT 1"))
    await gate.close("bye")
    acts = records(real.folder, "act")
    assert [record["sequence"] for record in acts] == [2, 3, 4, 5, 6]
    assert records(real.folder, "session-closed")


async def test_held_approved_redeemed_once(core: EnforcerCore, real: Running) -> None:
    gate = await open_as(core, real, "executor-7", "executor")
    question = delete()
    ruling = await gate.ask(question)
    assert ruling.answer is Answer.HELD, ruling
    assert ruling.hold is not None
    waiting = asyncio.ensure_future(gate.wait(ruling.hold))
    await real.approval.Approve(
        approval_pb2.ApproveRequest(id=ruling.hold.approval, reason="fine", channel="cli"),
        metadata=real.bearer("bob", "reviewer"),
        timeout=10,
    )
    async with asyncio.timeout(10):
        result = await waiting
    assert (result.end, result.reason) == (HoldEnd.APPROVED, "fine")
    redeemed = await gate.redeem(question, ruling.hold)
    assert redeemed.answer is Answer.ALLOWED, redeemed
    assert redeemed.execution.startswith("exe_")
    # Another gate of the same subject can't use it again, and the same question is held anew.
    again = await gate.ask(Question(operation=delete().operation, lease_key=None, can_hold=True))
    assert again.answer is Answer.HELD
    assert again.hold is not None
    assert again.hold.approval != ruling.hold.approval
    await gate.withdraw(again.hold, "Ctrl-C")
    async with asyncio.timeout(10):
        assert (await gate.wait(again.hold)).end is HoldEnd.WITHDRAWN
    await gate.close("bye")


async def test_a_forged_token_opens_nothing(core: EnforcerCore) -> None:
    ruling = await core.open_session(
        token="eyJhbGciOiJub25lIn0.e30.", connection="crm", role="planner", client_address="", on_revoked=lambda _: None
    )
    assert not isinstance(ruling, SessionGate)
    assert ruling.answer is Answer.DENIED
    assert ruling.code.startswith("TOKEN_")
