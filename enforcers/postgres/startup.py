"""The start of a client's connection: what may be asked before a session exists, and what is refused.

Source: PostgreSQL documentation, "Start-up" and "SSLRequest", "CancelRequest", "StartupMessage" in "Message Formats".
Parameters pass by an allowlist (the attacks it closes: search_path, role, session_authorization and replication
smuggled in at start-up): a parameter nobody thought of is refused by name, never dropped in silence.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from enforcers.core.errors import ProtocolError
from enforcers.postgres import wire

# Settings a client may give at start-up, lower case, with the spelling PostgreSQL reports. None of them changes what a
# name, a string or a right means.
ALLOWED = {
    "application_name": "application_name",
    "datestyle": "DateStyle",
    "timezone": "TimeZone",
    "extra_float_digits": "extra_float_digits",
    "intervalstyle": "IntervalStyle",
    "client_min_messages": "client_min_messages",
    "jit": "jit",
    "statement_timeout": "statement_timeout",
    "lock_timeout": "lock_timeout",
    "idle_in_transaction_session_timeout": "idle_in_transaction_session_timeout",
    "geqo": "geqo",
}
PLAN = "twokey.plan"
_PLAN_ID = re.compile(r"pln_[a-z2-7]{26}\Z")
_ENCODINGS = {"utf8", "unicode"}
_MAX_VALUE = 1024


@dataclass(frozen=True, slots=True)
class SslRequested:
    """SSLRequest or GSSENCRequest: answered with one byte, after which the client starts again."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    process: int
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupRequested:
    """user is the role to activate, database the connection. settings go upstream, in order."""

    user: str
    database: str
    plan: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    minor: int = 0
    extensions: tuple[bytes, ...] = field(default=())

    @property
    def negotiation(self) -> bytes:
        """NegotiateProtocolVersion, where the client asked for more than 3.0; else empty."""
        if not self.minor and not self.extensions:
            return b""
        body = struct.pack("!II", wire.PROTOCOL_3_0, len(self.extensions))
        return wire.message(b"v", body + b"".join(name + b"\0" for name in self.extensions))


class RefusedStartupError(ProtocolError):
    """The packet was read and is refused; sqlstate and str() are for the client."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


StartupEvent = SslRequested | CancelRequested | StartupRequested


class StartupFramer:
    """Collects one packet without a type byte. Bytes after it are an attempt to be believed later: refused."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> StartupEvent | None:
        """The packet once it is whole. Raises ProtocolError, also for bytes behind it."""
        self._buffer += data
        if len(self._buffer) < 8:
            if len(self._buffer) >= 4:
                self._length()
            return None
        length = self._length()
        if len(self._buffer) < length:
            return None
        if len(self._buffer) > length:
            raise ProtocolError("bytes after the start-up packet")
        packet = bytes(self._buffer)
        self._buffer.clear()
        return _event(packet)

    def _length(self) -> int:
        length = int.from_bytes(self._buffer[:4], "big")
        if not 8 <= length <= wire.MAX_STARTUP_BYTES:
            raise ProtocolError("invalid length of the start-up packet")
        return length


def _event(packet: bytes) -> StartupEvent:
    code = int.from_bytes(packet[4:8], "big")
    if code in {wire.SSL_REQUEST, wire.GSS_REQUEST}:
        if len(packet) != 8:
            raise ProtocolError("malformed encryption request")
        return SslRequested()
    if code == wire.CANCEL_REQUEST:
        if not 12 < len(packet) <= 12 + 256:
            raise ProtocolError("malformed CancelRequest")
        return CancelRequested(int.from_bytes(packet[8:12], "big", signed=True), packet[12:])
    if code >> 16 != 3:
        raise RefusedStartupError("0A000", f"protocol {code >> 16}.{code & 0xFFFF} is not supported: use 3.0")
    return _startup(packet, minor=code & 0xFFFF)


def _startup(packet: bytes, *, minor: int) -> StartupRequested:
    reader = wire.Reader(packet, 8)
    named: dict[str, str] = {}
    extensions: list[bytes] = []
    while name := reader.cstring():
        value = reader.cstring()
        if name.startswith(b"_pq_."):
            extensions.append(name)
            continue
        try:
            key, text = name.decode().lower(), value.decode()
        except UnicodeDecodeError as error:
            raise RefusedStartupError("22021", "start-up parameters must be UTF-8") from error
        if key in named:
            raise RefusedStartupError("22023", f'start-up parameter "{key}" is given twice')
        named[key] = text
    reader.finish()
    user = named.pop("user", "")
    if not user:
        raise RefusedStartupError("28000", "no user name: it is the role to activate, for example planner")
    database = named.pop("database", "") or user
    settings, plan = _settings(named)
    return StartupRequested(
        user=user, database=database, plan=plan, settings=settings, minor=minor, extensions=tuple(extensions)
    )


def _settings(named: dict[str, str]) -> tuple[tuple[tuple[str, str], ...], str]:
    replication = named.pop("replication", "false").lower()
    if replication not in {"false", "off", "no", "0"}:
        raise RefusedStartupError("0A000", "replication connections are refused")
    wanted = list(_options(named.pop("options", "")))
    wanted.extend(named.items())
    settings: dict[str, str] = {}
    plan = ""
    for key, value in wanted:
        if key == PLAN:
            if not _PLAN_ID.match(value):
                raise RefusedStartupError("22023", "twokey.plan is not a plan id (pln_…)")
            plan = value
        elif key == "client_encoding":
            if value.strip("'\"").replace("-", "").lower() not in _ENCODINGS:
                raise RefusedStartupError("22023", "client_encoding must be UTF8")
        elif key in ALLOWED:
            if len(value) > _MAX_VALUE:
                raise RefusedStartupError("22023", f'start-up parameter "{key}" is too long')
            settings[ALLOWED[key]] = value
        else:
            raise RefusedStartupError("42501", f'start-up parameter "{key}" is refused; set it in the session instead')
    return tuple(settings.items()), plan


def _options(text: str) -> list[tuple[str, str]]:
    """`-c name=value`, `-cname=value` and `--name=value`, split as PostgreSQL's pg_split_opts does (backslash escapes).

    Raises RefusedStartupError for any other option.
    """
    words = _split(text)
    found: list[tuple[str, str]] = []
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = words.pop(0)
        elif word.startswith(("-c", "--")) and len(word) > 2:
            word = word[2:]
        else:
            raise RefusedStartupError("42501", "only -c name=value is accepted in options")
        name, equals, value = word.partition("=")
        if not equals:
            raise RefusedStartupError("22023", "only -c name=value is accepted in options")
        found.append((name.strip().replace("-", "_").lower(), value))
    return found


def _split(text: str) -> list[str]:
    words: list[str] = []
    current: list[str] | None = None
    characters = iter(text)
    for character in characters:
        if character.isspace():
            if current is not None:
                words.append("".join(current))
                current = None
            continue
        if current is None:
            current = []
        current.append(next(characters, "") if character == "\\" else character)
    if current is not None:
        words.append("".join(current))
    return words
