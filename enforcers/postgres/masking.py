"""Masks columns of DataRows, in text and in binary format, and touches no other byte.

Source: PostgreSQL documentation, "DataRow" in "Message Formats". Fixed texts and keep-last-n are for types whose text
and binary forms are both the bytes of the string; for any other type only NULL can be given without lying about the
type, so another masker is refused before a row is sent (`UnmaskableError`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from enforcers.core.errors import EnforcerError, ProtocolError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres import wire

# text, varchar, bpchar, name, char-array literal "unknown". citext has no fixed oid: its name comes from the catalog.
TEXT_TYPES = frozenset({25, 1043, 1042, 19})

Masker = Callable[[bytes], bytes | None]


class UnmaskableError(EnforcerError):
    """A masker can't be carried out on this column; nothing of the row was sent."""


def masker_of(column: MaskedColumn, *, type_oid: int, text_types: frozenset[int] = TEXT_TYPES) -> Masker:
    """The function that rewrites one non-NULL value. Raises UnmaskableError."""
    if column.masker == "null":
        return _null
    if type_oid not in text_types:
        raise UnmaskableError(
            f"masker {column.masker} can't be applied to {column.relation}.{column.column}: it is not a text column"
        )
    if column.masker == "fixed":
        fixed = column.text.encode()
        return lambda _value: fixed
    if column.masker == "keep-last":
        return _keep_last(column.keep, column.fill)
    raise UnmaskableError(f"unknown masker {column.masker!r}")


def _null(_value: bytes) -> None:
    return None


def _keep_last(keep: int, fill: str) -> Masker:
    """Characters, not bytes; the length is kept. A value no longer than `keep` is wholly filled: else it would pass."""
    if keep < 0 or len(fill) != 1:
        raise UnmaskableError("keep-last needs a number of characters and one filling character")

    def mask(value: bytes) -> bytes:
        text = value.decode("utf-8", "replace")
        if len(text) <= keep:
            return (fill * len(text)).encode()
        shown = text[len(text) - keep :]
        return (fill * (len(text) - keep) + shown).encode()

    return mask


class RowMasker:
    """Rewrites DataRows of one result. `fields` counts the values replaced (a NULL was never one)."""

    __slots__ = ("_by_column", "_columns", "fields")

    def __init__(self, columns: int, by_column: dict[int, Masker]) -> None:
        self._columns = columns
        self._by_column = by_column
        self.fields = 0

    def rewrite(self, raw: bytes) -> bytes:
        """A DataRow frame, masked. Raises ProtocolError when it has another number of columns than described."""
        values: list[bytes | None] = wire.parse_data_row(raw)
        if len(values) != self._columns:
            raise ProtocolError("a row has another number of columns than its description")
        for index, masker in self._by_column.items():
            value = values[index]
            if value is not None:
                values[index] = masker(value)
                self.fields += 1
        return wire.data_row(values)


def row_masker(
    columns: Sequence[tuple[MaskedColumn | None, int]], *, text_types: frozenset[int] = TEXT_TYPES
) -> RowMasker:
    """A masker for rows of these columns, each (the mask or None, its type oid). Raises UnmaskableError."""
    chosen = {
        index: masker_of(column, type_oid=type_oid, text_types=text_types)
        for index, (column, type_oid) in enumerate(columns)
        if column is not None
    }
    return RowMasker(len(columns), chosen)
