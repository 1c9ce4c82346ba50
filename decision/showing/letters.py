"""What in a text is not what it looks like: characters that can't be seen, that turn the direction, that imitate.

Nothing here guesses what was meant. A word with letters beyond ASCII is spelt out by the names Unicode gives them, with
its compatibility form (NFKC) beside it, so that a Cyrillic letter in `оrders` is read as one (Unicode TR 36, TR 39;
CVE-2021-42574).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from decision.showing.escape import safe

MAX_WORDS: Final = 12
MAX_LETTERS: Final = 8
_WORD: Final = re.compile(r"\w+")
_TURNS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def warnings(text: str) -> list[str]:
    """One line for each thing to look at closely; empty where every character is plain."""
    if text.isascii() and not any(_hidden(character) for character in text):
        return []
    lines: list[str] = []
    turns = sum(character in _TURNS for character in text)
    hidden = sum(_hidden(character) for character in text) - turns
    if turns:
        lines.append(f"{turns} characters turn the direction of the text; they are shown as \\u….")
    if hidden > 0:
        lines.append(f"{hidden} characters can't be seen, or are not the space they look like; they are shown as \\….")
    words = list(dict.fromkeys(word for word in _WORD.findall(text) if not word.isascii()))
    lines += [_spelt(word) for word in words[:MAX_WORDS]]
    if len(words) > MAX_WORDS:
        lines.append(f"and {len(words) - MAX_WORDS} more words with letters beyond ASCII")
    return lines


def _hidden(character: str) -> bool:
    return character != "\n" and safe(character) != character


def _spelt(word: str) -> str:
    """`оrders` is not plain: U+043E CYRILLIC SMALL LETTER O"""
    odd = list(dict.fromkeys(character for character in word if not character.isascii()))
    names = [f"U+{ord(one):04X} {unicodedata.name(one, 'without a name')}" for one in odd[:MAX_LETTERS]]
    more = f" and {len(odd) - MAX_LETTERS} more" if len(odd) > MAX_LETTERS else ""
    plain = unicodedata.normalize("NFKC", word)
    same = "" if plain == word else f"; normalised: {safe(plain[:80])}"
    return f"{safe(word[:80])} is not plain ASCII: {', '.join(names)}{more}{same}"
