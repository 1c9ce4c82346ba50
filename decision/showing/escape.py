"""Text of strangers on a terminal that obeys escapes: every character is shown as what it is.

Everything that could move the cursor, change its direction, hide or imitate is shown as what it is (CVE-2021-42574 is
the well-known case). A line end stays a line end only where lines are expected.
"""

from __future__ import annotations

import unicodedata

# What can't be seen, or is not what it seems: controls, format characters (bidi, zero width), private use, surrogates,
# unassigned, and every space but the plain one.
_ESCAPED = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp", "Zs"}
_ALSO = {
    "\u115f",
    "\u1160",
    "\u3164",
    "\uffa0",
    "\u2800",
    "\u034f",
    "\u17b4",
    "\u17b5",
}  # letters and marks drawn as nothing


def safe(text: str, *, lines: bool = False) -> str:
    """`text` with every deceptive character as \\x.., \\u.... or \\U........; backslashes stay as they are."""
    return "".join(_shown(character, lines) for character in text)


def _shown(character: str, lines: bool) -> str:
    if character == " " or (lines and character == "\n"):
        return character
    if " " < character <= "~":
        return character
    deceptive = unicodedata.category(character) in _ESCAPED or character in _ALSO
    if not deceptive and not 0xFE00 <= ord(character) <= 0xFE0F and not 0xE0100 <= ord(character) <= 0xE01EF:
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
