"""The ways in which a statement can travel: what is sent for it, and how many ReadyForQuery answer."""

from __future__ import annotations

from dataclasses import dataclass

from enforcers.postgres import wire
from tests.corpus.link import Frames, Link

WAYS = ("extended", "binary", "blind", "portal", "pipeline", "mixed", "cursor", "prepared", "copy", "csv", "copybinary")
STREAMS = frozenset(["copy", "csv", "copybinary"])  # what needs no masking row by row, and may be refused for that
_EXPLAIN = "EXPLAIN (ANALYZE, VERBOSE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) "


@dataclass(frozen=True, slots=True)
class Batch:
    data: bytes
    readies: int = 1


def say(link: Link, way: str, steps: tuple[str, ...]) -> Frames:
    """All answers to the steps, said that way, in order. At the end no transaction is open."""
    if way == "mixed":
        frames = _mixed(link, steps)
    else:
        frames = []
        for batch in batches(way, steps):
            frames += link.ask(batch.data, batch.readies)
    if link.status != "I" and not link.closed:
        link.ask(wire.query(b"ROLLBACK"))
    return frames


def batches(way: str, steps: tuple[str, ...]) -> list[Batch]:
    texts = [step.encode() for step in steps]
    if way == "simple":
        return [Batch(wire.query(text)) for text in texts]
    if way == "several":
        return [Batch(wire.query(b"; ".join(texts)))]
    if way == "pipeline":
        twice = texts * 2 if len(texts) == 1 else texts
        return [Batch(b"".join(_run(text, describe=True) for text in twice) + wire.SYNC)]
    if way in {"extended", "binary", "blind"}:
        formats = (1,) if way == "binary" else ()
        return [Batch(_run(text, describe=way != "blind", formats=formats) + wire.SYNC) for text in texts]
    if way == "portal":
        return [
            Batch(
                wire.parse(b"", text) + wire.bind(b"", b"") + wire.execute(b"", 1) * 3 + wire.execute(b"") + wire.SYNC
            )
            for text in texts
        ]
    (text,) = texts
    return [Batch(wire.query(part)) for part in _wrapped(way, text)]


def _wrapped(way: str, text: bytes) -> list[bytes]:
    if way == "cursor":
        return [b"BEGIN", b"DECLARE k CURSOR FOR " + text, b"FETCH 1 FROM k", b"FETCH ALL FROM k", b"COMMIT"]
    if way == "prepared":
        return [b"PREPARE q AS " + text, b"EXECUTE q", b"DEALLOCATE q"]
    if way == "explain":
        return [_EXPLAIN.encode() + text]
    formats = {"copy": b"", "csv": b" (FORMAT csv, HEADER)", "copybinary": b" (FORMAT binary)"}
    return [b"COPY (" + text + b") TO STDOUT" + formats[way]]


def _run(text: bytes, *, describe: bool, formats: tuple[int, ...] = ()) -> bytes:
    shown = wire.describe(b"P", b"") if describe else b""
    return wire.parse(b"", text) + wire.bind(b"", b"", result_formats=formats) + shown + wire.execute(b"")


def _mixed(link: Link, steps: tuple[str, ...]) -> Frames:
    """Formats by turns, which needs to know how many columns there are."""
    frames: Frames = []
    for step in steps:
        known = link.ask(wire.parse(b"", step.encode()) + wire.describe(b"S", b"") + wire.SYNC)
        frames += known
        columns = next((len(wire.parse_row_description(raw)) for kind, raw in known if kind == "T"), 0)
        formats = tuple(number % 2 for number in range(columns))
        frames += link.ask(wire.bind(b"", b"", result_formats=formats) + wire.execute(b"") + wire.SYNC)
    return frames
