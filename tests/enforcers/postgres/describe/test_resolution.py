"""What a type converts to without being asked, which function a call means, and what a cast can tell by."""

from __future__ import annotations

import pytest

from enforcers.postgres.describe import resolution
from enforcers.postgres.describe.context import Context, Facts
from enforcers.postgres.describe.lineage import BOOL, INT4, INT8, NUMERIC, RECORD, TEXT, UNKNOWN
from tests.enforcers.postgres.describe.conftest import Server

# By name, some of each kind: one value's type may stand for several of these.
SAMPLES = ("text", "_text", "mood", "int4range", "int4multirange", "money2", "record")
POLYMORPHIC = {
    "any": set(SAMPLES),
    "anyelement": set(SAMPLES),
    "anyarray": {"_text"},
    "anynonarray": set(SAMPLES) - {"_text"},
    "anyenum": {"mood"},
    "anyrange": {"int4range"},
    "anymultirange": {"int4multirange"},
    "anycompatible": set(SAMPLES),
    "anycompatiblearray": {"_text"},
    "anycompatiblenonarray": set(SAMPLES) - {"_text"},
    "anycompatiblerange": {"int4range"},
    "anycompatiblemultirange": {"int4multirange"},
    "record": {"money2", "record"},
}

PRINTED = frozenset(
    ["bool", "bpchar", "bytea", "char", "cidr", "date", "float4", "float8", "inet", "int2", "int4", "int8",
     "interval", "json", "jsonb", "macaddr", "macaddr8", "name", "numeric", "oid", "pg_node_tree", "refcursor",
     "text", "time", "timestamp", "timestamptz", "timetz", "uuid", "varchar", "xml"]
)  # fmt: skip


def _oid(server: Server, name: str) -> int:
    found = server.catalog.find_type("pg_catalog", name) or server.catalog.find_type("public", name)
    assert found is not None, name
    return found.oid


def _context(server: Server) -> Context:
    return Context(server.catalog, ("pg_catalog", "public"), Facts())


@pytest.mark.parametrize("pseudo", POLYMORPHIC)
def test_what_a_polymorphic_argument_stands_for(server: Server, pseudo: str) -> None:
    target = _oid(server, pseudo)
    taken = {name for name in SAMPLES if resolution._converts(server.catalog, _oid(server, name), target) == ""}
    assert taken == POLYMORPHIC[pseudo]


@pytest.mark.parametrize(
    ("name", "types", "meant"),
    [
        ("pg_typeof", ("text",), "pg_catalog.pg_typeof"),
        ("to_json", ("text",), "pg_catalog.to_json"),
        ("array_agg", ("text",), "pg_catalog.array_agg"),
        ("array_agg", ("_text",), "pg_catalog.array_agg"),
        ("enum_last", ("mood",), "pg_catalog.enum_last"),
        ("isempty", ("int4range",), "pg_catalog.isempty"),
        ("enum_last", ("text",), resolution.UNRESOLVED),
        ("isempty", ("text",), resolution.UNRESOLVED),
        ("no such thing", ("text",), resolution.UNRESOLVED),
    ],
)
def test_which_function_a_call_means(server: Server, name: str, types: tuple[str, ...], meant: str) -> None:
    found = resolution.call(_context(server), name, "", tuple(_oid(server, item) for item in types))
    assert found.name == meant
    if meant == resolution.UNRESOLVED:
        assert found.told == (resolution.UNRESOLVED,)
        assert not found.quiet


def test_a_domain_is_as_what_it_is_over(server: Server) -> None:
    whole = _oid(server, "whole")
    assert resolution.operator(_context(server), "+", "", (whole, INT4)).type == INT4
    assert resolution.operator(_context(server), "+", "", (INT8, INT4)).type == INT8
    assert resolution.cast_tells(server.catalog, whole, INT4) == ""
    assert resolution.cast_tells(server.catalog, INT4, whole) != ""  # its checks may refuse the value
    assert resolution.element_of(server.catalog, _oid(server, "_text")) == TEXT


def test_a_constant_is_converted_before_anything_runs(server: Server) -> None:
    assert resolution.cast_tells(server.catalog, UNKNOWN, INT4) == ""
    assert resolution.cast_tells(server.catalog, TEXT, INT4) == "a cast to pg_catalog.int4"


def test_a_cast_to_a_row_tells(server: Server) -> None:
    assert resolution.cast_tells(server.catalog, TEXT, _oid(server, "money2")) == "a cast to public.money2"
    assert resolution._converts(server.catalog, RECORD, _oid(server, "money2")) == "a row's conversion"
    assert resolution._converts(server.catalog, _oid(server, "money2"), TEXT) is None


@pytest.mark.parametrize(
    ("kind", "quiet"),
    [(BOOL, True), (UNKNOWN, True), (TEXT, True), (NUMERIC, True), (0, False), (RECORD, False), (3904, False)],
)
def test_what_is_compared_without_fail(server: Server, kind: int, quiet: bool) -> None:
    assert resolution.compares_quietly(_context(server), kind) is quiet


def test_types_whose_text_is_made_without_fail(server: Server) -> None:
    """`x::text` of every type of the server's own that is not here can tell."""
    found = {
        item.name
        for item in server.catalog.builtins.objects.types.values()
        if item.kind == "b" and item.schema == "pg_catalog" and not item.name.startswith("_")
        and resolution.cast_tells(server.catalog, item.oid, TEXT) == ""
    }  # fmt: skip
    assert found == PRINTED
    assert resolution.cast_tells(server.catalog, _oid(server, "mood"), TEXT) == ""
    assert resolution.cast_tells(server.catalog, _oid(server, "_text"), TEXT) != ""
