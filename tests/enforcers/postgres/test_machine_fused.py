"""The pass for the usual case does what the longer way does: the same bytes, acts and ends either way."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.ports import Answer, MaskedColumn, Ruling
from enforcers.postgres import wire
from enforcers.postgres.machine_fused import Fused
from tests.enforcers.postgres.dialogue import B2, NODATA, P1, Dialogue, error, tag
from tests.enforcers.postgres.fakes import LEASED, ScriptedGate, with_duties

EMAIL = MaskedColumn(schema="public", relation="t", column="email", label="pii", masker="null")
MASKED = with_duties(LEASED, mask=(EMAIL,))
SQL = b"SELECT id FROM t WHERE id = $1"
ROWS = wire.message(b"T", b"\0\0")
ROW = wire.data_row([b"1"])


def answers(described: bool) -> dict[str, bytes]:
    """What the target may say to it."""
    head = B2 + (ROWS if described else b"")
    return {
        "one row": head + ROW + tag("SELECT 1"),
        "no row": head + tag("SELECT 0"),
        "two rows": head + 2 * ROW + tag("SELECT 2"),
        "a limit reached": head + 3 * ROW + wire.message(b"s"),
        "an error at Bind": error("22P02"),
        "an error at Execute": head + ROW + error("22012"),
        "an empty statement": head + wire.message(b"I"),
        "a notice between": B2 + wire.fields(b"N", [("S", "NOTICE"), ("M", "hm")]) + head[len(B2) :] + tag("SELECT 0"),
        "no data": B2 + (NODATA if described else b"") + tag("INSERT 0 1"),
    }


@dataclass
class Case:
    ruling: Ruling
    described: bool
    answer: str
    active: bool
    values: list[bytes | None]


def possible(case: Case) -> bool:
    """A target suspends only where it was given a number of rows, and sends no more than that.

    (In a transaction the gateway makes it fail then: test_machine.py.)"""
    limit = case.ruling.duties.max_rows
    return case.answer != "a limit reached" or (limit == 2 and not case.active)


CASES = st.builds(
    Case,
    ruling=st.sampled_from([LEASED, with_duties(LEASED, max_rows=2), with_duties(LEASED, max_rows=5)]),
    described=st.booleans(),
    answer=st.sampled_from(sorted(answers(described=True))),
    active=st.booleans(),
    values=st.lists(st.none() | st.binary(max_size=9), max_size=3),
)


def prepared(ruling: Ruling, *, active: bool) -> Dialogue:
    """A session that has executed the statement once, in the state in which it is executed again."""
    one = Dialogue(gate=ScriptedGate(lambda _text: ruling)).named()
    if active:
        one.ask(wire.query(b"BEGIN"))
        one.target(tag("BEGIN"), wire.ready(b"T"))
    one.client(wire.parse(b"s", SQL), wire.SYNC)
    status = b"T" if active else b"I"
    one.target(P1, wire.ready(status))
    one.ask(wire.bind(b"", b"s"), wire.execute(b""), wire.SYNC)
    one.target(B2 + tag("SELECT 0"))
    one.target(wire.ready(status))
    one.gate.begun.clear()
    one.gate.ends.clear()
    return one


def execution(case: Case) -> bytes:
    middle = wire.describe(b"P", b"") if case.described else b""
    return wire.bind(b"", b"s", case.values) + middle + wire.execute(b"") + wire.SYNC


def ends(one: Dialogue) -> list[tuple[object, ...]]:
    return [
        (text, outcome.status, outcome.command_tag, outcome.rows, outcome.bytes, outcome.sqlstate)
        for text, outcome in one.gate.ends
    ]


@given(CASES.filter(possible), st.data())
def test_in_one_piece_or_in_two_it_is_the_same(case: Case, data: st.DataObject) -> None:
    fast, slow = prepared(case.ruling, active=case.active), prepared(case.ruling, active=case.active)
    message = execution(case)
    cut = data.draw(st.integers(1, len(message) - 1))
    sent = fast.client(message)
    first, second = slow.client(message[:cut]), slow.client(message[cut:])
    assert sent[1].replace(wire.FLUSH, b"") == (first[1] + second[1]).replace(wire.FLUSH, b"")
    assert sent[0] == first[0] + second[0]
    assert [(act.digest, act.statement) for act in fast.gate.begun] == [
        (act.digest, act.statement) for act in slow.gate.begun
    ]
    assert len(fast.gate.begun) == 1
    answer = answers(case.described)[case.answer]
    status = b"T" if case.active else b"I"
    if case.active and "error" in case.answer:
        status = b"E"
    assert fast.target(answer)[0] == slow.target(answer)[0]
    assert fast.target(wire.ready(status))[0] == slow.target(wire.ready(status))[0]
    assert ends(fast) == ends(slow)
    assert len(fast.gate.ends) == len(fast.gate.begun)
    for name in ("boundary", "segment_open", "skipping", "limited_execute", "error_told", "copy_in", "names_version"):
        assert getattr(fast.machine, name) == getattr(slow.machine, name), name
    assert len(fast.machine.portals) == len(slow.machine.portals)


def test_it_is_the_fused_pass_that_is_tested() -> None:
    one = prepared(LEASED, active=False)
    assert isinstance(one.machine, Fused)
    assert one.machine.at_rest
    assert one.machine.fused(execution(Case(LEASED, described=True, answer="", active=False, values=[b"1"])))


@given(st.sampled_from(["stale names", "no lease", "refused", "no room", "masked", "unknown", "named portal", "more"]))
def test_anything_unusual_takes_the_longer_way(why: str) -> None:
    one = prepared(LEASED, active=False)
    message = execution(Case(LEASED, described=False, answer="", active=False, values=[b"1"]))
    if why == "stale names":
        one.machine.names_stale = True
    elif why == "no lease":
        one.gate.leases.clear()
    elif why == "refused":
        one.gate.refused = Ruling(answer=Answer.DENIED, decision="", code="REVOKED")
    elif why == "no room":
        one.gate.room = False
    elif why == "masked":
        for key in one.gate.leases:
            one.gate.leases[key] = MASKED
    elif why == "unknown":
        message = wire.bind(b"", b"other") + wire.execute(b"") + wire.SYNC
    elif why == "named portal":
        message = wire.bind(b"p", b"s") + wire.execute(b"p") + wire.SYNC
    else:
        message += wire.query(b"SELECT 1")
    assert not one.machine.fused(message)
    assert not one.machine.to_target
    assert not one.gate.begun
    assert one.machine.at_rest


def test_what_waits_is_not_overtaken() -> None:
    one = prepared(LEASED, active=False)
    one.client(wire.query(b"SELECT 1"))  # unanswered
    assert not one.machine.at_rest
    _, target, _ = one.client(execution(Case(LEASED, described=False, answer="", active=False, values=[b"1"])))
    assert target == b""
