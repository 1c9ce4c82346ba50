"""Judges generated statements: no canary, no answer that depends on a secret, nothing changed that touches none.

    python -m tests.corpus.judge [--statements N] [--seed N] [--worlds N] [--postgres maven:18]

Each world is a random schema with a stack of its own. The exit status is 1 where anything was found. The server is one
with the contrib modules, which the field loads; `python -m tools.postgres_binaries 18` obtains it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

from decision.cli.demo.postgres import VARIABLE, choose
from tests.corpus import worlds
from tests.corpus.attack import Answer
from tests.corpus.canaries import SIDES
from tests.corpus.detector import Detector
from tests.corpus.field import Field
from tests.corpus.generate import Statement, statement
from tests.corpus.link import Link
from tests.corpus.modes import say
from tests.corpus.secrets_of import detector


class Judge:
    """Sessions of a masked role to both databases, and direct ones. A context manager's part: close it."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._links: dict[str, Link] = {}
        self.counted: Counter[str] = Counter()
        self._detector: Detector = detector([self._link(f"direct {side}") for side in SIDES], field.classification)

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def problem(self, made: Statement) -> str:
        """What is wrong with how it was answered; empty when nothing is."""
        a = self.ask("gateway a", made)
        kind = "untouched" if not made.touches else "denied" if a.denied else "answered"
        self.counted[kind] += 1
        if not made.touches:
            return self._changed(made, a)
        found = self.seen(a)
        if found:
            return found
        if a.denied and not a.rows and self.counted["denied"] % 10:
            return ""  # a refusal without a row knows no data; every tenth is looked at all the same
        b = self.ask("gateway b", made)
        return "" if unordered(a) == unordered(b) else f"a and b differ: {a.shown()} / {b.shown()}"

    def seen(self, answer: Answer) -> str:
        """The canary in it; empty when there is none."""
        found = self._detector.scan(answer.comparable())
        return f"{found.how}: {found.what}" if found else ""

    def _changed(self, made: Statement, a: Answer) -> str:
        direct = self.ask("direct a", made)
        if unordered(direct) == unordered(a):
            return ""
        return f"changed: {a.shown()} instead of {direct.shown()}"

    def ask(self, name: str, made: Statement) -> Answer:
        began = time.monotonic()
        return Answer(say(self._link(name), made.way, (made.text,)), time.monotonic() - began)

    def _link(self, name: str) -> Link:
        link = self._links.get(name)
        if link is None or link.closed:
            how, side = name.split()
            place = self._field.gateway(side) if how == "gateway" else self._field.direct(f"direct_{side}")
            link = self._links[name] = self._field.link(place)
        return link


def unordered(answer: Answer) -> list[tuple[str, bytes]]:
    """Statistics of secrets may choose another plan, and so another order where none was asked for."""
    told = answer.comparable()
    rows = sorted(frame for frame in told if frame[0] in "Dd")
    return rows + [frame for frame in told if frame[0] not in "Dd"]


def run(field: Field, *, seed: int, first: int, count: int) -> tuple[list[str], Counter[str]]:
    judge = Judge(field)
    found = []
    try:
        for number in range(first, first + count):
            made = statement(field.world, seed, number)
            what = judge.problem(made)
            if what:
                found.append(f"statement {number} of seed {seed} ({made.way}): {made.text}\n    {what}")
    finally:
        judge.close()
    return found, judge.counted


def _worlds(seed: int, number: int) -> Iterator[int]:
    yield from range(seed, seed + number)


def main() -> int:
    parser = argparse.ArgumentParser(description="Random statements of a masked role.")
    parser.add_argument("--statements", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--postgres", default=os.environ.get(VARIABLE, "maven:18"))
    options = parser.parse_args()
    os.environ[VARIABLE] = str(choose(options.postgres))
    failed = False
    total: Counter[str] = Counter()
    for seed in _worlds(options.seed, options.worlds):
        with Field(world=worlds.make(seed), seed=seed) as field:
            found, counted = run(field, seed=seed, first=0, count=options.statements // options.worlds)
        total += counted
        failed |= bool(found)
        sys.stdout.write("".join(f"{line}\n" for line in found))
        sys.stdout.write(f"world {seed}: {dict(counted)}, {len(found)} problems\n")
        sys.stdout.flush()
    sys.stdout.write(f"{sum(total.values())} statements: {dict(total)}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
