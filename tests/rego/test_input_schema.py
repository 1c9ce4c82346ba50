"""rego/schemas/input.json is what tools/input_schema.py writes, and what the service asks fits into it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import jsonschema
from google.protobuf.descriptor import FieldDescriptor
from twokey.type.v1 import operation_pb2

from decision.model import IdentityKey, Party, Session, Subject
from decision.pdp import opa_input
from tests.rego.harness import REGO, ROOT

SCHEMA = json.loads((REGO / "schemas" / "input.json").read_text())


def test_current() -> None:
    done = subprocess.run(
        [sys.executable, "tools/input_schema.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_field_of_the_proto_but_values() -> None:
    sql = SCHEMA["properties"]["operation"]["properties"]["sql"]
    names = {field.name for field in operation_pb2.SqlOperation.DESCRIPTOR.fields}
    assert set(sql["properties"]) == names - {"values"}
    assert sql["additionalProperties"] is False


def test_objects_are_closed_and_complete() -> None:
    def walk(schema: dict[str, object]) -> int:
        inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]  # type: ignore[attr-defined]  # JSON
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            properties = schema["properties"]
            assert isinstance(properties, dict)
            optional = ["access"] if schema is SCHEMA else []  # of the question `access` alone
            assert schema["required"] == sorted(name for name in properties if name not in optional)
        return 1 + sum(walk(one) for one in inner)

    assert walk(SCHEMA) > 100


def subject() -> Subject:
    party = Party(identity=IdentityKey("i", "s"), name="executor-7", kind="agent", owner="bob", groups=())
    return Subject(
        party=party,
        actors=(party,),
        roles=("executor",),
        role="executor",
        closure=("bob", "executor-7"),
        acting_closure=("bob", "executor-7"),
        token_id="t",
        dev=True,
    )


def test_the_service_asks_what_the_schema_says() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    session = Session(
        id="ses_1",
        subject=subject(),
        connection="crm",
        environment="production",
        protocol="postgres",
        client_address="127.0.0.1:1",
        enforcer="enf-1",
        opened=now,
        expires=now,
    )
    sql = operation_pb2.SqlOperation()
    for field in sql.DESCRIPTOR.fields:
        if field.is_repeated and field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            getattr(sql, field.name).add()
    operation = operation_pb2.Operation(id="op_1", connection="crm", sql=sql)
    context = opa_input.Context(now=now, sessions=(session,))
    validator = jsonschema.Draft7Validator(SCHEMA)
    for with_values in (False, True):
        validator.validate(
            opa_input.operation_question(
                subject=subject(),
                session=session,
                kind="postgres",
                operation=operation,
                context=context,
                with_values=with_values,
            )
        )
    validator.validate(opa_input.call_question(subject=subject(), rpc="a.B/C", context=context))
    validator.validate(
        opa_input.session_question(
            subject=subject(), connection="crm", kind="postgres", environment="production", context=context
        )
    )
