"""Buckets: a number becomes the multiple of `size` next to it towards zero, so the result never leaves its type.

NaN and the infinities stay what they are. A numeric keeps its display scale: 1234.56 in thousands is 1000.00.
Source: numeric_send of src/backend/utils/adt/numeric.c for the binary form (digits of base 10000, the weight of the
first, sign, display scale).
"""

from __future__ import annotations

import math
import struct

from enforcers.postgres.maskers.base import Masker

_NEGATIVE = 0x4000
_SPECIAL = frozenset({0xC000, 0xD000, 0xF000})  # NaN, Infinity, -Infinity
_WORDS = frozenset({b"NaN", b"Infinity", b"-Infinity"})
MAX_DIGITS = 4000  # of a numeric before the point; a longer one becomes NULL


def _truncated(value: int, size: int) -> int:
    return value - value % size if value >= 0 else -(-value - (-value) % size)


class BucketInteger(Masker):
    """length: bytes of the binary form; 0 for text."""

    def __init__(self, size: int, length: int) -> None:
        self._size = size
        self._length = length

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        length = self._length
        if length:
            if end - start != length:
                return None
            value = int.from_bytes(data[start:end], "big", signed=True)
            return _truncated(value, self._size).to_bytes(length, "big", signed=True)
        try:
            return str(_truncated(int(data[start:end]), self._size)).encode()
        except ValueError:
            return None


class BucketFloat(Masker):
    """length: bytes of the binary form, 4 or 8; 0 for text."""

    def __init__(self, size: int, length: int) -> None:
        self._size = float(size)
        self._length = length
        self._form = "!f" if length == 4 else "!d"

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        if self._length:
            if end - start != self._length:
                return None
            value: float = struct.unpack(self._form, data[start:end])[0]
            return data[start:end] if not math.isfinite(value) else struct.pack(self._form, self._bucket(value))
        try:
            value = float(data[start:end])
        except ValueError:
            return None
        return data[start:end] if not math.isfinite(value) else repr(self._bucket(value)).removesuffix(".0").encode()

    def _bucket(self, value: float) -> float:
        return value - math.fmod(value, self._size) + 0.0


class BucketNumericText(Masker):
    def __init__(self, size: int) -> None:
        self._size = size

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        value = data[start:end]
        if value in _WORDS:
            return value
        whole, dot, fraction = value.partition(b".")
        negative = whole.startswith(b"-")
        if negative:
            whole = whole[1:]
        if not whole.isdigit() or len(whole) > MAX_DIGITS or (dot and not fraction.isdigit()):
            return None
        number = int(whole)
        kept = str(number - number % self._size).encode()
        return (b"-" if negative and kept != b"0" else b"") + kept + dot + b"0" * len(fraction)


class BucketNumericBinary(Masker):
    def __init__(self, size: int) -> None:
        self._size = size

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        if end - start < 8:
            return None
        count, weight, sign, scale = struct.unpack_from("!HhHH", data, start)
        if sign in _SPECIAL:
            return data[start:end]
        if sign not in (0, _NEGATIVE) or end - start != 8 + 2 * count or weight >= MAX_DIGITS // 4:
            return None
        number = 0
        for index in range(weight + 1):
            at = start + 8 + 2 * index
            number = number * 10000 + ((data[at] << 8 | data[at + 1]) if index < count else 0)
        number -= number % self._size
        digits: list[int] = []
        while number:
            digits.append(number % 10000)
            number //= 10000
        weight = len(digits) - 1 if digits else 0
        digits.reverse()
        while digits and digits[-1] == 0:
            digits.pop()
        return struct.pack(f"!HhHH{len(digits)}H", len(digits), weight, sign if digits else 0, scale, *digits)
