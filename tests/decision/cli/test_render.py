"""What a stranger wrote can't move, hide or imitate anything on a reviewer's terminal."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twokey.type.v1 import operation_pb2, subject_pb2

from decision.cli import render


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("DELETE\x1b[2K", "DELETE\\x1b[2K"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b", "a\\u2066b"),
        ("a\u200bb", "a\\u200bb"),
        ("a\rb", "a\\x0db"),
        ("a\x9b31m", "a\\x9b31m"),
        ("a\u00a0b", "a\\xa0b"),
        ("a\u3164b", "a\\u3164b"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("a\ufe0fb", "a\\ufe0fb"),
        ("Zoë 漢字", "Zoë 漢字"),
        ("a\nb", "a\\x0ab"),
    ],
)
def test_deceptive_characters_are_shown_as_what_they_are(text: str, shown: str) -> None:
    assert render.safe(text) == shown


@given(st.text())
def test_nothing_invisible_survives(text: str) -> None:
    for character in render.safe(text, lines=True):
        assert character in " \n" or unicodedata.category(character)[0] not in "CZ"


def test_a_statement_keeps_its_lines() -> None:
    assert render.statement(b"SELECT 1\nFROM t") == "SELECT 1\nFROM t"


def test_a_long_statement_shows_both_ends_and_the_digest_of_all() -> None:
    data = b"SELECT '" + b"x" * 20000 + b"'; DROP TABLE t"
    shown = render.statement(data)
    assert shown.startswith("SELECT '")
    assert shown.endswith("DROP TABLE t")
    assert hashlib.sha256(data).hexdigest() in shown
    assert len(shown) < 6000


def test_bytes_that_are_no_utf8_are_escaped() -> None:
    assert render.statement(b"SELECT '\xff\xfe'") == "SELECT '\\xff\\xfe'"


def test_bound_values() -> None:
    values = [
        operation_pb2.BoundValue(type_oid=25, value=b"a\x1b"),
        operation_pb2.BoundValue(type_oid=25, is_null=True),
        operation_pb2.BoundValue(type_oid=23, binary=True, value=b"\x00\x00\x00\x2a"),
        operation_pb2.BoundValue(type_oid=25, value=b"y" * 1000),
    ]
    first, second, third, fourth = render.bound(values)
    assert first == "$1 = 'a\\x1b' (text, 2 bytes)"
    assert second == "$2 = NULL (text)"
    assert third == "$3 = 42 (int4, 4 bytes)"
    assert hashlib.sha256(b"y" * 1000).hexdigest() in fourth


def test_a_number_that_is_none_is_quoted() -> None:
    value = operation_pb2.BoundValue(type_oid=23, value="1\u202e2".encode())
    assert render.bound([value]) == ["$1 = '1\\u202e2' (int4, 5 bytes)"]


def test_binary_that_nobody_can_read_is_hexadecimal() -> None:
    short = operation_pb2.BoundValue(type_oid=23, binary=True, value=b"\1\2\3")
    unknown = operation_pb2.BoundValue(type_oid=600, binary=True, value=b"\xff" * 100)
    first, second = render.bound([short, unknown])
    assert first == "$1 = binary \\x010203 (int4, 3 bytes)"
    assert hashlib.sha256(b"\xff" * 100).hexdigest() in second


def test_an_unknown_identity_can_not_be_called_alice() -> None:
    assert render.identity(subject_pb2.Identity(iss="https://evil", sub="alice")) == "unknown (https://evil, alice)"
    assert render.identity(subject_pb2.Identity(iss="i", sub="s", name="alice")) == "alice"


def test_who_asks_for_whom() -> None:
    agent = subject_pb2.Identity(iss="i", sub="a", name="executor-7", owner="alice", kind="agent")
    person = subject_pb2.Identity(iss="i", sub="c", name="carol", kind="person")
    assert render.identity(agent) == "executor-7 (agent of alice)"
    assert render.identity(subject_pb2.Identity(name="stray", kind="agent")) == "stray (agent of nobody)"
    asked = subject_pb2.Subject(identity=person, actors=[agent], role="executor")
    assert render.subject(asked) == "executor-7 (agent of alice) for carol in role executor"


def test_what_nobody_can_see_is_said() -> None:
    sql = operation_pb2.SqlOperation(opaque=True, not_covered=["COPY data"])
    assert len(render.not_covered(sql)) == 2
    sql.opaque_reasons.add(code="do-block", detail="DO\x1b")
    assert render.not_covered(sql)[0] == "not described (do-block): DO\\x1b"


def test_a_delete_of_every_row_says_so() -> None:
    assert any("every row" in line for line in render.touches(operation_pb2.SqlOperation(command="DELETE")))
    assert not any(
        "every row" in line for line in render.touches(operation_pb2.SqlOperation(command="DELETE", has_where=True))
    )
