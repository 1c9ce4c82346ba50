"""What a stranger wrote can't move, hide or imitate anything on a reviewer's terminal."""

from __future__ import annotations

import hashlib

from twokey.type.v1 import decision_pb2, operation_pb2, subject_pb2

from decision.showing import render


def test_a_statement_keeps_its_lines() -> None:
    assert render.statement(b"SELECT 1\nFROM t") == "SELECT 1\nFROM t"


def test_a_long_statement_shows_both_ends_and_the_digest_of_all() -> None:
    data = b"SELECT '" + b"x" * 20000 + b"'; DROP TABLE t"
    shown = render.statement(data)
    assert shown.startswith("SELECT '")
    assert shown.endswith("DROP TABLE t")
    assert hashlib.sha256(data).hexdigest() in shown
    assert len(shown) < 6000


def test_a_deed_behind_a_megabyte_of_spaces_is_seen() -> None:
    data = b"SELECT 1;" + b" " * (1 << 20) + b"; DROP TABLE t --\x1b[2K"
    shown = render.statement(data)
    assert shown.endswith("; DROP TABLE t --\\x1b[2K")
    assert f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}" in shown
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


def test_columns_say_how_they_are_used() -> None:
    sql = operation_pb2.SqlOperation(command="UPDATE", has_where=True)
    for column, use in (("id", "other"), ("status", "write"), ("status", "output"), ("id", "other")):
        sql.columns.add(schema="public", relation="orders", column=column, use=use)
    assert "columns    public.orders: id (read), status (assigned, shown)" in render.touches(sql)


def test_functions_that_only_compute_are_for_those_who_want_everything() -> None:
    sql = operation_pb2.SqlOperation(command="SELECT")
    sql.functions.add(schema="pg_catalog", name="lower", language="internal", volatility="immutable", safe=True)
    sql.functions.add(schema="public", name="f", language="plpgsql", volatility="volatile", security_definer=True)
    assert [line for line in render.touches(sql) if line.startswith("function")] == [
        "function   public.f (plpgsql, volatile, security definer)"
    ]
    assert len([line for line in render.touches(sql, everything=True) if line.startswith("function")]) == 2


def test_an_obligation_with_its_parameters() -> None:
    rows = decision_pb2.Obligation(type="max-rows")
    rows.parameters["rows"] = 1000
    assert render.obligation(rows) == "max-rows: rows 1000"
    mask = decision_pb2.Obligation(type="mask-columns")
    mask.parameters["columns"] = [{"schema": "public", "relation": "cards", "column": "p\x1bn", "label": "pan"}]
    assert render.obligation(mask) == "mask-columns: public.cards.p\\x1bn (pan)"
    mask.parameters["outputs"] = [{"position": 2, "label": "pan"}]
    assert render.obligation(mask) == "mask-columns: public.cards.p\\x1bn (pan), column 2 of the result (pan)"
    assert render.obligation(decision_pb2.Obligation(type="read-only")) == "read-only"


def test_bound_values_whole() -> None:
    long = operation_pb2.BoundValue(type_oid=25, value=b"y" * 1000 + b"; the end")
    binary = operation_pb2.BoundValue(type_oid=600, binary=True, value=b"\xff" * 99 + b"\x01")
    first, second = render.bound([long, binary], whole=True)
    assert first == f"$1 = '{'y' * 1000}; the end' (text, 1009 bytes)"
    assert second.startswith(f"$2 = binary \\x{'ff' * 99}01 (")


def test_what_no_word_of_the_statement_says() -> None:
    sql = operation_pb2.SqlOperation()
    sql.relations.add(schema="public", name="orders", via="direct").access.append("delete")
    sql.relations.add(schema="public", name="items\u202e", via="cascade").access.append("delete")
    sql.functions.add(schema="public", name="told", via="trigger")
    sql.functions.add(schema="public", name="called", via="direct")
    assert render.follows(sql) == ["public.items\\u202e: delete, by cascade", "public.told runs, by trigger"]
