"""Binary bound values, read as PostgreSQL itself would print them."""

from __future__ import annotations

import math
import shutil
import struct
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.cli.demo.database import Database, scratch_folder
from decision.showing import values


@pytest.fixture(scope="module")
def server() -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    folder = scratch_folder("twokey-values-")
    database = Database(folder / "postgresql")
    try:
        database.start()
        password = database.admin_password
        with psycopg.connect(
            database.url("postgres"), user="postgres", password=password, autocommit=True
        ) as connection:
            yield connection
    finally:
        database.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("type_name", "literals"),
    [
        ("int2", ["0", "-32768"]),
        ("int4", ["50007", "-1", "2147483647"]),
        ("int8", ["9223372036854775807", "-9223372036854775808"]),
        ("oid", ["4294967295"]),
        ("numeric", ["0", "0.00", "-12345.6700", "1e20", "0.00001234", "10000", "NaN", "123456789.987654321", "1e-9"]),
        ("float4", ["1.5", "0.1", "16777216", "NaN"]),
        ("float8", ["1.5", "0.1", "-Infinity"]),
        ("text", ["", "Zoë 漢字"]),
        ("varchar", ["x"]),
        ("bytea", ["\\x00ff"]),
        ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        ("date", ["2026-11-22", "1970-01-01", "infinity"]),
        ("timestamp", ["2026-11-22 13:00:00", "1999-12-31 23:59:59.5", "-infinity"]),
        ("json", ['{"a": 1}']),
        ("jsonb", ['{"a": [1, null]}']),
    ],
)
def test_what_the_server_sends_in_binary_reads_as_what_it_prints(
    server: psycopg.Connection[tuple[object, ...]], type_name: str, literals: list[str]
) -> None:
    for literal in literals:
        cast = f"SELECT '{literal}'::{type_name}"
        sent = server.pgconn.exec_params(cast.encode(), [], result_format=1)
        printed = server.pgconn.exec_params(cast.encode(), [], result_format=0).get_value(0, 0)
        data = sent.get_value(0, 0)
        assert data is not None
        assert printed is not None
        found = values.decoded(sent.ftype(0), data)
        assert found is not None, literal
        if "float" in type_name and literal not in {"NaN", "-Infinity"}:
            assert float(found) == float(printed)
        else:
            assert found == printed.decode(), literal


def test_a_bool_and_a_moment_with_its_zone() -> None:
    assert values.decoded(16, b"\x01") == "true"
    assert values.decoded(16, b"\x02") is None
    micros = int((datetime(2026, 1, 1, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    assert values.decoded(1184, struct.pack("!q", micros)) == "2026-01-01 00:00:00+00"


def test_moments_beyond_the_calendar_stay_bytes() -> None:
    assert values.decoded(1082, struct.pack("!i", 2**31 - 2)) is None
    assert values.text(1082, struct.pack("!i", 2**31 - 2), binary=True) == "binary \\x7ffffffe"


@given(st.sampled_from(sorted(values.NAMES)), st.binary(max_size=40))
def test_no_bytes_break_it(type_oid: int, data: bytes) -> None:
    assert isinstance(values.text(type_oid, data, binary=True), str)
    assert isinstance(values.text(type_oid, data, binary=False), str)


def test_digits_that_the_scale_would_hide_are_shown() -> None:
    hiding = struct.pack("!hhHHhh", 2, 0, 0, 0, 1, 5000)  # 1.5 with a display scale of 0
    assert values.decoded(1700, hiding) == "1.5000"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_numerics_as_psycopg_sends_them(number: Decimal) -> None:
    dumped = psycopg.adapt.Transformer().get_dumper(number, psycopg.adapt.PyFormat.BINARY)
    data = dumped.dump(number)
    assert data is not None
    found = values.decoded(1700, bytes(data))
    assert found is not None
    assert Decimal(found) == number


@given(st.floats(width=32))
def test_floats_come_back(number: float) -> None:
    found = values.decoded(700, struct.pack("!f", number))
    assert found is not None
    assert math.isnan(number) if found == "NaN" else struct.pack("!f", float(found)) == struct.pack("!f", number)


@given(st.dates())
def test_dates_come_back(day: date) -> None:
    data = struct.pack("!i", (day - date(2000, 1, 1)).days)
    assert values.decoded(1082, data) == day.isoformat()


@given(st.uuids())
def test_uuids_come_back(number: uuid.UUID) -> None:
    assert values.decoded(2950, number.bytes) == str(number)


def test_a_longer_value_than_the_type_has_stays_bytes() -> None:
    assert values.decoded(23, b"\0" * 5) is None
    assert values.decoded(700, b"\0" * 5) is None
    assert values.decoded(2950, b"\0" * 5) is None
    assert values.decoded(1700, b"\0" * 7) is None
    assert values.decoded(3802, b"\x02{}") is None
