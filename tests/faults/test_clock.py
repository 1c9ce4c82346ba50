"""Somebody sets the clock: the real decision service with a clock that jumps, and the real core beside it.

Set forward, it ends sessions and approvals early. Set back, it revives nothing: the store's time never goes back, and
leases count on the monotonic clock, which nobody sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from twokey.approval.v1 import approval_pb2

from decision.clock import SystemClock
from enforcers.core.core import EnforcerCore, running_core
from enforcers.core.gate import SessionGate
from enforcers.core.ports import Answer, Hold, HoldEnd, Question, Ruling
from enforcers.settings import Account, Address, Connection, Run, Settings
from tests.decision.running import Running, operation, running

FORWARD, BACK = timedelta(hours=3), timedelta(hours=-3)


class SetClock(SystemClock):
    set_by = timedelta(0)

    def now(self):  # type: ignore[no-untyped-def]  # as SystemClock's
        return super().now() + self.set_by


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def real(tmp_path: Path, clock: SetClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as service:
        yield service


@pytest.fixture
async def core(real: Running) -> AsyncIterator[EnforcerCore]:
    host, port = str(real.service.ready_line["grpc"]).rsplit(":", 1)
    account = {"default": Account(user="u", password=None)}
    crm = Connection(name="crm", environment="production", upstream="postgresql://127.0.0.1/crm", credentials=account)
    ca = real.service._settings.run.tls.ca.encode()
    settings = Settings(
        run=Run(instance="enf-1", dev=True, enforcer_secret=real.secret, ca=ca),
        decision=Address(host, int(port)),
        listen={"crm": Address("127.0.0.1", 0)},
        workers=1,
        connections={"crm": crm},
    )
    async with running_core(settings, protocol="postgres") as made:
        assert await made.ready(10)
        yield made


class Opened:
    """A gate, and whether it was cut."""

    def __init__(self) -> None:
        self.cut = asyncio.Event()

    async def by(self, core: EnforcerCore, real: Running, subject: str, role: str) -> SessionGate | Ruling:
        found = await core.open_session(
            token=real.token(subject, role),
            connection="crm",
            role=role,
            client_address="127.0.0.1:5",
            on_revoked=lambda _why: self.cut.set(),
        )
        assert isinstance(found, SessionGate | Ruling)
        return found


async def opened(core: EnforcerCore, real: Running, subject: str = "executor-7", role: str = "executor") -> SessionGate:
    gate = await Opened().by(core, real, subject, role)
    assert isinstance(gate, SessionGate), gate
    return gate


def question(statement: str = "delete from orders where id=1", verb: str = "delete") -> Question:
    return Question(operation=operation(statement, verb), lease_key=b"k" * 32, can_hold=True)


async def held(gate: SessionGate) -> Hold:
    ruling = await gate.ask(question())
    assert ruling.answer is Answer.HELD, ruling
    assert ruling.hold is not None
    return ruling.hold


async def approve(real: Running, hold: Hold) -> str:
    answer = await real.approval.Approve(
        approval_pb2.ApproveRequest(id=hold.approval, reason="fine", channel="cli"),
        metadata=real.bearer("bob", "reviewer"),
        timeout=10,
    )
    return str(answer)


async def test_a_clock_set_forward_and_back_ends_an_approval_for_good(
    core: EnforcerCore, real: Running, clock: SetClock
) -> None:
    gate = await opened(core, real)
    hold = await held(gate)
    waiting = asyncio.ensure_future(gate.wait(hold))
    clock.set_by = FORWARD
    async with asyncio.timeout(30):
        assert (await waiting).end in {HoldEnd.EXPIRED, HoldEnd.WITHDRAWN}
    clock.set_by = timedelta(0)
    redeemed = await gate.redeem(question(), hold)
    assert redeemed.answer is Answer.DENIED, redeemed


async def test_an_approval_given_before_the_clock_was_set_back_is_used_once(
    core: EnforcerCore, real: Running, clock: SetClock
) -> None:
    gate = await opened(core, real)
    hold = await held(gate)
    clock.set_by = BACK
    waiting = asyncio.ensure_future(gate.wait(hold))
    await approve(real, hold)
    async with asyncio.timeout(10):
        assert (await waiting).end is HoldEnd.APPROVED
    first = await gate.redeem(question(), hold)
    assert first.answer is Answer.ALLOWED, first
    clock.set_by = timedelta(0)
    assert (await gate.redeem(question(), hold)).answer is Answer.DENIED


async def test_a_session_that_a_clock_set_forward_ended_stays_ended(
    core: EnforcerCore, real: Running, clock: SetClock
) -> None:
    gate = await opened(core, real)
    clock.set_by = FORWARD
    late = await gate.ask(question("select 1 from orders", "select"))
    assert late.answer is Answer.DENIED, late
    assert late.code in {"SESSION_EXPIRED", "REVOKED"}
    clock.set_by = timedelta(0)
    again = await gate.ask(question("select 1 from orders", "select"))
    assert again.answer is Answer.DENIED, again


async def test_a_clock_set_back_makes_no_lease_longer(core: EnforcerCore, real: Running, clock: SetClock) -> None:
    gate = await opened(core, real, "planner-3", "planner")
    asked = question("select 1 from orders", "select")
    ruling = await gate.ask(asked)
    assert ruling.answer is Answer.ALLOWED, ruling
    assert asked.lease_key is not None
    lease = core._leases._leases[gate._prefix + asked.lease_key]
    expires = lease.expires
    clock.set_by = BACK
    assert gate.leased(asked.lease_key) is not None
    core._leases._clock = lambda: expires + 0.001  # the monotonic clock, when its time has come
    assert gate.leased(asked.lease_key) is None
