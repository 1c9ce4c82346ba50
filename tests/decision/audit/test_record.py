"""decision.audit.record: one spelling for one fact."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from decision.audit import record

ascii_keys = st.text(st.characters(max_codepoint=127), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-record.MAX_INTEGER, record.MAX_INTEGER) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ascii_keys, inner, max_size=5),
    max_leaves=25,
)


@given(values)
def test_equals_the_reference_encoder(value: object) -> None:
    assert record.encode(value) == rfc8785.dumps(value)  # type: ignore[arg-type]  # the strategy makes JSON


@given(st.dictionaries(ascii_keys, values, max_size=6))
def test_reads_back_as_it_was(value: dict[str, object]) -> None:
    assert orjson.loads(record.encode(value)) == value


class _Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        2**53,
        -(2**53),
        2**70,
        {"é": 1},
        {1: 2},
        b"bytes",
        {"a": [0.5]},
        "\ud800",
        {"a": ("x", "\udfff")},
        datetime(2026, 1, 1, tzinfo=UTC),
        _Colour.RED,
        {_Colour.RED: 1},
        {"set": {1}},
    ],
    ids=repr,
)
def test_refuses_what_has_no_single_spelling(value: object) -> None:
    with pytest.raises(record.RecordFormatError):
        record.encode(value)


def test_refuses_deep_nesting() -> None:
    value: object = 0
    for _ in range(record.MAX_DEPTH + 2):
        value = [value]
    with pytest.raises(record.RecordFormatError):
        record.encode(value)


def test_a_body_cannot_set_the_header() -> None:
    for name in ("v", "index", "time", "kind"):
        with pytest.raises(record.RecordFormatError, match="header"):
            record.check_body("act", {name: 1})
    with pytest.raises(record.RecordFormatError, match="kind"):
        record.check_body("gossip", {})


@given(st.dictionaries(ascii_keys, values, max_size=6), st.dictionaries(ascii_keys, values, max_size=3))
def test_members_spelt_before_make_the_same_line(body: dict[str, object], more: dict[str, object]) -> None:
    whole = {**body, **more}
    spelt = {name: record.encode(value) for name, value in more.items()}
    if not {"v", "index", "time", "kind"}.isdisjoint(whole):
        with pytest.raises(record.RecordFormatError):
            record.with_spelt(body, spelt)
        return
    checked = record.with_spelt(body, spelt)
    assert record.line(5, "t", "decision", checked) == record.line(5, "t", "decision", whole)
    assert record.check_body("decision", checked) >= sum(map(len, spelt.values()))


@pytest.mark.parametrize("wrong", [1.5, 2**53, "\ud800", b"x", {"é": 1}])
def test_what_stands_beside_spelt_members_is_checked(wrong: object) -> None:
    with pytest.raises(record.RecordFormatError):
        record.with_spelt({"a": wrong}, {"b": b"1"})


@given(st.text(max_size=200))
def test_a_quoted_text_is_the_encoders(text: str) -> None:
    assert record.quoted(text).encode() == record.encode(text)
    assert record.quoted(text).encode() == record.encode(text)  # remembered


def test_a_text_without_spelling_is_not_quoted() -> None:
    for text in ("\ud800", "\ud800" * 200):
        with pytest.raises(record.RecordFormatError):
            record.quoted(text)


@given(st.text(max_size=60))
def test_no_text_can_forge_a_line(text: str) -> None:
    line = record.line(7, "t", "act", {"sub": text})
    assert line.count(b"\n") == 1
    assert b"\0" not in line
    payload = record.parse_line(line[:-1])
    assert payload is not None
    assert orjson.loads(payload) == {"v": 1, "index": 7, "time": "t", "kind": "act", "sub": text}


@given(st.binary(max_size=80), st.integers(0, 10_000))
def test_any_changed_byte_is_seen(noise: bytes, place: int) -> None:
    line = bytearray(record.line(3, "t", "act", {"a": noise.hex()})[:-1])
    line[place % len(line)] ^= 1
    assert record.parse_line(bytes(line)) is None


def test_timestamps_are_utc_with_six_digits() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert record.timestamp(moment) == "2026-01-02T01:04:05.000000Z"


def test_index_of_something_else() -> None:
    assert record.index_of(b"[1]") == -1
    assert record.index_of(b'{"index":"1"}') == -1
    assert record.index_of(b'{"index":true}') == -1
    assert record.index_of(b"nonsense") == -1
