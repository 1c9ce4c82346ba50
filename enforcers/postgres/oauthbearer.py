"""PostgreSQL 18's own OAuth log-in, the server's side: SASL OAUTHBEARER (RFC 7628), sans-IO.

The client asks for it by the start-up option `twokey.login=oauth`; the server can't offer it beside a password. The
client sends one message with its token, or none to be told where tokens come from. A refusal is two messages long, as
the RFC has it: the status as JSON, the client's kvsep, then the error. Source: PostgreSQL documentation, "SASL
Authentication", "OAUTHBEARER"; there is no channel binding and no proof of possession in it, so the gateway asks for
TLS or loopback, as it does for a password.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass

from enforcers.core.errors import ProtocolError
from enforcers.postgres import wire

MECHANISM = b"OAUTHBEARER"
OFFER = wire.message(b"R", struct.pack("!i", 10) + MECHANISM + b"\0\0")
KVSEP = b"\x01"
_CONTINUE = 11
_KEY = re.compile(rb"[A-Za-z]+\Z")
_VALUE = re.compile(rb"[\x21-\x7e \t\r\n]*\Z")
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)\Z")


@dataclass(frozen=True, slots=True)
class First:
    """The client's first message: its token, "" where it asks where tokens come from."""

    token: str


def first(raw: bytes) -> First:
    """Of a whole SASLInitialResponse, its type byte included. Raises ProtocolError."""
    reader = wire.Reader(raw)
    mechanism = reader.cstring()
    rest = raw[5 + len(mechanism) + 1 :]
    if mechanism != MECHANISM:
        raise ProtocolError("the mechanism is not the one that was offered")
    if len(rest) < 4:
        raise ProtocolError("no initial response")
    length = struct.unpack("!i", rest[:4])[0]
    data = rest[4:]
    if length != len(data):
        raise ProtocolError("the initial response has another length than it says")
    return First(_token(data))


def _token(data: bytes) -> str:
    header, separator, pairs = data.partition(KVSEP)
    if header[:1] == b"p":
        raise ProtocolError("OAUTHBEARER has no channel binding")
    if not separator or header not in {b"n,,", b"y,,"}:
        raise ProtocolError("the header of the initial response is not n,, or y,, (another identity is not spoken for)")
    if not pairs.endswith(KVSEP + KVSEP) and pairs != KVSEP:
        raise ProtocolError("the initial response does not end as it must")
    found: dict[bytes, bytes] = {}
    for pair in pairs[:-2].split(KVSEP) if pairs != KVSEP else ():
        key, equals, value = pair.partition(b"=")
        if not equals or not _KEY.match(key) or not _VALUE.match(value) or key in found:
            raise ProtocolError("a member of the initial response can't be read")
        found[key] = value
    if b"auth" not in found:
        raise ProtocolError("the initial response has no auth")
    if not found[b"auth"]:
        return ""
    match = _BEARER.match(found[b"auth"])
    if match is None:
        raise ProtocolError("auth is not a bearer token")
    return match[1].decode("ascii")


def challenge(*, configuration: str) -> bytes:
    """The refusal's first half: AuthenticationSASLContinue with the status (RFC 7628, section 3.2.2)."""
    status = {"status": "invalid_token"}
    if configuration:
        status["openid-configuration"] = configuration
    return wire.message(b"R", struct.pack("!i", _CONTINUE) + json.dumps(status, separators=(",", ":")).encode())


def is_acknowledged(raw: bytes) -> bool:
    """Whether a whole SASLResponse is the one kvsep that ends a refusal."""
    return raw[5:] == KVSEP
