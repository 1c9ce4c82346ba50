"""From a description to the operation that is put to policy: bound values, lease keys and the protobuf message."""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import b32encode
from collections.abc import Sequence

from twokey.type.v1 import operation_pb2

from enforcers.postgres.description import Description
from enforcers.postgres.machine_state import Transaction

_LEASE = b"twokey lease v1"


def new_operation_id() -> str:
    """`op_` + UUIDv7 (RFC 9562, section 5.7) in lower-case base32."""
    value = (
        (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80
        | 0x7 << 76
        | secrets.randbits(12) << 64
        | 0b10 << 62
        | secrets.randbits(62)
    )
    return "op_" + b32encode(value.to_bytes(16, "big")).decode("ascii")[:26].lower()


def bound_values(
    values: Sequence[bytes | None], formats: Sequence[int], types: Sequence[int]
) -> list[operation_pb2.BoundValue]:
    """formats as in Bind: none, one for all, or one each. A type nobody named is 0."""
    bound = []
    for index, value in enumerate(values):
        code = 0 if not formats else formats[0] if len(formats) == 1 else formats[index]
        oid = types[index] if index < len(types) else 0
        bound.append(
            operation_pb2.BoundValue(type_oid=oid, is_null=value is None, binary=code == 1, value=value or b"")
        )
    return bound


def status_of(transaction: Transaction) -> str:
    if transaction.failed:
        return "failed"
    return "active" if transaction.active else "idle"


class LeaseKeys:
    """The lease key's part that this protocol adds (docs/architecture.md): shape, transaction state, position."""

    def __init__(self, *, read_only: bool, maximum: int = 4096) -> None:
        self._read_only = read_only
        self._maximum = maximum
        self._known: dict[tuple[bytes, str, bool, int, int], bytes] = {}

    def key(self, description: Description, transaction: Transaction, position: int, statements: int) -> bytes:
        parts = (description.shape_digest, status_of(transaction), transaction.written, position, statements)
        key = self._known.get(parts)
        if key is None:
            if len(self._known) >= self._maximum:
                self._known.clear()
            text = f"{parts[1]}\0{parts[2]}\0{self._read_only}\0{position}\0{statements}".encode()
            key = hashlib.sha256(_LEASE + description.shape_digest + text).digest()
            self._known[parts] = key
        return key


def build(
    connection: str,
    description: Description,
    *,
    operation_id: str,
    digest: bytes,
    transaction: Transaction,
    read_only: bool,
    position: int,
    statements: int,
    bound: Sequence[operation_pb2.BoundValue],
) -> operation_pb2.Operation:
    """The whole operation, values included; the decision service strips them for the question on the shape."""
    operation = operation_pb2.Operation(
        id=operation_id, connection=connection, digest=digest, shape_digest=description.shape_digest
    )
    sql = operation.sql
    sql.CopyFrom(description.template)
    sql.transaction.status = status_of(transaction)
    sql.transaction.written = transaction.written
    sql.transaction.read_only = read_only
    sql.position = position
    sql.statements = statements
    sql.values.statement = description.text
    sql.values.bound.extend(bound)
    return operation
