"""What is encoded by hand is what the generated classes write, byte for byte."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from twokey.audit.v1 import audit_pb2

from enforcers.core import acts
from enforcers.core.ports import Act, Answer, Bound, Outcome, Ruling
from enforcers.core.records import ActRecord, Window

TEXT = st.text(max_size=40)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300)
BOUND = st.builds(
    lambda oid, value, null, binary: Bound(oid, value, is_null=null, binary=binary),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=200),
    st.booleans(),
    st.booleans(),
)
OUTCOME = st.builds(
    lambda status, tag, numbers, state, error, met: Outcome(
        status,
        command_tag=tag,
        rows=numbers[0],
        bytes=numbers[1],
        masked_fields=numbers[2],
        sqlstate=state,
        error=error,
        obligations_met=tuple(met),
    ),
    TEXT,
    TEXT,
    st.tuples(INT64, INT64, INT64),
    TEXT,
    TEXT,
    st.lists(TEXT, max_size=3),
)


def act_of(bound: tuple[Bound, ...], statement: bytes, decision: str, execution: str) -> Act:
    ruling = Ruling(answer=Answer.ALLOWED, decision=decision, execution=execution, leased=True)
    return Act(
        operation="op_1", ruling=ruling, digest=b"d" * 32, shape_digest=b"s" * 32, statement=statement, bound=bound
    )


@given(INT64)
def test_a_number_is_a_varint(value: int) -> None:
    assert acts.number(b"\x18", value) == audit_pb2.ActOutcome(rows=value).SerializeToString()


@given(
    st.lists(BOUND, max_size=3),
    st.binary(min_size=1, max_size=300),
    TEXT,
    TEXT,
    st.integers(0, 2**64 - 1),
    st.integers(1, 2**60),
    OUTCOME,
)
def test_an_act_is_encoded_as_protobuf_does(
    bound: list[Bound], statement: bytes, decision: str, execution: str, sequence: int, moment: int, outcome: Outcome
) -> None:
    act = act_of(tuple(bound), statement, decision, execution)
    with patch("time.time_ns", return_value=moment), patch("time.monotonic", return_value=5.0):
        act.started = 5.0 - (moment % 10**11) / 1e9
        elapsed = max(0, int((5.0 - act.started) * 1e9))
        head = acts.head(acts.session_field("ses_1"), act.operation, sequence)
        record = ActRecord("ses_1", head, acts.intent_field(act), Window(), queued=0.0, size=0)
        record.outcome = acts.outcome_field(act, outcome)
    message = audit_pb2.Act(session="ses_1", operation="op_1", sequence=sequence)
    intent = message.intent
    intent.decision, intent.digest, intent.shape_digest, intent.statement = decision, act.digest, b"s" * 32, statement
    intent.bound.extend([value.message() for value in bound])
    intent.time.seconds, intent.time.nanos = divmod(moment, 1_000_000_000)
    said = message.outcome
    said.status, said.command_tag, said.sqlstate, said.error = (
        outcome.status,
        outcome.command_tag,
        outcome.sqlstate,
        outcome.error,
    )
    said.rows, said.bytes, said.masked_fields = outcome.rows, outcome.bytes, outcome.masked_fields
    said.execution = execution
    said.obligations_met.extend(outcome.obligations_met)
    said.duration.seconds, said.duration.nanos = divmod(elapsed, 1_000_000_000)
    encoded = acts.request([record, record])
    assert audit_pb2.RecordActsRequest.FromString(encoded) == audit_pb2.RecordActsRequest(acts=[message, message])
    assert encoded == audit_pb2.RecordActsRequest(acts=[message, message]).SerializeToString(deterministic=True)


def test_a_targets_words_are_bounded_and_encodable() -> None:
    outcome = Outcome("failed", error="é\ud800" + "x" * 5000)
    encoded = acts.untimed_outcome(outcome, "")
    read = audit_pb2.Act.FromString(encoded).outcome
    assert read.error.startswith("é?")
    assert len(read.error) == acts.MAX_TEXT
    assert not read.HasField("duration")
