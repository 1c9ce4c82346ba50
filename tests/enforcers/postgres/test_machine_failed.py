"""Dialogues with the machine: transactions, what may be asked within them, and those that have failed."""

from __future__ import annotations

import pytest

from enforcers.core.errors import UpstreamError
from enforcers.postgres import wire
from enforcers.postgres.commands import Ask
from enforcers.postgres.machine_state import POISON, QUESTION
from tests.enforcers.postgres.dialogue import B2, C3, P1, Dialogue, error, kinds, tag
from tests.enforcers.postgres.fakes import ALLOW


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
    one = Dialogue().named().failed()
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
    return one.failed()


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
    one = Dialogue().named().failed()
    one.machine.names_stale = True
    _, target, commands = one.client(wire.query(b"ROLLBACK; SELECT 1"))
    assert (target, commands) == (POISON + wire.SYNC, [])


def test_an_undecided_statement_that_runs_after_all_ends_the_session() -> None:
    one = Dialogue().named().failed()
    one.machine.names_stale = True
    one.client(wire.query(b"SELECT 1"))
    with pytest.raises(UpstreamError):
        one.machine.receive_target(tag("SELECT 1"))


def test_holding_ends_with_the_first_write_of_a_transaction() -> None:
    one = Dialogue().named().begun()
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
