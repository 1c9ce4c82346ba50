"""Obligations read strictly: an obligation half understood is one not met, so anything odd is ObligationUnmetError.

The list is closed (design, section 3; parameters: docs/architecture.md). Numbers are protobuf Struct numbers, that is
doubles: only integral ones within the stated bounds pass. Zero is refused where the targets read it as "no limit".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf import struct_pb2
from twokey.type.v1 import decision_pb2

from enforcers.core.ports import Duties, MaskedColumn

LATER = frozenset({"record-session", "record-input", "notify", "classify", "mask-output"})
# A session has no result, no rows and no statement of its own: meant for each of its acts, it must be said of those.
OF_ACTS_ONLY = frozenset({"mask-columns", "max-rows", "max-bytes", "require-reason"})
MAX_OBLIGATIONS = 64
MAX_COLUMNS = 4096
MAX_TEXT = 1024
MAX_KEEP = 1000
MAX_ROWS = 2**53
MAX_BYTES = 2**53
MAX_MS = 2**31 - 1

Parameters = Mapping[str, struct_pb2.Value]


class ObligationUnmetError(Exception):
    """This enforcer can't meet the obligation; the text is for people."""


def read_obligations(obligations: Iterable[decision_pb2.Obligation], *, session: bool = False) -> Duties:
    """All obligations as one Duties; of several limits the tightest holds. Raises ObligationUnmetError.

    session: those of OpenSession, where some can't be meant.
    """
    masks: dict[tuple[str, str, str], MaskedColumn] = {}
    rows: int | None = None
    size: int | None = None
    timeout: int | None = None
    duration: int | None = None
    read_only = reason = False
    for count, obligation in enumerate(obligations):
        if count >= MAX_OBLIGATIONS:
            raise ObligationUnmetError(f"more than {MAX_OBLIGATIONS} obligations")
        kind = obligation.type
        parameters = obligation.parameters.fields
        if kind in LATER or (session and kind in OF_ACTS_ONLY):
            raise ObligationUnmetError(f"this enforcer can't meet the obligation {kind} here")
        if kind == "mask-columns":
            _merge_masks(masks, _read_masks(parameters))
        elif kind == "max-rows":
            rows = _tighter(rows, _only_integer(kind, parameters, "rows", low=0, high=MAX_ROWS))
        elif kind == "max-bytes":
            size = _tighter(size, _only_integer(kind, parameters, "bytes", low=1, high=MAX_BYTES))
        elif kind == "statement-timeout":
            timeout = _tighter(timeout, _only_integer(kind, parameters, "ms", low=1, high=MAX_MS))
        elif kind == "max-duration":
            duration = _tighter(duration, _only_integer(kind, parameters, "ms", low=1, high=MAX_MS))
        elif kind == "require-reason":
            _exactly(kind, parameters, set())
            reason = True
        elif kind == "read-only":
            _exactly(kind, parameters, set())
            read_only = True
        else:
            raise ObligationUnmetError("an obligation this enforcer does not know")
    return Duties(
        mask=tuple(masks.values()),
        max_rows=rows,
        max_bytes=size,
        max_duration_ms=duration,
        read_only=read_only,
        statement_timeout_ms=timeout,
        require_reason=reason,
    )


def _tighter(known: int | None, new: int) -> int:
    return new if known is None else min(known, new)


def _exactly(what: str, parameters: Parameters, keys: set[str]) -> None:
    if set(parameters) != keys:
        raise ObligationUnmetError(f"{what}: its parameters must be {sorted(keys)}, and nothing else")


def _only_integer(kind: str, parameters: Parameters, key: str, *, low: int, high: int) -> int:
    _exactly(kind, parameters, {key})
    return _integer(f"{kind}.{key}", parameters[key], low=low, high=high)


def _integer(what: str, value: struct_pb2.Value, *, low: int, high: int) -> int:
    if value.WhichOneof("kind") != "number_value":
        raise ObligationUnmetError(f"{what}: not a number")
    number = value.number_value
    # NaN fails both comparisons, the infinities one of them.
    if not low <= number <= high or number != int(number):
        raise ObligationUnmetError(f"{what}: not an integer from {low} to {high}")
    return int(number)


def _text(what: str, value: struct_pb2.Value, *, empty: bool = False) -> str:
    if value.WhichOneof("kind") != "string_value":
        raise ObligationUnmetError(f"{what}: not a text")
    text = value.string_value
    if "\0" in text or len(text) > MAX_TEXT or (not text and not empty):
        raise ObligationUnmetError(f"{what}: empty, too long, or with a zero byte")
    return text


def _struct(what: str, value: struct_pb2.Value) -> Parameters:
    if value.WhichOneof("kind") != "struct_value":
        raise ObligationUnmetError(f"{what}: not an object")
    return value.struct_value.fields


def _read_masks(parameters: Parameters) -> list[MaskedColumn]:
    _exactly("mask-columns", parameters, {"columns"})
    columns = parameters["columns"]
    if columns.WhichOneof("kind") != "list_value":
        raise ObligationUnmetError("mask-columns.columns: not a list")
    values = columns.list_value.values
    if not 0 < len(values) <= MAX_COLUMNS:
        raise ObligationUnmetError(f"mask-columns.columns: none, or more than {MAX_COLUMNS}")
    return [_column(value) for value in values]


def _column(value: struct_pb2.Value) -> MaskedColumn:
    fields = _struct("mask-columns.columns[]", value)
    _exactly("mask-columns.columns[]", fields, {"schema", "relation", "column", "label", "masker"})
    schema, relation, column, label = (
        _text(f"mask-columns.columns[].{key}", fields[key]) for key in ("schema", "relation", "column", "label")
    )
    masker = _struct("mask-columns.columns[].masker", fields["masker"])
    kind = _text("masker.type", masker["type"]) if "type" in masker else ""
    text, keep, fill = "", 0, "*"
    if kind == "null":
        _exactly("masker null", masker, {"type"})
    elif kind == "fixed":
        _exactly("masker fixed", masker, {"type", "text"})
        text = _text("masker.text", masker["text"], empty=True)
    elif kind == "keep-last":
        _exactly("masker keep-last", masker, {"type", "n", "fill"})
        keep = _integer("masker.n", masker["n"], low=0, high=MAX_KEEP)
        fill = _text("masker.fill", masker["fill"])
        if len(fill) != 1 or not fill.isprintable():
            raise ObligationUnmetError("masker.fill: not one printable character")
    else:
        raise ObligationUnmetError("a masker this enforcer does not know")
    return MaskedColumn(
        schema=schema, relation=relation, column=column, label=label, masker=kind, text=text, keep=keep, fill=fill
    )


def _merge_masks(known: dict[tuple[str, str, str], MaskedColumn], new: Iterable[MaskedColumn]) -> None:
    for mask in new:
        key = (mask.schema, mask.relation, mask.column)
        if known.setdefault(key, mask) != mask:
            raise ObligationUnmetError("mask-columns: one column with two different maskers")
