"""Showing what strangers wrote: text of a client, a statement, a reviewer's words, on a terminal that obeys escapes.

Everything that could move the cursor, change its direction, hide or imitate is shown as what it is (CVE-2021-42574 is
the well-known case). A line end stays a line end only where lines are expected.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from twokey.type.v1 import decision_pb2, operation_pb2, subject_pb2

from decision.cli import values

HEAD = 4000
TAIL = 1000
MAX_VALUE = 400

# What can't be seen, or is not what it seems: controls, format characters (bidi, zero width), private use, surrogates,
# unassigned, and every space but the plain one.
_ESCAPED = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp", "Zs"}
_ALSO = {
    "\u115f",
    "\u1160",
    "\u3164",
    "\uffa0",
    "\u2800",
    "\u034f",
    "\u17b4",
    "\u17b5",
}  # letters and marks drawn as nothing


def safe(text: str, *, lines: bool = False) -> str:
    """`text` with every deceptive character as \\x.., \\u.... or \\U........; backslashes stay as they are."""
    return "".join(_shown(character, lines) for character in text)


def _shown(character: str, lines: bool) -> str:
    if character == " " or (lines and character == "\n"):
        return character
    if " " < character <= "~":
        return character
    deceptive = unicodedata.category(character) in _ESCAPED or character in _ALSO
    if not deceptive and not 0xFE00 <= ord(character) <= 0xFE0F and not 0xE0100 <= ord(character) <= 0xE01EF:
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def statement(data: bytes) -> str:
    """The exact statement for reading: whole when short; else head, tail and the digest of all of it."""
    text = data.decode("utf-8", errors="backslashreplace")
    if len(text) <= HEAD + TAIL:
        return safe(text, lines=True)
    hidden = len(text) - HEAD - TAIL
    digest = hashlib.sha256(data).hexdigest()
    return (
        f"{safe(text[:HEAD], lines=True)}\n"
        f"[… {hidden} characters are not shown; {len(data)} bytes, SHA-256 {digest} …]\n"
        f"{safe(text[-TAIL:], lines=True)}"
    )


def bound(bound_values: Sequence[operation_pb2.BoundValue]) -> list[str]:
    """$1 = 50007 (int4, 4 bytes), one line a value."""
    return [
        f"${number} = {value(item.type_oid, item.value, is_null=item.is_null, binary=item.binary)}"
        for number, item in enumerate(bound_values, start=1)
    ]


def value(type_oid: int, data: bytes, *, is_null: bool, binary: bool) -> str:
    """One bound value for a terminal: numbers bare, text quoted, bytes that nobody can read in hexadecimal."""
    kind = values.type_name(type_oid)
    if is_null:
        return f"NULL ({kind})"
    if binary and values.decoded(type_oid, data) is None:
        shown = f"binary \\x{data[:64].hex()}" + (f"… SHA-256 {hashlib.sha256(data).hexdigest()}" if data[64:] else "")
    else:
        text = values.text(type_oid, data, binary=binary)
        plain = type_oid in values.PLAIN and text.isascii() and text.isprintable() and len(text) <= MAX_VALUE
        shown = text if plain else quoted(text, data)
    return f"{shown} ({kind}, {len(data)} bytes)"


def quoted(text: str, data: bytes) -> str:
    """In quotes; what is long is cut and ends with the digest of `data`, all of it."""
    cut = f"… SHA-256 {hashlib.sha256(data).hexdigest()}" if len(text) > MAX_VALUE else ""
    return f"'{safe(text[:MAX_VALUE])}'{cut}"


def identity(who: subject_pb2.Identity) -> str:
    """executor-7 (agent of alice): names are those of people.yaml; for anyone else the pair, so that nobody can be
    called alice by choosing a sub."""
    if not who.name:
        return f"unknown ({safe(who.iss)}, {safe(who.sub)})"
    if who.kind == "agent" or who.owner:
        return f"{safe(who.name)} (agent of {safe(who.owner) or 'nobody'})"
    return safe(who.name)


def subject(who: subject_pb2.Subject) -> str:
    """executor-7 (agent of alice) for carol in role executor: the current actor first (RFC 8693 `act`)."""
    text = " for ".join(identity(party) for party in [*who.actors, who.identity])
    return f"{text} in role {safe(who.role)}" if who.role else text


def reasons(items: Sequence[decision_pb2.Reason]) -> list[str]:
    return [f"{safe(item.rule)}: {safe(item.reason)}" for item in items]


def touches(sql: operation_pb2.SqlOperation) -> list[str]:
    """What a SQL operation touches, in a reviewer's words."""
    lines = [f"verbs      {', '.join(safe(verb) for verb in sql.verbs) or 'none'}"]
    for relation in sql.relations:
        name = f"{safe(relation.schema)}.{safe(relation.name)}"
        access = ", ".join(safe(word) for word in relation.access)
        via = "" if relation.via in {"", "direct"} else f", by {safe(relation.via)}"
        lines.append(f"{safe(relation.kind) or 'relation':<10} {name}: {access}{via}")
    for function in sql.functions:
        if not function.safe:
            definer = ", security definer" if function.security_definer else ""
            lines.append(
                f"function   {safe(function.schema)}.{safe(function.name)} ({safe(function.language)}{definer})"
            )
    writes = sorted({f"{c.relation}.{c.column}" for c in sql.columns if c.use == "write"})
    if writes:
        lines.append(f"assigns    {', '.join(safe(write) for write in writes)}")
    if not sql.has_where and {"UPDATE", "DELETE"} & {sql.command}:
        lines.append("every row: there is no WHERE that could leave any out")
    if sql.values.HasField("estimate"):
        lines.append(f"estimate   {sql.values.estimate.rows:.0f} rows")
    elif sql.values.estimate_unknown:
        lines.append(f"estimate   unknown: {safe(sql.values.estimate_unknown_why)}")
    return lines


def not_covered(sql: operation_pb2.SqlOperation) -> list[str]:
    """What the digest does not cover, and what nobody could describe: the reviewer must be told."""
    lines = [f"not described ({safe(reason.code)}): {safe(reason.detail)}" for reason in sql.opaque_reasons]
    if sql.opaque and not lines:
        lines.append("not described: nobody can say what this does without running it")
    return lines + [f"not covered by the digest: {safe(item)}" for item in sql.not_covered]


def when(timestamp: Timestamp) -> str:
    """RFC 3339, UTC, whole seconds; - when unset."""
    if not timestamp.seconds:
        return "-"
    moment = datetime.fromtimestamp(timestamp.seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def remaining(timestamp: Timestamp, now: datetime | None = None) -> str:
    """How long until then, as 59 min or 12 s; `over` when it has passed."""
    left = timestamp.seconds - int((now or datetime.now(UTC)).timestamp())
    if left <= 0:
        return "over"
    return f"{left // 60} min" if left >= 120 else f"{left} s"
