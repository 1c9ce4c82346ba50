"""The describer: from a message's bytes to one Description a statement, with what was seen before kept at hand.

Two caches. By exact text: a prepared statement, a repeated one. By shape: the same statement with other constants,
recognised by the shape's own pattern, which alone decides; where to look for candidates is told by the text's first
bytes, or by its normalised form. All are keyed by catalog version and names, so nothing outlives a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

import orjson
from cachetools import LRUCache
from pglast.parser import ParseError, normalize, parse_sql_json

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import functions, statements
from enforcers.postgres.describe.build import build
from enforcers.postgres.describe.context import Context, Facts, OutColumn, unwrap
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

_Key = tuple[bytes, int, SessionNames]
_Result = tuple[Description, ...]


# dataclasses.replace() for one field costs more than the rest of a leased statement's description.
_KEPT = tuple(item.name for item in fields(Description) if item.name != "text")
_kept_of = attrgetter(*_KEPT)
_PUT_KEPT = tuple(getattr(Description, name).__set__ for name in _KEPT)
_put_text = getattr(Description, "text").__set__  # noqa: B009 - the slot's descriptor, which types don't know


@dataclass(slots=True)
class _Known:
    shape: Shape
    description: Description
    kept: tuple[object, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = _kept_of(self.description)

    def with_text(self, text: bytes) -> Description:
        """The description of another text of this shape."""
        made = object.__new__(Description)
        _put_text(made, text)
        for put, value in zip(_PUT_KEPT, self.kept, strict=True):
            put(made, value)
        return made


class Describer:
    """Describes messages. Not thread-safe; one for an event loop."""

    def __init__(self, max_entries: int = 4096) -> None:
        # Counted in bytes of text: 4 KiB an entry on average, whatever a client sends.
        self._exact: LRUCache[_Key, _Result] = LRUCache(max_entries << 12, getsizeof=_size)
        self._shapes: LRUCache[tuple[str, int, SessionNames], list[_Known]] = LRUCache(max_entries)
        self._recent: LRUCache[_Key, list[_Known]] = LRUCache(max_entries)

    def describe_message(
        self, text: bytes, *, catalog: Catalog, names: SessionNames
    ) -> list[Description] | SyntaxProblem:
        """Every statement of a simple Query message, or of a Parse (whose caller refuses more than one).

        text: without the protocol's closing NUL. Empty statements yield one description with the verb sql.empty when
        nothing else is there.
        """
        key = (text, catalog.version, names)
        known = self._exact.get(key)
        if known is not None:
            return list(known)
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            return SyntaxProblem('invalid byte sequence for encoding "UTF8"', 0)
        if "\x00" in decoded:
            return SyntaxProblem('invalid byte sequence for encoding "UTF8": 0x00', 0)
        bucket_key = None
        if len(text) <= MAX_SHAPED:
            recent_key = (text[:_BEGINNING], catalog.version, names)
            recent = self._recent.get(recent_key, [])
            found = _match(recent, text)
            if found is not None:
                return [found.with_text(text)]
            try:
                bucket_key = (normalize(decoded), catalog.version, names)
            except ParseError as error:
                return _problem(error, decoded)
            found = _match(self._shapes.get(bucket_key, []), text)
            if found is not None:
                self._recent[recent_key] = [found, *recent][:_MAX_RECENT]
                return [found.with_text(text)]
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
        except RecursionError:
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
            description = _finish(facts, columns, (kind, body), text=own, shape=shape, catalog=catalog, names=names)
            found.append((description, shape))
            if description.changes_names or description.ddl:
                changed = f"{description.template.command} before it"
        return found


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
