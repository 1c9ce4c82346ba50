"""Masks columns of what COPY TO STDOUT sends, in text, csv and binary: each CopyData message is one row.

A value is read as its field spells it, masked, and spelt anew by the same options: whether the real value needed quotes
does not show. Fields behind the last masked one pass unread, header line and trailer as they are.

Source: PostgreSQL documentation, "COPY" (file formats) and "COPY Operations" in "Message Flow"; CopyAttributeOutText
and CopyAttributeOutCSV of src/backend/commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres.description import CopyForm
from enforcers.postgres.maskers.base import Masker
from enforcers.postgres.maskers.choose import masker_of
from enforcers.postgres.masking import RowMasker
from enforcers.postgres.wire import FieldDescription

_COPY_DATA: Final = 100  # d
_NEWLINE: Final = 10
_BACKSLASH: Final = 0x5C
_N: Final = 0x4E
_BLANK: Final = 0x20
_NULL: Final = 0xFFFFFFFF
_NULL_CELL: Final = b"\xff\xff\xff\xff"
_SHORT: Final = 1024
_HEADERS: Final[list[bytes]] = [b"d" + length.to_bytes(4, "big") for length in range(_SHORT)]  # of nearly all messages
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_TRAILER: Final = b"\xff\xff"
_ESCAPES: Final = {98: 8, 102: 12, 110: 10, 114: 13, 116: 9, 118: 11}  # b f n r t v
_SPELT: Final = ((b"\b", b"\\b"), (b"\f", b"\\f"), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"), (b"\v", b"\\v"))


class CopyMasker(RowMasker):
    """Rewrites CopyData messages. `binary` and `columns`: what CopyOutResponse must announce."""

    def __init__(self, columns: int, by_column: dict[int, Masker], *, binary: bool) -> None:
        super().__init__(columns, by_column)
        self.kind = _COPY_DATA
        self.columns = columns
        self.binary = binary

    def rewrite(self, raw: bytes) -> bytes:
        """One CopyData frame, masked. Raises ProtocolError where it isn't a row of the columns described."""
        out: list[bytes] = []
        end, count = self.run(raw, 0, 1, len(raw), out)
        if count != 1 or end != len(raw):
            raise ProtocolError("malformed CopyData")
        return b"".join(out)

    def run(self, data: bytes, position: int, most: int, room: int, out: list[bytes]) -> tuple[int, int]:
        """As RowMasker.run, of CopyData messages."""
        size, count = len(data), 0
        while count < most and position + 5 <= size and data[position] == _COPY_DATA:
            length = data[position + 1] << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4]
            end = position + 1 + length
            if end > size or length > room or length < 4:
                break
            row = self.row(data[position + 5 : end])
            out.append(b"d" + (len(row) + 4).to_bytes(4, "big"))
            out.append(row)
            room -= length
            position = end
            count += 1
        return position, count

    def row(self, payload: bytes) -> bytes:
        """The payload of one message, masked. Raises ProtocolError."""
        raise NotImplementedError

    def masked(self, masker: Masker, value: bytes) -> bytes | None:
        self.fields += 1
        return masker.always if masker.constant else masker.mask(value, 0, len(value))


class TextMasker(CopyMasker):
    """The text format: fields end at the delimiter; a backslash takes what follows for itself, and \\N is NULL.

    One walk over a buffer's bytes, up to each row's last masked field; what isn't masked is copied in as few slices as
    there are masked values, from row to row. Compiled, a byte looked at costs a twentieth of a call of find."""

    def __init__(self, columns: int, by_column: dict[int, Masker], form: CopyForm) -> None:
        super().__init__(columns, by_column, binary=False)
        self._delimiter = form.delimiter
        # What stands in place of every value, and the same with the delimiter before it: spelt once.
        self._same: list[bytes] = [
            self._spelt(masker.always) if masker is not None and masker.constant else b"" for masker in self.walk
        ]
        self._next: list[bytes] = [self._delimiter + spelt for spelt in self._same]

    def run(self, data: bytes, position: int, most: int, room: int, out: list[bytes]) -> tuple[int, int]:
        size, begin, count = len(data), position, 0
        while count < most and position + 5 <= size and data[position] == _COPY_DATA:
            length = data[position + 1] << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4]
            end = position + 1 + length
            if end > size or length > room or length < 4:
                break
            if length == 4 or data[end - 1] != _NEWLINE:
                raise ProtocolError("a row of COPY without its end")
            begin = self._row(data, position, end - 1, begin, out)
            room -= length
            position = end
            count += 1
        if begin < position:
            out.append(data[begin:position])
        return position, count

    def _row(self, data: bytes, position: int, last: int, begin: int, out: list[bytes]) -> int:
        """One row, its message at `position`, its newline at `last`: all from `begin` on, up to its last masked value,
        goes to `out`. Where what is still to be copied begins."""
        delimiter = self._delimiter[0]
        header = -1  # where in `out` the message's own header is
        grown = 0
        at = position + 5
        for index, masker in enumerate(self.walk):
            if index and at > last:
                raise ProtocolError("a row of COPY with too few columns")
            start = at
            escaped = False
            while at < last:
                byte = data[at]
                if byte == delimiter:
                    break
                if byte == _BACKSLASH:
                    escaped = True
                    at += 1
                at += 1
            if at > last:
                raise ProtocolError("a row of COPY that ends in a backslash")
            if masker is None or (escaped and at - start == 2 and data[start + 1] == _N):
                at += 1
                continue
            self.fields += 1
            if header < 0:
                out.append(data[begin:position])
                header = len(out)
                out.append(b"")
                begin = position + 5
            adjacent = start == begin + 1
            if masker.constant:
                spelt = self._same[index]
                if adjacent:
                    out.append(self._next[index])
                else:
                    out.append(data[begin:start])
                    out.append(spelt)
            else:
                spelt = self._spelt(masker(_unescaped(data[start:at])) if escaped else masker.mask(data, start, at))
                out.append(self._delimiter if adjacent else data[begin:start])
                out.append(spelt)
            grown += len(spelt) - (at - start)
            begin = at
            at += 1
        if header >= 0:
            length = last - position + grown
            out[header] = _HEADERS[length] if length < _SHORT else b"d" + length.to_bytes(4, "big")
        return begin

    def _spelt(self, value: bytes | None) -> bytes:
        if value is None:
            return b"\\N"
        delimiter = self._delimiter[0]
        for index in range(len(value)):  # compiled, a look at each byte costs less than one call of replace
            byte = value[index]
            if byte < _BLANK or byte in (_BACKSLASH, delimiter):
                return self._escaped(value)
        return value

    def _escaped(self, value: bytes) -> bytes:
        value = value.replace(b"\\", b"\\\\")
        for character, spelling in _SPELT:
            value = value.replace(character, spelling)
        return value.replace(self._delimiter, b"\\" + self._delimiter)


def _unescaped(field: bytes) -> bytes:
    if b"\\" not in field:
        return field
    out = bytearray()
    position, size = 0, len(field)
    while position < size:
        byte = field[position]
        position += 1
        if byte == _BACKSLASH and position < size:
            byte = _ESCAPES.get(field[position], field[position])
            position += 1
        out.append(byte)
    return bytes(out)


class CsvMasker(CopyMasker):
    """csv: a field is quoted as a whole or not at all; only one without quotes can be NULL."""

    def __init__(self, columns: int, by_column: dict[int, Masker], form: CopyForm, forced: frozenset[int]) -> None:
        super().__init__(columns, by_column, binary=False)
        self._delimiter = form.delimiter
        self._nothing = form.null  # (compiled, an attribute _null would be a word of the C compiler's own)
        self._quote = form.quote
        self._escape = form.escape
        self._forced = forced
        self._plain = not any(item.isalnum() for item in (form.delimiter, form.quote, form.escape))

    def row(self, payload: bytes) -> bytes:
        if not payload or payload[-1] != _NEWLINE:
            raise ProtocolError("a row of COPY without its end")
        out: list[bytes] = []
        last = len(payload) - 1
        at = copied = 0
        for index, masker in enumerate(self.walk):
            if index and at > last:
                raise ProtocolError("a row of COPY with too few columns")
            quoted = at < last and payload[at] == self._quote[0]
            end = self._closing(payload, at, last) if quoted else payload.find(self._delimiter, at, last)
            if end < 0:
                end = last
            if end < last and payload[end] != self._delimiter[0]:
                raise ProtocolError("a row of COPY that is no csv")
            if masker is not None:
                field = payload[at:end]
                if quoted or field != self._nothing:
                    out.append(payload[copied:at])
                    value = self._unquoted(field) if quoted else field
                    out.append(self._spelt(self.masked(masker, value), forced=index in self._forced))
                    copied = end
            at = end + 1
        out.append(payload[copied:])
        return b"".join(out)

    def _closing(self, payload: bytes, at: int, last: int) -> int:
        """Behind the closing quote of the field that begins at `at`."""
        quote, escape = self._quote[0], self._escape[0]
        position = at + 1
        while position < last:
            byte = payload[position]
            following = payload[position + 1] if position + 1 < last else -1
            if byte == escape and following in (quote, escape):
                position += 2
            elif byte == quote:
                return position + 1
            else:
                position += 1
        raise ProtocolError("a row of COPY with an open quote")

    def _unquoted(self, field: bytes) -> bytes:
        inner = field[1:-1]
        quote, escape = self._quote[0], self._escape[0]
        if self._escape not in inner:
            return inner
        out = bytearray()
        position, size = 0, len(inner)
        while position < size:
            byte = inner[position]
            if byte == escape and position + 1 < size and inner[position + 1] in (quote, escape):
                position += 1
                byte = inner[position]
            out.append(byte)
            position += 1
        return bytes(out)

    def _spelt(self, value: bytes | None, *, forced: bool) -> bytes:
        if value is None:
            return self._nothing
        quote, escape = self._quote, self._escape
        needs = forced or value in (self._nothing, b"\\.")
        if not needs and not (self._plain and value.isalnum()):
            needs = self._delimiter in value or quote in value or b"\n" in value or b"\r" in value
        if not needs:
            return value
        if escape != quote:
            value = value.replace(escape, escape + escape)
        return quote + value.replace(quote, escape + quote) + quote


class BinaryMasker(CopyMasker):
    """binary: the signature before the first row, cells with their lengths, a trailer that is no row."""

    def __init__(self, columns: int, by_column: dict[int, Masker]) -> None:
        super().__init__(columns, by_column, binary=True)
        self._begun = False

    def row(self, payload: bytes) -> bytes:
        out: list[bytes] = []
        at = 0
        if not self._begun:
            self._begun = True
            if not payload.startswith(_SIGNATURE) or len(payload) < 19:
                raise ProtocolError("COPY in binary without its signature")
            at = 19 + int.from_bytes(payload[15:19], "big")
            if at > len(payload):
                raise ProtocolError("COPY in binary with a header that does not end")
        if payload[at:] == _TRAILER or at == len(payload):
            return payload
        if int.from_bytes(payload[at : at + 2], "big") != self.columns:
            raise ProtocolError("a row of COPY with another number of columns than its description")
        size, copied = len(payload), 0
        at += 2
        for masker in self.walk:
            value = at + 4
            if value > size:
                raise ProtocolError("a row of COPY ends too early")
            cell = int.from_bytes(payload[at:value], "big")
            at = value if cell == _NULL else value + cell
            if at > size:
                raise ProtocolError("a row of COPY ends too early")
            if masker is not None and cell != _NULL:
                masked = self.masked(masker, payload[value:at])
                out.append(payload[copied : value - 4])
                out.append(_NULL_CELL if masked is None else len(masked).to_bytes(4, "big") + masked)
                copied = at
        out.append(payload[copied:])
        return b"".join(out)


def announced(masker: RowMasker | None, raw: bytes) -> bool:
    """Is this CopyOutResponse of the form and width that the masker reads, where there is one?"""
    if not isinstance(masker, CopyMasker):
        return masker is None
    return len(raw) >= 8 and raw[5] == (1 if masker.binary else 0) and (raw[6] << 8 | raw[7]) == masker.columns


def copy_masker(
    columns: Sequence[tuple[MaskedColumn | None, FieldDescription]], form: CopyForm, *, key: bytes | None
) -> CopyMasker:
    """A masker for what COPY sends of these columns. Raises UnmaskableError."""
    binary = form.format == "binary"
    chosen = {
        index: masker_of(column, type_oid=field.type, modifier=field.type_modifier, binary=binary, key=key)
        for index, (column, field) in enumerate(columns)
        if column is not None
    }
    if binary:
        return BinaryMasker(len(columns), chosen)
    if form.format == "text":
        return TextMasker(len(columns), chosen, form)
    forced = frozenset(
        index
        for index, (_, field) in enumerate(columns)
        if form.force_all or field.name.decode("utf-8", "replace") in form.force_quote
    )
    return CsvMasker(len(columns), chosen, form, forced)
