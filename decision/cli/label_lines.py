"""Lines for a classification file, as a unified diff that `patch -p1` or `git apply` takes.

Names are the target's, and whoever made them may have meant to be read otherwise: what can't be seen is escaped, and
lines end at line feeds alone, as `patch` has them.
"""

from __future__ import annotations

import difflib
import io
import re

from decision.columns import ColumnName

_PLAIN = re.compile(r"[A-Za-z_][\w$ -]*(\.[\w$ -]+)*", re.ASCII)


def key(column: ColumnName) -> str:
    """The column as a key of YAML."""
    name = str(column)
    if _PLAIN.fullmatch(name) and name == name.strip():
        return name
    if name.isprintable():
        return "'" + name.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, name)) + '"'  # YAML folds some of what can't be seen


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def added(before: str, lines: str) -> str:
    """The text with the lines behind it."""
    return (before if not before or before.endswith("\n") else before + "\n") + lines


def unified(before: str, after: str, old: str, new: str) -> str:
    """old, new: what the diff calls the two."""
    parts = difflib.unified_diff(list(io.StringIO(before)), list(io.StringIO(after)), old, new)
    return "".join(part if part.endswith("\n") else part + "\n\\ No newline at end of file\n" for part in parts)
