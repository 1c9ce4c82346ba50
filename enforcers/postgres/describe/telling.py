"""Which built-in functions tell nothing of their arguments: no error, no other number of rows, no state, no long time.

Two sources. The catalog calls a function leakproof: then a person at PostgreSQL has looked at exactly this. Beyond that
the list here, by the C function that does the work, so that all names of one function are judged alike. Being `safe`
(safe_functions.py) is another thing: `/` can only compute on its arguments, yet `1/(ascii(ssn)-49)` tells by failing.

What was reviewed for each: it raises no error whatever the value of the argument is, or, where positions are given,
of those arguments; its result is at most `growth` times as long as its arguments together; it looks at nothing else.
tools/telling_functions.py prints for a server which functions that makes, and which candidates are left, for review of
a new major version.

Left out on purpose: `substring(text, int, int)` (a negative length fails, but not beside NULL), arithmetic on integers
and numeric (overflow), everything that parses text, LIKE and regular expressions (a pattern can fail half-way,
depending on how far the text matched), formatting with a picture, date arithmetic (range), ceil and round of numeric
(overflow), json functions (depth), comparing arrays (elements).
"""

from __future__ import annotations

from enforcers.postgres.catalog.objects import Function
from enforcers.postgres.describe.lineage import GROWN

_ALL: tuple[int, ...] = ()
_COMPARED = ("eq", "ne", "lt", "le", "gt", "ge")

# C function -> the arguments (from 0) about which it tells nothing; none given: about all of them.
REVIEWED: dict[str, tuple[int, ...]] = {
    # text: no conversion, no pattern
    "textlen": _ALL,
    "textoctetlen": _ALL,
    "bpcharlen": _ALL,
    "bpcharoctetlen": _ALL,
    "byteaoctetlen": _ALL,
    "upper": _ALL,
    "lower": _ALL,
    "initcap": _ALL,
    "text_left": _ALL,
    "text_right": _ALL,
    "text_reverse": _ALL,
    "btrim": _ALL,
    "btrim1": _ALL,
    "ltrim": _ALL,
    "ltrim1": _ALL,
    "rtrim": _ALL,
    "rtrim1": _ALL,
    "text_substr_no_len": _ALL,
    "textcat": _ALL,  # as long as both together
    "quote_nullable": _ALL,
    "booltext": _ALL,
    "char_text": _ALL,
    "network_show": _ALL,
    "network_family": _ALL,
    "network_masklen": _ALL,
    "to_hex32": _ALL,
    "to_hex64": _ALL,
    # numbers that can't overflow
    "numeric_abs": _ALL,
    "numeric_sign": _ALL,
    "numeric_uminus": _ALL,
    "numeric_uplus": _ALL,
    "numeric_larger": _ALL,
    "numeric_smaller": _ALL,
    "float4abs": _ALL,
    "float8abs": _ALL,
    "dsign": _ALL,
    "dceil": _ALL,
    "dfloor": _ALL,
    "dround": _ALL,
    "dtrunc": _ALL,
    "date_finite": _ALL,
    "timestamp_finite": _ALL,
    "interval_finite": _ALL,
    # shape, not content
    "array_cardinality": _ALL,
    "array_ndims": _ALL,
    "array_length": _ALL,
    "array_lower": _ALL,
    "array_upper": _ALL,
    "jsonb_typeof": _ALL,
    "pg_num_nulls": _ALL,
    "pg_num_nonnulls": _ALL,
    # functions of no argument
    "now": _ALL,
    "statement_timestamp": _ALL,
    "current_user": _ALL,
    "session_user": _ALL,
    "current_database": _ALL,
    "pgsql_version": _ALL,
    "pg_typeof": _ALL,
}  # fmt: skip
REVIEWED |= {f"numeric_{name}": _ALL for name in (*_COMPARED, "cmp")}
REVIEWED |= {f"jsonb_{name}": _ALL for name in (*_COMPARED, "cmp")}
REVIEWED |= {f"enum_{name}": _ALL for name in (*_COMPARED, "cmp")}
# Dates beside timestamps: what is out of the other's range is told apart without an error (13 and newer).
REVIEWED |= {
    f"{one}_{name}_{other}": _ALL
    for one in ("date", "timestamp", "timestamptz")
    for other in ("date", "timestamp", "timestamptz")
    if one != other
    for name in (*_COMPARED, "cmp")
}
# Output functions: the text of a value, for `x::text`.
PRINTED = frozenset(
    ["boolout", "int2out", "int4out", "int8out", "float4out", "float8out", "numeric_out", "oidout", "uuid_out",
     "date_out", "time_out", "timetz_out", "timestamp_out", "timestamptz_out", "interval_out", "textout", "varcharout",
     "bpcharout", "nameout", "charout", "byteaout", "jsonb_out", "json_out", "inet_out", "cidr_out", "macaddr_out",
     "macaddr8_out", "enum_out"]
)  # fmt: skip
# Result types of one length: whatever made them, they do not grow.
FIXED = frozenset([16, 18, 19, 20, 21, 23, 26, 700, 701, 790, 829, 774, 1082, 1083, 1114, 1184, 1186, 1266, 2950])


# How many times as long as its arguments a result may be: another case, an escape for each character.
_GROWING = {"upper": 4, "lower": 4, "initcap": 4, "quote_nullable": 3}


def growth(function: Function) -> int:
    if function.leakproof or (function.builtin and function.source in REVIEWED):
        return _GROWING.get(function.source, 1)
    return GROWN


def tells(function: Function, argument: int) -> bool:
    """Can it tell something of that argument (from 0)?"""
    if function.leakproof:
        return False
    if not function.builtin or function.language != "internal":
        return True
    reviewed = REVIEWED.get(function.source)
    return reviewed is None or bool(reviewed and argument not in reviewed)
