"""A tap between a client and its server: relays every byte, keeps both directions, and compares two recordings.

What may differ is taken out when a recording is read (`lines`), and nothing else:

- the log-in (AuthenticationXXX and the client's answers): docs/transformations.md, "Log-in";
- process ids and secrets of BackendKeyData, NotificationResponse and CancelRequest;
- object ids the server gave out itself (16384 and above), numbered in the order in which they first appear, and the
  schemas of temporary objects, which are numbered by process;
- times of today;
- the number of a client's thread, which Django names its savepoints and cursors by.

Source of the message formats: PostgreSQL documentation, "Message Formats".
"""

from __future__ import annotations

import difflib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType

_FIRST_OWN_OID = 16384
_OID_TYPES = {24, 26, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096}  # oid, regproc and its like
_FRONTEND_STARTUP = {80877103: "SSLRequest", 80877104: "GSSENCRequest", 80877102: "CancelRequest"}
_NUMBER = re.compile(r"(?<![\d.])\d{5,10}(?![\d.])")
_TEMPORARY = re.compile(r"pg_(toast_)?temp_\d+")
_THREAD = re.compile(r"(?<=\"s)\d{12,}(?=_x\d)|(?<=_django_curs_)\d{12,}")
_TIME = re.compile(r"(20\d\d-\d\d-\d\d)[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|[+-]\d\d(:?\d\d)?))?")
_BINARY_TIME = re.compile(rb"\x00\x00\x00\x08(\x00[\x02-\x05][\x00-\xff]{6})")
_DAY = 24 * 3600 * 1_000_000
_JOIN_S = 10.0


@dataclass(slots=True)
class Conversation:
    """One connection, both directions as they were."""

    client: bytearray = field(default_factory=bytearray)
    server: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Recording:
    """A client's connections, in the order in which they were opened."""

    conversations: list[Conversation] = field(default_factory=list)

    def lines(self) -> list[str]:
        return Reader(self).lines()


class Tap:
    """Listens on `port` of the loopback, relays each connection to `target`. A context manager."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.recording = Recording()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Tap:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(_JOIN_S)
        for thread in self._threads:  # the client is gone: what it was still to be told arrives
            thread.join(_JOIN_S)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            conversation = Conversation()
            self.recording.conversations.append(conversation)
            for source, sink, kept in (
                (client, server, conversation.client),
                (server, client, conversation.server),
            ):
                thread = threading.Thread(target=_relay, args=(source, sink, kept), daemon=True)
                self._threads.append(thread)
                thread.start()


def _relay(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    """Until either end is gone; then the other learns of it."""
    try:
        while data := source.recv(65536):
            kept += data
            sink.sendall(data)
    except OSError:
        pass  # a reset: for a recording the same as an end
    for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        try:
            end.shutdown(how)
        except OSError:
            continue  # it is closed already


# -- reading a recording --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """kind: the type byte as text, or a word for what has none."""

    kind: str
    body: bytes


def client_messages(data: bytes) -> Iterator[Message]:
    """What the client said, start-up first. A message that was cut short comes as `cut`."""
    position = 0
    while position < len(data):
        (length, code) = struct.unpack_from("!II", data, position)
        packet = bytes(data[position + 8 : position + length])
        position += length
        yield Message(_FRONTEND_STARTUP.get(code, "StartupMessage"), packet)
        if code not in {80877103, 80877104}:
            break
    yield from _typed(data, position)


def server_messages(data: bytes, *, encryption_answers: int) -> Iterator[Message]:
    for byte in data[:encryption_answers]:
        yield Message("EncryptionAnswer", bytes([byte]))
    yield from _typed(data, encryption_answers)


def _typed(data: bytes, position: int) -> Iterator[Message]:
    while position < len(data):
        if len(data) - position < 5:
            yield Message("cut", bytes(data[position:]))
            return
        (length,) = struct.unpack_from("!I", data, position + 1)
        end = position + 1 + length
        if end > len(data):
            yield Message("cut", bytes(data[position:]))
            return
        yield Message(chr(data[position]), bytes(data[position + 5 : end]))
        position = end


class Reader:
    """Turns a recording into comparable lines: one a message, both directions of each connection."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._oids: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        now = datetime.now(UTC)
        self._now = round((now - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
        self._today = {(now + timedelta(days=days)).strftime("%Y-%m-%d") for days in (-1, 0, 1)}

    def lines(self) -> list[str]:
        read = []
        for conversation in self._recording.conversations:
            client = list(client_messages(conversation.client))
            asked = sum(message.kind in {"SSLRequest", "GSSENCRequest"} for message in client)
            server = list(server_messages(conversation.server, encryption_answers=asked))
            read.append((_after_login_client(client), _after_login_server(server)))
        for number, (_, server) in enumerate(read):  # what is named must be known before it is looked for
            self._learn(number, server)
        lines = []
        for number, (client, server) in enumerate(read):
            lines += [
                f"{number} > {self._shown(message.kind, text)}"
                for message in client
                for text in [self._client(message)]
            ]
            lines += [
                f"{number} < {self._shown(message.kind, text)}"
                for message in server
                for text in [self._server(message)]
            ]
        return lines

    # What stands for what

    def _learn(self, number: int, messages: list[Message]) -> None:
        types: list[int] = []
        for message in messages:
            if message.kind == "K":
                self._pids[struct.unpack_from("!I", message.body)[0]] = number
            elif message.kind == "T":
                columns = _columns(message.body)
                types = [column[3] for column in columns]
                for column in columns:
                    self._own(column[1])
                    self._own(column[3])
            elif message.kind == "t":
                for oid in struct.unpack(f"!{(len(message.body) - 2) // 4}I", message.body[2:]):
                    self._own(oid)
            elif message.kind == "D":
                values = _values(message.body)
                if len(values) == len(types):
                    for value, kind in zip(values, types, strict=True):
                        if value is not None and kind in _OID_TYPES:
                            self._own(_number(value))

    def _own(self, oid: int) -> None:
        if oid >= _FIRST_OWN_OID:
            self._oids.setdefault(oid, len(self._oids))

    def _oid(self, oid: int) -> str:
        return f"<oid {self._oids[oid]}>" if oid in self._oids else str(oid)

    def _text(self, data: bytes) -> str:
        """A value or a text, without what may differ."""
        if len(data) == 4 and (oid := struct.unpack("!I", data)[0]) in self._oids:
            return self._oid(oid)
        text = repr(data)[1:]
        text = _THREAD.sub("<thread>", _TEMPORARY.sub("pg_temp_<n>", text))
        text = _TIME.sub(lambda found: "<time>" if found[1] in self._today else found[0], text)
        return _NUMBER.sub(lambda found: self._oid(int(found[0])) if int(found[0]) in self._oids else found[0], text)

    def _binary_time(self, found: re.Match[bytes]) -> bytes:
        """A parameter of eight bytes that is microseconds since 2000 and today."""
        away = abs(struct.unpack("!q", found[1])[0] - self._now)
        return b"<time>" if away < 2 * _DAY else found[0]

    def _shown(self, kind: str, text: str) -> str:
        return f"{kind} {text}".rstrip()

    # Messages

    def _client(self, message: Message) -> str:
        if message.kind == "CancelRequest":
            return ""
        body = message.body
        if message.kind == "StartupMessage":  # a set of parameters, which pgx sends in any order
            words = body.split(b"\0")
            return self._text(
                b", ".join(sorted(b" ".join(pair) for pair in zip(words[::2], words[1::2], strict=False)))
            )
        if message.kind in {"B", "F"}:  # values in binary form
            body = _BINARY_TIME.sub(self._binary_time, body)
            for oid, number in self._oids.items():
                body = body.replace(struct.pack("!I", oid), b"<oid %d>" % number)
        return self._text(body)

    def _server(self, message: Message) -> str:
        kind, body = message.kind, message.body
        if kind == "K":
            return f"<pid> and a secret of {len(body) - 4} bytes"
        if kind == "A":
            return f"<pid> {self._text(body[4:])}"
        if kind == "T":
            return " | ".join(
                f"{self._text(name)} of {self._oid(table)}.{attribute} type {self._oid(oid)} size {size} "
                f"modifier {modifier} format {code}"
                for name, table, attribute, oid, size, modifier, code in _columns(body)
            )
        if kind == "t":
            oids = struct.unpack(f"!{(len(body) - 2) // 4}I", body[2:])
            return " ".join(self._oid(oid) for oid in oids)
        if kind == "D":
            return " | ".join("NULL" if value is None else self._text(value) for value in _values(body))
        if kind in {"E", "N"}:
            return " | ".join(f"{part[:1].decode()}={self._text(part[1:])}" for part in body.split(b"\0") if part)
        return self._text(body)


def _columns(body: bytes) -> list[tuple[bytes, int, int, int, int, int, int]]:
    """name, table, attribute, type, size, modifier, format."""
    found = []
    position = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        end = body.index(0, position)
        found.append((body[position:end], *struct.unpack_from("!IhIhih", body, end + 1)))
        position = end + 19
    return found


def _values(body: bytes) -> list[bytes | None]:
    values: list[bytes | None] = []
    position = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        (length,) = struct.unpack_from("!i", body, position)
        position += 4
        if length < -1 or position + length > len(body):
            return [*values, b"<a value of %d bytes> " % length + body[position:]]
        values.append(None if length < 0 else body[position : position + length])
        position += max(length, 0)
    return values if position == len(body) else [*values, b"<behind the values> " + body[position:]]


def _number(value: bytes) -> int:
    if value.isdigit():
        return int(value)
    return int(struct.unpack("!I", value)[0]) if len(value) == 4 else 0


def _after_login_client(messages: list[Message]) -> list[Message]:
    """Without the password and SASL messages, which stand between the start-up and the first other message; and without
    Flush, which some clients send only when an answer has not come yet."""
    kept: list[Message] = []
    logging_in = True
    for message in messages:
        if message.kind == "H" or (message.kind == "p" and logging_in):
            continue
        logging_in = logging_in and (message.kind in _FRONTEND_STARTUP.values() or message.kind == "StartupMessage")
        kept.append(message)
    return kept


def _after_login_server(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.kind != "R"]


def difference(direct: Recording, gateway: Recording, *, most: int = 120) -> str:
    """Empty when the client was told the same and said the same; else a readable diff (- direct, + gateway)."""
    found = list(difflib.unified_diff(direct.lines(), gateway.lines(), "direct", "gateway", lineterm="", n=3))
    if len(found) > most:
        found = [*found[:most], f"… and {len(found) - most} lines more"]
    return "\n".join(line if len(line) < 600 else f"{line[:600]}…" for line in found)
