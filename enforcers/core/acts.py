"""Acts as the audit service's messages: built where every act of every session passes, so built sparingly."""

from __future__ import annotations

import time

from twokey.audit.v1 import audit_pb2

from enforcers.core.ports import Act, Outcome

MAX_TEXT = 2000  # characters of what a target said
_ENVELOPE = 256  # bytes, about, of an act without its statement and values


def intent_size(act: Act) -> int:
    """About how many bytes its record takes while it waits."""
    size = _ENVELOPE + len(act.statement)
    for value in act.bound:
        size += len(value.value) + 16
    return size


def intent_message(session: str, act: Act) -> audit_pb2.Act:
    """The record of an act done under a lease; act.sequence is set."""
    message = audit_pb2.Act(session=session, operation=act.operation, sequence=act.sequence)
    intent = message.intent
    intent.decision = act.ruling.decision
    intent.digest = act.digest
    intent.shape_digest = act.shape_digest
    intent.statement = act.statement
    if act.bound:
        intent.bound.extend(act.bound)
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    intent.time.seconds = seconds
    intent.time.nanos = nanos
    return message


def fill_outcome(message: audit_pb2.Act, act: Act, outcome: Outcome) -> None:
    """Write how the act ended into its message."""
    record = message.outcome
    record.status = outcome.status
    record.rows = outcome.rows
    record.bytes = outcome.bytes
    if outcome.command_tag:
        record.command_tag = _text(outcome.command_tag)
    if outcome.masked_fields:
        record.masked_fields = outcome.masked_fields
    if outcome.sqlstate:
        record.sqlstate = _text(outcome.sqlstate)
    if outcome.error:
        record.error = _text(outcome.error)
    if act.ruling.execution:
        record.execution = act.ruling.execution
    if outcome.obligations_met:
        record.obligations_met.extend(outcome.obligations_met)
    elapsed = max(0, int((time.monotonic() - act.started) * 1e9))
    record.duration.seconds, record.duration.nanos = divmod(elapsed, 1_000_000_000)


def _text(text: str) -> str:
    """A target's words as protobuf can hold them: bounded, and without lone surrogates."""
    return text[:MAX_TEXT] if text.isascii() else text[:MAX_TEXT].encode(errors="replace").decode()
