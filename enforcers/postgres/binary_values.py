"""Bound values in binary as the text PostgreSQL would read: only for EXPLAIN, never for what is forwarded.

Source: the send functions of PostgreSQL's types (src/backend/utils/adt), which the protocol calls their binary
representation. A type, or a form of one, that is not listed here is None: its estimate is then unknown.
"""

from __future__ import annotations

import datetime
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal

_EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_INFINITIES = {2**63 - 1, -(2**63), 2**31 - 1, -(2**31)}  # of timestamps and dates
_MAX_ITEMS = 1000
_SIGNS = {0: "", 0x4000: "-"}


def text_of(type_oid: int, content: bytes) -> str | None:
    """None where it can't be told with certainty."""
    reader = _READERS.get(type_oid)
    try:
        return reader(content) if reader is not None else None
    except (struct.error, ValueError, OverflowError, IndexError):
        return None


def _integer(size: int) -> Callable[[bytes], str | None]:
    def read(content: bytes) -> str | None:
        return str(int.from_bytes(content, "big", signed=True)) if len(content) == size else None

    return read


def _boolean(content: bytes) -> str | None:
    return {b"\x00": "f", b"\x01": "t"}.get(content)


def _float(form: str) -> Callable[[bytes], str | None]:
    def read(content: bytes) -> str | None:
        return repr(struct.unpack(form, content)[0])

    return read


def _numeric(content: bytes) -> str | None:
    """Digits of base 10000, the weight of the first, a sign, a display scale."""
    count, weight, sign, _ = struct.unpack_from("!hhHh", content)
    if sign not in _SIGNS or count < 0 or len(content) != 8 + 2 * count or abs(weight) > 1000:
        return None
    value = Decimal(0)
    for index, digit in enumerate(struct.unpack_from(f"!{count}h", content, 8)):
        value += Decimal(digit).scaleb(4 * (weight - index))
    return _SIGNS[sign] + format(value, "f")


def _uuid(content: bytes) -> str | None:
    return str(uuid.UUID(bytes=content)) if len(content) == 16 else None


def _date(content: bytes) -> str | None:
    (days,) = struct.unpack("!i", content)
    return None if days in _INFINITIES else (_EPOCH.date() + datetime.timedelta(days=days)).isoformat()


def _timestamp(content: bytes) -> str | None:
    (micros,) = struct.unpack("!q", content)
    return None if micros in _INFINITIES else (_EPOCH + datetime.timedelta(microseconds=micros)).isoformat()


def _text(content: bytes) -> str | None:
    return content.decode()


def _array(element: int) -> Callable[[bytes], str | None]:
    """Of one dimension; each element quoted, so that it means itself."""

    def read(content: bytes) -> str | None:
        dimensions, _, found = struct.unpack_from("!iiI", content)
        if dimensions == 0:
            return "{}"
        count, lower = struct.unpack_from("!ii", content, 12)
        if dimensions != 1 or lower != 1 or found != element or not 0 <= count <= _MAX_ITEMS:
            return None
        items, position = [], 20
        for _ in range(count):
            (length,) = struct.unpack_from("!i", content, position)
            position += 4
            if length < 0:
                items.append("NULL")
                continue
            item = text_of(element, content[position : position + length])
            if item is None or position + length > len(content):
                return None
            items.append('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"')
            position += length
        return "{" + ",".join(items) + "}"

    return read


_READERS: dict[int, Callable[[bytes], str | None]] = {
    16: _boolean,
    20: _integer(8),
    21: _integer(2),
    23: _integer(4),
    700: _float("!f"),
    701: _float("!d"),
    1700: _numeric,
    2950: _uuid,
    1082: _date,
    1114: _timestamp,
    1184: _timestamp,
    19: _text,
    25: _text,
    1042: _text,
    1043: _text,
}
_READERS |= {
    array: _array(element)
    for array, element in (
        (1005, 21), (1007, 23), (1016, 20), (1009, 25), (1015, 1043), (1021, 700), (1022, 701),
        (1231, 1700), (2951, 2950), (1182, 1082), (1115, 1114), (1185, 1184),
    )
}  # fmt: skip
