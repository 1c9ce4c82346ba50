"""Text that is not what it looks like is spelt out."""

from __future__ import annotations

import pytest

from decision.showing import letters


def test_plain_text_is_not_warned_of() -> None:
    assert letters.warnings("SELECT id\nFROM orders WHERE note = 'it''s fine'") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\u202eb", "turn the direction"),
        ("a\u2066b\u2069", "2 characters turn the direction"),
        ("a\u200bb", "can't be seen"),
        ("a\u00a0b", "not the space they look like"),
        ("a\tb\x1b[2J", "can't be seen"),
        ("DELETE FROM \u043erders", "U+043E CYRILLIC SMALL LETTER O"),
        ("\uff24\uff32\uff2f\uff30", "normalised: DROP"),
    ],
    ids=["bidi-override", "bidi-isolate", "zero-width", "no-break-space", "escape", "homoglyph", "full-width"],
)
def test_what_deceives_is_named(text: str, said: str) -> None:
    lines = letters.warnings(text)
    assert any(said in line for line in lines), lines
    assert all(character == " " or character.isprintable() for line in lines for character in line)


def test_a_flood_of_odd_words_is_counted() -> None:
    lines = letters.warnings(" ".join(f"\u0430{number}" for number in range(letters.MAX_WORDS + 5)))
    assert lines[-1] == "and 5 more words with letters beyond ASCII"
