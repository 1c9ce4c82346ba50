"""Every attack of attacks/ works directly and none works through the gateway, whichever way it travels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcers.postgres import wire
from tests.corpus.attack import Answer, Team, told
from tests.corpus.canaries import SIDES
from tests.corpus.cases import Case, load
from tests.corpus.detector import Detector
from tests.corpus.field import Field
from tests.corpus.modes import STREAMS, WAYS
from tests.corpus.secrets_of import detector

CASES = load(Path(__file__).with_name("attacks"))
_QUERIES = ("SELECT", "WITH", "VALUES", "TABLE")
_PLAIN_WAYS = tuple(way for way in WAYS if way not in {"cursor", "prepared", "mixed", *STREAMS})


class Ground:
    """Both teams, what they look for, and what the target knows about the server."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._oids: dict[str, int] = {}
        with field.link(field.direct("direct_a")) as a, field.link(field.direct("direct_b")) as b:
            self.detector: Detector = detector([a, b])
        self.newest = int(field.stack.database.run("SELECT max(oid) FROM pg_class", database="a"))
        password = field.stack.passwords["company_ro"]
        self.direct = Team(lambda side: field.link(field.direct(f"direct_{side}")), password, self.oid)
        self.gateway = Team(lambda side: field.link(field.gateway(side)), password, self.oid)
        self.writer = Team(lambda side: field.link(field.gateway(f"write_{side}")), password, self.oid)

    def oid(self, name: str) -> int:
        if name not in self._oids:
            self._oids[name] = int(self.field.stack.database.run(f"SELECT '{name}'::regprocedure::oid", database="a"))
        return self._oids[name]

    def both(self, team: Team, case: Case, way: str) -> tuple[Answer, Answer]:
        a, b = (team.answer(side, case, way) for side in SIDES)
        return a, b

    def told(self, team: Team, case: Case, way: str, a: Answer, b: Answer) -> str:
        """A difference in time tells something if it is there each time: a busy machine is late by chance."""
        found = told(self.detector, case, a, b)
        for _ in range(4):
            if not found.startswith("by time"):
                break
            found = told(self.detector, case, *self.both(team, case, way))
        return found

    def close(self) -> None:
        self.direct.close()
        self.gateway.close()
        self.writer.close()


@pytest.fixture(scope="module")
def ground(field: Field) -> Iterator[Ground]:
    made = Ground(field)
    yield made
    made.close()


def ways(case: Case) -> tuple[str, ...]:
    if case.modes:
        return case.modes
    if not case.single:
        return ("simple",)
    others = WAYS if case.steps[0].upper().startswith(_QUERIES) else _PLAIN_WAYS
    return ("simple", others[CASES.index(case) % len(others)])


@pytest.mark.target
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_an_attack_works_directly_and_not_through_the_gateway(ground: Ground, case: Case) -> None:
    if not case.fits(ground.field.version, ground.field.stack.extensions):
        return  # this server has no such thing; which cases those are is in the test below
    first, *_ = ways(case)
    a, b = ground.both(ground.direct, case, first)
    if not case.void:
        assert told(ground.detector, case, a, b), f"shows nothing directly: {a.shown()}"
    for number, way in enumerate(ways(case)):
        a = ground.gateway.answer("a", case, way)
        # A refusal without a row knows no data: the first way has shown that b hears the same.
        b = a if number and a.denied and not a.rows else ground.gateway.answer("b", case, way)
        if case.verdict == "permitted":
            assert told(ground.detector, case, a, b).startswith("a and b differ"), way
            continue
        assert ground.told(ground.gateway, case, way, a, b) == "", way
        if case.verdict == "denied":
            assert a.denied, f"{way}: {a.shown()}"
        elif case.verdict == "masked" and way not in STREAMS:
            assert not a.denied, f"{way}: {a.shown()}"
            assert a.rows, f"{way}: {a.shown()}"


# What only a role that may write could try: planners are refused it whatever it is.
WRITES = [case for case in CASES if case.family in {"writes", "definitions", "doors", "opaque", "unlabelling"}]


@pytest.mark.target
@pytest.mark.parametrize("case", WRITES, ids=lambda case: case.title)
def test_nor_does_it_for_a_masked_role_that_may_write(ground: Ground, case: Case) -> None:
    if not case.fits(ground.field.version, ground.field.stack.extensions):
        return
    way, *_ = ways(case)
    a, b = (_of_old_tables(answer, ground.newest) for answer in ground.both(ground.writer, case, way))
    assert ground.told(ground.writer, case, way, a, b) == "" or case.verdict == "permitted"


def _of_old_tables(answer: Answer, newest: int) -> Answer:
    """What a case makes for itself has another object id in either database."""
    frames = []
    for kind, raw in answer.frames:
        told = raw
        for field in wire.parse_row_description(raw) if kind == "T" else ():
            if field.table > newest:
                told = told.replace(field.table.to_bytes(4, "big"), b"made")
        frames.append((kind, told))
    return Answer(frames, answer.seconds)
