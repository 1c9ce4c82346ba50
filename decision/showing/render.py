"""Showing what strangers wrote: text of a client, a statement, a reviewer's words, on a terminal that obeys escapes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from twokey.type.v1 import decision_pb2, operation_pb2, subject_pb2

from decision.showing import escape, lineage, values

HEAD = 4000
TAIL = 1000
MAX_VALUE = 400
MAX_BINARY = 64

safe = escape.safe


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


def bound(bound_values: Sequence[operation_pb2.BoundValue], *, whole: bool = False) -> list[str]:
    """$1 = 50007 (int4, 4 bytes), one line a value. whole: nothing of a long one is left out."""
    return [
        f"${number} = {value(item.type_oid, item.value, is_null=item.is_null, binary=item.binary, whole=whole)}"
        for number, item in enumerate(bound_values, start=1)
    ]


def value(type_oid: int, data: bytes, *, is_null: bool, binary: bool, whole: bool = False) -> str:
    """One bound value for a terminal: numbers bare, text quoted, bytes that nobody can read in hexadecimal."""
    kind = values.type_name(type_oid)
    if is_null:
        return f"NULL ({kind})"
    if binary and values.decoded(type_oid, data) is None:
        left = b"" if whole else data[MAX_BINARY:]
        shown = f"binary \\x{data[: len(data) - len(left)].hex()}"
        shown += f"… SHA-256 {hashlib.sha256(data).hexdigest()}" if left else ""
    else:
        text = values.text(type_oid, data, binary=binary)
        plain = type_oid in values.PLAIN and text.isascii() and text.isprintable() and len(text) <= MAX_VALUE
        shown = text if plain else f"'{safe(text)}'" if whole else quoted(text, data)
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


def obligation(item: decision_pb2.Obligation) -> str:
    """max-rows: rows 1000; for mask-columns each column, its label and its masker."""
    parameters = json_format.MessageToDict(item.parameters)
    if item.type == "mask-columns":
        columns = [column for column in parameters.get("columns", []) if isinstance(column, dict)]
        names = [".".join(str(column.get(key)) for key in ("schema", "relation", "column")) for column in columns]
        said = [f"{name} ({column.get('label')})" for name, column in zip(names, columns, strict=True)]
        outputs = [output for output in parameters.get("outputs", []) if isinstance(output, dict)]
        said += [f"column {output.get('position', 0):.0f} of the result ({output.get('label')})" for output in outputs]
    else:
        # A Struct has no integers; every number of an obligation is one.
        said = [
            f"{key} {f'{number:.0f}' if isinstance(number, float) else number}" for key, number in parameters.items()
        ]
    return safe(item.type) + (f": {safe(', '.join(said))}" if said else "")


def budget(name: str, used: int, limit: int) -> str:
    """lookups: 3 of 20 used, 17 left"""
    return f"{safe(name)}: {used} of {limit} used, {max(0, limit - used)} left"


def reasons(items: Sequence[decision_pb2.Reason]) -> list[str]:
    return [f"{safe(item.rule)}: {safe(item.reason)}" for item in items]


# A column's use (docs/operation.md) in plain words.
_USES = {"output": "shown", "other": "read", "write": "assigned"}


def touches(sql: operation_pb2.SqlOperation, *, everything: bool = False) -> list[str]:
    """What a SQL operation does, in a reviewer's words. Functions that can only compute on their arguments are left
    out, unless `everything` is wanted."""
    lines = [f"verbs      {', '.join(safe(verb) for verb in sql.verbs) or 'none'}"]
    for relation in sql.relations:
        name = f"{safe(relation.schema)}.{safe(relation.name)}"
        access = ", ".join(safe(word) for word in relation.access)
        via = "" if relation.via in {"", "direct"} else f", by {safe(relation.via)}"
        lines.append(f"{safe(relation.kind) or 'relation':<10} {name}: {access}{via}")
    lines += _columns(sql)
    lines += lineage.lines(sql)
    for function in sql.functions:
        if everything or not function.safe:
            facts = [function.language, function.volatility, "security definer" if function.security_definer else ""]
            facts.append("only computes" if function.safe else "")
            shown = ", ".join(safe(fact) for fact in facts if fact)
            lines.append(f"function   {safe(function.schema)}.{safe(function.name)} ({shown})")
    for setting in sql.settings:
        value = f" to {quoted(setting.value, setting.value.encode())}" if setting.value else ""
        lines.append(f"setting    {safe(setting.name)}: {safe(setting.action)}{value}")
    if not sql.has_where and {"UPDATE", "DELETE"} & {sql.command}:
        lines.append("every row: there is no WHERE that could leave any out")
    if sql.values.HasField("estimate"):
        lines.append(f"estimate   {sql.values.estimate.rows:.0f} rows")
    elif sql.values.estimate_unknown:
        lines.append(f"estimate   unknown: {safe(sql.values.estimate_unknown_why)}")
    return lines


# How a statement reaches a relation that it names itself, or that is a part of one it names.
_NAMED = {"", "direct", "view", "partition", "inheritance"}


def follows(sql: operation_pb2.SqlOperation) -> list[str]:
    """What no word of the statement says: public.order_items: delete, by cascade; triggers and their functions."""
    lines = []
    for relation in sql.relations:
        if relation.via not in _NAMED:
            access = ", ".join(safe(word) for word in relation.access)
            lines.append(f"{safe(relation.schema)}.{safe(relation.name)}: {access}, by {safe(relation.via)}")
    for function in sql.functions:
        if function.via in {"trigger", "rule", "policy"} and not function.safe:
            lines.append(f"{safe(function.schema)}.{safe(function.name)} runs, by {safe(function.via)}")
    return lines


def _columns(sql: operation_pb2.SqlOperation) -> list[str]:
    """columns    public.orders: id (read), status (assigned), one line a relation."""
    found: dict[str, dict[str, list[str]]] = {}
    for column in sql.columns:
        uses = found.setdefault(f"{safe(column.schema)}.{safe(column.relation)}", {}).setdefault(
            safe(column.column), []
        )
        use = _USES.get(column.use) or safe(column.use)
        if use not in uses:
            uses.append(use)
    return [
        f"columns    {name}: " + ", ".join(f"{column} ({', '.join(uses)})" for column, uses in columns.items())
        for name, columns in found.items()
    ]


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
