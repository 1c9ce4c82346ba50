"""The reviewed list on a real server: nothing on it fails, whatever it is given; what can fail isn't on it."""

from __future__ import annotations

import itertools
from pathlib import Path

import asyncpg
import pytest

from enforcers.postgres.catalog.objects import Function
from enforcers.postgres.describe.lineage import GROWN
from enforcers.postgres.describe.telling import FIXED, PRINTED, REVIEWED, growth, tells
from tests.enforcers.postgres.describe.conftest import Server

# Of each type the values at its edges.
EDGES = {
    "text": ("''", "'x'", "'ſßİ\u0130 \u1f80'", "repeat('ä', 5000)", "'%\\_'", "E'\\x01'", "NULL"),
    "bpchar": ("''::bpchar", "'a  '::char(5)", "NULL"),
    "bytea": ("''::bytea", "'\\x00ff'::bytea", "NULL"),
    "int4": ("0", "-2147483648", "2147483647", "NULL"),
    "int8": ("0::int8", "-9223372036854775808", "9223372036854775807", "NULL"),
    "float4": ("0::float4", "'NaN'::float4", "'-Infinity'::float4", "3.4e38::float4", "1e-40::float4"),
    "float8": ("0::float8", "'NaN'::float8", "'-Infinity'::float8", "1.7e308::float8", "5e-324::float8"),
    "numeric": ("0.0", "'NaN'::numeric", "'-Infinity'::numeric", "10::numeric ^ 131000", "-1e-16000"),
    "date": ("'-infinity'::date", "'5874897-12-31'::date", "'4713-01-01 BC'::date", "'2000-02-29'::date"),
    "timestamp": ("'infinity'::timestamp", "'294276-12-31'::timestamp", "'4713-01-01 BC'::timestamp"),
    "timestamptz": ("'-infinity'::timestamptz", "'294276-12-30Z'::timestamptz", "'4713-01-02 BC'::timestamptz"),
    "interval": ("'178000000 years'::interval", "'-178000000 years'::interval", "'0'::interval", "NULL"),
    "jsonb": ("'{}'::jsonb", "'[1, [2], null]'::jsonb", "'\"x\"'::jsonb", "'1e400'::jsonb", "'null'::jsonb"),
    "inet": ("'::1'::inet", "'10.0.0.0/8'::inet", "NULL"),
    "char": ("''::\"char\"", "'\\200'::\"char\"", "NULL"),
    "bool": ("true", "NULL"),
    "anyarray": ("'{}'::int[]", "'{{1,2},{3,4}}'::int[]", "'[-5:-5]={1}'::int[]", "NULL::text[]"),
    "anyenum": ("'sad'::mood", "'glad'::mood", "NULL::mood"),
    "any": ("1", "NULL::int", "'x'::text"),
}  # fmt: skip


SIGNED = frozenset((Path(__file__).parent / "telling.txt").read_text(encoding="utf-8").splitlines())


def _signature(server: Server, function: Function) -> str:
    kinds = [server.catalog.type(oid) for oid in function.argument_types[: function.arguments]]
    return f"{function.name}({', '.join(kind.name if kind is not None else '' for kind in kinds)})"


def test_what_passes_is_what_was_signed(server: Server) -> None:
    """telling.txt: each function that passes by review, as its reviewer saw it. No more passes, and no less."""
    functions = [item for item in server.catalog.builtins.objects.functions.values() if item.builtin]
    named = {_signature(server, item): item for item in functions if item.language == "internal"}
    passing = {
        name
        for name, item in named.items()
        if not item.leakproof and not any(tells(item, place) for place in range(max(item.arguments, 1)))
    }
    assert passing - SIGNED == set()
    assert {name for name in SIGNED & named.keys() if not named[name].leakproof} == passing
    assert all(growth(named[name]) < GROWN for name in passing)


def test_lengths_are_fixed_of_these_types(server: Server) -> None:
    found = {kind.name for oid in FIXED if (kind := server.catalog.type(oid)) is not None}
    assert found == {
        "bool", "char", "date", "float4", "float8", "int2", "int4", "int8", "interval", "macaddr", "macaddr8", "money",
        "name", "oid", "time", "timestamp", "timestamptz", "timetz", "uuid",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "times"), [("upper", 4), ("lower", 4), ("initcap", 4), ("quote_nullable", 3), ("reverse", 1)]
)
def test_how_much_longer_a_result_may_be(server: Server, name: str, times: int) -> None:
    found = {growth(item) for item in server.catalog.functions_named(name) if item.builtin and item.source in REVIEWED}
    assert found == {times}


def _reviewed(server: Server) -> list[Function]:
    found = []
    for name in {item.name for item in server.catalog.builtins.objects.functions.values()}:
        found += [
            item
            for item in server.catalog.functions_named(name)
            if item.builtin and item.language == "internal" and item.source in REVIEWED and item.arguments
        ]
    return sorted(found, key=lambda item: item.oid)


async def test_what_is_reviewed_never_fails(server: Server) -> None:
    tried = 0
    connection = await asyncpg.connect(server.dsn)
    try:
        for function in _reviewed(server):
            names = [server.catalog.type(oid) for oid in function.argument_types]
            kinds = [kind.name if kind is not None else "" for kind in names]
            assert all(kind in EDGES for kind in kinds), (function.name, kinds)
            places = REVIEWED[function.source] or range(len(kinds))
            # What isn't reviewed is given once, harmlessly.
            values = [_values(kind) if place in places else ("1",) for place, kind in enumerate(kinds)]
            calls = [f"pg_catalog.{function.name}({', '.join(given)})::text" for given in itertools.product(*values)]
            for batch in _batches(calls):
                await connection.fetch("SELECT " + ", ".join(batch))
                tried += len(batch)
    finally:
        await connection.close()
    assert tried > 1000


def _values(kind: str) -> list[str]:
    if kind.startswith("any"):
        return list(EDGES[kind])
    return [f'({value})::pg_catalog."{kind}"' for value in EDGES[kind]]


def _batches(items: list[str]) -> list[list[str]]:
    return [items[start : start + 400] for start in range(0, len(items), 400)]


@pytest.mark.parametrize(
    "name",
    [
        "int4pl", "int4div", "int4abs", "numeric_div", "numeric_add", "ascii", "chr", "to_char", "repeat",
        "lpad", "textlike", "textregexeq", "substring", "int4in", "to_date", "pg_sleep", "generate_series",
        "unnest", "jsonb_object_field", "exp", "split_part", "sqrt", "nextval", "set_config", "row_to_json",
        "date_trunc", "factorial", "convert_from", "decode",
    ],
)  # fmt: skip
def test_what_can_fail_takes_long_or_changes_something_tells(server: Server, name: str) -> None:
    found = [item for item in server.catalog.functions_named(name) if item.builtin]
    assert found
    assert any(tells(item, place) for item in found for place in range(max(item.arguments, 1)))


def test_what_fails_for_one_argument_but_not_on_a_null_tells_of_each(server: Server) -> None:
    (function,) = [item for item in server.catalog.functions_named("substr") if item.source == "text_substr"]
    assert [tells(function, place) for place in range(3)] == [True, True, True]


def test_leakproof_is_the_catalogs_word(server: Server) -> None:
    (function,) = server.catalog.functions_named("texteq")
    assert function.leakproof
    assert not tells(function, 0)
    (own,) = server.catalog.functions_named("plus_one")
    assert tells(own, 0)  # whoever made it didn't say that it is


def test_a_function_that_nobody_reviewed_may_grow_without_end(server: Server) -> None:
    (repeat,) = server.catalog.functions_named("repeat")
    (upper,) = [item for item in server.catalog.functions_named("upper") if item.source == "upper"]
    assert growth(repeat) > 1_000_000 > growth(upper) > 1


async def test_what_is_printed_never_fails(server: Server) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        for kind in sorted(EDGES.keys() - {"any", "anyarray", "anyenum", "char"}):
            await connection.fetch("SELECT " + ", ".join(f"({value})::text" for value in _values(kind)))
    finally:
        await connection.close()
    outputs = {item.source for item in server.catalog.builtins.objects.functions.values()}
    assert outputs >= PRINTED
