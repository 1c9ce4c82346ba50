"""Questions without a task of their own: answered as ask() answers them, once, and never from within the asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from twokey.decision.v1 import decision_pb2

from enforcers.core import acts
from enforcers.core.core import EnforcerCore
from enforcers.core.decision_client import DECIDED_AT_ONCE
from enforcers.core.gate import SessionGate
from enforcers.core.ports import Answer, Question, Ruling
from enforcers.core.turns import Turns
from tests.enforcers.core.conftest import open_gate
from tests.enforcers.core.service import ScriptedService, allow, deny, operation
from tests.enforcers.core.test_decide_stream import streaming
from tests.enforcers.core.test_gate import KEY, question, script


class Told:
    """What a question came to, for who waits for it."""

    def __init__(self) -> None:
        self.rulings: list[Ruling] = []
        self.once = asyncio.Event()

    def __call__(self, ruling: Callable[[], Ruling]) -> None:
        self.rulings.append(ruling())
        self.once.set()

    async def ruling(self) -> Ruling:
        async with asyncio.timeout(10):
            await self.once.wait()
        (found,) = self.rulings
        return found


async def _soon(gate: SessionGate, asked: Question) -> Told:
    told = Told()
    assert gate.ask_soon(asked, told)
    assert not told.rulings
    return told


async def test_it_is_answered_as_any_question(gate: SessionGate, core: EnforcerCore, service: ScriptedService) -> None:
    await streaming(core)
    ruling = await (await _soon(gate, question())).ruling()
    assert (ruling.answer, ruling.leased) == (Answer.ALLOWED, False)
    leased = gate.leased(KEY)
    assert leased is not None
    assert leased.leased
    script(service, deny())
    refused = await (await _soon(gate, question(2))).ruling()
    assert (refused.answer, refused.code, refused.hint) == (Answer.DENIED, "POLICY_DENIED", "ask an executor")
    assert (await gate.ask(question(3))).answer is Answer.DENIED  # the script is over: the service fails at it
    assert [asked.sequence for asked in service.decided] == [1, 2, 3]
    assert [asked.operation for asked in service.decided] == [operation(number) for number in (1, 2, 3)]


async def test_a_late_answer_is_a_denial_and_told_once(
    gate: SessionGate, core: EnforcerCore, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await streaming(core)
    monkeypatch.setattr("enforcers.core.decision_client.DECIDE_SECONDS", 0.1)
    go, answered = asyncio.Event(), asyncio.Event()

    async def late(_: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        await go.wait()
        answered.set()
        return allow()

    service.decide = late
    told = await _soon(gate, question())
    assert (await told.ruling()).code == "DECISION_UNAVAILABLE"
    go.set()
    await answered.wait()
    await streaming(core)  # its answer came, and was nobody's
    assert len(told.rulings) == 1
    assert gate.leased(KEY) is None
    assert await gate._shared.recorder.flush(gate._window)
    (record,) = service.acts()
    assert (record.sequence, record.outcome.status) == (2, "not-executed")
    assert "number 1" in record.outcome.error


async def test_a_session_closed_meanwhile_is_told_nothing_and_explains_the_number(
    gate: SessionGate, core: EnforcerCore, service: ScriptedService
) -> None:
    await streaming(core)
    go, asked = asyncio.Event(), asyncio.Event()

    async def slow(_: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        asked.set()
        await go.wait()
        return allow()

    service.decide = slow
    told = await _soon(gate, question())
    await asked.wait()
    await gate.close("client gone")
    go.set()
    await streaming(core)
    assert not told.rulings
    assert [(record.sequence, record.outcome.status) for record in service.acts()] == [(2, "not-executed")]


async def test_revoked_while_the_answer_was_on_its_way(
    gate: SessionGate, core: EnforcerCore, service: ScriptedService
) -> None:
    await streaming(core)

    async def revoking(_: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        gate.revoke("killed")
        return allow()

    service.decide = revoking
    assert (await (await _soon(gate, question())).ruling()).code == "REVOKED"
    assert not gate.ask_soon(question(2), Told())
    assert await gate._shared.recorder.flush(gate._window)
    assert [record.outcome.status for record in service.acts()] == ["not-executed"]


async def test_a_stream_that_breaks_denies(gate: SessionGate, core: EnforcerCore, service: ScriptedService) -> None:
    await streaming(core)

    async def odd(asked: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        answer = allow()
        answer.operation = "op_nobody's"
        return answer

    service.decide = odd
    told = await _soon(gate, question())
    assert (await told.ruling()).code == "DECISION_UNAVAILABLE"
    assert not gate.ask_soon(question(2), Told())  # no stream: by a call of its own
    await streaming(core)


async def test_no_more_at_once_than_have_turns(core: EnforcerCore, service: ScriptedService) -> None:
    await streaming(core)
    go = asyncio.Event()

    async def slow(asked: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        await go.wait()
        answer = allow()
        answer.operation = asked.operation.id
        return answer

    service.decide = slow
    gates = [await open_gate(core) for _ in range(DECIDED_AT_ONCE + 1)]
    told = [await _soon(gate, question(number)) for number, gate in enumerate(gates[:-1])]
    assert not gates[0].ask_soon(question(90), Told())  # one at a time, of one session
    assert not gates[-1].ask_soon(question(91), Told())
    waiting = asyncio.ensure_future(gates[-1].ask(question(91)))
    go.set()
    assert all([(await one.ruling()).answer is Answer.ALLOWED for one in told])
    assert (await waiting).answer is Answer.ALLOWED
    assert (await (await _soon(gates[-1], question(92))).ruling()).answer is Answer.ALLOWED


@pytest.mark.parametrize("can_hold", [True, False])
@pytest.mark.parametrize("hint", ["", "in a pipeline"])
def test_the_question_is_protobufs_own_encoding(can_hold: bool, hint: str) -> None:
    asked = Question(operation=operation(7), lease_key=None, can_hold=can_hold, hold_hint=hint)
    message = decision_pb2.DecideRequest(
        session="ses_1", operation=operation(7), can_hold=can_hold, hold_hint=hint, sequence=300
    )
    encoded = acts.question(acts.session_field("ses_1"), asked, 300)
    assert encoded == message.SerializeToString(deterministic=True)


async def test_turns_are_given_in_order() -> None:
    turns = Turns(1)
    assert turns.take_now()
    assert not turns.take_now()
    order: list[int] = []

    async def wait(number: int) -> None:
        await turns.take()
        order.append(number)

    waiting = [asyncio.ensure_future(wait(number)) for number in range(4)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    turns.give_back()
    assert not turns.take_now()  # it is the first one's, though it does not run yet
    waiting[0].cancel()  # in the same moment: it goes to the next
    await asyncio.wait(waiting[:3])
    assert order == [2]
    turns.give_back()
    await waiting[3]
    assert not turns.take_now()
    turns.give_back()
    assert turns.take_now()
