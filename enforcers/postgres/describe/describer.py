"""The describer: from a message's bytes to one Description a statement, with what was seen before kept at hand.

Two caches. By exact text: a prepared statement, a repeated one. By shape: the same statement with other constants,
recognised by the shape's own pattern, which alone decides; where to look for candidates is told by the text's first
bytes, or by its normalised form. All are keyed by catalog version and names, so nothing outlives a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from cachetools import LRUCache
from pglast.parser import ParseError, normalize, parse_sql_json

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import functions, literals, statements
from enforcers.postgres.describe.build import build
from enforcers.postgres.describe.context import Context, Facts, NestsTooDeeplyError, OutColumn, unwrap
from enforcers.postgres.describe.counted import most_rows
from enforcers.postgres.describe.foreign import foreign
from enforcers.postgres.describe.shape import Shape, shape_of
from enforcers.postgres.describe.tags import command_tag
from enforcers.postgres.description import Description, SessionNames, SyntaxProblem

MAX_CACHED = 64 << 10  # bytes of text
MAX_TREE = 8 << 20  # bytes that a parse tree may have beyond its text: what loads in well under a second
MAX_SHAPED = 8 << 10  # bytes of text whose shape is kept as a pattern
_MAX_SHAPES = 8  # of one normalised text
_MAX_RECENT = 4  # of one beginning
_BEGINNING = 24  # bytes

_Key = tuple[bytes, int]  # a text, or the beginning of one, and the number of its surroundings
_Result = tuple[Description, ...]


@dataclass(slots=True)
class _Known:
    shape: Shape
    description: Description


class _Surroundings:
    """Numbers what a description is made under: a catalog's version and how names resolve. Never the same number for
    two that differ. To hash names takes longer than all else that finds a known statement, so an object of theirs that
    was seen already is recognised by itself."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._numbers: dict[tuple[int, SessionNames], int] = {}
        self._seen: dict[int, tuple[SessionNames, int, int]] = {}  # by id; the names are held, so it stays theirs
        self._next = 0

    def number(self, version: int, names: SessionNames) -> int:
        seen = self._seen.get(id(names))
        if seen is not None and seen[0] is names and seen[1] == version:
            return seen[2]
        found = self._numbers.get((version, names))
        if found is None:
            if len(self._numbers) >= self._maximum:
                self._numbers.clear()
            self._next = found = self._next + 1
            self._numbers[version, names] = found
        if len(self._seen) >= self._maximum:
            self._seen.clear()
        self._seen[id(names)] = (names, version, found)
        return found


class Describer:
    """Describes messages. Not thread-safe; one for an event loop."""

    def __init__(self, max_entries: int = 4096) -> None:
        # Counted in bytes of text: 4 KiB an entry on average, whatever a client sends.
        self._exact: LRUCache[_Key, _Result] = LRUCache(max_entries << 12, getsizeof=_size)
        self._shapes: LRUCache[tuple[str, int], list[_Known]] = LRUCache(max_entries)
        # A way past both for what comes all the time: forgotten as a whole when it is full.
        self._recent: dict[_Key, list[_Known]] = {}
        self._max_recent = max_entries
        self._surroundings = _Surroundings(max_entries)

    def describe_message(
        self, text: bytes, *, catalog: Catalog, names: SessionNames
    ) -> list[Description] | SyntaxProblem:
        """Every statement of a simple Query message, or of a Parse (whose caller refuses more than one).

        text: without the protocol's closing NUL. Empty statements yield one description with the verb sql.empty when
        nothing else is there.
        """
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            return SyntaxProblem('invalid byte sequence for encoding "UTF8"', 0)
        if "\x00" in decoded:
            return SyntaxProblem('invalid byte sequence for encoding "UTF8": 0x00', 0)
        # From here on only texts that the target would read.
        number = self._surroundings.number(catalog.version, names)
        recent_key = (text[:_BEGINNING], number)
        short = len(text) <= MAX_SHAPED
        recent = self._recent.get(recent_key, _NONE) if short else _NONE
        found = _match(recent, text)
        if found is not None:
            return [found.description.with_text(text)]
        key = (text, number)
        known = self._exact.get(key)
        if known is not None:
            return list(known)
        bucket_key = None
        if short:
            try:
                bucket_key = (normalize(decoded), number)
            except ParseError as error:
                return _problem(error, decoded)
            found = _match(self._shapes.get(bucket_key, []), text)
            if found is not None:
                self._remember(recent_key, [found, *recent][:_MAX_RECENT])
                return [found.description.with_text(text)]
        result = self._describe(text, decoded, catalog, names)
        if isinstance(result, SyntaxProblem):
            return result
        descriptions = [item for item, _ in result]
        if len(text) <= MAX_CACHED and _size(tuple(descriptions)) <= self._exact.maxsize:
            self._exact[key] = tuple(descriptions)
        if len(result) == 1 and bucket_key is not None:
            bucket = self._shapes.setdefault(bucket_key, [])
            if len(bucket) < _MAX_SHAPES:
                bucket.append(_Known(result[0][1], result[0][0]))
        return descriptions

    def _remember(self, key: _Key, known: list[_Known]) -> None:
        if len(self._recent) >= self._max_recent:
            self._recent.clear()
        self._recent[key] = known

    def _describe(
        self, text: bytes, decoded: str, catalog: Catalog, names: SessionNames
    ) -> list[tuple[Description, Shape]] | SyntaxProblem:
        try:
            tree = parse_sql_json(decoded)
        except ParseError as error:
            return _problem(error, decoded)
        if len(tree) - len(text) > MAX_TREE:
            return SyntaxProblem("the statement has too many parts to be described", 0)
        try:
            parsed = orjson.loads(tree)
        except orjson.JSONDecodeError:
            return SyntaxProblem("the statement nests too deeply to be described", 0)
        try:
            return self._all(text, decoded, parsed.get("stmts", []), catalog, names)
        except (NestsTooDeeplyError, RecursionError):  # what isn't compiled has the interpreter's own limit besides
            return SyntaxProblem("the statement nests too deeply to be described", 0)

    def _all(
        self, text: bytes, decoded: str, items: list[Mapping[str, Any]], catalog: Catalog, names: SessionNames
    ) -> list[tuple[Description, Shape]]:
        words = foreign(decoded, catalog)
        if not items:
            facts = Facts()
            facts.verb("sql.empty")
            shape = shape_of(text, ())
            return [(_finish(facts, [], ("", {}), text=text, shape=shape, catalog=catalog, names=names), shape)]
        found: list[tuple[Description, Shape]] = []
        changed = ""
        for item in items:
            start = int(item.get("stmt_location", 0))
            length = int(item.get("stmt_len", 0))
            own = text if len(items) == 1 else text[start : start + length if length else len(text)]
            offset = 0 if len(items) == 1 else start
            facts = Facts(effective_role=names.effective_role)
            kind, body = unwrap(item.get("stmt", {}))
            context = Context(catalog, names.search_path, facts)
            if words:
                facts.doubt("keyword-class", ", ".join(sorted(words)))
            if changed:
                facts.doubt("earlier-statement", changed)
            columns = statements.describe(context, kind, body)
            functions.user_casts(context)
            facts.most_rows = most_rows(facts, catalog, kind, body)
            shape = shape_of(own, [place - offset for place in facts.free])
            facts.known_literals = literals.found(facts, own, offset)
            description = _finish(facts, columns, (kind, body), text=own, shape=shape, catalog=catalog, names=names)
            found.append((description, shape))
            if description.changes_names or description.ddl:
                changed = f"{description.template.command} before it"
        return found


_NONE: list[_Known] = []


def _match(candidates: list[_Known], text: bytes) -> _Known | None:
    for candidate in candidates:
        if candidate.shape.matches(text):
            return candidate
    return None


def _size(descriptions: _Result) -> int:
    return sum(1024 + len(item.text) for item in descriptions)


def _finish(
    facts: Facts,
    columns: list[OutColumn],
    statement: tuple[str, Mapping[str, Any]],
    *,
    text: bytes,
    shape: Shape,
    catalog: Catalog,
    names: SessionNames,
) -> Description:
    kind, body = statement
    return build(
        facts,
        columns,
        kind=kind,
        command=command_tag(kind, body),
        text=text,
        skeleton=shape.skeleton,
        catalog=catalog,
        names=names,
    )


def _problem(error: ParseError, text: str) -> SyntaxProblem:
    """pglast gives the offset of a character, from 0."""
    message = str(error.args[0]) if error.args else "syntax error"
    position = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else None
    if "memory exhausted" in message or "stack depth" in message:
        return SyntaxProblem("the statement nests too deeply to be described", 0)
    return SyntaxProblem(message, 0 if position is None else min(position + 1, len(text) + 1))
