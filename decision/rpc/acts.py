"""Acts as records: the hot path of the log, so each is spelt at once as its line will have it, and no await.

The members of an act are a closed list in a fixed order, so the generic encoder and its sorting are not needed; a test
holds the two equal byte for byte. What the texts are made of is checked or quoted here, all of it.
"""

from __future__ import annotations

import re
import time
from binascii import b2a_base64
from functools import lru_cache
from typing import Final

from twokey.audit.v1 import audit_pb2
from twokey.type.v1 import operation_pb2

from decision.audit.record import MAX_INTEGER, Encoded, encode, quoted
from decision.errors import BadRequestError

STATUSES: Final = frozenset({"completed", "failed", "refused", "not-executed", "unknown"})
_OPERATION_ID: Final = re.compile(r"op_[a-z2-7]{26}\Z").match
_DECISION_ID: Final = re.compile(r"dec_[a-z2-7]{26}\Z").match


def act_body(act: audit_pb2.Act) -> Encoded:
    """One act's record. Raises BadRequestError for an act that says nothing or something impossible."""
    operation, sequence = act.operation, act.sequence
    if not _OPERATION_ID(operation):
        raise BadRequestError("an act's operation id is not one")
    if sequence > MAX_INTEGER:
        raise BadRequestError("an act's sequence number is out of range")
    intent = _intent(act.intent) if act.HasField("intent") else ""
    outcome = _outcome(act.outcome) if act.HasField("outcome") else ""
    if not intent and not outcome:
        raise BadRequestError("an act has an intent, an outcome or both")
    members = (
        f'"intent":{intent or "null"},"kind":"act","operation":"{operation}","outcome":{outcome or "null"},'
        f'"sequence":{sequence},"session":{quoted(act.session)}'
    )
    return Encoded("act", members.encode())


def _intent(intent: audit_pb2.LeasedIntent) -> str:
    decision, digest, shape, moment = intent.decision, intent.digest, intent.shape_digest, intent.time
    if not _DECISION_ID(decision):
        raise BadRequestError("a leased act names the decision that carries its lease")
    if len(digest) != 32 or len(shape) != 32:
        raise BadRequestError("a digest is 32 bytes")
    bound = ",".join([_bound(value) for value in intent.bound])
    statement = b2a_base64(intent.statement, newline=False).decode()
    return (
        f'{{"bound":[{bound}],"decision":"{decision}","digest":"{digest.hex()}","shape_digest":"{shape.hex()}",'
        f'"statement":"{statement}","time":"{_second(moment.seconds)}.{moment.nanos // 1_000 % 1_000_000:06d}Z"}}'
    )


def _bound(value: operation_pb2.BoundValue) -> str:
    kinds = _KINDS[value.binary, value.is_null]
    return f'{kinds}{value.type_oid},"value":"{b2a_base64(value.value, newline=False).decode()}"}}'


_KINDS: Final = {
    (binary, null): f'{{"binary":{str(binary).lower()},"is_null":{str(null).lower()},"type_oid":'
    for binary in (False, True)
    for null in (False, True)
}


def _outcome(outcome: audit_pb2.ActOutcome) -> str:
    status, duration = outcome.status, outcome.duration
    if status not in STATUSES:
        raise BadRequestError("an outcome's status is not in the closed list")
    rows, size, masked = outcome.rows, outcome.bytes, outcome.masked_fields
    microseconds = duration.seconds * 1_000_000 + duration.nanos // 1_000
    if not (
        -MAX_INTEGER <= rows <= MAX_INTEGER
        and -MAX_INTEGER <= size <= MAX_INTEGER
        and -MAX_INTEGER <= masked <= MAX_INTEGER
        and -MAX_INTEGER <= microseconds <= MAX_INTEGER
    ):
        raise BadRequestError("a number of an outcome is out of range")
    error, execution, state = outcome.error, outcome.execution, outcome.sqlstate
    return (
        f'{{"bytes":{size},"command_tag":{quoted(outcome.command_tag)},"duration_us":{microseconds},'
        f'"error":{quoted(error) if error else _EMPTY},"execution":{quoted(execution) if execution else _EMPTY},'
        f'"masked_fields":{masked},"obligations_met":{_list(tuple(outcome.obligations_met))},"rows":{rows},'
        f'"sqlstate":{quoted(state) if state else _EMPTY},"status":"{status}"}}'
    )


_EMPTY: Final = '""'
_MAX_KNOWN: Final = 512


@lru_cache(1024)
def _known_list(texts: tuple[str, ...]) -> str:
    return encode(texts).decode()


def _list(texts: tuple[str, ...]) -> str:
    """Few texts, and the same ones each time, as a rule; a caller may say anything, so only short ones are kept."""
    if sum(map(len, texts)) + len(texts) <= _MAX_KNOWN:
        return _known_list(texts)
    return encode(texts).decode()


@lru_cache(256)
def _second(seconds: int) -> str:
    if not 0 <= seconds <= 253_402_300_799:
        raise BadRequestError("an act's time is out of range")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
