"""The result document: exactly valid, or PolicyError."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import PolicyError
from decision.model import Durability, Outcome, PolicyResult
from decision.policy.result import ObligationType, check_result

MASK = {
    "type": "mask-columns",
    "parameters": {
        "columns": [
            {"schema": "public", "relation": "cards", "column": "pan", "label": "pan", "masker": {"type": "null"}}
        ]
    },
}


def valid(**changes: object) -> dict[str, object]:
    document: dict[str, object] = {
        "outcome": "allow",
        "reasons": [{"rule": "sql.read", "reason": "planners read", "next": ""}],
        "obligations": [{"type": "max-rows", "parameters": {"rows": 1000}}, {"type": "read-only", "parameters": {}}],
        "needs": [],
        "approval": None,
        "lease": {"ttl_ms": 30000},
        "durability": "windowed",
        "window": {"records": 256, "delay_ms": 50},
    }
    return document | changes


def check(document: object, *, on_shape: bool = True) -> PolicyResult:
    return check_result(document, revision="r", on_shape=on_shape)


def masking(masker: object) -> dict[str, object]:
    mask = copy.deepcopy(MASK)
    mask["parameters"]["columns"][0]["masker"] = masker  # type: ignore[index]
    return valid(outcome="mask-columns", obligations=[mask])


def test_everything_is_carried_over() -> None:
    result = check(valid())
    assert result.outcome is Outcome.ALLOW
    assert (result.lease_ttl_ms, result.durability, result.window) == (30000, Durability.WINDOWED, (256, 50))
    assert result.obligations[0].parameters == {"rows": 1000}
    assert (result.reasons[0].rule, result.revision) == ("sql.read", "r")
    terms = {"groups": ["dba"], "quorum": 2, "expires_s": 60}
    held = check(valid(outcome="require-approval", approval=terms, lease=None, durability="before"))
    assert held.approval is not None
    assert (held.approval.groups, held.approval.quorum, held.approval.expires_s) == (("dba",), 2, 60)


def test_the_document_of_the_architecture_paper_is_valid() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "architecture.md").read_text()
    start = text.index("```json", text.index("The result, `data.twokey.main.decision`")) + 7
    assert check(json.loads(text[start : text.index("```", start)])).outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    "masker",
    [
        {"type": "null"},
        {"type": "fixed", "text": "***"},
        {"type": "keep-last", "n": 4, "fill": "*"},
        {"type": "hash"},
        {"type": "email"},
        {"type": "truncate-date", "to": "month"},
        {"type": "bucket", "size": 1000},
        {"type": "json", "paths": [["address", "street"], ["cards", "*", "pan"]]},
    ],
)
def test_the_maskers(masker: object) -> None:
    assert check(masking(masker)).outcome is Outcome.MASK_COLUMNS


@pytest.mark.parametrize(
    "masker",
    [
        None,
        {},
        {"type": "drop"},
        {"type": "null", "text": "x"},
        {"type": "fixed"},
        {"type": "fixed", "text": 1},
        {"type": "keep-last", "n": "4", "fill": "*"},
        {"type": "keep-last", "n": -1, "fill": "*"},
        {"type": "keep-last", "n": True, "fill": "*"},
        {"type": "keep-last", "n": 4, "fill": ""},
        {"type": "keep-last", "n": 4, "fill": "ab"},
        {"type": ["null"]},
        {"type": "fixed", "text": "a\0b"},
        {"type": "keep-last", "n": 4, "fill": "\n"},
        {"type": "hash", "key": "inline"},
        {"type": "truncate-date", "to": "second"},
        {"type": "truncate-date"},
        {"type": "bucket", "size": 1},
        {"type": "bucket", "size": 2.5},
        {"type": "json", "paths": []},
        {"type": "json", "paths": [[]]},
        {"type": "json", "paths": ["a.b"]},
        {"type": "json", "paths": [["a", 1]]},
    ],
)
def test_a_masker_that_is_not_one(masker: object) -> None:
    with pytest.raises(PolicyError):
        check(masking(masker))


def by_place(outputs: object) -> dict[str, object]:
    mask = {"type": "mask-columns", "parameters": {"columns": [], "outputs": outputs}}
    return valid(outcome="mask-columns", obligations=[mask])


OUTPUT = {"position": 1, "label": "pan", "masker": {"type": "null"}}


def test_columns_masked_by_their_place_in_the_result() -> None:
    assert check(by_place([OUTPUT, OUTPUT | {"position": 1664}])).outcome is Outcome.MASK_COLUMNS
    both = masking({"type": "null"})
    both["obligations"][0]["parameters"]["outputs"] = []  # type: ignore[index]
    assert check(both).outcome is Outcome.MASK_COLUMNS


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        None,
        [OUTPUT | {"position": 0}],
        [OUTPUT | {"position": 1665}],
        [OUTPUT | {"position": "1"}],
        [OUTPUT | {"label": ""}],
        [OUTPUT | {"masker": {"type": "drop"}}],
        [OUTPUT | {"column": "pan"}],
        [{"position": 1, "masker": {"type": "null"}}],
    ],
)
def test_a_place_that_is_none(outputs: object) -> None:
    with pytest.raises(PolicyError):
        check(by_place(outputs))


@pytest.mark.parametrize("key", sorted(valid()))
def test_a_missing_key(key: str) -> None:
    document = valid()
    del document[key]
    with pytest.raises(PolicyError, match=key):
        check(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1},
        {"outcome": "Allow"},
        {"outcome": "permit"},
        {"outcome": True},
        {"outcome": None},
        {"outcome": ["allow"]},
        {"reasons": None},
        {"reasons": {}},
        {"reasons": ["x"]},
        {"reasons": [{"rule": "r", "reason": "x"}]},
        {"reasons": [{"rule": "r", "reason": "x", "next": "", "more": 1}]},
        {"reasons": [{"rule": "", "reason": "x", "next": ""}]},
        {"reasons": [{"rule": "r", "reason": "x" * 5000, "next": ""}]},
        {"obligations": {}},
        {"obligations": [{"type": "allow-all", "parameters": {}}]},
        {"obligations": [{"type": "max-rows"}]},
        {"obligations": [{"type": "max-rows", "parameters": {}}]},
        {"obligations": [{"type": "max-rows", "parameters": {"rows": -1}}]},
        {"obligations": [{"type": "max-rows", "parameters": {"rows": 1.5}}]},
        {"obligations": [{"type": "max-rows", "parameters": {"rows": True}}]},
        {"obligations": [{"type": "max-rows", "parameters": {"rows": "10"}}]},
        {"obligations": [{"type": "max-rows", "parameters": {"rows": 1, "x": 1}}]},
        {"obligations": [{"type": "max-rows", "parameters": {"rows": 2**53}}]},
        {"obligations": [{"type": "statement-timeout", "parameters": {"ms": 0}}]},
        {"obligations": [{"type": "max-bytes", "parameters": {"bytes": 0}}]},
        {"obligations": [{"type": "max-duration", "parameters": {"ms": 0}}]},
        {"obligations": [{"type": "require-reason", "parameters": {"x": 1}}]},
        {"obligations": [{"type": "read-only", "parameters": {"x": 1}}]},
        {"obligations": [{"type": "read-only", "parameters": None}]},
        {"obligations": [{"type": "notify", "parameters": []}]},
        {"obligations": [MASK]},
        {"obligations": [{"type": "mask-columns", "parameters": {"columns": []}}], "outcome": "mask-columns"},
        {"outcome": "mask-columns"},
        {"outcome": "require-approval", "lease": None, "durability": "before"},
        {"outcome": "require-approval", "approval": {"groups": ["dba"], "quorum": 1, "expires_s": 60}},  # with a lease
        {"outcome": "deny"},  # with a lease
        {"approval": {"groups": [], "quorum": 1, "expires_s": 60}},
        {"approval": {"groups": ["dba", "dba"], "quorum": 1, "expires_s": 60}},
        {"approval": {"groups": ["dba"], "quorum": 0, "expires_s": 60}},
        {"approval": {"groups": ["dba"], "quorum": 1, "expires_s": 0}},
        {"approval": {"groups": "dba", "quorum": 1, "expires_s": 60}},
        {"approval": {"groups": ["dba"], "quorum": 1}},
        {"approval": {}},
        {"approval": False},
        {"needs": ["values"]},  # with a lease
        {"needs": ["everything"], "lease": None, "durability": "before"},
        {"needs": ["values", "values"], "lease": None, "durability": "before"},
        {"needs": "values", "lease": None, "durability": "before"},
        {"lease": {"ttl_ms": 0}},
        {"lease": {"ttl_ms": 10**9}},
        {"lease": {}},
        {"lease": 30000},
        {"lease": None},  # windowed without a lease
        {"window": None},  # windowed without a window
        {"window": {"records": 0, "delay_ms": 50}},
        {"window": {"records": 10**9, "delay_ms": 50}},
        {"window": [256, 50]},
        {"durability": "none"},
        {"durability": None},
    ],
)
def test_what_is_not_exactly_valid_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PolicyError):
        check(valid(**changes))


@pytest.mark.parametrize("raw", [None, True, "allow", 1, [], {}, [valid()], {"result": valid()}])
def test_what_is_no_result_at_all(raw: object) -> None:
    with pytest.raises(PolicyError):
        check(raw)


def test_an_answer_given_on_values_carries_no_lease_and_needs_no_values() -> None:
    with pytest.raises(PolicyError, match="lease"):
        check(valid(), on_shape=False)
    plain = valid(lease=None, durability="before")
    assert check(plain, on_shape=False).lease_ttl_ms is None
    with pytest.raises(PolicyError, match="values"):
        check(plain | {"needs": ["values"]}, on_shape=False)
    assert check(plain | {"needs": ["estimate"]}, on_shape=False).needs == ("estimate",)


def test_the_list_of_obligations_is_closed_and_the_rest_of_it_known_by_name() -> None:
    for kind in ("record-session", "record-input", "notify", "mask-output"):
        result = check(valid(obligations=[{"type": kind, "parameters": {"anything": 1}}]))
        assert result.obligations[0].type == kind
    for kind, parameters in (
        ("max-bytes", {"bytes": 1}),
        ("max-duration", {"ms": 1}),
        ("require-reason", {}),
    ):
        result = check(valid(obligations=[{"type": kind, "parameters": parameters}]))
        assert result.obligations[0].parameters == parameters


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
words = st.sampled_from(["allow", "outcome", "mask-columns", "before", "values", "max-rows", "type", "ttl_ms"])
anything = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=8), inner, max_size=8),
    max_leaves=20,
)


@given(anything)
def test_random_json_is_never_a_decision(raw: object) -> None:
    with pytest.raises(PolicyError):
        check(raw)


@given(st.sampled_from(sorted(valid())), anything)
def test_a_random_member_either_keeps_it_valid_or_refuses_it(key: str, value: object) -> None:
    """An independent statement of what each member may be."""
    document = valid(lease=None, durability="before", window=None, approval=None) | {key: value}
    try:
        check(document)
    except PolicyError:
        return
    permitted = {
        "outcome": value in ("allow", "deny"),
        "durability": value == "before",
        "lease": value is None or (isinstance(value, dict) and value.keys() == {"ttl_ms"}),
        "window": value is None or (isinstance(value, dict) and value.keys() == {"records", "delay_ms"}),
        "approval": value is None or (isinstance(value, dict) and value.keys() == {"groups", "quorum", "expires_s"}),
        "needs": isinstance(value, list) and set(value) <= {"values", "estimate"},
        "reasons": isinstance(value, list) and all(item.keys() == {"rule", "reason", "next"} for item in value),
        "obligations": isinstance(value, list) and all(item["type"] in list(ObligationType) for item in value),
    }
    assert permitted[key]


def classify(parameters: object) -> PolicyResult:
    return check(valid(obligations=[{"type": "classify", "parameters": parameters}]))


def test_classify_names_columns_and_labels() -> None:
    column = {"schema": "public", "relation": "recent", "column": "email", "label": "email"}
    for wrong in ({}, {"columns": []}, {"columns": [{**column, "label": ""}]}, {"columns": [{"label": "email"}]}):
        with pytest.raises(PolicyError):
            classify(wrong)
    assert classify({"columns": [column]}).obligations[0].parameters == {"columns": [column]}
