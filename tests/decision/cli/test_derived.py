"""What `twokey classify derived` proposes from the log's records, and that `patch` takes it."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from decision.cli import classification, derived
from decision.columns import ColumnName

CRM = frozenset(["crm"])


def record(event: str, *columns: str, label: str = "email", connection: str = "crm") -> bytes:
    items = [{"column": column, "label": label} for column in columns]
    return json.dumps({"kind": "policy", "event": event, "connection": connection, "columns": items}).encode()


def said(*records: bytes) -> dict[str, str]:
    return {str(column): label for column, label in derived.of_records(records, CRM).items()}


def test_what_was_derived_counts_the_latest_of_each_column() -> None:
    assert said(record("derived", "a.b.c"), record("derived", "a.b.c", label="pan")) == {"a.b.c": "pan"}
    assert said(record("derived", "a.b.c", connection="other")) == {}
    assert said(b'{"kind": "policy", "event": "loaded"}', b'{"kind": "decision", "event": "derived"}') == {}


def test_what_was_begun_counts_unless_it_was_refused() -> None:
    assert said(record("deriving", "a.b.c")) == {"a.b.c": "email"}
    assert said(record("deriving", "a.b.c"), record("derivation-refused", "a.b.c")) == {}
    known = (record("deriving", "a.b.c"), record("derived", "a.b.c"))
    again = (record("deriving", "a.b.c", label="pan"), record("derivation-refused", "a.b.c", label="pan"))
    assert said(*known, *again) == {"a.b.c": "email"}


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)


@given(st.builds(ColumnName, _WORDS, _WORDS, _WORDS), st.sampled_from(["", "a.b.c: pan\n", "a.b.c: pan"]))
@example(ColumnName("a", "b\u2028c: pan", "d"), "# \u2028\na.b.c: pan\n")
@example(ColumnName("a", "\U0001f511 : # x", "q\"uo't\\e"), "")
@settings(max_examples=25, deadline=None)
def test_the_diff_is_one_that_patch_takes(
    tmp_path_factory: pytest.TempPathFactory, column: ColumnName, before: str
) -> None:
    """And the patched file names that column, however it is spelt."""
    folder = tmp_path_factory.mktemp("derived")
    diff = derived.unified(before, {column: "email"}, "crm.yaml")
    file = folder / "crm.yaml"
    file.write_text(before, encoding="utf-8", newline="")
    done = subprocess.run(
        ["patch", "-p1", "-s"], input=diff.encode(), cwd=folder, check=False, capture_output=True, timeout=10
    )
    assert done.returncode == 0, (diff, done.stdout, done.stderr)
    found = classification.load(file, file.name)
    assert found.entries[column].label == "email"
    assert len(found.entries) == (2 if before else 1)
    assert derived.open_ones({column: "email"}, found) == {}
