"""Finds a canary in whatever was received: whole, cut, turned, hashed, encoded, or spread over cells and rows.

It looks at *views* of the bytes (as they are, joined cell by cell and column by column, percent-, hex-, octal-,
entity-decoded …), and in each for windows of six characters of a secret, for digests, and for whole values of types
that have no text of their own. What no view undoes (a cipher of the attacker's own) shows all the same where two
databases that differ in secrets alone give different answers: that is the runner's second look (attack.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import unquote_to_bytes

from enforcers.postgres import wire
from tests.corpus.link import Frames

WINDOW = 6
_LONG = 8  # of values that are digits and signs only: shorter ones are anywhere
_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
_LETTER = re.compile(rb"[a-z]")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}[ :]?){5,}[0-9a-fA-F]{2}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-\n]{8,}={0,2}")
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_UNICODE = re.compile(rb"(?:\\u00|\\u\+0000|\\x|U&?\+?0000|%u00)([0-9a-fA-F]{2})")
_NUMBER = re.compile(rb"^\d{1,3}$")
_OCTET_BITS = re.compile(rb"[01]{48,}")


@dataclass(frozen=True, slots=True)
class Finding:
    how: str
    what: str


class Detector:
    """texts: secrets with letters in them. values: whole cells (text and binary) of other types."""

    def __init__(self, texts: Iterable[str], values: Iterable[bytes]) -> None:
        self._windows: dict[bytes, str] = {}
        self._digests: dict[bytes, str] = {}
        self._cells: set[bytes] = set()
        self._long: dict[bytes, str] = {}
        for text in texts:
            self._learn_text(text)
        for value in values:
            if len(value) >= _LONG:
                self._long[value] = "a value"
            self._cells.add(value)

    def _learn_text(self, text: str) -> None:
        folded = text.lower().encode()
        for how, word in (("plain", folded), ("reversed", folded[::-1])):
            for window in _windows(word):
                if len(_LETTER.findall(window)) > 1:
                    self._windows.setdefault(window, how)
        for form in {text, text.lower(), text.upper(), text[::-1], text.strip()}:
            for name in _HASHES:
                digest = hashlib.new(name, form.encode(), usedforsecurity=False).digest()
                self._digests[digest[:8]] = name

    def scan(self, frames: Frames) -> Finding | None:
        """The first canary in these messages."""
        cells, rows = _cells(frames)
        for cell in cells:
            if cell in self._cells:
                return Finding("a whole cell", repr(cell))
        for how, view in _views(frames, cells, rows):
            found = self._look(how, view)
            if found:
                return found
        return None

    def text(self, data: bytes) -> Finding | None:
        """The same in bytes that are no messages (standard output of a client)."""
        for how, view in _decoded("as it is", data):
            found = self._look(how, view)
            if found:
                return found
        return None

    def _look(self, how: str, view: bytes) -> Finding | None:
        folded = view.lower()
        # As sets: the common part of what is there and what is looked for, in C.
        for window in self._windows.keys() & set(_windows(folded)):
            return Finding(f"{how}, {self._windows[window]}", window.decode())
        for digest in self._digests.keys() & set(_windows(view, 8)):
            return Finding(f"{how}, {self._digests[digest]}", digest.hex())
        for value, name in self._long.items():
            if value in view:
                return Finding(f"{how}, {name}", repr(value))
        return None


def _windows(data: bytes, size: int = WINDOW) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(len(data) - size + 1))


def _cells(frames: Frames) -> tuple[list[bytes], list[list[bytes | None]]]:
    rows: list[list[bytes | None]] = []
    for kind, raw in frames:
        if kind == "D":
            rows.append(wire.parse_data_row(raw))
        elif kind == "d":
            rows.append(list(re.split(rb"[\t,\n]", raw[5:])))
    return [cell for row in rows for cell in row if cell is not None], rows


def _views(frames: Frames, cells: list[bytes], rows: list[list[bytes | None]]) -> Iterator[tuple[str, bytes]]:
    everything = b"".join(raw for kind, raw in frames if kind not in "ZK12t3n")
    yield from _decoded("as it is", everything)
    if len(cells) > 1:
        joined = b"".join(cells)
        yield from _decoded("cell by cell", joined)
        width = max(len(row) for row in rows)
        if width > 1:
            for reached in range(width):
                column = b"".join(row[reached] or b"" for row in rows if len(row) > reached)
                yield from _decoded("column by column", column)
    codes = bytes(int(cell) & 0xFF for cell in cells if _NUMBER.match(cell))
    codes += bytes(cell[-1] for cell in cells if len(cell) in {2, 4, 8} and not any(cell[:-1]))
    if len(codes) >= WINDOW:
        yield "numbers as characters", codes
    heads = bytes(cell.strip()[0] for cell in cells if cell.strip())
    if len(heads) >= WINDOW:
        yield "first characters", heads


def _decoded(how: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    yield how, data
    if b"\0" in data:
        yield f"{how}, without NULs", data.replace(b"\0", b"")
    if b"%" in data:
        yield f"{how}, URL", unquote_to_bytes(data)
    if b"&#" in data:
        yield f"{how}, entities", unescape(data.decode("latin-1")).encode("utf-8", "replace")
    if b"\\" in data:
        yield f"{how}, octal", _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), data)
    if _UNICODE.search(data):
        yield f"{how}, code points", _UNICODE.sub(lambda found: binascii.unhexlify(found[1]), data)
    for found in _HEX.finditer(data):
        yield f"{how}, hex", binascii.unhexlify(re.sub(rb"[ :]", b"", found[0]))
    for found in _OCTET_BITS.finditer(data):
        bits = found[0]
        yield f"{how}, bits", bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8))
    for found in _BASE64.finditer(data):
        text = found[0].replace(b"\n", b"").rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(min(4, len(text) - 7)):
            part = text[start:]
            part = part[: len(part) // 4 * 4]
            yield f"{how}, base64", base64.b64decode(part)
    words = re.sub(rb"[^A-Za-z0-9]", b"", data)
    if words != data:
        yield f"{how}, without what stands between", words
