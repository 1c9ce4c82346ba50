"""A key revocation list (OpenSSH, PROTOCOL.krl): the certificates of one authority that no longer count, by key id.

`RevokedKeys` of an sshd names a file of this form, and our SSH gateway reads the same. Every revoked certificate runs
out within minutes, so the list is short.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final

MAGIC: Final = b"SSHKRL\n\0"
_CERTIFICATES: Final = b"\x01"
_KEY_IDS: Final = b"\x23"


def revocation_list(authority: bytes, key_ids: Collection[str], *, version: int, now: int) -> bytes:
    """authority: the blob of its public key. version: grows from list to list; now: seconds since 1970."""
    header = MAGIC + struct.pack("!IQQQ", 1, version, now, 0) + _string(b"") + _string(b"twokey")
    if not key_ids:
        return header
    names = b"".join(_string(name.encode()) for name in sorted(set(key_ids)))
    section = _string(authority) + _string(b"") + _KEY_IDS + _string(names)
    return header + _CERTIFICATES + _string(section)


def _string(value: bytes) -> bytes:
    return struct.pack("!I", len(value)) + value
