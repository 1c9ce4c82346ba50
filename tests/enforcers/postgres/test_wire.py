"""The codec: whatever arrives, and however it is cut, is read or raises ProtocolError and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.errors import ProtocolError
from enforcers.postgres import wire

NAMES = st.binary(max_size=8).map(lambda b: b.replace(b"\0", b"x"))
VALUES = st.lists(st.none() | st.binary(max_size=20), max_size=5)
FRAMES = st.one_of(
    NAMES.map(wire.query),
    st.builds(wire.parse, NAMES, NAMES, st.lists(st.integers(0, 2**32 - 1), max_size=3)),
    st.builds(wire.bind, NAMES, NAMES, VALUES),
    st.builds(wire.execute, NAMES, st.integers(0, 2**31 - 1)),
    st.builds(wire.describe, st.sampled_from([b"S", b"P"]), NAMES),
    st.just(wire.SYNC),
    st.just(wire.FLUSH),
)
PARSERS: list[Callable[[bytes], object]] = [
    wire.parse_query,
    wire.parse_parse,
    wire.parse_bind,
    wire.parse_execute,
    wire.parse_target,
    wire.parse_password,
    wire.parse_row_description,
    wire.parse_parameter_description,
    wire.parse_data_row,
    wire.parse_fields,
    wire.parse_parameter_status,
    wire.parse_key_data,
]


@given(st.lists(FRAMES, max_size=6), st.data())
def test_fragmentation_changes_nothing(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    whole = wire.ClientFramer().feed(stream)
    assert [frame.raw for frame in whole] == frames
    by_byte = wire.ClientFramer()
    assert [f for i in range(len(stream)) for f in by_byte.feed(stream[i : i + 1])] == whole
    cut = wire.ClientFramer()
    found, position = [], 0
    while position < len(stream):
        size = data.draw(st.integers(1, 9))
        found.extend(cut.feed(stream[position : position + size]))
        position += size
    assert found == whole


@given(st.binary(max_size=64))
def test_random_bytes_raise_protocol_error_only(stream: bytes) -> None:
    framer = wire.ClientFramer()
    with contextlib.suppress(ProtocolError):
        framer.feed(stream)
    assert framer.buffered <= len(stream)


@given(st.sampled_from(PARSERS), st.sampled_from(list(b"QPBEDCp")), st.binary(max_size=64))
def test_random_bodies_raise_protocol_error_only(parser: Callable[[bytes], object], kind: int, body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parser(wire.message(bytes([kind]), body))


@given(NAMES, NAMES, VALUES, st.sampled_from([(), (0,), (1,)]))
def test_bind_round_trip(portal: bytes, statement: bytes, values: list[bytes | None], formats: tuple[int, ...]) -> None:
    raw = wire.bind(portal, statement, values, formats=formats, result_formats=[1])
    bind = wire.parse_bind(raw)
    assert (bind.portal, bind.statement, bind.formats) == (portal, statement, formats)
    assert (bind.values, bind.result_formats) == (tuple(values), (1,))


@given(VALUES)
def test_data_row_round_trip(values: list[bytes | None]) -> None:
    assert wire.parse_data_row(wire.data_row(values)) == values


@pytest.mark.parametrize(
    "stream",
    [
        b"Q\x00\x00\x00\x03",
        b"Q\xff\xff\xff\xff",
        b"E\x00\x00\xff\xff",
        b"S\x7f\xff\xff\xff",
        b"z\x00\x00\x00\x04",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    ],
)
def test_lies_about_lengths_and_types(stream: bytes) -> None:
    framer = wire.ClientFramer()
    with pytest.raises(ProtocolError):
        framer.feed(stream)
    with pytest.raises(ProtocolError):
        framer.feed(wire.SYNC)


def test_a_message_too_large_is_refused_at_its_header_and_passed_over() -> None:
    framer = wire.ClientFramer(max_message=100)
    big = wire.query(b"x" * 200)
    assert framer.feed(big[:5]) == [wire.Frame(ord("Q"), b"")]
    assert framer.buffered == 0
    assert framer.feed(big[5:150]) == []
    assert framer.feed(big[150:] + wire.SYNC) == [wire.Frame(ord("S"), wire.SYNC)]


def test_a_nul_inside_a_query_is_refused() -> None:
    with pytest.raises(ProtocolError):
        wire.parse_query(wire.query(b"SELECT 1\0; DROP TABLE t"))


def test_fields_of_errors_round_trip_and_nuls_do_not_end_them() -> None:
    raw = wire.fields(b"E", [("S", "ERROR"), ("M", "a\0b"), ("H", "")])
    assert wire.parse_fields(raw) == {"S": b"ERROR", "M": b"a b"}
