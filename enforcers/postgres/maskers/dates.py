"""Dates cut down to their year, quarter, month, day or hour.

In text only the ISO form is read; any other (DateStyle is the session's) is refused before a row is sent, and becomes
NULL should it come all the same. A timestamptz is cut in UTC, in both formats, whatever the session's TimeZone is, and
shown with its offset +00. infinity and -infinity stay. Source: the send functions of date.c and timestamp.c
(days, or microseconds, since 2000-01-01) and EncodeDateTime of datetime.c for USE_ISO_DATES; Gregorian calendar
before its time, as there.
"""

from __future__ import annotations

import re
from typing import Final

from enforcers.postgres.maskers.base import Masker

_EPOCH: Final = 730_425  # days from 0000-03-01 to 2000-01-01
# 4713-01-01 BC. The year before is the first that any of the types knows, and only from November on: what falls into it
# becomes NULL.
_SECOND_YEAR: Final = -2_451_507
_DAY: Final = 86_400_000_000  # microseconds
_HOUR: Final = 3_600_000_000
_WORDS = frozenset({b"infinity", b"-infinity"})
_FORM = re.compile(
    rb"(\d{4,7})-(\d\d)-(\d\d)"
    rb"(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:([+-])(\d\d)(?::(\d\d)(?::(\d\d))?)?)?)?( BC)?"
)


def days_of(year: int, month: int, day: int) -> int:
    """Since 2000-01-01. year: astronomical, 0 is 1 BC. Counted in years that begin with March, so that the day that
    some years have more is their last."""
    if month <= 2:
        year -= 1
        month += 12
    months = (153 * (month - 3) + 2) // 5
    return 365 * year + year // 4 - year // 100 + year // 400 + months + day - 1 - _EPOCH


def date_of(days: int) -> tuple[int, int, int]:
    """(year, month, day) of days since 2000-01-01."""
    days += _EPOCH
    era, day_of_era = days // 146_097, days % 146_097
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    return year + era * 400 + (1 if month <= 2 else 0), month, day


def first_month(unit: str, month: int) -> int:
    if unit == "year":
        return 1
    return month - (month - 1) % 3 if unit == "quarter" else month


def cut_days(unit: str, days: int) -> int:
    """unit: year, quarter or month."""
    year, month, _ = date_of(days)
    return days_of(year, first_month(unit, month), 1)


def cut_microseconds(unit: str, moment: int) -> int:
    if unit == "hour":
        return moment - moment % _HOUR
    days = moment // _DAY
    return (days if unit == "day" else cut_days(unit, days)) * _DAY


class CutBinary(Masker):
    """length: 4 for a date, 8 for the timestamps."""

    def __init__(self, unit: str, length: int) -> None:
        self._unit = unit
        self._length = length
        self._last = (1 << (8 * length - 1)) - 1

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        if end - start != self._length:
            return None
        value = int.from_bytes(data[start:end], "big", signed=True)
        if value == self._last or value == -self._last - 1:
            return data[start:end]
        cut = cut_days(self._unit, value) if self._length == 4 else cut_microseconds(self._unit, value)
        if cut < _SECOND_YEAR * (1 if self._length == 4 else _DAY):
            return None
        return cut.to_bytes(self._length, "big", signed=True)


class CutText(Masker):
    """kind: date, timestamp or timestamptz."""

    def __init__(self, unit: str, kind: str) -> None:
        self._unit = unit
        self._kind = kind
        self._plain = kind == "date"

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        if self._plain and end - start == 10 and _is_date(data, start):
            if self._unit == "year":
                return data[start : start + 4] + b"-01-01"
            if self._unit == "month":
                return data[start : start + 8] + b"01"
        value = data[start:end]
        if value in _WORDS:
            return value
        found = _FORM.fullmatch(value)
        if found is None:
            return None
        year, month, day, hour, minute, second, _, sign, hours, minutes, seconds, before = found.groups()
        if (hour is None) != (self._kind == "date") or (sign is None) != (self._kind != "timestamptz"):
            return None
        if sign is not None:
            away = (int(hours) * 60 + int(minutes or b"0")) * 60 + int(seconds or b"0")
            numbered = 1 - int(year) if before else int(year)
            clock = (int(hour) * 60 + int(minute)) * 60 + int(second) + (away if sign == b"-" else -away)
            return _in_utc(self._unit, days_of(numbered, int(month), int(day)) * _DAY + clock * 1_000_000)
        unit = self._unit
        if before and int(year) >= 4714:
            return None
        if unit in ("year", "quarter", "month"):
            month, day = b"%02d" % first_month(unit, int(month)), b"01"
        time = b"" if hour is None else b" %b:00:00" % (hour if unit == "hour" else b"00")
        return year + b"-" + month + b"-" + day + time + (before or b"")


def _is_date(data: bytes, start: int) -> bool:
    """Ten bytes, YYYY-MM-DD: what nearly every date is."""
    for index in range(10):
        byte = data[start + index]
        if (byte != 45) if index in (4, 7) else not 48 <= byte <= 57:
            return False
    return True


def _in_utc(unit: str, moment: int) -> bytes | None:
    moment = cut_microseconds(unit, moment)
    if moment < _SECOND_YEAR * _DAY:
        return None
    year, month, day = date_of(moment // _DAY)
    shown = 1 - year if year <= 0 else year
    hour = moment % _DAY // _HOUR
    return b"%04d-%02d-%02d %02d:00:00+00%b" % (shown, month, day, hour, b" BC" if year <= 0 else b"")
