"""Escaping: what a stranger wrote can't move, hide or imitate anything on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.showing import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("DELETE\x1b[2K", "DELETE\\x1b[2K"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b", "a\\u2066b"),
        ("a\u200bb", "a\\u200bb"),
        ("a\rb", "a\\x0db"),
        ("a\x9b31m", "a\\x9b31m"),
        ("a\u00a0b", "a\\xa0b"),
        ("a\u3164b", "a\\u3164b"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("a\ufe0fb", "a\\ufe0fb"),
        ("Zoë 漢字", "Zoë 漢字"),
        ("a\nb", "a\\x0ab"),
    ],
)
def test_deceptive_characters_are_shown_as_what_they_are(text: str, shown: str) -> None:
    assert escape.safe(text) == shown


@given(st.text())
def test_nothing_invisible_survives(text: str) -> None:
    for character in escape.safe(text, lines=True):
        assert character in " \n" or unicodedata.category(character)[0] not in "CZ"
