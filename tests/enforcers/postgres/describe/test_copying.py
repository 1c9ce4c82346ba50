"""What COPY TO STDOUT is asked for, and what of that can't be masked; test_copy_masking.py tries it at a server.

An option that is taken for another one would be masked in the wrong form: a value that is NULL's own spelling, or a
delimiter inside of one, would move what is masked into the next column.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from pglast.parser import parse_sql_json

from enforcers.postgres.describe.copying import form_of
from enforcers.postgres.description import CopyForm


def _form(options: str) -> CopyForm:
    tree = orjson.loads(parse_sql_json(f"COPY t TO STDOUT {options}"))
    return form_of(tree["stmts"][0]["stmt"]["CopyStmt"].get("options", []))


_PLAIN = CopyForm(
    format="text",
    delimiter=b"\t",
    null=b"\\N",
    quote=b'"',
    escape=b'"',
    force_quote=frozenset(),
    force_all=False,
)
_CSV = replace(_PLAIN, format="csv", delimiter=b",", null=b"")


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ("", _PLAIN),
        ("(FORMAT text)", _PLAIN),
        ("(FORMAT TEXT, NULL '\\N')", _PLAIN),
        ("(DELIMITER '|')", replace(_PLAIN, delimiter=b"|")),
        ("(HEADER)", _PLAIN),
        ("(ENCODING 'UTF8')", _PLAIN),
        ("(ENCODING 'utf-8')", _PLAIN),
        ("(ENCODING 'Unicode')", _PLAIN),
        ("(FORMAT csv)", _CSV),
        ("CSV HEADER", _CSV),
        ("(FORMAT csv, NULL 'nil')", replace(_CSV, null=b"nil")),
        ("(FORMAT csv, QUOTE '''')", replace(_CSV, quote=b"'", escape=b"'")),
        ("(FORMAT csv, ESCAPE '#')", replace(_CSV, escape=b"#")),
        ("(FORMAT csv, FORCE_QUOTE (a, b))", replace(_CSV, force_quote=frozenset({"a", "b"}))),
        ("(FORMAT csv, FORCE_QUOTE *)", replace(_CSV, force_all=True)),
        ("(FORMAT binary)", replace(_PLAIN, format="binary")),
    ],
)
def test_a_form_that_can_be_read_and_written_again(options: str, form: CopyForm) -> None:
    assert _form(options) == form


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("(FORMAT arrow)", "in the format arrow"),
        ("(FORMAT csv, FORCE_NOT_NULL (a))", "with the option FORCE_NOT_NULL"),
        ("(FORMAT csv, FORMAT text)", "with the option FORMAT"),
        ("(NULL '1234')", "in text with a NULL of its own"),
        ("(ENCODING 'LATIN1')", "in another encoding than UTF8"),
        ("(DELIMITER '\u00e9')", "with a delimiter, quote or escape that is no single byte"),
        ("(FORMAT csv, QUOTE '')", "with a delimiter, quote or escape that is no single byte"),
        ("(FORMAT csv, ESCAPE '##')", "with a delimiter, quote or escape that is no single byte"),
    ],
)
def test_a_form_whose_rows_could_be_read_wrongly_is_not_masked(options: str, problem: str) -> None:
    assert _form(options).problem == problem
