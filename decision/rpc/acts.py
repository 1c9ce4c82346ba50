"""Acts as records: the hot path of the log, so built field by field, one dict an act and no await."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Final

from google.protobuf import timestamp_pb2
from twokey.audit.v1 import audit_pb2

from decision.audit.record import MAX_INTEGER, Checked, base64
from decision.errors import BadRequestError
from decision.pdp.answer import bound_body

STATUSES: Final = frozenset({"completed", "failed", "refused", "not-executed", "unknown"})
_OPERATION_ID: Final = re.compile(r"op_[a-z2-7]{26}\Z")
_DECISION_ID: Final = re.compile(r"dec_[a-z2-7]{26}\Z")


def act_body(act: audit_pb2.Act) -> Checked:
    """One act's record. Raises BadRequestError for an act that says nothing or something impossible."""
    if not _OPERATION_ID.match(act.operation):
        raise BadRequestError("an act's operation id is not one")
    if act.sequence > MAX_INTEGER:
        raise BadRequestError("an act's sequence number is out of range")
    has_intent, has_outcome = act.HasField("intent"), act.HasField("outcome")
    if not has_intent and not has_outcome:
        raise BadRequestError("an act has an intent, an outcome or both")
    return Checked(
        {
            "session": act.session,
            "operation": act.operation,
            "sequence": act.sequence,
            "intent": _intent(act.intent) if has_intent else None,
            "outcome": _outcome(act.outcome) if has_outcome else None,
        },
        512 + 2 * act.ByteSize(),
    )


def _intent(intent: audit_pb2.LeasedIntent) -> dict[str, object]:
    if not _DECISION_ID.match(intent.decision):
        raise BadRequestError("a leased act names the decision that carries its lease")
    if len(intent.digest) != 32 or len(intent.shape_digest) != 32:
        raise BadRequestError("a digest is 32 bytes")
    return {
        "decision": intent.decision,
        "digest": intent.digest.hex(),
        "shape_digest": intent.shape_digest.hex(),
        "statement": base64(intent.statement),
        "bound": bound_body(intent.bound),
        "time": _time(intent.time),
    }


def _outcome(outcome: audit_pb2.ActOutcome) -> dict[str, object]:
    if outcome.status not in STATUSES:
        raise BadRequestError("an outcome's status is not in the closed list")
    duration = outcome.duration
    microseconds = duration.seconds * 1_000_000 + duration.nanos // 1_000
    if max(abs(outcome.rows), abs(outcome.bytes), abs(outcome.masked_fields), abs(microseconds)) > MAX_INTEGER:
        raise BadRequestError("a number of an outcome is out of range")
    return {
        "status": outcome.status,
        "command_tag": outcome.command_tag,
        "rows": outcome.rows,
        "bytes": outcome.bytes,
        "masked_fields": outcome.masked_fields,
        "sqlstate": outcome.sqlstate,
        "error": outcome.error,
        "duration_us": microseconds,
        "execution": outcome.execution,
        "obligations_met": list(outcome.obligations_met),
    }


def _time(moment: timestamp_pb2.Timestamp) -> str:
    return f"{_second(moment.seconds)}.{moment.nanos // 1_000 % 1_000_000:06d}Z"


@lru_cache(256)
def _second(seconds: int) -> str:
    if not 0 <= seconds <= 253_402_300_799:
        raise BadRequestError("an act's time is out of range")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
