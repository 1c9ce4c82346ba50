"""A SELECT that has the columns COPY TO STDOUT sends: prepared, never run, it takes the locks and has the target say
whose columns they are, which for COPY itself it says nowhere.
"""

from __future__ import annotations

from pglast.parser import ParseError, Token, scan

from enforcers.postgres.description import Description


def probe_of(description: Description) -> bytes | None:
    """None where there is none."""
    tokens = _tokens(description.text)
    if len(tokens) < 2 or tokens[0].name != "COPY":
        return None
    return copied_query(description.text) if tokens[1].name == "ASCII_40" else _of_table(description)


def copied_query(text: bytes) -> bytes | None:
    """What stands in the parentheses of COPY (query); None where it copies a table."""
    tokens = _tokens(text)
    if len(tokens) < 2 or tokens[0].name != "COPY" or tokens[1].name != "ASCII_40":
        return None
    depth = 0
    for token in tokens[1:]:
        depth += {"ASCII_40": 1, "ASCII_41": -1}.get(token.name, 0)
        if depth == 0:
            return _between(text, tokens[1].end + 1, token.start)
    return None


def copied_table(text: bytes) -> bytes | None:
    """The name of the table that COPY … TO copies, as it is written; None where it can't be told."""
    tokens = _tokens(text)
    if len(tokens) < 3 or tokens[0].name != "COPY":
        return None
    for place, token in enumerate(tokens):
        if token.name in {"ASCII_40", "TO", "FROM"}:
            reads = token.name == "TO" or any(later.name == "TO" for later in tokens[place:])
            return _between(text, tokens[1].start, token.start) if reads and place > 1 else None
    return None


def _tokens(text: bytes) -> list[Token]:
    """Without comments; none where it can't be read."""
    try:
        tokens = scan(text.decode())
    except (ParseError, UnicodeDecodeError):
        return []
    return [token for token in tokens if token.name not in {"SQL_COMMENT", "C_COMMENT"}]


def _between(text: bytes, start: int, end: int) -> bytes:
    """start, end: in characters, as the scanner counts."""
    return text.decode()[start:end].encode()


def _of_table(description: Description) -> bytes | None:
    """COPY reads the table alone, without what inherits from it."""
    tables = [relation for relation in description.template.relations if relation.via == "direct"]
    outputs = description.template.output
    if len(tables) != 1 or not outputs:
        return None
    columns = ", ".join(_quoted(output.name) for output in outputs)
    name = f"{_quoted(tables[0].schema)}.{_quoted(tables[0].name)}"
    return f"SELECT {columns} FROM ONLY {name}".encode()  # noqa: S608 - names of the catalog, quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
