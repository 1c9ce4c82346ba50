"""Maskers and rows: what is masked is masked wholly, what is not stays byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres import wire
from enforcers.postgres.masking import RowMasker, UnmaskableError, masker_of, row_masker

TEXT, INT4 = 25, 23


def field(type_oid: int) -> wire.FieldDescription:
    return wire.FieldDescription(b"c", 0, 0, type_oid, -1, -1, 0)


def column(masker: str, **given: object) -> MaskedColumn:
    return MaskedColumn(schema="s", relation="r", column="c", label="pii", masker=masker, **given)  # type: ignore[arg-type]  # the tests name its own fields


def test_null_masks_any_type() -> None:
    assert masker_of(column("null"), type_oid=INT4)(b"\0\0\0\1") is None


@pytest.mark.parametrize("oid", [25, 1043, 1042, 19])
def test_fixed_and_keep_last_on_texts(oid: int) -> None:
    assert masker_of(column("fixed", text="gone"), type_oid=oid)(b"secret") == b"gone"
    assert masker_of(column("keep-last", keep=4), type_oid=oid)(b"4111111111111234") == b"*" * 12 + b"1234"


@pytest.mark.parametrize("masker", ["fixed", "keep-last", "hash"])
def test_a_masker_that_would_lie_about_the_type_is_refused(masker: str) -> None:
    with pytest.raises(UnmaskableError):
        masker_of(column(masker), type_oid=INT4)


def test_an_unknown_masker_is_refused() -> None:
    with pytest.raises(UnmaskableError):
        masker_of(column("rot13"), type_oid=TEXT)


@pytest.mark.parametrize(("keep", "fill"), [(-1, "*"), (2, ""), (2, "**")])
def test_bad_parameters_of_keep_last(keep: int, fill: str) -> None:
    with pytest.raises(UnmaskableError):
        masker_of(column("keep-last", keep=keep, fill=fill), type_oid=TEXT)


@given(st.text(max_size=30), st.integers(0, 8))
def test_keep_last_shows_no_more_than_its_count(text: str, keep: int) -> None:
    masked = (masker_of(column("keep-last", keep=keep, fill="·"), type_oid=TEXT)(text.encode()) or b"").decode()
    assert len(masked) == len(text)
    shown = keep if len(text) > keep else 0
    assert masked[: len(text) - shown] == "·" * (len(text) - shown)


@given(st.lists(st.none() | st.binary(max_size=9), min_size=3, max_size=3))
def test_unmasked_columns_stay_byte_for_byte(values: list[bytes | None]) -> None:
    masker = row_masker([(None, field(INT4)), (column("null"), field(TEXT)), (None, field(TEXT))])
    assert wire.parse_data_row(masker.rewrite(wire.data_row(values))) == [values[0], None, values[2]]
    assert masker.fields == (values[1] is not None)


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ProtocolError):
        row_masker([(column("null"), field(TEXT))]).rewrite(wire.data_row([b"a", b"b"]))


MASKS = {
    "null": column("null"),
    "fixed": column("fixed", text="***"),
    "keep-last": column("keep-last", keep=2),
    "keep-last, wide": column("keep-last", keep=2, fill="·"),
}
VALUES = st.none() | st.text("aé€𝄞", max_size=6).map(str.encode)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(st.sampled_from([None, *MASKS]), min_size=width, max_size=width),
        st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=5),
    )
)


def masker(masks: list[str | None]) -> RowMasker:
    return row_masker([(None if name is None else MASKS[name], field(TEXT)) for name in masks])


@given(TABLES, st.integers(0, 20), st.integers(0, 6))
def test_a_run_of_rows_is_each_row_masked_by_itself(
    table: tuple[list[str | None], list[list[bytes | None]]], cut: int, most: int
) -> None:
    masks, rows = table
    before, behind = wire.PARSE_COMPLETE, b"C\0\0\0\rSELECT 1\0"[cut:]
    frames = [wire.data_row(row) for row in rows]
    data = before + b"".join(frames) + behind
    out: list[bytes] = []
    one = masker(masks)
    end, count = one.run(data, len(before), most, 1 << 40, out)
    assert count == min(most, len(frames))
    assert end == len(before) + sum(map(len, frames[:count]))
    wanted, fields = [], 0
    for row in rows[:count]:
        values = list(row)
        for index, name in enumerate(masks):
            value = row[index]
            if name is not None and value is not None:
                values[index] = masker_of(MASKS[name], type_oid=TEXT)(value)
                fields += 1
        wanted.append(wire.data_row(values))
    assert b"".join(out) == b"".join(wanted)
    assert one.fields == fields
    # A run never begins a row that is not there whole, nor one beyond its room.
    short = masker(masks)
    size = sum(map(len, frames))
    assert short.run(data[: len(before) + max(0, size - 1)], len(before), 99, 1 << 40, [])[1] == max(0, len(frames) - 1)
    if frames:
        assert short.run(data, len(before), 99, len(frames[0]) - 2, [])[1] == 0


@given(st.lists(VALUES, min_size=3, max_size=3), st.binary(min_size=1, max_size=4), st.integers(5, 40))
def test_a_row_that_lies_about_itself_is_refused_or_masked(values: list[bytes | None], junk: bytes, at: int) -> None:
    """Whatever stands in a row's body: one error class, or a frame whose masked cells are masked."""
    raw = bytearray(wire.data_row(values))
    at = min(at, len(raw) - 1)
    raw[at : at + len(junk)] = junk[: len(raw) - at]
    one = masker([None, "null", None])
    try:
        masked = one.rewrite(bytes(raw))
    except ProtocolError:
        return
    assert wire.Reader(masked, 5).uint16() == 3
    reader = wire.Reader(masked, 7)
    first = reader.int32()
    reader.take(max(0, first))
    assert reader.int32() == -1
