"""Labels in a target's catalog, as they are spelt; and whom they are inherited by."""

from __future__ import annotations

import pytest

from decision.cli.target_columns import TargetColumn, labels_in, with_kin
from decision.columns import ColumnName


@pytest.mark.parametrize(
    ("comment", "security", "labels"),
    [
        (None, [], set()),
        ("where to write", [], set()),
        ("twokey: label=email", [], {"email"}),
        ("where to write; twokey: label=email", [], {"email"}),
        ("twokey:label = email , pii; nothing else", [], {"email", "pii"}),
        ("line\ntwokey: label=email\nmore", [], {"email"}),
        ("twokey: label=email; twokey: label=pan", [], {"email", "pan"}),
        ("twokey: label=E Mail", [], {"malformed"}),
        ("twokey: lable=email", [], {"malformed"}),
        ("twokey:", [], {"malformed"}),
        ("mytwokey: label=email", [], set()),
        (None, ["twokey email"], {"email"}),
        (None, ["twokey label=email"], {"email"}),
        (None, ["twokey Not A Label!"], {"malformed"}),
        (None, ["anon MASKED WITH VALUE NULL", "other twokey: label=pan"], {"pan"}),
        ("twokey: label=email", ["twokey pan"], {"email", "pan"}),
    ],
)
def test_the_form(comment: str | None, security: list[str], labels: set[str]) -> None:
    assert labels_in(comment, security) == labels


def column(relation: str, oid: int, *parents: int, name: str = "email", labels: tuple[str, ...] = ()) -> TargetColumn:
    return TargetColumn(
        ColumnName("public", relation, name), oid, 1, "r", "text", 0, labels=frozenset(labels), parents=parents,
        readable=True, builtin_type=True,
    )  # fmt: skip


def test_labels_go_up_and_down_not_sideways() -> None:
    columns = [
        column("parent", 1),
        column("left", 2, 1),
        column("right", 3, 1, labels=("pan",)),
        column("below_left", 4, 2),
        column("left", 2, 1, name="other"),
    ]
    found = with_kin({ColumnName("public", "parent", "email"): "email"}, columns)
    assert {str(name): set(labels) for name, labels in found.items()} == {
        "public.parent.email": {"email", "pan"},
        "public.left.email": {"email"},
        "public.right.email": {"email", "pan"},
        "public.below_left.email": {"email"},
    }
