"""decision.pdp.opa_input: every field present, each with its zero value; the document the schema describes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twokey.type.v1 import operation_pb2

from decision.audit import record
from decision.errors import BadRequestError
from decision.model import IdentityKey, Party, Session, Subject
from decision.pdp import opa_input
from decision.pdp.approval_input import ApprovalContext

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "rego" / "schemas" / "input.json").read_text())
NOW = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
ROBOT = Party(identity=IdentityKey("i", "s"), name="robot", kind="agent", owner="alice", groups=())
SUBJECT = Subject(
    party=ROBOT,
    actors=(ROBOT,),
    roles=("planner",),
    role="planner",
    closure=("alice", "robot"),
    acting_closure=("alice", "robot"),
    token_id="t",
    dev=False,
)
SESSION = Session(
    id="ses_1",
    subject=SUBJECT,
    connection="crm",
    environment="production",
    protocol="postgres",
    client_address="",
    enforcer="e",
    opened=NOW,
    expires=NOW,
)


def question(operation: operation_pb2.Operation, *, with_values: bool = False) -> dict[str, Any]:
    context = opa_input.Context(now=NOW, can_hold=True)
    return opa_input.operation_question(
        subject=SUBJECT,
        session=SESSION,
        kind="postgres",
        operation=operation,
        context=context,
        with_values=with_values,
    )


def empty() -> operation_pb2.Operation:
    operation = operation_pb2.Operation()
    operation.sql.SetInParent()
    return operation


def zero(field: FieldDescriptor) -> Any:
    if field.is_repeated:
        return []
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return zeros(field.message_type)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return False
    return "" if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES) else 0


def zeros(descriptor: Descriptor) -> dict[str, Any]:
    return {field.name: zero(field) for field in descriptor.fields}


def messages(descriptor: Descriptor) -> list[Descriptor]:
    """The messages of a shape: SqlOperation and everything below but its values."""
    found = [descriptor]
    for field in descriptor.fields:
        if field.message_type is not None and field.name != "values":
            found += messages(field.message_type)
    return found


FIELDS = [
    (descriptor, field)
    for descriptor in messages(operation_pb2.SqlOperation.DESCRIPTOR)
    for field in descriptor.fields
    if field.name != "values"
]


@pytest.mark.parametrize(("descriptor", "field"), FIELDS, ids=[field.full_name for _, field in FIELDS])
def test_every_field_is_there_with_its_zero(descriptor: Descriptor, field: FieldDescriptor) -> None:
    message = getattr(operation_pb2, descriptor.name)()
    document = opa_input.message_document(message)
    assert field.name in document
    value = document[field.name]
    assert value == zero(field)
    assert type(value) is type(zero(field))


def test_the_sql_part_is_every_field_but_the_values() -> None:
    names = {field.name for field in operation_pb2.SqlOperation.DESCRIPTOR.fields}
    assert set(question(empty())["operation"]["sql"]) == names - {"values"}


def full() -> operation_pb2.Operation:
    operation = operation_pb2.Operation(id="op_1", digest=b"\x00\xff", shape_digest=b"\x01")
    fill(operation.sql)
    operation.sql.values.Clear()
    operation.sql.values.statement = b"SELECT 'secret-constant'"
    operation.sql.values.bound.add(type_oid=25, value=b"secret-value")
    operation.sql.values.estimate.rows = 7.2
    return operation


def fill(message: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        value: Any
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            fill(getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name))
            continue
        if field.type == FieldDescriptor.TYPE_BOOL:
            value = True
        elif field.type == FieldDescriptor.TYPE_STRING:
            value = "x"
        elif field.type == FieldDescriptor.TYPE_BYTES:
            value = b"x"
        else:
            value = 7
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


@pytest.mark.parametrize("with_values", [False, True])
@pytest.mark.parametrize("operation", [empty(), full()], ids=["empty", "full"])
def test_the_schema_describes_the_document(operation: operation_pb2.Operation, with_values: bool) -> None:
    jsonschema.validate(question(operation, with_values=with_values), SCHEMA)


def test_the_schema_describes_the_other_questions() -> None:
    context = opa_input.Context(now=NOW, sessions=[SESSION])
    jsonschema.validate(
        opa_input.session_question(
            subject=SUBJECT, connection="crm", kind="postgres", environment="production", context=context
        ),
        SCHEMA,
    )
    jsonschema.validate(opa_input.call_question(subject=SUBJECT, rpc="a/b", context=context), SCHEMA)
    approval = ApprovalContext(
        id="apr_1", requester=SUBJECT, verdicts=[(SUBJECT, True, NOW)], groups=("dba",), quorum=1
    )
    jsonschema.validate(
        opa_input.operation_question(
            subject=SUBJECT,
            session=SESSION,
            kind="postgres",
            operation=full(),
            context=opa_input.Context(now=NOW, approval=approval),
            with_values=True,
        ),
        SCHEMA,
    )


def test_no_value_is_in_the_question_on_the_shape() -> None:
    document = question(full())
    assert "secret" not in json.dumps(document)
    assert document["values"] == {
        "present": False,
        "statement": "",
        "bound": [],
        "estimate": {"state": "absent", "rows": 0, "cost": 0, "why": ""},
    }
    assert "secret-constant" in json.dumps(question(full(), with_values=True))


def test_sessions_and_addresses_are_not_in_the_question() -> None:
    assert "ses_1" not in json.dumps(question(full(), with_values=True))


def test_digests_are_hex_and_action_names_have_no_space() -> None:
    operation = full()
    operation.sql.command = "CREATE TABLE"
    document = question(operation)
    assert document["operation"]["digest"] == "00ff"
    assert document["action"] == {"name": "sql.create-table", "verbs": ["x"]}


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (operation_pb2.BoundValue(value="é".encode()), "é"),
        (operation_pb2.BoundValue(value=b"\xff\xfe"), "//4="),
        (operation_pb2.BoundValue(value=b"abc", binary=True), "YWJj"),
        (operation_pb2.BoundValue(is_null=True, value=b"ignored"), ""),
        (operation_pb2.BoundValue(), ""),
    ],
)
def test_bound_values_as_text(bound: operation_pb2.BoundValue, text: str) -> None:
    assert opa_input.bound_text(bound) == text


def test_a_statement_that_is_not_utf8_is_flagged() -> None:
    values = operation_pb2.SqlValues(statement=b"SELECT '\xff'")
    assert opa_input.values_document(values)["statement"] == "SELECT '\ufffd'"
    assert opa_input.statement_replaced(values)
    assert not opa_input.statement_replaced(operation_pb2.SqlValues(statement="é".encode()))


@pytest.mark.parametrize("rows", [float("nan"), float("inf"), -1.0, 2.0**53, 1e300])
def test_an_impossible_estimate_is_unknown(rows: float) -> None:
    values = operation_pb2.SqlValues(estimate=operation_pb2.Estimate(rows=rows))
    assert opa_input.estimate_document(values)["state"] == "unknown"


def test_estimates() -> None:
    known = operation_pb2.SqlValues(estimate=operation_pb2.Estimate(rows=0.2, cost=8.31))
    assert opa_input.estimate_document(known) == {"state": "known", "rows": 1, "cost": 9, "why": ""}
    unknown = operation_pb2.SqlValues(estimate_unknown=True, estimate_unknown_why="volatile")
    unknown.estimate.rows = 1  # unknown wins
    assert opa_input.estimate_document(unknown) == {"state": "unknown", "rows": 0, "cost": 0, "why": "volatile"}


def test_other_kinds_are_not_decided_yet() -> None:
    operation = operation_pb2.Operation()
    operation.ssh.action = "exec"
    with pytest.raises(BadRequestError):
        question(operation)


@given(st.integers(0, 7 * 10**15).map(lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)))
def test_a_recorded_question_is_canonical_and_comes_back_whole(moment: datetime) -> None:
    document = opa_input.call_question(subject=SUBJECT, rpc="a/b", context=opa_input.Context(now=moment))
    kept = json.loads(record.encode(opa_input.recorded(document)))
    assert opa_input.restored(kept) == document


SCALARS: dict[int, st.SearchStrategy[object]] = {
    FieldDescriptor.TYPE_STRING: st.text(st.characters(codec="utf-8"), max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
}


def fill_any(draw: st.DrawFn, message: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        times = draw(st.integers(0, 2 if field.is_repeated else 1))
        for _ in range(times):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                inner = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
                if not field.is_repeated:
                    inner.SetInParent()
                fill_any(draw, inner)
            elif field.is_repeated:
                getattr(message, field.name).append(draw(SCALARS[field.type]))
            else:
                setattr(message, field.name, draw(SCALARS[field.type]))


@st.composite
def operations(draw: st.DrawFn) -> operation_pb2.Operation:
    made = operation_pb2.Operation(id="op_1", digest=draw(st.binary(max_size=32)))
    made.sql.SetInParent()
    fill_any(draw, made.sql)
    return made


def plainly(message: Any) -> dict[str, object]:
    """The conversion, field by field, as anyone would write it."""
    document: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        if message.DESCRIPTOR.name == "SqlOperation" and field.name == "values":
            continue
        values = getattr(message, field.name)
        document[field.name] = [plain(field, value) for value in values] if field.is_repeated else plain(field, values)
    return document


def plain(field: FieldDescriptor, value: Any) -> object:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return plainly(value)
    return value.hex() if field.type == FieldDescriptor.TYPE_BYTES else value


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=60)
@given(operations())
def test_any_operation_is_converted_field_by_field_and_needs_no_walk(operation: operation_pb2.Operation) -> None:
    """The pipeline encodes questions without walking them first: what is built here is always inside the subset."""
    assert opa_input.message_document(operation.sql) == plainly(operation.sql)
    for with_values in (False, True):
        document = opa_input.recorded(question(operation, with_values=with_values))
        assert record.encode_checked(document) == record.encode(document)


def test_an_unsettled_type_is_no_field_of_the_question() -> None:
    with pytest.raises(TypeError, match="settled"):
        opa_input.message_document(operation_pb2.Estimate())
