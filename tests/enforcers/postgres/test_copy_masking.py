"""COPY TO STDOUT, masked: what comes in is the real server's, and it reads back what goes out by the same options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast.parser import parse_sql_json

from enforcers.core.errors import ProtocolError
from enforcers.core.ports import MaskedColumn
from enforcers.postgres import wire
from enforcers.postgres.copy_masking import CopyMasker, announced, copy_masker
from enforcers.postgres.describe.copying import form_of
from enforcers.postgres.description import CopyForm
from enforcers.postgres.masking import masker_of, row_masker
from tests.enforcers.postgres.conftest import Postgres

NULL = MaskedColumn(schema="s", relation="r", column="c", label="pii", masker="null")
MASKS = {
    "null": NULL,
    "fixed": replace(NULL, masker="fixed", text="a,\"b;\\X|\n\r\t\b'."),
    "fixed, plain": replace(NULL, masker="fixed", text="aXb"),
    "fixed, empty": replace(NULL, masker="fixed", text=""),
    "fixed, as NULL": replace(NULL, masker="fixed", text="nil"),
    "fixed, as the end": replace(NULL, masker="fixed", text="\\."),
    "keep-last": replace(NULL, masker="keep-last", keep=2),
}
NASTY = ["", "x", "nil", "\\N", "\\.", '"', "'", '""', "a,b", "a;b", "a|b", "aXb", "tab\there", "line\nend\r\n", "é€𝄞"]
NASTY += ["\\", "\\\\", "\\t", '\\"', "back\bspace\f\v", " lead", "'q'", "a\\'b", ",", ",,", '"a","b"']
ROWS = [(n, value, NASTY[-n]) for n, value in enumerate([*NASTY, None])]
FORMS = [
    "",
    "(DELIMITER '|')",
    "(DELIMITER 'X')",
    "(DELIMITER E'\\b')",
    "(FORMAT text, HEADER)",
    "(FORMAT csv)",
    "CSV HEADER",
    "(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE E'\\\\')",
    "(FORMAT csv, DELIMITER 'X', QUOTE 'n')",
    "(FORMAT csv, NULL 'nil')",
    "(FORMAT csv, FORCE_QUOTE *)",
    "CSV FORCE QUOTE v",
    "(FORMAT csv, ENCODING 'utf-8')",
    "(FORMAT binary)",
]
TEXT = wire.FieldDescription(b"v", 0, 0, 25, -1, -1, 0)
FIELDS = (
    wire.FieldDescription(b"id", 0, 0, 23, 4, -1, 0),
    TEXT,
    wire.FieldDescription(b"w", 0, 0, 25, -1, -1, 0),
)


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE nasty (id int, v text, w text)")
        connection.execute("CREATE TEMP TABLE back (id int, v text, w text)")
        connection.cursor().executemany("INSERT INTO nasty VALUES (%s, %s, %s)", ROWS)
        yield connection


def form(options: str) -> CopyForm:
    tree = orjson.loads(parse_sql_json(f"COPY t TO STDOUT {options}"))
    return form_of(tree["stmts"][0]["stmt"]["CopyStmt"].get("options", []))


def frame(payload: bytes) -> bytes:
    return wire.message(b"d", payload)


def masker(options: str, *masks: str | None) -> CopyMasker:
    columns = [(None if name is None else MASKS[name], field) for name, field in zip(masks, FIELDS, strict=False)]
    return copy_masker(columns, form(options), key=None)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", FORMS)
def test_the_server_reads_back_what_was_masked(server: psycopg.Connection[Any], options: str, mask: str) -> None:
    assert form(options).problem == ""
    version = server.info.server_version
    if "text, HEADER" in options and version < 150000:
        return
    with server.cursor().copy(f"COPY nasty TO STDOUT {options}") as copy:
        sent = [bytes(row) for row in copy]
    names = [sent.pop(0)] if "HEADER" in options else []
    one = masker(options, None, mask, None)
    stream = b"".join(frame(row) for row in sent)
    out: list[bytes] = []
    end, count = one.run(stream, 0, 1 << 40, 1 << 40, out)
    assert (end, count) == (len(stream), len(sent))
    again = masker(options, None, mask, None)
    assert b"".join(out) == b"".join(again.rewrite(frame(row)) for row in sent)
    masked = b"".join([*names, *(row[5:] for row in frames(b"".join(out)))])
    server.execute("TRUNCATE back")
    with server.cursor().copy(
        f"COPY back FROM STDIN {options.replace('(FORMAT csv, FORCE_QUOTE *)', 'CSV').replace('FORCE QUOTE v', '')}"
    ) as copy:
        copy.write(masked)
    rows = server.execute("SELECT id, v, w FROM back ORDER BY id").fetchall()
    expected = masker_of(MASKS[mask], type_oid=25)
    values = [None if v is None else expected(v.encode()) for _, v, _ in ROWS]
    wanted = [(n, None if v is None else v.decode(), w) for (n, _, w), v in zip(ROWS, values, strict=True)]
    assert rows == wanted
    assert one.fields == sum(v is not None for _, v, _ in ROWS)


def frames(stream: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(stream):
        end = position + 1 + int.from_bytes(stream[position + 1 : position + 5], "big")
        yield stream[position:end]
        position = end


@pytest.mark.parametrize("options", FORMS)
def test_what_the_server_would_send_of_masked_values_is_what_goes_out(
    server: psycopg.Connection[Any], options: str
) -> None:
    """So nothing shows whether the real value needed quotes or escapes."""
    if "text, HEADER" in options and server.info.server_version < 150000:
        return
    text = MASKS["fixed"].text
    with server.cursor().copy(f"COPY (SELECT id, v, w FROM nasty) TO STDOUT {options}") as copy:
        real = [bytes(row) for row in copy]
    query = "SELECT id, CASE WHEN v IS NOT NULL THEN " + psycopg.sql.Literal(text).as_string(server) + " END AS v, w"
    with server.cursor().copy(f"COPY ({query} FROM nasty) TO STDOUT {options}") as copy:
        wanted = [bytes(row) for row in copy]
    if "HEADER" in options:
        assert real.pop(0) == wanted.pop(0)
    one = masker(options, None, "fixed", None)
    assert [one.rewrite(frame(row))[5:] for row in real] == wanted


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("(NULL 'nil')", "NULL of its own"),
        ("NULL ''", "NULL of its own"),
        ("(ENCODING 'latin1')", "another encoding"),
        ("(FORMAT csv, FREEZE)", "option FREEZE"),
        ("(FORMAT 'json')", "format json"),
        ("(DELIMITER 'é')", "no single byte"),
        ("(FORMAT csv, FORMAT text)", "option FORMAT"),
    ],
)
def test_forms_that_can_not_be_masked_say_why(options: str, says: str) -> None:
    assert says in form(options).problem


@pytest.mark.parametrize("options", ["", "(FORMAT csv)", "(FORMAT binary)"])
@given(payload=st.binary(max_size=60))
def test_what_is_no_row_is_refused_or_masked(options: str, payload: bytes) -> None:
    one = masker(options, None, "fixed, plain", None)
    try:
        out = one.rewrite(frame(payload))
    except ProtocolError:
        return
    assert out[5:] == payload or b"aXb" in out or one.fields == 0


def test_a_row_too_short_is_refused() -> None:
    for options, row in (("", b"1\n"), ("CSV", b"1\n"), ("", b""), ("CSV", b'1,"open\n'), ("CSV", b'1,"a"b,c\n')):
        with pytest.raises(ProtocolError):
            masker(options, None, "null", None).rewrite(frame(row))
    for row in (b"\0\3", b"\0\2\0\0\0\0", b"\0\3\0\0\0\1x\0\0\0\7x"):
        binary = masker("(FORMAT binary)", None, "null", None)
        binary.rewrite(frame(b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"))
        with pytest.raises(ProtocolError):
            binary.rewrite(frame(row))
    with pytest.raises(ProtocolError):
        masker("(FORMAT binary)", None, "null", None).rewrite(frame(b"\0\3"))


def test_rows_of_another_kind_of_message_are_refused() -> None:
    with pytest.raises(ProtocolError):
        masker("", None, "null").rewrite(wire.data_row([b"1", b"secret"]))
    with pytest.raises(ProtocolError):
        row_masker([(None, TEXT), (NULL, TEXT)]).rewrite(frame(b"1\tsecret\n"))


def test_only_the_form_that_was_described_may_come() -> None:
    one, binary = masker("", None, "null", None), masker("(FORMAT binary)", None, "null", None)
    text_of_3, binary_of_3, text_of_2 = (
        wire.message(b"H", bytes([kind, 0, count]) + bytes(2 * count)) for kind, count in ((0, 3), (1, 3), (0, 2))
    )
    assert [announced(one, raw) for raw in (text_of_3, binary_of_3, text_of_2)] == [True, False, False]
    assert [announced(binary, raw) for raw in (text_of_3, binary_of_3, text_of_2)] == [False, True, False]
    assert announced(None, text_of_2)
    assert not announced(row_masker([(NULL, TEXT)]), text_of_3)
