"""An act's record is checked while it is built, so what is built must pass the walk it is spared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twokey.audit.v1 import audit_pb2

from decision.audit import record
from decision.errors import BadRequestError
from decision.rpc.acts import act_body

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBER = st.integers(-(2**63), 2**63 - 1)


def act(*, statement: bytes = b"SELECT 1", value: bytes = b"1") -> audit_pb2.Act:
    made = audit_pb2.Act(session="ses_1", operation="op_" + "a" * 26, sequence=1)
    made.intent.decision = "dec_" + "a" * 26
    made.intent.digest = made.intent.shape_digest = b"d" * 32
    made.intent.statement = statement
    made.intent.bound.add(type_oid=2**32 - 1, value=value)
    made.intent.time.seconds = 1
    made.outcome.status = "completed"
    return made


@given(session=TEXT, tag=TEXT, error=TEXT, state=TEXT, duty=TEXT, statement=st.binary(max_size=50), number=NUMBER)
def test_what_is_built_has_a_canonical_form(
    session: str, tag: str, error: str, state: str, duty: str, statement: bytes, number: int
) -> None:
    made = act(statement=statement, value=statement)
    made.session, made.outcome.command_tag, made.outcome.error = session, tag, error
    made.outcome.sqlstate, made.outcome.rows = state, number
    made.outcome.obligations_met.append(duty)
    if abs(number) > record.MAX_INTEGER:
        with pytest.raises(BadRequestError):
            act_body(made)
        return
    body = act_body(made)
    assert record.check(dict(body)) <= 2 * body.size
    assert record.encode(dict(body))


@pytest.mark.parametrize("name", ["rows", "bytes", "masked_fields"])
@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63 - 1, -(2**63)])
def test_a_number_without_a_canonical_form_is_refused(name: str, number: int) -> None:
    made = act()
    setattr(made.outcome, name, number)
    with pytest.raises(BadRequestError):
        act_body(made)


@pytest.mark.parametrize("seconds", [2**40, -(2**40), 2**63 - 1])
def test_a_duration_beyond_reason_is_refused(seconds: int) -> None:
    made = act()
    made.outcome.duration.seconds = seconds
    with pytest.raises(BadRequestError):
        act_body(made)
