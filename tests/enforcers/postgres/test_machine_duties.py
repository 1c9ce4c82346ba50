"""Duties in the machine, no sockets: what stays on the fast path, what a reason does to leases, when alarms ring."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcers.core.ports import Duties
from enforcers.postgres import wire
from enforcers.postgres.commands import Alarm, Ask, CancelTarget, Close
from enforcers.postgres.description import Description
from enforcers.postgres.machine_duties import MAX_TIMED, milliseconds
from tests.enforcers.postgres.dialogue import B2, P1, Dialogue, error, kinds, tag
from tests.enforcers.postgres.fakes import ALLOW, LEASED, ScriptedGate, with_duties

SET = b"SET twokey.reason = 'ticket 12'"
READY = wire.ready(b"I")
EMPTY = wire.message(b"I", b"")


def owning(one: Dialogue, *texts: bytes) -> Dialogue:
    """The describer of these tests says which statements touch the gateway's own settings."""
    for text in texts:
        one.describer.overrides[text.decode()] = lambda found: replace(found, own_setting=True)
    return one


def test_a_leased_read_with_limits_passes_in_one_turn() -> None:
    bounded = with_duties(LEASED, max_rows=1000, max_bytes=1 << 20)
    one = Dialogue(lambda _text: bounded).named()
    one.ask(wire.query(b"SELECT 1"))
    one.target(tag("SELECT 1"), READY)
    _, target, commands = one.client(wire.query(b"SELECT 2"))
    assert (target, commands) == (wire.query(b"SELECT 2"), [])
    one.target(tag("SELECT 1"), READY)
    assert one.gate.ends[-1][1].obligations_met == ("max-rows", "max-bytes")


def test_a_reason_is_answered_by_the_gateway_and_never_sent() -> None:
    one = owning(Dialogue(lambda _text: LEASED).named(), SET)
    client, target, commands = one.client(wire.query(SET))
    assert (client, target, commands) == (b"", wire.query(b""), [])
    client, _, _ = one.target(EMPTY, READY)
    assert client == tag("SET") + READY
    # In the extended protocol the target prepares the empty statement.
    run = wire.parse(b"", SET) + wire.bind(b"", b"") + wire.describe(b"P", b"") + wire.execute(b"") + wire.SYNC
    _, target, commands = one.client(run)
    assert (b"ticket" in target, commands) == (False, [])
    client, _, _ = one.target(P1, B2, wire.message(b"n"), EMPTY, READY)
    assert client == P1 + B2 + wire.message(b"n") + tag("SET") + READY
    assert one.gate.ends == []


def test_while_a_reason_is_given_nothing_is_leased_and_policy_is_told_it() -> None:
    one = owning(Dialogue(lambda _text: LEASED).named(), SET, b"RESET twokey.reason")
    one.ask(wire.query(b"SELECT 1"))
    one.target(tag("SELECT 1"), READY)
    one.client(wire.query(SET))
    one.target(EMPTY, READY)
    _, _, commands = one.client(wire.query(b"SELECT 2"))
    question = commands[0]
    assert isinstance(question, Ask)
    assert (question.question.operation.reason, question.question.lease_key) == ("ticket 12", None)
    one.reply(ALLOW)
    one.target(tag("SELECT 1"), READY)
    one.client(wire.query(b"RESET twokey.reason"))
    one.target(EMPTY, READY)
    _, target, _ = one.client(wire.query(b"SELECT 3"))
    assert target == wire.query(b"SELECT 3")  # the lease from before


@pytest.mark.parametrize("given", [False, True])
def test_an_obligation_to_give_a_reason_is_met_or_the_act_refused(*, given: bool) -> None:
    wanting = with_duties(ALLOW, require_reason=True)
    one = owning(Dialogue(lambda text: wanting if text.startswith("UPDATE") else ALLOW).named(), SET)
    if given:
        one.client(wire.query(SET))
        one.target(EMPTY, READY)
    client, target, _ = one.ask(wire.query(b"UPDATE t SET n = 1"))
    assert (target == wire.query(b"UPDATE t SET n = 1")) is given
    if not given:
        assert b"SET twokey.reason = 'why'\0" in client
        assert one.gate.ended == [("UPDATE t SET n = 1", "refused")]


def test_an_act_with_a_duration_is_cancelled_when_its_alarm_rings() -> None:
    timed = with_duties(ALLOW, max_duration_ms=1000)
    one = Dialogue(lambda _text: timed).named()
    _, target, commands = one.ask(wire.query(b"SELECT 1"))
    assert target == wire.query(b"SELECT 1")
    assert [command for command in commands if isinstance(command, Alarm)] == [Alarm(1.0)]
    deadline, running = one.machine.timed[0]
    one.machine.alarm(deadline - 0.5)
    assert [type(command) for command in one.machine.commands] == [Alarm]
    one.machine.commands.clear()
    one.machine.alarm(deadline)
    assert CancelTarget() in one.machine.commands
    client, _, _ = one.target(error("57014"), READY)
    assert b"longer than policy allows: 1000 ms" in client
    assert (running.ended, one.gate.ends[-1][1].status, one.gate.ends[-1][1].sqlstate) == (True, "failed", "57014")


def test_an_act_that_ended_before_its_alarm_is_left_alone() -> None:
    one = Dialogue(lambda _text: with_duties(ALLOW, max_duration_ms=1000)).named()
    for _ in range(MAX_TIMED + 10):
        one.ask(wire.query(b"SELECT 1"))
        one.target(tag("SELECT 1"), READY)
    assert len(one.machine.timed) <= MAX_TIMED
    one.machine.alarm(one.machine.timed[-1][0])
    assert (one.machine.commands, one.machine.timed) == ([], [])


def test_a_session_with_a_duration_ends_and_says_why() -> None:
    gate = ScriptedGate(duties=Duties(max_duration_ms=5000))
    one = Dialogue(gate=gate)
    assert one.machine.commands == [Alarm(5.0)]
    one.machine.commands.clear()
    one.machine.alarm(one.machine.session_ends)
    client = b"".join(one.machine.to_client)
    assert kinds(client) == "E"
    assert b"57P01" in client
    assert one.machine.commands == [Close("max-duration")]


@pytest.fixture
def loosening() -> Dialogue:
    """A session whose timeout is 500 ms, in which something opaque runs."""
    gate = ScriptedGate(
        lambda _text: with_duties(ALLOW, statement_timeout_ms=500), duties=Duties(statement_timeout_ms=500)
    )
    one = Dialogue(gate=gate).named()

    def opaque(found: Description) -> Description:
        found.template.opaque = True
        return replace(found, shape_digest=b"another")

    one.describer.overrides["SELECT loosen()"] = opaque
    return one


def test_a_limit_of_the_session_is_believed_until_something_could_have_changed_it(loosening: Dialogue) -> None:
    one = loosening
    _, target, _ = one.ask(wire.query(b"SELECT 1"))
    assert target == wire.query(b"SELECT 1")
    one.target(tag("SELECT 1"), READY)
    assert one.machine.met(Duties(statement_timeout_ms=500))
    one.ask(wire.query(b"SELECT loosen()"))
    one.target(tag("SELECT 1"), READY)
    assert one.machine.loosened
    assert not one.machine.met(Duties(statement_timeout_ms=500))
    assert not one.machine.met(Duties())  # the session's own holds for every act


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (b"0", 0),
        (b"30s", 30_000),
        (b"1500ms", 1500),
        (b"5min", 300_000),
        (b"2h", 7_200_000),
        (b"1d", 86_400_000),
        (b"x", 0),
    ],
)
def test_times_are_read_as_the_target_shows_them(shown: bytes, expected: float) -> None:
    assert milliseconds(shown) == expected


def test_a_lease_does_not_let_a_read_only_session_be_loosened() -> None:
    gate = ScriptedGate(lambda _text: LEASED, duties=Duties(read_only=True))
    one = Dialogue(gate=gate).named()

    def writable(found: Description) -> Description:
        del found.template.settings[:]
        found.template.settings.add(name="transaction_read_only", action="set-local", value="off")
        return replace(found, shape_digest=b"writable")

    one.describer.overrides["BEGIN READ WRITE"] = writable
    for answer in (one.ask(wire.query(b"BEGIN READ WRITE")), one.client(wire.query(b"BEGIN READ WRITE"))):
        client, target, commands = answer
        assert (target, commands, b"this session is read-only" in client) == (b"", [], True)
        assert one.gate.ends[-1][1].status == "refused"
    assert one.gate.leases


def test_a_leased_write_with_a_row_limit_is_bound_at_once_and_counted_before_its_sync() -> None:
    one = Dialogue(lambda _text: with_duties(LEASED, max_rows=2)).named()

    def update(found: Description) -> Description:
        del found.template.verbs[:]
        found.template.verbs.append("sql.update")
        return replace(found, shape_digest=b"update")

    text = b"UPDATE t SET n = 1"
    one.describer.overrides[text.decode()] = update
    run = wire.parse(b"", text) + wire.bind(b"", b"") + wire.execute(b"")
    one.ask(run, wire.SYNC)
    one.target(P1, B2, tag("UPDATE 2"))
    one.target(READY)
    _, target, commands = one.client(run, wire.SYNC)
    assert (kinds(target), commands) == ("PBEH", [])  # nothing is asked, and the Sync waits for the count
    client, target, _ = one.target(P1, B2, tag("UPDATE 3"))
    assert b"it wrote 3 rows, more than policy allows: 2" in client
    assert kinds(target) == "PS"  # the poison, then the Sync
    client, _, _ = one.target(error("42601"), READY)
    assert kinds(client) == "Z"
    assert [status for _, status in one.gate.ended] == ["completed", "failed"]
