"""From a description to the operation that is put to policy: bound values, lease keys and the protobuf message."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from hashlib import sha256

from twokey.type.v1 import operation_pb2

from enforcers.core.ports import Bound
from enforcers.postgres.describe.digest import encode
from enforcers.postgres.description import Description, SessionNames
from enforcers.postgres.machine_state import Transaction

_VALUE = struct.Struct("!QQqQ?Q?Q")
_LEASE = b"twokey lease v1"
_HEAD = encode((b"twokey operation v1",))


_DIGITS = b"abcdefghijklmnopqrstuvwxyz234567"


class _OperationIds:
    """`op_` + UUIDv7 (RFC 9562, section 5.7) in lower-case base32.

    26 digits: ten hold the 48 bits of time and the first half of the version (0111); sixteen the rest, of which a byte
    of randomness each makes a digit. Made for every act, so the time's digits are kept for their millisecond and the
    random ones made 256 acts at a time.
    """

    _BATCH = 256
    _ANY = bytes(_DIGITS[byte & 31] for byte in range(256))
    # Where a digit holds bits that are fixed: the version's last two (11), the variant (10), and the padding (00).
    _FIXED = (
        (0, bytes(_DIGITS[0b11000 | byte & 7] for byte in range(256))),
        (2, bytes(_DIGITS[byte & 0b11110 | 1] for byte in range(256))),
        (3, bytes(_DIGITS[byte & 0b01111] for byte in range(256))),
        (15, bytes(_DIGITS[byte & 0b11100] for byte in range(256))),
    )

    def __init__(self) -> None:
        self._millisecond = -1
        self._prefix = ""
        self._random: list[str] = []

    def __call__(self) -> str:
        millisecond = time.time_ns() // 1_000_000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            value = (millisecond & (1 << 48) - 1) << 2 | 0b01
            self._prefix = "op_" + "".join([chr(_DIGITS[value >> shift & 31]) for shift in range(45, -1, -5)])
        if not self._random:
            self._random = self._more()
        return self._prefix + self._random.pop()

    def _more(self) -> list[str]:
        raw = os.urandom(16 * self._BATCH)
        digits = bytearray(raw.translate(self._ANY))
        for place, table in self._FIXED:
            digits[place::16] = raw[place::16].translate(table)
        text = digits.decode("ascii")
        return [text[start : start + 16] for start in range(0, len(text), 16)]


new_operation_id = _OperationIds()


class Digests:
    """`operation_digest` of describe.digest, with what does not change between acts of one shape encoded once."""

    def __init__(self, connection: str, *, maximum: int = 4096) -> None:
        self._connection = connection
        self._maximum = maximum
        self._tails: dict[tuple[bytes, SessionNames], bytes] = {}
        self._last: tuple[bytes, SessionNames | None, bytes] = (b"", None, b"")

    def digest(self, description: Description, names: SessionNames, bound: Sequence[Bound]) -> bytes:
        static, last_names, tail = self._last
        if static is not description.static_digest or last_names is not names:
            tail = self._known_tail(description, names)
            self._last = (description.static_digest, names, tail)
        text, values = description.text, b""
        if bound:
            values = b"".join([_encoded(value) for value in bound])
        return sha256(
            b"".join((_HEAD, len(text).to_bytes(8, "big"), text, len(values).to_bytes(8, "big"), values, tail))
        ).digest()

    def _known_tail(self, description: Description, names: SessionNames) -> bytes:
        key = (description.static_digest, names)
        tail = self._tails.get(key)
        if tail is None:
            if len(self._tails) >= self._maximum:
                self._tails.clear()
            self._tails[key] = tail = _tail(self._connection, description, names)
        return tail


def _encoded(value: Bound) -> bytes:
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


def bound_values(values: Sequence[bytes | None], formats: tuple[int, ...], types: tuple[int, ...]) -> tuple[Bound, ...]:
    """formats as in Bind: none, one for all, or one each. A type nobody named is 0."""
    bound: list[Bound] = []
    for index, value in enumerate(values):
        code = 0 if not formats else formats[0] if len(formats) == 1 else formats[index]
        oid = types[index] if index < len(types) else 0
        bound.append(Bound(oid, value or b"", is_null=value is None, binary=code == 1))
    return tuple(bound)


def status_of(transaction: Transaction) -> str:
    if transaction.failed:
        return "failed"
    return "active" if transaction.active else "idle"


class LeaseKeys:
    """The lease key's part that this protocol adds (docs/architecture.md): shape, transaction state, position."""

    def __init__(self, *, read_only: bool, maximum: int = 4096) -> None:
        self._read_only = read_only
        self._maximum = maximum
        self._known: dict[tuple[bytes, str, bool, int, int, str], bytes] = {}

    def key(self, description: Description, transaction: Transaction, position: int, statements: int) -> bytes:
        status = "idle" if not (transaction.active or transaction.failed) else status_of(transaction)
        isolation = transaction.isolation
        parts = (description.shape_digest, status, transaction.written, position, statements, isolation)
        key = self._known.get(parts)
        if key is None:
            if len(self._known) >= self._maximum:
                self._known.clear()
            text = f"{parts[1]}\0{parts[2]}\0{self._read_only}\0{position}\0{statements}\0{isolation}".encode()
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
    bound: Sequence[Bound],
) -> operation_pb2.Operation:
    """The whole operation, values included; the decision service strips them for the question on the shape."""
    operation = operation_pb2.Operation(
        id=operation_id, connection=connection, digest=digest, shape_digest=description.shape_digest
    )
    sql = operation.sql
    sql.CopyFrom(description.template)
    sql.transaction.status = status_of(transaction)
    sql.transaction.written = transaction.written
    sql.transaction.isolation = transaction.isolation
    sql.transaction.read_only = read_only
    sql.position = position
    sql.statements = statements
    sql.values.statement = description.text
    sql.values.named = description.named
    sql.values.bound.extend([value.message() for value in bound])
    return operation
