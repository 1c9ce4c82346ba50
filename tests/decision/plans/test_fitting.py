from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twokey.type.v1 import operation_pb2

from decision.plans.fitting import difference, fits, problem, wanted
from tests.decision.plans.given import SHAPE, operation, step

Rule, Bound = operation_pb2.ValueRule, operation_pb2.BoundValue
INT4, TEXT, NUMERIC, BOOL = 23, 25, 1700, 16


def text(value: str, oid: int = TEXT) -> operation_pb2.BoundValue:
    return Bound(type_oid=oid, value=value.encode())


def bound(found: operation_pb2.Operation, *values: operation_pb2.BoundValue) -> operation_pb2.Operation:
    found.sql.values.bound.extend(values)
    return found


def test_the_same_bytes_that_mean_the_same_are_the_step() -> None:
    planned = step("DELETE FROM orders WHERE id = $1", Rule(one_of=["7"]))
    assert difference(planned, bound(operation("DELETE FROM orders WHERE id = $1"), text("7")), shape=SHAPE) == ""


def test_the_semicolon_that_ends_a_line_is_none_of_the_statement() -> None:
    planned, ended = step("SELECT 1"), b"e" * 32
    both = SHAPE + ended
    assert difference(planned, operation("SELECT 1"), shape=both) == ""
    assert difference(planned, operation("SELECT 1;", shape=ended), shape=both) == ""
    for text, shape in (("SELECT 1", ended), ("SELECT 1;", SHAPE), ("SELECT 1", both), ("SELECT 1;", b"")):
        assert "what it meant" in difference(planned, operation(text, shape=shape), shape=both)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"text": "DELETE FROM orders WHERE id =  $1"}, "another statement"),
        ({"text": "delete from orders where id = $1"}, "another statement"),
        ({"text": "DELETE FROM orders WHERE id = $1 ;"}, "another statement"),
        ({"text": "DELETE FROM orders WHERE id = $1;;"}, "another statement"),
        ({"text": "DELETE FROM orders WHERE id = $1;"}, "what it meant when it was reviewed"),
        ({"shape": b"t" * 32}, "what it meant when it was reviewed"),
        ({"named": b"PREPARE x AS SELECT 1"}, "another statement"),
        ({"statements": 2}, "a statement sent by itself"),
        ({"statements": 0}, "a statement sent by itself"),
        ({"values": 0}, "1 values, and is given 0"),
        ({"values": 2}, "1 values, and is given 2"),
        ({"value": "8"}, "another value for $1: '7'"),
    ],
)
def test_anything_else_is_not(other: dict[str, object], why: str) -> None:
    planned = step("DELETE FROM orders WHERE id = $1", Rule(one_of=["7"]))
    asked = operation(str(other.get("text", "DELETE FROM orders WHERE id = $1")), shape=other.get("shape", SHAPE))  # type: ignore[arg-type]
    asked.sql.values.named = other.get("named", b"")  # type: ignore[assignment]
    asked.sql.statements = other.get("statements", 1)  # type: ignore[assignment]
    for _ in range(int(str(other.get("values", 1)))):
        bound(asked, text(str(other.get("value", "7"))))
    assert why in difference(planned, asked, shape=SHAPE)


def test_what_is_no_sql_is_no_step() -> None:
    asked = operation_pb2.Operation(shape_digest=SHAPE)
    asked.ssh.action = "exec"
    assert difference(step(""), asked, shape=SHAPE) == "another statement"


def test_a_step_that_waited_is_told_so() -> None:
    planned = step("SELECT 1", after=1)
    assert "when it was settled" in difference(planned, operation("SELECT 1", shape=b"t" * 32), shape=SHAPE)


@pytest.mark.parametrize(
    ("rule", "value", "fit"),
    [
        (Rule(one_of=["a", "b"]), text("b"), True),
        (Rule(one_of=["a", "b"]), text("ab"), False),
        (Rule(one_of=["a"]), text("a "), False),
        (Rule(one_of=[""]), text(""), True),
        (Rule(one_of=[""]), Bound(is_null=True), False),
        (Rule(null=True), Bound(is_null=True), True),
        (Rule(null=True), text(""), False),
        (Rule(one_of=["7"]), Bound(type_oid=INT4, binary=True, value=struct.pack("!i", 7)), True),
        (Rule(one_of=["7"]), Bound(type_oid=INT4, binary=True, value=struct.pack("!i", 8)), False),
        (Rule(one_of=["7"]), Bound(type_oid=INT4, binary=True, value=b"7"), False),
        (Rule(one_of=["7"]), Bound(type_oid=99999, binary=True, value=b"7"), False),
        (Rule(one_of=["true"]), Bound(type_oid=BOOL, binary=True, value=b"\1"), True),
        (Rule(one_of=["\ufffd"]), Bound(type_oid=TEXT, value=b"\xff"), False),
        (Rule(least="1", most="9"), text("1"), True),
        (Rule(least="1", most="9"), text("9"), True),
        (Rule(least="1", most="9"), text("9.0000000000000000001"), False),
        (Rule(least="1", most="9"), text("0"), False),
        (Rule(least="1"), text("1e6", NUMERIC), True),
        (Rule(most="9"), text("-1e6", NUMERIC), True),
        (Rule(least="1"), text("NaN", NUMERIC), False),
        (Rule(most="1"), text("-Infinity", NUMERIC), False),
        (Rule(least="1"), text("Infinity", NUMERIC), False),
        (Rule(least="1", most="9"), text("٥"), False),  # ARABIC-INDIC DIGIT FIVE
        (Rule(least="1", most="9"), text(" 5"), False),
        (Rule(least="1", most="9"), text("5; DROP TABLE x"), False),
        (Rule(least="1", most="9"), text("1_0"), False),
        (Rule(least="1"), text("1e999999999"), False),
        (Rule(least="1", most="9"), text(""), False),
        (Rule(least="1", most="9"), Bound(is_null=True), False),
    ],
)
def test_a_value_fits_or_not(rule: operation_pb2.ValueRule, value: operation_pb2.BoundValue, fit: bool) -> None:
    assert fits(rule, value) is fit


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_range_is_the_same_in_both_forms(value: int, least: int, most: int) -> None:
    rule = Rule(least=str(least), most=str(most))
    binary = Bound(type_oid=INT4, binary=True, value=struct.pack("!i", value))
    assert fits(rule, text(str(value))) is fits(rule, binary) is (least <= value <= most)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000, places=6))
def test_decimals_are_compared_as_numbers(value: Decimal) -> None:
    assert fits(Rule(least="-0.5", most="0.50"), text(str(value))) is (Decimal("-0.5") <= value <= Decimal("0.5"))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule(), "may be nothing"),
        (Rule(least="x"), "least is not a number"),
        (Rule(most="Infinity"), "most is not a number"),
        (Rule(least="2", most="1"), "least is more than most"),
    ],
)
def test_a_rule_that_can_not_be_meant_is_refused(rule: operation_pb2.ValueRule, why: str) -> None:
    assert why in problem([Rule(one_of=["1"]), rule])
    assert problem([Rule(one_of=["1"]), Rule(null=True), Rule(least="1", most="1.0")]) == ""


def test_a_rule_in_words() -> None:
    assert wanted(Rule(one_of=["a", "b\n"], most="9", null=True)) == r"'a' or 'b\n' or anything to 9 or NULL"
