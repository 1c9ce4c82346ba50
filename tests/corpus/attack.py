"""Runs attacks: on both databases, directly and through the gateway, and judges what came.

Directly an attack must work: a canary is found, or the two databases answer differently (or take different times).
Through the gateway none may: no canary, and both databases answer alike.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from enforcers.postgres import wire
from tests.corpus.cases import Case
from tests.corpus.detector import Detector, Finding
from tests.corpus.link import Frames, Link
from tests.corpus.modes import say

# The gateway's own ids; and which of the two it is, and the number of a session's temporary schema, in its refusals.
_OWN = re.compile(rb"\b(?:(?:op|dec|apr|ses|exe)_[a-z0-9]{26}|write_[ab]|pg_temp_\d+)\b")
_TOLD = 0.04  # seconds between two answers that tell something by their time
POLICY_DENIED = b"42501"


@dataclass(slots=True)
class Answer:
    frames: Frames
    seconds: float

    def comparable(self) -> list[tuple[str, bytes]]:
        """Without the gateway's own ids, which are new each time."""
        return [(kind, _plain(kind, raw)) for kind, raw in self.frames if kind not in "KS"]

    @property
    def denied(self) -> bool:
        return any(kind == "E" and wire.parse_fields(raw)["C"] == POLICY_DENIED for kind, raw in self.frames)

    @property
    def rows(self) -> int:
        return sum(kind in "Dd" for kind, _ in self.frames)

    def shown(self) -> str:
        return repr([(kind, raw[5:220]) for kind, raw in self.frames if kind not in "ZT123n"][:8])


def _plain(kind: str, raw: bytes) -> bytes:
    """Of an error without its length, which names of different length change."""
    return _OWN.sub(b"<id>", raw[:1] + bytes(4) + raw[5:] if kind in "EN" else raw)


@dataclass(slots=True)
class Team:
    """Sessions to one pair of databases; `fresh` opens one."""

    fresh: Callable[[str], Link]
    password: str
    oid: Callable[[str], int]
    _open: dict[str, Link] = field(default_factory=dict)

    def answer(self, side: str, case: Case, way: str) -> Answer:
        """A case of several steps has sessions of its own."""
        if case.single:
            link = self._open.get(side)
            if link is None or link.closed:
                if link is not None:
                    link.close()
                link = self._open[side] = self.fresh(side)
            return self._timed(case, way, link, None)
        with self.fresh(side) as link:
            if any(step.startswith("\\2 ") for step in case.steps):
                with self.fresh(side) as second:
                    return self._timed(case, way, link, second)
            return self._timed(case, way, link, None)

    def close(self) -> None:
        for link in self._open.values():
            link.close()

    def _timed(self, case: Case, way: str, link: Link, second: Link | None) -> Answer:
        began = time.monotonic()
        if case.single or not any(step.startswith("\\") for step in case.steps):
            frames = say(link, way, tuple(self._filled(step) for step in case.steps))
        else:
            frames = []
            for step in case.steps:
                frames += self._step(self._filled(step), link, second)
        return Answer(frames, time.monotonic() - began)

    def _filled(self, step: str) -> str:
        return step.replace("{password}", self.password)

    def _step(self, step: str, link: Link, second: Link | None) -> Frames:
        if step.startswith("\\2 ") and second is not None:
            return second.ask(wire.query(step[3:].removesuffix(";").encode()))
        if step.startswith("\\call "):
            name, *values = step[6:].split("\t")
            return link.ask(function_call(self.oid(name), [value.encode() for value in values]))
        return link.ask(wire.query(step.removesuffix(";").encode()))


def function_call(oid: int, values: list[bytes]) -> bytes:
    """All in text form."""
    body = oid.to_bytes(4, "big") + b"\0\0" + len(values).to_bytes(2, "big") + b"".join(wire.cells(values)) + b"\0\0"
    return wire.message(b"F", body)


def told(detector: Detector, case: Case, a: Answer, b: Answer) -> str:
    """How the two answers give a secret away; empty when they don't."""
    for side, answer in (("a", a), ("b", b)):
        found: Finding | None = detector.scan([(kind, _OWN.sub(b"<id>", raw)) for kind, raw in answer.frames])
        if found:
            return f"{side}: {found.how}: {found.what}"
    if case.timed and abs(a.seconds - b.seconds) > _TOLD:
        return f"by time: {a.seconds:.3f} s and {b.seconds:.3f} s"
    if not case.free and a.comparable() != b.comparable():
        return f"a and b differ: {a.shown()} / {b.shown()}"
    return ""
