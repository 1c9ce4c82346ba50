"""Detectors, value by value: each takes its kind and leaves what only looks alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from decision.cli.suggest import values


@pytest.mark.parametrize(
    ("test", "good", "bad"),
    [
        (values.is_email, ["a@b.example", "x.y+z@mail.example.org"], ["a@b", "@b.example", "see a@b.de", "a b@c.de"]),
        (values.is_card, ["4111111111111111", "4111-1111-1111-1111", "378282246310005"],
         ["4111111111111112", "0000000000000000", "1234567890123452", "411111"]),
        (values.is_iban, ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"], ["DE88370400440532013000", "12"]),
        (values.is_ssn, ["536-90-4399"], ["000-12-3456", "536904399", "536-90-43999"]),
        (values.is_international_phone, ["+49 151 12345678", "+442079460000"], ["151 12345678", "+", "+1x"]),
        (values.is_address_of_a_host, ["192.0.2.1", "10.0.0.0/8", "2001:db8::1"], ["1.2.3", "12345", "1.2.3.400"]),
        (values.is_secret, ["$2b$12$" + "a" * 53, "sk_live_abcdef123456", "AKIAIOSFODNN7EXAMPLE"], ["hello", "$5"]),
        (values.looks_like_card, ["4000000000001234", "************1234"], ["1234", "abcd"]),
        (values.is_date, ["1990-01-02", "1990-01-02 10:00:00"], ["1990", "2-3-1990"]),
    ],
)  # fmt: skip
def test_detectors(test: Callable[[str], bool], good: list[str], bad: list[str]) -> None:
    assert [value for value in good if not test(value)] == []
    assert [value for value in bad if test(value)] == []


def test_shares() -> None:
    assert values.share([], values.is_email) == 0
    assert values.share(["a@b.example", "x"], values.is_email) == 0.5
