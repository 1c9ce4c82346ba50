"""Text that the target's grammar reads otherwise than the parser's here, which is that of PostgreSQL 18.

Both the client's text and what the catalog holds (views, rules, policies, defaults, bodies of SQL functions), which the
target parsed, or printed for a grammar like its own. See docs/decisions/0010-keyword-classes.md.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from pglast.parser import parse_sql_json, scan

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe.context import Context

MAX_SCANNED = 256 << 10  # bytes of text that is looked through for words of another class
_NUMBERS_SINCE = 160000  # 0x1F, 0o7, 0b1 and 1_000 are numbers; before (until 15) 0x1F was `0 AS x1F`
_MAY_BE_NUMBER = re.compile(r"\d_\d|0[xXoObB]_?[\da-fA-F]")
_NEW_NUMBER = re.compile(r"[_xXoObB]")


def foreign(text: str, catalog: Catalog) -> frozenset[str]:
    """Words used unquoted whose class the target's grammar sees differently (source.differing_words), and numbers
    that it reads as something else."""
    found = _words(text, catalog.foreign_words)
    if catalog.builtins.server_version < _NUMBERS_SINCE:
        found |= _numbers(text)
    return found


def stored_tree(context: Context, text: str) -> Any:
    """The parse tree of text that the catalog holds, as pg_query's JSON. Raises ParseError, orjson.JSONDecodeError."""
    found = foreign(text, context.catalog)
    if found:
        context.facts.doubt("keyword-class", ", ".join(sorted(found)))
    return orjson.loads(parse_sql_json(text))


def _words(text: str, words: frozenset[str]) -> frozenset[str]:
    if not words:
        return words
    lowered = text.lower()
    if not any(word.rstrip("(") in lowered for word in words):
        return frozenset()
    if len(text) > MAX_SCANNED:
        return frozenset(words)  # not worth seconds: what holds such a word somewhere counts as using it
    used: set[str] = set()
    previous = ""
    for token in scan(text):  # whose places count characters
        if token.name == "ASCII_40" and previous:
            used.add(f"{previous}(")
        if token.name in {"SQL_COMMENT", "C_COMMENT"}:
            continue
        previous = text[token.start : token.end + 1].lower()  # with its quotes, where it has any: then it is no word
        used.add(previous)
    return frozenset(used & words)


def _numbers(text: str) -> frozenset[str]:
    if _MAY_BE_NUMBER.search(text) is None:
        return frozenset()
    if len(text) > MAX_SCANNED:
        return frozenset({"a number"})
    return frozenset(
        text[token.start : token.end + 1]
        for token in scan(text)
        if token.name in {"ICONST", "FCONST"} and _NEW_NUMBER.search(text[token.start : token.end + 1])
    )
