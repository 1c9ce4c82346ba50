"""json and jsonb with the values at some paths replaced by null; every other byte stays.

A step is a member's name, or `*` for every member and every element. Documents vary, so paths are read generously:
an array where a name is expected is looked through element by element, and a scalar where a path still goes on is
replaced as well. Of members of one name all are replaced. What isn't JSON, or nested too deep, becomes NULL.
"""

from __future__ import annotations

import json
from typing import Final

from enforcers.postgres.maskers.base import Masker

Path = tuple[bytes, ...]

MAX_DEPTH: Final = 200
_JSONB_VERSION: Final = 1
_QUOTE, _COMMA, _COLON, _BACKSLASH = 0x22, 0x2C, 0x3A, 0x5C
_OBJECT, _OBJECT_END, _ARRAY, _ARRAY_END = 0x7B, 0x7D, 0x5B, 0x5D
_SPACE = frozenset(b" \t\n\r")
_SCALAR_END = frozenset(b",]} \t\n\r")
_ANY = b"*"


class _MalformedError(Exception):
    """Not JSON."""


class Paths(Masker):
    """versioned: jsonb in binary, whose text stands behind a version byte."""

    def __init__(self, paths: tuple[tuple[str, ...], ...], *, versioned: bool) -> None:
        self._paths: list[Path] = [tuple(step.encode() for step in path) for path in paths]
        self._versioned = versioned
        self._data = b""
        self._end = 0
        self._copied = 0
        self._out: list[bytes] = []

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        self._data, self._end, self._copied, self._out = data, end, start, []
        at = start
        if self._versioned:
            if at >= end or data[at] != _JSONB_VERSION:
                return None
            at += 1
        try:
            at = self._space(self._value(self._space(at), self._paths, 0))
        except _MalformedError:
            return None
        if at != end:
            return None
        self._out.append(data[self._copied : end])
        return b"".join(self._out)

    def _space(self, at: int) -> int:
        while at < self._end and self._data[at] in _SPACE:
            at += 1
        return at

    def _byte(self, at: int) -> int:
        if at >= self._end:
            raise _MalformedError
        return self._data[at]

    def _value(self, at: int, paths: list[Path], depth: int) -> int:
        """Walk the value at `at`, of which `paths` are to be replaced. Where it ends."""
        if depth > MAX_DEPTH:
            raise _MalformedError
        first = self._byte(at)
        if not paths:
            return self._skip(at)
        if first == _OBJECT:
            return self._object(at, paths, depth)
        if first == _ARRAY:
            return self._array(at, paths, depth)
        return self._replace(at)

    def _replace(self, at: int) -> int:
        end = self._skip(at)
        self._out.append(self._data[self._copied : at])
        self._out.append(b"null")
        self._copied = end
        return end

    def _part(self, at: int, paths: list[Path], depth: int) -> int:
        """A member's or element's value: all of it where one of the paths ends here."""
        for path in paths:
            if not path:
                return self._replace(at)
        return self._value(at, paths, depth)

    def _object(self, at: int, paths: list[Path], depth: int) -> int:
        at = self._space(at + 1)
        if self._byte(at) == _OBJECT_END:
            return at + 1
        while True:
            if self._byte(at) != _QUOTE:
                raise _MalformedError
            end = self._string(at)
            name = self._name(at, end)
            at = self._space(end)
            if self._byte(at) != _COLON:
                raise _MalformedError
            inner = [path[1:] for path in paths if path[0] == name or path[0] == _ANY]
            at = self._space(self._part(self._space(at + 1), inner, depth + 1))
            following = self._byte(at)
            if following == _OBJECT_END:
                return at + 1
            if following != _COMMA:
                raise _MalformedError
            at = self._space(at + 1)

    def _array(self, at: int, paths: list[Path], depth: int) -> int:
        inner = [path[1:] if path[0] == _ANY else path for path in paths]
        at = self._space(at + 1)
        if self._byte(at) == _ARRAY_END:
            return at + 1
        while True:
            at = self._space(self._part(at, inner, depth + 1))
            following = self._byte(at)
            if following == _ARRAY_END:
                return at + 1
            if following != _COMMA:
                raise _MalformedError
            at = self._space(at + 1)

    def _name(self, at: int, end: int) -> bytes:
        raw = self._data[at:end]
        if b"\\" not in raw:
            return raw[1:-1]
        try:
            name: str = json.loads(raw)
            return name.encode()
        except ValueError:  # UnicodeError is one
            raise _MalformedError from None

    def _string(self, at: int) -> int:
        """Behind the closing quote of the string that begins at `at`."""
        end = at
        while True:
            end = self._data.find(b'"', end + 1, self._end)
            if end < 0:
                raise _MalformedError
            slashes = end - 1
            while slashes > at and self._data[slashes] == _BACKSLASH:
                slashes -= 1
            if (end - slashes) & 1:
                return end + 1

    def _skip(self, at: int) -> int:
        """Behind the value that begins at `at`, whatever it holds."""
        depth = 0
        while True:
            byte = self._byte(at)
            if byte == _QUOTE:
                at = self._string(at)
            elif byte in (_OBJECT, _ARRAY):
                depth += 1
                at += 1
            elif byte in (_OBJECT_END, _ARRAY_END):
                if depth == 0:
                    raise _MalformedError
                depth -= 1
                at += 1
            elif depth and (byte in _SPACE or byte in (_COMMA, _COLON)):
                at += 1
            else:
                begin = at
                while at < self._end and self._data[at] not in _SCALAR_END and self._data[at] != _COLON:
                    at += 1
                if at == begin:
                    raise _MalformedError
            if depth == 0:
                return at
