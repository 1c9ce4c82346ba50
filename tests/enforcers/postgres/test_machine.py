"""Dialogues with the machine, no sockets: nothing is sent before it is decided, and what waits waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcers.core.acts import session_field
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.ports import Answer, HoldEnd, HoldResult, Ruling
from enforcers.core.records import ActRecord, Window
from enforcers.postgres import wire
from enforcers.postgres.commands import (
    Ask,
    Begin,
    CancelTarget,
    EstimateRows,
    Redeem,
    Refresh,
    RowEstimate,
    Wait,
    Withdraw,
)
from enforcers.postgres.description import Description
from enforcers.postgres.machine import MAX_QUEUED_FRAMES
from tests.enforcers.postgres.dialogue import Dialogue, kinds, tag
from tests.enforcers.postgres.fakes import ALLOW, APPROVED, HELD, LEASED, ScriptedGate


def test_nothing_is_sent_before_the_decision() -> None:
    one = Dialogue().named()
    client, target, commands = one.client(wire.query(b"SELECT 1"))
    assert (client, target) == (b"", b"")
    assert isinstance(commands[0], Ask)
    _, target, _ = one.reply(ALLOW)
    assert target == wire.query(b"SELECT 1")
    client, _, _ = one.target(tag("SELECT 1"), wire.ready(b"I"))
    assert kinds(client) == "CZ"
    assert one.gate.ended == [("SELECT 1", "completed")]


def test_a_leased_statement_passes_in_one_turn() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.ask(wire.query(b"SELECT 1"))
    one.target(tag("SELECT 1"), wire.ready(b"I"))
    _, target, commands = one.client(wire.query(b"SELECT 2"))
    assert target == wire.query(b"SELECT 2")
    assert commands == []


def test_a_full_window_waits_and_a_broken_record_refuses() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.ask(wire.query(b"SELECT 1"))
    one.target(tag("SELECT 1"), wire.ready(b"I"))
    one.gate.room = False
    _, target, commands = one.client(wire.query(b"SELECT 2"))
    assert target == b""
    assert isinstance(commands[0], Begin)
    client, target, _ = one.reply(DecisionUnavailableError("disk full"))
    assert (kinds(client), target) == ("EZ", b"")
    assert b"57P03" in client


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("end", ["revoked", "client", "target", "drained"])
def test_a_session_that_ends_while_an_intent_is_recorded_ran_nothing(end: str, recorded: bool) -> None:
    one = Dialogue(gate=ScriptedGate(lambda _text: LEASED)).named()
    one.gate.room = False
    _, _, commands = one.client(wire.query(b"SELECT 1"))
    if isinstance(commands[0], Ask):
        _, _, commands = one.reply(one.gate.rule(commands[0].question))
    if not isinstance(commands[0], Begin):  # the first answer is the decision's own; the next is under the lease
        one.target(tag("SELECT 1"), wire.ready(b"I"))
        one.gate.ends.clear()
        _, _, commands = one.client(wire.query(b"SELECT 1"))
    (begin,) = commands
    assert isinstance(begin, Begin)
    if recorded:
        head = session_field("ses_1")
        begin.act.record = ActRecord("ses_1", head, b"", Window(), queued=0.0, size=1)
    machine = one.machine
    if end == "revoked":
        machine.revoked("killed")
    elif end == "client":
        machine.client_lost()
    elif end == "target":
        machine.target_lost("gone")
    else:
        machine.shut("draining")
    assert [outcome.status for _, outcome in one.gate.ends] == (["not-executed"] if recorded else [])
    assert one.reply(None)[1] == b""


def test_an_answer_nobody_can_carry_out_is_a_denial() -> None:
    one = Dialogue().named()
    one.client(wire.query(b"DROP x"))
    _, _, commands = one.reply(Ruling(answer=Answer.NEEDS_ESTIMATE, decision="d"))
    assert isinstance(commands[0], Ask)
    assert commands[0].question.operation.sql.values.estimate_unknown
    client, target, _ = one.reply(Ruling(answer=Answer.NEEDS_ESTIMATE, decision="d"))
    assert (kinds(client), target) == ("EZ", b"")


def test_an_estimate_is_asked_for_once() -> None:
    one = Dialogue().named()
    one.client(wire.query(b"SELECT big"))
    _, _, commands = one.reply(Ruling(answer=Answer.NEEDS_ESTIMATE, decision="d"))
    assert isinstance(commands[0], EstimateRows)
    _, _, commands = one.reply(RowEstimate(12.0, 3.0))
    assert isinstance(commands[0], Ask)
    assert commands[0].question.operation.sql.values.estimate.rows == 12.0


def test_a_hold_that_the_service_gives_where_none_is_possible_is_a_denial() -> None:
    one = Dialogue().named()
    one.client(wire.query(b"SELECT 1; DELETE x"))
    one.reply(ALLOW)
    client, target, commands = one.reply(HELD)
    assert (kinds(client), target, commands) == ("EZ", b"", [])
    assert one.gate.ended == [("SELECT 1", "not-executed")]


def test_what_changed_while_held_is_not_redeemed() -> None:
    one = Dialogue(lambda _t: HELD).named()
    client, target, commands = one.ask(wire.query(b"DELETE x"))
    assert (kinds(client), target) == ("N", b"")
    assert isinstance(commands[0], Wait)
    one.describer.overrides["DELETE x"] = lambda d: replace(d, static_digest=b"another")
    client, target, commands = one.reply(HoldResult(HoldEnd.APPROVED))
    assert (kinds(client), target, commands) == ("EZ", b"", [])
    assert b"changed while it waited" in client


def test_an_approved_act_is_redeemed_then_forwarded() -> None:
    one = Dialogue(lambda _t: HELD).named()
    one.ask(wire.query(b"DELETE x"))
    _, target, commands = one.reply(HoldResult(HoldEnd.APPROVED))
    assert target == b""
    assert isinstance(commands[0], Redeem)
    _, target, _ = one.reply(APPROVED)
    assert target == wire.query(b"DELETE x")


def test_what_is_not_found_is_looked_for_again_before_anyone_is_asked() -> None:
    one = Dialogue().named()

    def unknown(description: Description) -> Description:
        description.template.opaque = True
        description.template.opaque_reasons.add(code="unresolved", detail='relation "new"')
        return description

    one.describer.overrides["SELECT new"] = unknown
    _, _, commands = one.client(wire.query(b"SELECT new"))
    assert commands == [Refresh()]
    one.describer.overrides.clear()
    one.describer.version += 1
    _, _, commands = one.reply(None)
    assert isinstance(commands[0], Ask)
    assert not commands[0].question.operation.sql.opaque


def test_a_withdrawal_tells_the_service() -> None:
    one = Dialogue(lambda _t: HELD).named()
    one.ask(wire.query(b"DELETE x"))
    _, _, commands = one.reply(HoldResult(HoldEnd.WITHDRAWN))
    assert isinstance(commands[0], Withdraw)
    client, target, _ = one.reply(None)
    assert (kinds(client), target) == ("EZ", b"")
    assert b"57014" in client


def test_a_client_lost_while_held_never_runs() -> None:
    one = Dialogue(lambda _t: HELD).named()
    one.ask(wire.query(b"DELETE x"), wire.query(b"SELECT 1"))
    one.machine.client_lost()
    assert one.reply(HoldResult(HoldEnd.APPROVED))[1] == b""
    assert one.gate.begun == []


@pytest.mark.parametrize("last", [wire.TERMINATE, wire.query(b"SELECT 2"), wire.SYNC])
def test_nothing_overtakes(last: bytes) -> None:
    one = Dialogue(lambda _t: HELD).named()
    one.ask(wire.parse(b"", b"DELETE x"), wire.bind(b"", b""), wire.execute(b""))
    assert one.client(last) == (b"", b"", [])


def test_the_queue_is_bounded() -> None:
    one = Dialogue().named()
    one.client(wire.query(b"SELECT 1"))
    one.client(wire.SYNC * (MAX_QUEUED_FRAMES + 1))
    assert one.machine.overfull


def test_a_cancel_holds_back_the_next_statement() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.ask(wire.query(b"SELECT 1"))
    one.machine.cancel()
    _, _, commands = one._taken()
    assert commands == [CancelTarget()]
    one.target(tag("SELECT 1"), wire.ready(b"I"))
    assert one.client(wire.query(b"SELECT 2")) == (b"", b"", [])
    one.machine.cancelled()
    assert one._taken()[1] == wire.query(b"SELECT 2")


def test_a_cancel_while_nothing_runs_goes_nowhere() -> None:
    one = Dialogue().named()
    one.machine.cancel()
    assert one._taken()[2] == []


def test_a_stale_catalog_is_refreshed_before_describing() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.describer.fresh = False
    _, target, commands = one.client(wire.query(b"SELECT 1"))
    assert (target, commands) == (b"", [Refresh()])
