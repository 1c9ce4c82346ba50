"""Bound values as a reviewer reads them: the number that was sent, not its bytes.

Clients send values as text or in PostgreSQL's binary form (protocol chapter "Formats and Format Codes"; the binary
layouts are those of the types' send functions). Only what decodes whole is shown decoded; anything else is bytes.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

MAX_NUMERIC_DIGITS = 2000  # groups of four; a longer one is bytes

# Type OIDs as in pg_type.dat, stable over all versions.
NAMES = {
    16: "bool",
    17: "bytea",
    18: "char",
    19: "name",
    20: "int8",
    21: "int2",
    23: "int4",
    25: "text",
    26: "oid",
    114: "json",
    142: "xml",
    700: "float4",
    701: "float8",
    705: "unknown",
    1042: "bpchar",
    1043: "varchar",
    1082: "date",
    1114: "timestamp",
    1184: "timestamptz",
    1700: "numeric",
    2950: "uuid",
    3802: "jsonb",
}
_TEXT = {18, 19, 25, 114, 142, 705, 1042, 1043}
_INTEGER = {20: 8, 21: 2, 23: 4}
# Drawn without quotes: their spelling can't be mistaken for anything else.
PLAIN = {16, 20, 21, 23, 26, 700, 701, 1082, 1114, 1184, 1700, 2950}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def type_name(type_oid: int) -> str:
    return NAMES.get(type_oid, f"type {type_oid}") if type_oid else "type left to the server"


def text(type_oid: int, data: bytes, *, binary: bool) -> str:
    """The whole value as text; what can't be decoded as `binary \\x…`. The caller escapes it for its terminal."""
    if not binary:
        return data.decode("utf-8", errors="backslashreplace")
    found = decoded(type_oid, data)
    return found if found is not None else f"binary \\x{data.hex()}"


def decoded(type_oid: int, data: bytes) -> str | None:
    """A value in binary form as PostgreSQL would print it; None where the type is not known here, or the bytes are not
    one of its values."""
    try:
        if type_oid in _TEXT:
            return data.decode("utf-8")
        if type_oid in _INTEGER:
            return str(int.from_bytes(data, "big", signed=True)) if len(data) == _INTEGER[type_oid] else None
        decoder = _DECODERS.get(type_oid)
        return decoder(data) if decoder is not None else None
    except (ValueError, struct.error, OverflowError):
        return None


def _bool(data: bytes) -> str | None:
    return {b"\0": "false", b"\1": "true"}.get(data)


def _bytea(data: bytes) -> str:
    return f"\\x{data.hex()}"


def _oid(data: bytes) -> str:
    return str(struct.unpack("!I", data)[0])


def _float4(data: bytes) -> str:
    number: float = struct.unpack("!f", data)[0]
    return _float(number, next((f"{number:.{digits}g}" for digits in range(6, 9) if _same4(number, digits)), ""))


def _same4(number: float, digits: int) -> bool:
    try:
        return bool(struct.unpack("!f", struct.pack("!f", float(f"{number:.{digits}g}")))[0] == number)
    except OverflowError:
        return False


def _float8(data: bytes) -> str:
    return _float(struct.unpack("!d", data)[0])


def _float(number: float, shortest: str = "") -> str:
    if number != number:  # noqa: PLR0124 - what NaN is
        return "NaN"
    if number in {float("inf"), float("-inf")}:
        return "Infinity" if number > 0 else "-Infinity"
    return shortest or repr(number)


def _numeric(data: bytes) -> str | None:
    """Base-10000 digits with a weight, a sign and a display scale (numeric_send)."""
    count, weight, sign, scale = struct.unpack_from("!hhHH", data)
    special = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}.get(sign)
    if special is not None:
        return special
    if sign not in {0, 0x4000} or not 0 <= count <= MAX_NUMERIC_DIGITS or len(data) != 8 + 2 * count:
        return None
    if abs(weight) > MAX_NUMERIC_DIGITS or scale > 4 * MAX_NUMERIC_DIGITS:
        return None
    groups = struct.unpack_from(f"!{count}h", data, 8)
    if any(not 0 <= group <= 9999 for group in groups):
        return None

    def group(power: int) -> str:
        place = weight - power
        return f"{groups[place]:04d}" if 0 <= place < count else "0000"

    whole = "".join(group(power) for power in range(max(weight, 0), -1, -1)).lstrip("0") or "0"
    fraction = "".join(group(power) for power in range(-1, -(scale + 3) // 4 - 1, -1))
    # Digits that the scale would hide are shown: hiding them could hide a value's meaning.
    lowest = "".join(group(power) for power in range(-1, weight - count, -1))
    shown = (lowest if len(lowest.rstrip("0")) > scale else fraction[:scale]).ljust(scale, "0")
    return ("-" if sign else "") + whole + (f".{shown}" if shown else "")


def _uuid(data: bytes) -> str:
    return str(uuid.UUID(bytes=data))


def _jsonb(data: bytes) -> str | None:
    return data[1:].decode("utf-8") if data[:1] == b"\1" else None


def _date(data: bytes) -> str:
    days: int = struct.unpack("!i", data)[0]
    if days in {2**31 - 1, -(2**31)}:
        return "infinity" if days > 0 else "-infinity"
    return (date(2000, 1, 1) + timedelta(days=days)).isoformat()


def _moment(data: bytes) -> datetime | str:
    micros: int = struct.unpack("!q", data)[0]
    if micros in {2**63 - 1, -(2**63)}:
        return "infinity" if micros > 0 else "-infinity"
    return _EPOCH + timedelta(microseconds=micros)


def _timestamp(data: bytes) -> str:
    moment = _moment(data)
    return moment if isinstance(moment, str) else _printed(moment)


def _timestamptz(data: bytes) -> str:
    moment = _moment(data)
    return moment if isinstance(moment, str) else f"{_printed(moment)}+00"


def _printed(moment: datetime) -> str:
    text = moment.replace(tzinfo=None).isoformat(sep=" ")
    return text.rstrip("0") if moment.microsecond else text


_DECODERS: dict[int, Callable[[bytes], str | None]] = {
    16: _bool,
    17: _bytea,
    26: _oid,
    700: _float4,
    701: _float8,
    1082: _date,
    1114: _timestamp,
    1184: _timestamptz,
    1700: _numeric,
    2950: _uuid,
    3802: _jsonb,
}
