"""Every list of an operation that names columns is looked at."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor
from twokey.type.v1 import operation_pb2

from enforcers.postgres.named_columns import named

# Lists of SqlOperation that name columns for another purpose.
_OTHER = {"column_labels", "missing_columns"}


def _is_column(descriptor: Descriptor) -> bool:
    return {"schema", "relation", "column"} <= set(descriptor.fields_by_name)


def _fill(message: operation_pb2.SqlOperation, place: str, found: list[tuple[str, str, str]]) -> None:
    """One column, of its own name, in every message below that can hold one."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None or (place == "" and field.name in _OTHER):
            continue
        value = getattr(message, field.name)
        part = value.add() if field.is_repeated else value
        path = f"{place}.{field.name}"
        if _is_column(field.message_type):
            part.schema, part.relation, part.column = "s", "r", path
            found.append(("s", "r", path))
        _fill(part, path, found)


def test_no_list_is_forgotten() -> None:
    operation = operation_pb2.SqlOperation()
    wanted: list[tuple[str, str, str]] = []
    _fill(operation, "", wanted)
    assert len(wanted) == 7
    assert set(named(operation)) == set(wanted)
