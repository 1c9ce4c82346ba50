"""Every type that a column can have, masked: the result's columns keep their types in every format, and hold NULL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import admin, connect, until
from tests.e2e.test_versions import direct

# A column of each built-in type and of each kind of a user's own, with the first of many texts that its type reads; an
# array has one element. s_…: what can't be sent in binary.
_TYPES = r"""
CREATE TYPE typed_enum AS ENUM ('canary8811');
CREATE DOMAIN typed_domain AS text CHECK (VALUE <> 'x');
CREATE DOMAIN typed_whole AS numeric(20, 2);
CREATE TYPE typed_row AS (a int, b text);
CREATE TYPE typed_range AS RANGE (subtype = text);
CREATE TABLE typed (id int);
INSERT INTO typed VALUES (1);
DO $$ DECLARE kind record; named text; given text; BEGIN
  FOR kind IN SELECT t.typname, format_type(t.oid, NULL) AS written, t.typcategory = 'A' AS is_array,
      t.typsend <> 0 AND coalesce(e.typsend, t.typsend) <> 0 AS is_sent
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_type e ON e.oid = t.typelem AND e.oid <> 0
    WHERE (n.nspname = 'pg_catalog' AND t.typtype IN ('b', 'r', 'm') AND t.typname <> '_record'
      AND (t.typelem = 0 OR e.typtype NOT IN ('c', 'p')))
      OR t.typname ~ '^_?typed_' ORDER BY t.oid
  LOOP
    named := CASE WHEN kind.is_sent THEN 'c_' ELSE 's_' END || kind.typname;
    BEGIN
      EXECUTE format('ALTER TABLE typed ADD %I %s', named, kind.written);
    EXCEPTION WHEN invalid_table_definition OR undefined_object THEN CONTINUE;
    END;
    FOREACH given IN ARRAY string_to_array('GIVEN', '~') LOOP
      BEGIN
        EXECUTE format('UPDATE typed SET %I = %L', named,
          CASE WHEN kind.is_array THEN '{"' || replace(given, '"', '\"') || '"}' ELSE given END);
        EXIT;
      EXCEPTION WHEN OTHERS THEN NULL;
      END;
    END LOOP;
  END LOOP;
END $$;
COMMENT ON TABLE typed IS 'twokey: label=private';
GRANT SELECT ON typed TO company_ro, company_rw;
"""
_GIVEN = [
    *("canary8811", "88112233", "8811", "1988-11-22 11:22:33", "1988-11-22", "11:22:33", "88 days", "188.11.22.33"),
    *("88:11:22:33:44:55", "88:11:22:33:44:55:66:77", "deadbeef-dead-4eef-8ead-beefdeadbeef", '{"canary": 8811}'),
    *("1000100010001", "1", "true", "88/112233", "(88.25,11.5)", "((88,11),(22,33))", "<(88,11),22>", "{88,11,22}"),
    *("[(88,11),(22,33)]", "[88,1122)", "[1988-11-22,1999-11-22)", "{[88,1122)}", "{[1988-11-22,1999-11-22)}"),
    *("[canary8811,z)", "{[canary8811,z)}", "(88,canary8811)", "8811:8899:", "pg_class", "length(text)", "english"),
    *("+(integer,integer)", "now", "int4", "pg_catalog", "postgres=r/postgres", "=r/postgres", "88 11 22", "simple"),
]
_LEAST = 150  # columns
_MOST_EMPTY = 30  # types whose values nobody can write, and their arrays: pg_node_tree, pg_mcv_list, …


@pytest.fixture(scope="module")
def typed(stack: Stack) -> Iterator[Stack]:
    admin(stack, _TYPES.replace("GIVEN", "~".join(_GIVEN)))
    try:
        with connect(stack, "planner") as client:
            until(lambda: read(client) == (None,), timeout_s=5, what="the labels")
        yield stack
    finally:
        kinds = "DROP TYPE typed_row, typed_range, typed_enum; DROP DOMAIN typed_domain, typed_whole"
        admin(stack, f"DROP TABLE typed; {kinds}")


def read(client: psycopg.Connection[tuple[object, ...]]) -> object:
    try:
        return client.execute("SELECT c_text FROM typed").fetchone()
    except psycopg.Error:
        return "not yet"


def columns(stack: Stack, *, binary: bool) -> str:
    wanted = "c" if binary else "[cs]"
    names = admin(
        stack,
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'typed'::regclass"
        f" AND attname ~ '^{wanted}_' ORDER BY attnum",
    ).split("\n")
    return ", ".join(name for name in names if name)


Shown = tuple[list[tuple[object, ...]], list[bytes | None]]


def shown(client: psycopg.Connection[tuple[object, ...]], names: str, *, binary: bool, prepare: bool) -> Shown:
    """The result's columns (name, type, modifier, length, format), and its one row as it came."""
    result = client.execute(f"SELECT {names} FROM typed".encode(), binary=binary, prepare=prepare).pgresult
    assert result is not None
    places = range(result.nfields)
    kinds: list[tuple[object, ...]] = [
        (result.fname(n), result.ftype(n), result.fmod(n), result.fsize(n), result.fformat(n)) for n in places
    ]
    return kinds, [result.get_value(0, n) for n in places]


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_rows_keep_every_type(typed: Stack, binary: bool, prepare: bool) -> None:
    names = columns(typed, binary=binary)
    with direct(typed) as there, connect(typed, "planner") as here:
        kinds, values = shown(there, names, binary=binary, prepare=prepare)
        assert len(kinds) > _LEAST
        assert sum(value is None for value in values) <= _MOST_EMPTY
        assert shown(here, names, binary=binary, prepare=prepare) == (kinds, [None] * len(kinds))


@pytest.mark.parametrize("options", ["", " (FORMAT csv, NULL 'nil', FORCE_QUOTE *)", " (FORMAT binary)"])
def test_copies_hold_nothing(typed: Stack, options: str) -> None:
    names = columns(typed, binary="binary" in options)
    width = names.count(", ") + 1
    text = f"COPY typed ({names}) TO STDOUT{options}".encode()
    with connect(typed, "planner") as client, client.cursor() as cursor, cursor.copy(text) as copy:
        sent = b"".join(bytes(part) for part in copy)
    if "binary" in options:
        row = width.to_bytes(2, "big") + b"\xff\xff\xff\xff" * width
        assert sent == b"PGCOPY\n\xff\r\n\0" + bytes(8) + row + b"\xff\xff"
    else:
        null, between = (b"nil", b",") if "csv" in options else (b"\\N", b"\t")
        assert sent == between.join([null] * width) + b"\n"
