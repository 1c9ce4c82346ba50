"""Is this operation that step? By its bytes, by what it means (the shape digest holds names, definitions, search_path
and roles) and by its values. Pure: what it says is a fact for policy, which decides what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from twokey.type.v1 import operation_pb2

from decision.showing import values

ENDED: Final = b";"
_SHAPE: Final = 32  # bytes of a digest
_MAX_DIGITS: Final = 1000  # of a number, before it is compared


def difference(step: operation_pb2.PlannedStep, operation: operation_pb2.Operation, *, shape: bytes) -> str:
    """What keeps `operation` from being `step`, in words; "" where nothing does. shape: as it must be now, and behind
    it that of the same statement with a semicolon, which psql sends with a line that ends with one."""
    planned, asked = step.operation.sql, operation.sql
    if operation.WhichOneof("kind") != "sql" or asked.values.named:
        return "another statement"
    text = planned.values.statement
    wanted_shape = {text: shape[:_SHAPE], text + ENDED: shape[_SHAPE:]}.get(asked.values.statement)
    if wanted_shape is None:
        return "another statement"
    if asked.statements != 1:
        return "a statement sent by itself"
    if operation.shape_digest != wanted_shape:
        return f"what it meant when it was {'settled' if step.after else 'reviewed'}, which is not what it means now"
    if len(asked.values.bound) != len(step.values):
        return f"{len(step.values)} values, and is given {len(asked.values.bound)}"
    for number, (rule, bound) in enumerate(zip(step.values, asked.values.bound, strict=True), start=1):
        if not fits(rule, bound):
            return f"another value for ${number}: {wanted(rule)}"
    return ""


def fits(rule: operation_pb2.ValueRule, bound: operation_pb2.BoundValue) -> bool:
    if bound.is_null:
        return rule.null
    text = _text(bound)
    if text is None:
        return False
    if text in rule.one_of:
        return True
    if not (rule.HasField("least") or rule.HasField("most")):
        return False
    number = _number(text)
    least, most = _bound(rule, "least"), _bound(rule, "most")
    if number is None:
        return False
    return (least is None or least <= number) and (most is None or number <= most)


def wanted(rule: operation_pb2.ValueRule) -> str:
    """The rule in words."""
    told = [repr(one) for one in rule.one_of]
    if rule.HasField("least") or rule.HasField("most"):
        told.append(f"{rule.least or 'anything'} to {rule.most or 'anything'}")
    if rule.null:
        told.append("NULL")
    return " or ".join(told)


def problem(rules: Sequence[operation_pb2.ValueRule]) -> str:
    """What is wrong with a step's values; "" where nothing is."""
    for number, rule in enumerate(rules, start=1):
        if not (rule.one_of or rule.null or rule.HasField("least") or rule.HasField("most")):
            return f"${number} may be nothing: give it a value, a list of them or a range"
        for end in ("least", "most"):
            if rule.HasField(end) and _number(getattr(rule, end)) is None:
                return f"${number}: {end} is not a number"
        least, most = _bound(rule, "least"), _bound(rule, "most")
        if least is not None and most is not None and least > most:
            return f"${number}: least is more than most"
    return ""


def _text(bound: operation_pb2.BoundValue) -> str | None:
    """As PostgreSQL prints it; None for what can't be read whole."""
    if bound.binary:
        return values.decoded(bound.type_oid, bound.value)
    try:
        return bound.value.decode()
    except UnicodeDecodeError:
        return None


def _bound(rule: operation_pb2.ValueRule, end: str) -> Decimal | None:
    return _number(getattr(rule, end)) if rule.HasField(end) else None


def _number(text: str) -> Decimal | None:
    """A finite decimal, spelt in ASCII as PostgreSQL prints one."""
    if len(text) > _MAX_DIGITS or not text.isascii() or not text or text[-1] not in "0123456789.":
        return None
    if any(letter not in "0123456789.-+eE" for letter in text):
        return None
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) <= _MAX_DIGITS else None
