"""An act's record is spelt by hand: byte for byte what the generic encoder makes of the same act."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twokey.audit.v1 import audit_pb2

from decision.audit import record
from decision.errors import BadRequestError
from decision.rpc.acts import STATUSES, act_body

# JSON's own characters, ends of planes, what quoting could get wrong; and texts long enough not to be remembered.
TEXT = st.text(
    st.characters(codec="utf-8") | st.sampled_from('"\\/\x00\x1f\x7f\u2028\U0010ffff\n'), max_size=20
) | st.text(min_size=129, max_size=140)
NUMBER = st.integers(-record.MAX_INTEGER, record.MAX_INTEGER)
SECONDS = 253_402_300_799


def act(*, statement: bytes = b"SELECT 1", value: bytes = b"1") -> audit_pb2.Act:
    made = audit_pb2.Act(session="ses_1", operation="op_" + "a" * 26, sequence=1)
    made.intent.decision = "dec_" + "a" * 26
    made.intent.digest = made.intent.shape_digest = b"d" * 32
    made.intent.statement = statement
    made.intent.bound.add(type_oid=2**32 - 1, value=value)
    made.intent.time.seconds = 1
    made.outcome.status = "completed"
    return made


@st.composite
def acts(draw: st.DrawFn) -> audit_pb2.Act:
    """Any act with a record."""
    made = audit_pb2.Act(session=draw(TEXT), operation="op_" + "z7" * 13, sequence=draw(st.integers(0, 2**53 - 1)))
    intent, outcome = draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    if intent:
        made.intent.decision = "dec_" + "a2" * 13
        made.intent.digest = draw(st.binary(min_size=32, max_size=32))
        made.intent.shape_digest = draw(st.binary(min_size=32, max_size=32))
        made.intent.statement = draw(st.binary(max_size=50))
        for binary, null, oid, value in draw(
            st.lists(
                st.tuples(st.booleans(), st.booleans(), st.integers(0, 2**32 - 1), st.binary(max_size=9)), max_size=4
            )
        ):
            made.intent.bound.add(binary=binary, is_null=null, type_oid=oid, value=value)
        made.intent.time.seconds = draw(st.integers(0, SECONDS))
        made.intent.time.nanos = draw(st.integers(0, 999_999_999))
    if outcome:
        told = made.outcome
        told.status = draw(st.sampled_from(sorted(STATUSES)))
        told.command_tag, told.sqlstate, told.error, told.execution = draw(st.tuples(TEXT, TEXT, TEXT, TEXT))
        told.rows, told.bytes, told.masked_fields = draw(st.tuples(NUMBER, NUMBER, NUMBER))
        told.duration.seconds = draw(st.integers(-(10**9), 10**9))
        told.duration.nanos = draw(st.integers(-999_999_999, 999_999_999))
        told.obligations_met.extend(draw(st.lists(TEXT, max_size=4)))
    return made


def base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def said(made: audit_pb2.Act) -> dict[str, object]:
    """The same act as docs/records.md has it, field by field."""
    intent, outcome = made.intent, made.outcome
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        seconds=intent.time.seconds, microseconds=intent.time.nanos // 1000
    )
    return {
        "session": made.session,
        "operation": made.operation,
        "sequence": made.sequence,
        "intent": {
            "decision": intent.decision,
            "digest": intent.digest.hex(),
            "shape_digest": intent.shape_digest.hex(),
            "statement": base64(intent.statement),
            "bound": [
                {"type_oid": b.type_oid, "is_null": b.is_null, "binary": b.binary, "value": base64(b.value)}
                for b in intent.bound
            ],
            "time": record.timestamp(moment),
        }
        if made.HasField("intent")
        else None,
        "outcome": {
            "status": outcome.status,
            "command_tag": outcome.command_tag,
            "rows": outcome.rows,
            "bytes": outcome.bytes,
            "masked_fields": outcome.masked_fields,
            "sqlstate": outcome.sqlstate,
            "error": outcome.error,
            "duration_us": outcome.duration.seconds * 1_000_000 + outcome.duration.nanos // 1_000,
            "execution": outcome.execution,
            "obligations_met": list(outcome.obligations_met),
        }
        if made.HasField("outcome")
        else None,
    }


@given(acts())
def test_the_line_is_the_generic_encoders(made: audit_pb2.Act) -> None:
    expected = said(made)
    spelt = act_body(made)
    assert record.line(7, "t", "act", spelt) == record.line(7, "t", "act", expected)
    record.check(expected)
    # And it is a body like any other to whoever reads it as one.
    assert isinstance(spelt, Mapping)
    assert dict(spelt) == expected
    assert len(spelt) == 5
    assert record.check_body("act", spelt) >= len(orjson.dumps(expected)) - len(made.session)
    with pytest.raises(record.RecordFormatError):
        record.check_body("decision", spelt)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.ClearField("operation"),
        lambda made: setattr(made, "operation", made.operation + "\n"),
        lambda made: setattr(made, "operation", 'op_"' + "a" * 25),
        lambda made: setattr(made, "sequence", 2**53),
        lambda made: (made.ClearField("intent"), made.ClearField("outcome")),
        lambda made: made.intent.ClearField("decision"),
        lambda made: setattr(made.intent, "decision", 'dec_"' + "a" * 25),
        lambda made: setattr(made.intent, "digest", b"d" * 31),
        lambda made: setattr(made.intent, "shape_digest", b"d" * 33),
        lambda made: setattr(made.intent.time, "seconds", -1),
        lambda made: setattr(made.intent.time, "seconds", SECONDS + 1),
        lambda made: setattr(made.outcome, "status", ""),
        lambda made: setattr(made.outcome, "status", "done"),
    ],
)
def test_what_says_nothing_or_something_impossible_is_refused(change: Callable[[audit_pb2.Act], object]) -> None:
    made = act()
    assert act_body(made)
    change(made)
    with pytest.raises(BadRequestError):
        act_body(made)


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
