"""Ordinary work of a masked role is answered to the byte as it is directly: not denied, not changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcers.postgres import wire
from tests.corpus.attack import Team
from tests.corpus.cases import Case, load
from tests.corpus.field import READER, WRITER, Field
from tests.corpus.modes import WAYS, batches

ALL = load(Path(__file__).with_name("benign"))
CASES = [case for case in ALL if case.family != "writes"]
WRITES = [case for case in ALL if case.family == "writes"]
_QUERIES = ("SELECT", "WITH", "VALUES", "TABLE")


def _unused(_name: str) -> int:
    raise AssertionError("no function calls here")


@pytest.fixture(scope="module")
def team(field: Field) -> Iterator[Team]:
    yield from _team(field, READER, "work")


@pytest.fixture(scope="module")
def writers(field: Field) -> Iterator[Team]:
    yield from _team(field, WRITER, "hands")


def _team(field: Field, account: str, connection: str) -> Iterator[Team]:
    """The sides are ways to the same database, with the same account at the target."""
    places = {"direct": field.direct("a", account), "gateway": field.gateway(connection)}
    made = Team(lambda side: field.link(places[side]), "", _unused)
    yield made
    made.close()


def ways(case: Case) -> tuple[str, ...]:
    if case.modes:
        return case.modes
    if not case.single:
        return ("simple",)
    if not case.steps[0].upper().startswith(_QUERIES):
        return ("simple", "extended")
    return ("simple", WAYS[CASES.index(case) % len(WAYS)])


@pytest.mark.target
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_ordinary_work_is_answered_as_it_is_directly(field: Field, team: Team, case: Case) -> None:
    if not case.fits(field.version, field.stack.extensions):
        return
    for way in ways(case):
        direct, gateway = (team.answer(side, case, way) for side in ("direct", "gateway"))
        assert direct.frames
        assert gateway.comparable() == direct.comparable(), f"{way}: {gateway.shown()} instead of {direct.shown()}"


@pytest.mark.target
@pytest.mark.parametrize("way", ["simple", "extended"])
@pytest.mark.parametrize("case", WRITES, ids=lambda case: case.title)
def test_ordinary_writes_of_a_masked_role_are_answered_as_they_are_directly(
    field: Field, writers: Team, case: Case, way: str
) -> None:
    """By a role that sees labels masked and may write; each is rolled back, so both sides meet the same rows."""
    if not case.fits(field.version, field.stack.extensions):
        return
    direct, gateway = (writers.answer(side, case, way) for side in ("direct", "gateway"))
    assert direct.frames
    assert gateway.comparable() == direct.comparable(), f"{gateway.shown()} instead of {direct.shown()}"


# What the gateway sets at a session's opening (docs/transformations.md), and who the client is.
_SET = frozenset(
    [b"backslash_quote", b"client_encoding", b"standard_conforming_strings", b"statement_timeout",
     b"default_transaction_read_only", b"transaction_read_only", b"twokey.subject"]
)  # fmt: skip


@pytest.mark.target
@pytest.mark.parametrize("statement", ["SHOW ALL", "SELECT * FROM pg_settings ORDER BY name"])
def test_settings_are_shown_as_they_are(team: Team, statement: str) -> None:
    case = Case("settings", statement, (statement,))
    told = {}
    for side in ("direct", "gateway"):
        rows = [wire.parse_data_row(raw) for kind, raw in team.answer(side, case, "simple").frames if kind == "D"]
        told[side] = {row[0]: row for row in rows}
    assert len(told["direct"]) > 300
    differ = {
        name for name in told["direct"] | told["gateway"] if told["direct"].get(name) != told["gateway"].get(name)
    }
    assert differ <= _SET


def test_each_way_is_another() -> None:
    """Else a mistake in modes.py would let two ways be one."""
    sent = {way: tuple(batch.data for batch in batches(way, ("SELECT 1",))) for way in WAYS if way != "mixed"}
    assert len(set(sent.values())) == len(sent)
