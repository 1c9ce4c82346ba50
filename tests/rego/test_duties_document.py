"""Every rule of rego/duties: an id with METADATA, a test that allows, one that denies, one that misses it when it is
taken away (tests/rego/test_duties_mutation.py), and a paragraph of docs/duties.md with the control that it serves."""

from __future__ import annotations

import re

import pytest

from tests.rego.harness import REGO, ROOT

FILES = sorted((REGO / "duties").glob("*.rego"))
RULES = [path for path in FILES if not path.stem.endswith("_test")]
TESTS = "\n".join(path.read_text() for path in FILES if path.stem.endswith("_test"))
DOCUMENT = (ROOT / "docs" / "duties.md").read_text()
PARAGRAPHS = [text for text in re.split(r"\n\s*\n", DOCUMENT) if not text.lstrip().startswith("|")]
_HEAD = re.compile(r'^(?:allow|deny|needs|obligations|require) contains (?:\{"rule": "(?P<id>[A-Z-]+)")?', re.MULTILINE)
_METADATA = re.compile(
    r"^# METADATA\n# title: .+\n# description: .+\n# custom: \{id: (DUTY-[A-Z-]+)\}\n(\w+)", re.MULTILINE
)
IDS = [found[1] for path in RULES for found in _METADATA.finditer(path.read_text())]


def test_every_contribution_has_metadata_with_its_id() -> None:
    for path in RULES:
        text = path.read_text()
        heads = list(_HEAD.finditer(text))
        described = list(_METADATA.finditer(text))
        assert len(heads) == len(described), path.name
        for head, metadata in zip(heads, described, strict=True):
            assert head["id"] in {None, metadata[1]}, path.name
    assert len(set(IDS)) == len(IDS) > 30


@pytest.mark.parametrize("rule", IDS)
def test_every_rule_is_tested_both_ways_and_explained(rule: str) -> None:
    name = rule.lower().replace("-", "_")
    for way in ("allows", "denies"):
        assert re.search(rf"^test_{name}_{way}\b", TESTS, re.MULTILINE), f"{rule} has no test_{name}_{way}"
    assert re.search(rf"^\| `{rule}` \|.*\|.*\| \w\w-\d", DOCUMENT, re.MULTILINE), f"{rule}: no row with its control"
    found = [text for text in PARAGRAPHS if f"`{rule}`" in text]
    assert any(re.search(r"NIST (?:\w\w-\d+(?:\(\d+\))?)", text) for text in found), f"{rule}: no paragraph"
