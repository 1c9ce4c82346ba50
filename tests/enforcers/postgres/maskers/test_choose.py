"""Each masker on each type in both formats: a value of that type which the real server takes back, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from enforcers.core.ports import MaskedColumn
from enforcers.postgres.maskers.base import UnmaskableError
from enforcers.postgres.maskers.choose import TYPES, masker_of, misfit
from tests.enforcers.postgres.conftest import Postgres

KEY = bytes(range(32))
COLUMN = MaskedColumn(schema="s", relation="r", column="c", label="pii", masker="null")
MASKS = {
    "null": COLUMN,
    "fixed": replace(COLUMN, masker="fixed", text="gone"),
    "keep-last": replace(COLUMN, masker="keep-last", keep=2),
    "hash": replace(COLUMN, masker="hash"),
    "email": replace(COLUMN, masker="email"),
    **{f"to {unit}": replace(COLUMN, masker="truncate-date", unit=unit) for unit in ("year", "quarter", "month")},
    **{f"to {unit}": replace(COLUMN, masker="truncate-date", unit=unit) for unit in ("day", "hour")},
    "bucket 7": replace(COLUMN, masker="bucket", size=7),
    "bucket 1000": replace(COLUMN, masker="bucket", size=1000),
    "json": replace(COLUMN, masker="json", paths=(("a", "b"), ("list", "*", "é"), ("x",))),
}
TEXTS = ("", "x", "anna@example.org", "anna@example.secretword", "ä€𝄞ß", "4111 1111 1111 1234", "a@b@c.org", "  pad ")
DATES = ("2024-02-29", "1999-12-31", "0044-03-15 BC", "0001-01-01", "infinity", "-infinity", "20000-07-04")
DATES += ("4713-01-01 BC", "4714-11-24 BC")
MOMENTS = tuple(date + ("" if "inf" in date else " 23:59:59.999999") for date in DATES if "BC" not in date)
MOMENTS += ("0044-03-15 11:22:33 BC", "2024-03-31 03:30:00", "1850-06-01 12:00:00", "1999-12-31 22:00:00.5")
INTEGERS = ("0", "-1", "1", "6", "999", "1000", "-1001", "32767", "-32768")
NUMBERS = (*INTEGERS, "1234.56", "-0.01", "0.000", "-999.99", "NaN", "9999", "10000", "99999999", "100000000.5")
DOCUMENTS = (
    '{"a": {"b": "secret", "c": 1e400}, "x": 12.50}',
    '{"list": [{"é": 1}, {"\\u00e9": "secret", "k": [1, 2]}], "a": "secret"}',
    '[{"x": "secret"}, [{"x": "secret"}], "secret"]',
    '"secret"',
    "null",
    "{}",
    '{"x": {"deep": ["secret", {"y\\\\": "}"}]}, "list": []}',
)
SAMPLES: dict[str, tuple[str, ...]] = {
    "text": TEXTS,
    "character varying": TEXTS,
    "character varying(20)": TEXTS,
    "character(24)": TEXTS,
    "name": TEXTS,
    "smallint": INTEGERS,
    "integer": (*INTEGERS, "2147483647", "-2147483648"),
    "bigint": (*INTEGERS, "9223372036854775807", "-9223372036854775808"),
    "numeric": (*NUMBERS, "1e300", "-123456789012345678901234567890.123456789", "1e-20"),
    "numeric(7,2)": tuple(number for number in NUMBERS if len(number) < 8),
    "real": ("0", "-0.5", "1234.5", "NaN", "Infinity", "-Infinity", "3.4e38", "1e-30", "16777217"),
    "double precision": ("0", "-1234.5", "NaN", "Infinity", "-Infinity", "1e300", "-1e-300", "123456789.25"),
    "date": DATES,
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS,
    "json": DOCUMENTS,
    "jsonb": tuple(document for document in DOCUMENTS if "1e400" not in document),
    "uuid": ("00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "bytea": ("\\x", "\\x00ff5c27", "plain \\\\ text"),
}
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        yield connection


def asked(server: psycopg.Connection[Any], sql: str, *values: tuple[bytes | None, bool], binary: bool = False) -> Any:
    """(type oid, modifier, rows): parameters and rows as the wire has them. values: (bytes, binary?)."""
    done = server.pgconn.exec_params(
        sql.encode(),
        [value for value, _ in values],
        param_formats=[int(sent) for _, sent in values],
        result_format=int(binary),
    )
    assert done.status == psycopg.pq.ExecStatus.TUPLES_OK, (sql, values, done.error_message)
    rows = [done.get_value(row, 0) for row in range(done.ntuples)]
    return done.ftype(0), done.fmod(0), rows


def column_of(server: psycopg.Connection[Any], kind: str, values: tuple[str, ...], *, binary: bool) -> Any:
    quoted = ", ".join("('" + value.replace("'", "''") + f"'::{kind})" for value in values)
    return asked(server, f"SELECT v::{kind} FROM (VALUES {quoted}) q(v)", binary=binary)


def masked(
    server: psycopg.Connection[Any], kind: str, mask: MaskedColumn, *, binary: bool
) -> list[bytes | None] | None:
    """The type's samples, masked in this format; None where the masker is refused."""
    oid, modifier, rows = column_of(server, kind, SAMPLES[kind], binary=binary)
    if misfit(mask, oid, modifier, keyed=True):
        with pytest.raises(UnmaskableError, match=r"s\.r\.c"):
            masker_of(mask, type_oid=oid, modifier=modifier, binary=binary, key=KEY)
        return None
    masker = masker_of(mask, type_oid=oid, modifier=modifier, binary=binary, key=KEY)
    surrounded = [masker.mask(b"<<" + row + b">>", 2, 2 + len(row)) for row in rows]
    assert surrounded == [masker(row) for row in rows]  # nothing but its own bytes is looked at
    return surrounded


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("kind", SAMPLES)
def test_the_server_takes_back_what_is_masked_in_both_formats(
    server: psycopg.Connection[Any], kind: str, name: str
) -> None:
    """`$1::type` as it came, in text and in binary: one meaning, shown by the server's own output."""
    shown = []
    for binary in (False, True):
        values = masked(server, kind, MASKS[name], binary=binary)
        if values is None:
            shown.append(None)
            continue
        texts = []
        for value in values:
            _, _, rows = asked(server, f"SELECT ($1::{kind})::text", (value, binary))
            texts.append(rows[0])
            if value is not None:  # it fits the column without being cut
                again = asked(server, f"SELECT $1::{kind}", (value, binary), binary=binary)[2][0]
                assert again == value or kind in {"timestamptz", "bytea", "real", "double precision"}
        shown.append(texts)
    assert shown[0] == shown[1]
    if shown[0] is not None:
        assert not any(b"secret" in text for text in shown[0] if text is not None)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", ["year", "quarter", "month", "day", "hour"])
@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_dates_are_cut_as_the_server_cuts_them(
    server: psycopg.Connection[Any], kind: str, unit: str, zone: str
) -> None:
    mask = MASKS[f"to {unit}"]
    if kind == "date" and unit in {"day", "hour"}:
        return
    server.execute(f"SET TimeZone = '{zone}'")
    try:
        for binary in (False, True):
            values = masked(server, kind, mask, binary=binary)
            _, _, rows = column_of(server, kind, SAMPLES[kind], binary=binary)
            assert values is not None
            for value, row in zip(values, rows, strict=True):
                if value is None:
                    assert asked(server, f"SELECT extract(year FROM $1::{kind}) < -4712", (row, binary))[2] == [b"t"]
                    continue
                utc = ", 'UTC'" if kind == "timestamptz" else ""
                sql = f"SELECT date_trunc('{unit}', $1::{kind}{utc})::{kind} = $2::{kind}"
                assert asked(server, sql, (row, binary), (value, binary))[2] == [b"t"], (row, value)
    finally:
        server.execute("RESET TimeZone")


@pytest.mark.parametrize(
    "kind", ["smallint", "integer", "bigint", "numeric", "numeric(7,2)", "real", "double precision"]
)
@pytest.mark.parametrize("size", [2, 7, 1000, 2**31 - 1])
def test_numbers_go_into_the_bucket_towards_zero(server: psycopg.Connection[Any], kind: str, size: int) -> None:
    mask = replace(COLUMN, masker="bucket", size=size)
    for binary in (False, True):
        values = masked(server, kind, mask, binary=binary)
        _, _, rows = column_of(server, kind, SAMPLES[kind], binary=binary)
        assert values is not None
        for value, row in zip(values, rows, strict=True):
            shown = asked(server, f"SELECT $1::{kind}::text", (row, binary))[2][0]
            if shown in {b"NaN", b"Infinity", b"-Infinity"}:
                assert value == row
            elif kind in {"real", "double precision"}:
                number, found = float(shown), float(asked(server, f"SELECT $1::{kind}::float8", (value, binary))[2][0])
                assert abs(found) <= abs(number)
                assert found == pytest.approx(number - math.fmod(number, size), rel=1e-6)
            else:
                sql = f"SELECT div($1::numeric, {size}) * {size} = $2::{kind}::numeric"
                assert asked(server, sql, (shown, False), (value, binary))[2] == [b"t"], (row, value)
                if kind.startswith("numeric"):
                    scales = f"SELECT scale($1::{kind}) = scale($2::{kind})"
                    assert asked(server, scales, (row, binary), (value, binary))[2] == [b"t"]


def test_equal_values_have_equal_hashes_and_others_do_not(server: psycopg.Connection[Any]) -> None:
    for kind in ("text", "character varying", "name", "bigint", "uuid"):
        values = masked(server, kind, MASKS["hash"], binary=False)
        assert values is not None
        assert len(set(values)) == len(set(SAMPLES[kind]))
    assert masked(server, "text", MASKS["hash"], binary=False) == masked(server, "name", MASKS["hash"], binary=True)
    server.execute("SET bytea_output = 'escape'")
    escaped = masked(server, "bytea", MASKS["hash"], binary=False)
    server.execute("RESET bytea_output")
    assert escaped == masked(server, "bytea", MASKS["hash"], binary=False)
    padded = masker_of(MASKS["hash"], type_oid=1042, modifier=40 + 4, key=KEY)
    short = masker_of(MASKS["hash"], type_oid=25, key=KEY)
    assert (padded(b"anna" + b" " * 36) or b"").rstrip() == short(b"anna")
    other = masker_of(MASKS["hash"], type_oid=25, key=KEY[::-1])
    assert other(b"anna") != short(b"anna")


def test_every_built_in_type_is_masked_by_null_and_else_only_by_what_fits(server: psycopg.Connection[Any]) -> None:
    types = server.execute(
        "SELECT oid::int, typname FROM pg_type WHERE oid < 16384 AND typtype IN ('b', 'r', 'm', 'c', 'e')"
    ).fetchall()
    assert len(types) > 200
    known = {column_of(server, kind, values[:1], binary=False)[0] for kind, values in SAMPLES.items()}
    for oid, name in types:
        assert misfit(COLUMN, oid, -1, keyed=False) == ""
        assert masker_of(COLUMN, type_oid=oid)(b"anything") is None
        for mask in MASKS.values():
            fits = mask.masker == "null" or oid in TYPES[mask.masker]
            if oid == 1082 and mask.unit in {"day", "hour"}:
                fits = False
            assert (misfit(mask, oid, -1, keyed=True) == "") == fits, (name, mask)
            assert not fits or mask.masker == "null" or oid in known, name  # then it is among the samples above
            if not fits:
                for binary in (False, True):
                    with pytest.raises(UnmaskableError):
                        masker_of(mask, type_oid=oid, binary=binary, key=KEY)


@pytest.mark.parametrize(
    ("mask", "type_oid", "modifier", "says"),
    [
        (MASKS["fixed"], 1043, 3 + 4, "needs 4 characters, the type holds 3"),
        (MASKS["hash"], 1042, 15 + 4, "needs 16 characters, the type holds 15"),
        (MASKS["email"], 1043, 12 + 4, "needs 13 characters, the type holds 12"),
        (replace(MASKS["fixed"], text="x" * 63), 19, -1, "63 bytes"),
        (replace(MASKS["keep-last"], fill="·"), 19, -1, "ASCII"),
        (MASKS["to day"], 1082, -1, "would leave a date as it is"),
        (MASKS["email"], 23, -1, "is for character types; null fits every type"),
        (replace(COLUMN, masker="rot13"), 25, -1, "there is no masker 'rot13'"),
    ],
)
def test_what_the_type_can_not_hold_is_refused(mask: MaskedColumn, type_oid: int, modifier: int, says: str) -> None:
    assert says in misfit(mask, type_oid, modifier, keyed=True)
    with pytest.raises(UnmaskableError, match="label pii"):
        masker_of(mask, type_oid=type_oid, modifier=modifier, key=KEY)


def test_a_hash_without_a_key_is_refused() -> None:
    for oid in (25, 20, 2950, 17):
        assert "masking.key" in misfit(MASKS["hash"], oid, -1, keyed=False)
        with pytest.raises(UnmaskableError, match=r"masking\.key"):
            masker_of(MASKS["hash"], type_oid=oid)


def test_a_place_is_named_by_its_number() -> None:
    with pytest.raises(UnmaskableError, match="column 3 of the result"):
        masker_of(MaskedColumn(label="pii", masker="email", position=3), type_oid=23)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("anna@example.org", "a***@***.org"),
        ("Anna.Lee@mail.example.DE", "A***@***.de"),
        ("a@b.com", "***@***.com"),
        ("äa@b.com", "***@***.com"),
        ("_x@b.com", "***@***.com"),
        ("xy@b.secretword", "x***@***.***"),
        ("xy@b.***", "x***@***.***"),
        ("xy@b.1a", "x***@***.***"),
        ("xy@b.", "x***@***.***"),
        ("xy@.com", "***"),
        ("x.y@com", "***"),
        ("@b.com", "***"),
        ("xy@b.com@c.org", "***"),
        ("4111111111111234", "***"),
        ("", "***"),
    ],
)
def test_of_an_address_only_what_is_said_is_kept(value: str, shown: str) -> None:
    for width in (0, 30):
        masker = masker_of(MASKS["email"], type_oid=1042 if width else 25, modifier=width + 4 if width else -1)
        assert (masker(value.ljust(width).encode()) or b"").decode() == shown.ljust(width)
    many = [masker_of(MASKS["email"], type_oid=25)(f"xy@b.{n:04}".encode()) for n in range(2000)]
    assert set(many) == {b"x***@***.***"}
