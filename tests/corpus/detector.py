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
_HEX = re.compile(rb"(?:[0-9a-fA-F][ :]?){11,}[0-9a-fA-F]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-\n]{8,}={0,2}")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_UNICODE = re.compile(rb"(?:\\u00|\\u\+0000|\\x|U&?\+?0000|%u00)([0-9a-fA-F]{2})")
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_BETWEEN = re.compile(rb"[^A-Za-z0-9]+")
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
        self._long: dict[bytes, list[bytes]] = {}
        for text in texts:
            self._learn_text(text)
        for value in values:
            if len(value) >= _LONG:
                self._long.setdefault(value[:_LONG], []).append(value)
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
                self._digests[digest[:_LONG]] = name

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
        eights = set(_windows(view, _LONG))
        for digest in self._digests.keys() & eights:
            return Finding(f"{how}, {self._digests[digest]}", digest.hex())
        for head in self._long.keys() & eights:
            for value in self._long[head]:
                if value in view:
                    return Finding(f"{how}, a value", repr(value))
        return None


def _windows(data: bytes, size: int = WINDOW) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(len(data) - size + 1))


def _cells(frames: Frames) -> tuple[list[bytes], list[list[bytes | None]]]:
    rows: list[list[bytes | None]] = []
    for kind, raw in frames:
        if kind == "D":
            rows.append(wire.parse_data_row(raw))
    copied = [raw[5:] for kind, raw in frames if kind == "d"]
    if copied and copied[0].startswith(_SIGNATURE):
        rows += _binary_rows(b"".join(copied))
    else:
        rows += [list(re.split(rb"[\t,\n]", line)) for line in copied]
    return [cell for row in rows for cell in row if cell is not None], rows


def _binary_rows(data: bytes) -> list[list[bytes | None]]:
    """Of COPY's binary format: signature, flags, extension; then tuples until the trailer."""
    rows: list[list[bytes | None]] = []
    position = len(_SIGNATURE) + 8 + int.from_bytes(data[15:19], "big")
    while (count := int.from_bytes(data[position : position + 2], "big")) not in {0, 0xFFFF}:
        position += 2
        row: list[bytes | None] = []
        for _ in range(count):
            length = int.from_bytes(data[position : position + 4], "big", signed=True)
            position += 4
            row.append(None if length < 0 else data[position : position + length])
            position += max(length, 0)
        rows.append(row)
    return rows


def _views(frames: Frames, cells: list[bytes], rows: list[list[bytes | None]]) -> Iterator[tuple[str, bytes]]:
    everything = b"".join(raw for kind, raw in frames if kind not in "ZK12t3n")
    yield from _decoded("as it is", everything)
    if len(cells) > 1:
        joined = b"".join(cells)
        yield from _decoded("cell by cell", joined)
        yield "cell by cell, backwards", b"".join(reversed(cells))
        width = max(len(row) for row in rows)
        if width > 1:
            for reached in range(width):
                column = b"".join(row[reached] or b"" for row in rows if len(row) > reached)
                yield from _decoded("column by column", column)
    apart = [raw for kind, raw in frames if kind in "ENAS"] + cells
    yield "without what stands between", b"\xff".join(_BETWEEN.sub(b"", part) for part in apart)
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
    yield from _hexadecimal(how, data)
    yield from _base64(how, data)
    for found in _OCTET_BITS.finditer(data):
        bits = found[0]
        yield f"{how}, bits", bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8))


def _hexadecimal(how: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """A digit before it may belong to something else: both ways to pair them."""
    texts = [re.sub(rb"[ :]", b"", found[0]) for found in _HEX.finditer(data)]
    if texts:
        pairs = [text[start : start + (len(text) - start) // 2 * 2] for text in texts for start in (0, 1)]
        view = b"\xff".join(binascii.unhexlify(pair) for pair in pairs)
        yield f"{how}, hex", view
        yield f"{how}, hex of UTF-16", view.replace(b"\0", b"")


def _base64(how: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """It may begin at any of four characters."""
    found = []
    for match in _BASE64.finditer(data):
        text = match[0].replace(b"\n", b"").rstrip(b"=").translate(_URL_SAFE)
        for start in range(4):
            part = text[start:]
            found.append(base64.b64decode(part[: len(part) // 4 * 4]))
    if found:
        yield f"{how}, base64", b"\xff".join(found)
