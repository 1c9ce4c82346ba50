"""Dialogues with the machine, no sockets: what goes in on the left, what it says on the right."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcers.core.acts import session_field
from enforcers.core.errors import DecisionUnavailableError, EnforcerError, UpstreamError
from enforcers.core.ports import Answer, HoldEnd, HoldResult, Ruling
from enforcers.core.records import ActRecord, Window
from enforcers.postgres import wire
from enforcers.postgres.commands import (
    Ask,
    Begin,
    CancelTarget,
    Close,
    Command,
    EstimateRows,
    Redeem,
    Refresh,
    RowEstimate,
    StopWaiting,
    Wait,
    Withdraw,
)
from enforcers.postgres.description import Description
from enforcers.postgres.machine import MAX_QUEUED_FRAMES, SessionMachine
from enforcers.postgres.machine_state import POISON, QUESTION
from tests.enforcers.postgres.fakes import (
    ALLOW,
    APPROVED,
    DENY,
    HELD,
    LEASED,
    Policy,
    ScriptedDescriber,
    ScriptedGate,
    with_duties,
)

P1, B2, C3, NODATA = (wire.message(k) for k in (b"1", b"2", b"3", b"n"))
NAMES_ROW = wire.data_row([b"db", b'["pg_catalog", "public"]', b"app", b"app"])
NAMES_ANSWER = C3 + P1 + B2 + NAMES_ROW + wire.message(b"C", b"SELECT 1\0") + C3


def tag(text: str) -> bytes:
    return wire.message(b"C", text.encode() + b"\0")


def error(state: str, text: str = "no") -> bytes:
    return wire.fields(b"E", [("S", "ERROR"), ("C", state), ("M", text)])


def kinds(data: bytes) -> str:
    found, position = "", 0
    while position < len(data):
        found += chr(data[position])
        position += 1 + int.from_bytes(data[position + 1 : position + 5], "big")
    return found


class Dialogue:
    """A machine with its outputs taken out after every event."""

    def __init__(self, policy: Policy | None = None, gate: ScriptedGate | None = None) -> None:
        self.gate = gate or ScriptedGate(policy)
        self.describer = ScriptedDescriber()
        self.machine = SessionMachine(self.gate, self.describer)

    def _taken(self) -> tuple[bytes, bytes, list[Command]]:
        machine = self.machine
        client, target, commands = b"".join(machine.to_client), b"".join(machine.to_target), machine.commands.copy()
        machine.to_client.clear()
        machine.to_target.clear()
        machine.commands.clear()
        return client, target, commands

    def client(self, *messages: bytes) -> tuple[bytes, bytes, list[Command]]:
        self.machine.receive_client(b"".join(messages))
        return self._taken()

    def target(self, *messages: bytes) -> tuple[bytes, bytes, list[Command]]:
        self.machine.receive_target(b"".join(messages))
        return self._taken()

    def reply(self, value: object) -> tuple[bytes, bytes, list[Command]]:
        self.machine.resume(value)
        return self._taken()

    def named(self) -> Dialogue:
        """Past the first question for names, without a statement of the client's."""
        self.client(wire.query(b"SELECT warm"))
        _, _, commands = self.target(NAMES_ANSWER + wire.ready(b"I"))
        assert isinstance(commands[0], Ask)
        _, target, _ = self.reply(ALLOW)
        assert target == wire.query(b"SELECT warm")
        self.target(tag("SELECT 1"), wire.ready(b"I"))
        self.gate.ends.clear()
        self.gate.begun.clear()
        return self

    def ask(self, *messages: bytes) -> tuple[bytes, bytes, list[Command]]:
        """Send; answer the one question by the gate's policy."""
        _, _, commands = self.client(*messages)
        command = commands[0]
        assert isinstance(command, Ask)
        return self.reply(self.gate.rule(command.question))


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


def test_an_error_that_comes_while_the_next_message_is_decided_takes_it_along() -> None:
    one = Dialogue().named()
    messages = (wire.parse(b"", b"SELECT bad"), wire.bind(b"", b""), wire.execute(b""), wire.SYNC)
    _, target, commands = one.client(*messages)
    assert kinds(target) == "P"
    assert isinstance(commands[0], Ask)
    client, _, _ = one.target(error("22P02"))
    assert kinds(client) == "E"
    client, target, _ = one.reply(ALLOW)
    assert (client, kinds(target)) == (b"", "S")
    client, _, commands = one.target(wire.ready(b"I"))
    assert (kinds(client), commands) == ("Z", [])
    assert one.gate.ended == [("SELECT bad", "not-executed")]


def test_an_approval_for_what_its_pipeline_took_along_is_not_redeemed() -> None:
    one = Dialogue(lambda _t: HELD).named()
    _, _, commands = one.ask(wire.parse(b"", b"DELETE bad"), wire.bind(b"", b""), wire.execute(b""), wire.SYNC)
    assert isinstance(commands[0], Wait)
    _, _, commands = one.target(error("22P02"))
    assert commands == [StopWaiting()]
    _, target, commands = one.reply(HoldResult(HoldEnd.APPROVED))  # it came first all the same
    assert target == b""
    assert isinstance(commands[0], Withdraw)
    client, target, _ = one.reply(None)
    assert (client, kinds(target)) == (b"", "S")
    client, _, _ = one.target(wire.ready(b"I"))
    assert kinds(client) == "Z"


def test_a_query_behind_an_error_is_skipped_as_the_target_skips_it() -> None:
    one = Dialogue().named()
    parse = wire.parse(b"", b"SELECT bad")
    _, target, commands = one.client(parse, wire.query(b"SELECT 1"))
    assert (target, commands) == (parse + wire.FLUSH, [])  # it is asked about once it is certain that it will be read
    client, target, commands = one.target(error("22P02"))
    assert (kinds(client), target, commands) == ("E", b"", [])
    client, target, _ = one.client(wire.SYNC)
    assert (client, target) == (b"", wire.SYNC)
    assert one.gate.ended == []


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


PIPELINE = (wire.parse(b"", b"UPDATE x"), wire.bind(b"", b""), wire.execute(b""))


def test_an_act_in_a_pipeline_is_completed_once_its_commit_is() -> None:
    one = Dialogue().named()
    one.ask(*PIPELINE, wire.SYNC)
    one.target(P1 + B2 + tag("UPDATE 3"))
    assert one.gate.ended == []
    one.target(wire.ready(b"I"))
    assert one.gate.ended == [("UPDATE x", "completed")]


def test_an_act_whose_commit_fails_has_failed() -> None:
    one = Dialogue().named()
    one.ask(*PIPELINE, wire.SYNC)
    client, _, _ = one.target(P1 + B2 + tag("UPDATE 3"), error("23503"), wire.ready(b"I"))
    assert kinds(client) == "12CEZ"
    assert one.gate.ended == [("UPDATE x", "failed")]
    assert one.gate.ends[0][1].rows == 3


def test_an_act_of_an_explicit_transaction_is_completed_at_once() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.ask(wire.query(b"BEGIN"))
    one.target(tag("BEGIN"), wire.ready(b"T"))
    one.ask(*PIPELINE, wire.SYNC)
    one.target(P1 + B2 + tag("UPDATE 3"))
    assert one.gate.ended[-1] == ("UPDATE x", "completed")


def test_statements_of_one_message_share_the_fate_of_their_transaction() -> None:
    one = Dialogue().named()
    one.client(wire.query(b"UPDATE x; UPDATE y"))
    one.reply(ALLOW)
    one.reply(ALLOW)
    one.target(tag("UPDATE 1"), error("23505"), wire.ready(b"I"))
    assert sorted(one.gate.ended) == [("UPDATE x", "failed"), ("UPDATE y", "failed")]


def test_an_act_that_ran_in_a_pipeline_whose_target_died_has_an_unknown_outcome() -> None:
    one = Dialogue().named()
    one.ask(*PIPELINE, wire.SYNC)
    one.target(P1 + B2 + tag("UPDATE 3"))
    one.machine.target_lost("gone")
    assert one.gate.ended == [("UPDATE x", "unknown")]


def test_a_portal_that_ran_out_in_a_pipeline_is_not_run_again() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.ask(wire.parse(b"", b"UPDATE x"), wire.bind(b"p", b""), wire.execute(b"p"), wire.FLUSH)
    one.target(P1 + B2 + tag("UPDATE 3"))
    _, target, _ = one.client(wire.execute(b"p"), wire.SYNC)
    assert POISON in target
    assert wire.execute(b"p") not in target


@pytest.mark.parametrize("text", [b"DEALLOCATE ALL", b"DISCARD ALL"])
def test_what_was_deallocated_can_be_prepared_again(text: bytes) -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.client(wire.parse(b"a", b"SELECT 1"), wire.SYNC)
    one.target(P1, wire.ready(b"I"))
    one.describer.overrides[text.decode()] = _commanded
    one.ask(wire.query(text))
    one.target(tag(text.decode()), wire.ready(b"I"))
    _, target, _ = one.client(wire.parse(b"a", b"SELECT 1"), wire.SYNC)
    assert POISON not in target


def _commanded(description: Description) -> Description:
    description.template.command = description.text.decode()
    return replace(description, prepared="")


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


def test_a_pipeline_goes_out_whole_under_leases() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    pipeline = wire.parse(b"", b"SELECT 1") + wire.bind(b"", b"") + wire.execute(b"") + wire.SYNC
    one.ask(pipeline)
    one.target(P1 + B2 + tag("SELECT 0"), wire.ready(b"I"))
    _, target, commands = one.client(pipeline)
    assert (target, commands) == (pipeline, [])


def test_a_denied_bind_is_poisoned_and_the_rest_of_the_pipeline_dropped() -> None:
    one = Dialogue(lambda text: DENY if text.startswith("DELETE") else ALLOW).named()
    one.client(
        wire.parse(b"", b"DELETE x"), wire.bind(b"", b""), wire.execute(b""), wire.parse(b"", b"SELECT 1"), wire.SYNC
    )
    _, target, _ = one.reply(DENY)
    assert target == POISON + wire.SYNC
    client, _, _ = one.target(P1 + error("42601"), wire.ready(b"I"))
    assert kinds(client) == "1EZ"
    assert b"planners may not write" in client
    assert one.gate.ended == []


def test_an_error_of_the_target_before_the_poison_is_the_one_error() -> None:
    one = Dialogue(lambda text: DENY if text.startswith("DELETE") else ALLOW).named()
    one.ask(wire.parse(b"", b"SELECT x"), wire.bind(b"", b""), wire.execute(b""))
    one.ask(wire.parse(b"", b"DELETE x"), wire.bind(b"", b""), wire.SYNC)
    client, _, _ = one.target(error("42P01", "relation is gone"), wire.ready(b"I"))
    assert kinds(client) == "EZ"
    assert b"relation is gone" in client
    assert one.gate.ended == [("SELECT x", "not-executed")]


def test_a_refused_query_in_an_open_pipeline_poisons_it() -> None:
    one = Dialogue(lambda text: DENY if text.startswith("DELETE") else ALLOW).named()
    one.ask(wire.parse(b"", b"SELECT x"), wire.bind(b"", b""), wire.execute(b""))
    _, target, commands = one.client(wire.query(b"DELETE x"))
    assert (target, commands) == (wire.FLUSH, [])
    client, _, commands = one.target(P1 + B2 + tag("SELECT 1"))
    assert kinds(client) == "12C"
    assert isinstance(commands[0], Ask)
    _, target, _ = one.reply(one.gate.rule(commands[0].question))
    assert target == POISON + wire.SYNC
    client, _, _ = one.target(error("42601"), wire.ready(b"I"))
    assert kinds(client) == "EZ"


def test_no_question_between_begin_and_set_transaction() -> None:
    one = Dialogue().named()
    one.machine.names_stale = True
    _, target, _ = one.ask(wire.query(b"BEGIN"))
    assert target == wire.query(b"BEGIN")
    one.target(tag("BEGIN"), wire.ready(b"T"))
    _, target, _ = one.ask(wire.query(b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
    assert target == wire.query(b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    one.target(tag("SET"), wire.ready(b"T"))
    _, target, _ = one.client(wire.query(b"SELECT 1"))
    assert kinds(target) == "CPBECS"


def test_in_a_failed_transaction_nothing_is_asked_of_the_target() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"BEGIN"))
    one.target(tag("BEGIN"), wire.ready(b"T"))
    one.ask(wire.query(b"SELECT x"))
    one.target(error("42P01"), wire.ready(b"E"))
    one.machine.names_stale = True
    _, target, commands = one.client(wire.query(b"SELECT 1"))
    assert (target, commands) == (wire.query(b"SELECT 1"), [])  # the target itself refuses it
    client, _, _ = one.target(error("25P02"), wire.ready(b"E"))
    assert b"25P02" in client
    _, target, commands = one.client(wire.parse(b"", b"SELECT 1"), wire.SYNC)
    assert (target, commands) == (
        wire.close(b"S", QUESTION) + wire.parse(QUESTION, b"SELECT 1") + POISON + wire.SYNC,
        [],
    )
    one.target(C3 + error("25P02"), wire.ready(b"E"))
    _, target, _ = one.ask(wire.query(b"ROLLBACK"))
    assert target == wire.query(b"ROLLBACK")


def failed_with_suspects() -> Dialogue:
    """In a failed transaction, after something opaque that may have changed what the prepared names stand for."""
    one = Dialogue().named()
    for name, text in ((b"s", b"SELECT 1"), (b"r", b"ROLLBACK")):
        one.client(wire.parse(name, text), wire.SYNC)
        one.target(P1, wire.ready(b"I"))
        one.machine.statements[name].suspect = True
    one.ask(wire.query(b"BEGIN"))
    one.target(tag("BEGIN"), wire.ready(b"T"))
    one.ask(wire.query(b"SELECT x"))
    one.target(error("42P01"), wire.ready(b"E"))
    return one


def test_a_prepared_rollback_ends_a_failed_transaction_also_when_its_text_can_not_be_asked() -> None:
    one = failed_with_suspects()
    run = (wire.bind(b"", b"r"), wire.execute(b""), wire.SYNC)
    _, target, _ = one.ask(*run)
    assert target == b"".join(run)
    client, _, _ = one.target(B2 + tag("ROLLBACK"), wire.ready(b"I"))
    assert kinds(client) == "2CZ"


def test_anything_else_is_refused_there_by_the_target() -> None:
    one = failed_with_suspects()
    bind = wire.bind(b"", b"s")
    _, target, commands = one.client(bind, wire.execute(b""), wire.SYNC)
    assert (target, commands) == (bind + POISON + wire.SYNC, [])
    client, _, _ = one.target(error("25P02", "in its own words"), wire.ready(b"E"))
    assert b"in its own words" in client


def test_what_ends_a_failed_transaction_takes_nothing_undecided_with_it() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"BEGIN"))
    one.target(tag("BEGIN"), wire.ready(b"T"))
    one.ask(wire.query(b"SELECT x"))
    one.target(error("42P01"), wire.ready(b"E"))
    one.machine.names_stale = True
    _, target, commands = one.client(wire.query(b"ROLLBACK; SELECT 1"))
    assert (target, commands) == (POISON + wire.SYNC, [])


def test_an_undecided_statement_that_runs_after_all_ends_the_session() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"BEGIN"))
    one.target(tag("BEGIN"), wire.ready(b"T"))
    one.ask(wire.query(b"SELECT x"))
    one.target(error("42P01"), wire.ready(b"E"))
    one.machine.names_stale = True
    one.client(wire.query(b"SELECT 1"))
    with pytest.raises(UpstreamError):
        one.machine.receive_target(tag("SELECT 1"))


def test_holding_ends_with_the_first_write_of_a_transaction() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"BEGIN"))
    one.target(tag("BEGIN"), wire.ready(b"T"))
    _, _, commands = one.client(wire.query(b"SELECT 1"))
    assert isinstance(commands[0], Ask)
    assert commands[0].question.can_hold
    one.reply(ALLOW)
    one.target(tag("SELECT 1"), wire.ready(b"T"))
    one.ask(wire.query(b"UPDATE x"))
    one.target(tag("UPDATE 1"), wire.ready(b"T"))
    _, _, commands = one.client(wire.query(b"DELETE x"))
    assert isinstance(commands[0], Ask)
    assert not commands[0].question.can_hold
    assert "roll back" in commands[0].question.hold_hint
    assert commands[0].question.operation.sql.transaction.written


def test_a_statement_swapped_by_sql_prepare_is_not_believed() -> None:
    """attacks.md S3: Parse s, DEALLOCATE s, PREPARE s AS another, Bind s."""
    one = Dialogue().named()
    one.client(wire.parse(b"s", b"SELECT 1"), wire.SYNC)
    one.target(P1, wire.ready(b"I"))
    one.ask(wire.query(b"DEALLOCATE s"))
    one.target(tag("DEALLOCATE"), wire.ready(b"I"))
    one.ask(wire.query(b"PREPARE s"))
    one.target(tag("PREPARE"), wire.ready(b"I"))
    _, target, commands = one.client(wire.bind(b"", b"s"), wire.execute(b""), wire.SYNC)
    assert commands == []
    assert b"pg_prepared_statements" in target
    client, target, commands = one.target(C3 + P1 + B2 + tag("SELECT 0") + C3 + wire.ready(b"I"))
    assert (client, commands) == (b"", [])
    assert target == POISON + wire.SYNC
    client, _, _ = one.target(error("42601"), wire.ready(b"I"))
    assert b"26000" in client


def test_what_else_has_a_statements_name_by_now_is_what_is_decided() -> None:
    one = Dialogue().named()
    one.client(wire.parse(b"s", b"SELECT 1"), wire.SYNC)
    one.target(P1, wire.ready(b"I"))
    one.ask(wire.query(b"do something"))
    one.target(tag("DO"), wire.ready(b"I"))
    one.client(wire.bind(b"", b"s"), wire.execute(b""), wire.SYNC)
    one.target(NAMES_ANSWER + wire.ready(b"I"))
    row = wire.data_row([b"UPDATE another", b"false", b""])
    _, _, commands = one.target(C3 + P1 + B2 + row + tag("SELECT 1") + C3 + wire.ready(b"I"))
    (command,) = commands
    assert isinstance(command, Ask)
    assert command.question.operation.sql.values.statement == b"UPDATE another"


@pytest.mark.parametrize(
    "message",
    [
        wire.bind(b"", b""),
        wire.bind(b"", b"__twokey_statement"),
        wire.execute(b"nobody"),
        wire.describe(b"S", b"__twokey_question"),
        wire.describe(b"P", b"__twokey_question"),
        wire.parse(b"__twokey_x", b"SELECT 1"),
        wire.close(b"S", b"__twokey_question"),
    ],
)
def test_what_the_machine_does_not_know_is_refused(message: bytes) -> None:
    one = Dialogue().named()
    _, target, _ = one.client(message, wire.SYNC)
    assert target == POISON + wire.SYNC


@pytest.mark.parametrize("kind", [b"S", b"P"])
def test_the_target_describes_what_only_it_may_know(kind: bytes) -> None:
    one = Dialogue().named()
    _, target, _ = one.client(wire.describe(kind, b"somebody"), wire.SYNC)
    assert target == wire.describe(kind, b"somebody") + wire.SYNC
    client, _, _ = one.target(wire.message(b"n", b""), wire.ready(b"I"))
    assert kinds(client) == "nZ"


REJECTED = wire.close(b"S", QUESTION) + wire.parse(QUESTION, b"syntax") + POISON + wire.SYNC


@pytest.mark.parametrize("message", [wire.query(b"syntax"), wire.parse(b"s", b"syntax") + wire.SYNC])
def test_the_target_says_itself_what_it_can_not_parse(message: bytes) -> None:
    one = Dialogue().named()
    _, target, commands = one.client(message)
    assert (target, commands) == (REJECTED, [])
    client, _, _ = one.target(C3 + error("42601", "in its own words"), wire.ready(b"I"))
    assert kinds(client) == "EZ"
    assert b"in its own words" in client
    assert one.machine.statements == {}


@pytest.mark.parametrize("message", [wire.query(b"syntax"), wire.parse(b"", b"syntax") + wire.SYNC])
def test_what_the_target_parses_and_we_do_not_is_refused_all_the_same(message: bytes) -> None:
    one = Dialogue().named()
    one.client(message)
    client, target, _ = one.target(C3 + P1 + error("42601", "the poison"), wire.ready(b"I"))
    assert (kinds(client), target) == ("EZ", b"")
    assert b"the poison" not in client
    _, target, _ = one.client(wire.bind(b"", b""), wire.execute(b""), wire.SYNC)
    assert target == POISON + wire.SYNC


def test_several_statements_in_a_parse_are_refused_by_the_target() -> None:
    one = Dialogue().named()
    _, target, _ = one.client(wire.parse(b"s", b"SELECT 1; SELECT 2"), wire.SYNC)
    assert wire.parse(QUESTION, b"SELECT 1; SELECT 2") + POISON + wire.SYNC in target


def test_a_statement_nobody_knows_is_looked_up_and_refused() -> None:
    one = Dialogue().named()
    _, target, _ = one.client(wire.bind(b"", b"nobody"), wire.SYNC)
    assert b"pg_prepared_statements" in target
    _, target, _ = one.target(C3 + P1 + B2 + tag("SELECT 0") + C3 + wire.ready(b"I"))
    assert target == POISON + wire.SYNC


def test_a_portal_is_decided_again_when_its_lease_ended() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    one.ask(wire.parse(b"", b"SELECT 1"), wire.bind(b"", b""), wire.FLUSH)
    one.target(P1 + B2)
    one.gate.leases.clear()
    _, target, commands = one.client(wire.execute(b""))
    assert target == b""
    assert isinstance(commands[0], Ask)
    _, target, _ = one.reply(DENY)
    assert target == POISON


def test_rebinding_a_portal_before_its_answer_keeps_its_outcome() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    twice = wire.bind(b"", b"s") + wire.execute(b"")
    one.client(wire.parse(b"s", b"UPDATE x"), wire.SYNC)
    one.target(P1, wire.ready(b"I"))
    _, _, commands = one.ask(twice, twice, wire.SYNC)
    assert isinstance(commands[0], Ask)  # the transaction has written meanwhile: another question
    one.reply(ALLOW)
    one.target(B2 + tag("UPDATE 3") + B2 + error("23505"), wire.ready(b"I"))
    # One implicit transaction: what the first did is rolled back with the second.
    assert [(o.status, o.rows) for _, o in one.gate.ends] == [("failed", 0), ("failed", 3)]


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


def test_copy_data_streams_and_syncs_inside_it_are_dropped() -> None:
    one = Dialogue().named()
    _, target, _ = one.ask(wire.parse(b"", b"COPY x FROM STDIN"), wire.bind(b"", b""), wire.execute(b""), wire.SYNC)
    assert kinds(target) == "BEH"
    _, target, _ = one.target(P1 + B2 + wire.message(b"G", b"\0\0\0"))
    assert target == b""
    data = wire.message(b"d", b"1\n")
    assert one.client(data)[1] == data
    assert one.client(wire.message(b"c"), wire.SYNC)[1] == wire.message(b"c") + wire.SYNC
    client, _, _ = one.target(tag("COPY 1"), wire.ready(b"I"))
    assert kinds(client) == "CZ"
    assert one.gate.ends[-1][1].rows == 1


def test_other_messages_inside_copy_end_it() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"COPY x FROM STDIN"))
    one.target(wire.message(b"G", b"\0\0\0"))
    _, target, commands = one.client(wire.query(b"DROP x"))
    assert (kinds(target), commands) == ("f", [])


@pytest.mark.parametrize(
    "answer",
    [wire.data_row([b"x"]), tag("SELECT 1"), P1, b"K\0\0\0\x0c\0\0\0\1\0\0\0\1", wire.ready(b"I"), b"q\0\0\0\4"],
)
def test_a_target_that_speaks_out_of_order_ends_the_session(answer: bytes) -> None:
    one = Dialogue().named()
    with pytest.raises(EnforcerError):
        one.target(answer)
    one.machine.target_lost("it broke the protocol")
    client, target, commands = one._taken()
    assert (kinds(client), target) == ("E", b"")
    assert isinstance(commands[0], Close)


def test_a_target_that_executes_more_than_was_decided_ends_the_session() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"SELECT 1"))
    with pytest.raises(EnforcerError):
        one.target(tag("SELECT 1") + tag("DROP TABLE"))


def test_an_act_under_way_when_the_target_dies_is_unknown() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"UPDATE x"))
    one.machine.target_lost("reset")
    client, _, _ = one._taken()
    assert b"08006" in client
    assert one.gate.ended == [("UPDATE x", "unknown")]


def test_no_error_is_put_into_a_half_sent_row() -> None:
    one = Dialogue().named()
    one.ask(wire.query(b"SELECT 1"))
    row = wire.data_row([b"x" * 100])
    client, _, _ = one.target(row[:50])
    assert client == row[:50]
    one.machine.revoked("cut")
    client, _, commands = one._taken()
    assert client == b""
    assert isinstance(commands[-1], Close)


@pytest.mark.parametrize("state", ["idle", "asking", "running", "skipping"])
def test_terminate_in_every_state(state: str) -> None:
    one = Dialogue().named()
    if state == "running":
        one.ask(wire.query(b"SELECT 1"))
        one.machine.client_lost()
    elif state == "asking":
        one.client(wire.query(b"SELECT 1"), wire.TERMINATE)
        one.machine.client_lost()
    elif state == "skipping":
        one.client(wire.parse(b"", b"syntax"), wire.TERMINATE)
    else:
        one.client(wire.TERMINATE)
    assert one.machine.closed
    one._taken()
    assert one.client(wire.query(b"DROP x")) == (b"", b"", [])


def test_row_limits_of_several_statements_end_the_message_with_one_error() -> None:
    one = Dialogue(lambda _t: with_duties(ALLOW, max_rows=1)).named()
    one.client(wire.query(b"SELECT 1; SELECT 2"))
    one.reply(with_duties(ALLOW, max_rows=1))
    one.reply(with_duties(ALLOW, max_rows=1))
    row = wire.message(b"T", b"\0\0") + wire.data_row([])
    client, _, commands = one.target(
        row + wire.data_row([]) + tag("SELECT 2") + row + tag("SELECT 1"), wire.ready(b"I")
    )
    assert kinds(client) == "TDEZ"
    assert CancelTarget() in commands
    assert [o.status for _, o in one.gate.ends] == ["failed", "completed"]


CLIENT = st.lists(
    st.sampled_from(
        [
            wire.query(b"SELECT 1"),
            wire.query(b"DELETE x"),
            wire.query(b"BEGIN; SELECT 1"),
            wire.query(b"syntax"),
            wire.parse(b"", b"SELECT 1"),
            wire.parse(b"s", b"DELETE x"),
            wire.bind(b"", b""),
            wire.bind(b"p", b"s"),
            wire.execute(b""),
            wire.execute(b"p", 1),
            wire.describe(b"S", b"s"),
            wire.close(b"S", b"s"),
            wire.SYNC,
            wire.FLUSH,
            wire.message(b"d", b"x"),
            wire.message(b"c"),
            wire.TERMINATE,
        ]
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(CLIENT, st.data())
def test_no_refused_text_ever_reaches_the_target(messages: list[bytes], data: st.DataObject) -> None:
    """Whatever is pipelined, however it is cut: a denied statement is never executed."""
    one = Dialogue(lambda text: DENY if text.startswith("DELETE") else LEASED).named()
    stream = b"".join(messages)
    sent = b""
    while stream:
        size = data.draw(st.integers(1, 40))
        _, target, commands = one.client(stream[:size])
        stream = stream[size:]
        sent += target
        while commands and isinstance(commands[0], Ask):
            _, target, commands = one.reply(one.gate.rule(commands[0].question))
            sent += target
    for act in one.gate.begun:
        assert not act.statement.startswith(b"DELETE")
    position = 0
    while position < len(sent):
        end = position + 1 + int.from_bytes(sent[position + 1 : position + 5], "big")
        frame = sent[position:end]
        assert not (frame[:1] == b"Q" and b"DELETE" in frame)
        assert frame[:1] != b"B" or b"p\0s\0" not in frame
        position = end


@given(st.binary(max_size=80))
def test_random_bytes_from_either_side(data: bytes) -> None:
    one = Dialogue(lambda _t: LEASED).named()
    _, target, _ = one.client(data)
    if one.machine.closed:
        assert one.client(wire.query(b"DROP x"))[1] == b""
    two = Dialogue(lambda _t: LEASED).named()
    two.ask(wire.query(b"SELECT 1"))
    with contextlib.suppress(EnforcerError):
        two.target(data)
    del target


def test_how_strings_are_read_can_not_be_changed() -> None:
    one = Dialogue(lambda _t: LEASED).named()
    for _ in range(2):
        client, target, commands = one.client(wire.query(b"SET standard_conforming_strings = off"))
        assert (kinds(client), target, commands) == ("EZ", b"", [])
        assert b"0A000" in client


def test_a_row_beyond_the_limit_does_not_pass_in_pieces() -> None:
    one = Dialogue(lambda _t: with_duties(ALLOW, max_rows=1)).named()
    one.ask(wire.query(b"SELECT 1"))
    row = wire.data_row([b"x" * 100])
    described = wire.message(b"T", b"\0\0")
    client, _, _ = one.target(described + row + row[:50])
    assert client == described + row
    client, _, _ = one.target(row[50:] + tag("SELECT 2"), wire.ready(b"I"))
    assert kinds(client) == "EZ"
    assert one.gate.ends[-1][1].rows == 1
