"""Write rego/schemas/input.json: the JSON schema of the question put to OPA (docs/architecture.md).

`opa check --strict --schema rego/schemas` then turns a misspelt input field in a policy into a compile error. The
operation comes from the protobuf descriptors, so that a field added there is known to policy at once; the rest of the
question is written down here. Objects are closed (additionalProperties false) and every field is required.

    python tools/input_schema.py            write the file
    python tools/input_schema.py --check    exit 1 when the file is not current
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "rego" / "schemas" / "input.json"
sys.path.insert(0, str(ROOT / "proto" / "gen"))

Schema = dict[str, object]

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}

# 64-bit integers too: the question holds numbers as numbers, unlike protobuf's own JSON form.
_SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_STRING: STRING,
    FieldDescriptor.CPPTYPE_BOOL: BOOLEAN,
    FieldDescriptor.CPPTYPE_INT32: INTEGER,
    FieldDescriptor.CPPTYPE_INT64: INTEGER,
    FieldDescriptor.CPPTYPE_UINT32: INTEGER,
    FieldDescriptor.CPPTYPE_UINT64: INTEGER,
    FieldDescriptor.CPPTYPE_DOUBLE: NUMBER,
    FieldDescriptor.CPPTYPE_FLOAT: NUMBER,
}


def closed(properties: dict[str, Schema]) -> Schema:
    """An object with exactly these fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def message(descriptor: Descriptor, *, without: frozenset[str] = frozenset()) -> Schema:
    """A protobuf message with every field always present. Raises TypeError for a field kind the question can't hold."""
    return closed({field.name: _field(field) for field in descriptor.fields if field.name not in without})


def _field(field: FieldDescriptor) -> Schema:
    if field.message_type is not None:
        inner = message(field.message_type)
    elif field.cpp_type in _SCALARS:
        inner = _SCALARS[field.cpp_type]
    else:
        raise TypeError(f"{field.full_name}: a {field.cpp_type} has no place in the question")
    return listed(inner) if field.is_repeated else inner


def _party(**more: Schema) -> Schema:
    return closed(
        {
            "iss": STRING,
            "sub": STRING,
            "name": STRING,
            "kind": one_of("person", "agent", "unknown"),
            "owner": STRING,
            **more,
        }
    )


def _context() -> Schema:
    verdict = closed(
        {
            "name": STRING,
            "kind": STRING,
            "approve": BOOLEAN,
            "closure": listed(STRING),
            "groups": listed(STRING),
            "in_people": BOOLEAN,
            "revoked": BOOLEAN,
            "age_s": INTEGER,
        }
    )
    approval = closed(
        {
            "present": BOOLEAN,
            "id": STRING,
            "requester_closure": listed(STRING),
            "requester_acting_closure": listed(STRING),
            "verdicts": listed(verdict),
            "groups": listed(STRING),
            "quorum": INTEGER,
            "rules": listed(STRING),
        }
    )
    past = closed({"element": STRING, "act": STRING, "object": STRING, "connection": STRING, "age_s": INTEGER})
    budgets = closed({"present": BOOLEAN, "used": listed(closed({"name": STRING, "free_in": listed(INTEGER)}))})
    session = closed({"role": STRING, "connection": STRING, "closure": listed(STRING)})
    return closed(
        {
            "time": STRING,
            "time_ns": INTEGER,
            "can_hold": BOOLEAN,
            "approval": approval,
            "sessions": listed(session),
            "reason": STRING,
            "budgets": budgets,
            "scopes": listed(STRING),
            "scoped": BOOLEAN,
            "credential": closed(
                {
                    "present": BOOLEAN,
                    "kind": one_of("", "password", "ssh-certificate"),
                    "connection": STRING,
                    "role": STRING,
                    "uses": INTEGER,
                    "proved": BOOLEAN,
                    "command": STRING,
                }
            ),
            "enforcer": STRING,
            "history": closed({"present": BOOLEAN, "acts": listed(past)}),
            "authentication": closed({"acr": STRING, "age_s": INTEGER}),
            "requests": closed({"present": BOOLEAN, "live": INTEGER, "hour": INTEGER, "refused": INTEGER}),
            "plan": closed(
                {
                    "present": BOOLEAN,
                    "id": STRING,
                    "step": INTEGER,
                    "steps": INTEGER,
                    "fits": BOOLEAN,
                    "expects": STRING,
                    "requester_closure": listed(STRING),
                    "requester_acting_closure": listed(STRING),
                    "executor_closure": listed(STRING),
                    "rows_least": INTEGER,
                    "rows_most": INTEGER,
                }
            ),
        }
    )


def _values() -> Schema:
    bound = closed({"type_oid": INTEGER, "is_null": BOOLEAN, "text": STRING})
    estimate = closed({"state": one_of("absent", "known", "unknown"), "rows": NUMBER, "cost": NUMBER, "why": STRING})
    return closed({"present": BOOLEAN, "statement": STRING, "bound": listed(bound), "estimate": estimate})


def build() -> Schema:
    """The whole schema."""
    from twokey.type.v1 import operation_pb2  # noqa: PLC0415 - generated stubs, on the path set above

    sql = message(cast("Descriptor", operation_pb2.SqlOperation.DESCRIPTOR), without=frozenset({"values"}))
    subject = _party(
        groups=listed(STRING),
        roles=listed(STRING),
        role=STRING,
        actors=listed(_party()),
        closure=listed(STRING),
        acting_closure=listed(STRING),
    )
    question = closed(
        {
            "version": INTEGER,
            "question": one_of("operation", "session", "review", "call", "read", "access", "request"),
            "subject": subject,
            "action": closed({"name": STRING, "verbs": listed(STRING)}),
            "resource": closed(
                {"type": STRING, "id": STRING, "kind": STRING, "environment": STRING, "subject": STRING}
            ),
            "operation": closed({"kind": STRING, "id": STRING, "digest": STRING, "shape_digest": STRING, "sql": sql}),
            "values": _values(),
            "context": _context(),
        }
    )
    access = closed(
        {
            "caller": STRING,
            "subject_type": STRING,
            "entrypoint": closed({"present": BOOLEAN, "decision": BOOLEAN}),
        }
    )
    # Of the question `access` alone: every other is as long as it was.
    question["properties"] = {**cast("Schema", question["properties"]), "access": access}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "The question put to OPA", **question}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the file is current")
    check = parser.parse_args().check
    text = json.dumps(build(), indent=2) + "\n"
    if not check:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.relative_to(ROOT)} is not current: run python tools/input_schema.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
