"""Acts as the audit service's messages, encoded by hand: every act of every session passes here.

The encoding is protobuf's own (its documentation, "Encoding"): a field is a key (number << 3 | type), then a varint or
a length and that many bytes; fields that hold their default are left out. `tests/enforcers/core/test_acts.py` holds it
equal, byte for byte, to what the generated classes write.
"""

from __future__ import annotations

import time

from enforcers.core.ports import Act, Bound, Outcome, Question
from enforcers.core.records import ActRecord

MAX_TEXT = 2000  # characters of what a target said
_ENVELOPE = 256  # bytes, about, of an act without its statement and values
_BYTES = [bytes((value,)) for value in range(256)]
_MORE = [bytes((value & 127 | 128, value >> 7 | 128)) for value in range(1 << 14)]  # two groups with more behind them
_INT64 = 1 << 64


def varint(value: int) -> bytes:
    """Base 128, least significant group first; a negative int64 as its two's complement."""
    if 0 <= value < 128:
        return _BYTES[value]
    if value < 0:
        value += _INT64
    out = b""
    while value >= 1 << 14:
        out += _MORE[value & 0x3FFF]
        value >>= 14
    return out + (_BYTES[value] if value < 128 else _BYTES[value & 127 | 128] + _BYTES[value >> 7])


def field(key: bytes, content: bytes) -> bytes:
    """A length-delimited field with something in it."""
    size = len(content)
    return key + (_BYTES[size] if size < 128 else varint(size)) + content


def texts(key: bytes, text: str) -> bytes:
    return field(key, text.encode()) if text else b""


def number(key: bytes, value: int) -> bytes:
    return key + varint(value) if value else b""


def intent_size(act: Act) -> int:
    """About how many bytes its record takes while it waits."""
    size = _ENVELOPE + len(act.statement)
    for value in act.bound:
        size += len(value.value) + 16
    return size


def session_field(session: str) -> bytes:
    return texts(b"\x0a", session)


def question(session: bytes, asked: Question, sequence: int) -> bytes:
    """A DecideRequest, without copying the operation into one. session: session_field() of it."""
    encoded = session + field(b"\x12", asked.operation.SerializeToString())
    if asked.can_hold:
        encoded += b"\x20\x01"
    return encoded + texts(b"\x2a", asked.hold_hint) + number(b"\x30", sequence)


def head(session: bytes, operation: str, sequence: int) -> bytes:
    """session: `session_field` of it."""
    return session + texts(b"\x12", operation) + number(b"\x18", sequence)


def intent_field(act: Act) -> bytes:
    """The field `intent` of an act that is done under a lease, as of now."""
    nanoseconds = time.time_ns()
    seconds = nanoseconds // 1_000_000_000
    moment = number(b"\x08", seconds) + number(b"\x10", nanoseconds - seconds * 1_000_000_000)
    bound = act.bound
    content = (
        texts(b"\x0a", act.ruling.decision)
        + field(b"\x12", act.digest)
        + field(b"\x1a", act.shape_digest)
        + field(b"\x22", act.statement)
        + (_values(bound) if bound else b"")
        + field(b"\x32", moment)
    )
    return field(b"\x22", content)


def _values(bound: tuple[Bound, ...]) -> bytes:
    out = b""
    for value in bound:
        content = number(b"\x08", value.type_oid)
        if value.is_null:
            content += b"\x10\x01"
        if value.binary:
            content += b"\x18\x01"
        if value.value:
            content += field(b"\x22", value.value)
        out += field(b"\x2a", content)
    return out


def outcome_field(act: Act, outcome: Outcome) -> bytes:
    """The field `outcome`: how the act ended, just now."""
    elapsed = max(0, int((time.monotonic() - act.started) * 1e9))
    return _outcome_field(outcome, act.ruling.execution, elapsed)


def untimed_outcome(outcome: Outcome, execution: str) -> bytes:
    """The same for an act that the gateway never got to see."""
    return _outcome_field(outcome, execution, -1)


def _outcome_field(outcome: Outcome, execution: str, elapsed: int) -> bytes:
    """elapsed: nanoseconds; negative: not said."""
    content = (
        texts(b"\x0a", outcome.status)
        + texts(b"\x12", _text(outcome.command_tag))
        + number(b"\x18", outcome.rows)
        + number(b"\x20", outcome.bytes)
        + number(b"\x28", outcome.masked_fields)
    )
    if outcome.sqlstate:
        content += texts(b"\x32", _text(outcome.sqlstate))
    if outcome.error:
        content += texts(b"\x3a", _text(outcome.error))
    if elapsed >= 0:
        seconds = elapsed // 1_000_000_000
        content += field(b"\x42", number(b"\x08", seconds) + number(b"\x10", elapsed - seconds * 1_000_000_000))
    if execution:
        content += texts(b"\x4a", execution)
    for name in outcome.obligations_met:
        content += field(b"\x52", name.encode())
    return field(b"\x2a", content)


def request(records: list[ActRecord]) -> bytes:
    """A RecordActsRequest of these acts."""
    parts: list[bytes] = []
    for record in records:
        content = record.head + record.intent + record.outcome
        parts.append(b"\x0a")
        parts.append(varint(len(content)))
        parts.append(content)
    return b"".join(parts)


def _text(text: str) -> str:
    """A target's words as protobuf can hold them: bounded, and without lone surrogates."""
    if len(text) <= MAX_TEXT and text.isascii():
        return text
    return text[:MAX_TEXT].encode(errors="replace").decode()
