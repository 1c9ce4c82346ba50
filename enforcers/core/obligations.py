"""Obligations read strictly: an obligation half understood is one not met, so anything odd is ObligationUnmetError.

The list is closed (design, section 3; parameters: docs/architecture.md). Numbers are protobuf Struct numbers, that is
doubles: only integral ones within the stated bounds pass. Zero is refused where the targets read it as "no limit".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

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
MAX_OUTPUTS = 1664  # columns of a result, PostgreSQL's own limit
MAX_SIZE = 2**31 - 1
MAX_PATHS = 64
MAX_STEPS = 16
UNITS = ("year", "quarter", "month", "day", "hour")
MAX_ROWS = 2**53
MAX_BYTES = 2**53
MAX_MS = 2**31 - 1

Parameters = Mapping[str, struct_pb2.Value]
# The maskers and their parameters (docs/policy.md).
_MASKERS: Mapping[str, frozenset[str]] = {
    "null": frozenset(),
    "fixed": frozenset({"text"}),
    "keep-last": frozenset({"n", "fill"}),
    "hash": frozenset(),
    "email": frozenset(),
    "truncate-date": frozenset({"to"}),
    "bucket": frozenset({"size"}),
    "json": frozenset({"paths"}),
}


class ObligationUnmetError(Exception):
    """This enforcer can't meet the obligation; the text is for people."""


def read_obligations(obligations: Iterable[decision_pb2.Obligation], *, session: bool = False) -> Duties:
    """All obligations as one Duties; of several limits the tightest holds. Raises ObligationUnmetError.

    session: those of OpenSession, where some can't be meant.
    """
    masks: dict[tuple[str, str, str, int], MaskedColumn] = {}
    rows: int | None = None
    least = 0
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
            _exactly(kind, parameters, {"rows", "least"} if "least" in parameters else {"rows"})
            rows = _tighter(rows, _integer("max-rows.rows", parameters["rows"], low=0, high=MAX_ROWS))
            if "least" in parameters:
                least = max(least, _integer("max-rows.least", parameters["least"], low=1, high=MAX_ROWS))
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
        least_rows=least,
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
    """`columns`, by name; `outputs`, by place in the result, may be left out. At least one of either."""
    _exactly("mask-columns", parameters, {"columns", "outputs"} if "outputs" in parameters else {"columns"})
    found = [_column(value) for value in _listed("mask-columns.columns", parameters["columns"], MAX_COLUMNS)]
    if "outputs" in parameters:
        found += [_output(value) for value in _listed("mask-columns.outputs", parameters["outputs"], MAX_OUTPUTS)]
    if not found:
        raise ObligationUnmetError("mask-columns: no column")
    return found


def _listed(what: str, value: struct_pb2.Value, most: int) -> Sequence[struct_pb2.Value]:
    if value.WhichOneof("kind") != "list_value":
        raise ObligationUnmetError(f"{what}: not a list")
    values = value.list_value.values
    if len(values) > most:
        raise ObligationUnmetError(f"{what}: more than {most}")
    return values


def _column(value: struct_pb2.Value) -> MaskedColumn:
    what = "mask-columns.columns[]"
    fields = _struct(what, value)
    _exactly(what, fields, {"schema", "relation", "column", "label", "masker"})
    schema, relation, column, label = (
        _text(f"{what}.{key}", fields[key]) for key in ("schema", "relation", "column", "label")
    )
    masker = _masker(label, _struct(f"{what}.masker", fields["masker"]))
    return replace(masker, schema=schema, relation=relation, column=column)


def _output(value: struct_pb2.Value) -> MaskedColumn:
    what = "mask-columns.outputs[]"
    fields = _struct(what, value)
    _exactly(what, fields, {"position", "label", "masker"})
    position = _integer(f"{what}.position", fields["position"], low=1, high=MAX_OUTPUTS)
    label = _text(f"{what}.label", fields["label"])
    return replace(_masker(label, _struct(f"{what}.masker", fields["masker"])), position=position)


def _masker(label: str, masker: Parameters) -> MaskedColumn:
    """Type and parameters; of which column is the caller's to add."""
    kind = _text("masker.type", masker["type"]) if "type" in masker else ""
    wanted = _MASKERS.get(kind)
    if wanted is None:
        raise ObligationUnmetError("a masker this enforcer does not know")
    _exactly(f"masker {kind}", masker, {"type", *wanted})
    plain = MaskedColumn(label=label, masker=kind)
    if kind == "fixed":
        return replace(plain, text=_text("masker.text", masker["text"], empty=True))
    if kind == "keep-last":
        fill = _text("masker.fill", masker["fill"])
        if len(fill) != 1 or not fill.isprintable():
            raise ObligationUnmetError("masker.fill: not one printable character")
        return replace(plain, keep=_integer("masker.n", masker["n"], low=0, high=MAX_KEEP), fill=fill)
    if kind == "truncate-date":
        unit = _text("masker.to", masker["to"])
        if unit not in UNITS:
            raise ObligationUnmetError(f"masker.to: not one of {', '.join(UNITS)}")
        return replace(plain, unit=unit)
    if kind == "bucket":
        return replace(plain, size=_integer("masker.size", masker["size"], low=2, high=MAX_SIZE))
    if kind == "json":
        return replace(plain, paths=_paths(masker["paths"]))
    return plain


def read_masker(label: str, masker: struct_pb2.Struct) -> MaskedColumn:
    """A masker by itself, of no column yet. Raises ObligationUnmetError."""
    return _masker(label, masker.fields)


def _paths(value: struct_pb2.Value) -> tuple[tuple[str, ...], ...]:
    paths = tuple(
        tuple(_text("masker.paths[][]", step) for step in _listed("masker.paths[]", path, MAX_STEPS))
        for path in _listed("masker.paths", value, MAX_PATHS)
    )
    if not paths or not all(paths):
        raise ObligationUnmetError("masker.paths: none, or an empty one")
    return paths


def _merge_masks(known: dict[tuple[str, str, str, int], MaskedColumn], new: Iterable[MaskedColumn]) -> None:
    for mask in new:
        key = (mask.schema, mask.relation, mask.column, mask.position)
        if known.setdefault(key, mask) != mask:
            raise ObligationUnmetError("mask-columns: one column with two different maskers")
