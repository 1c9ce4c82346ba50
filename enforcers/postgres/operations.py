"""From a description to the operation that is put to policy: bound values, lease keys and the protobuf message."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from hashlib import sha256

from twokey.type.v1 import operation_pb2

from enforcers.postgres.describe.digest import encode
from enforcers.postgres.description import Description, SessionNames
from enforcers.postgres.machine_state import Transaction

_VALUE = struct.Struct("!QQqQ?Q?Q")
_LEASE = b"twokey lease v1"
_HEAD = encode((b"twokey operation v1",))


_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_SHIFTS = tuple(range(120, -1, -10))


def new_operation_id() -> str:
    """`op_` + UUIDv7 (RFC 9562, section 5.7) in lower-case base32. Two digits at a time: it is made for every act."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80
        | 0x7 << 76
        | (random >> 68) << 64
        | 0b10 << 62
        | random & (1 << 62) - 1
    ) << 2
    pairs = _PAIRS
    return "op_" + "".join([pairs[value >> shift & 1023] for shift in _SHIFTS])


class Digests:
    """`operation_digest` of describe.digest, with what does not change between acts of one shape encoded once."""

    def __init__(self, connection: str, *, maximum: int = 4096) -> None:
        self._connection = connection
        self._maximum = maximum
        self._tails: dict[tuple[bytes, SessionNames], bytes] = {}

    def digest(self, description: Description, names: SessionNames, bound: Sequence[operation_pb2.BoundValue]) -> bytes:
        key = (description.static_digest, names)
        tail = self._tails.get(key)
        if tail is None:
            if len(self._tails) >= self._maximum:
                self._tails.clear()
            self._tails[key] = tail = _tail(self._connection, description, names)
        text, values = description.text, b""
        if bound:
            values = b"".join([_encoded(value) for value in bound])
        lengths = len(text).to_bytes(8, "big"), len(values).to_bytes(8, "big")
        return sha256(b"".join((_HEAD, lengths[0], text, lengths[1], values, tail))).digest()


def _encoded(value: operation_pb2.BoundValue) -> bytes:
    """A bound value as a member of the encoding: its four members, each and all behind their lengths."""
    content = value.value
    size = len(content)
    return _VALUE.pack(42 + size, 8, value.type_oid, 1, value.is_null, 1, value.binary, size) + content


def _tail(connection: str, description: Description, names: SessionNames) -> bytes:
    return encode(
        (
            connection.encode(),
            description.static_digest,
            names.database.encode(),
            encode(item.encode() for item in names.search_path),
            names.effective_role.encode(),
            names.session_role.encode(),
        )
    )


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
            key = sha256(_LEASE + description.shape_digest + text).digest()
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
