"""Maskers and rows: what is masked is masked wholly, what is not stays byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres import wire
from enforcers.postgres.masking import UnmaskableError, masker_of, row_masker

TEXT, INT4 = 25, 23


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
    masker = row_masker([(None, INT4), (column("null"), TEXT), (None, TEXT)])
    assert wire.parse_data_row(masker.rewrite(wire.data_row(values))) == [values[0], None, values[2]]
    assert masker.fields == (values[1] is not None)


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ProtocolError):
        row_masker([(column("null"), TEXT)]).rewrite(wire.data_row([b"a", b"b"]))
