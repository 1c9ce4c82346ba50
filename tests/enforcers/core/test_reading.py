"""Decide's answers read strictly: each way to be odd is a denial."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2

from enforcers.core.ports import Answer
from enforcers.core.reading import Asked, known, read_decide
from tests.enforcers.core.service import allow, deny, hold

Response = decision_pb2.DecideResponse
MASK = {
    "columns": [
        {"schema": "public", "relation": "c", "column": "email", "label": "pii", "masker": {"type": "null"}},
    ]
}


def asked(**changes: bool) -> Asked:
    given = {"can_hold": True, "redeeming": False, "has_estimate": False} | changes
    return Asked(operation="op_1", **given)


def masking() -> Response:
    response = allow()
    response.decision.outcome = type_pb2.OUTCOME_MASK_COLUMNS
    json_format.ParseDict(MASK, response.decision.obligations.add(type="mask-columns").parameters)
    return response


def estimate() -> Response:
    response = deny()
    response.decision.needs.append("estimate")
    return response


def test_what_is_understood() -> None:
    assert read_decide(allow(), asked()).ruling.answer is Answer.ALLOWED
    masked = read_decide(masking(), asked()).ruling
    assert masked.answer is Answer.ALLOWED
    assert masked.duties.mask[0].column == "email"
    assert read_decide(hold(), asked()).ruling.answer is Answer.HELD
    assert read_decide(estimate(), asked()).ruling.answer is Answer.NEEDS_ESTIMATE
    assert read_decide(allow(execution="exe_1"), asked(redeeming=True)).ruling.execution == "exe_1"


def set_(path: str, value: object) -> Callable[[Response], None]:
    def change(response: Response) -> None:
        *parents, last = path.split(".")
        target = response
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)

    return change


def clear(path: str) -> Callable[[Response], None]:
    def change(response: Response) -> None:
        *parents, last = path.split(".")
        target = response
        for parent in parents:
            target = getattr(target, parent)
        target.ClearField(last)

    return change


@pytest.mark.parametrize(
    ("base", "spoil", "code"),
    [
        (allow, clear("decision"), "POLICY_INVALID"),
        (allow, clear("decision.id"), "POLICY_INVALID"),
        (allow, set_("decision.id", "apr_1"), "POLICY_INVALID"),
        (allow, clear("decision.revision"), "POLICY_INVALID"),
        (allow, set_("decision.outcome", 0), "POLICY_INVALID"),
        (allow, set_("decision.outcome", 5), "POLICY_INVALID"),
        (allow, set_("record", -1), "RECORD_UNAVAILABLE"),
        (allow, set_("operation", "op_2"), "POLICY_INVALID"),
        (allow, set_("execution", "exe_1"), "POLICY_INVALID"),
        (allow, lambda r: r.decision.needs.append("values"), "POLICY_INVALID"),
        (allow, lambda r: r.decision.needs.append("estimate"), "POLICY_INVALID"),
        (allow, set_("decision.outcome", type_pb2.OUTCOME_MASK_COLUMNS), "POLICY_INVALID"),
        (allow, lambda r: r.decision.obligations.add(type="notify"), "OBLIGATION_UNMET"),
        (allow, lambda r: r.decision.obligations.add(type="max-bytes"), "OBLIGATION_UNMET"),
        (allow, lambda r: r.decision.obligations.add(type="mystery"), "OBLIGATION_UNMET"),
        (masking, set_("decision.outcome", type_pb2.OUTCOME_ALLOW), "POLICY_INVALID"),
        (estimate, lambda r: r.decision.needs.append("values"), "POLICY_INVALID"),
        (estimate, lambda r: r.decision.needs.append("estimate"), "POLICY_INVALID"),
        (estimate, set_("decision.outcome", type_pb2.OUTCOME_REQUIRE_APPROVAL), "POLICY_INVALID"),
        (hold, clear("decision.approval"), "POLICY_INVALID"),
        (hold, set_("decision.approval.id", "x"), "POLICY_INVALID"),
        (hold, set_("decision.approval.quorum", 0), "POLICY_INVALID"),
        (hold, clear("decision.approval.groups"), "POLICY_INVALID"),
        (hold, clear("decision.approval.expires"), "POLICY_INVALID"),
        (hold, set_("decision.approval.expires.seconds", 2**60), "POLICY_INVALID"),
    ],
)
def test_an_odd_answer_is_a_denial(base: Callable[[], Response], spoil: Callable[[Response], None], code: str) -> None:
    response = base()
    spoil(response)
    read = read_decide(response, asked())
    assert (read.ruling.answer, read.ruling.code) == (Answer.DENIED, code)
    assert read.lease is None


@pytest.mark.parametrize(
    ("response", "question"),
    [
        (estimate(), asked(has_estimate=True)),
        (estimate(), asked(redeeming=True)),
        (hold(), asked(can_hold=False)),
        (hold(), asked(redeeming=True)),
        (allow(), asked(redeeming=True)),
        (allow(execution="42"), asked(redeeming=True)),
        (allow(execution="exe_1"), asked()),
        (allow(execution="42"), asked(planned=True)),
    ],
)
def test_an_answer_that_does_not_fit_the_question(response: Response, question: Asked) -> None:
    assert read_decide(response, question).ruling.answer is Answer.DENIED


def unheld(outcome: type_pb2.Outcome, code: str) -> Response:
    """An answer to what can't be held."""
    response = hold()
    response.decision.outcome = outcome
    response.decision.reason_code = code
    return response


def test_what_cannot_be_held_is_redeemed_where_it_is_approved_already() -> None:
    given = unheld(type_pb2.OUTCOME_REQUIRE_APPROVAL, "APPROVAL_APPROVED")
    ruling = read_decide(given, asked(can_hold=False)).ruling
    assert ruling.answer is Answer.HELD
    assert ruling.hold is not None
    pending = unheld(type_pb2.OUTCOME_REQUIRE_APPROVAL, "APPROVAL_PENDING")
    assert read_decide(pending, asked(can_hold=False)).ruling.code == "POLICY_INVALID"


def test_a_denial_that_left_a_request_open_says_which() -> None:
    given = unheld(type_pb2.OUTCOME_DENY, "APPROVAL_PENDING")
    ruling = read_decide(given, asked(can_hold=False)).ruling
    assert (ruling.answer, ruling.code) == (Answer.DENIED, "APPROVAL_PENDING")
    assert ruling.hold is not None
    assert ruling.hold.approval == given.decision.approval.id
    given.decision.approval.id = "no reference"
    assert read_decide(given, asked(can_hold=False)).ruling.hold is None
    other = unheld(type_pb2.OUTCOME_DENY, "POLICY_DENIED")
    assert read_decide(other, asked(can_hold=False)).ruling.hold is None


@pytest.mark.parametrize(
    "spoil",
    [
        clear("decision.lease"),
        clear("decision.window"),
        set_("decision.window.records", 0),
        set_("decision.window.records", -5),
        clear("decision.window.delay"),
        set_("decision.window.delay.seconds", -1),
        set_("decision.lease.ttl.seconds", -31),
        clear("decision.lease.ttl"),
        set_("decision.durability", type_pb2.DURABILITY_UNSPECIFIED),
        set_("decision.durability", 9),
    ],
)
def test_an_allow_that_may_not_be_kept(spoil: Callable[[Response], None]) -> None:
    response = allow()
    spoil(response)
    read = read_decide(response, asked())
    assert read.ruling.answer is Answer.ALLOWED
    assert read.lease is None


def test_a_lease_whose_intents_are_durable_first_has_no_window() -> None:
    response = allow()
    response.decision.durability = type_pb2.DURABILITY_BEFORE
    lease = read_decide(response, asked()).lease
    assert lease is not None
    assert lease.window is None


def test_a_masked_answer_is_never_leased() -> None:
    response = allow()
    response.decision.outcome = type_pb2.OUTCOME_MASK_COLUMNS
    assert read_decide(response, asked()).lease is None


def test_a_redemption_is_never_leased() -> None:
    assert read_decide(allow(), asked()).lease is not None
    assert read_decide(allow(execution="exe_1"), asked(redeeming=True)).lease is None


def test_a_plans_step_has_its_execution_and_nothing_of_a_plan_is_leased() -> None:
    step = read_decide(allow(execution="exe_1"), asked(planned=True))
    assert (step.ruling.answer, step.ruling.execution, step.lease) == (Answer.ALLOWED, "exe_1", None)
    between = read_decide(allow(), asked(planned=True))
    assert (between.ruling.answer, between.ruling.execution, between.lease) == (Answer.ALLOWED, "", None)


def test_a_token_failure_is_one_fixed_sentence() -> None:
    ruling = read_decide(deny("TOKEN_SIGNATURE"), asked()).ruling
    assert (ruling.code, ruling.message, ruling.hint) == ("TOKEN_SIGNATURE", "the token was not accepted", "")


def test_a_code_nobody_knows_is_a_denial() -> None:
    assert known("SOMETHING_NEW") == "POLICY_DENIED"
    assert read_decide(deny("SOMETHING_NEW"), asked()).ruling.code == "POLICY_DENIED"


@given(raw=st.binary(max_size=200), redeeming=st.booleans())
def test_whatever_parses_is_read_without_an_error(raw: bytes, *, redeeming: bool) -> None:
    try:
        response = decision_pb2.DecideResponse.FromString(raw)
    except Exception:  # noqa: BLE001 - protobuf's own error is no public class
        return
    ruling = read_decide(response, asked(redeeming=redeeming)).ruling
    assert ruling.answer is Answer.DENIED or ruling.decision.startswith("dec_")
