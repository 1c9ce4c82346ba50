"""Which masker fits which type: the one table of it, asked when policy is loaded and again for each result.

A masker that fits gives, for every value of the type and in both formats, a value of that type that the server takes
back. All others are refused with a sentence. Types are as RowDescription shows them: a domain as its base type.
"""

from __future__ import annotations

from enforcers.core.ports import MaskedColumn
from enforcers.postgres.maskers.base import Masker, Null, UnmaskableError
from enforcers.postgres.maskers.dates import CutBinary, CutText
from enforcers.postgres.maskers.documents import Paths
from enforcers.postgres.maskers.hashes import MIN_TEXT_LENGTH, HashBytea, HashInt8, HashText, HashUuid
from enforcers.postgres.maskers.numbers import BucketFloat, BucketInteger, BucketNumericBinary, BucketNumericText
from enforcers.postgres.maskers.texts import EMAIL_LENGTH, Email, Fixed, KeepLast

BYTEA, NAME, INT8, INT2, INT4, TEXT, JSON = 17, 19, 20, 21, 23, 25, 114
FLOAT4, FLOAT8, BPCHAR, VARCHAR, DATE, TIMESTAMP, TIMESTAMPTZ = 700, 701, 1042, 1043, 1082, 1114, 1184
NUMERIC, UUID, JSONB = 1700, 2950, 3802

TEXT_TYPES = frozenset({TEXT, VARCHAR, BPCHAR, NAME})
_INTEGERS = {INT2: 2, INT4: 4, INT8: 8}
_FLOATS = {FLOAT4: 4, FLOAT8: 8}
_DATES = {DATE: "date", TIMESTAMP: "timestamp", TIMESTAMPTZ: "timestamptz"}
_NAME_BYTES = 63
_HEADER = 4  # of a type modifier: character(10) has 14
_HASHED = frozenset({INT8, UUID, BYTEA})
_UNITS_OF_DATES = frozenset({"year", "quarter", "month"})
TYPES = {
    "fixed": TEXT_TYPES,
    "keep-last": TEXT_TYPES,
    "email": TEXT_TYPES,
    "hash": TEXT_TYPES | _HASHED,
    "truncate-date": frozenset(_DATES),
    "bucket": frozenset({*_INTEGERS, *_FLOATS, NUMERIC}),
    "json": frozenset({JSON, JSONB}),
}
_FOR = {
    "fixed": "character types",
    "keep-last": "character types",
    "email": "character types",
    "hash": "character types, bigint, uuid and bytea",
    "truncate-date": "date, timestamp and timestamptz",
    "bucket": "smallint, integer, bigint, numeric, real and double precision",
    "json": "json and jsonb",
}


def characters(type_oid: int, modifier: int) -> int:
    """How many character(n) and character varying(n) hold; 0: no limit of their own."""
    return modifier - _HEADER if type_oid in (BPCHAR, VARCHAR) and modifier >= _HEADER else 0


def misfit(mask: MaskedColumn, type_oid: int, modifier: int, *, keyed: bool) -> str:
    """Why this masker can't be applied to a column of this type; empty where it can. keyed: there is a masking key."""
    kind = mask.masker
    if kind == "null":
        return ""
    fitting = TYPES.get(kind)
    if fitting is None:
        return f"there is no masker {kind!r}"
    if type_oid not in fitting:
        return f"masker {kind} is for {_FOR[kind]}; null fits every type"
    if type_oid in TEXT_TYPES:
        return _too_long(mask, type_oid, characters(type_oid, modifier)) or _unkeyed(kind, keyed=keyed)
    if kind == "truncate-date" and type_oid == DATE and mask.unit not in _UNITS_OF_DATES:
        return f"truncate-date to {mask.unit} would leave a date as it is"
    return _unkeyed(kind, keyed=keyed)


def _unkeyed(kind: str, *, keyed: bool) -> str:
    return "masker hash needs a key: set masking.key" if kind == "hash" and not keyed else ""


def _too_long(mask: MaskedColumn, type_oid: int, most: int) -> str:
    if type_oid == NAME and len((mask.text + mask.fill).encode()) > _NAME_BYTES:
        return "the type name holds 63 bytes"
    if type_oid == NAME and not mask.fill.isascii():
        return "the type name counts bytes: fill with an ASCII character"
    if not most:
        return ""
    least = {"fixed": len(mask.text), "email": EMAIL_LENGTH, "hash": MIN_TEXT_LENGTH}.get(mask.masker, 0)
    return f"masker {mask.masker} needs {least} characters, the type holds {most}" if least > most else ""


def masker_of(
    mask: MaskedColumn, *, type_oid: int, modifier: int = -1, binary: bool = False, key: bytes | None = None
) -> Masker:
    """What rewrites the values of this column. key: the connection's, 32 bytes. Raises UnmaskableError."""
    wrong = misfit(mask, type_oid, modifier, keyed=key is not None)
    if wrong:
        raise UnmaskableError(f"{where(mask)} can't be masked as policy says (label {mask.label}): {wrong}")
    kind = mask.masker
    if kind == "null":
        return Null()
    if type_oid in TEXT_TYPES:
        return _text_masker(mask, type_oid, characters(type_oid, modifier), key or b"")
    if kind == "hash":
        return _hash_masker(type_oid, key or b"", binary=binary)
    if kind == "truncate-date":
        if binary:
            return CutBinary(mask.unit, 4 if type_oid == DATE else 8)
        return CutText(mask.unit, _DATES[type_oid])
    if kind == "json":
        return Paths(mask.paths, versioned=binary and type_oid == JSONB)
    if type_oid == NUMERIC:
        return BucketNumericBinary(mask.size) if binary else BucketNumericText(mask.size)
    if type_oid in _FLOATS:
        return BucketFloat(mask.size, _FLOATS[type_oid] if binary else 0)
    return BucketInteger(mask.size, _INTEGERS[type_oid] if binary else 0)


def _text_masker(mask: MaskedColumn, type_oid: int, most: int, key: bytes) -> Masker:
    width = most if type_oid == BPCHAR else 0
    if mask.masker == "fixed":
        return Fixed(mask.text.encode(), width)
    if mask.masker == "keep-last":
        return KeepLast(mask.keep, mask.fill, width)
    return Email(width) if mask.masker == "email" else HashText(key, most, width)


def _hash_masker(type_oid: int, key: bytes, *, binary: bool) -> Masker:
    if type_oid == INT8:
        return HashInt8(key, binary=binary)
    return HashUuid(key, binary=binary) if type_oid == UUID else HashBytea(key, binary=binary)


def reads_dates(mask: MaskedColumn) -> bool:
    """Does it read dates as text, so that DateStyle must be ISO?"""
    return mask.masker == "truncate-date"


def where(mask: MaskedColumn) -> str:
    return f"column {mask.position} of the result" if mask.position else f"{mask.schema}.{mask.relation}.{mask.column}"
