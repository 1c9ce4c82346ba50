"""What a column's name says of its content: words of the name against a list, and words that take the meaning away.

`email_verified` is no e-mail address, `card_id` no card number: a name counts only where its last word could name the
content itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# label -> names, each a run of words that must stand in the column's name. More words say more; any one counts.
HINTS: Mapping[str, tuple[str, ...]] = {
    "email": ("email", "e mail", "mail address", "mail", "correo"),
    "phone": ("phone", "telephone", "mobile", "cell", "fax", "tel", "phone number", "msisdn", "telefon", "handy"),
    "pan": ("pan", "card number", "card no", "cc number", "credit card", "ccn", "cardnumber", "creditcard", "cc num"),
    "iban": ("iban", "bank account", "account number", "account no", "acct no", "konto"),
    "national-id": (
        *("ssn", "social security", "national id", "tax id", "nino", "sin", "nif", "cpf", "steuer id", "passport"),
        *("passport no", "driver license", "drivers license", "licence no", "license no", "tax number", "bsn", "pesel"),
        *("personnummer", "aadhaar", "curp", "national insurance"),
    ),
    "name": (
        *("first name", "last name", "full name", "surname", "given name", "family name", "firstname", "lastname"),
        *("middle name", "maiden name", "fullname", "forename", "fname", "lname", "nachname", "vorname", "birth name"),
        *("customer name", "employee name", "patient name", "contact name", "cardholder", "holder name"),
    ),
    "address": (
        *("address", "street", "addr", "address line", "postal address", "postcode", "zip", "zipcode", "postal code"),
        *("zip code", "home address", "house no", "strasse", "address1", "address2", "street line"),
    ),
    "birth-date": ("birth date", "date of birth", "dob", "birthday", "birthdate", "born", "geburtsdatum", "born on"),
    "ip": ("ip", "ip address", "ipaddr", "remote addr", "client ip", "ip addr", "last ip"),
    "credential": (
        *("password", "passwd", "secret", "api key", "apikey", "token", "private key", "pwd", "passphrase", "pin code"),
        *("password hash", "pass hash", "auth token", "access token", "refresh token", "totp", "otp secret"),
        *("cvv", "cvc"),
    ),
    "location": ("latitude", "longitude", "lat", "lng", "lon", "geo", "gps", "coordinates"),
    "health": ("diagnosis", "icd", "blood type", "allergy", "allergies", "medication", "disability"),
    "salary": ("salary", "wage", "income", "compensation", "net worth"),
}  # fmt: skip

# Last words (and first ones) that make it something about the thing, not the thing.
_ABOUT_LAST = frozenset({
    "id", "ids", "count", "type", "kind", "status", "state", "flag", "verified", "confirmed", "valid", "enabled",
    "at", "on", "ts", "time", "date", "total", "template", "version", "domain", "provider", "length",
    "len", "format", "category", "subject", "body", "sent", "opened", "bounced", "quota", "limit",
    "label", "expires", "expiry", "expired", "created", "updated", "hint", "country", "ref", "policy",
    "class", "plan",
})  # fmt: skip
_ABOUT_FIRST = frozenset({
    "is", "has", "was", "can", "should", "num", "count", "nr", "total", "max", "min", "avg",
})  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def words(name: str) -> list[str]:
    """`homeAddress2`, `home_address_2` and `Home Address 2` as home, address, 2."""
    return [word.lower() for word in _WORD.findall(name)]


def hinted(column: str, relation: str = "") -> dict[str, int]:
    """How strongly a name says each label: the length of the longest run of its words that does. {} where it says none.

    relation: a bare `name` counts in a table of people.
    """
    said = words(column)
    if not said or (said[0] in _ABOUT_FIRST and len(said) > 1):
        return {}
    text = f" {' '.join(word for word in said if not word.isdigit())} "
    found: dict[str, int] = {}
    about = len(said) > 1 and said[-1] in _ABOUT_LAST
    for label, hints in HINTS.items():
        # `blood type` and `birth date` end with words that take the meaning away elsewhere; there they make it
        runs = [hint for hint in hints if text.endswith(f" {hint} ") or (not about and f" {hint} " in text)]
        if runs:
            found[label] = max(map(len, runs))
    if not found and said == ["name"] and _of_people(relation):
        found["name"] = len("name")
    return found


_PEOPLE = frozenset({
    "customer", "customers", "client", "clients", "person", "persons", "people", "employee", "employees", "user",
    "users", "patient", "patients", "member", "members", "contact", "contacts", "staff", "student", "students",
    "guest", "guests", "driver", "drivers", "applicant", "applicants",
})  # fmt: skip


def _of_people(relation: str) -> bool:
    return bool(_PEOPLE & set(words(relation)))
