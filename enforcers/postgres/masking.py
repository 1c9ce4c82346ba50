"""Masks columns of DataRows, in text and in binary format, and touches no other byte.

Source: PostgreSQL documentation, "DataRow" in "Message Formats". What stands in place of a value, and for which types,
is the maskers' part (maskers/choose.py); here a whole buffer of rows is walked in one loop, and what isn't masked is
copied in as few pieces as there are masked values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres.maskers.base import Masker, UnmaskableError
from enforcers.postgres.maskers.choose import masker_of
from enforcers.postgres.wire import FieldDescription

__all__ = ["Masker", "RowMasker", "UnmaskableError", "masker_of", "row_masker"]

_ROW: Final = 68  # D
_NULL: Final = 0xFFFFFFFF
_NULL_CELL: Final = b"\xff\xff\xff\xff"
# Lengths and headers of what is short, which is nearly all: making one anew costs more than all else of a value.
_SHORT: Final = 1024
_LENGTHS: Final[list[bytes]] = [length.to_bytes(4, "big") for length in range(_SHORT)]
_HEADERS: Final[list[bytes]] = [b"D" + length.to_bytes(4, "big") for length in range(_SHORT)]


class RowMasker:
    """Rewrites DataRows of one result. `fields` counts the values replaced (a NULL was never one)."""

    def __init__(self, columns: int, by_column: dict[int, Masker]) -> None:
        self.fields = 0
        self.kind = _ROW  # of the messages it rewrites
        self._columns = columns
        # Up to the last masked column: what stands behind it passes unread.
        self.walk: list[Masker | None] = [by_column.get(index) for index in range(max(by_column, default=-1) + 1)]
        self._alone = len(by_column) == 1

    def rewrite(self, raw: bytes) -> bytes:
        """A DataRow frame, masked. Raises ProtocolError when it is malformed, or of another width than described."""
        out: list[bytes] = []
        end, count = self.run(raw, 0, 1, len(raw), out)
        if count != 1 or end != len(raw):
            raise ProtocolError("malformed DataRow")
        return b"".join(out)

    def run(self, data: bytes, position: int, most: int, room: int, out: list[bytes]) -> tuple[int, int]:
        """Masks the whole DataRows that stand from `position` on into `out`: where they end, and how many they are.

        most, room: as of rows.run. What isn't masked is copied in as few slices as there are masked values. Raises
        ProtocolError; `out` is of no use then."""
        size, begin, count = len(data), position, 0
        while count < most and position + 7 <= size and data[position] == _ROW:
            length = data[position + 1] << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4]
            end = position + 1 + length
            if end > size or length > room:
                break
            if length < 6 or (data[position + 5] << 8 | data[position + 6]) != self._columns:
                raise ProtocolError("a row has another number of columns than its description")
            begin = self._row(data, position, end, begin, out)
            room -= length
            position = end
            count += 1
        if begin < position:
            out.append(data[begin:position])
        return position, count

    def _row(self, data: bytes, position: int, end: int, begin: int, out: list[bytes]) -> int:
        """One row, data[position:end]: all from `begin` on, up to behind its last masked value, goes to `out`. Where
        what is still to be copied begins."""
        header = -1  # where in `out` the row's own header is, once its length changes
        grown = 0
        at = position + 7
        for masker in self.walk:
            value = at + 4
            if value > end:
                raise ProtocolError("message ends too early")
            cell = data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]
            at = value if cell == _NULL else value + cell
            if at > end:
                raise ProtocolError("message ends too early")
            if masker is None or cell == _NULL:
                continue
            masked = masker.always if masker.constant else masker.mask(data, value, at)
            self.fields += 1
            if self._alone and masked is not None and len(masked) == cell:
                out.append(data[begin:value])
                out.append(masked)
                return at
            if header < 0:
                out.append(data[begin:position])
                header = len(out)
                out.append(b"")
                begin = position + 5
            if masked is None:
                out.append(data[begin : value - 4])
                out.append(_NULL_CELL)
                grown -= cell
            else:
                size = len(masked)
                if size == cell:  # its length stays, and what stands before it
                    out.append(data[begin:value])
                else:
                    out.append(data[begin : value - 4])
                    out.append(_LENGTHS[size] if size < _SHORT else size.to_bytes(4, "big"))
                    grown += size - cell
                out.append(masked)
            begin = at
        if header >= 0:
            length = end - position - 1 + grown
            out[header] = _HEADERS[length] if length < _SHORT else b"D" + length.to_bytes(4, "big")
        return begin


def row_masker(
    columns: Sequence[tuple[MaskedColumn | None, FieldDescription]], *, key: bytes | None = None
) -> RowMasker:
    """A masker for rows of these columns, each with what is to be done to it. key: the connection's, for hashes.

    Raises UnmaskableError."""
    chosen = {
        index: masker_of(column, type_oid=field.type, modifier=field.type_modifier, binary=field.format == 1, key=key)
        for index, (column, field) in enumerate(columns)
        if column is not None
    }
    return RowMasker(len(columns), chosen)
