"""Obligations: the closed list passes exactly, everything else is unmet."""

from __future__ import annotations

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from twokey.type.v1 import decision_pb2

from enforcers.core.obligations import LATER, ObligationUnmetError, read_obligations
from enforcers.core.ports import Duties, MaskedColumn


def obligation(kind: str, parameters: object) -> decision_pb2.Obligation:
    made = decision_pb2.Obligation(type=kind)
    json_format.ParseDict(parameters, made.parameters)
    return made


def column(masker: object, **changes: object) -> dict[str, object]:
    return {"schema": "public", "relation": "c", "column": "email", "label": "pii", "masker": masker} | changes


def test_all_of_the_list_is_read() -> None:
    duties = read_obligations(
        [
            obligation("max-rows", {"rows": 1000}),
            obligation("max-rows", {"rows": 10}),
            obligation("read-only", {}),
            obligation("statement-timeout", {"ms": 5000}),
            obligation("max-bytes", {"bytes": 2**20}),
            obligation("max-bytes", {"bytes": 2**30}),
            obligation("max-duration", {"ms": 60_000}),
            obligation("require-reason", {}),
            obligation(
                "mask-columns",
                {
                    "columns": [
                        column({"type": "null"}),
                        column({"type": "fixed", "text": ""}, column="a"),
                        column({"type": "keep-last", "n": 4, "fill": "*"}, column="b"),
                    ]
                },
            ),
        ]
    )
    common = {"schema": "public", "relation": "c", "label": "pii"}
    assert duties == Duties(
        mask=(
            MaskedColumn(column="email", masker="null", **common),
            MaskedColumn(column="a", masker="fixed", **common),
            MaskedColumn(column="b", masker="keep-last", keep=4, fill="*", **common),
        ),
        max_rows=10,
        max_bytes=2**20,
        max_duration_ms=60_000,
        read_only=True,
        statement_timeout_ms=5000,
        require_reason=True,
    )


def test_as_few_rows_as_policy_asks_for() -> None:
    found = read_obligations(
        [obligation("max-rows", {"rows": 10, "least": 2}), obligation("max-rows", {"rows": 7, "least": 3})]
    )
    assert (found.max_rows, found.least_rows) == (7, 3)
    assert read_obligations([obligation("max-rows", {"rows": 10})]).least_rows == 0


def test_no_row_at_all_is_a_limit() -> None:
    assert read_obligations([obligation("max-rows", {"rows": 0})]).max_rows == 0


BAD = [
    ("max-rows", {}),
    ("max-rows", {"rows": -1}),
    ("max-rows", {"rows": 1.5}),
    ("max-rows", {"rows": "10"}),
    ("max-rows", {"rows": True}),
    ("max-rows", {"rows": None}),
    ("max-rows", {"rows": 2**54}),
    ("max-rows", {"rows": 10, "more": 1}),
    ("max-rows", {"rows": 10, "least": 0}),
    ("max-rows", {"rows": 10, "least": 1.5}),
    ("max-rows", {"rows": 10, "least": None}),
    ("max-rows", {"least": 1}),
    ("statement-timeout", {"ms": 0}),  # no timeout at all
    ("statement-timeout", {"ms": 2**31}),
    ("statement-timeout", {"rows": 1}),
    ("max-bytes", {"bytes": 0}),
    ("max-bytes", {"rows": 1}),
    ("max-duration", {"ms": 0}),
    ("max-duration", {}),
    ("require-reason", {"least": 10}),
    ("read-only", {"on": True}),
    ("mask-columns", {}),
    ("mask-columns", {"columns": []}),
    ("mask-columns", {"columns": "email"}),
    ("mask-columns", {"columns": [1]}),
    ("mask-columns", {"columns": [{}]}),
    ("mask-columns", {"columns": [column("null")]}),
    ("mask-columns", {"columns": [column({})]}),
    ("mask-columns", {"columns": [column({"type": "hash", "key": "inline"})]}),
    ("mask-columns", {"columns": [column({"type": "scramble"})]}),
    ("mask-columns", {"columns": [column({"type": "truncate-date", "to": "second"})]}),
    ("mask-columns", {"columns": [column({"type": "truncate-date"})]}),
    ("mask-columns", {"columns": [column({"type": "bucket", "size": 1})]}),
    ("mask-columns", {"columns": [column({"type": "bucket", "size": "10"})]}),
    ("mask-columns", {"columns": [column({"type": "json", "paths": []})]}),
    ("mask-columns", {"columns": [column({"type": "json", "paths": [[]]})]}),
    ("mask-columns", {"columns": [column({"type": "json", "paths": ["a"]})]}),
    ("mask-columns", {"columns": [column({"type": "json", "paths": [["a", 1]]})]}),
    ("mask-columns", {"columns": [], "outputs": []}),
    ("mask-columns", {"outputs": [{"position": 1, "label": "x", "masker": {"type": "null"}}]}),
    ("mask-columns", {"columns": [], "outputs": [{"position": 0, "label": "x", "masker": {"type": "null"}}]}),
    ("mask-columns", {"columns": [], "outputs": [{"position": 1665, "label": "x", "masker": {"type": "null"}}]}),
    ("mask-columns", {"columns": [], "outputs": [{"position": 1.5, "label": "x", "masker": {"type": "null"}}]}),
    ("mask-columns", {"columns": [], "outputs": [{"position": 1, "masker": {"type": "null"}}]}),
    ("mask-columns", {"columns": [], "outputs": [{"position": 1, "label": "x", "masker": {}}]}),
    ("mask-columns", {"columns": [], "outputs": [column({"type": "null"})]}),
    ("mask-columns", {"columns": [column({"type": "null", "text": "x"})]}),
    ("mask-columns", {"columns": [column({"type": "fixed"})]}),
    ("mask-columns", {"columns": [column({"type": "fixed", "text": 7})]}),
    ("mask-columns", {"columns": [column({"type": "fixed", "text": "a\0b"})]}),
    ("mask-columns", {"columns": [column({"type": "keep-last", "n": -1, "fill": "*"})]}),
    ("mask-columns", {"columns": [column({"type": "keep-last", "n": 4})]}),
    ("mask-columns", {"columns": [column({"type": "keep-last", "n": 4, "fill": ""})]}),
    ("mask-columns", {"columns": [column({"type": "keep-last", "n": 4, "fill": "**"})]}),
    ("mask-columns", {"columns": [column({"type": "keep-last", "n": 4, "fill": "\n"})]}),
    ("mask-columns", {"columns": [column({"type": "null"}, schema="")]}),
    ("mask-columns", {"columns": [column({"type": "null"}, extra=1)]}),
    ("mask-columns", {"columns": [column({"type": "null"}), column({"type": "fixed", "text": "x"})]}),
    ("Max-rows", {"rows": 1}),
    ("", {}),
    *[(kind, {}) for kind in sorted(LATER)],
]


@pytest.mark.parametrize(("kind", "parameters"), BAD)
def test_anything_else_is_unmet(kind: str, parameters: object) -> None:
    with pytest.raises(ObligationUnmetError):
        read_obligations([obligation(kind, parameters)])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none(number: float) -> None:
    for kind, key in (
        ("max-rows", "rows"),
        ("max-bytes", "bytes"),
        ("max-duration", "ms"),
        ("statement-timeout", "ms"),
    ):
        made = decision_pb2.Obligation(type=kind)
        made.parameters.fields[key].number_value = number
        with pytest.raises(ObligationUnmetError):
            read_obligations([made])


def test_too_many() -> None:
    with pytest.raises(ObligationUnmetError):
        read_obligations([obligation("read-only", {})] * 65)


def test_what_can_not_be_meant_of_a_whole_session() -> None:
    for good in (
        obligation("mask-columns", {"columns": [column({"type": "null"})]}),
        obligation("max-rows", {"rows": 1}),
        obligation("max-bytes", {"bytes": 1}),
        obligation("require-reason", {}),
    ):
        assert read_obligations([good]) != Duties()
        with pytest.raises(ObligationUnmetError):
            read_obligations([good], session=True)


def test_what_can_be_meant_of_a_whole_session() -> None:
    session = [
        obligation("read-only", {}),
        obligation("statement-timeout", {"ms": 1}),
        obligation("max-duration", {"ms": 1}),
    ]
    assert read_obligations(session, session=True) == Duties(read_only=True, statement_timeout_ms=1, max_duration_ms=1)


READ = ("read-only", "require-reason", "statement-timeout")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False, width=32) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rows", "ms", "columns", "schema", "relation", "column", "label", "masker", "type", "n"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(
    kind=st.sampled_from(["max-rows", "max-bytes", "max-duration", "mask-columns", *READ, "notify", "x"]),
    parameters=st.dictionaries(st.sampled_from(["rows", "bytes", "ms", "columns", "other"]), JSON, max_size=2),
)
def test_never_another_error_and_never_a_loose_duty(kind: str, parameters: dict[str, object]) -> None:
    try:
        duties = read_obligations([obligation(kind, parameters)])
    except ObligationUnmetError:
        return
    assert duties != Duties()
    assert duties.max_rows is None or duties.max_rows >= 0
    for limit in (duties.max_bytes, duties.max_duration_ms, duties.statement_timeout_ms):
        assert limit is None or limit >= 1
    assert all(mask.masker in {"null", "fixed", "keep-last", "hash", "email"} for mask in duties.mask)


def test_the_maskers_and_their_parameters() -> None:
    maskers: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "hash": ({}, {}),
        "email": ({}, {}),
        "truncate-date": ({"to": "month"}, {"unit": "month"}),
        "bucket": ({"size": 1000}, {"size": 1000}),
        "json": ({"paths": [["a", "*"], ["b"]]}, {"paths": (("a", "*"), ("b",))}),
    }
    for kind, (parameters, read) in maskers.items():
        duties = read_obligations([obligation("mask-columns", {"columns": [column({"type": kind} | parameters)]})])
        where = {"schema": "public", "relation": "c", "column": "email", "label": "pii"}
        assert duties.mask == (MaskedColumn(masker=kind, **where, **read),)  # type: ignore[arg-type]  # the table's


def test_columns_masked_by_their_place_in_the_result() -> None:
    outputs = [{"position": n, "label": "pii", "masker": {"type": "fixed", "text": "x"}} for n in (1, 3)]
    duties = read_obligations(
        [
            obligation("mask-columns", {"columns": [column({"type": "null"})], "outputs": outputs}),
            obligation("mask-columns", {"columns": [], "outputs": outputs[:1]}),
        ]
    )
    assert [mask.position for mask in duties.mask] == [0, 1, 3]
    assert {mask.schema for mask in duties.mask if mask.position} == {""}
    other = [{"position": 3, "label": "pii", "masker": {"type": "null"}}]
    with pytest.raises(ObligationUnmetError, match="two different maskers"):
        read_obligations(
            [
                obligation("mask-columns", {"columns": [], "outputs": outputs}),
                obligation("mask-columns", {"columns": [], "outputs": other}),
            ]
        )
