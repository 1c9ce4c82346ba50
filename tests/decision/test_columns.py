"""Names of columns in classification files: every name that PostgreSQL can have has one spelling, and is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.columns import ColumnName, ColumnNameError, parse

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)


@given(NAMES, NAMES, NAMES)
def test_what_is_spelt_is_read_back(schema: str, relation: str, column: str) -> None:
    name = ColumnName(schema, relation, column)
    assert parse(str(name)) == name


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("public.customers.email", ("public", "customers", "email")),
        ("Public.Customers.E Mail", ("Public", "Customers", "E Mail")),
        ('public."my.table".email', ("public", "my.table", "email")),
        ('"a""b"."c"."d"', ('a"b', "c", "d")),
        ('a.b." c "', ("a", "b", " c ")),
    ],
)
def test_names_are_taken_as_they_are_written(key: str, parts: tuple[str, str, str]) -> None:
    assert parse(key) == parts


def test_a_dot_never_makes_two_columns_one() -> None:
    assert str(ColumnName("a.b", "c", "d")) != str(ColumnName("a", "b.c", "d"))


@pytest.mark.parametrize(
    ("key", "what", "fix"),
    [
        ("", "is not schema.table.column", "public.customers.email"),
        ("a.b", "is not schema.table.column", "public.customers.email"),
        ("a.b.c.d", "is not schema.table.column", "double quotes"),
        ("a..c", "is not schema.table.column", ""),
        ("a.b.c.", "is not schema.table.column", ""),
        ('a."b.c', "that nothing closes", "close it"),
        ('a."b"x.c', "behind a closing", "dot"),
        ('a.b"x.c', "double quote inside", "whole name"),
        ('a."".c', "is not schema.table.column", ""),
        ("a.b.c ", "space at an end", "remove"),
        ("a.b." + "é" * 32, "more than 63 bytes", ""),
        ("a.b.c\x07", "control character", "remove"),
    ],
)
def test_what_names_no_column_is_refused_with_the_fix(key: str, what: str, fix: str) -> None:
    with pytest.raises(ColumnNameError, match=what) as caught:
        parse(key)
    assert fix in caught.value.fix
