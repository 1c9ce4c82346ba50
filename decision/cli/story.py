"""Audit records as a person reads them: one line each for `audit tail`, and one act's whole story for `audit show`.

Records are read as data from elsewhere: a field that is absent or odd is left out, never an error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence

from decision.showing import render

Record = Mapping[str, object]

WIDTH = 100


def text(record: Record, key: str) -> str:
    """A field as shown text; "" where it is absent or no text."""
    value = record.get(key)
    return render.safe(value) if isinstance(value, str) else ""


def place(record: Record) -> str:
    """Its index in the log; ? where that is no number."""
    index = record.get("index")
    return str(index) if isinstance(index, int) else "?"


def _mapping(value: object) -> Record:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> Sequence[Record]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (ValueError, binascii.Error):
        return b""


def who(subject: object) -> str:
    """executor-7 (agent of alice) for carol: the current actor first."""
    document = _mapping(subject)
    names = [_name(actor) for actor in [*_items(document.get("actors")), document]]
    return " for ".join(name for name in names if name)


def _name(party: Record) -> str:
    if not party:
        return ""
    name = text(party, "name") or f"unknown ({text(party, 'iss')}, {text(party, 'sub')})"
    return f"{name} (agent of {text(party, 'owner')})" if text(party, "owner") else name


def rules(record: Record) -> list[str]:
    return [f"{text(item, 'rule')}: {text(item, 'reason')}" for item in _items(record.get("reasons"))]


def masked(record: Record) -> list[str]:
    """The columns that a decision's mask-columns obligations name."""
    columns: list[str] = []
    for obligation in _items(record.get("obligations")):
        if obligation.get("type") == "mask-columns":
            parameters = _mapping(obligation.get("parameters"))
            for column in _items(parameters.get("columns")):
                name = ".".join(text(column, key) for key in ("schema", "relation", "column"))
                columns.append(f"{name} ({text(column, 'label')}, {text(_mapping(column.get('masker')), 'type')})")
            for output in _items(parameters.get("outputs")):
                name = f"column {output.get('position')} of the result"
                columns.append(f"{name} ({text(output, 'label')}, {text(_mapping(output.get('masker')), 'type')})")
    return columns


def bound(record: Record) -> list[str]:
    """$1 = 42 (int4, 4 bytes), one each."""
    shown: list[str] = []
    for number, value in enumerate(_items(record.get("bound")), start=1):
        type_oid = value.get("type_oid")
        text = render.value(
            type_oid if isinstance(type_oid, int) else 0,
            _bytes(value.get("value")),
            is_null=value.get("is_null") is True,
            binary=value.get("binary") is True,
        )
        shown.append(f"${number} = {text}")
    return shown


def hidden(record: Record, statement: Record) -> list[str]:
    """What of a statement the reader was not shown, and how it can be told again; nothing where all of it was."""
    labels = record.get("redacted")
    if not isinstance(labels, list):
        return []
    names = ", ".join(render.safe(label) for label in labels if isinstance(label, str))
    return [f"  hidden from you: {names}; SHA-256 of the statement {text(statement, 'statement_sha256')}"]


def budgets(record: Record) -> list[str]:
    """lookups: 3 of 20 used, 17 left; one each."""
    found: list[str] = []
    for item in _items(record.get("budgets")):
        limit, used = item.get("limit"), item.get("used")
        if isinstance(limit, int) and isinstance(used, int):
            found.append(render.budget(text(item, "budget"), used, limit))
    return found


def line(record: Record) -> str:
    """One record in one line."""
    kind = text(record, "kind")
    parts = [f"{place(record):>6}", text(record, "time"), f"{kind:<14}"]
    subject = who(record.get("subject") or record.get("requester"))
    if subject:
        role = text(record, "role")
        parts.append(f"{subject} as {role}" if role else subject)
    parts += [
        text(record, key)
        for key in ("connection", "operation", "approval", "event", "outcome", "status")
        if text(record, key)
    ]
    first_rules = [text(item, "rule") for item in _items(record.get("reasons"))]
    if first_rules:
        parts.append(f"[{', '.join(first_rules)}]")
    statement = _bytes(record.get("statement"))
    if statement:
        shown = render.safe(statement[: WIDTH * 2].decode("utf-8", errors="backslashreplace"))
        parts.append(shown if len(shown) <= WIDTH else shown[:WIDTH] + "…")
    return "  ".join(part for part in parts if part)


def story(records: Iterable[Record]) -> list[str]:
    """One act: who asked, for whom, in which role, what exactly, the decision and why, who approved, the outcome."""
    lines: list[str] = []
    introduced = False
    for record in records:
        kind = text(record, "kind")
        if kind == "decision":
            if not introduced:
                lines += _introduction(record)
                introduced = True
            lines += _decision(record)
        elif kind == "act":
            lines += _act(record)
        elif kind == "approval":
            lines += _approval(record)
        else:
            lines.append(line(record))
    return lines


def _introduction(record: Record) -> list[str]:
    dev = "  DEVELOPMENT IDENTITY" if record.get("dev") is True else ""
    statement = render.statement(_bytes(record.get("statement")))
    lines = [
        f"operation  {text(record, 'operation')}{dev}",
        f"asked by   {who(record.get('subject'))} in role {text(record, 'role')}",
        f"on         {text(record, 'connection')} ({text(record, 'environment')}), session {text(record, 'session')}"
        f" from {text(record, 'client_address')}",
        f"digest     {text(record, 'digest')}",
        "statement",
        *[f"  {part}" for part in statement.split("\n")],
    ]
    lines += hidden(record, record)
    reason = text(_mapping(_mapping(record.get("input")).get("context")), "reason")
    if reason:
        lines.insert(4, f"reason     {reason}")
    values = bound(record)
    return [*lines, "bound values", *[f"  {value}" for value in values]] if values else lines


def _decision(record: Record) -> list[str]:
    outcome = text(record, "outcome")
    code = f" ({text(record, 'code')})" if text(record, "code") else ""
    lines = [f"{text(record, 'time')}  decided {outcome}{code}, record {place(record)}"]
    lines += [f"    rule {rule}" for rule in rules(record)]
    lines += [f"    masks {column}" for column in masked(record)]
    kinds = [text(item, "type") for item in _items(record.get("obligations")) if item.get("type") != "mask-columns"]
    if kinds:
        lines.append(f"    obligations {', '.join(kinds)}")
    lines += [f"    budget {one}" for one in budgets(record)]
    if text(record, "approval"):
        lines.append(f"    approval {text(record, 'approval')}")
    if text(record, "execution"):
        lines.append(f"    redeemed as {text(record, 'execution')}")
    return lines


def _act(record: Record) -> list[str]:
    outcome = _mapping(record.get("outcome")) or record
    facts = [text(outcome, "status")]
    facts += [text(outcome, "command_tag")] if text(outcome, "command_tag") else []
    for key, word in (("rows", "rows"), ("masked_fields", "masked fields"), ("bytes", "bytes")):
        number = outcome.get(key)
        if isinstance(number, int) and number:
            facts.append(f"{number} {word}")
    if text(outcome, "sqlstate"):
        facts.append(f"SQLSTATE {text(outcome, 'sqlstate')}")
    lines = [f"{text(record, 'time')}  ran: {', '.join(facts)}, record {place(record)}"]
    intent = _mapping(record.get("intent"))
    if intent:  # under a lease: the decision is another record
        shown = render.statement(_bytes(intent.get("statement")))
        lines.append(f"    under the lease of decision {text(intent, 'decision')}, digest {text(intent, 'digest')}")
        lines += [f"    {part}" for part in [*shown.split("\n"), *bound(intent), *hidden(record, intent)]]
    return lines


def _approval(record: Record) -> list[str]:
    event, state = text(record, "event"), text(record, "state")
    lines = [f"{text(record, 'time')}  approval {text(record, 'approval')} {event}: {state}, record {place(record)}"]
    verdict = _mapping(record.get("verdict"))
    actor = _mapping(record.get("reviewer")) or _mapping(record.get("by"))
    if actor:
        answer = (" says yes" if verdict.get("approve") is True else " says no") if verdict else ""
        lines.append(f"    {who(actor.get('subject') or actor)}{answer}")
    because = text(verdict, "reason") or text(record, "why")
    if because:
        lines.append(f"    because {because}")
    if event == "verdict-refused":
        lines += [f"    refused by rule {rule}" for rule in rules(_mapping(record.get("answer")))]
    return lines
