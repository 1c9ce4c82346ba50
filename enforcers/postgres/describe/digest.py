"""Digests: SHA-256 over a canonical encoding of a tuple, never of a text made from it.

The encoding: every member is a byte string, preceded by its length as 8 bytes big-endian; a list is the encoding of
its members, itself a member. Two different tuples can then never encode alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from enforcers.core.ports import Bound
from enforcers.postgres.description import Description, SessionNames

_FORMAT = b"twokey operation v1"


def encode(members: Iterable[bytes]) -> bytes:
    """Length-prefixed members, one after the other."""
    parts: list[bytes] = []
    for member in members:
        parts.append(len(member).to_bytes(8, "big"))
        parts.append(member)
    return b"".join(parts)


def number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def operation_digest(
    description: Description,
    names: SessionNames,
    connection: str,
    values: Sequence[Bound] = (),
) -> bytes:
    """SHA-256 over the exact act: statement bytes unchanged, bound values with type, format and bytes, connection,
    what the statement resolved to and depends on (static_digest), search_path, roles."""
    bound = encode(
        encode(
            (
                number(value.type_oid),
                b"\x01" if value.is_null else b"\x00",
                b"\x01" if value.binary else b"\x00",
                value.value,
            )
        )
        for value in values
    )
    act = encode(
        (
            _FORMAT,
            description.text,
            bound,
            connection.encode(),
            description.static_digest,
            names.database.encode(),
            encode(item.encode() for item in names.search_path),
            names.effective_role.encode(),
            names.session_role.encode(),
        )
    )
    return hashlib.sha256(act).digest()
