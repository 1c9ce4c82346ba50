"""Classification files as policy reads them: one spelling a column, a masker a label, errors with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from decision.errors import PolicyLoadError
from decision.identity.documents import Document, parse
from decision.policy.classification import read

MASKING = "clear: {executor: ['*']}\ndefault: {type: 'null'}\nmaskers: {pan: {type: keep-last, n: 4, fill: '*'}}\n"


def masking(text: str = MASKING) -> Document:
    return parse(text.encode(), "masking.yaml")


def found(folder: Path, text: str, *, rules: Document | None = None, kind: str = "postgres") -> dict[str, str]:
    path = folder / "crm.yaml"
    path.write_text(text)
    return dict(read(path, kind=kind, masking=rules).labels)


def test_columns_have_one_spelling(tmp_path: Path) -> None:
    text = "'\"public\".customers.email': email\n'public.\"my.table\".E Mail': email\n"
    assert found(tmp_path, text) == {"public.customers.email": "email", 'public."my.table".E Mail': "email"}


def test_nothing_is_classified_by_nothing(tmp_path: Path) -> None:
    assert read(None, kind="postgres", masking=masking()).labels == {}
    assert found(tmp_path, "# nothing yet\n") == {}


def test_other_kinds_have_their_own_keys(tmp_path: Path) -> None:
    assert found(tmp_path, "secrets/default/*: credential\n", kind="kubernetes") == {"secrets/default/*": "credential"}


@pytest.mark.parametrize(
    ("text", "rules", "message"),
    [
        (
            "a.b.c: email\na.b.d.e: email\n",
            MASKING,
            r"crm\.yaml:2: a\.b\.d\.e: is not schema\.table\.column; put a name",
        ),
        (
            "a.b.c: email\n'\"a\".b.c': email\n",
            MASKING,
            r"crm\.yaml:2: .*is a\.b\.c, which stands above already; keep one",
        ),
        (
            "a.b.c: email\n",
            "maskers: {pan: {type: 'null'}}\n",
            r"crm\.yaml:1: a\.b\.c: has the label 'email', for which masking",
        ),
        (
            "a.b.c: emial\n",
            MASKING + "labels: [email, pan]\n",
            r"'emial' is no label of masking\.yaml; did you mean 'email'",
        ),
        ("a.b.c: xyz\n", MASKING + "labels: [email, pan]\n", r"use one of email, pan"),
    ],
)
def test_bad_input_names_file_line_key_and_the_fix(tmp_path: Path, text: str, rules: str, message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message) as caught:
        found(tmp_path, text, rules=masking(rules))
    assert caught.value.next_step


def test_a_label_of_the_list_with_a_masker_of_its_own_needs_no_default(tmp_path: Path) -> None:
    rules = masking("labels: [pan]\nmaskers: {pan: {type: 'null'}}\n")
    assert found(tmp_path, "a.b.c: pan\n", rules=rules) == {"a.b.c": "pan"}
