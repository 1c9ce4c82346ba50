"""Do the maskers that policy plans fit the types that the target's columns have? Asked while a policy is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
from twokey.enforcer.v1 import describe_pb2

from enforcers.core.errors import DescribeError
from enforcers.core.obligations import ObligationUnmetError, read_masker
from enforcers.postgres.maskers.choose import misfit

_SECONDS = 3.0  # for the catalog; whoever asks waits five
# Of each column its type, a domain's down to what it is made of, with the modifier that counts, and as SQL spells it.
_TYPES_SQL = """
WITH RECURSIVE named AS (
  SELECT w.n, a.atttypid AS type, a.atttypmod AS modifier, pg_catalog.format_type(a.atttypid, a.atttypmod) AS shown
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]),
    pg_catalog.unnest($3::pg_catalog.text[])) WITH ORDINALITY w(schema, relation, name, n)
  JOIN pg_catalog.pg_namespace s ON s.nspname OPERATOR(pg_catalog.=) w.schema::pg_catalog.name
  JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) s.oid
    AND c.relname OPERATOR(pg_catalog.=) w.relation::pg_catalog.name
  JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
    AND a.attname OPERATOR(pg_catalog.=) w.name::pg_catalog.name AND a.attnum OPERATOR(pg_catalog.>) 0
), typed AS (
  SELECT n, type, modifier, shown FROM named
  UNION ALL
  SELECT typed.n, t.typbasetype, t.typtypmod, typed.shown FROM typed
  JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) typed.type
  WHERE t.typtype OPERATOR(pg_catalog.=) 'd'::pg_catalog."char"
)
SELECT typed.n, typed.type::pg_catalog.int8, typed.modifier, typed.shown FROM typed
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) typed.type
WHERE t.typtype OPERATOR(pg_catalog.<>) 'd'::pg_catalog."char"
"""


async def misfits(
    connect: Callable[[], Awaitable[asyncpg.Connection]],
    masks: Sequence[describe_pb2.PlannedMask],
    *,
    keyed: bool,
) -> describe_pb2.MaskersAnswer:
    """keyed: the connection has a masking key. Raises DescribeError where the target can't be asked."""
    answer = describe_pb2.MaskersAnswer()
    for mask, (type_oid, modifier, shown) in await _typed(connect, masks):
        try:
            why = misfit(read_masker(mask.label, mask.masker), type_oid, modifier, keyed=keyed)
        except ObligationUnmetError as error:
            why = str(error)
        if why:
            kind = mask.masker.fields["type"].string_value if "type" in mask.masker.fields else ""
            answer.misfits.add(column=mask.column, label=mask.label, type=shown, masker=kind, why=why)
    return answer


async def _typed(
    connect: Callable[[], Awaitable[asyncpg.Connection]], masks: Sequence[describe_pb2.PlannedMask]
) -> list[tuple[describe_pb2.PlannedMask, tuple[int, int, str]]]:
    """Those whose column the target has, with its type oid, modifier and spelling."""
    columns = [mask.column for mask in masks]
    names = ([c.schema for c in columns], [c.relation for c in columns], [c.column for c in columns])
    try:
        async with asyncio.timeout(_SECONDS):
            connection = await connect()
            try:
                rows = await connection.fetch(_TYPES_SQL, *names)
            finally:
                connection.terminate()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DescribeError(f"the target can't be asked for its columns' types ({type(error).__name__})") from error
    return [(masks[row[0] - 1], (row[1], row[2], row[3])) for row in rows]
