"""What names something unknown is refused by the target in its own words; what appears meanwhile is decided first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcers.postgres import wire
from enforcers.postgres.commands import Ask, Command, Refresh
from enforcers.postgres.description import Description, SyntaxProblem
from enforcers.postgres.machine_state import QUESTION
from enforcers.postgres.machine_unresolved import unresolved_text
from tests.enforcers.postgres.dialogue import C3, P1, Dialogue, error, kinds, tag
from tests.enforcers.postgres.fakes import ALLOW, ScriptedDescriber

_TEXT = b"SELECT new"
_ASKED = wire.close(b"S", QUESTION) + wire.parse(QUESTION, _TEXT) + wire.FLUSH


def _unknown(description: Description) -> Description:
    description.template.opaque = description.opaque = True
    description.template.opaque_reasons.add(code="unresolved", detail='relation "new"')
    return description


def _asked(one: Dialogue) -> bytes:
    """What the target is sent when the client says it, once the catalog was looked at again."""
    one.describer.overrides[_TEXT.decode()] = _unknown
    client, target, commands = one.client(wire.query(_TEXT))
    assert (client, target, commands) == (b"", b"", [Refresh()])
    client, target, commands = one.reply(None)
    assert (client, commands) == (b"", [])
    return target


def test_the_target_says_itself_what_it_does_not_know() -> None:
    one = Dialogue().named()
    assert _asked(one) == _ASKED
    client, target, commands = one.target(C3 + error("42P01", "its own words"))
    assert (client, target, commands) == (error("42P01", "its own words"), wire.SYNC, [])
    assert one.target(wire.ready(b"I")) == (wire.ready(b"I"), b"", [])
    assert not one.gate.begun + one.gate.ended  # nothing was asked for, nothing ran
    assert isinstance(one.client(wire.query(b"SELECT 1"))[2][0], Ask)


def test_it_takes_the_transaction_along() -> None:
    one = Dialogue().named().begun()
    assert _asked(one) == _ASKED
    one.target(C3 + error("42P01"))
    assert one.target(wire.ready(b"E"))[0] == wire.ready(b"E")
    assert one.machine.aborted


def _found(one: Dialogue) -> list[Command]:
    """The target knows it after all: what the machine wants then."""
    client, target, _ = one.target(C3 + P1)
    assert (client, target) == (b"", wire.SYNC)
    one.describer.version += 1
    client, target, commands = one.target(wire.ready(b"I"))
    assert (client, target) == (b"", b"")
    return commands


def test_what_appears_meanwhile_is_decided_as_what_it_is() -> None:
    one = Dialogue().named()
    _asked(one)
    one.describer.overrides.clear()
    commands = _found(one)
    while isinstance(commands[0], Refresh):
        one.describer.fresh = True
        commands = one.reply(None)[2]
    assert isinstance(commands[0], Ask)
    assert not commands[0].question.operation.sql.opaque
    assert one.reply(ALLOW)[1] == wire.query(_TEXT)
    assert kinds(one.target(tag("SELECT 1"), wire.ready(b"I"))[0]) == "CZ"


def test_what_stays_unknown_here_is_decided_as_opaque() -> None:
    one = Dialogue().named()
    _asked(one)
    commands = _found(one)
    while isinstance(commands[0], Refresh):
        one.describer.fresh = True
        commands = one.reply(None)[2]
    assert isinstance(commands[0], Ask)
    assert commands[0].question.operation.sql.opaque


def test_in_a_transaction_no_sync_comes_between() -> None:
    """A pipeline of the client's without a Sync: it goes on, in the same segment."""
    one = Dialogue().named()
    one.ask(wire.parse(b"a", b"SELECT 1"), wire.bind(b"", b"a"), wire.execute(b""))
    one.describer.overrides[_TEXT.decode()] = _unknown
    one.client(wire.query(_TEXT))
    _, _, commands = one.target(P1 + wire.message(b"2") + tag("SELECT 1"))
    assert commands == [Refresh()]
    assert one.reply(None)[1] == _ASKED
    one.describer.overrides.clear()
    client, target, _ = one.target(C3 + P1)
    assert (client, target) == (b"", b"")


@pytest.mark.parametrize(
    ("message", "missing", "part", "placed"),
    [
        ("SELECT a", 0, "SELECT a", True),
        ("SELECT 'é'; SELECT a", 1, "SELECT a", True),
        ("COPY (SELECT a) TO STDOUT", 0, "SELECT a", True),
        ("PREPARE p (int) AS SELECT a", 0, " SELECT a", True),
        ('COPY a."B" (c) TO STDOUT', 0, 'TABLE a."B" ', False),
        ("COPY a FROM STDIN", 0, "", True),
        ("SELECT 1; SELECT 2", -1, "", True),
        ("BEGIN; SELECT a", 1, "", True),
        ("SET search_path = x; SELECT a", 1, "", True),
        ("DO x; SELECT a", 1, "", True),
        ("CREATE a; SELECT a", 1, "", True),
        ("SELECT a; SELECT b", 1, "SELECT b", True),
    ],
)
def test_what_is_prepared(message: str, missing: int, part: str, placed: bool) -> None:
    names = Dialogue().named().machine.names
    assert names is not None
    described = ScriptedDescriber().describe(message.encode(), names)
    assert not isinstance(described, SyntaxProblem)
    found = [_unknown(item) if place == missing else item for place, item in enumerate(described)]
    asked = unresolved_text(message.encode(), found)
    if not part:
        assert asked is None
        return
    assert asked is not None
    assert asked.text.decode() == (" " * message.index(part) + part if placed else part)
    assert asked.placed is placed


def test_a_query_with_parameters_has_none() -> None:
    names = Dialogue().named().machine.names
    assert names is not None
    described = ScriptedDescriber().describe(b"SELECT a, $1", names)
    assert not isinstance(described, SyntaxProblem)
    assert unresolved_text(b"SELECT a, $1", [replace(_unknown(described[0]), parameters=1)]) is None
