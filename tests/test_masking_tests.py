"""docs/masking-tests.md is true: what it names as tests, attacks and ordinary work exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.corpus.cases import load
from tests.corpus.traffic import FOLDER
from tests.corpus.traffic import load as load_traffic
from tests.test_identity_tests import TEST, names_in

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
DOCUMENT = (ROOT / "docs" / "masking-tests.md").read_text(encoding="utf-8")
_FAMILIES = "|".join(path.stem for path in sorted(CORPUS.glob("*/*.sql")))
_CASE = re.compile(rf"`((?:{_FAMILIES}): [^`]+)`")
_REGO = re.compile(r"`(rego/[\w/]+_test\.rego)::(test_\w+)`")
_ROW = re.compile(r"^\| (?!what )([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@cache
def rules_in(path: str) -> frozenset[str]:
    return frozenset(re.findall(r"^(test_\w+)", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE))


def test_every_line_names_what_shows_it() -> None:
    rows = _ROW.findall(DOCUMENT)
    assert len(rows) > 70
    assert [what for what, shown in rows if not any(kind.search(shown) for kind in (TEST, _CASE, _REGO))] == []


def test_every_test_that_is_named_exists() -> None:
    assert [f"{path}::{test}" for path, test in TEST.findall(DOCUMENT) if test not in names_in(path)] == []
    assert [f"{path}::{test}" for path, test in _REGO.findall(DOCUMENT) if test not in rules_in(path)] == []


def test_every_case_that_is_named_exists() -> None:
    known = {case.title for folder in ("attacks", "benign") for case in load(CORPUS / folder)}
    named = _CASE.findall(DOCUMENT)
    assert len(named) > 100
    assert [name for name in named if name not in known] == []


def test_there_is_at_least_as_much_ordinary_work_as_there_are_attacks() -> None:
    """What clients were recorded saying to one version of the server counts by executions."""
    recorded = {
        version.name: sum(
            message[0] in {"Q", "E"}
            for path in version.glob("*.json")
            for session in load_traffic(path)
            for batch in session
            for message in batch
        )
        for version in FOLDER.iterdir()
    }
    attacks, ordinary = (len(load(CORPUS / folder)) for folder in ("attacks", "benign"))
    assert ordinary + min(recorded.values()) >= attacks > 500
