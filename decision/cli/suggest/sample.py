"""Values of a target's columns to look at: few, short, for a short time, in transactions that can only read.

Only tables and materialised views are read (a view would run its functions), only columns whose type is the server's
own (printing another's would run its function), each value cut to its first characters. Values stay in this process:
what leaves are counts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import asyncpg

from decision.cli.reading import FAULTS
from decision.cli.target_columns import TargetColumn
from decision.columns import ColumnName

READ_KINDS = frozenset({"r", "p", "m"})
_PRINTED = frozenset({
    "text", "character varying", "character", "bpchar", "name", "json", "jsonb", "xml", "smallint", "integer",
    "bigint", "numeric", "double precision", "real", "inet", "cidr", "date", "timestamp without time zone",
    "timestamp with time zone", "money", "citext",
})  # fmt: skip
_SAMPLED_WHOLE = 20_000  # rows; larger relations are read in scattered pages
_COLUMNS_AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class Bounds:
    """What sampling may cost, at most."""

    rows: int = 200  # of each relation
    value_chars: int = 256
    total_bytes: int = 32 << 20
    seconds: float = 60.0  # altogether
    statement_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    values: tuple[str, ...] = field(default=(), repr=False)  # distinct, none null or blank
    why_none: str = ""


NOT_READ = Sample(why_none="not sampled")


def read_at_all(column: TargetColumn) -> str:
    """Why a column's values are not looked at; "" when they are."""
    if column.kind not in READ_KINDS:
        return "views and foreign tables are not read"
    if not column.readable:
        return "the account may not read it"
    if not column.builtin_type or column.type not in _PRINTED:
        return f"values of type {column.type} are not read"
    return ""


async def sample(
    link: asyncpg.Connection, columns: Iterable[TargetColumn], bounds: Bounds
) -> AsyncIterator[tuple[ColumnName, Sample]]:
    """Every column once. Nothing is raised for what can't be read: the sample says why it is empty."""
    ends = time.monotonic() + bounds.seconds
    left = bounds.total_bytes
    for _, group in groupby(columns, key=lambda column: column.oid):
        members = list(group)
        for column in members:
            if why := read_at_all(column):
                yield column.name, Sample(why_none=why)
        readable = [column for column in members if not read_at_all(column)]
        for at in range(0, len(readable), _COLUMNS_AT_ONCE):
            part = readable[at : at + _COLUMNS_AT_ONCE]
            if time.monotonic() >= ends or left <= 0:
                found = [Sample(why_none="the time or size for sampling was used up")] * len(part)
            else:
                found = await _read(link, part, bounds)
            for column, one in zip(part, found, strict=True):
                left -= sum(map(len, one.values))
                yield column.name, one


async def _read(link: asyncpg.Connection, columns: Sequence[TargetColumn], bounds: Bounds) -> list[Sample]:
    try:
        async with link.transaction(readonly=True):
            rows = await link.fetch(_query(columns, bounds))
            if not rows and columns[0].rows > _SAMPLED_WHOLE:  # the pages that were chosen held none
                rows = await link.fetch(_query(columns, bounds, whole=True))
    except FAULTS as error:
        return [Sample(why_none=f"it can't be read ({type(error).__name__})")] * len(columns)
    return [
        Sample(tuple(dict.fromkeys(value for row in rows if (value := row[place]) is not None and value.strip())))
        for place in range(len(columns))
    ]


def _query(columns: Sequence[TargetColumn], bounds: Bounds, *, whole: bool = False) -> str:
    first = columns[0]
    parts = ", ".join(
        f"pg_catalog.left({_quoted(column.name.column)}::pg_catalog.text, {int(bounds.value_chars)})"
        for column in columns
    )
    source = f"{_quoted(first.name.schema)}.{_quoted(first.name.relation)}"
    if first.rows > _SAMPLED_WHOLE and not whole:
        percent = min(100.0, max(0.0001, 100.0 * bounds.rows * 20 / first.rows))
        source += f" TABLESAMPLE SYSTEM ({percent:.6f})"
    return f"SELECT {parts} FROM {source} LIMIT {int(bounds.rows)}"  # noqa: S608 - names are quoted, numbers are numbers


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
