"""What names say, and what they don't."""

from __future__ import annotations

import pytest

from decision.cli.suggest.names import hinted, words


@pytest.mark.parametrize(
    ("name", "found"),
    [("homeAddress2", ["home", "address", "2"]), ("E-Mail", ["e", "mail"]), ("HTTPToken", ["http", "token"])],
)
def test_words(name: str, found: list[str]) -> None:
    assert words(name) == found


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("email", "email"),
        ("contactEmail", "email"),
        ("E-Mail", "email"),
        ("date_of_birth", "birth-date"),
        ("birth_date", "birth-date"),
        ("tax_id", "national-id"),
        ("card_number", "pan"),
        ("blood_type", "health"),
        ("password_hash", "credential"),
    ],
)
def test_names_that_say_what_they_hold(name: str, label: str) -> None:
    assert label in hinted(name)


@pytest.mark.parametrize(
    "name",
    ["email_verified", "email_count", "is_phone", "card_id", "address_type", "token_expires", "panel", "spanner",
     "mailing_weight", "emailed_at", "name", "tokenizer", "", "id"],
)  # fmt: skip
def test_names_about_it_are_not_it(name: str) -> None:
    assert hinted(name) == {}


def test_a_name_counts_where_people_are_kept() -> None:
    assert hinted("name", "customers") == {"name": 4}
    assert hinted("name", "products") == {}
