"""How a classification spells a column: `schema.table.column`, as the target's catalog has the names.

Names are taken as they are written: nothing is folded to lower case, spaces count. A name that holds a dot or a double
quote, or has a space at an end, stands in double quotes, a quote in it twice, as in SQL (PostgreSQL, chapter 4.1.1):
`public."my.table".email`.
The command line and the decision service read the same files; this is the one place that says what a key means.
"""

from __future__ import annotations

from typing import NamedTuple

PARTS = 3
MAX_BYTES = 63  # NAMEDATALEN - 1: no PostgreSQL name is longer
EXAMPLE = "for example public.customers.email"


class ColumnName(NamedTuple):
    schema: str
    relation: str
    column: str

    def __str__(self) -> str:
        """The one spelling of this column: a name is quoted where it must be, and only there."""
        return ".".join(map(quoted, self))


class ColumnNameError(ValueError):
    """`str(error)`: what is wrong; `fix`: what to write instead."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def quoted(name: str) -> str:
    plain = "." not in name and '"' not in name and name == name.strip()
    return name if plain else '"' + name.replace('"', '""') + '"'


def parse(key: str) -> ColumnName:
    """A key of a classification. Raises ColumnNameError."""
    parts = _split(key)
    if len(parts) != PARTS or not all(parts):
        fix = (
            EXAMPLE if len(parts) <= PARTS else 'put a name that holds a dot in double quotes: public."my.table".email'
        )
        raise ColumnNameError("is not schema.table.column", fix)
    for part in parts:
        if len(part.encode()) > MAX_BYTES:
            raise ColumnNameError(
                f"has a name of more than {MAX_BYTES} bytes, which no column has", "write it as the target's \\d does"
            )
        if any(ord(char) < 32 or ord(char) == 127 for char in part):
            raise ColumnNameError("has a control character", "remove it")
    return ColumnName(*parts)


def _split(key: str) -> list[str]:
    parts: list[str] = []
    rest = key
    while True:
        if rest.startswith('"'):
            part, rest = _quoted(rest)
            if rest and not rest.startswith("."):
                raise ColumnNameError("goes on behind a closing double quote", "put a dot there")
        else:
            part, dot, behind = rest.partition(".")
            rest = dot + behind
            if '"' in part:
                raise ColumnNameError(
                    "has a double quote inside a name", "put the whole name in double quotes, the one in it twice"
                )
            if part != part.strip():
                raise ColumnNameError(f"has a space at an end of a name: {part!r}", "remove it, or quote the name")
        parts.append(part)
        if not rest:
            return parts
        rest = rest[1:]


def _quoted(text: str) -> tuple[str, str]:
    """The name between the quotes that `text` begins with, and what follows."""
    found: list[str] = []
    at = 1
    while True:
        end = text.find('"', at)
        if end < 0:
            raise ColumnNameError("has a double quote that nothing closes", "close it")
        found.append(text[at:end])
        if not text.startswith('""', end):
            return '"'.join(found), text[end + 1 :]
        at = end + 2
