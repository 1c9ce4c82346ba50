"""Classification files as the command line reads them: every fault with its line, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from decision.cli.classification import load
from decision.cli.errors import ConfigError


def test_entries_by_column(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("public.customers.email: email\n'public.\"a.b\".c': pan\n")
    found = load(path, "c.yaml")
    assert {str(column): entry.label for column, entry in found.entries.items()} == {
        "public.customers.email": "email",
        'public."a.b".c': "pan",
    }
    column = next(iter(found.entries))
    assert str(found.problem(column, "is gone", "remove it")).startswith("c.yaml:1: public.customers.email: is gone")


def test_an_empty_file_classifies_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("# none\n")
    assert load(path, "c.yaml").entries == {}


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a.b.c: email\n'\"a\".b.c': email\na.b: pan\na.b.e: Bad Label\n'a.\"b.c': pan\n")
    with pytest.raises(ConfigError) as caught:
        load(path, "c.yaml")
    assert [(problem.line, bool(problem.fix)) for problem in caught.value.problems] == [
        (2, True), (3, True), (4, True), (5, True)
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [("- a\n", "mapping"), ("a.b.c: x\na.b.c: y\n", "duplicate key")])
def test_what_is_no_classification_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path, "c.yaml")
