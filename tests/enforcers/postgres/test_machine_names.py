"""Dialogues with the machine: statements and portals by name, and what the target says itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcers.core.ports import Ruling
from enforcers.postgres import wire
from enforcers.postgres.commands import Ask
from enforcers.postgres.description import Description
from enforcers.postgres.machine_state import POISON, QUESTION
from tests.enforcers.postgres.dialogue import B2, C3, NAMES_ANSWER, P1, Dialogue, error, kinds, tag
from tests.enforcers.postgres.fakes import ALLOW, DENY, LEASED, with_duties


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


@pytest.mark.parametrize("refused", [wire.parse(b"", b"syntax"), wire.parse(b"", b"SELECT 1; SELECT 2")])
def test_after_a_parse_that_failed_the_unnamed_statement_before_it_is_gone(refused: bytes) -> None:
    """The target still has it: what it refused went by another name."""
    one = Dialogue().named()
    one.client(wire.parse(b"", b"DELETE x"), wire.SYNC)
    one.target(P1, wire.ready(b"I"))
    one.client(refused, wire.SYNC)
    one.target(C3 + error("42601"), wire.ready(b"I"))
    _, target, commands = one.client(wire.bind(b"", b""), wire.execute(b""), wire.SYNC)
    assert (target, commands) == (POISON + wire.SYNC, [])
    client, _, _ = one.target(error("42601"), wire.ready(b"I"))
    assert b"26000" in client


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


SUSPENDED = wire.message(b"s")
ROW = wire.data_row([b"1"])


def half_read(ruling: Ruling) -> Dialogue:
    """A result of which one row was read, when another policy revision comes into force."""
    one = Dialogue(lambda _t: ruling).named()
    one.ask(wire.query(b"BEGIN"))
    one.target(tag("BEGIN"), wire.ready(b"T"))
    one.ask(wire.parse(b"", b"SELECT 1"), wire.bind(b"p", b""), wire.execute(b"p", 1), wire.SYNC)
    one.target(P1 + B2 + ROW + SUSPENDED, wire.ready(b"T"))
    one.gate.revision = "rev_2"
    one.gate.leases.clear()
    return one


@pytest.mark.parametrize("ruling", [ALLOW, LEASED])
def test_a_result_that_is_read_in_parts_goes_on_where_another_revision_decides_alike(ruling: Ruling) -> None:
    one = half_read(ruling)
    _, target, commands = one.client(wire.execute(b"p", 1), wire.SYNC)
    assert target == b""
    assert isinstance(commands[0], Ask)
    _, target, _ = one.reply(ruling)
    assert target == wire.execute(b"p", 1) + wire.SYNC
    one.target(ROW + SUSPENDED, wire.ready(b"T"))
    _, target, commands = one.client(wire.execute(b"p", 1), wire.SYNC)  # asked once
    assert (target, commands) == (wire.execute(b"p", 1) + wire.SYNC, [])


@pytest.mark.parametrize("now", [DENY, with_duties(ALLOW, max_rows=1)])
def test_a_result_that_is_read_in_parts_stops_where_another_revision_decides_otherwise(now: Ruling) -> None:
    one = half_read(ALLOW)
    one.client(wire.execute(b"p", 1), wire.SYNC)
    _, target, _ = one.reply(now)
    assert target == POISON + wire.SYNC
    client, _, _ = one.target(error("42601"), wire.ready(b"E"))
    assert b"42501" in client
    assert [outcome.status for _, outcome in one.gate.ends][-1] == "failed"


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
