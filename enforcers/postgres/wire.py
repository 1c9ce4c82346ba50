"""PostgreSQL's frontend/backend protocol 3.0 as bytes: framing, parsing and building, no I/O.

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol", sections "Message Formats" and "Message Flow".
A message is one type byte, an int32 length that counts itself, and a body; the startup packet has no type byte.

Why it exists apart from the machine: everything that can be broken by hostile bytes lives here and raises one error,
`ProtocolError`. Lengths are judged before anything is buffered. Frames are kept whole (header included), because what
was described is forwarded unchanged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from enforcers.core.errors import ProtocolError

HEADER = struct.Struct("!BI")
_INT32 = struct.Struct("!i")
_UINT32 = struct.Struct("!I")
_INT16 = struct.Struct("!h")
_UINT16 = struct.Struct("!H")
_FIELD = struct.Struct("!IhIhih")
_FORMATS = {b"\0\0": (0,), b"\0\1": (1,)}
_NO_FORMAT = (2,)

# PostgreSQL's own bounds: src/include/libpq/pqcomm.h (10,000) and libpq.h (PQ_SMALL_MESSAGE_LIMIT); ours: 10 KiB.
MAX_STARTUP_BYTES = 10 * 1024
MAX_SMALL_BYTES = 10_000
MAX_TOKEN_BYTES = 16 * 1024
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_SERVER_CONTROL_BYTES = 16 * 1024 * 1024  # of a server message that must be read whole: T, E, N, t, C …

PROTOCOL_3_0 = 196608
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104

LARGE = frozenset(b"QPBFdf")
SMALL = frozenset(b"EDCSHXc")
PASSWORD = ord("p")


class Frame(NamedTuple):
    """A client message: its type byte, and the whole frame; `raw` is empty when it was refused as too large."""

    kind: int
    raw: bytes


class ClientFramer:
    """Cuts the client's bytes into frames. After a ProtocolError it stays broken: every later call raises again."""

    def __init__(self, *, max_message: int = MAX_MESSAGE_BYTES) -> None:
        self._max = max_message
        self._buffer = bytearray()
        self._need = 5
        self._discard = 0
        self._broken = ""

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Every frame that is now complete, in order. Raises ProtocolError."""
        if self._broken:
            raise ProtocolError(self._broken)
        if self._discard:
            if len(data) <= self._discard:
                self._discard -= len(data)
                return []
            data = data[self._discard :]
            self._discard = 0
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        position, size = 0, len(data)
        unpack, make, maximum = HEADER.unpack_from, tuple.__new__, self._max
        while size - position >= 5:
            kind, length = unpack(data, position)
            if length > 9_000 or length < 4 or kind not in LARGE:
                self._judge(kind, length)
            end = position + 1 + length
            if length > maximum:
                frames.append(Frame(kind, b""))
                if end > size:
                    self._discard = end - size
                    return frames
            elif end > size:
                self._need = end - position
                break
            else:
                frames.append(make(Frame, (kind, data[position:end])))  # a third of the cost of Frame(…)
            position = end
        else:
            self._need = 5
        if position < size:
            self._buffer += data[position:]
        return frames

    def _judge(self, kind: int, length: int) -> None:
        if kind in LARGE:
            limit = 0x7FFFFFFF
        elif kind in SMALL:
            limit = MAX_SMALL_BYTES
        elif kind == PASSWORD:
            limit = MAX_TOKEN_BYTES
        else:
            self._break(f"unknown message type 0x{kind:02x}")
        if not 4 <= length <= limit:
            self._break(f"invalid length {length} of message type {chr(kind)!r}")

    def _break(self, why: str) -> None:
        self._broken = why
        self._buffer.clear()
        raise ProtocolError(why)


class Reader:
    """Reads a body with bounds checked; any shortfall is a ProtocolError."""

    __slots__ = ("_end", "data", "position")

    def __init__(self, data: bytes, position: int = 5) -> None:
        self.data = data
        self.position = position
        self._end = len(data)

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > self._end:
            raise ProtocolError("message ends too early")
        value = self.data[self.position : end]
        self.position = end
        return value

    def uint8(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int(_UINT16.unpack(self.take(2))[0])

    def int16(self) -> int:
        return int(_INT16.unpack(self.take(2))[0])

    def int32(self) -> int:
        return int(_INT32.unpack(self.take(4))[0])

    def uint32(self) -> int:
        return int(_UINT32.unpack(self.take(4))[0])

    def cstring(self) -> bytes:
        end = self.data.find(b"\0", self.position)
        if end < 0:
            raise ProtocolError("string without an end")
        value = self.data[self.position : end]
        self.position = end + 1
        return value

    def finish(self) -> None:
        if self.position != self._end:
            raise ProtocolError("message is longer than its content")


class Parse(NamedTuple):
    name: bytes
    query: bytes
    types: tuple[int, ...]


class Bind:
    """formats as sent: none, one for all, or one each. A None value is NULL."""

    __slots__ = ("formats", "portal", "result_formats", "statement", "values")

    def __init__(
        self,
        portal: bytes,
        statement: bytes,
        formats: tuple[int, ...],
        values: tuple[bytes | None, ...],
        result_formats: tuple[int, ...],
    ) -> None:
        self.portal = portal
        self.statement = statement
        self.formats = formats
        self.values = values
        self.result_formats = result_formats


class FunctionCall(NamedTuple):
    """function is its object id; formats as in Bind."""

    function: int
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_format: int


class Execute(NamedTuple):
    portal: bytes
    max_rows: int


class Target(NamedTuple):
    """Of Describe and Close: kind is b"S" (statement) or b"P" (portal)."""

    kind: bytes
    name: bytes


def frame_end(data: bytes, position: int) -> int:
    """Where the message that begins at `position` ends, after its header's word; 5 bytes are there."""
    return (
        position
        + 1
        + (data[position + 1] << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4])
    )


def parse_query(raw: bytes) -> bytes:
    """The text of a Query. A NUL inside ends PostgreSQL's reading early, so it is refused."""
    if raw[-1] != 0 or raw.find(b"\0", 5) != len(raw) - 1:
        raise ProtocolError("malformed Query")
    return raw[5:-1]


def parse_parse(raw: bytes) -> Parse:
    reader = Reader(raw)
    name, query = reader.cstring(), reader.cstring()
    count = reader.uint16()
    types = struct.unpack(f"!{count}I", reader.take(4 * count))
    reader.finish()
    return Parse(name, query, types)


def parse_bind(raw: bytes) -> Bind:
    # By hand, not by Reader: this runs for every prepared execution.
    size = len(raw)
    first = raw.find(b"\0", 5)
    second = raw.find(b"\0", first + 1) if first >= 0 else -1
    if second < 0:
        raise ProtocolError("string without an end")
    formats, position = _formats(raw, second + 1)
    if position + 2 > size:
        raise ProtocolError("message ends too early")
    count = raw[position] << 8 | raw[position + 1]
    position += 2
    values: list[bytes | None] = []
    for _ in range(count):
        if position + 4 > size:
            raise ProtocolError("message ends too early")
        length = raw[position] << 24 | raw[position + 1] << 16 | raw[position + 2] << 8 | raw[position + 3]
        position += 4
        if length > 0x7FFFFFFF:
            if length != 0xFFFFFFFF:
                raise ProtocolError("a value has an impossible length")
            values.append(None)
            continue
        end = position + length
        if end > size:
            raise ProtocolError("message ends too early")
        values.append(raw[position:end])
        position = end
    result_formats, position = _formats(raw, position)
    if position != size:
        raise ProtocolError("message is longer than its content")
    if len(formats) > 1 and len(formats) != len(values):
        raise ProtocolError("Bind has another number of formats than values")
    return Bind(raw[5:first], raw[first + 1 : second], formats, tuple(values), result_formats)


def _formats(raw: bytes, position: int) -> tuple[tuple[int, ...], int]:
    """The format codes that begin at `position`, and where they end."""
    start = position + 2
    if start > len(raw):
        raise ProtocolError("message ends too early")
    count = raw[position] << 8 | raw[position + 1]
    if not count:
        return (), start
    end = start + 2 * count
    if end > len(raw):
        raise ProtocolError("message ends too early")
    if count == 1:
        formats: tuple[int, ...] = _FORMATS.get(raw[start:end], _NO_FORMAT)
    else:
        formats = struct.unpack(f"!{count}H", raw[start:end])
    if max(formats) > 1:
        raise ProtocolError("unknown format code")
    return formats, end


def parse_execute(raw: bytes) -> Execute:
    end = raw.find(b"\0", 5)
    if end < 0 or len(raw) != end + 5:
        raise ProtocolError("malformed Execute")
    return Execute(raw[5:end], _INT32.unpack_from(raw, end + 1)[0])


def parse_target(raw: bytes) -> Target:
    kind = raw[5:6]
    if kind not in {b"S", b"P"}:
        raise ProtocolError("Describe or Close of neither a statement nor a portal")
    if raw.find(b"\0", 6) != len(raw) - 1:
        raise ProtocolError("malformed Describe or Close")
    return Target(kind, raw[6:-1])


def parse_function_call(raw: bytes) -> FunctionCall:
    reader = Reader(raw)
    function = reader.uint32()
    formats = tuple(reader.uint16() for _ in range(reader.uint16()))
    values: list[bytes | None] = []
    for _ in range(reader.uint16()):
        length = reader.int32()
        values.append(None if length == -1 else reader.take(length))
    result_format = reader.uint16()
    reader.finish()
    if max((*formats, result_format)) > 1:
        raise ProtocolError("unknown format code")
    if len(formats) > 1 and len(formats) != len(values):
        raise ProtocolError("a function call has another number of formats than values")
    return FunctionCall(function, formats, tuple(values), result_format)


def parse_password(raw: bytes) -> bytes:
    reader = Reader(raw)
    password = reader.cstring()
    reader.finish()
    return password


class FieldDescription(NamedTuple):
    """One column of a RowDescription; table and attribute are 0 when the value is no table column."""

    name: bytes
    table: int
    attribute: int
    type: int
    type_length: int
    type_modifier: int
    format: int


def parse_row_description(raw: bytes) -> tuple[FieldDescription, ...]:
    reader = Reader(raw)
    fields = []
    for _ in range(reader.uint16()):
        name = reader.cstring()
        fields.append(FieldDescription(name, *_FIELD.unpack(reader.take(18))))
    reader.finish()
    return tuple(fields)


def parse_parameter_description(raw: bytes) -> tuple[int, ...]:
    reader = Reader(raw)
    count = reader.uint16()
    types: tuple[int, ...] = struct.unpack(f"!{count}I", reader.take(4 * count))
    reader.finish()
    return types


def parse_data_row(raw: bytes) -> list[bytes | None]:
    reader = Reader(raw)
    values: list[bytes | None] = []
    for _ in range(reader.uint16()):
        length = reader.int32()
        values.append(None if length == -1 else reader.take(length))
    reader.finish()
    return values


def parse_fields(raw: bytes) -> dict[str, bytes]:
    """The fields of an ErrorResponse or NoticeResponse by their one-letter code."""
    reader = Reader(raw)
    fields: dict[str, bytes] = {}
    while (code := reader.uint8()) != 0:
        fields[chr(code)] = reader.cstring()
    reader.finish()
    return fields


def parse_parameter_status(raw: bytes) -> tuple[bytes, bytes]:
    reader = Reader(raw)
    name, value = reader.cstring(), reader.cstring()
    reader.finish()
    return name, value


def parse_key_data(raw: bytes) -> tuple[int, bytes]:
    """BackendKeyData: the process id, and the secret as bytes (4 in protocol 3.0)."""
    if not 12 < len(raw) <= 9 + 256:
        raise ProtocolError("malformed BackendKeyData")
    return int(_INT32.unpack_from(raw, 5)[0]), raw[9:]


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + _UINT32.pack(len(body) + 4) + body


SYNC = message(b"S")
FLUSH = message(b"H")
TERMINATE = message(b"X")
PARSE_COMPLETE = message(b"1")
AUTHENTICATION_OK = message(b"R", _INT32.pack(0))
AUTHENTICATION_CLEARTEXT = message(b"R", _INT32.pack(3))


def query(text: bytes) -> bytes:
    return message(b"Q", text + b"\0")


def parse(name: bytes, text: bytes, types: Sequence[int] = ()) -> bytes:
    return message(b"P", name + b"\0" + text + b"\0" + struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(
    portal: bytes,
    statement: bytes,
    values: Sequence[bytes | None] = (),
    *,
    formats: Sequence[int] = (),
    result_formats: Sequence[int] = (),
) -> bytes:
    body = [
        portal + b"\0" + statement + b"\0",
        struct.pack(f"!H{len(formats)}H", len(formats), *formats),
        _UINT16.pack(len(values)),
    ]
    body.extend(cells(values))
    body.append(struct.pack(f"!H{len(result_formats)}H", len(result_formats), *result_formats))
    return message(b"B", b"".join(body))


def cells(values: Iterable[bytes | None]) -> Iterable[bytes]:
    for value in values:
        yield b"\xff\xff\xff\xff" if value is None else _INT32.pack(len(value)) + value


def describe(kind: bytes, name: bytes) -> bytes:
    return message(b"D", kind + name + b"\0")


def close(kind: bytes, name: bytes) -> bytes:
    return message(b"C", kind + name + b"\0")


def execute(portal: bytes, max_rows: int = 0) -> bytes:
    return message(b"E", portal + b"\0" + _INT32.pack(max_rows))


def password(value: bytes) -> bytes:
    return message(b"p", value + b"\0")


def data_row(values: Sequence[bytes | None]) -> bytes:
    return message(b"D", _UINT16.pack(len(values)) + b"".join(cells(values)))


def ready(status: bytes) -> bytes:
    return message(b"Z", status)


def fields(kind: bytes, values: Sequence[tuple[str, str]]) -> bytes:
    """An ErrorResponse (b"E") or NoticeResponse (b"N"). NULs can't travel inside a field, so they become spaces."""
    body = b"".join(
        code.encode() + text.replace("\0", " ").encode("utf-8", "replace") + b"\0" for code, text in values if text
    )
    return message(kind, body + b"\0")


def parameter_status(name: bytes, value: bytes) -> bytes:
    return message(b"S", name + b"\0" + value + b"\0")


def key_data(process: int, secret: bytes) -> bytes:
    return message(b"K", _INT32.pack(process) + secret)


def cancel_request(process: int, secret: bytes) -> bytes:
    return struct.pack("!IIi", 12 + len(secret), CANCEL_REQUEST, process) + secret


def startup_packet(parameters: Sequence[tuple[bytes, bytes]]) -> bytes:
    body = _UINT32.pack(PROTOCOL_3_0) + b"".join(n + b"\0" + v + b"\0" for n, v in parameters) + b"\0"
    return _UINT32.pack(len(body) + 4) + body
