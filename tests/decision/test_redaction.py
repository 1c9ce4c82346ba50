"""Constants out of statements: each spelling, nothing else, and all of it where it can't be read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decision.redaction import mark, statement


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT * FROM t WHERE ssn = '123-45-6789'", "SELECT * FROM t WHERE ssn = ‹pii›"),
        ("SELECT 1, 1.5, 1e9, -3, 0x1F", "SELECT ‹pii›, ‹pii›, ‹pii›, -‹pii›, ‹pii›"),
        (
            "SELECT E'\\'', U&'\\0041', B'0', X'F', $$a$$, $q$'$q$",
            "SELECT ‹pii›, ‹pii›, ‹pii›, ‹pii›, ‹pii›, ‹pii›",
        ),
        ("SELECT N'x'", "SELECT N‹pii›"),
        ("SELECT TRUE, FALSE, NULL", "SELECT ‹pii›, ‹pii›, NULL"),
        ("SELECT 'a'\n'b', 'é''ü' /* 123 */ -- 456", "SELECT ‹pii›, ‹pii› ‹pii› ‹pii›"),
        ('SELECT "a1", $1 FROM t2', 'SELECT "a1", $1 FROM t2'),
        ("DATE '2001-01-01'", "DATE ‹pii›"),
        ("SELECT 'unterminated", "‹pii›"),
        ("", ""),
    ],
)
def test_constants_go(text: str, shown: str) -> None:
    assert statement(text.encode(), {}, ["pii"]).decode() == shown


def test_some_go_and_some_stay() -> None:
    text = b"UPDATE t SET a = 1, b = '2', c = '3' /* x */"
    assert (
        statement(text, {1: [], 2: ["pan", "email"], 3: []}, [])
        == "UPDATE t SET a = 1, b = ‹email,pan›, c = '3' ‹email,pan›".encode()
    )
    assert statement(text, {1: []}, ["pii"]).decode() == "UPDATE t SET a = 1, b = ‹pii›, c = ‹pii› ‹pii›"
    assert statement(text, {}, []) == text


def test_all_of_it_goes_where_nothing_can_be_said() -> None:
    assert statement(b"DO $$ ssn $$", None, ["pii"]).decode() == "‹pii›"
    assert statement(b"SELECT '\xff'", {}, ["pii"]).decode() == "‹pii›"
    assert statement(b"SELECT 1 " * 200_000, {}, ["pii"]).decode() == "‹pii›"
    assert mark([]) == "‹hidden›"


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40))
@example("it''s")
@example("\\")
def test_no_value_survives(value: str) -> None:
    """Whatever is written between the quotes, none of it is left."""
    secret = "SECRET" + value.replace("'", "''")
    for text in (
        f"SELECT '{secret}'",
        f"SELECT $x${secret.replace('$', '')}$x$ FROM t",
        f"/* {secret.replace('*', '').replace('/', '')} */ SELECT 1",
    ):
        assert b"SECRET" not in statement(text.encode(), {}, ["pii"])
