"""Dialogues with the machine: pipelines, their errors, and the outcomes of what stood in them."""

from __future__ import annotations

from enforcers.core.ports import HoldEnd, HoldResult
from enforcers.postgres import wire
from enforcers.postgres.commands import Ask, StopWaiting, Wait, Withdraw
from enforcers.postgres.machine_state import POISON
from tests.enforcers.postgres.dialogue import B2, P1, Dialogue, error, kinds, tag
from tests.enforcers.postgres.fakes import ALLOW, DENY, HELD, LEASED


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
