"""JSON of protobuf messages and rows of a table, the same for every command."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from google.protobuf import json_format
from google.protobuf.message import Message
from twokey.type.v1 import operation_pb2

from decision.showing import values


def emit(message: Message, **readable: object) -> None:
    """One message as one line of JSON: protobuf's JSON form, field names as in the .proto files, nothing left out.

    `readable` adds keys beside the message's own, for what protobuf can only say in base64.
    """
    document = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    click.echo(json.dumps({**document, **readable}, ensure_ascii=True))


def act(sql: operation_pb2.SqlOperation) -> dict[str, object]:
    """The act in readable form: statement, and bound values as text, None for NULL."""
    return {
        "statement": sql.values.statement.decode("utf-8", errors="backslashreplace"),
        "bound": [
            None if item.is_null else values.text(item.type_oid, item.value, binary=item.binary)
            for item in sql.values.bound
        ],
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest cell; the last one runs free."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
