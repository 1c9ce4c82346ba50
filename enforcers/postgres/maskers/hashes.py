"""Keyed hashes: equal values stay equal, so masked columns of one connection join; nothing else shows.

The key is derived per connection (RFC 5869) from the one that `masking.key` names, so that two connections' values
don't join. HMAC-SHA-256 over the value, not over its spelling: text and binary results give the same. Who can write
values into such a column could build a table of hashes: policy refuses it for those (docs/policy.md).
"""

from __future__ import annotations

import hmac
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enforcers.postgres.maskers.base import Masker
from enforcers.postgres.maskers.texts import padded

MIN_KEY = 16  # bytes of masking.key
TEXT_LENGTH = 32  # hexadecimal digits of a hashed text, where its type holds so many
MIN_TEXT_LENGTH = 16  # fewer would join what isn't equal
_KEY_BYTES = 32
_CONTEXT = b"twokey masking key v1, connection "


def connection_key(secret: bytes, connection: str) -> bytes:
    """The 32 bytes that the hashes of one connection use. Raises ValueError for a secret that is too short."""
    if len(secret) < MIN_KEY:
        raise ValueError(f"the masking key has fewer than {MIN_KEY} bytes")
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_CONTEXT + connection.encode()).derive(secret)


class HashText(Masker):
    """Hexadecimal digits. most: what the type holds, 0 without a limit. width: of character(n), whose blanks at the
    end don't count."""

    def __init__(self, key: bytes, most: int = 0, width: int = 0) -> None:
        self._key = key
        self._length = min(most, TEXT_LENGTH) if most else TEXT_LENGTH
        self._width = width

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        value = data[start:end]
        if self._width:
            value = value.rstrip(b" ")
        hashed = hmac.digest(self._key, b"text" + value, "sha256").hex()[: self._length].encode()
        return padded(hashed, self._width) if self._width else hashed


class HashInt8(Masker):
    """63 bits, never negative."""

    def __init__(self, key: bytes, *, binary: bool) -> None:
        self._key = key
        self._binary = binary

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        if self._binary:
            if end - start != 8:
                return None
            value = int.from_bytes(data[start:end], "big", signed=True)
        else:
            try:
                value = int(data[start:end])
            except ValueError:
                return None
        hashed = hmac.digest(self._key, b"int8" + str(value).encode(), "sha256")[:8]
        if self._binary:
            return bytes((hashed[0] & 0x7F,)) + hashed[1:]
        return str(int.from_bytes(hashed, "big") & 0x7FFF_FFFF_FFFF_FFFF).encode()


class HashUuid(Masker):
    """A UUID of version 8 (RFC 9562: what an application makes as it likes)."""

    def __init__(self, key: bytes, *, binary: bool) -> None:
        self._key = key
        self._binary = binary

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        value = data[start:end]
        if not self._binary:
            try:
                value = UUID(value.decode()).bytes
            except ValueError:
                return None
        elif len(value) != 16:
            return None
        hashed = hmac.digest(self._key, b"uuid" + value, "sha256")
        marked = hashed[:6] + bytes((hashed[6] & 0x0F | 0x80, hashed[7], hashed[8] & 0x3F | 0x80)) + hashed[9:16]
        return marked if self._binary else str(UUID(bytes=marked)).encode()


class HashBytea(Masker):
    """32 bytes. In text both forms of bytea_output are read; the hexadecimal one is given."""

    def __init__(self, key: bytes, *, binary: bool) -> None:
        self._key = key
        self._binary = binary

    def mask(self, data: bytes, start: int, end: int) -> bytes | None:
        value = data[start:end]
        if self._binary:
            return hmac.digest(self._key, b"bytea" + value, "sha256")
        try:
            value = bytes.fromhex(value[2:].decode()) if value.startswith(b"\\x") else _unescaped(value)
        except ValueError:
            return None
        return b"\\x" + hmac.digest(self._key, b"bytea" + value, "sha256").hex().encode()


def _unescaped(value: bytes) -> bytes:
    r"""bytea_output = escape: \\ and \ooo. Raises ValueError."""
    out = bytearray()
    position, size = 0, len(value)
    while position < size:
        byte = value[position]
        position += 1
        if byte != 0x5C:
            out.append(byte)
        elif value[position : position + 1] == b"\\":
            out.append(0x5C)
            position += 1
        else:
            out.append(int(value[position : position + 3], 8))
            position += 3
    return bytes(out)
