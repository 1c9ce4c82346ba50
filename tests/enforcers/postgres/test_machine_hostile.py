"""Dialogues with the machine: COPY, targets and clients that break the protocol, and random ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcers.core.errors import EnforcerError
from enforcers.postgres import wire
from enforcers.postgres.commands import Ask, CancelTarget, Close, Command
from tests.enforcers.postgres.dialogue import B2, P1, Dialogue, kinds, tag
from tests.enforcers.postgres.fakes import ALLOW, DENY, LEASED, with_duties


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
    assert not one.machine.revoked("cut")
    assert one._taken() == (b"", b"", [])
    assert one.machine.revoked("cut", now=True)
    client, _, commands = one._taken()
    assert client == b""
    assert isinstance(commands[-1], Close)


@pytest.mark.parametrize("pieces", [(50, 1000), (50, 60, 1000)])
def test_a_revoked_client_gets_the_rest_of_its_row_and_is_told_why(pieces: tuple[int, ...]) -> None:
    """And not one row more, though the target sent them along."""
    one = Dialogue().named()
    one.ask(wire.query(b"SELECT 1"))
    row, more = wire.data_row([b"x" * 100]), wire.data_row([b"y" * 100]) * 3
    sent, _, _ = one.target(row[: pieces[0]])
    assert not one.machine.revoked("cut")
    assert not one.machine.revoked("again")
    before = pieces[0]
    ends: list[Command] = []
    for upto in pieces[1:]:
        client, _, ends = one.target((row + more)[before:upto])
        sent, before = sent + client, upto
    assert sent.startswith(row)
    assert b"57P01" in sent[len(row) :]
    assert b"yyy" not in sent
    assert isinstance(ends[-1], Close)
    assert [status for _, status in one.gate.ended] == ["unknown"]


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
