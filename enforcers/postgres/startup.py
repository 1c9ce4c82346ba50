"""The start of a client's connection: what may be asked before a session exists, and what is refused.

Source: PostgreSQL documentation, "Start-up" and "SSLRequest", "CancelRequest", "StartupMessage",
"NegotiateProtocolVersion" in "Message Formats".
Parameters pass by an allowlist (the attacks it closes: search_path, role, session_authorization and replication
smuggled in at start-up): a parameter nobody thought of is refused by name, never dropped in silence.
"""

from __future__ import annotations

import enum
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
    "idle_session_timeout": "idle_session_timeout",
    "transaction_timeout": "transaction_timeout",
    "geqo": "geqo",
}
OWN = "twokey."  # settings below this are the gateway's own
PLAN = "twokey.plan"
REASON = "twokey.reason"
LOGIN = "twokey.login"  # password (the token, or a one-time password) or oauth (SASL OAUTHBEARER)
_IDENTITY = {"role", "session_authorization"}
_PLAN_ID = re.compile(r"pln_[a-z2-7]{26}\Z")
_ENCODINGS = {"utf8", "unicode"}
_MAX_VALUE = 1024
_SPACE = " \t\n\v\f\r"  # isspace() of the C locale
HEAD_BYTES = 8  # length and code, which every packet of the start-up begins with
NEWEST_MINOR = 2
_TLS_HANDSHAKE = 0x16  # the first byte of a ClientHello's record (RFC 8446, section 5.1)
_MAX_SECRET = 256  # of a cancel key, by protocol 3.2


class Encryption(enum.Enum):
    """What an encryption request asks for."""

    TLS = "TLS"
    GSSAPI = "GSSAPI"


_SSL_HEAD = struct.pack("!II", HEAD_BYTES, wire.SSL_REQUEST)
_GSS_HEAD = struct.pack("!II", HEAD_BYTES, wire.GSS_REQUEST)


def encryption(head: bytes) -> Encryption | None:
    """What these first 8 bytes of a packet ask for; None: they are another packet's."""
    if head == _SSL_HEAD:
        return Encryption.TLS
    return Encryption.GSSAPI if head == _GSS_HEAD else None


def is_direct_tls(first: int) -> bool:
    """Does a connection whose first byte this is begin with TLS itself (sslnegotiation=direct)?"""
    return first == _TLS_HANDSHAKE


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
    reason: str = ""  # twokey.reason, as the session begins
    oauth: bool = False  # log in by SASL OAUTHBEARER
    settings: tuple[tuple[str, str], ...] = ()
    minor: int = 0
    extensions: tuple[bytes, ...] = field(default=())

    @property
    def long_key(self) -> bool:
        """Does the client's protocol (3.2) take cancel keys of more than 4 bytes?"""
        return self.minor >= 2

    @property
    def negotiation(self) -> bytes:
        """NegotiateProtocolVersion, where the client asked for more than is spoken here; else empty."""
        if self.minor <= NEWEST_MINOR and not self.extensions:
            return b""
        spoken = wire.PROTOCOL_3_0 + min(self.minor, NEWEST_MINOR)
        body = struct.pack("!II", spoken, len(self.extensions))
        return wire.message(b"v", body + b"".join(name + b"\0" for name in self.extensions))


class RefusedStartupError(ProtocolError):
    """The packet was read and is refused; sqlstate and str() are for the client."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


StartupEvent = CancelRequested | StartupRequested


class StartupFramer:
    """Collects one packet without a type byte. Bytes after it are an attempt to be believed later: refused.

    Encryption requests were dealt with before (entry.py); here they are out of order.
    """

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
        raise ProtocolError("an encryption request out of order")
    if code == wire.CANCEL_REQUEST:
        if not 12 < len(packet) <= 12 + _MAX_SECRET:
            raise ProtocolError("malformed CancelRequest")
        return CancelRequested(int.from_bytes(packet[8:12], "big", signed=True), packet[12:])
    if code >> 16 != 3:
        raise RefusedStartupError("0A000", f"protocol {code >> 16}.{code & 0xFFFF} is not supported: use 3.0 or 3.2")
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
    settings, own = _settings(named)
    return StartupRequested(
        user=user,
        database=database,
        plan=own[PLAN],
        reason=own[REASON],
        oauth=own[LOGIN] == "oauth",
        settings=settings,
        minor=minor,
        extensions=tuple(extensions),
    )


def _settings(named: dict[str, str]) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    replication = named.pop("replication", "false").lower()
    if replication not in {"false", "off", "no", "0"}:
        raise RefusedStartupError("0A000", "replication connections are refused")
    wanted = list(_options(named.pop("options", "")))
    wanted.extend(named.items())
    settings: dict[str, str] = {}
    own = {PLAN: "", REASON: "", LOGIN: ""}
    for key, value in wanted:
        if key in own:
            own[key] = _own(key, value)
        elif key.startswith(OWN):
            raise RefusedStartupError("42501", f'start-up parameter "{key}" is refused: {OWN}* is the gateway\'s own')
        elif key in _IDENTITY:
            raise RefusedStartupError(
                "42501", f'start-up parameter "{key}" is refused: the user name is the role to activate'
            )
        elif key == "client_encoding":
            if value.strip("'\"").replace("-", "").lower() not in _ENCODINGS:
                raise RefusedStartupError("22023", "client_encoding must be UTF8")
        elif key in ALLOWED:
            if len(value) > _MAX_VALUE:
                raise RefusedStartupError("22023", f'start-up parameter "{key}" is too long')
            settings[ALLOWED[key]] = value
        else:
            raise RefusedStartupError("42501", f'start-up parameter "{key}" is refused; set it in the session instead')
    return tuple(settings.items()), own


def _own(key: str, value: str) -> str:
    """A setting that the gateway keeps to itself."""
    if key == PLAN and not _PLAN_ID.match(value):
        raise RefusedStartupError("22023", "twokey.plan is not a plan id (pln_…)")
    if key == REASON and (len(value) > _MAX_VALUE or not value.isprintable()):
        raise RefusedStartupError("22023", "twokey.reason is not one line of text")
    if key == LOGIN and value not in {"password", "oauth"}:
        raise RefusedStartupError("22023", "twokey.login is password or oauth")
    return value


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
        found.append((name.replace("-", "_").lower(), value))
    return found


def _split(text: str) -> list[str]:
    words: list[str] = []
    current: list[str] | None = None
    characters = iter(text)
    for character in characters:
        if character in _SPACE:
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
