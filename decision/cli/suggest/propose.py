"""From a column's name, type and sampled values to a proposed label, with the reason in words and numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decision.cli.suggest import names, values
from decision.cli.suggest.sample import Sample
from decision.cli.suggest.values import DETECTORS, Detector
from decision.cli.target_columns import TargetColumn
from decision.columns import ColumnName

ENOUGH = 5  # distinct values from which they are believed more than the name
CERTAIN = 0.8  # share of values that makes a label without a name's word for it
CONFIRMED = 0.6  # share that keeps what the name says
IN_TEXT = 0.3  # share of longer texts with an e-mail address in them

_TEXT = frozenset({"text", "character varying", "character", "bpchar", "name", "citext"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "double precision", "real", "money"})
_DATES = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})
_DOCUMENTS = frozenset({"json", "jsonb", "xml"})
_OF_NUMBERS = frozenset({"phone", "pan", "national-id", "iban", "salary", "location"})


@dataclass(frozen=True, slots=True)
class Proposal:
    column: ColumnName
    label: str
    confidence: str  # high, medium, low
    why: str
    type: str
    sampled: int  # distinct values looked at
    matched: int
    by_name: bool


def propose(column: TargetColumn, sample: Sample) -> Proposal | None:
    """None where nothing speaks for a label."""
    hints = names.hinted(column.name.column, column.name.relation)
    found = sample.values
    if column.type in {"inet", "cidr"}:
        return _made(
            column,
            "ip",
            "high",
            why=f"its type is {column.type}",
            found=found,
            matched=len(found),
            by_name="ip" in hints,
        )
    if column.type in _DOCUMENTS:
        return _in_text(column, found)
    strong = _strong(column, found)
    if strong is not None:
        return strong
    for label in sorted(hints, key=lambda name: -hints[name]):
        detector = next(item for item in DETECTORS if item.label == label)
        if not _fits(label, column.type):
            continue
        if len(found) < ENOUGH:
            why = "its name" + (f"; {sample.why_none}" if sample.why_none else "; too few values to tell")
            return _made(column, label, "low", why=why, found=found, matched=0, by_name=True)
        matched = round(values.share(found, detector.weak) * len(found))
        if matched >= CONFIRMED * len(found):
            why = f"its name, and {_count(matched, found, detector)}"
            return _made(column, label, "medium", why=why, found=found, matched=matched, by_name=True)
    return _in_text(column, found) if column.type in _TEXT else None


def _strong(column: TargetColumn, found: Sequence[str]) -> Proposal | None:
    if len(found) < ENOUGH or column.type not in _TEXT | _NUMBERS:
        return None
    for detector in DETECTORS:
        if detector.strong is None or not _fits(detector.label, column.type):
            continue
        matched = round(values.share(found, detector.strong) * len(found))
        if matched >= CERTAIN * len(found):
            by_name = detector.label in names.hinted(column.name.column, column.name.relation)
            why = ("its name, and " if by_name else "") + _count(matched, found, detector)
            return _made(column, detector.label, "high", why=why, found=found, matched=matched, by_name=by_name)
    return None


def _in_text(column: TargetColumn, found: Sequence[str]) -> Proposal | None:
    matched = round(values.share(found, values.holds_email) * len(found))
    if len(found) < ENOUGH or matched < IN_TEXT * len(found):
        return None
    why = f"{matched} of {len(found)} values hold e-mail addresses"
    return _made(column, "email", "medium", why=why, found=found, matched=matched, by_name=False)


def _fits(label: str, kind: str) -> bool:
    if kind in _TEXT:
        return True
    if kind in _NUMBERS:
        return label in _OF_NUMBERS
    return kind in _DATES and label == "birth-date"


def _count(matched: int, found: Sequence[str], detector: Detector) -> str:
    return f"{matched} of {len(found)} values are {detector.what}"


def _made(
    column: TargetColumn, label: str, confidence: str, *, why: str, found: Sequence[str], matched: int, by_name: bool
) -> Proposal:
    return Proposal(column.name, label, confidence, why, column.type, len(found), matched, by_name)
